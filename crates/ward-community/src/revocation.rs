//! Certificates that end, and the lists that say so.
//!
//! Refused: to revoke what is revoked already, and to take a revocation back.

use std::sync::{Arc, PoisonError};

use ward_core::Thumbprint;
use ward_core::crypto::unhex;

use crate::publish::{Published, event, renew_list};
use crate::register::{MAX_UNLOGGED, Member, Reason, Register, Revocation};
use crate::{Authority, CommunityError, Operator};

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
        let stands = |member: &Member| {
            let serial = unhex::<16>(&member.serial).unwrap_or_default();
            !published.issuing_list.list.is_revoked(&serial)
        };
        let named =
            |member: &Member| member.thumbprint == wanted || (key.is_some() && member.key == key);
        if !stands(member)
            && !register.members.iter().any(|one| named(one) && one.revoked.is_none())
        {
            return Err(CommunityError::Revoked);
        }
        // Set, but not on the list: an earlier attempt failed half-way and is taken up here.
        let mut revoked = Vec::new();
        for member in register.members.iter_mut().filter(|member| named(member)) {
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
        self.publish_list(&mut register, Authority::Issuing).await?;
        self.log(&mut register).await?;
        Ok(revoked.len())
    }

    /// Signs lists anew that are past half of their life.
    pub async fn publish(&self) -> Result<(), CommunityError> {
        let due = |operator: &Self, authority| {
            operator.deps.clock.now() >= operator.published().list(authority).half()
        };
        for authority in [Authority::Root, Authority::Issuing] {
            if !due(self, authority) {
                continue;
            }
            let mut register = self.register.lock().await;
            // Someone else may have done it while this waited.
            if due(self, authority) {
                match self.publish_list(&mut register, authority).await {
                    Ok(()) => self.log(&mut register).await?,
                    Err(CommunityError::RootAway) => root_is_due(),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Signs this authority's next list now.
    pub async fn publish_now(&self, authority: Authority) -> Result<(), CommunityError> {
        let mut register = self.register.lock().await;
        self.publish_list(&mut register, authority).await?;
        self.log(&mut register).await
    }

    pub(crate) async fn publish_list(
        &self,
        register: &mut Register,
        authority: Authority,
    ) -> Result<(), CommunityError> {
        if register.unlogged.len() >= MAX_UNLOGGED {
            self.log(register).await?;
        }
        let info = renew_list(&self.dir, &self.deps, register, authority)?;
        let mut published = Published::clone(&self.published());
        match authority {
            Authority::Root => published.root_list = info,
            Authority::Issuing => published.issuing_list = info,
        }
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
        Ok(())
    }
}

/// The list at hand is good for a while yet; who reads it checks its date.
pub(crate) fn root_is_due() {
    tracing::error!(
        "the root's list is past half of its life, and the root's key is away: bring it, and publish the lists"
    );
}
