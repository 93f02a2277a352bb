//! Response against doubles: contains first, keeps one incident a finding, and says when it could not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ward_core::{ClientId, ManualClock, OutboxSeq, Receipt, SeededRng, SinkError};
use ward_store::repo::Kept;

use super::*;

#[derive(Default)]
struct Book {
    incidents: Mutex<HashMap<IncidentId, Incident>>,
    /// What happened, in order: `revoked`, `opened`.
    acts: Mutex<Vec<&'static str>>,
    events: Mutex<Vec<Event>>,
    revocations: AtomicUsize,
    broken: AtomicBool,
}

impl Incidents for Book {
    fn open(&self, incident: Incident, event: Event) -> Kept<'_, OutboxSeq> {
        let mut incidents = self.incidents.lock().unwrap();
        let answer = match incidents.entry(incident.id) {
            Entry::Occupied(_) => Err(StoreError::Conflict),
            Entry::Vacant(place) => {
                self.acts.lock().unwrap().push("opened");
                self.events.lock().unwrap().push(event);
                place.insert(incident);
                Ok(OutboxSeq(1))
            }
        };
        Box::pin(async move { answer })
    }

    fn update(
        &self,
        incident: Incident,
        from: IncidentStatus,
        event: Event,
    ) -> Kept<'_, OutboxSeq> {
        let known = self.incidents.lock().unwrap().insert(incident.id, incident);
        assert_eq!(known.map(|incident| incident.status), Some(from));
        self.acts.lock().unwrap().push("updated");
        self.events.lock().unwrap().push(event);
        Box::pin(async { Ok(OutboxSeq(2)) })
    }

    fn get<'a>(&'a self, _: &'a TenantId, id: IncidentId) -> Kept<'a, Option<Incident>> {
        let found = self.incidents.lock().unwrap().get(&id).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn list<'a>(&'a self, _: &'a TenantId, _: usize) -> Kept<'a, Vec<Incident>> {
        unreachable!("response does not list")
    }
}

impl Contain for Book {
    fn contain_client<'a>(
        &'a self,
        _: &'a TenantId,
        client: ClientId,
        _: Option<GrantId>,
        _: IncidentId,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(), ContainError>> {
        assert_eq!(client, ClientId::from_bytes([1; 16]));
        let answer = if self.broken.load(Ordering::SeqCst) {
            Err(ContainError("the store is away".to_owned()))
        } else {
            self.acts.lock().unwrap().push("revoked");
            self.revocations.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        Box::pin(async move { answer })
    }
}

impl EventSink for Book {
    fn record(&self, _: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        unreachable!("incidents go through the outbox")
    }

    fn settle(&self, _: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

fn responder(book: &Arc<Book>) -> Responder {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_800_000_000));
    let rng = Arc::new(SeededRng::new(3));
    Responder::new(book.clone(), book.clone(), book.clone(), clock, rng)
}

fn finding() -> Recorded {
    let clock = ManualClock::at_unix_seconds(1_800_000_000);
    let correlation = CorrelationId::new(&clock, &SeededRng::new(9));
    let tenant = TenantId::default_tenant();
    let mut event = Event::new(EventKind::Finding, "found", tenant, clock.now(), correlation)
        .with("explanation", "26 patients where 25 are normal");
    event.rule = Some("WATCH-01".into());
    event.actor.client = Some(ClientId::from_bytes([1; 16]));
    event.actor.grant = Some(GrantId::from_bytes([2; 16]));
    Recorded { index: 7, event }
}

#[tokio::test]
async fn the_client_is_held_before_the_account_is_written() {
    let book = Arc::new(Book::default());
    responder(&book).answer(&finding()).await.unwrap();
    assert_eq!(*book.acts.lock().unwrap(), ["revoked", "opened"]);
    let incidents = book.incidents.lock().unwrap();
    let incident = incidents.values().next().unwrap();
    assert_eq!(incident.status, IncidentStatus::Contained);
    let (grant, client) = (GrantId::from_bytes([2; 16]), ClientId::from_bytes([1; 16]));
    assert_eq!(incident.revoked, [Subject::Grant(grant), Subject::Client(client)]);
    assert!(incident.held);
    assert_eq!(incident.evidence, [7]);
    assert_eq!(incident.rule, "WATCH-01");
    let events = book.events.lock().unwrap();
    assert_eq!(events[0].incident, Some(incident.id));
    assert_eq!(events[0].actor.operator.as_deref(), Some("ward-respond"));
}

#[tokio::test]
async fn a_finding_that_is_read_again_makes_no_second_incident() {
    let book = Arc::new(Book::default());
    let responder = responder(&book);
    responder.answer(&finding()).await.unwrap();
    responder.answer(&finding()).await.unwrap();
    assert_eq!(book.incidents.lock().unwrap().len(), 1);
    assert_eq!(book.revocations.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_could_not_be_contained_stays_open_and_is_tried_again() {
    let book = Arc::new(Book::default());
    book.broken.store(true, Ordering::SeqCst);
    let responder = responder(&book);
    assert!(!responder.answer(&finding()).await.unwrap(), "to be asked again");
    let status = || book.incidents.lock().unwrap().values().next().unwrap().status;
    assert_eq!(status(), IncidentStatus::Open);
    assert!(!book.incidents.lock().unwrap().values().any(|incident| incident.held));
    book.broken.store(false, Ordering::SeqCst);
    assert!(responder.answer(&finding()).await.unwrap());
    assert_eq!(status(), IncidentStatus::Contained);
    assert_eq!(*book.acts.lock().unwrap(), ["opened", "revoked", "updated"]);
}

/// While its client is only observed, a finding is told and nobody is held for it, however often it is answered.
#[tokio::test]
async fn an_observed_finding_opens_an_incident_and_contains_nobody() {
    let book = Arc::new(Book::default());
    let mut finding = finding();
    finding.event.outcome = Outcome::Observed;
    for _ in 0..3 {
        assert!(responder(&book).answer(&finding).await.unwrap(), "there is nothing left to do");
    }
    assert_eq!(book.revocations.load(Ordering::SeqCst), 0);
    let incidents = book.incidents.lock().unwrap();
    let incident = incidents.values().next().unwrap();
    assert_eq!((incidents.len(), incident.status, incident.held), (1, IncidentStatus::Open, false));
    let events = book.events.lock().unwrap();
    assert_eq!((events.len(), events[0].outcome), (1, Outcome::Observed));
}
