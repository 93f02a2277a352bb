//! Dynamic client registration (IG §3; RFC 7591; UDAP DCR; REG-01..29, MOD-01..11, R01–R42, P01–P26).
//!
//! Order: bounds and rate → strict JSON → `udap` → JWS → signature → community by chain, with
//! revocation (in [`crate::statements`], by issuer) → claims and parameters → replay → scopes → create, replace or cancel. Before a
//! community vouches, nothing is written and nothing is fetched for a stranger; a `jti` is burnt only
//! by its owner (JWT-08). Nothing but the statement counts (REG-03), and nothing named in it is fetched
//! (REG-17).

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use ward_core::{Actor, ClientId, ClientUri, Event, EventKind, Timestamp, crypto};
use ward_fhir::ScopeSet;
use ward_policy::scopes_shrink;
use ward_store::{Claim, Expected, Registration, StoreError};
use ward_trust::certification::Applicant;
use ward_trust::{Certificate, GrantTypes, SoftwareStatement, StatementError};

use crate::certified::{Accepted, certified_scopes};
use crate::discovery::Served;
use crate::errors::{Answer, Refusal};
use crate::hanging;
use crate::issuer::{Exchange, Issuer};
use crate::limiter::Reserved;
use crate::profile;
use crate::scopes::{self, ScopeError};
use crate::statements::Proven;
use crate::wire;

/// Times that a change is decided anew because another one was faster.
const ATTEMPTS: usize = 4;
/// Clients whose registrations change at once, at most.
pub(crate) const TURNS: usize = 64;

/// A statement that a community vouches for.
struct Vouched {
    proven: Proven,
    compact: String,
    /// As sent beside it.
    certifications: Vec<String>,
}

/// What is about to be written.
struct Change {
    registration: Registration,
    expected: Expected,
    action: &'static str,
    status: StatusCode,
    before: Option<Registration>,
    /// The certificates that its certifications rest on.
    certifiers: Vec<Certificate>,
}

impl Issuer {
    /// Answers a registration request.
    pub(crate) async fn register(
        &self,
        body: &[u8],
        exchange: Exchange,
        reserved: Reserved,
    ) -> Result<Response<Bytes>, Refusal> {
        let (compact, certifications) = self.envelope(body)?;
        let verifier = self.verifiers.choose(&compact, &self.limits)?;
        let proven = verifier.prove(self, &compact, exchange).await?;
        let now = self.deps.clock.now();
        // A member, from here on counted as that: its refusals are recorded.
        self.registrations.refund(reserved);
        let member = proven.certificate.thumbprint().to_string();
        self.registering
            .take(&[&member], now)
            .map_err(|seconds| Refusal::new(Answer::TooMany(seconds), "P25"))?;
        let vouched = Vouched { proven, compact, certifications };
        match self.decide(&vouched, now, exchange).await {
            Err(refusal) if refusal.answer != Answer::Unavailable => {
                // From here on it is a member who is refused: worth remembering.
                let event = self.registration_event("refused", &vouched, now, exchange);
                self.deps.sink.record(vec![event.refused(refusal.rule.clone())]).await?;
                Err(refusal)
            }
            other => other,
        }
    }

