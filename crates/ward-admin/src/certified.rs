//! Certifications, as an operator sees them, and looked at again by themselves for as long as this Ward runs (CRT-16): what
//! their certifiers do not stand by any more ends at the next request.

use std::sync::Arc;
use std::time::Duration;

use ward_core::{Thumbprint, Timestamp};
use ward_issuer::{CertificationRule, Certifiers};
use ward_store::Certified;
use ward_store::repo::Registration;
use ward_trust::{Certificate, Community};

use crate::admin::Admin;
use crate::passport::{CertificationView, SupportedCertification};

/// Before it is tried again what the store or the log refused.
const AGAIN: Duration = Duration::from_secs(1);

impl Admin {
    /// Asks certifiers every `limits.certification_status_age` about what has live grants, and looks at their certificates
    /// whenever a list brings news; begins with what was issued before this Ward started.
    pub async fn follow_certifications(self: Arc<Self>) {
        while let Err(error) = self.deps.issuer.recall().await {
            tracing::error!(%error, "which certifications are in use cannot be read yet");
            tokio::time::sleep(AGAIN).await;
        }
        let mut news = self.deps.lists.news();
        let age = self.deps.limits.certification_status_age.max(Duration::from_millis(100));
        let mut ask = true;
        loop {
            match self.deps.issuer.recheck(ask).await {
                Ok(found) if found.ended > 0 => {
                    tracing::warn!(
                        ended = found.ended,
                        "certifications are void; what rested on them has ended"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "a void certification could not be ended yet");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
            tokio::select! {
                changed = news.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    ask = false;
                }
                () = tokio::time::sleep(age) => ask = true,
            }
        }
    }

    /// The anchors of certifiers that are not the community's own, each once.
    pub(crate) fn certifiers(&self, community: &Community) -> Vec<Certificate> {
        let rules = self.deps.issuer.certifications(&community.uri);
        let anchors = rules.iter().filter_map(|rule| rule.certifiers.trust());
        let mut found: Vec<Certificate> = Vec::new();
        for anchor in anchors.flat_map(|trust| &trust.anchors) {
            if !community.anchors.contains(anchor) && !found.contains(anchor) {
                found.push(anchor.clone());
            }
        }
        found
    }

    /// What a community supports.
    pub(crate) fn supported(&self, community: &Community) -> Vec<SupportedCertification> {
        let rules = self.deps.issuer.certifications(&community.uri);
        rules.iter().map(supported).collect()
    }

    /// The certifications that a client registered with.
    pub(crate) fn shown_certifications(
        &self,
        registration: &Registration,
    ) -> Vec<CertificationView> {
        let now = self.deps.clock.now();
        registration.certifications.iter().map(|one| self.certification(one, now)).collect()
    }

    fn certification(&self, one: &Certified, now: Timestamp) -> CertificationView {
        CertificationView {
            id: one.id,
            name: one.name.clone(),
            uris: one.uris.clone(),
            certifier: one.issuer.clone(),
            signer: one.signer,
            until: one.expires,
            void: self.void(one, now),
        }
    }

    /// Why it counts no more, by what is at hand.
    fn void(&self, one: &Certified, now: Timestamp) -> Option<&'static str> {
        if self.deps.issuer.is_certification_ended(one.id, one.signer) {
            Some("revoked")
        } else if self.is_ended(one.signer) || self.deps.lists.was_seen_revoked(one.signer) {
            Some("its certifier is revoked")
        } else if now.as_seconds() > one.expires.as_seconds() {
            Some("expired")
        } else {
            None
        }
    }

    /// Whether the client would get no token without this certification.
    pub(crate) fn requires(&self, registration: &Registration, id: Thumbprint) -> bool {
        let rules = self.deps.issuer.certifications(&registration.community);
        let shown = registration.certifications.iter().find(|one| one.id == id);
        shown.is_some_and(|one| {
            rules.iter().any(|rule| rule.required && one.uris.contains(&rule.uri))
        })
    }

    /// Why a client would get no token for want of a certification, by what is at hand.
    pub(crate) fn lacks(&self, registration: &Registration) -> Option<String> {
        let now = self.deps.clock.now();
        let rules = self.deps.issuer.certifications(&registration.community);
        let shown = |rule: &CertificationRule| {
            registration
                .certifications
                .iter()
                .any(|one| one.uris.contains(&rule.uri) && self.void(one, now).is_none())
        };
        let lacking = rules.iter().find(|rule| rule.required && !shown(rule))?;
        Some(format!("the required certification {} is missing or has lapsed", lacking.uri))
    }
}

fn supported(rule: &CertificationRule) -> SupportedCertification {
    let (declared, certifiers, anchors) = match &rule.certifiers {
        Certifiers::Declared => (true, Vec::new(), Vec::new()),
        Certifiers::Third { trust, names } => {
            (false, names.clone(), trust.anchors.iter().map(Certificate::thumbprint).collect())
        }
    };
    SupportedCertification {
        uri: rule.uri.clone(),
        required: rule.required,
        declared,
        certifiers,
        anchors,
        unlocks: rule.unlocks.to_string(),
    }
}
