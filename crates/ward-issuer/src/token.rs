//! The token endpoint: client credentials with `hl7-b2b` (IG §4.2, §5.2; JCA; CAG; TOK-01..24,
//! B2B-01..21, T01–T20, T28–T36, B01–B28).
//!
//! Order: form → header and secrets → `grant_type` → assertion type, `udap` → JWS and signature
//! (`invalid_request`) → claims → client → path to the community of its registration, with
//! revocation, anew each time (PKI-17) → the registered URI in the certificate (TOK-08) → replay →
//! hold → grant → `hl7-b2b` → the client's right to speak for the organisation → scopes. Never issued: a refresh token, a token wider than the registration, a
//! token that outlives the certificate, a token whose event is not in the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode, header};
use serde_json::json;
use ward_core::{
    Actor, ClientId, Event, EventKind, GrantId, Purpose, Thumbprint, Timestamp, TokenId,
};
use ward_fhir::ScopeSet;
use ward_policy::{Grant, Subject};
use ward_store::{Binding, Claim, Registration, StoreError};
use ward_trust::{AssertionError, AuthenticationToken, B2bError, Chain, Context, Jws};

use crate::asserted;
use crate::certified::Relied;
use crate::discovery::{ALGS, Served};
use crate::errors::{Answer, Refusal};
use crate::form::{Form, FormError};
use crate::hanging;
use crate::issuer::{Exchange, Issuer};
use crate::limiter::Reserved;
use crate::scopes;
use crate::sealed::{Claims, KeyBinding};
use crate::trust::{self, TrustError};
use crate::wire;

/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Grants that the IG knows; the second and third are for clients registered with the code flow.
const KNOWN_GRANTS: [&str; 3] = ["client_credentials", "authorization_code", "refresh_token"];

fn refuse<T>(answer: Answer, rule: &'static str) -> Result<T, Refusal> {
    Err(Refusal::new(answer, rule))
}

/// A client that has proven who it is.
struct Authenticated {
    registration: Registration,
    served: Arc<Served>,
    chain: Chain,
    assertion: AuthenticationToken,
    context: Result<Context, B2bError>,
    /// Epochs of what a grant will hang on, read before anything about it was looked up: whatever is
    /// revoked in between kills the grant at birth.
    epochs: Vec<(Subject, u64)>,
    /// The one use of the authentication token.
    claim: Claim,
}

impl Issuer {
    /// Answers a token request.
    pub(crate) async fn token(
        &self,
        request: &Parts,
        body: &[u8],
        exchange: Exchange,
        reserved: Reserved,
    ) -> Result<Response<Bytes>, Refusal> {
        let form = Form::parse(body).map_err(|error| {
            let rule = if error == FormError::Duplicate { "T03" } else { "T02" };
            Refusal::new(Answer::InvalidRequest, rule)
        })?;
        let grant_type = preliminaries(request, &form)?;
        let now = self.deps.clock.now();
        let (client, jws) = self.assertion(&form, now)?;
        let client = self.authenticate(client, jws, now, exchange, reserved).await?;
        let refusal = match self.grant(&client, grant_type, &form, now).await {
            Ok((grant, relied)) => match self.issue(&client, grant, relied, exchange).await? {
                Some(answer) => return Ok(answer),
                None => return Err(self.replayed(&client, now, exchange).await),
            },
            Err(refusal) => refusal,
        };
        // It is used up by its refusal, too; one that was used before is told that first.
        if !self.claim(client.claim).await? {
            return Err(self.replayed(&client, now, exchange).await);
        }
        match refusal {
            refusal if refusal.answer == Answer::Unavailable => Err(refusal),
            refusal => {
                let mut event = self.token_event("refused", now, exchange);
                event.actor.client = Some(client.registration.client);
                event.actor.community = Some(client.served.community.uri.clone());
                if let Ok(context) = &client.context {
                    event = asserted::record(event, context);
                }
                self.deps.sink.record(vec![event.refused(refusal.rule.clone())]).await?;
                Err(refusal)
            }
        }
    }

