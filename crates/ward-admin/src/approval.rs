//! Acts of two (amendments, "Signals"): revoking a community, an anchor or an intermediate cuts off many,
//! so a second person approves it, having seen what hangs on it. A compromised key cannot wait.
//!
//! A certificate counts as one client's alone only where that is known; anything else is taken for an
//! issuer's. The second person must have been an operator before the act was asked for, so that nobody
//! makes one for the purpose; where there are two security officers, to add a third or to remove one of
//! them needs both.

use ward_core::{ApprovalId, EventKind};
use ward_policy::Subject;
use ward_store::StoreError;
use ward_store::repo::{Approval, Registration};

use crate::admin::Admin;
use crate::commands::{AdminError, Command, Done, KEY_COMPROMISE, Waiting, WhatIf};
use crate::hanging::Walk;
use crate::operators::{is_officer, named};
use crate::{Operator, Role};

/// Whether a reason says that a key was compromised.
fn is_key_compromise(reason: &str) -> bool {
    reason == KEY_COMPROMISE
        || reason.strip_prefix(KEY_COMPROMISE).is_some_and(|rest| rest.starts_with(':'))
}

impl Admin {
    /// Whether the command needs a second person.
    pub(crate) async fn needs_two(&self, command: &Command) -> Result<bool, AdminError> {
        Ok(match command {
            Command::Revoke { reason, .. } if is_key_compromise(reason) => false,
            Command::Revoke { subject, .. } => match subject {
                Subject::Community(_) => true,
                Subject::Certificate(_) => !self.is_one_clients(subject).await?,
                Subject::Grant(_)
                | Subject::Token(_)
                | Subject::Client(_)
                | Subject::Certification(_) => false,
            },
            // Who could remove the other officer, or make one of their own, would be two people alone.
            Command::AddOperator { role: Role::SecurityOfficer, .. } => {
                let all = self.deps.store.operators.list(&self.tenant).await?;
                all.iter().filter(|one| is_officer(one)).count() >= 2
            }
            Command::RemoveOperator { name } => {
                let all = self.deps.store.operators.list(&self.tenant).await?;
                let officers = || all.iter().filter(|one| is_officer(one));
                officers().count() >= 2 && officers().any(|one| one.name == *name)
            }
            _ => false,
        })
    }

    /// Keeps the command until a second person approves it.
    pub(crate) async fn propose(
        &self,
        operator: &Operator,
        command: Command,
    ) -> Result<Done, AdminError> {
        let requester = self.kept(operator).await?;
        let what_if = match &command {
            Command::Revoke { subject, .. } => self.what_if(subject).await?,
            _ => WhatIf::default(),
        };
        let (clock, rng) = (&*self.deps.clock, &*self.deps.rng);
        let now = clock.now();
        let approval = Approval {
            id: ApprovalId::new(clock, rng),
            tenant: self.tenant.clone(),
            requested_by: requester.id,
            requested_by_name: requester.name,
            requested: now,
            expires: now.plus(self.deps.limits.approval_life),
            act: to_json(&command)?,
            what_if: to_json(&what_if)?,
        };
        let waiting = waiting(&approval, command, what_if);
        let event = self
            .event(operator, EventKind::Operator, "asked-for")
            .with("approval", approval.id.to_string())
            .with("act", approval.act.as_str())
            .with("what_if", approval.what_if.as_str());
        let seq = self.deps.store.operators.propose(approval, event).await?;
        self.deps.sink.settle(seq).await?;
        Ok(Done::WaitsForApproval(Box::new(waiting)))
    }

    /// The acts that wait.
    pub(crate) async fn approvals(&self) -> Result<Done, AdminError> {
        let now = self.deps.clock.now();
        let kept = self.deps.store.operators.waiting(&self.tenant, now).await?;
        // An act of another version of Ward that this one cannot read is not shown, nor can it be approved.
        let read = |approval: &Approval| {
            let act = serde_json::from_str(&approval.act).ok()?;
            let what_if = serde_json::from_str(&approval.what_if).ok()?;
            Some(waiting(approval, act, what_if))
        };
        Ok(Done::Approvals(kept.iter().filter_map(read).collect()))
    }

