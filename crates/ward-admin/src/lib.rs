//! Every act of an operator, once (rule 10).
//!
//! A [`Command`] is the same whether a person gives it at the command line, an API carries it or
//! `ward-respond` gives it by itself: authorised here by role, recorded in the same log, done whole
//! or not at all. Refused acts are recorded too. Operators prove themselves with keys of which only a
//! hash is kept; the first is made with a one-time code. Acts that cut off many need two people.

mod admin;
mod approval;
mod attempts;
mod certified;
mod commands;
mod credentials;
mod hanging;
mod learn;
mod operators;
pub mod passport;
mod site;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use admin::{Admin, Deps};
pub use commands::{
    AdminError, ClientSummary, Command, Done, KEY_COMPROMISE, OperatorSummary, Waiting, WhatIf,
};
pub use credentials::{BootstrapCode, IssuedKey};
pub use site::{BackupMade, BackupRequest, Site};

/// Who gives a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Ward's own name for the operator, as it stands in the log. No personal name.
    pub name: Cow<'static, str>,
    /// What the operator may do.
    pub role: Role,
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads, changes nothing.
    Auditor,
    /// Runs the service: rosters, lists, configuration and backups; reads.
    Administrator,
    /// Guards it: all that an administrator may, operators, approvals, and revocation of anything.
    SecurityOfficer,
    /// Ward acting by itself: may end grants and hold clients, nothing else. No person has it.
    Automatic,
}

impl Role {
    /// The roles that a person can have.
    pub const PEOPLE: [Self; 3] = [Self::Auditor, Self::Administrator, Self::SecurityOfficer];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
            Self::SecurityOfficer => "security-officer",
            Self::Automatic => "automatic",
        }
    }

    /// The role of a person by its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::PEOPLE.into_iter().find(|role| role.word() == word)
    }

    /// The table of who may do what.
    pub const fn may(self, command: &Command) -> bool {
        use Command as C;
        match command {
            C::WhatIf { .. }
            | C::Passport { .. }
            | C::PassportWhatIf { .. }
            | C::Expiring { .. }
            | C::ListClients { .. }
            | C::ListIncidents
            | C::ListOperators
            | C::ListApprovals => !matches!(self, Self::Automatic),
            C::ImportRoster { .. } | C::RefreshLists | C::Reload | C::Backup(_) => {
                matches!(self, Self::Administrator | Self::SecurityOfficer)
            }
            C::Revoke { subject, .. } => match self {
                Self::SecurityOfficer => true,
                Self::Automatic => matches!(subject, ward_policy::Subject::Grant(_)),
                Self::Auditor | Self::Administrator => false,
            },
            C::HoldClient { .. } => matches!(self, Self::SecurityOfficer | Self::Automatic),
            C::ReleaseClient { .. } => matches!(self, Self::SecurityOfficer),
            C::AddOperator { role, .. } => {
                matches!(self, Self::SecurityOfficer) && !matches!(role, Self::Automatic)
            }
            C::RemoveOperator { .. } | C::Approve { .. } | C::Reject { .. } => {
                matches!(self, Self::SecurityOfficer)
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