    /// The authentication token, by its signature and claims alone: nothing is looked up yet.
    fn assertion(
        &self,
        form: &Form,
        now: Timestamp,
    ) -> Result<(AuthenticationToken, ward_trust::Verified), Refusal> {
        let Some(compact) = form.get("client_assertion") else {
            return refuse(Answer::InvalidClient, "T04");
        };
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return refuse(Answer::InvalidClient, "T05");
        }
        if form.get("udap") != Some("1") {
            return refuse(Answer::InvalidRequest, "T06");
        }
        let jws = Jws::parse(compact, &self.limits)
            .and_then(|jws| jws.verify(ALGS))
            .map_err(AssertionError::from)?;
        let token = AuthenticationToken::validate(&jws, &self.token_endpoint, now, &self.limits)?;
        if form.get("client_id").is_some_and(|id| id != token.client_id) {
            return refuse(Answer::InvalidClient, "T13");
        }
        Ok((token, jws))
    }

    async fn authenticate(
        &self,
        assertion: AuthenticationToken,
        jws: ward_trust::Verified,
        now: Timestamp,
        exchange: Exchange,
        reserved: Reserved,
    ) -> Result<Authenticated, Refusal> {
        // T12, T33: a SAN URI or `unregistered` is not a client id of ours.
        let client = ClientId::parse(&assertion.client_id)
            .map_err(|_| Refusal::new(Answer::InvalidClient, "T11"))?;
        let certificate = Subject::Certificate(jws.leaf().thumbprint());
        let mut epochs = self.epochs([Subject::Client(client), certificate]);
        let registrations = &self.deps.repositories.registrations;
        let registration = registrations
            .by_client(&self.tenant, client)
            .await?
            .ok_or(Refusal::new(Answer::InvalidClient, "T11"))?;
        if registration.cancelled {
            return refuse(Answer::InvalidClient, "P24");
        }
        epochs.extend(self.epochs([Subject::Community(registration.community.clone())]));
        // Only the community of the registration is tried (amendments §8.5; T15).
        let served = self
            .served()
            .iter()
            .find(|one| one.community.uri == registration.community)
            .cloned()
            .ok_or(Refusal::new(Answer::InvalidClient, "X08"))?;
        let context = Context::parse(
            assertion.extensions.as_ref(),
            &served.community,
            registration.uri.as_str(),
            now,
            &self.limits,
        );
        let grace = grace(&served, &context);
        let chain = match trust::path(&jws, &served, &*self.deps.paths, grace).await {
            Ok(chain) => chain,
            Err(TrustError::Unavailable(rule)) => return refuse(Answer::Unavailable, rule),
            Err(TrustError::Refused(rule)) => {
                self.remember_revoked(rule, &jws, exchange.correlation).await;
                return refuse(Answer::InvalidClient, rule);
            }
        };
        let thumbprint = jws.leaf().thumbprint();
        for issuer in chain.certificates.iter().skip(1).chain([&chain.anchor]) {
            epochs.extend(self.epochs([Subject::Certificate(issuer.thumbprint())]));
        }
        // A member, from here on counted as that, before anything of it is kept; one that names another
        // client does not use up that one's share.
        self.failures.refund(reserved);
        let its_own = jws.leaf().san_uris().iter().any(|uri| uri == registration.uri.as_str());
        let holder = thumbprint.to_string();
        let words: &[&str] = if its_own {
            &[registration.community.as_str(), registration.uri.as_str()]
        } else {
            &[&holder]
        };
        self.asking
            .take(words, now)
            .map_err(|seconds| Refusal::new(Answer::TooMany(seconds), "T35"))?;
        let refused = if !its_own {
            // Another member's certificate with this client's id (TOK-08).
            Some("T14")
        } else if self.revoked_here(&chain) {
            Some("X47")
        } else {
            None
        };
        let claim = self.claim_of(&served, &assertion.client_id, &assertion.jti, assertion.exp);
        let client =
            Authenticated { registration, served, chain, assertion, context, epochs, claim };
        match refused {
            Some(rule) => Err(self.turn_away(rule, thumbprint, &client, now, exchange).await),
            None => Ok(client),
        }
    }

    /// Refuses what a member did that knows the certificate: remembered, but not as the client's act.
    async fn turn_away(
        &self,
        rule: &'static str,
        thumbprint: Thumbprint,
        client: &Authenticated,
        now: Timestamp,
        exchange: Exchange,
    ) -> Refusal {
        let mut event = self
            .token_event("refused", now, exchange)
            .with("thumbprint", thumbprint.to_string())
            .with("claimed_client", client.registration.client.to_string());
        event.actor.community = Some(client.registration.community.clone());
        match self.deps.sink.record(vec![event.refused(rule)]).await {
            Ok(_) => Refusal::new(Answer::InvalidClient, rule),
            Err(error) => error.into(),
        }
    }

    async fn replayed(
        &self,
        client: &Authenticated,
        now: Timestamp,
        exchange: Exchange,
    ) -> Refusal {
        self.turn_away("T18", client.thumbprint(), client, now, exchange).await
    }

    /// A certificate of the path, its anchor included, was revoked here: it stays revoked.
    pub(crate) fn revoked_here(&self, chain: &Chain) -> bool {
        chain.certificates.iter().chain([&chain.anchor]).any(|certificate| {
            let subject = Subject::Certificate(certificate.thumbprint());
            self.deps.repositories.epochs.current(&self.tenant, &subject) > 0
        })
    }

    pub(crate) fn epochs<const N: usize>(&self, subjects: [Subject; N]) -> Vec<(Subject, u64)> {
        let epochs = &self.deps.repositories.epochs;
        subjects
            .into_iter()
            .map(|subject| {
                let epoch = epochs.current(&self.tenant, &subject);
                (subject, epoch)
            })
            .collect()
    }

    /// What the client is allowed, not yet kept.
    async fn grant(
        &self,
        client: &Authenticated,
        grant_type: &str,
        form: &Form,
        now: Timestamp,
    ) -> Result<(Grant, Vec<Relied>), Refusal> {
        let Authenticated { registration, served, chain, context, .. } = client;
        // Looked up after the epochs: a hold that is not seen here ends the grant (T16).
        // Stopped in memory: its hold could not be kept yet.
        let holds = &self.deps.repositories.holds;
        let (community, uri) = (&registration.community, &registration.uri);
        if self.is_stopped(registration.client)
            || holds.get(&self.tenant, community, uri).await?.is_some()
        {
            return refuse(Answer::ClientHeld, "HOLD");
        }
        if !registration.grant_types.iter().any(|registered| registered == grant_type) {
            return refuse(Answer::UnauthorizedClient, "T20");
        }
        let context =
            context.as_ref().map_err(|error| asserted::refusal(*error, &served.community))?;
        if !asserted::is_its_own(context, &registration.certifications, &self.limits) {
            return refuse(Answer::InvalidGrant, "B33");
        }
        let b2b = &context.b2b;
        if b2b.purposes.iter().any(|purpose| !served.community.purposes.contains(purpose)) {
            return refuse(Answer::InvalidGrant, "B14");
        }
        // The organisation is the client's own word: where a roster says who speaks for it, nobody else
        // does. Without one it is recorded, and sees nothing (amendments, B2B-18).
        let member = (&registration.community, &registration.uri);
        let rosters = &self.deps.repositories.rosters;
        if rosters.binding(&self.tenant, &b2b.organization_id, member).await? == Binding::Foreign {
            return refuse(Answer::InvalidGrant, "B09");
        }
        let grace = grace(served, &client.context);
        let standing = self.standing(served, registration, chain.leaf(), grace, now).await?;
        let (registered, _) = ScopeSet::parse(&registration.scopes);
        let ceiling = registered.intersect(&standing.ceiling);
        let supported = served.ceiling(&self.supported, None);
        let granted = match form.get("scope") {
            Some(requested) => scopes::grant(requested, &supported, &ceiling)
                .map_err(|_| Refusal::new(Answer::InvalidScope, "T31"))?,
            None if served.community.profile.scope_is_optional() => ceiling,
            None => return refuse(Answer::InvalidScope, "T30"),
        };
        if granted.is_empty() {
            return refuse(Answer::InvalidScope, "T31");
        }
        let certificate = client.thumbprint();
        let resting = standing.rests(served, &self.supported, &granted);
        // No token outlives a certificate or certification that it rests on.
        let expires = chain
            .certificates
            .iter()
            .map(ward_trust::Certificate::not_after)
            .chain([now.plus(self.limits.access_token_life)])
            .chain(resting.expires)
            .min()
            .unwrap_or(now);
        let expires = Timestamp::from_seconds(expires.as_seconds());
        if expires <= now {
            return refuse(Answer::InvalidClient, "X01");
        }
        let id = GrantId::new(&*self.deps.clock, &*self.deps.rng);
        let mut hangs_on = client.epochs.clone();
        hangs_on.extend(resting.hangs_on);
        hangs_on.extend(self.epochs([Subject::Grant(id)]));
        let grant = Grant {
            id,
            tenant: self.tenant.clone(),
            client: registration.client,
            client_uri: registration.uri.clone(),
            community: registration.community.clone(),
            organization: b2b.organization_id.clone(),
            purposes: b2b.purposes.clone(),
            scopes: granted,
            certificate,
            issued: now,
            expires,
            hangs_on,
        };
        Ok((grant, resting.relied))
    }

    /// Keeps the grant with its event and the claim of the authentication token, and answers once that is in the log. `None`
    /// if the authentication token was used before: then nothing is kept.
    async fn issue(
        &self,
        client: &Authenticated,
        grant: Grant,
        relied: Vec<Relied>,
        exchange: Exchange,
    ) -> Result<Option<Response<Bytes>>, Refusal> {
        let token = TokenId::new(&*self.deps.clock, &*self.deps.rng);
        let claims = Claims {
            token,
            grant: grant.id,
            expires: grant.expires,
            binding: KeyBinding::None,
            scope: None,
        };
        let sealed = self.sealer.seal(&claims).await?;
        if grant.certificate != client.registration.thumbprint {
            // Renewed since it registered: kept before the grant that rests on it.
            let path = client.chain.certificates.iter().map(|one| one.der().to_vec()).collect();
            let presented = &self.deps.repositories.presented;
            presented.keep(&self.tenant, path, grant.expires).await?;
        }
        let mut event = self
            .token_event("issued", grant.issued, exchange)
            .with("client_uri", client.registration.uri.as_str())
            .with("scope", grant.scopes.to_string())
            .with("thumbprint", grant.certificate.to_string())
            .with("jti", client.assertion.jti.as_str());
        if !relied.is_empty() {
            let ids = relied.iter().map(|one| one.id.to_string());
            event = event.with("certifications", ids.collect::<Vec<_>>().join(" "));
        }
        if client.chain.stale {
            tracing::warn!(community = %grant.community, "a token was issued on a stale revocation list");
            event = event.with("revocation_list", "stale");
        }
        if let Ok(context) = &client.context {
            event = asserted::record(event, context);
        }
        event.actor = Actor {
            client: Some(grant.client),
            grant: Some(grant.id),
            token: Some(token),
            community: Some(grant.community.clone()),
            operator: None,
        };
        let certifiers = relied.iter().flat_map(|one| &one.path);
        let marks = hanging::marks(&client.chain, certifiers);
        let grants = &self.deps.repositories.grants;
        let seq = match grants.put_claiming(&grant, marks, Some(client.claim), event).await {
            Err(StoreError::Replayed) => return Ok(None),
            put => put?,
        };
        self.rely(relied, grant.expires);
        self.settle(seq).await?;
        let body = json!({
            "access_token": sealed,
            "token_type": "Bearer",
            "expires_in": grant.expires.since(grant.issued).as_secs(),
            "scope": grant.scopes.to_string(),
        });
        Ok(Some(wire::json(StatusCode::OK, &body)))
    }

    fn token_event(&self, action: &'static str, now: Timestamp, exchange: Exchange) -> Event {
        Event::new(EventKind::Token, action, self.tenant.clone(), now, exchange.correlation)
    }
}

