//! Where things lie in a data directory.

use std::path::{Path, PathBuf};

/// The layout of a data directory.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Under this directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Data keys and private keys, wrapped.
    pub fn vault(&self) -> PathBuf {
        self.root.join("vault")
    }

    /// The key file that opens the vault, when no passphrase is used.
    pub fn key_file(&self) -> PathBuf {
        self.root.join("vault.key")
    }

    /// SQLite.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// The Merkle log.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The log's verifier key; keep a copy elsewhere.
    pub fn verifier_key(&self) -> PathBuf {
        self.root.join("log-verifier.txt")
    }

    /// The demo's trust community: another organisation, with a vault of its own.
    pub fn community(&self) -> PathBuf {
        self.root.join("community")
    }

    /// The demo's partner: another organisation, with a vault of its own.
    pub fn partner(&self) -> PathBuf {
        self.root.join("partner")
    }

    /// The demo's TLS authority (`tls-ca.pem` is for `curl --cacert`).
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// A live access token of the demo's partner, for `curl`.
    pub fn token(&self) -> PathBuf {
        self.root.join("token.txt")
    }

    /// What the demo must remember to come back: its port.
    pub fn demo(&self) -> PathBuf {
        self.root.join("demo.json")
    }
}
