//! The walk of a request while `mode` is observe: decided and logged as ever, and what a rule would refuse
//! passes to the upstream as it came (house §1 is walked in full, without its force).
//!
//! Nothing here runs without an [`Enforcement`] that observes, and nothing passes without a
//! [`ward_policy::Waiver`] of it. Who or what is enforced by exception goes back to the enforcing walk.
//! Refused all the same, because it protects Ward or the upstream itself: broken framing, other
//! authorities, bounds, paths that two readers may read differently, and requests that carry a token of
//! Ward's where the upstream would see it.
//! Ward's own credentials go to the upstream only for callers whom Ward knows, and only with requests that
//! can change nothing. What may change something is recorded before it goes there.

mod answer;
mod outgoing;
mod pages;
mod shape;

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request};
use ward_core::{Actor, CorrelationId, Event, EventKind, FhirVersion, ONLY_OBSERVED, Transfer};
use ward_fhir::{FhirRequest, Interaction, RawRequest, ResourceType, one_reading};
use ward_policy::{
    Caller, Enforcement, Permit, Plan, Presented, Principal, RECORD_RULES, Recognised,
    ResolveError, Waiver, plan,
};

use crate::facts::Known;
use crate::fault::Refused;
use crate::intake::{self, Understood};
use crate::release::note;
use crate::{Answer, Fault, Gateway};

use answer::Passing;
use outgoing::{Credentials, Held, Outgoing, hold};
pub(crate) use pages::Pages;
use shape::{Shape, is_safe, shape};

/// What every token of Ward's begins with; what holds it does not go to the upstream.
const OWN_TOKEN: &str = "wat_";

/// What is enforced, changed while the gateway runs. Each request takes what is in force when it comes.
#[derive(Debug, Clone, Default)]
pub struct EnforcementDial(Arc<RwLock<Arc<Enforcement>>>);

impl EnforcementDial {
    /// A dial that stands here.
    pub fn new(enforcement: Enforcement) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(enforcement))))
    }

    /// From the next request on.
    pub fn turn(&self, enforcement: Enforcement) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(enforcement);
    }

    /// What is in force.
    pub fn now(&self) -> Arc<Enforcement> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whom a request comes from, as far as it is known.
enum Who {
    /// Ward let them in.
    Known(Box<Principal>),
    /// A client of ours with a token that has ended or was revoked.
    Ended { uri: ward_core::ClientUri, actor: Actor },
    /// Nobody; whether something was presented that must stay here.
    Nobody { own_token: bool },
}

impl Who {
    fn caller(&self) -> Caller<'_> {
        match self {
            Self::Known(principal) => {
                Caller::Client { id: principal.client, uri: &principal.client_uri }
            }
            Self::Ended { uri, actor } => match actor.client {
                Some(id) => Caller::Client { id, uri },
                None => Caller::Anonymous,
            },
            Self::Nobody { .. } => Caller::Anonymous,
        }
    }
}

/// What enforcement would do.
enum Decided {
    /// Refuse, whatever the data.
    Refuse(Fault),
    /// Ask, and judge what comes back.
    Judge(Box<(Permit, Known)>),
    /// Answer with Ward's own capability statement.
    Capabilities,
}

