//! The execution of commands: authorised by role, done whole or not at all, recorded either way.

use std::sync::Arc;

use ward_core::{
    Actor, BoxFuture, ClientId, Clock, CorrelationId, Event, EventKind, EventSink, GrantId,
    IncidentId, Limits, OrganizationUri, Rng, TenantId, Thumbprint,
};
use ward_issuer::{Act, Issuer};
use ward_net::lists::RevocationLists;
use ward_policy::Subject;
use ward_respond::{Contain, ContainError};
use ward_store::repo::{Member, Registration, Repositories, RosterRow};
use ward_trust::jose::Jws;

use crate::attempts::Attempts;
use crate::commands::{AdminError, ClientSummary, Command, Done};
use crate::learn::Backlog;
use crate::site::Site;
use crate::{Operator, Role};

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
    /// What only the program around it can do.
    pub site: Arc<dyn Site>,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

/// Executes commands for one tenant.
pub struct Admin {
    pub(crate) tenant: TenantId,
    pub(crate) deps: Deps,
    pub(crate) attempts: Attempts,
    /// Held while operators are counted and changed, so that two who remove each other do not both succeed.
    pub(crate) operators_change: tokio::sync::Mutex<()>,
    /// What lists named and was not looked up yet; held while it is, so that each certificate is ended once.
    pub(crate) learning: tokio::sync::Mutex<Backlog>,
}

/// Registrations read at a time when lists are compared with them.
const PAGE: usize = 500;

impl Admin {
    /// Commands for this tenant.
    pub fn new(tenant: TenantId, deps: Deps) -> Self {
        let attempts = Attempts::new(deps.limits.admin_failures_per_minute);
        Self {
            tenant,
            deps,
            attempts,
            operators_change: tokio::sync::Mutex::default(),
            learning: tokio::sync::Mutex::default(),
        }
    }

    /// Does the command and records it; or refuses, and records that.
    pub async fn execute(&self, operator: &Operator, command: Command) -> Result<Done, AdminError> {
        if !operator.role.may(&command) {
            let word = command.word();
            let event = self.event(operator, EventKind::Operator, word).refused("ADMIN-ROLE");
            self.deps.sink.record(vec![event]).await?;
            return Err(AdminError::Forbidden { role: operator.role, command: word });
        }
        if self.needs_two(&command).await? {
            return self.propose(operator, command).await;
        }
        self.perform(operator, command).await
    }

    /// Does a command that may be done.
    pub(crate) async fn perform(
        &self,
        operator: &Operator,
        command: Command,
    ) -> Result<Done, AdminError> {
        let reading = self.event(operator, EventKind::Operator, command.word());
        let done = match command {
            Command::Revoke { subject, reason, incident } => {
                return self.revoke(operator, subject, reason, incident).await;
            }
            Command::HoldClient { client, grant, reason, incident } => {
                let act = self.act(operator, reason, incident);
                self.deps.issuer.hold(client, grant, &act).await?;
                return Ok(Done::ClientHeld(client));
            }
            Command::ReleaseClient { client, reason } => {
                let act = self.act(operator, reason, None);
                self.deps.issuer.release(client, &act).await?;
                return Ok(Done::ClientReleased(client));
            }
            Command::ImportRoster { organization, members, rows } => {
                return self.import_roster(operator, &organization, members, rows).await;
            }
            Command::RefreshLists => return self.refresh_lists(operator).await,
            Command::AddOperator { name, role } => {
                return self.add_operator(operator, name, role).await;
            }
            Command::RemoveOperator { name } => return self.remove_operator(operator, name).await,
            // Boxed: an approved act comes back here.
            Command::Approve { approval } => {
                return Box::pin(self.decide(operator, approval, true)).await;
            }
            Command::Reject { approval } => {
                return Box::pin(self.decide(operator, approval, false)).await;
            }
            Command::Reload => return self.reload(operator).await,
            Command::Backup(wanted) => return self.back_up(operator, &wanted).await,
            Command::WhatIf { subject } => Done::WhatIf(self.what_if(&subject).await?),
            Command::Passport { entity } => Done::Passport(Box::new(self.passport(entity).await?)),
            Command::PassportWhatIf { certificate } => {
                Done::WouldEnd(self.would_end(&certificate).await?)
            }
            Command::Expiring { days } => Done::Expiring(self.expiring(days).await?),
            Command::ListClients { after } => self.list_clients(after).await?,
            Command::ListIncidents => {
                Done::Incidents(self.deps.store.incidents.list(&self.tenant, PAGE).await?)
            }
            Command::ListOperators => self.list_operators().await?,
            Command::ListApprovals => self.approvals().await?,
        };
        // Who read what is an act too.
        self.deps.sink.record(vec![reading]).await?;
        Ok(done)
    }

    async fn list_clients(&self, after: Option<ClientId>) -> Result<Done, AdminError> {
        let page = self.deps.store.registrations.list(&self.tenant, after, PAGE).await?;
        let summary = |one: Registration| ClientSummary {
            client: one.client,
            community: one.community,
            uri: one.uri,
            name: one.client_name,
            scopes: one.scopes,
            certificate: one.thumbprint,
            registered: one.registered,
            updated: one.updated,
            cancelled: one.cancelled,
        };
        Ok(Done::Clients(page.into_iter().map(summary).collect()))
    }

    /// The registrations after `after`, which moves on; none when all were seen.
    pub(crate) async fn page(
        &self,
        after: &mut Option<ClientId>,
    ) -> Result<Vec<Registration>, AdminError> {
        let page = self.deps.store.registrations.list(&self.tenant, *after, PAGE).await?;
        *after = page.last().map(|last| last.client);
        Ok(page)
    }

    /// Certificates that a client presented above its own.
    pub(crate) fn presented(&self, registration: &Registration) -> Vec<Thumbprint> {
        let statement = Jws::parse(&registration.statement, &self.deps.limits);
        statement.map_or_else(
            |_| Vec::new(),
            |jws| jws.extra().iter().map(ward_trust::Certificate::thumbprint).collect(),
        )
    }

    pub(crate) async fn revoke(
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

    pub(crate) fn event(
        &self,
        operator: &Operator,
        kind: EventKind,
        action: &'static str,
    ) -> Event {
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