    /// Does an act that waits, for a second person; or turns it down.
    pub(crate) async fn decide(
        &self,
        operator: &Operator,
        id: ApprovalId,
        yes: bool,
    ) -> Result<Done, AdminError> {
        let now = self.deps.clock.now();
        let unknown = AdminError::Unknown("act that waits");
        let kept = self.deps.store.operators.waiting(&self.tenant, now).await?;
        let Some(approval) = kept.into_iter().find(|one| one.id == id) else {
            return Err(unknown);
        };
        let word = if yes { "approve" } else { "reject" };
        let event = self
            .event(operator, EventKind::Operator, word)
            .with("approval", id.to_string())
            .with("act", approval.act.as_str())
            .with("requested_by", approval.requested_by_name.as_str());
        if yes {
            let second = self.kept(operator).await?;
            if second.id == approval.requested_by || second.created >= approval.requested {
                self.deps.sink.record(vec![event.refused("ADMIN-TWO")]).await?;
                return Err(AdminError::SamePerson);
            }
        }
        let operators = &self.deps.store.operators;
        let requester = operators.get(&self.tenant, approval.requested_by).await?;
        let command: Option<Command> = serde_json::from_str(&approval.act).ok();
        match operators.take(&self.tenant, id, event).await {
            Err(StoreError::Conflict) => return Err(unknown),
            Err(error) => return Err(error.into()),
            Ok(seq) => self.deps.sink.settle(seq).await?,
        }
        if !yes {
            return Ok(Done::Rejected(id));
        }
        // Who asked must still be an operator who may.
        let requester = requester.ok_or(AdminError::Unknown("operator who asked for it"))?;
        let role = Role::parse(&requester.role);
        let (Some(role), Some(mut command)) = (role, command) else { return Err(unknown) };
        if !role.may(&command) {
            return Err(AdminError::Forbidden { role, command: command.word() });
        }
        if let Command::Revoke { reason, .. } = &mut command {
            *reason = format!("{reason} (approved by {})", operator.name);
        }
        self.perform(&named(&requester.name, role), command).await
    }

    /// Counts what hangs on the subject.
    pub(crate) async fn what_if(&self, subject: &Subject) -> Result<WhatIf, AdminError> {
        let mut found = WhatIf::default();
        let mut walk = match subject {
            Subject::Certificate(one) => {
                self.deps.issuer.mark_new().await?;
                Walk::on([*one])
            }
            Subject::Community(uri) => Walk::default().and_in([uri.clone()]),
            Subject::Client(client) => Walk::default().and(*client),
            Subject::Grant(id) => {
                let grant = self.deps.store.grants.get(&self.tenant, *id).await?;
                grant.map_or_else(Walk::default, |grant| Walk::default().and(grant.client))
            }
            // Nothing else hangs on one token.
            Subject::Token(_) => Walk::default(),
            // All that may show it: there is no index of certifications.
            Subject::Certification(_) => Walk::all(),
        };
        loop {
            let page = self.step(&mut walk).await?;
            if page.is_empty() {
                return Ok(found);
            }
            for registration in &page {
                let (lost, live_grants) = self.hangs(registration, subject).await?;
                found.clients += usize::from(lost);
                found.live_grants += live_grants;
            }
        }
    }

    /// Whether the client would lose access with the subject, and how many live grants.
    async fn hangs(
        &self,
        registration: &Registration,
        subject: &Subject,
    ) -> Result<(bool, usize), AdminError> {
        let grants = &self.deps.store.grants;
        let live = grants.live_for_client(&self.tenant, registration.client).await?;
        let hangs = live.iter().filter(|grant| {
            grant.hangs_on.iter().any(|(on, _)| on == subject)
                || *subject == Subject::Grant(grant.id)
        });
        let live_grants = hangs.count();
        let named = match subject {
            Subject::Client(client) => *client == registration.client,
            Subject::Community(uri) => *uri == registration.community,
            Subject::Certificate(certificate) => {
                *certificate == registration.thumbprint
                    || self.presented(registration).contains(certificate)
            }
            Subject::Certification(id) => self.requires(registration, *id),
            Subject::Grant(_) | Subject::Token(_) => false,
        };
        let lost = live_grants > 0 || (named && !registration.cancelled);
        Ok((lost, live_grants))
    }

    /// Whether a certificate is known to be a client's own and no issuer's.
    async fn is_one_clients(&self, subject: &Subject) -> Result<bool, AdminError> {
        let Subject::Certificate(thumbprint) = subject else { return Ok(false) };
        let communities = self.deps.issuer.communities();
        let configured = communities
            .iter()
            .flat_map(|one| one.anchors.iter().chain(&one.intermediates))
            .any(|certificate| certificate.thumbprint() == *thumbprint);
        if configured {
            return Ok(false);
        }
        self.deps.issuer.mark_new().await?;
        let mut own = false;
        let mut walk = Walk::on([*thumbprint]);
        loop {
            let page = self.step(&mut walk).await?;
            if page.is_empty() {
                return Ok(own);
            }
            for registration in &page {
                own |= registration.thumbprint == *thumbprint;
                if self.presented(registration).contains(thumbprint) {
                    return Ok(false);
                }
            }
        }
    }
}

fn waiting(approval: &Approval, act: Command, what_if: WhatIf) -> Waiting {
    Waiting {
        approval: approval.id,
        requested_by: approval.requested_by_name.clone(),
        requested: approval.requested,
        expires: approval.expires,
        act,
        what_if,
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, AdminError> {
    serde_json::to_string(value)
        .map_err(|_| StoreError::Unavailable("an act cannot be written as JSON".to_owned()).into())
}