impl Gateway {
    /// Answers one request while something may be only observed.
    pub(crate) async fn observe<B>(
        &self,
        request: Request<B>,
        enforcement: &Enforcement,
        correlation: CorrelationId,
        told: &mut Option<&'static str>,
    ) -> Result<Answer, Fault>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
    {
        let (head, body) = request.into_parts();
        intake::screen(&head, &self.base, &self.limits)?;
        let path = intake::below(&head.uri, &self.base)?;
        // A path that the upstream may read differently could lead out of its base.
        one_reading(path)?;
        let authorization = intake::single(&head.headers, &http::header::AUTHORIZATION)?;
        let limits = &self.limits;
        let mut held = hold(body, limits.fhir_body_bytes, limits.body_timeout).await?;

        let understood = self.understood(&head, &held);
        let presented = Presented { tenant: &self.tenant, authorization };
        let (who, unresolved) = self.who(&presented).await?;
        let caller = who.caller();
        // What detection finds in its accesses is told, and it is not held for it.
        let observed = enforcement.waive(caller, CONTAINMENT_RULES).is_some();
        let shape = shape(&head.method, path, head.uri.query(), held.form(&head));
        let page = self.page(&head);

        let mut refusals: Vec<Fault> = Vec::new();
        // A page that follows from an answer which was let through is no new question.
        let page = page.map(|rtype| self.first_page(rtype)).transpose()?;
        let asked = match (&page, &understood) {
            (Some(page), _) => Some(page),
            (None, Ok(Some(understood))) => Some(&understood.request),
            (None, Ok(None)) => {
                refusals.push(Fault::Options);
                None
            }
            (None, Err(fault)) => {
                refusals.push(fault.clone());
                None
            }
        };
        // Ward's own statement is for everybody.
        let statement = asked.is_some_and(|asked| asked.interaction == Interaction::Capabilities);
        if let Some(error) = unresolved
            && !statement
        {
            refusals.push(Fault::Unresolved(error));
        }
        let decided = match (&who, asked) {
            (_, Some(_)) if statement => Decided::Capabilities,
            (Who::Known(principal), Some(asked)) if refusals.is_empty() => {
                let decided = self.decided(principal, asked).await;
                if let Decided::Refuse(fault) = &decided {
                    refusals.push(fault.clone());
                }
                decided
            }
            _ => match refusals.first() {
                Some(fault) => Decided::Refuse(fault.clone()),
                None => Decided::Refuse(Fault::Unresolved(ResolveError::Missing)),
            },
        };
        // What leads back into the enforcing walk: a link of its own, and everybody who is not observed.
        let search = asked.and_then(|asked| match &asked.interaction {
            Interaction::Search(search) => Some(search),
            _ => None,
        });
        let own_link = search.is_some_and(|search| search.cursor.is_some());
        let drops = search.is_some_and(|search| !search.dropped.is_empty());
        let waiver = waiver(enforcement, caller, &refusals, &decided, drops);
        let waiver = if own_link { None } else { waiver };
        let Some(waiver) = waiver else {
            if let Some(fault) = refusals.iter().find(|fault| fault.observable().is_none()) {
                return Err(fault.clone());
            }
            let ours = match understood? {
                None => crate::options(),
                Some(understood) => self.served(understood, correlation, told, observed).await?,
            };
            return Ok(Answer::Ours(ours));
        };
        if carries_own_token(&head, &held) {
            return Err(Fault::TokenInUrl);
        }
        if let Held::Longer { declared: Some(length), .. } = &held
            && *length > limits.observe_body_bytes as u64
        {
            return Err(Fault::Body(ward_net::http::BodyError::TooLarge(
                limits.observe_body_bytes,
            )));
        }
        let safe = is_safe(&head.method, &shape);
        let lent = matches!(who, Who::Known(_)) && safe;
        let credentials = match &who {
            Who::Known(_) if lent => Credentials::Ours,
            Who::Known(_) | Who::Ended { .. } | Who::Nobody { own_token: true } => {
                Credentials::None
            }
            Who::Nobody { own_token: false } => Credentials::Theirs,
        };
        let outgoing = Outgoing::new(&head, path, &mut held, credentials, limits);
        let mut event = self.observed_event(&who, &shape, &decided, correlation);
        if observed {
            event = event.with(ONLY_OBSERVED, "yes");
        }
        let passing = Passing {
            event,
            decided: &decided,
            interaction: asked.map(|asked| &asked.interaction),
            without_body: head.method == Method::HEAD,
        };
        if !safe {
            // It may be done there even if the log fails now, or if nobody waits for the answer: it is written
            // down before it goes.
            note(&*self.sink, handed_on(&passing.event)).await?;
        }
        let answer = match self.upstream.pass(&waiver, outgoing).await {
            Ok(answer) => answer,
            Err(fault) => {
                self.note_failure(passing.event, &fault).await?;
                return Err(fault);
            }
        };
        self.let_through(passing, answer).await.map(Answer::Theirs)
    }

    /// The request as enforcement reads it. `Ok(None)` for OPTIONS.
    fn understood<B>(&self, head: &Parts, held: &Held<B>) -> Result<Option<Understood>, Fault> {
        let Some(claims) = intake::claims(head)? else { return Ok(None) };
        let bytes = held.whole().ok_or_else(|| {
            Fault::Body(ward_net::http::BodyError::TooLarge(self.limits.fhir_body_bytes))
        })?;
        intake::parse(head, &claims, bytes, &self.base, &self.limits).map(Some)
    }

