//! The pure hot functions one at a time, for `bench/instructions`: `hot FUNCTION TIMES` prepares the input
//! and calls the function so often; callgrind counts only what happens inside of `measured`.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::json;
use ward_audit::Leaf;
use ward_core::crypto::hex;
use ward_core::json::Unescaped;
use ward_core::{
    BoxFuture, ClientId, ClientUri, Clock as _, CommunityUri, CorrelationId, DataKey, EventKind,
    FhirVersion, GrantId, KeyId, KeyPurpose, KeyVault, Limits, ManualClock, OrganizationUri,
    Outcome, PatientId, Purpose, Secret, SeededRng, TenantId, Timestamp, TokenId, Transfer,
    VaultError,
};
use ward_fhir::{FhirRequest, RawRequest, ReferenceBases, ResourceView, ScopeSet, Searchset};
use ward_issuer::sealed::{Claims, KeyBinding, Sealer};
use ward_policy::{Facts, Plan, Principal, Roster, judge, plan};
use ward_sandbox::Sandbox;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What callgrind counts; never inlined, so that it has a name.
#[inline(never)]
fn measured(work: &dyn Fn()) {
    work();
}

struct Vault;

impl KeyVault for Vault {
    fn current<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async { Ok(DataKey { id: KeyId(1), key: Secret::new([7; 32]) }) })
    }

    fn by_id<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
        _: KeyId,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async { Err(VaultError::Unknown) })
    }

    fn destroy<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async { Ok(()) })
    }
}

fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// A page of 100 records, as servers send them: with a narrative, which has escaped quotes, or without.
fn page(hospital: &Sandbox, narrative: bool) -> String {
    let entry = |id: &String| {
        let mut resource = hospital.resource("Observation", id)?;
        if narrative {
            let row =
                "<tr class=\"row\"><td>Heart rate</td><td>71 beats/minute</td></tr>".repeat(6);
            let div =
                format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><table>{row}</table></div>");
            resource["text"] = json!({"status": "generated", "div": div});
        }
        Some(json!({"fullUrl": "u", "resource": resource, "search": {"mode": "match"}}))
    };
    let ids = hospital.ids("Observation");
    let entries: Vec<_> = ids.iter().take(100).filter_map(entry).collect();
    json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}).to_string()
}

