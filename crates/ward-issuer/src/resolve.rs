//! From an `Authorization` header to a principal, on every request anew (house.md §4; RFC 6750 §2.1;
//! RSV-04, G01–G03, TOK-18).
//!
//! Nothing is cached: the token is opened, its end is looked at, and the epochs of everything that
//! it hangs on are compared, so a revocation holds at the very next request. Refused: other schemes
//! and other places for a token, a token for another audience, one that has ended or has not begun, one whose grant,
//! client, certificate or community was revoked.

use std::sync::PoisonError;

use ward_core::{Actor, BoxFuture, Thumbprint};
use ward_fhir::ScopeSet;
use ward_policy::{Grant, Presented, Principal, Recognised, Resolve, ResolveError, Subject};

use crate::issuer::Issuer;
use crate::sealed::{KeyBinding, MAX_CHARS, OpenError, PREFIX};

/// The token of a `Bearer` header (RFC 6750 §2.1: the scheme, one space, `b64token`).
fn bearer(header: Option<&str>) -> Result<&str, ResolveError> {
    let header = header.ok_or(ResolveError::Missing)?;
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        // Another scheme is no attempt to present a token (RFC 6750 §3.1).
        let word = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let well_formed = !scheme.is_empty() && scheme.bytes().all(word);
        return Err(if well_formed { ResolveError::Missing } else { ResolveError::Malformed });
    }
    // RFC 9110 §11.4 lets several spaces stand between the two.
    let token = rest.trim_start_matches(' ');
    let body = token.trim_end_matches('=');
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    if body.is_empty() || !body.bytes().all(legal) {
        return Err(ResolveError::Malformed);
    }
    if token.len() > MAX_CHARS {
        return Err(ResolveError::Invalid);
    }
    Ok(token)
}

impl Issuer {
    /// Whether the grant's community is still served, with the anchor at which the client's path ended, and those of the
    /// certifiers that it rests on. A community or anchor that the configuration gave up lets nobody in, whatever was issued
    /// before.
    fn still_trusts(&self, grant: &Grant) -> bool {
        let served = self.served();
        let Some(served) = served.iter().find(|one| one.community.uri == grant.community) else {
            return false;
        };
        let hangs_on = |anchor: Thumbprint| {
            let anchor = Subject::Certificate(anchor);
            grant.hangs_on.iter().any(|(subject, _)| *subject == anchor)
        };
        let void = self.void.read().unwrap_or_else(PoisonError::into_inner);
        let is_void =
            |subject: &Subject| matches!(subject, Subject::Certification(id) if void.contains(id));
        if !void.is_empty() && grant.hangs_on.iter().any(|(subject, _)| is_void(subject)) {
            return false;
        }
        let given_up = self.given_up.read().unwrap_or_else(PoisonError::into_inner);
        // An anchor of certifiers may be the community's own.
        let own = |anchor: Thumbprint| {
            served.community.anchors.iter().any(|one| one.thumbprint() == anchor)
        };
        let lost = given_up.iter().any(|anchor| !own(*anchor) && hangs_on(*anchor));
        !lost && served.community.anchors.iter().any(|one| hangs_on(one.thumbprint()))
    }
}

