//! The walk: fourteen steps, each tried for real and compared with what should come back.

mod attack;
mod door;
mod evidence;

use std::future::Future;
use std::sync::Arc;

use serde_json::{Map, Value};
use ward_client::{Discovered, Registered, Token};
use ward_core::Timestamp;

use super::hospital::Hospital;
use super::report::{Report, Step};
use super::{DemoError, doing};
use attack::scrape;
pub(super) use door::refusal;
use door::{
    beyond_scope, community, discovery, outside_roster, read, registration, replay, revoked,
    search, smuggled, token,
};
use evidence::{proof, tampering};

/// What a step found.
pub(super) struct Found {
    ok: bool,
    got: String,
    facts: Map<String, Value>,
    detail: String,
}

impl Found {
    pub(super) fn new(ok: bool, got: impl Into<String>) -> Self {
        Self { ok, got: got.into(), facts: Map::new(), detail: String::new() }
    }

    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = text.into();
        self
    }
}

/// What is being tried, what should come back, and why.
pub(super) struct Plan {
    pub(super) step: &'static str,
    pub(super) tried: String,
    pub(super) expected: &'static str,
    pub(super) why: &'static str,
}

/// What earlier steps leave for later ones.
#[derive(Default)]
struct Carried {
    server: Option<Discovered>,
    registered: Option<Registered>,
    token: Option<Arc<Token>>,
    /// Correlation id of the first read.
    first_read: Option<String>,
    /// The signed checkpoint that an auditor would keep elsewhere.
    checkpoint: Option<String>,
    /// Index of the first read in the log.
    proven: Option<u64>,
}

fn missing(what: &'static str) -> DemoError {
    DemoError {
        what: "not reached",
        why: format!("the step that gives the {what} did not succeed"),
    }
}

impl Carried {
    fn server(&self) -> Result<&Discovered, DemoError> {
        self.server.as_ref().ok_or_else(|| missing("signed metadata"))
    }

    fn registered(&self) -> Result<&Registered, DemoError> {
        self.registered.as_ref().ok_or_else(|| missing("registration"))
    }

    fn token(&self) -> Result<&Token, DemoError> {
        self.token.as_deref().ok_or_else(|| missing("token"))
    }
}

pub(super) async fn step(
    report: &mut Report,
    now: impl Fn() -> Timestamp,
    plan: Plan,
    work: impl Future<Output = Result<Found, DemoError>>,
) {
    report.working_on(&plan.tried);
    let began = now();
    let found = work.await.unwrap_or_else(|error| Found::new(false, error.to_string()));
    let millis = u64::try_from(now().since(began).as_millis()).unwrap_or(u64::MAX);
    report.add(Step {
        name: plan.step,
        tried: plan.tried,
        expected: plan.expected.to_owned(),
        got: found.got,
        why: plan.why,
        ok: found.ok,
        millis,
        facts: found.facts,
    });
    report.detail(&found.detail);
}

