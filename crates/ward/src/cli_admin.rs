//! `ward admin …`: the operators' side of the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Give Ward an operator's commands, over its admin listener.
///
/// Every command is authorised by the role of the key and recorded in the log. Revoking a community or an
/// issuer's certificate needs two people, unless the reason is `key-compromise`; so does adding or removing a
/// security officer where there are two.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) act: Act,
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Where the admin listener is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8444", global = true)]
    pub(crate) url: String,
    /// Authority of the admin listener's TLS certificate, PEM; for https.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// File with your operator key (mode 0600).
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Act {
    /// Become the first operator with the one-time code that `ward serve` printed. The code is read from
    /// standard input; the key is written to --key-file.
    Bootstrap {
        /// Your name in the log: letters, digits, hyphens.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Say who the key belongs to and what it may do.
    Whoami,
    /// List, add and remove operators.
    #[command(subcommand)]
    Operators(Operators),
    /// End everything that hangs on a subject.
    Revoke {
        /// `grant:ID`, `token:ID`, `client:ID`, `certificate:SHA-256`, `certification:ID` or `community:URI`.
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// Why, for the log; no names of patients. `key-compromise` does not wait for a second person.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The incident that it answers.
        #[arg(long, value_name = "ID")]
        incident: Option<String>,
        /// Only tell what hangs on it.
        #[arg(long)]
        what_if: bool,
    },
    /// Have the running server back itself up into a file on its own machine.
    Backup {
        /// The backup to write there, a full path; must not exist.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// File there with the key of the backup: 32 random octets, owner-only.
        #[arg(long, value_name = "FILE", required_unless_present = "passphrase_file")]
        backup_key: Option<PathBuf>,
        /// File there with the passphrase of the backup, owner-only.
        #[arg(long, value_name = "FILE", conflicts_with = "backup_key")]
        passphrase_file: Option<PathBuf>,
    },
    /// Attribution rosters: which patients an organisation may see.
    #[command(subcommand)]
    Roster(Roster),
    /// Revocation lists.
    #[command(subcommand)]
    Lists(Lists),
    /// Have the server read its configuration again, as SIGHUP does: all of it is taken, or nothing.
    Reload,
    /// Put a client on hold: its grants end, and it gets no token until it is released.
    HoldClient {
        /// Its id (see `ward admin clients list`).
        #[arg(value_name = "CLIENT")]
        client: String,
        /// Why, for the log; no names of patients.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The incident that it answers.
        #[arg(long, value_name = "ID")]
        incident: Option<String>,
    },
    /// Let a client that is on hold ask for tokens again.
    ReleaseClient {
        /// Its id, now or when it was put on hold.
        #[arg(value_name = "CLIENT")]
        client: String,
        /// Why, for the log; no names of patients.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Registered clients.
    #[command(subcommand)]
    Clients(Clients),
    /// Incidents.
    #[command(subcommand)]
    Incidents(Incidents),
    /// Acts that wait for a second person.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Approve an act that another operator asked for, and have it done.
    Approve {
        /// Its id (see `ward admin approvals list`).
        #[arg(value_name = "ID")]
        approval: String,
    },
    /// Turn down an act that waits, or take back your own.
    Reject {
        /// Its id (see `ward admin approvals list`).
        #[arg(value_name = "ID")]
        approval: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Operators {
    /// List operators.
    List,
    /// Make an operator; its key is written to --out, or printed once.
    Add {
        /// Its name in the log.
        #[arg(value_name = "NAME")]
        name: String,
        /// `auditor`, `administrator` or `security-officer`.
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// Write the key to this file (mode 0600) instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Remove an operator; its key ends with it. A security officer's removal waits for a second person where
    /// there are two.
    Remove {
        /// Its name in the log.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Roster {
    /// Replace an organisation's roster as a whole.
    Import {
        /// The organisation, as it names itself in `hl7-b2b`.
        #[arg(long, value_name = "URI")]
        organization: String,
        /// A client that may speak for it: its community and its URI. Can be given more than once.
        #[arg(long, num_args = 2, value_names = ["COMMUNITY", "CLIENT"], required = true)]
        member: Vec<String>,
        /// A patient a line: its FHIR id, then the purposes with commas (`pat-1 TREAT,HPAYMT`). `#` begins a
        /// comment.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lists {
    /// Fetch all known lists now, and end the grants of certificates that they name.
    Refresh,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Clients {
    /// List all registered clients.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Incidents {
    /// List incidents, newest first.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// List acts that wait.
    List,
}