    /// Who asks, and why they would not be let in.
    async fn who(&self, presented: &Presented<'_>) -> Result<(Who, Option<ResolveError>), Fault> {
        let error = match self.resolve.resolve(presented).await {
            Ok(principal) if principal.tenant == self.tenant => {
                return Ok((Who::Known(Box::new(principal)), None));
            }
            // RS-02, as in the enforcing walk.
            Ok(_) => ResolveError::Invalid,
            // It may be a good token of ours: whose request this is cannot be known now.
            Err(ResolveError::Unavailable) => return Err(ResolveError::Unavailable.into()),
            Err(error) => error,
        };
        let who = match self.resolve.recognise(presented).await {
            Recognised::Foreign => Who::Nobody { own_token: false },
            Recognised::Own => Who::Nobody { own_token: true },
            Recognised::Ended { uri, actor, .. } => Who::Ended { uri, actor },
        };
        Ok((who, Some(error)))
    }

    async fn decided(&self, principal: &Principal, asked: &FhirRequest) -> Decided {
        let known = match self.facts.gather(principal).await {
            Ok(known) => known,
            Err(fault) => return Decided::Refuse(fault),
        };
        if let Interaction::Search(search) = &asked.interaction
            && !self.want(search).count_only
            && self.next_length(search, &search.self_query()) > self.limits.target_bytes
        {
            return Decided::Refuse(Fault::QueryTooLong);
        }
        match plan(principal, asked, &known.facts, &self.limits) {
            Plan::Deny(denial) => Decided::Refuse(Fault::Denied(denial)),
            Plan::PreRead(permit)
            | Plan::Forward(permit)
            | Plan::Rewrite(permit)
            | Plan::Nothing(permit) => Decided::Judge(Box::new((permit, known))),
        }
    }

    /// The type of which a page is asked for. Only reading it is no new question: its target under another method
    /// would be a conditional write.
    fn page(&self, head: &Parts) -> Option<ResourceType> {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        self.pages.find(head.uri.path_and_query().filter(|_| reads)?.as_str())
    }

    /// The search whose page is asked for, as far as the rules look at it.
    fn first_page(&self, rtype: ResourceType) -> Result<FhirRequest, Fault> {
        let path = format!("/{rtype}");
        let raw = RawRequest {
            base: &self.base.url,
            method: "GET",
            path: &path,
            ..RawRequest::default()
        };
        Ok(FhirRequest::parse(FhirVersion::R4, &raw, &self.limits)?)
    }

    /// The template of the events of a request that passes.
    fn observed_event(
        &self,
        who: &Who,
        shape: &Shape,
        decided: &Decided,
        correlation: CorrelationId,
    ) -> Event {
        let mut event = Event::new(
            EventKind::Access,
            "released",
            self.tenant.clone(),
            self.clock.now(),
            correlation,
        )
        .with(SHAPE, shape.text.as_str());
        match who {
            Who::Known(principal) => {
                event.actor = principal.actor();
                event.purposes.clone_from(&principal.purposes);
                event = event
                    .with("organization", principal.organization.as_str())
                    .with("client_uri", principal.client_uri.as_str());
            }
            Who::Ended { uri, actor } => {
                event.actor = actor.clone();
                event = event.with("client_uri", uri.as_str());
            }
            Who::Nobody { .. } => {}
        }
        event.transfer = Some(Transfer {
            interaction: shape.interaction.into(),
            resource_type: shape.rtype.map_or_else(String::new, |rtype| rtype.name().to_owned()),
            ..Transfer::default()
        });
        if let Decided::Judge(judged) = decided {
            event.body.facts = Some(judged.1.digest.to_string());
        }
        event.body.policy = Some(self.policy.to_string());
        event
    }
}

/// Leave to pass: the caller and every rule that would refuse are observed, and so are the rules that would
/// hold back records, and those that nobody looked at because of an earlier fault: what is enforced is looked at, or the
/// request does not pass.
fn waiver(
    enforcement: &Enforcement,
    caller: Caller<'_>,
    refusals: &[Fault],
    decided: &Decided,
    drops: bool,
) -> Option<Waiver> {
    let rules: Option<Vec<&str>> =
        refusals.iter().map(|fault| fault.observable().map(|refused| refused.rule)).collect();
    let mut rules = rules?;
    rules.extend(refusals.iter().flat_map(unseen).flatten());
    if matches!(decided, Decided::Judge(_)) {
        rules.extend(RECORD_RULES);
        rules.extend(answer::RULES);
    }
    if drops {
        rules.push("D30");
    }
    enforcement.waive(caller, rules)
}