/// How long a list is good after its end: for treatment alone (PKI-04 as amended).
fn grace(served: &Served, context: &Result<Context, B2bError>) -> Duration {
    match context {
        Ok(context) if context.b2b.purposes == [Purpose::Treatment] => served.revocation_grace,
        _ => Duration::ZERO,
    }
}

impl Authenticated {
    fn thumbprint(&self) -> Thumbprint {
        self.chain.leaf().map_or(self.registration.thumbprint, ward_trust::Certificate::thumbprint)
    }
}

/// What can be told from the form and headers alone: T07, T08, T20, T32.
fn preliminaries<'a>(request: &Parts, form: &'a Form) -> Result<&'a str, Refusal> {
    let asserts = form.contains("client_assertion");
    if request.headers.contains_key(header::AUTHORIZATION) {
        return if asserts {
            refuse(Answer::InvalidRequest, "T07")
        } else {
            refuse(Answer::InvalidClientHeader, "T08")
        };
    }
    if form.contains("client_secret") {
        return refuse(Answer::InvalidRequest, "T07");
    }
    match form.get("grant_type") {
        None => refuse(Answer::InvalidRequest, "T20"),
        Some(known) if KNOWN_GRANTS.contains(&known) => Ok(known),
        Some(_) => refuse(Answer::UnsupportedGrantType, "T20"),
    }
}

impl From<AssertionError> for Refusal {
    fn from(error: AssertionError) -> Self {
        let answer = match error {
            AssertionError::Request(_) => Answer::InvalidRequest,
            AssertionError::Client(_) => Answer::InvalidClient,
        };
        Self::new(answer, error.fault().rule)
    }
}
