//! Every act of an operator, once (rule 10).
//!
//! A [`Command`] is the same whether a person gives it at the command line, an API carries it or
//! `ward-respond` gives it by itself: authorised here by role, recorded in the same log, done whole
//! or not at all. Refused acts are recorded too.

mod commands;

use std::borrow::Cow;

pub use commands::{Admin, AdminError, Command, Deps, Done};

/// Who gives a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Ward's own name for the operator, as it stands in the log. No personal name.
    pub name: Cow<'static, str>,
    /// What the operator may do.
    pub role: Role,
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs the service: rosters and lists.
    Administrator,
    /// Guards it: all that an administrator may, and revocation of anything.
    SecurityOfficer,
    /// Ward acting by itself: may end grants, nothing else.
    Automatic,
}

impl Role {
    /// The table of who may do what.
    pub const fn may(self, command: &Command) -> bool {
        match (self, command) {
            (Self::SecurityOfficer, _)
            | (Self::Automatic, Command::HoldClient { .. })
            | (Self::Administrator, Command::ImportRoster { .. } | Command::RefreshLists) => true,
            (Self::Automatic, Command::Revoke { subject, .. }) => {
                matches!(subject, ward_policy::Subject::Grant(_))
            }
            (
                Self::Administrator | Self::Automatic,
                Command::HoldClient { .. } | Command::ReleaseClient { .. },
            )
            | (Self::Administrator, Command::Revoke { .. })
            | (Self::Automatic, Command::ImportRoster { .. } | Command::RefreshLists) => false,
        }
    }
}
