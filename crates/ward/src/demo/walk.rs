//! The walk: fourteen steps, each tried for real and compared with what should come back.

use std::future::Future;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use ward_audit::{Checkpoint, LogError, Reader, RealDisk, VerifierKey, leaf_hash, verify};
use ward_client::{ClientError, Discovered, Registered, Token};
use ward_community::Reason;
use ward_core::{EventKind, Purpose, Timestamp};

use super::hospital::Hospital;
use super::partner::{Answer, SCOPE, b2b};
use super::report::{Report, Step};
use super::{DemoError, doing};
use crate::log_command::one_line;
use crate::ui::Ui;

/// What a step found.
struct Found {
    ok: bool,
    got: String,
    facts: Map<String, Value>,
    detail: String,
}

impl Found {
    fn new(ok: bool, got: impl Into<String>) -> Self {
        Self { ok, got: got.into(), facts: Map::new(), detail: String::new() }
    }

    fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = text.into();
        self
    }
}

/// What is being tried, what should come back, and why.
struct Plan {
    step: &'static str,
    tried: String,
    expected: &'static str,
    why: &'static str,
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

async fn step(
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
pub(crate) async fn walk(hospital: &mut Hospital, report: &mut Report, started: Timestamp) {
    let clock = hospital.system.clock.clone();
    let now = || clock.now();
    let mut carried = Carried::default();
    let h = &*hospital;
    let mine = h.roster.first().cloned().unwrap_or_default();
    let other = h.strangers.first().cloned().unwrap_or_default();

    let plan = Plan {
        step: "community",
        tried: "create a trust community and issue certificates".to_owned(),
        expected: "a root, an issuing authority, four certificates, two revocation lists",
        why: "everybody is let in by certificate; nobody exchanges a secret",
    };
    let raised = now().since(started).as_millis();
    step(report, now, plan, community(h, raised)).await;

    let plan = Plan {
        step: "discovery",
        tried: "partner fetches /.well-known/udap and validates the signed metadata".to_owned(),
        expected: "metadata signed by a certificate of the community for this base URL",
        why: "SMD-01..08, CLI-05: signature, chain, revocation, SAN URI = base URL",
    };
    step(report, now, plan, discovery(h, &mut carried)).await;

    let plan = Plan {
        step: "registration",
        tried: "partner registers with a signed software statement".to_owned(),
        expected: "201 with a client id, or 200 with the same one on a kept data directory",
        why: "REG-01..25: proof instead of paperwork",
    };
    step(report, now, plan, registration(h, &mut carried)).await;

    let plan = Plan {
        step: "token",
        tried: "partner asks for an access token with hl7-b2b, purpose TREAT".to_owned(),
        expected: "an opaque token of at most 256 characters for the scopes asked",
        why: "TOK-01..19, B2B-01..12: who asks, for whom, why, in one signed assertion",
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
        why: "RSV-02: decided from token and request alone, before any data is touched",
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
        why: "TOK-12: a jti is good once, also after a restart",
    };
    step(report, now, plan, replay(h, &carried)).await;

    let plan = Plan {
        step: "revoked-certificate",
        tried: "the community revokes a certificate; its holder asks for a token".to_owned(),
        expected: "its token 401, a new one 400 invalid_client",
        why: "PKI-03, X47: trust is evaluated again at every token request",
    };
    step(report, now, plan, revoked(h, &mine)).await;

    let plan = Plan {
        step: "smuggled-path",
        tried: format!("GET /Patient/{mine}/%2e%2e/{other}"),
        expected: "400",
        why: "A2: what the grammar does not fully understand is never forwarded",
    };
    step(report, now, plan, smuggled(h, &carried, &mine, &other)).await;

    let plan = Plan {
        step: "scrape",
        tried: format!(
            "another application of the partner reads its roster one by one; the ceiling is {} patients a minute",
            h.ceiling
        ),
        expected: "an incident, the grant revoked, the next request 401",
        why: "sense, decide, act, remember: within its rights, and still contained",
    };
    step(report, now, plan, scrape(h)).await;

    let plan = Plan {
        step: "proof",
        tried: "take a signed checkpoint and prove that the first read is in the log".to_owned(),
        expected: "the checkpoint's signature, the inclusion proof and the body's commitment verify",
        why: "RFC 6962, C2SP: an auditor needs no trust in us",
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

async fn community(h: &Hospital, raised_millis: u128) -> Result<Found, DemoError> {
    let members = h.operator.members().await;
    let chain_ok = h.operator.trust().anchors.len() == 1;
    Ok(Found::new(
        chain_ok && members.len() >= 4,
        format!(
            "{} with {} certificates issued; all up in {raised_millis} ms",
            h.operator.uri(),
            members.len()
        ),
    )
    .fact("certificates", members.len())
    .fact("raised_millis", u64::try_from(raised_millis).unwrap_or(u64::MAX)))
}

async fn discovery(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let server = h.care.client.discover(&h.fhir_base).await.map_err(doing("discovery"))?;
    let chain = server.chain().certificates.len();
    let found = Found::new(
        server.base_url == h.fhir_base && chain > 0,
        format!(
            "valid until {}, chain of {chain} to the community's root",
            server.exp.to_rfc3339()
        ),
    )
    .fact("base_url", server.base_url.as_str());
    carried.server = Some(server);
    Ok(found)
}

async fn registration(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let request = h.care.request("Partner Care");
    let registered =
        h.care.client.register(carried.server()?, &request).await.map_err(doing("registration"))?;
    let found = Found::new(
        registered.scope == SCOPE,
        format!("{:?}, client_id {}", registered.standing, registered.client_id),
    )
    .fact("client_id", registered.client_id.as_str())
    .fact("scope", registered.scope.as_str());
    carried.registered = Some(registered);
    Ok(found)
}

async fn token(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let token = h.care.token(carried.server()?, carried.registered()?).await?;
    let length = token.expose().len();
    let left = token.expires().since(h.system.clock.now()).as_secs();
    let found = Found::new(
        length <= 256 && token.scope() == SCOPE,
        format!("{length} characters, good for {left} s, scopes {}", token.scope()),
    )
    .fact("length", length);
    carried.token = Some(token);
    Ok(found)
}

async fn read(h: &Hospital, carried: &mut Carried, id: &str) -> Result<Found, DemoError> {
    let answer = h.care.ask(&h.fhir_base, &format!("/Patient/{id}"), carried.token()?).await?;
    let resource = answer.json();
    carried.first_read = answer.header("x-correlation-id").map(ToOwned::to_owned);
    let ok = answer.status == 200
        && resource.get("resourceType").and_then(Value::as_str) == Some("Patient")
        && resource.get("id").and_then(Value::as_str) == Some(id);
    Ok(Found::new(ok, format!("{} and {} bytes of FHIR", answer.status, answer.body.len()))
        .fact("status", answer.status))
}

async fn search(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let token = carried.token()?;
    let answer = h.care.ask(&h.fhir_base, "/Observation?_count=50", token).await?;
    let bundle = answer.json();
    let empty = Vec::new();
    let entries = bundle.get("entry").and_then(Value::as_array).unwrap_or(&empty);
    let subjects: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry.pointer("/resource/subject/reference").and_then(Value::as_str))
        .collect();
    let inside = subjects.iter().all(|subject| {
        subject.strip_prefix("Patient/").is_some_and(|id| h.roster.iter().any(|known| known == id))
    });
    let narrowed =
        format!("/Observation?patient=Patient/{}", h.strangers.first().map_or("", |s| s));
    let elsewhere = h.care.ask(&h.fhir_base, &narrowed, token).await?;
    let none = elsewhere.status == 200 && elsewhere.json().get("entry").is_none();
    let ok =
        answer.status == 200 && !entries.is_empty() && subjects.len() == entries.len() && inside;
    Ok(Found::new(
        ok && none,
        format!(
            "{}, {} observations, all of roster patients; a stranger's: {} and none",
            answer.status,
            entries.len(),
            elsewhere.status
        ),
    )
    .fact("status", answer.status)
    .fact("entries", entries.len()))
}

async fn beyond_scope(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let answer = h.care.ask(&h.fhir_base, "/MedicationRequest", carried.token()?).await?;
    let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
    Ok(Found::new(
        answer.status == 403 && challenge.contains("insufficient_scope"),
        format!("{} {}", answer.status, words(&answer)),
    )
    .fact("status", answer.status))
}

async fn outside_roster(
    h: &Hospital,
    carried: &Carried,
    stranger: &str,
) -> Result<Found, DemoError> {
    let token = carried.token()?;
    let hidden = h.care.ask(&h.fhir_base, &format!("/Patient/{stranger}"), token).await?;
    let absent = h.care.ask(&h.fhir_base, "/Patient/no-such-patient", token).await?;
    let same = hidden.visible() == absent.visible();
    Ok(Found::new(
        hidden.status == 404 && absent.status == 404 && same,
        format!(
            "{} and {}, {}",
            hidden.status,
            absent.status,
            if same { "byte for byte the same" } else { "but they can be told apart" }
        ),
    )
    .fact("hidden", hidden.status)
    .fact("absent", absent.status)
    .fact("same", same))
}

async fn replay(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let (server, registered) = (carried.server()?, carried.registered()?);
    let assertion = h
        .care
        .client
        .authentication_token(server, registered, &b2b(Purpose::Treatment)?)
        .map_err(doing("signing"))?;
    let first = h.care.client.token_with(server, SCOPE, &assertion).await;
    let second = h.care.client.token_with(server, SCOPE, &assertion).await;
    let (refused, said) = refusal(second);
    Ok(Found::new(
        first.is_ok() && refused.as_deref() == Some("invalid_client"),
        format!("{}, then {said}", if first.is_ok() { "200" } else { "refused" }),
    ))
}

async fn revoked(h: &Hospital, patient: &str) -> Result<Found, DemoError> {
    let (server, registered, token) = h.lost.establish(&h.fhir_base).await?;
    let path = format!("/Patient/{patient}");
    let before = h.lost.ask(&h.fhir_base, &path, &token).await?.status;
    h.operator
        .revoke(&h.lost.thumbprint, Reason::KeyCompromise)
        .await
        .map_err(doing("revoking"))?;
    let began = h.system.clock.now();
    h.house
        .admin
        .execute(&h.officer, ward_admin::Command::RefreshLists)
        .await
        .map_err(doing("refreshing the lists"))?;
    let learned = h.system.clock.now().since(began).as_millis();
    let after = h.lost.ask(&h.fhir_base, &path, &token).await?.status;
    let again = h.lost.client.token(&server, &registered, SCOPE, &b2b(Purpose::Treatment)?).await;
    let (refused, said) = refusal(again);
    Ok(Found::new(
        before == 200 && after == 401 && refused.as_deref() == Some("invalid_client"),
        format!(
            "{before} before; {learned} ms after the list was asked for: its token {after}, a new one {said}"
        ),
    )
    .fact("learned_millis", u64::try_from(learned).unwrap_or(u64::MAX)))
}

async fn smuggled(
    h: &Hospital,
    carried: &Carried,
    mine: &str,
    other: &str,
) -> Result<Found, DemoError> {
    let path = format!("/Patient/{mine}/%2e%2e/{other}");
    let answer = h.care.ask(&h.fhir_base, &path, carried.token()?).await?;
    Ok(Found::new(answer.status == 400, format!("{} {}", answer.status, words(&answer)))
        .fact("status", answer.status))
}

async fn scrape(h: &Hospital) -> Result<Found, DemoError> {
    let (_, _, token) = h.sync.establish(&h.fhir_base).await?;
    let patience = h.system.clock.now().plus(std::time::Duration::from_secs(5));
    let mut released = 0_u32;
    let mut crossed = None;
    let mut stopped = None;
    for id in h.roster.iter().cycle() {
        let answer = h.sync.ask(&h.fhir_base, &format!("/Patient/{id}"), &token).await?;
        let now = h.system.clock.now();
        match answer.status {
            200 => released += 1,
            401 => {
                stopped = Some(now);
                break;
            }
            status => return Ok(Found::new(false, format!("{status} in the middle"))),
        }
        // On a kept data directory the log remembers the last minute: the first record may be over.
        if released > h.ceiling || crossed.is_none() {
            crossed = crossed.filter(|_| released != h.ceiling + 1).or(Some(now));
        }
        if now > patience {
            break;
        }
    }
    let (Some(crossed), Some(stopped)) = (crossed, stopped) else {
        return Ok(Found::new(false, format!("{released} records left and nobody stopped it")));
    };
    let elapsed = stopped.since(crossed).as_millis();
    let incident = incident_of(h, token_grant(h)?).await?;
    Ok(Found::new(
        incident.is_some(),
        format!(
            "{released} records left, then 401; {elapsed} ms from the record over the ceiling to the refusal"
        ),
    )
    .fact("released", released)
    .fact("contained_millis", u64::try_from(elapsed).unwrap_or(u64::MAX))
    .detail(incident.unwrap_or_default()))
}

/// The grant of the newest finding in the log.
fn token_grant(h: &Hospital) -> Result<Option<ward_core::GrantId>, DemoError> {
    let reader = h.house.log.reader().map_err(doing("reading the log"))?;
    let newest = (0..reader.size())
        .rev()
        .filter_map(|index| reader.leaf(index).ok())
        .find(|leaf| leaf.kind == EventKind::Finding);
    Ok(newest.and_then(|leaf| leaf.actor.grant))
}

/// Waits for the incident's account, which is written right after the containment.
async fn incident_of(
    h: &Hospital,
    grant: Option<ward_core::GrantId>,
) -> Result<Option<String>, DemoError> {
    let tenant = ward_core::TenantId::default_tenant();
    for _ in 0..100 {
        let incidents = h
            .house
            .repositories
            .incidents
            .list(&tenant, 10)
            .await
            .map_err(doing("reading incidents"))?;
        if let Some(incident) = incidents.iter().find(|i| i.grant == grant && grant.is_some()) {
            return Ok(Some(format!(
                "incident {}: {} ({:?})",
                incident.id, incident.summary, incident.status
            )));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok(None)
}

async fn proof(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let correlation = carried.first_read.clone().ok_or_else(|| missing("first read"))?;
    let note = h.house.log.checkpoint().await.map_err(doing("signing a checkpoint"))?;
    let key = VerifierKey::parse(&h.house.log.verifier_key()).map_err(doing("reading the key"))?;
    let checkpoint = Checkpoint::verify(&note, &key)
        .ok_or(DemoError { what: "checkpoint", why: "the signature does not verify".into() })?;
    let keys: Arc<dyn ward_core::KeyVault> = h.house.vault.clone();
    let reader = Reader::open_dir(&h.paths.log(), Some(keys)).map_err(doing("reading the log"))?;
    let read = |index: u64| reader.leaf(index).map_err(doing("reading the log"));
    let mut found = None;
    for index in 0..checkpoint.size {
        let leaf = read(index)?;
        if leaf.kind == EventKind::Access && leaf.correlation.to_string() == correlation {
            found = Some((index, leaf));
            break;
        }
    }
    let (index, leaf) =
        found.ok_or(DemoError { what: "log", why: "the first read is not in it".into() })?;
    let bytes = reader.leaf_bytes(index).map_err(doing("reading the log"))?;
    let proof =
        reader.prove_inclusion(index, checkpoint.size).map_err(doing("proving inclusion"))?;
    let included = proof.verify(&leaf_hash(&bytes), &checkpoint.root).is_ok();
    // Opening the body also checks its commitment in the leaf.
    let body = reader.body(index).await.map_err(doing("opening the body"))?;
    let view = ward_audit::fhir_view::audit_event(&leaf, Some(&body), index, &leaf.node);
    let typed = view.get("resourceType").and_then(Value::as_str) == Some("AuditEvent");
    let detail = format!(
        "{}\n{}\n{}",
        note.trim_end(),
        one_line(Ui::new(true), index, &leaf).trim(),
        audit_event_in_short(&view),
    );
    carried.checkpoint = Some(note);
    carried.proven = Some(index);
    Ok(Found::new(
        included && typed,
        format!(
            "entry {index} of {} proven by {} hashes; its AuditEvent names {} record",
            checkpoint.size,
            proof.hashes.len(),
            body.released.len()
        ),
    )
    .fact("entry", index)
    .fact("size", checkpoint.size)
    .fact("audit_event", view)
    .fact(
        "proof",
        json!(proof.hashes.iter().map(|h| ward_core::crypto::hex(h)).collect::<Vec<_>>()),
    )
    .detail(detail))
}

/// The AuditEvent on one line; `ward log prove` shows it whole.
fn audit_event_in_short(view: &Value) -> String {
    let text = |pointer: &str| view.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let entities: Vec<&str> = view
        .get("entity")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entity| entity.pointer("/what/reference").and_then(Value::as_str))
        .collect();
    format!(
        "AuditEvent {}: action {}, outcome {}, purpose {}, {}",
        text("/recorded"),
        text("/action"),
        text("/outcome"),
        text("/purposeOfEvent/0/coding/0/code"),
        entities.join(", "),
    )
}

fn tampering(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let note = carried.checkpoint.as_deref().ok_or_else(|| missing("checkpoint"))?;
    let index = carried.proven.ok_or_else(|| missing("proof"))?;
    let key = h.house.log.verifier_key();
    let copy = h.paths.root().join("tampered-copy");
    copy_dir(&h.paths.log(), &copy).map_err(doing("copying the log"))?;
    let whole = verify(&RealDisk::new(&copy), &key, Some(note)).is_ok();
    let reader = Reader::open_dir(&copy, None).map_err(doing("reading the copy"))?;
    let leaf = reader.leaf_bytes(index).map_err(doing("reading the copy"))?;
    let changed = change_one_byte(&copy, &leaf).map_err(doing("changing the copy"))?;
    let verdict = verify(&RealDisk::new(&copy), &key, Some(note));
    std::fs::remove_dir_all(&copy).map_err(doing("removing the copy"))?;
    let (named, said) = match verdict {
        Ok(_) => (false, "not noticed".to_owned()),
        Err(LogError::Tampered(tampered)) => {
            (tampered.place == ward_audit::Place::Entry(index), tampered.to_string())
        }
        Err(other) => (false, other.to_string()),
    };
    Ok(Found::new(whole && changed && named, said).fact("entry", index))
}

/// Changes one byte of the file that holds `leaf`, within it.
fn change_one_byte(dir: &std::path::Path, leaf: &[u8]) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            // Tiles repeat the leaves; the segments are the truth.
            if path.file_name().is_some_and(|name| name == "tile") {
                continue;
            }
            if change_one_byte(&path, leaf)? {
                return Ok(true);
            }
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        let place = bytes.windows(leaf.len()).position(|window| window == leaf);
        if let Some(byte) = place.and_then(|at| bytes.get_mut(at + leaf.len() / 2)) {
            *byte ^= 1;
            std::fs::write(&path, bytes)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The diagnostics of an OperationOutcome.
fn words(answer: &Answer) -> String {
    let outcome = answer.json();
    let text = outcome
        .pointer("/issue/0/details/text")
        .or_else(|| outcome.pointer("/issue/0/diagnostics"))
        .and_then(Value::as_str)
        .unwrap_or("");
    format!("“{text}”")
}

/// The error code of a refusal, and the answer in words.
fn refusal<T>(result: Result<T, ClientError>) -> (Option<String>, String) {
    match result {
        Ok(_) => (None, "200".to_owned()),
        Err(ClientError::Refused { status, code, .. }) => {
            let said = format!("{status} {code}");
            (Some(code), said)
        }
        Err(other) => (None, other.to_string()),
    }
}