/// The rules that are not looked at because of this fault. Whoever is not known has no scopes and no roster; what is not
/// understood is not known to keep to anything.
fn unseen(fault: &Fault) -> [&'static [&'static str]; 5] {
    let understood = matches!(
        fault,
        Fault::Unresolved(_) | Fault::Denied(_) | Fault::Facts | Fault::QueryTooLong
    );
    let grammar = if understood { &[][..] } else { GRAMMAR_RULES };
    [grammar, AFTER_GRAMMAR, POLICY_RULES, RECORD_RULES, answer::RULES]
}

/// The event before a request goes on that may change something. The one that counts comes with the answer.
fn handed_on(event: &Event) -> Event {
    Event { action: "handed-on".into(), transfer: None, ..event.clone() }
}

/// Whether something that would go to the upstream looks like a token of Ward's.
fn carries_own_token<B>(head: &Parts, held: &Held<B>) -> bool {
    let holds = |bytes: &[u8]| {
        crate::forward::decoded(&String::from_utf8_lossy(bytes))
            .windows(OWN_TOKEN.len())
            .any(|window| window == OWN_TOKEN.as_bytes())
    };
    head.uri.query().is_some_and(|query| holds(query.as_bytes()))
        || holds(head.uri.path().as_bytes())
        || held.form(head).is_some_and(|form| holds(form.as_bytes()))
}

/// The particular of an event that says what a request looked like, without values.
pub const SHAPE: &str = "shape";
/// The particular that says which status enforcement would have given.
pub const WOULD_STATUS: &str = "would_status";
/// The particular that says which records enforcement would have held back: `RULE=COUNT,…`.
pub const WOULD_WITHHOLD: &str = "would_withhold";

/// Takes out of an event what was said in the first event of its answer.
pub(crate) fn said_once(event: &mut Event) {
    for name in [SHAPE, WOULD_STATUS, WOULD_WITHHOLD] {
        event.body.detail.remove(name);
    }
}

/// Every rule that can be enforced or observed by itself: what refuses a request, and what holds back a
/// record. What protects Ward itself is not among them.
pub fn rules() -> Vec<&'static str> {
    let mut rules: Vec<&str> =
        [GRAMMAR_RULES, Refused::RULES, POLICY_RULES, RECORD_RULES, answer::RULES].concat();
    rules.extend(CONTAINMENT_RULES);
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Of detection (`ward-watch`): what a client is held for.
const CONTAINMENT_RULES: [&str; 1] = ["WATCH-01"];
/// Of the request grammar (`ward-fhir`, and A18 of this crate's intake); a test holds it to the sources.
const GRAMMAR_RULES: &[&str] = &[
    "A5", "A6", "A7", "A14", "A16", "A17", "A18", "A23", "B1", "B3", "B8", "B10", "C6", "C7", "D4",
    "D7", "D8", "D10", "D11", "D13", "D15", "D16", "D17", "D18", "D19", "D20", "D22", "D24", "D25",
    "D27", "D29", "D30", "D31", "D33", "D34", "E4", "F1", "F2", "G3", "G18", "H1", "LIMIT",
];
/// What is asked once a request is understood and its caller known, besides the policy.
const AFTER_GRAMMAR: &[&str] = &["FACTS", "LIMIT"];
/// Of the lock on the way in (`ward-policy`).
const POLICY_RULES: &[&str] = &["RSV-02", "TYPE", "C17", "ROSTER", "D7", "D10"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every rule id that the sources name in a refusal can be named in the configuration.
    #[test]
    fn no_rule_is_missing() {
        let known: BTreeSet<&str> = rules().into_iter().collect();
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut found = BTreeSet::new();
        for dir in ["ward-fhir/src/request", "ward-policy/src"] {
            for entry in std::fs::read_dir(crates.join(dir)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|ext| ext != "rs") || path.ends_with("tests.rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
                for word in text.split('"').skip(1).step_by(2) {
                    let id = word.len() >= 2
                        && word.starts_with(|c: char| ('A'..='H').contains(&c))
                        && word.bytes().skip(1).all(|b| b.is_ascii_digit());
                    if id {
                        found.insert(word.to_owned());
                    }
                }
            }
        }
        assert!(found.len() > 30, "{found:?}");
        // These are never observed: the path would have two readings (A1–A4). C21 is no refusal.
        let fixed = ["A1", "A2", "A3", "A4", "C21"];
        found.retain(|id| !fixed.contains(&id.as_str()));
        let missing: Vec<_> = found.iter().filter(|id| !known.contains(id.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
