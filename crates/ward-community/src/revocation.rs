//! Certificates that end, and the lists that say so.
//!
//! Refused: to revoke what is revoked already, and to take a revocation back.

use std::sync::{Arc, PoisonError};

use ward_core::Thumbprint;
use ward_core::crypto::unhex;

use crate::publish::{Published, event, renew_list};
use crate::register::{MAX_UNLOGGED, Member, Reason, Register, Revocation};
use crate::{Authority, AuthorityId, CommunityError, Operator};

impl Operator {
    /// Revokes a certificate for good and publishes the next list at once. A key that is compromised takes every
    /// certificate with it that was issued for it; how many were revoked.
    pub async fn revoke(
        &self,
        thumbprint: &Thumbprint,
        reason: Reason,
    ) -> Result<usize, CommunityError> {
        let wanted = thumbprint.to_string();
        let mut register = self.register.lock().await;
        let at = self.deps.clock.now();
        let member = register.members.iter().find(|member| member.thumbprint == wanted);
        let member = member.ok_or(CommunityError::Unknown)?;
        let key = member.key.clone().filter(|_| reason == Reason::KeyCompromise);
        let published = self.published();
        let issuer =
            |member: &Member| AuthorityId { of: Authority::Issuing, generation: member.issuer };
        let stands = |member: &Member| {
            let serial = unhex::<16>(&member.serial).unwrap_or_default();
            published.one(issuer(member)).is_some_and(|one| !one.list.list.is_revoked(&serial))
        };
        let named =
            |member: &Member| member.thumbprint == wanted || (key.is_some() && member.key == key);
        if !stands(member)
            && !register.members.iter().any(|one| named(one) && one.revoked.is_none())
        {
            return Err(CommunityError::Revoked);
        }
        // Set, but not on the list: an earlier attempt failed half-way and is taken up here.
        let mut lists = Vec::new();
        let mut revoked = Vec::new();
        for member in register.members.iter_mut().filter(|member| named(member)) {
            if !lists.contains(&issuer(member)) {
                lists.push(issuer(member));
            }
            if member.revoked.is_none() {
                member.revoked = Some(Revocation { at, reason });
                revoked.push(member.thumbprint.clone());
            }
        }
        for thumbprint in &revoked {
            let event = event(&register, &self.deps, "revoked")
                .with("thumbprint", thumbprint.clone())
                .with("reason", reason.as_str());
            register.unlogged.push(event);
        }
        // From here on nothing takes the revocation back: if a step fails, trying again, or the next
        // act, writes, publishes and records it.
        for id in lists.into_iter().filter(|id| published.one(*id).is_some()) {
            self.publish_list(&mut register, id).await?;
        }
        self.log(&mut register).await?;
        Ok(revoked.len())
    }

    /// Ends authorities of which nothing is good any longer, and signs lists anew that are past half of their life.
    pub async fn publish(&self) -> Result<(), CommunityError> {
        self.end_spent().await?;
        let due = |operator: &Self, id| {
            let half = operator.published().one(id).map(|one| one.list.half());
            half.is_some_and(|half| operator.deps.clock.now() >= half)
        };
        for id in self.authorities() {
            if !due(self, id) {
                continue;
            }
            let mut register = self.register.lock().await;
            // Someone else may have done it while this waited.
            if due(self, id) {
                match self.publish_list(&mut register, id).await {
                    Ok(()) => self.log(&mut register).await?,
                    Err(CommunityError::RootAway) => root_is_due(),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Signs the next lists of the authorities of this kind now.
    pub async fn publish_now(&self, authority: Authority) -> Result<(), CommunityError> {
        let mut register = self.register.lock().await;
        for id in register.of_kind(authority).collect::<Vec<_>>() {
            self.publish_list(&mut register, id).await?;
        }
        self.log(&mut register).await
    }

    pub(crate) async fn publish_list(
        &self,
        register: &mut Register,
        id: AuthorityId,
    ) -> Result<(), CommunityError> {
        if register.unlogged.len() >= MAX_UNLOGGED {
            self.log(register).await?;
        }
        renew_list(&self.dir, &self.deps, register, id)?;
        self.take_up(register)
    }

    /// Hands out what the files say now.
    pub(crate) fn take_up(&self, register: &Register) -> Result<(), CommunityError> {
        let published = Arc::new(Published::read(&self.dir, register)?);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = published;
        Ok(())
    }
}

/// The list at hand is good for a while yet; who reads it checks its date.
pub(crate) fn root_is_due() {
    tracing::error!(
        "a root's list is past half of its life, and the root's key is away: bring it, and publish the lists"
    );
}
