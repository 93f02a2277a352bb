//! The commands and their execution.

use std::sync::Arc;
use std::time::Duration;

use ward_core::{
    Actor, BoxFuture, ClientId, Clock, CorrelationId, Event, EventKind, EventSink, GrantId,
    IncidentId, Limits, OrganizationUri, Rng, SinkError, TenantId,
};
use ward_issuer::{Act, Issuer, IssuerError};
use ward_net::lists::RevocationLists;
use ward_policy::Subject;
use ward_respond::{Contain, ContainError};
use ward_store::StoreError;
use ward_store::repo::{Member, Registration, Repositories, RosterRow};
use ward_trust::jose::Jws;
use ward_trust::{Community, PathError};

use crate::{Operator, Role};

/// One act of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ends everything that hangs on the subject; refused from the next request on.
    Revoke {
        /// What is revoked.
        subject: Subject,
        /// Why, for the log. No PHI.
        reason: String,
        /// The incident that it answers.
        incident: Option<IncidentId>,
    },
    /// Puts a client on hold: its grants end, and it gets no token until it is released (T16).
    HoldClient {
        /// The client.
        client: ClientId,
        /// The grant under which it was noticed.
        grant: Option<GrantId>,
        /// Why, for the log. No PHI.
        reason: String,
        /// The incident that it answers.
        incident: Option<IncidentId>,
    },
    /// Lets a client that is on hold ask for tokens again.
    ReleaseClient {
        /// The client, by the id that it has or had when it was put on hold.
        client: ClientId,
        /// Why, for the log. No PHI.
        reason: String,
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
}

impl Command {
    const fn word(&self) -> &'static str {
        match self {
            Self::Revoke { .. } => "revoke",
            Self::HoldClient { .. } => "hold-client",
            Self::ReleaseClient { .. } => "release-client",
            Self::ImportRoster { .. } => "import-roster",
            Self::RefreshLists => "refresh-lists",
        }
    }
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Why a command was not done. Nothing is half-done after it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The operator's role does not allow the act.
    #[error("the role {role:?} may not {command}; ask a security officer")]
    Forbidden {
        /// The operator's role.
        role: Role,
        /// The act.
        command: &'static str,
    },
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

/// What the commands work on.
#[derive(Clone)]
pub struct Deps {
    /// The store.
    pub store: Repositories,
    /// The log.
    pub sink: Arc<dyn EventSink>,
    /// Where revocation takes effect.
    pub issuer: Arc<Issuer>,
    /// Revocation lists.
    pub lists: Arc<RevocationLists>,
    /// The communities whose members are registered.
    pub communities: Vec<Community>,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

/// Executes commands for one tenant.
pub struct Admin {
    tenant: TenantId,
    deps: Deps,
}

/// Registrations read at a time when lists are compared with them.
const PAGE: usize = 500;

impl Admin {
    /// Commands for this tenant.
    pub const fn new(tenant: TenantId, deps: Deps) -> Self {
        Self { tenant, deps }
    }

    /// Does the command and records it; or refuses, and records that.
    pub async fn execute(&self, operator: &Operator, command: Command) -> Result<Done, AdminError> {
        if !operator.role.may(&command) {
            let word = command.word();
            let event = self.event(operator, EventKind::Operator, word).refused("ADMIN-ROLE");
            self.deps.sink.record(vec![event]).await?;
            return Err(AdminError::Forbidden { role: operator.role, command: word });
        }
        match command {
            Command::Revoke { subject, reason, incident } => {
                self.revoke(operator, subject, reason, incident).await
            }
            Command::HoldClient { client, grant, reason, incident } => {
                let act = self.act(operator, reason, incident);
                self.deps.issuer.hold(client, grant, &act).await?;
                Ok(Done::ClientHeld(client))
            }
            Command::ReleaseClient { client, reason } => {
                let act = self.act(operator, reason, None);
                self.deps.issuer.release(client, &act).await?;
                Ok(Done::ClientReleased(client))
            }
            Command::ImportRoster { organization, members, rows } => {
                self.import_roster(operator, &organization, members, rows).await
            }
            Command::RefreshLists => self.refresh_lists(operator).await,
        }
    }