/// Finds the records of a page and reads them; with `bases` also whose they are.
fn walk(page: &str, limits: &Limits, bases: Option<&ReferenceBases>) {
    let kept = Unescaped::default();
    let Ok(page) = black_box(Searchset::parse(page.as_bytes(), &kept, limits)) else { return };
    for (entry, bases) in page.entries.iter().zip(bases.into_iter().cycle()) {
        drop(black_box(entry.view(bases, limits)));
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [function, times] = words.as_slice() else { return ExitCode::FAILURE };
    match go(function, times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn go(function: &str, times: &str) -> Result<(), Error> {
    let times: usize = times.parse()?;
    let limits = Limits::default();
    let rng = SeededRng::new(1);
    let clock = ManualClock::at_unix_seconds(1_795_306_500);
    let base = "https://gw.example/default/fhir";
    let hospital = Sandbox::generate(2026, 40);
    let patients = hospital.patient_ids();
    let first = patients.first().ok_or("no patients")?;
    let record = hospital.resource("Patient", first).ok_or("no record")?.to_string();
    let read_path = format!("/Patient/{first}");
    let read = RawRequest { base, method: "GET", path: &read_path, ..RawRequest::default() };
    let query =
        format!("patient=Patient/{first}&code=http://loinc.org|8867-4&_count=100&_sort=-date");
    let search = RawRequest { path: "/Observation", query: Some(&query), ..read };
    let parse = |raw| FhirRequest::parse(FhirVersion::R4, raw, &limits);
    let (read_request, search_request) = (parse(&read)?, parse(&search)?);
    let (page, told) = (page(&hospital, false), page(&hospital, true));
    let bases = ReferenceBases { public: base.into(), upstream: "http://127.0.0.1:1/fhir".into() };
    let principal = Principal {
        tenant: TenantId::default_tenant(),
        client: ClientId::new(&clock, &rng),
        client_uri: ClientUri::parse("https://partner.example/app")?,
        grant: GrantId::new(&clock, &rng),
        token: TokenId::new(&clock, &rng),
        community: CommunityUri::parse("https://community.example/udap")?,
        organization: OrganizationUri::parse("https://partner.example/org")?,
        purposes: vec![Purpose::Treatment],
        scopes: ScopeSet::parse("system/Observation.rs system/Patient.rs").0,
    };
    let roster: BTreeSet<PatientId> =
        patients.iter().map(|id| PatientId::parse(id)).collect::<Result<_, _>>()?;
    let facts = Facts { roster: Roster::Known(Arc::new(roster)) };
    let Plan::PreRead(permit) = plan(&principal, &read_request, &facts, &limits) else {
        return Err("another plan".into());
    };
    let view = ResourceView::parse(&record, &bases, &limits)?;
    let tenant = TenantId::default_tenant();
    let sealer = Sealer::new(tenant, "https://issuer.example", base, Arc::new(Vault), &rng);
    let claims = Claims {
        token: principal.token,
        grant: principal.grant,
        expires: Timestamp::from_seconds(1_795_306_800),
        binding: KeyBinding::None,
        scope: None,
    };
    let token = ready(sealer.seal(&claims)).ok_or("waits")??;
    // As of a small read.
    let leaf = Leaf {
        v: 1,
        node: "ward/log/0198d2b0-0000-7000-8000-000000000000".to_owned(),
        outbox: None,
        kind: EventKind::Access,
        tenant: TenantId::default_tenant(),
        at: clock.now(),
        correlation: CorrelationId::new(&clock, &rng),
        outcome: Outcome::Success,
        action: "released".to_owned(),
        rule: None,
        actor: principal.actor(),
        purposes: principal.purposes.clone(),
        incident: None,
        transfer: Some(Transfer {
            interaction: "read".into(),
            resource_type: "Patient".to_owned(),
            status: 200,
            ..Transfer::default()
        }),
        body: hex(&[7; 32]),
        sealed: hex(&[8; 32]),
    };
    let work: Box<dyn Fn()> = match function {
        "nothing" => Box::new(|| black_box(())),
        "parse-read" => Box::new(|| drop(black_box(parse(black_box(&read))))),
        "parse-search" => Box::new(|| drop(black_box(parse(black_box(&search))))),
        "write-search" => Box::new(|| drop(black_box(search_request.upstream_target()))),
        "plan-read" => Box::new(|| {
            drop(black_box(plan(&principal, black_box(&read_request), &facts, &limits)))
        }),
        "plan-search" => Box::new(|| {
            drop(black_box(plan(&principal, black_box(&search_request), &facts, &limits)));
        }),
        "facts-digest" => Box::new(|| drop(black_box(facts.digest()))),
        "view-patient" => {
            Box::new(|| drop(black_box(ResourceView::parse(black_box(&record), &bases, &limits))))
        }
        "walk-100" => Box::new(|| walk(&page, &limits, None)),
        "walk-100-narrative" => Box::new(|| walk(&told, &limits, None)),
        "views-100" => Box::new(|| walk(&page, &limits, Some(&bases))),
        "views-100-narrative" => Box::new(|| walk(&told, &limits, Some(&bases))),
        "judge" => Box::new(|| {
            let _ = black_box(judge(permit.residual(), black_box(&view)));
        }),
        "token-open" => Box::new(|| drop(black_box(ready(sealer.open(black_box(&token)))))),
        "leaf-encode" => Box::new(|| drop(black_box(serde_json::to_vec(black_box(&leaf))))),
        _ => return Err("no such function".into()),
    };
    for _ in 0..times {
        measured(&work);
    }
    Ok(())
}