    /// The members of the request (REG-02): `software_statement`, `udap`, `certifications`.
    fn envelope(&self, body: &[u8]) -> Result<(String, Vec<String>), Refusal> {
        let bad = |rule| Refusal::new(Answer::InvalidClientMetadata, rule);
        let document = ward_core::json::parse(body, self.limits.json_depth).map_err(|error| {
            bad(if error == ward_core::json::JsonError::Duplicate { "R04" } else { "R01" })
        })?;
        let Value::Object(members) = document else { return Err(bad("R01")) };
        match members.get("udap") {
            Some(Value::String(version)) if version == "1" => {}
            None => return Err(bad("R05")),
            Some(_) => return Err(bad("R06")),
        }
        let certifications = match members.get("certifications") {
            None => Vec::new(),
            Some(Value::Array(all)) if all.len() <= self.limits.certifications => {
                let texts = all.iter().map(|one| one.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or(bad("C10"))?
            }
            Some(_) => return Err(bad("C10")),
        };
        match members.get("software_statement") {
            Some(Value::String(statement)) => Ok((statement.clone(), certifications)),
            _ => Err(Refusal::new(Answer::InvalidSoftwareStatement, "R07")),
        }
    }

    async fn decide(
        &self,
        vouched: &Vouched,
        now: Timestamp,
        exchange: Exchange,
    ) -> Result<Response<Bytes>, Refusal> {
        let Proven { served, certificate, claims, .. } = &vouched.proven;
        let statement = SoftwareStatement::of_claims(
            served.community.profile,
            claims,
            certificate,
            &self.registration_endpoint,
            now,
            &self.limits,
        )?;
        self.not_revoked_here(vouched)?;
        // Whoever leaves need not show anything.
        let accepted = if statement.grant_types == GrantTypes::Cancel {
            Vec::new()
        } else {
            let applicant = Applicant { uri: &statement.iss, certificate, claims };
            let signed = (&applicant, vouched.compact.as_str());
            let accepted = self.certify(served, signed, &vouched.certifications, now).await?;
            let certified = accepted.iter().filter_map(|one| one.certification.tefca.as_ref());
            profile::admit(served.community.profile, &statement, certified)?;
            accepted
        };
        let claim = self.claim_of(served, statement.iss.as_str(), &statement.jti, statement.exp);
        match statement.grant_types {
            GrantTypes::AuthorizationCode { .. } => {
                let refusal = Refusal::new(Answer::GrantTypeNotServed, "REG-12");
                return Err(self.used_up(claim, refusal).await);
            }
            GrantTypes::ClientCredentials | GrantTypes::Cancel => {}
        }
        // One at a time for a client: the store refuses what was decided on an older state.
        let _turn = self.turn(&statement.iss).lock().await;
        for _ in 0..ATTEMPTS {
            let change = match self.change(vouched, &statement, &accepted, now).await {
                Ok(change) => change,
                Err(refusal) => return Err(self.used_up(claim, refusal).await),
            };
            match self.write(vouched, &change, claim, now, exchange).await {
                Err(StoreError::Conflict) => {}
                Err(StoreError::Replayed) => return Err(replayed()),
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(answer(&change)),
            }
        }
        tracing::warn!("a registration lost every race; the client may try again");
        Err(self.used_up(claim, Refusal::new(Answer::Unavailable, "REG-27")).await)
    }

    /// A statement is used up by its refusal, too; one that was used before is told that first.
    async fn used_up(&self, claim: Claim, refusal: Refusal) -> Refusal {
        match self.claim(claim).await {
            Ok(true) => refusal,
            Ok(false) => replayed(),
            Err(unavailable) => unavailable,
        }
    }

    /// A certificate that an operator revoked here stays revoked, whatever its community says.
    fn not_revoked_here(&self, vouched: &Vouched) -> Result<(), Refusal> {
        if self.revoked_here(&vouched.proven.chain) {
            return Err(Refusal::new(Answer::UnapprovedSoftwareStatement, "X10"));
        }
        Ok(())
    }

    /// The one use of a JWT: (community, `iss`, `jti`), until no JWT with it can be accepted any more (JWT-07, JWT-08).
    pub(crate) fn claim_of(&self, served: &Served, iss: &str, jti: &str, exp: Timestamp) -> Claim {
        let mut hashed = Vec::new();
        for part in [served.community.uri.as_str(), iss, jti] {
            hashed.extend_from_slice(&(part.len() as u64).to_be_bytes());
            hashed.extend_from_slice(part.as_bytes());
        }
        let key = crypto::sha256(&[b"ward replay/1", &hashed]);
        // A JWT is accepted up to and including its last second, so it is remembered beyond it.
        let until = exp.plus(self.limits.clock_skew).plus(Duration::from_secs(1));
        Claim { key, until }
    }

    /// Claims it by itself; `false` if it was claimed before.
    pub(crate) async fn claim(&self, claim: Claim) -> Result<bool, Refusal> {
        let replays = &self.deps.repositories.replays;
        Ok(replays.claim(&self.tenant, claim.key, claim.until).await?)
    }

    /// Whose turn it is to change the registration of a client URI.
    fn turn(&self, uri: &ClientUri) -> &tokio::sync::Mutex<()> {
        let [first, ..] = crypto::sha256(&[uri.as_str().as_bytes()]);
        let [only, others @ ..] = &self.turns;
        others.get(usize::from(first) % TURNS).unwrap_or(only)
    }

    /// The registration as it shall be, from the statement and what is registered now.
    async fn change(
        &self,
        vouched: &Vouched,
        statement: &SoftwareStatement,
        accepted: &[Accepted],
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let Proven { served, certificate, .. } = &vouched.proven;
        let community = &served.community;
        let registrations = &self.deps.repositories.registrations;
        let before = registrations.by_uri(&self.tenant, &community.uri, &statement.iss).await?;
        let expected = before
            .as_ref()
            .map_or(Expected::Absent, |old| Expected::Unchanged(Box::new(old.clone())));
        let live = before.filter(|old| !old.cancelled);
        let cancel = statement.grant_types == GrantTypes::Cancel;
        let (action, status) = match (&live, cancel) {
            (None, true) => return Err(Refusal::new(Answer::InvalidClientMetadata, "P20")),
            (None, false) => ("registered", StatusCode::CREATED),
            (Some(_), true) => ("cancelled", StatusCode::OK),
            (Some(_), false) => ("modified", StatusCode::OK),
        };
        let client = live.as_ref().map_or_else(
            // A new id also after a cancellation: the old one stays dead (P24).
            || ClientId::new(&*self.deps.clock, &*self.deps.rng),
            |old| old.client,
        );
        let mut parameters = statement.parameters();
        let scopes = if cancel {
            parameters = Map::from_iter([("grant_types".to_owned(), json!([]))]);
            String::new()
        } else {
            let granted = self.registered_scopes(statement, served, accepted)?;
            let granted = certified_scopes(granted, accepted)?.to_string();
            parameters.insert("scope".to_owned(), json!(granted));
            granted
        };
        let registration = Registration {
            tenant: self.tenant.clone(),
            client,
            community: community.uri.clone(),
            uri: statement.iss.clone(),
            client_name: statement.client_name.clone(),
            grant_types: statement.grant_types.values().iter().map(|v| (*v).to_owned()).collect(),
            scopes,
            contacts: statement.contacts.clone(),
            certificate: certificate.der().to_vec(),
            thumbprint: certificate.thumbprint(),
            statement: vouched.compact.clone(),
            registered: live.as_ref().map_or(now, |old| old.registered),
            updated: now,
            cancelled: cancel,
            json: Value::Object(parameters).to_string(),
            certifications: accepted.iter().map(Accepted::kept).collect(),
        };
        let certifiers = accepted.iter().flat_map(|one| one.path.clone()).collect();
        Ok(Change { registration, expected, action, status, before: live, certifiers })
    }

    /// The granted part of what the statement asks for (REG-19, REG-20).
    fn registered_scopes(
        &self,
        statement: &SoftwareStatement,
        served: &Served,
        accepted: &[Accepted],
    ) -> Result<ScopeSet, Refusal> {
        let bad = |rule| Refusal::new(Answer::InvalidClientMetadata, rule);
        let ceiling = self.certified_ceiling(served, accepted);
        if statement.scope.is_empty() {
            // Only a STU1 community gets here without one.
            return if served.community.profile.scope_is_optional() {
                Ok(ceiling)
            } else {
                Err(bad("P15"))
            };
        }
        let supported = served.ceiling(&self.supported, None);
        scopes::grant(&statement.scope, &supported, &ceiling).map_err(|error| match error {
            ScopeError::Wildcard => bad("P16"),
            ScopeError::Nothing => bad("P17"),
        })
    }

    async fn write(
        &self,
        vouched: &Vouched,
        change: &Change,
        claim: Claim,
        now: Timestamp,
        exchange: Exchange,
    ) -> Result<(), StoreError> {
        let Change { registration, expected, action, before, .. } = change;
        let repositories = &self.deps.repositories;
        let mut event = self
            .registration_event(action, vouched, now, exchange)
            .with("client_uri", registration.uri.as_str())
            .with("scope", registration.scopes.as_str());
        if !registration.certifications.is_empty() {
            let ids = registration.certifications.iter().map(|one| one.id.to_string());
            event = event.with("certifications", ids.collect::<Vec<_>>().join(" "));
        }
        event.actor.client = Some(registration.client);
        if let Some(old) = before {
            event = event
                .with("scope_before", old.scopes.as_str())
                .with("thumbprint_before", old.thumbprint.to_string());
        }
        if before.as_ref().is_some_and(|old| scopes_shrink(&old.scopes, &registration.scopes)) {
            // MOD-10: the store ends tokens of the wider scope in the transaction of the change.
            event = event.with("tokens", "ended");
        }
        let Proven { served, certificate, sent, chain, .. } = &vouched.proven;
        let reach =
            hanging::reached(certificate, sent, chain, &served.community, &change.certifiers);
        // With the claim in one transaction: both or neither.
        let (registration, expected) = (registration.clone(), expected.clone());
        let registrations = &repositories.registrations;
        let put =
            registrations.put_claiming(registration, expected, Some(reach), Some(claim), event);
        let seq = put.await?;
        self.settle(seq).await.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    fn registration_event(
        &self,
        action: &'static str,
        vouched: &Vouched,
        now: Timestamp,
        exchange: Exchange,
    ) -> Event {
        let tenant = self.tenant.clone();
        let mut event =
            Event::new(EventKind::Registration, action, tenant, now, exchange.correlation);
        let proven = &vouched.proven;
        event.actor =
            Actor { community: Some(proven.served.community.uri.clone()), ..Actor::default() };
        event.with("thumbprint", proven.certificate.thumbprint().to_string())
    }
}

fn replayed() -> Refusal {
    Refusal::new(Answer::InvalidSoftwareStatement, "R37")
}

/// REG-22, REG-23, REG-25, MOD-07: the parameters as assigned, nothing empty, no secret.
fn answer(change: &Change) -> Response<Bytes> {
    let registration = &change.registration;
    let mut members = match serde_json::from_str(&registration.json) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    members.insert("client_id".to_owned(), json!(registration.client.to_string()));
    members.insert("software_statement".to_owned(), json!(registration.statement));
    if !registration.certifications.is_empty() {
        // CRT-10: those that were accepted, and only those.
        let accepted: Vec<&str> =
            registration.certifications.iter().map(|one| one.jwt.as_str()).collect();
        members.insert("certifications".to_owned(), json!(accepted));
    }
    wire::json(change.status, &Value::Object(members))
}

impl From<StatementError> for Refusal {
    fn from(error: StatementError) -> Self {
        let answer = match error {
            StatementError::Statement(_) => Answer::InvalidSoftwareStatement,
            StatementError::Unapproved(_) => Answer::UnapprovedSoftwareStatement,
            StatementError::Metadata(_) => Answer::InvalidClientMetadata,
            StatementError::RedirectUri(_) => Answer::InvalidRedirectUri,
        };
        Self::new(answer, error.fault().rule)
    }
}