    async fn revoke(
        &self,
        operator: &Operator,
        subject: Subject,
        reason: String,
        incident: Option<IncidentId>,
    ) -> Result<Done, AdminError> {
        let act = self.act(operator, reason, incident);
        self.deps.issuer.revoke(subject.clone(), &act).await?;
        Ok(Done::Revoked(subject))
    }

    fn act(&self, operator: &Operator, reason: String, incident: Option<IncidentId>) -> Act {
        Act {
            operator: operator.name.clone(),
            reason,
            incident,
            correlation: CorrelationId::new(&*self.deps.clock, &*self.deps.rng),
        }
    }

    async fn import_roster(
        &self,
        operator: &Operator,
        organization: &OrganizationUri,
        members: Vec<Member>,
        rows: Vec<RosterRow>,
    ) -> Result<Done, AdminError> {
        let patients = rows.len();
        let event = self
            .event(operator, EventKind::Roster, "imported")
            .with("organization", organization.as_str())
            .with("patients", patients.to_string())
            .with("members", members.len().to_string());
        let rosters = &self.deps.store.rosters;
        let seq = rosters.import(&self.tenant, organization, members, rows, event).await?;
        self.deps.sink.settle(seq).await?;
        Ok(Done::RosterImported { patients })
    }

    async fn refresh_lists(&self, operator: &Operator) -> Result<Done, AdminError> {
        let report = self.deps.lists.refresh().await;
        let failed = report.lists.iter().filter(|list| list.failure.is_some()).count();
        let mut revoked = 0;
        let mut after = None;
        loop {
            let page = self.deps.store.registrations.list(&self.tenant, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.client);
            for registration in &page {
                let subject = Subject::Certificate(registration.thumbprint);
                if registration.cancelled
                    || self.deps.store.epochs.current(&self.tenant, &subject) > 0
                    || !self.is_listed(registration).await
                {
                    continue;
                }
                self.revoke(operator, subject, "listed as revoked".to_owned(), None).await?;
                revoked += 1;
            }
        }
        let event = self
            .event(operator, EventKind::Operator, "refresh-lists")
            .with("lists", report.lists.len().to_string())
            .with("failed", failed.to_string());
        self.deps.sink.record(vec![event]).await?;
        Ok(Done::ListsRefreshed { lists: report.lists.len(), failed, revoked })
    }

    /// Whether the lists of its issuers name a certificate on the path of this registration. Lists
    /// that cannot be had say nothing here; at the token endpoint they refuse.
    async fn is_listed(&self, registration: &Registration) -> bool {
        let community = self.deps.communities.iter().find(|one| one.uri == registration.community);
        let statement = Jws::parse(&registration.statement, &self.deps.limits);
        let (Some(community), Ok(statement)) = (community, statement) else {
            return false;
        };
        let (leaf, extra) = (statement.leaf(), statement.extra());
        let verdict = self.deps.lists.validate(leaf, extra, community, Duration::MAX).await;
        matches!(verdict, Err(PathError::Revoked))
    }

    fn event(&self, operator: &Operator, kind: EventKind, action: &'static str) -> Event {
        let clock = &*self.deps.clock;
        let correlation = CorrelationId::new(clock, &*self.deps.rng);
        let mut event = Event::new(kind, action, self.tenant.clone(), clock.now(), correlation);
        event.actor = Actor { operator: Some(operator.name.clone()), ..Actor::default() };
        event
    }
}

/// Response acts through the same command as a person, in the role that may contain and nothing else.
impl Contain for Admin {
    fn contain_client<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: ClientId,
        grant: Option<GrantId>,
        incident: IncidentId,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), ContainError>> {
        Box::pin(async move {
            if *tenant != self.tenant {
                return Err(ContainError(format!("tenant {tenant} is not served here")));
            }
            let operator = Operator { name: "ward-respond".into(), role: Role::Automatic };
            let reason = reason.to_owned();
            let command = Command::HoldClient { client, grant, reason, incident: Some(incident) };
            let done = self.execute(&operator, command).await;
            done.map(|_| ()).map_err(|error| ContainError(error.to_string()))
        })
    }
}
