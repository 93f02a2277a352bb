//! What can go wrong before the sandbox serves: loading and listening. Request errors are FHIR
//! OperationOutcomes instead (`outcome`).

use std::path::PathBuf;

/// Why a sandbox could not be filled or started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A directory or file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The directory or file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not JSON.
    #[error("{} is not JSON: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file is not a FHIR Bundle.
    #[error("{} is not a FHIR Bundle with entries", file.display())]
    NotABundle {
        /// The file.
        file: PathBuf,
    },
    /// An entry of a Bundle cannot be loaded.
    #[error("{} entry {entry}: {problem}", file.display())]
    Entry {
        /// The file.
        file: PathBuf,
        /// Index in `Bundle.entry`, from 0.
        entry: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The directory has no Bundle at all.
    #[error("{} has no *.json file", directory.display())]
    Empty {
        /// The directory.
        directory: PathBuf,
    },
    /// The listener does not say where it listens.
    #[error("cannot serve: {0}")]
    Listen(std::io::Error),
}
