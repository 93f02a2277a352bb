//! The one test-suite of the repositories. It knows them by their traits alone, so that every
//! implementation is held to the same answers: [`fill`], then [`check`] before and after a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ward_core::{
    ClientId, ClientUri, Clock, CommunityUri, CorrelationId, Event, EventKind, GrantId, IncidentId,
    ManualClock, OrganizationUri, OutboxSeq, PatientId, Purpose, SeededRng, TenantId, Thumbprint,
    Timestamp, TokenId,
};
use ward_policy::{Grant, Roster, Subject};

use crate::{
    Binding, Certified, Claim, Expected, Hold, Incident, IncidentStatus, Registration,
    Repositories, RosterRow, StoreError,
};

/// Time, randomness and names for one run.
pub(crate) struct World {
    pub(crate) tenant: TenantId,
    pub(crate) other: TenantId,
    pub(crate) clock: Arc<ManualClock>,
    rng: SeededRng,
    pub(crate) community: CommunityUri,
    pub(crate) organization: OrganizationUri,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            tenant: TenantId::default_tenant(),
            other: TenantId::parse("other").unwrap(),
            clock: Arc::new(ManualClock::at_unix_seconds(1_800_000_000)),
            rng: SeededRng::new(42),
            community: CommunityUri::parse("https://community.example").unwrap(),
            organization: OrganizationUri::parse("urn:oid:1.2.3.4").unwrap(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn event(&self, kind: EventKind, action: &str) -> Event {
        let correlation = CorrelationId::new(self.clock.as_ref(), &self.rng);
        Event::new(kind, action.to_owned(), self.tenant.clone(), self.now(), correlation)
    }

    pub(crate) fn client(&self) -> ClientId {
        ClientId::new(self.clock.as_ref(), &self.rng)
    }

    pub(crate) fn registration(&self, name: &str) -> Registration {
        Registration {
            tenant: self.tenant.clone(),
            client: self.client(),
            community: self.community.clone(),
            uri: ClientUri::parse(&format!("https://client.example/{name}")).unwrap(),
            client_name: name.to_owned(),
            grant_types: vec!["client_credentials".to_owned()],
            scopes: "system/Observation.rs".to_owned(),
            contacts: vec!["mailto:secret-contact@client.example".to_owned()],
            certificate: vec![0x30, 0x00, 0xff],
            thumbprint: Thumbprint([7; 32]),
            statement: "aaa.secret-statement.bbb".to_owned(),
            registered: self.now(),
            updated: self.now(),
            cancelled: false,
            json: "{}".to_owned(),
            certifications: vec![Certified {
                id: Thumbprint([8; 32]),
                issuer: ClientUri::parse("https://certifier.example/").unwrap(),
                name: "Gold".to_owned(),
                uris: vec!["https://certifier.example/gold".to_owned()],
                signer: Thumbprint([9; 32]),
                expires: self.now().plus(Duration::from_hours(24 * 3650)),
                jwt: "aaa.certification.bbb".to_owned(),
            }],
        }
    }

    pub(crate) fn grant(&self, client: ClientId) -> Grant {
        let id = GrantId::new(self.clock.as_ref(), &self.rng);
        let grant = serde_json::json!({
            "id": id, "tenant": self.tenant, "client": client, "community": self.community,
            "client_uri": "https://client.example/kept",
            "organization": self.organization, "purposes": ["TREAT"],
            "scopes": "system/Observation.rs", "certificate": Thumbprint([7; 32]),
            "issued": self.now(), "expires": self.now().plus(Duration::from_mins(5)),
            "hangs_on": [[Subject::Grant(id), 0], [Subject::Client(client), 0]],
        });
        serde_json::from_value(grant).unwrap()
    }

    /// A client that may speak for the organisation.
    pub(crate) fn member(&self) -> (CommunityUri, ClientUri) {
        (self.community.clone(), ClientUri::parse("https://client.example/kept").unwrap())
    }

    pub(crate) fn hold(&self, name: &str, client: ClientId) -> Hold {
        Hold {
            tenant: self.tenant.clone(),
            community: self.community.clone(),
            uri: ClientUri::parse(&format!("https://client.example/{name}")).unwrap(),
            client,
            since: self.now(),
            reason: "secret-reason".to_owned(),
            incident: None,
        }
    }

    pub(crate) fn incident(&self) -> Incident {
        Incident {
            id: IncidentId::new(self.clock.as_ref(), &self.rng),
            tenant: self.tenant.clone(),
            opened: self.now(),
            updated: self.now(),
            status: IncidentStatus::Open,
            rule: "WATCH-PATIENTS".to_owned(),
            summary: "secret-summary".to_owned(),
            client: None,
            grant: None,
            revoked: Vec::new(),
            held: false,
            evidence: vec![3, 4],
        }
    }
}

pub(crate) fn patient(id: &str) -> PatientId {
    PatientId::parse(id).unwrap()
}

pub(crate) fn row(id: &str, purposes: &[Purpose]) -> RosterRow {
    RosterRow { patient: patient(id), purposes: purposes.to_vec() }
}

fn known(ids: &[&str]) -> Roster {
    Roster::Known(Arc::new(ids.iter().map(|id| patient(id)).collect::<BTreeSet<_>>()))
}

/// What [`fill`] wrote.
pub(crate) struct Written {
    held: Hold,
    kept: Registration,
    modified: Registration,
    cancelled: Registration,
    replaced: Registration,
    live: Grant,
    revoked: Grant,
    expired: Grant,
    token: TokenId,
    claimed: [u8; 32],
    incident: Incident,
    closed: Incident,
    last: OutboxSeq,
}

/// Writes one of everything and checks what each write refuses.
pub(crate) async fn fill(store: &Repositories, world: &World) -> Written {
    let event = |kind, action: &str| world.event(kind, action);
    let registering = || event(EventKind::Registration, "registered");

    // Registrations: insert if absent, replace if unchanged, unique by community and URI (REG-14).
    let kept = world.registration("kept");
    let first =
        store.registrations.put(kept.clone(), Expected::Absent, registering()).await.unwrap();
    assert_eq!(first, OutboxSeq(1));
    let again = Registration { client: world.client(), ..kept.clone() };
    for expected in [Expected::Absent, Expected::Unchanged(Box::new(again.clone()))] {
        let refused = store.registrations.put(again.clone(), expected, registering()).await;
        assert!(matches!(refused, Err(StoreError::Conflict)));
    }
    let stolen = Registration { client: kept.client, ..world.registration("stolen") };
    let refused = store.registrations.put(stolen, Expected::Absent, registering()).await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
    let foreign = Registration { tenant: world.other.clone(), ..world.registration("foreign") };
    let refused = store.registrations.put(foreign, Expected::Absent, registering()).await;
    assert!(matches!(refused, Err(StoreError::Tenant)));

    let mut modified = world.registration("modified");
    let first = Expected::Unchanged(Box::new(modified.clone()));
    let _ =
        store.registrations.put(modified.clone(), Expected::Absent, registering()).await.unwrap();
    modified.scopes = "system/Observation.rs system/Patient.r".to_owned();
    let _ = store.registrations.put(modified.clone(), first.clone(), registering()).await.unwrap();
    let ended = || store.epochs.current(&world.tenant, &Subject::Client(modified.client));
    assert_eq!(ended(), 0, "wider ends nothing");
    // MOD-10: losing scopes ends the tokens, in the same transaction.
    let wider = Expected::Unchanged(Box::new(modified.clone()));
    let narrower = Registration { scopes: "system/Patient.r".to_owned(), ..modified.clone() };
    let _ = store.registrations.put(narrower.clone(), wider.clone(), registering()).await.unwrap();
    assert_eq!(ended(), 1);
    // What was decided on an earlier state of the same client changes nothing.
    for stale in [first, wider] {
        let put = store.registrations.put(modified.clone(), stale, registering()).await;
        assert!(matches!(put, Err(StoreError::Conflict)));
    }
    let byid = Expected::Client(modified.client);
    let put = store.registrations.put(modified.clone(), byid, registering()).await;
    assert!(matches!(put, Err(StoreError::Conflict)), "by id only to cancel");
    assert_eq!(ended(), 1);
    let modified = narrower;

    // Cancelling ends what the client was allowed, in the same transaction (IG §3.3).
    let mut cancelled = world.registration("cancelled");
    let expected = Expected::Client(cancelled.client);
    let _ =
        store.registrations.put(cancelled.clone(), Expected::Absent, registering()).await.unwrap();
    cancelled.cancelled = true;
    let _ = store.registrations.put(cancelled.clone(), expected, registering()).await.unwrap();

    // So does registering anew after that, under another client id.
    let mut replaced = world.registration("replaced");
    let _ =
        store.registrations.put(replaced.clone(), Expected::Absent, registering()).await.unwrap();
    let (before, old) = (replaced.client, Expected::Unchanged(Box::new(replaced.clone())));
    replaced.client = world.client();
    let _ = store.registrations.put(replaced.clone(), old, registering()).await.unwrap();
    assert_eq!(store.registrations.by_client(&world.tenant, before).await.unwrap(), None);
    assert_eq!(store.epochs.current(&world.tenant, &Subject::Client(before)), 1);
    assert_eq!(store.epochs.current(&world.tenant, &Subject::Client(replaced.client)), 0);

    // Grants and epochs.
    let issuing = || event(EventKind::Token, "issued");
    let (live, revoked) = (world.grant(kept.client), world.grant(kept.client));
    let mut expired = world.grant(kept.client);
    expired.expires = world.now().minus(Duration::from_secs(1));
    for grant in [&live, &revoked, &expired] {
        let _ = store.grants.put(grant, issuing()).await.unwrap();
    }
    let twice = store.grants.put(&live, issuing()).await;
    assert!(matches!(twice, Err(StoreError::Conflict)));
    let token = TokenId::new(world.clock.as_ref(), &world.rng);
    let subjects = [Subject::Grant(revoked.id), Subject::Token(token), Subject::Grant(revoked.id)];
    let revoking = || event(EventKind::Revocation, "revoked");
    let _ = store.epochs.bump(&world.tenant, &subjects, revoking()).await.unwrap();
    assert_eq!(store.epochs.current(&world.tenant, &subjects[0]), 1, "named twice, raised once");
    let _ = store.epochs.bump(&world.tenant, &subjects[1..2], revoking()).await.unwrap();

    // Replays: free again only when the time is over (R38).
    let claimed = [9; 32];
    let until = world.now().plus(Duration::from_mins(5));
    assert!(store.replays.claim(&world.tenant, claimed, until).await.unwrap());
    assert!(!store.replays.claim(&world.tenant, claimed, until).await.unwrap());
    assert!(store.replays.claim(&world.other, claimed, until).await.unwrap(), "per tenant");
    for passed in [world.now().minus(Duration::from_millis(1)), world.now()] {
        let claim = store.replays.claim(&world.tenant, [8; 32], passed).await.unwrap();
        assert!(!claim, "what has ended is not claimed");
    }
    assert!(store.replays.claim(&world.tenant, [8; 32], until).await.unwrap(), "a new JWT");

    // Rosters: the newest import counts as a whole.
    let importing = || event(EventKind::Roster, "imported").with("patient", "secret-patient-1");
    let both = [Purpose::Treatment, Purpose::Payment];
    for rows in [
        vec![row("secret-patient-0", &both)],
        vec![
            row("secret-patient-1", &both),
            row("secret-patient-2", &both[..1]),
            row("secret-patient-3", &both[1..]),
        ],
    ] {
        let _ = store
            .rosters
            .import(&world.tenant, &world.organization, vec![world.member()], rows, importing())
            .await
            .unwrap();
    }
    let unbound = vec![row("secret-patient-1", &both)];
    let unbound =
        store.rosters.import(&world.tenant, &world.organization, vec![], unbound, importing());
    assert!(matches!(unbound.await, Err(StoreError::Unbound)), "B09");

    // Incidents.
    let opening = || event(EventKind::Incident, "opened");
    let incident = world.incident();
    let _ = store.incidents.open(incident.clone(), opening()).await.unwrap();
    let twice = store.incidents.open(incident.clone(), opening()).await;
    assert!(matches!(twice, Err(StoreError::Conflict)));
    world.clock.advance(Duration::from_millis(5));
    let mut closed = world.incident();
    let _ = store.incidents.open(closed.clone(), opening()).await.unwrap();
    closed.status = IncidentStatus::Contained;
    closed.revoked = vec![Subject::Grant(revoked.id)];
    let _ = store.incidents.update(closed.clone(), IncidentStatus::Open, opening()).await.unwrap();
    let late = store.incidents.update(closed.clone(), IncidentStatus::Open, opening()).await;
    assert!(matches!(late, Err(StoreError::Conflict)));

    // Holds end the grants of the client id that the URI had and of the one that it has.
    let had = world.client();
    let held = world.hold("replaced", had);
    let holding = || event(EventKind::Revocation, "held");
    for _ in 0..2 {
        let ended = vec![Subject::Grant(expired.id)];
        let _ = store.holds.put(held.clone(), ended, holding()).await.unwrap();
    }
    for subject in
        [Subject::Client(had), Subject::Client(replaced.client), Subject::Grant(expired.id)]
    {
        assert_eq!(store.epochs.current(&world.tenant, &subject), 2, "{subject}");
    }
    let other = world.hold("modified", modified.client);
    let _ = store.holds.put(other.clone(), vec![], holding()).await.unwrap();
    let (community, uri) = (&other.community, &other.uri);
    let found = store.holds.get(&world.tenant, community, uri).await.unwrap();
    assert_eq!(found.as_ref(), Some(&other));
    let last = store.holds.release(&world.tenant, community, uri, holding()).await.unwrap();
    let twice = store.holds.release(&world.tenant, community, uri, holding()).await;
    assert!(matches!(twice, Err(StoreError::Conflict)));

    Written {
        held,
        kept,
        modified,
        cancelled,
        replaced,
        live,
        revoked,
        expired,
        token,
        claimed,
        incident,
        closed,
        last,
    }
}

/// Checks that everything is there, and nothing else.
pub(crate) async fn check(store: &Repositories, world: &World, written: &Written) {
    let Written { kept, modified, cancelled, replaced, live, revoked, expired, .. } = written;
    let (tenant, other) = (&world.tenant, &world.other);

    for registration in [kept, modified, cancelled, replaced] {
        let client = registration.client;
        let found = store.registrations.by_client(tenant, client).await.unwrap();
        assert_eq!(found.as_ref(), Some(registration));
        let (community, uri) = (&registration.community, &registration.uri);
        let found = store.registrations.by_uri(tenant, community, uri).await.unwrap();
        assert_eq!(found.as_ref(), Some(registration));
        assert_eq!(store.registrations.by_client(other, client).await.unwrap(), None);
        assert_eq!(store.registrations.by_uri(other, community, uri).await.unwrap(), None);
    }
    let mut all = vec![kept.clone(), modified.clone(), cancelled.clone(), replaced.clone()];
    all.sort_by_key(|registration| registration.client);
    assert_eq!(store.registrations.list(tenant, None, 10).await.unwrap(), all);
    let after = Some(all[0].client);
    assert_eq!(store.registrations.list(tenant, after, 1).await.unwrap(), all[1..2]);
    assert!(store.registrations.list(other, None, 10).await.unwrap().is_empty());

    for grant in [live, revoked, expired] {
        let found = store.grants.get(tenant, grant.id).await.unwrap();
        assert_eq!(found.as_deref(), Some(grant));
        assert_eq!(store.grants.get(other, grant.id).await.unwrap(), None);
    }
    let found = store.grants.live_for_client(tenant, kept.client).await.unwrap();
    assert_eq!(found.iter().map(|grant| grant.id).collect::<Vec<_>>(), [live.id]);

    for (subject, epoch) in [
        (Subject::Grant(revoked.id), 1),
        (Subject::Token(written.token), 2),
        (Subject::Client(cancelled.client), 1),
        (Subject::Client(written.modified.client), 2),
        (Subject::Client(kept.client), 0),
        (Subject::Grant(live.id), 0),
    ] {
        assert_eq!(store.epochs.current(tenant, &subject), epoch, "{subject}");
        assert_eq!(store.epochs.current(other, &subject), 0, "{subject}");
    }

    let until = world.now().plus(Duration::from_mins(5));
    assert!(!store.replays.claim(tenant, written.claimed, until).await.unwrap(), "seen");

    let organization = &world.organization;
    let (community, uri) = &world.member();
    let member = (community, uri);
    let roster = |purposes| store.rosters.roster(tenant, organization, member, purposes);
    let (treatment, payment) = (Purpose::Treatment, Purpose::Payment);
    for (purposes, want) in [
        (&[treatment][..], known(&["secret-patient-1", "secret-patient-2"])),
        (&[treatment, payment], known(&["secret-patient-1"])),
        (&[payment, treatment, payment], known(&["secret-patient-1"])),
        (&[Purpose::Research], known(&[])),
        (&[treatment, Purpose::Research], known(&[])),
        (&[], Roster::Unknown),
    ] {
        assert_eq!(roster(purposes).await.unwrap(), want, "{purposes:?}");
    }
    let stranger = OrganizationUri::parse("urn:oid:1.2.3.5").unwrap();
    let found = store.rosters.roster(tenant, &stranger, member, &[treatment]).await.unwrap();
    assert_eq!(found, Roster::Unknown);
    let found = store.rosters.roster(other, organization, member, &[treatment]).await.unwrap();
    assert_eq!(found, Roster::Unknown);
    // B09: nobody speaks for an organisation but the clients that its roster names.
    let (elsewhere, evil) = (
        CommunityUri::parse("https://elsewhere.example").unwrap(),
        ClientUri::parse("https://evil.example/app").unwrap(),
    );
    for foreign in [(&elsewhere, uri), (community, &evil)] {
        let found = store.rosters.roster(tenant, organization, foreign, &[treatment]).await;
        assert_eq!(found.unwrap(), Roster::Unknown);
        let binding = store.rosters.binding(tenant, organization, foreign).await;
        assert_eq!(binding.unwrap(), Binding::Foreign);
    }
    for (of, organization, want) in [
        (tenant, organization, Binding::Bound),
        (tenant, &stranger, Binding::Unknown),
        (other, organization, Binding::Unknown),
    ] {
        assert_eq!(store.rosters.binding(of, organization, member).await.unwrap(), want);
    }

    let (incident, closed) = (&written.incident, &written.closed);
    assert_eq!(
        store.incidents.list(tenant, 10).await.unwrap(),
        [closed.clone(), incident.clone()],
        "newest first"
    );
    assert_eq!(store.incidents.get(tenant, closed.id).await.unwrap().as_ref(), Some(closed));
    assert_eq!(store.incidents.get(other, closed.id).await.unwrap(), None);

    assert_eq!(store.holds.list(tenant, 10).await.unwrap(), std::slice::from_ref(&written.held));
    let (community, uri) = (&written.held.community, &written.held.uri);
    let found = store.holds.get(tenant, community, uri).await.unwrap();
    assert_eq!(found.as_ref(), Some(&written.held));
    assert_eq!(store.holds.get(other, community, uri).await.unwrap(), None);

    // One event per change that succeeded, none of those that failed, in order.
    let rows = store.outbox.pending(OutboxSeq(0), 100).await.unwrap();
    let numbers: Vec<u64> = rows.iter().map(|row| row.seq.0).collect();
    assert_eq!(numbers, (1..=written.last.0).collect::<Vec<_>>());
    let kinds: Vec<EventKind> = rows.iter().map(|row| row.event.kind).collect();
    let mut want = vec![EventKind::Registration; 8];
    want.extend([EventKind::Token; 3]);
    want.extend([EventKind::Revocation; 2]);
    want.extend([EventKind::Roster; 2]);
    want.extend([EventKind::Incident; 3]);
    want.extend([EventKind::Revocation; 4]);
    assert_eq!(kinds, want);
    let page = store.outbox.pending(OutboxSeq(3), 2).await.unwrap();
    assert_eq!(page.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [4, 5]);
}

/// Numbers go on after the outbox was drained; nothing that was drained comes back.
pub(crate) async fn drain(store: &Repositories, world: &World, written: &mut Written) {
    store.outbox.drained(OutboxSeq(written.last.0 - 1)).await.unwrap();
    let rows = store.outbox.pending(OutboxSeq(0), 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [written.last]);
    store.outbox.drained(written.last).await.unwrap();
    assert!(store.outbox.pending(OutboxSeq(0), 100).await.unwrap().is_empty());
    written.last = bump_next(store, world, written.last).await;
    store.outbox.drained(written.last).await.unwrap();
}

/// One more change gets the next number.
pub(crate) async fn bump_next(store: &Repositories, world: &World, last: OutboxSeq) -> OutboxSeq {
    let event = world.event(EventKind::Revocation, "revoked");
    let subject = Subject::Client(world.client());
    let seq = store.epochs.bump(&world.tenant, &[subject], event).await.unwrap();
    assert_eq!(seq, OutboxSeq(last.0 + 1));
    seq
}

/// The last number of what was written.
impl Written {
    pub(crate) fn last(&self) -> OutboxSeq {
        self.last
    }
}

/// 50 equal registrations at once make one (REG-14, race).
pub(crate) async fn race_registrations(store: &Repositories, world: &World) {
    let registration = world.registration("raced");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mine = Registration { client: world.client(), ..registration.clone() };
        let event = world.event(EventKind::Registration, "registered");
        let registrations = Arc::clone(&store.registrations);
        tasks.spawn(async move {
            let client = mine.client;
            (client, registrations.put(mine, Expected::Absent, event).await)
        });
    }
    let mut winners = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (client, Ok(_)) => winners.push(client),
            (_, Err(error)) => assert!(matches!(error, StoreError::Conflict), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let (community, uri) = (&registration.community, &registration.uri);
    let found = store.registrations.by_uri(&world.tenant, community, uri).await.unwrap();
    assert_eq!(found.unwrap().client, winners[0]);
    let all = store.registrations.list(&world.tenant, None, 100).await.unwrap();
    assert_eq!(all.iter().filter(|registration| registration.uri == *uri).count(), 1);
}

/// One of 50 equal claims wins, every time.
pub(crate) async fn race_claims(store: &Repositories, world: &World) {
    let until = world.now().plus(Duration::from_mins(5));
    for round in 0..10 {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (replays, tenant) = (Arc::clone(&store.replays), world.tenant.clone());
            tasks.spawn(async move { replays.claim(&tenant, [round; 32], until).await.unwrap() });
        }
        let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "round {round}");
    }
}