/// Walks through all steps; a step that fails does not keep the others from being tried.
pub(crate) async fn walk(hospital: &Hospital, report: &mut Report, started: Timestamp) {
    let clock = hospital.system.clock.clone();
    let now = || clock.now();
    let mut carried = Carried::default();
    let h = hospital;
    let mine = h.roster.first().cloned().unwrap_or_default();
    let other = h.strangers.first().cloned().unwrap_or_default();

    let plan = Plan {
        step: "community",
        tried: "a trust community with its certificate authority, a FHIR server, Ward in front"
            .to_owned(),
        expected: "all up; certificates issued to hospital and partner",
        why: "everybody is let in by certificate; nobody exchanges a secret",
    };
    let raised = now().since(started).as_millis();
    step(report, now, plan, community(h, raised)).await;

    let plan = Plan {
        step: "discovery",
        tried: "partner fetches /.well-known/udap and validates the signed metadata".to_owned(),
        expected: "metadata signed by a certificate of the community for this base URL",
        why: "signature, chain, revocation, and the certificate names this very base URL",
    };
    step(report, now, plan, discovery(h, &mut carried)).await;

    let plan = Plan {
        step: "registration",
        tried: "partner registers with a signed software statement".to_owned(),
        expected: "201 with a client id, or 200 with the same one on a kept data directory",
        why: "proof instead of paperwork: nobody had to set anything up",
    };
    step(report, now, plan, registration(h, &mut carried)).await;

    let plan = Plan {
        step: "token",
        tried: "partner asks for an access token with hl7-b2b, purpose TREAT".to_owned(),
        expected: "an opaque token of at most 256 characters for the scopes asked",
        why: "who asks, for which organisation and why, in one signed assertion",
    };
    step(report, now, plan, token(h, &mut carried)).await;

    let plan = Plan {
        step: "read",
        tried: format!("read Patient/{mine}, who is in the partner's roster"),
        expected: "200 and the FHIR resource",
        why: "scope, purpose and roster allow it; the log has it on disk before it left",
    };
    step(report, now, plan, read(h, &mut carried, &mine)).await;

    let plan = Plan {
        step: "search",
        tried: "search Observation without naming a patient".to_owned(),
        expected: "200 and only observations of patients in the roster",
        why: "both locks: the query is narrowed, every record that comes back is judged again",
    };
    step(report, now, plan, search(h, &carried)).await;

    let plan = Plan {
        step: "beyond-scope",
        tried: "search MedicationRequest, which the token's scopes do not name".to_owned(),
        expected: "403 insufficient_scope",
        why: "decided from token and request alone, before any data is touched",
    };
    step(report, now, plan, beyond_scope(h, &carried)).await;

    let plan = Plan {
        step: "outside-roster",
        tried: format!(
            "read Patient/{other}, who is not in the roster, and an id that does not exist"
        ),
        expected: "404 twice, the same bytes but for Date and correlation id",
        why: "what depends on stored data looks the same whether the data exists or not",
    };
    step(report, now, plan, outside_roster(h, &carried, &other)).await;

    let plan = Plan {
        step: "replay",
        tried: "send one authentication token twice".to_owned(),
        expected: "200, then 400 invalid_client",
        why: "an assertion is good once, also after a restart",
    };
    step(report, now, plan, replay(h, &carried)).await;

    let plan = Plan {
        step: "revoked-certificate",
        tried: "the community revokes a certificate; its holder asks for a token".to_owned(),
        expected: "its token 401, a new one 400 invalid_client",
        why: "trust is evaluated again at every request, not only at registration",
    };
    step(report, now, plan, revoked(h, &mine)).await;

    let plan = Plan {
        step: "smuggled-path",
        tried: format!("GET /Patient/{mine}/%2e%2e/{other}"),
        expected: "400",
        why: "what the grammar does not fully understand is never forwarded",
    };
    step(report, now, plan, smuggled(h, &carried, &mine, &other)).await;

    let plan = Plan {
        step: "scrape",
        tried: format!(
            "another application of the partner reads its roster one by one; the ceiling is {} patients a minute",
            h.ceiling
        ),
        expected: "an incident, the client on hold: the next request 401, no new token",
        why: "sense, decide, act, remember: within its rights, and still contained",
    };
    step(report, now, plan, scrape(h)).await;

    let plan = Plan {
        step: "proof",
        tried: "take a signed checkpoint and prove that the first read is in the log".to_owned(),
        expected: "the checkpoint's signature, the inclusion proof and the body's commitment verify",
        why: "an auditor needs no trust in us: RFC 6962 hashing, C2SP checkpoints",
    };
    step(report, now, plan, proof(h, &mut carried)).await;

    let plan = Plan {
        step: "tampering",
        tried: "change one byte of that entry in a copy of the log".to_owned(),
        expected: "verification fails and names the entry",
        why: "nobody can quietly change what happened",
    };
    step(report, now, plan, async { tampering(h, &carried) }).await;
}
