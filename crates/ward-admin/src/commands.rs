//! The commands, what they answer and why they are refused. One vocabulary for the command line, the API
//! and the console; the JSON of a command is its name and its fields.

use serde::{Deserialize, Serialize};
use ward_core::{
    ApprovalId, ClientId, ClientUri, CommunityUri, GrantId, IncidentId, OperatorName,
    OrganizationUri, SinkError, Timestamp,
};
use ward_issuer::IssuerError;
use ward_policy::Subject;
use ward_store::StoreError;
use ward_store::repo::{Incident, Member, RosterRow};

use crate::Role;
use crate::credentials::IssuedKey;
use crate::passport::{Ends, Lapses, Passport};
use crate::site::{BackupMade, BackupRequest};

/// One act of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Ends everything that hangs on the subject; refused from the next request on. A community, an
    /// anchor or an intermediate needs a second person, unless the reason is [`KEY_COMPROMISE`].
    Revoke {
        /// What is revoked.
        subject: Subject,
        /// Why, for the log. No PHI.
        reason: String,
        /// The incident that it answers.
        #[serde(default)]
        incident: Option<IncidentId>,
    },
    /// Puts a client on hold: its grants end, and it gets no token until it is released (T16).
    HoldClient {
        /// The client.
        client: ClientId,
        /// The grant under which it was noticed.
        #[serde(default)]
        grant: Option<GrantId>,
        /// Why, for the log. No PHI.
        reason: String,
        /// The incident that it answers.
        #[serde(default)]
        incident: Option<IncidentId>,
    },
    /// Lets a client that is on hold ask for tokens again.
    ReleaseClient {
        /// The client, by the id that it has or had when it was put on hold.
        client: ClientId,
        /// Why, for the log. No PHI.
        reason: String,
    },
    /// Tells what hangs on the subject; changes nothing.
    WhatIf {
        /// What would be revoked.
        subject: Subject,
    },
    /// Tells who trusts whom, through which chain, until when, and what hangs on it.
    Passport {
        /// About what: a client's URI or id, a certificate's thumbprint, a community's URI or an organisation. None:
        /// a bounded overview.
        #[serde(default)]
        entity: Option<String>,
    },
    /// Tells what would stop with a certificate; changes nothing.
    PassportWhatIf {
        /// Its SHA-256 thumbprint or its serial number, hexadecimal.
        certificate: String,
    },
    /// Tells what ends within so many days.
    Expiring {
        /// Days.
        days: u64,
    },
    /// Replaces the attribution roster of an organisation as a whole.
    ImportRoster {
        /// The organisation, as it names itself in `hl7-b2b`.
        organization: OrganizationUri,
        /// The clients that may speak for it, at least one; `hl7-b2b` alone proves nothing (B09).
        members: Vec<Member>,
        /// Its patients, each with the purposes of the attribution.
        rows: Vec<RosterRow>,
    },
    /// Fetches all known revocation lists now, and ends the grants of certificates that they name.
    RefreshLists,
    /// Reads the configuration again and takes all of it, or nothing.
    Reload,
    /// Backs the running server up into a file on its own machine.
    Backup(BackupRequest),
    /// Lists registered clients, by client id; at most 500.
    ListClients {
        /// Only those after this one.
        #[serde(default)]
        after: Option<ClientId>,
    },
    /// Lists incidents, newest first.
    ListIncidents,
    /// Lists operators.
    ListOperators,
    /// Lists acts that wait for a second person.
    ListApprovals,
    /// Makes an operator; its key is shown once. Another security officer needs a second person where
    /// there are two already.
    AddOperator {
        /// Its name in the log.
        name: OperatorName,
        /// What it may do.
        role: Role,
    },
    /// Removes an operator, whose key ends with it. A security officer's removal needs a second person where
    /// there are two; the last one stays.
    RemoveOperator {
        /// Its name in the log.
        name: OperatorName,
    },
    /// Approves, as the second person, an act that another operator asked for, and does it.
    Approve {
        /// Which.
        approval: ApprovalId,
    },
    /// Turns down an act that waits, or takes back one's own.
    Reject {
        /// Which.
        approval: ApprovalId,
    },
}

/// The reason for which a revocation does not wait for a second person; a text may follow after a colon.
pub const KEY_COMPROMISE: &str = "key-compromise";

impl Command {
    /// Its name, as in the JSON, the log and the path of the API.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Revoke { .. } => "revoke",
            Self::HoldClient { .. } => "hold-client",
            Self::ReleaseClient { .. } => "release-client",
            Self::WhatIf { .. } => "what-if",
            Self::Passport { .. } => "passport",
            Self::PassportWhatIf { .. } => "passport-what-if",
            Self::Expiring { .. } => "expiring",
            Self::ImportRoster { .. } => "import-roster",
            Self::RefreshLists => "refresh-lists",
            Self::Reload => "reload",
            Self::Backup(_) => "backup",
            Self::ListClients { .. } => "list-clients",
            Self::ListIncidents => "list-incidents",
            Self::ListOperators => "list-operators",
            Self::ListApprovals => "list-approvals",
            Self::AddOperator { .. } => "add-operator",
            Self::RemoveOperator { .. } => "remove-operator",
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
        }
    }
}