impl Resolve for Issuer {
    fn resolve<'a>(
        &'a self,
        presented: &'a Presented<'a>,
    ) -> BoxFuture<'a, Result<Principal, ResolveError>> {
        Box::pin(async move {
            let token = bearer(presented.authorization)?;
            if *presented.tenant != self.tenant {
                return Err(ResolveError::Invalid);
            }
            let claims = self.sealer.open(token).await.map_err(|error| match error {
                OpenError::Invalid => ResolveError::Invalid,
                OpenError::Unavailable(why) => {
                    tracing::error!(%why, "tokens cannot be opened");
                    ResolveError::Unavailable
                }
            })?;
            let now = self.deps.clock.now();
            if now >= claims.expires || claims.binding != KeyBinding::None {
                return Err(ResolveError::Invalid);
            }
            let grants = &self.deps.repositories.grants;
            let grant = grants
                .get(&self.tenant, claims.grant)
                .await
                .map_err(|error| {
                    tracing::error!(%error, "grants cannot be read");
                    ResolveError::Unavailable
                })?
                .ok_or(ResolveError::Invalid)?;
            if now >= grant.expires || grant.tenant != self.tenant {
                return Err(ResolveError::Invalid);
            }
            // A clock that was set back must not wake tokens that have ended.
            if grant.issued > now.plus(self.limits.clock_skew) {
                return Err(ResolveError::Invalid);
            }
            // After the grant was read, so that nothing is revoked between the two.
            let epochs = &self.deps.repositories.epochs;
            let current = |subject: &Subject| epochs.current(&self.tenant, subject);
            let live = current(&Subject::Token(claims.token)) == 0
                && grant.hangs_on.iter().all(|(subject, epoch)| current(subject) == *epoch);
            if !live || self.is_stopped(grant.client) || !self.still_trusts(&grant) {
                return Err(ResolveError::Invalid);
            }
            let scopes = match claims.scope {
                None => grant.scopes.clone(),
                Some(subset) => grant.scopes.intersect(&ScopeSet::parse(&subset).0),
            };
            Ok(Principal {
                tenant: grant.tenant.clone(),
                client: grant.client,
                client_uri: grant.client_uri.clone(),
                grant: grant.id,
                token: claims.token,
                community: grant.community.clone(),
                organization: grant.organization.clone(),
                purposes: grant.purposes.clone(),
                scopes,
            })
        })
    }

    fn recognise<'a>(&'a self, presented: &'a Presented<'a>) -> BoxFuture<'a, Recognised> {
        Box::pin(async move {
            let Some(header) = presented.authorization else { return Recognised::Foreign };
            // Whatever holds the beginning of our tokens is treated as one of them.
            if !header.contains(PREFIX) {
                return Recognised::Foreign;
            }
            let Ok(token) = bearer(Some(header)) else { return Recognised::Own };
            let Ok(claims) = self.sealer.open(token).await else { return Recognised::Own };
            match self.deps.repositories.grants.get(&self.tenant, claims.grant).await {
                Ok(Some(grant)) if grant.tenant == self.tenant => Recognised::Ended {
                    client: grant.client,
                    actor: Actor {
                        client: Some(grant.client),
                        grant: Some(grant.id),
                        token: Some(claims.token),
                        community: Some(grant.community.clone()),
                        operator: None,
                    },
                    uri: grant.client_uri.clone(),
                },
                _ => Recognised::Own,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_header_presents_a_token() {
        use ResolveError::{Invalid, Malformed, Missing};
        let long = format!("Bearer {}", "a".repeat(MAX_CHARS + 1));
        for (header, want) in [
            (None, Err(Missing)),
            (Some("Bearer abc"), Ok("abc")),
            (Some("bEARER  abc-._~+/=="), Ok("abc-._~+/==")),
            (Some(""), Err(Malformed)),
            (Some("Basic dXNlcjpwYXNz"), Err(Missing)),
            (Some("DPoP abc"), Err(Missing)),
            (Some("Bearer"), Err(Malformed)),
            (Some("Bearer "), Err(Malformed)),
            (Some("Bearer =="), Err(Malformed)),
            (Some("Bearer a b"), Err(Malformed)),
            (Some("Bearer a,Bearer b"), Err(Malformed)),
            (Some("Bearer a=b"), Err(Malformed)),
            (Some("Bearer\tabc"), Err(Malformed)),
            (Some(" Bearer abc"), Err(Malformed)),
            (Some("Bearer abc "), Err(Malformed)),
            (Some("Bearer \u{e9}"), Err(Malformed)),
            (Some(&long), Err(Invalid)),
        ] {
            assert_eq!(bearer(header), want, "{header:?}");
        }
    }
}
