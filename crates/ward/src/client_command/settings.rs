//! The file of `--config`: the communities that the application is a member of, each with its own certificate and key.
//!
//! Paths are relative to the file's directory. Refused: members that are not known, and a file without a community.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files;
use super::talk::Failure;
use crate::cli_client::{Edition, Revocation};

/// Communities in one file; each is asked for in turn.
const MAX_COMMUNITIES: usize = 32;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Whom to trust for TLS, PEM.
    pub(super) tls_ca: Option<PathBuf>,
    /// `host:port` of private places that may be called, or `*`.
    #[serde(default)]
    pub(super) allow_private: Vec<String>,
    /// The preferred one first.
    pub(super) community: Vec<CommunitySettings>,
}

/// One community.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommunitySettings {
    pub(super) uri: String,
    /// Roots, PEM.
    pub(super) anchors: Vec<PathBuf>,
    #[serde(default)]
    pub(super) intermediates: Vec<PathBuf>,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Needed if the certificate names several.
    pub(super) client_uri: Option<String>,
    #[serde(default)]
    pub(super) revocation: Option<WhenRequired>,
    #[serde(default)]
    pub(super) profile: Option<EditionName>,
}

/// `profile = "stu1"`, `"stu2"` or `"tefca"`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum EditionName {
    Stu1,
    Stu2,
    Tefca,
}

impl From<EditionName> for Edition {
    fn from(one: EditionName) -> Self {
        match one {
            EditionName::Stu1 => Self::Stu1,
            EditionName::Stu2 => Self::Stu2,
            EditionName::Tefca => Self::Tefca,
        }
    }
}

/// `revocation = "required"` or `"when-available"`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WhenRequired {
    Required,
    WhenAvailable,
}

impl From<WhenRequired> for Revocation {
    fn from(one: WhenRequired) -> Self {
        match one {
            WhenRequired::Required => Self::Required,
            WhenRequired::WhenAvailable => Self::WhenAvailable,
        }
    }
}

impl Settings {
    /// What the file says, with its paths as this process reaches them.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read("--config", path)?;
        let wrong = |why: String| {
            Failure::usage(
                format!("--config {}: {why}", path.display()),
                "see docs/client.md for a file with two communities",
            )
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        let mut settings: Self =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        if settings.community.is_empty() || settings.community.len() > MAX_COMMUNITIES {
            return Err(wrong(format!("it must have 1 to {MAX_COMMUNITIES} [[community]]")));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let here = |file: &mut PathBuf| *file = folder.join(&*file);
        settings.tls_ca.iter_mut().for_each(here);
        for community in &mut settings.community {
            community.anchors.iter_mut().for_each(here);
            community.intermediates.iter_mut().for_each(here);
            here(&mut community.certificate);
            here(&mut community.key);
        }
        Ok(settings)
    }
}