/// What is claimed with a change is claimed if and only if the change is made.
pub(crate) async fn claim_with_changes(store: &Repositories, world: &World) {
    let until = world.now().plus(Duration::from_mins(5));
    let claim = move |key| Some(Claim { key: [key; 32], until });
    let event = |kind| world.event(kind, "test");
    let free = async |key| store.replays.claim(&world.tenant, [key; 32], until).await.unwrap();
    let grant = world.grant(world.client());
    let give = |grant: Grant, key| {
        let (grants, event) = (store.grants.clone(), event(EventKind::Token));
        async move { grants.put_claiming(&grant, Vec::new(), claim(key), event).await }
    };
    let _ = give(grant.clone(), 101).await.unwrap();
    assert!(!free(101).await, "claimed with the grant");
    // Used before: there is no second grant, and its event was not kept.
    let second = world.grant(world.client());
    let replayed = give(second.clone(), 101).await;
    assert!(matches!(replayed, Err(StoreError::Replayed)));
    assert_eq!(store.grants.get(&world.tenant, second.id).await.unwrap(), None);
    // Its time is over.
    let late = Claim { key: [102; 32], until: world.now() };
    let put = store.grants.put_claiming(&second, vec![], Some(late), event(EventKind::Token));
    assert!(matches!(put.await, Err(StoreError::Replayed)));
    // A change that fails for another reason claims nothing.
    let twice = give(grant, 103).await;
    assert!(matches!(twice, Err(StoreError::Conflict)));
    assert!(free(103).await);

    let registration = world.registration("claiming");
    let register = |one: Registration, expected, key| {
        let registrations = store.registrations.clone();
        let event = event(EventKind::Registration);
        async move { registrations.put_claiming(one, expected, None, claim(key), event).await }
    };
    let _ = register(registration.clone(), Expected::Absent, 104).await.unwrap();
    assert!(!free(104).await);
    let same = Expected::Unchanged(Box::new(registration.clone()));
    let other = Registration { client_name: "other".to_owned(), ..registration.clone() };
    let replayed = register(other.clone(), same.clone(), 104).await;
    assert!(matches!(replayed, Err(StoreError::Replayed)));
    let conflict = register(other.clone(), Expected::Absent, 105).await;
    assert!(matches!(conflict, Err(StoreError::Conflict)));
    assert!(free(105).await);
    let found = store.registrations.by_client(&world.tenant, registration.client).await.unwrap();
    assert_eq!(found, Some(registration));

    // Many at once with one value: one of them.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        tasks.spawn(give(world.grant(world.client()), 106));
    }
    let won = tasks.join_all().await.into_iter().flatten().count();
    assert_eq!(won, 1);
}