/// One registered client, for a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientSummary {
    /// Its id.
    pub client: ClientId,
    /// The community that it came through.
    pub community: CommunityUri,
    /// Its URI.
    pub uri: ClientUri,
    /// Its name, as it gave it.
    pub name: String,
    /// What it may ask for.
    pub scopes: String,
    /// SHA-256 of its certificate: `certificate:…` as a subject.
    pub certificate: ward_core::Thumbprint,
    /// When it registered.
    pub registered: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Whether its registration has ended.
    pub cancelled: bool,
}

/// One operator, for a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperatorSummary {
    /// Its name in the log.
    pub name: OperatorName,
    /// What it may do; absent if this version does not know the role, which then may do nothing.
    pub role: Option<Role>,
    /// When it was made.
    pub created: Timestamp,
}

/// What hangs on a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIf {
    /// Registered clients that would lose their access.
    pub clients: usize,
    /// Their live grants, which would end at once.
    pub live_grants: usize,
}

/// One act that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its id.
    pub approval: ApprovalId,
    /// Who asked for it.
    pub requested_by: OperatorName,
    /// When.
    pub requested: Timestamp,
    /// Until when it can be approved.
    pub expires: Timestamp,
    /// The act.
    pub act: Command,
    /// What hung on it when it was asked for.
    pub what_if: WhatIf,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// The subject is revoked.
    Revoked(Subject),
    /// The client is on hold.
    ClientHeld(ClientId),
    /// The client may ask for tokens again.
    ClientReleased(ClientId),
    /// The roster now has this many patients.
    RosterImported {
        /// Patients in the roster.
        patients: usize,
    },
    /// The lists were asked for.
    ListsRefreshed {
        /// Lists that are held now.
        lists: usize,
        /// Lists that could not be fetched; their grace runs.
        failed: usize,
        /// Registered certificates that were found revoked, whose grants have ended.
        revoked: usize,
    },
    /// What the files say now is in force; the keys that changed, and the files whose content did.
    Reloaded {
        /// Names, as `community[0].uri`; none if nothing changed.
        changed: Vec<String>,
    },
    /// The backup is made.
    BackedUp(BackupMade),
    /// What hangs on the subject.
    WhatIf(WhatIf),
    /// Who trusts whom.
    Passport(Box<Passport>),
    /// What would stop, for each certificate that is meant.
    WouldEnd(Vec<Ends>),
    /// What ends soon.
    Expiring(Lapses),
    /// Registered clients; ask again after the last one for more.
    Clients(Vec<ClientSummary>),
    /// Incidents, newest first.
    Incidents(Vec<Incident>),
    /// Operators.
    Operators(Vec<OperatorSummary>),
    /// Acts that wait.
    Approvals(Vec<Waiting>),
    /// The operator is made.
    OperatorAdded {
        /// Its name.
        name: OperatorName,
        /// Its role.
        role: Role,
        /// Its key; kept nowhere, shown this once.
        key: IssuedKey,
    },
    /// The operator is gone.
    OperatorRemoved(OperatorName),
    /// Nothing is done yet: a second person must approve.
    WaitsForApproval(Box<Waiting>),
    /// The act is turned down.
    Rejected(ApprovalId),
}

/// Why a command was not done. Nothing is half-done after it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The operator's role does not allow the act.
    #[error("the role {role} may not {command}; ask a security officer")]
    Forbidden {
        /// The operator's role.
        role: Role,
        /// The act.
        command: &'static str,
    },
    /// The one who asked for an act cannot approve it, nor can one who was made an operator after that.
    #[error("an act of two needs a second person, who was an operator before it was asked for")]
    SamePerson,
    /// No such operator or act; it may have been taken, have expired or never been.
    #[error("there is no such {0}, or not any more")]
    Unknown(&'static str),
    /// The name is taken.
    #[error("there is an operator of that name")]
    NameTaken,
    /// Without a security officer nobody could make another.
    #[error("the last security officer stays; add another first")]
    LastOfficer,
    /// As many operators as are allowed.
    #[error("there are {0} operators already (limits.operators)")]
    TooMany(usize),
    /// The code is wrong, was used or has expired, there is an operator already, or one of the name.
    #[error(
        "the code is wrong, used or expired, or the name is taken; restart `ward serve` for a new one"
    )]
    Code,
    /// The key is wrong.
    #[error("the operator key is not valid")]
    Key,
    /// Too many failed attempts.
    #[error("too many failed attempts; try again in {0} s")]
    Slow(u32),
    /// The new configuration cannot be taken; all of the old one stays.
    #[error("nothing was changed: {0}")]
    Reload(String),
    /// The backup was not made.
    #[error("{0}")]
    Backup(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log refused; the act is not acknowledged.
    #[error(transparent)]
    Log(#[from] SinkError),
    /// There is no such subject, or the revocation could not be kept.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}
