//! Who verifies a software statement: chosen by its issuer (udap.md §8.20).
//!
//! UDAP's own way, by certificate, is for every issuer for whom no other is set. One for whom another is set goes that way
//! only: its statements are never tried as something else. What a way must bring is [`Proven`], and whatever follows in a
//! registration is the same for all. Only UDAP's is built; a kind that is named and not built is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use ward_core::{BoxFuture, Limits};
use ward_trust::{Certificate, Chain, Jws, StatementError};

use crate::discovery::{ALGS, Served};
use crate::errors::{Answer, Refusal};
use crate::issuer::{Exchange, Issuer};
use crate::trust::{self, TrustError};

/// UDAP's own kind (DCR §4): signed by the certificate in `x5c`.
const X509: &str = "x509";

/// A statement of which it is proven whose it is.
pub(crate) struct Proven {
    /// The community in which it counts.
    pub(crate) served: Arc<Served>,
    /// The certificate by which the client will ask for tokens (TOK-08).
    pub(crate) certificate: Certificate,
    /// What came along with it.
    pub(crate) sent: Vec<Certificate>,
    /// Its path in that community, with revocation, now.
    pub(crate) chain: Chain,
    /// What is stated. Nobody has looked at it yet.
    pub(crate) claims: Map<String, Value>,
}

/// One way to verify statements.
pub(crate) trait Verifier: Send + Sync {
    /// Proves a statement, or refuses it. Nothing is written, and nothing is fetched for a stranger.
    fn prove<'a>(
        &'a self,
        issuer: &'a Issuer,
        compact: &'a str,
        exchange: Exchange,
    ) -> BoxFuture<'a, Result<Proven, Refusal>>;
}

/// The ways there are, and who goes which.
pub(crate) struct Verifiers {
    pub(crate) kinds: BTreeMap<&'static str, Arc<dyn Verifier>>,
    /// Kinds by the `iss` of a statement, compared as an exact string; others are of UDAP's.
    pub(crate) issuers: BTreeMap<String, String>,
}

impl Default for Verifiers {
    fn default() -> Self {
        let udap: Arc<dyn Verifier> = Arc::new(ByCertificate);
        Self { kinds: BTreeMap::from([(X509, udap)]), issuers: BTreeMap::new() }
    }
}

impl Verifiers {
    /// The way for this statement, by what it says of its issuer: that it says so is proven after.
    pub(crate) fn choose(
        &self,
        compact: &str,
        limits: &Limits,
    ) -> Result<&Arc<dyn Verifier>, Refusal> {
        let kind = if self.issuers.is_empty() {
            X509
        } else {
            // What cannot be read is refused by UDAP's own way, with the right answer.
            let issuer = said_issuer(compact, limits).unwrap_or_default();
            self.issuers.get(&issuer).map_or(X509, String::as_str)
        };
        self.kinds.get(kind).ok_or_else(|| {
            tracing::error!(
                kind,
                "statements of this kind cannot be verified here: mend the configuration"
            );
            Refusal::new(Answer::UnapprovedSoftwareStatement, "KIND")
        })
    }
}

fn said_issuer(compact: &str, limits: &Limits) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(compact.split('.').nth(1)?).ok()?;
    let claims = ward_core::json::parse(&payload, limits.json_depth).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Signature by `x5c[0]`, then the one community whose chain vouches for it (DCR §4.1, §4.2).
struct ByCertificate;

impl Verifier for ByCertificate {
    fn prove<'a>(
        &'a self,
        issuer: &'a Issuer,
        compact: &'a str,
        exchange: Exchange,
    ) -> BoxFuture<'a, Result<Proven, Refusal>> {
        Box::pin(async move {
            let jws = Jws::parse(compact, &issuer.limits)
                .and_then(|jws| jws.verify(ALGS))
                .map_err(StatementError::from)?;
            let found = trust::community(&jws, &issuer.served(), &*issuer.deps.paths).await;
            match found {
                Ok((served, chain)) => Ok(Proven {
                    served,
                    certificate: jws.leaf().clone(),
                    sent: jws.extra().to_vec(),
                    chain,
                    claims: jws.claims().clone(),
                }),
                Err(TrustError::Unavailable(rule)) => Err(Refusal::new(Answer::Unavailable, rule)),
                Err(TrustError::Refused(rule)) => {
                    issuer.remember_revoked(rule, &jws, exchange.correlation).await;
                    Err(Refusal::new(Answer::UnapprovedSoftwareStatement, rule))
                }
            }
        })
    }
}
