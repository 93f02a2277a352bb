//! What hangs on a certificate: found by index, whatever else there is; what is counted is records opened and the plan of each
//! statement, never time.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Connection;
use ward_core::{ClientId, EventKind, Thumbprint, crypto};
use ward_policy::{Grant, Subject};

use super::House;
use crate::hanging::{Mark, Reach};
use crate::{Expected, Registration, Repositories};

const CLIENTS: u32 = 4000;
const AUTHORITIES: u32 = 40;
const UNDER: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];

fn thumbprint(kind: &str, number: u32) -> Thumbprint {
    Thumbprint(crypto::sha256(&[kind.as_bytes(), &number.to_be_bytes()]))
}

fn mark(kind: &str, number: u32) -> Mark {
    // A leading zero octet, as DER writes a number whose first bit is set.
    let serial = [&[0x00, 0x80], number.to_be_bytes().as_slice()].concat();
    Mark { thumbprint: thumbprint(kind, number), issuer: [3; 32], serial }
}

fn registration(house: &House, number: u32) -> Registration {
    let thumbprint = thumbprint("leaf", number);
    Registration { thumbprint, ..house.world.registration(&format!("c{number:05}")) }
}

fn reach(house: &House, number: u32) -> Reach {
    let ends = house.world.now().plus(Duration::from_hours(24 * u64::from(number + 1)));
    let marks = vec![mark("leaf", number), mark("ca", number % AUTHORITIES), mark("root", 0)];
    Reach { under: UNDER, ends, marks }
}

/// All clients, registered side by side so that they share commits.
async fn fill(house: &House, store: &Repositories) -> Vec<ClientId> {
    let mut puts = tokio::task::JoinSet::new();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (one, reach) = (registration(house, number), Some(reach(house, number)));
        clients.push(one.client);
        let event = house.world.event(EventKind::Registration, "registered");
        let registrations = store.registrations.clone();
        puts.spawn(async move {
            registrations.put_marked(one, Expected::Absent, reach, event).await.unwrap()
        });
    }
    while let Some(put) = puts.join_next().await {
        let _ = put.unwrap();
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn among_thousands_only_what_hangs_on_a_certificate_is_looked_at() {
    let house = House::new();
    let store = house.try_open(&house.dir()).unwrap();
    let all = store.repositories();
    let clients = fill(&house, &all).await;
    let tenant = &house.world.tenant;
    let hanging = &all.hanging;
    let opened = store.records_opened();

    let on = |one| hanging.clients(tenant, one, None, 1000);
    assert_eq!(on(thumbprint("leaf", 1234)).await.unwrap(), [clients[1234]]);
    let below: BTreeSet<_> = on(thumbprint("ca", 7)).await.unwrap().into_iter().collect();
    let wanted: BTreeSet<_> = clients.iter().skip(7).step_by(40).copied().collect();
    assert_eq!(below, wanted);
    assert!(on(thumbprint("leaf", CLIENTS)).await.unwrap().is_empty());
    // In pages, each client once.
    let (mut seen, mut after) = (BTreeSet::new(), None);
    loop {
        let page = hanging.clients(tenant, thumbprint("root", 0), after, 300).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(*last);
        assert!(page.into_iter().all(|one| seen.insert(one)));
    }
    assert_eq!(seen.len(), clients.len());

    // By issuer and serial number, as a list names it, with or without leading zeros.
    let numbers = vec![vec![0x80, 0, 0, 0, 9], vec![0, 0x80, 0, 0, 0, 9], vec![9, 9]];
    let found = hanging.numbered(tenant, [3; 32], numbers.clone()).await.unwrap();
    let nine = BTreeSet::from([thumbprint("leaf", 9), thumbprint("ca", 9)]);
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), nine);
    assert!(hanging.numbered(tenant, [4; 32], numbers.clone()).await.unwrap().is_empty());
    let found = hanging.with_serial(tenant, numbers[1].clone(), 16).await.unwrap();
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), nine);
    assert_eq!(store.records_opened(), opened, "no record was opened for all this");

    // What ends soon, and what was marked under other authorities, costs what it is.
    let before = house.world.now().plus(Duration::from_hours(24 * 10 + 1));
    let ending = hanging.ending(tenant, before, 1000).await.unwrap();
    let names: Vec<_> = ending.iter().map(|one| one.client_name.as_str()).collect();
    let soonest: Vec<_> = (0..10).map(|number| format!("c{number:05}")).collect();
    assert_eq!(names, soonest);
    assert!(hanging.unmarked(tenant, vec![OTHER, UNDER], 1000).await.unwrap().is_empty());
    assert_eq!(store.records_opened(), opened + 10);
    assert_eq!(hanging.unmarked(tenant, vec![OTHER], 25).await.unwrap().len(), 25);
    assert_eq!(store.records_opened(), opened + 35);

    let (mut count, mut after) = (0, None);
    loop {
        let page = hanging.registered_in(tenant, &house.world.community, after, 999).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        (count, after) = (count + page.len(), Some(last.clone()));
    }
    assert_eq!(count, clients.len());
}

#[tokio::test]
async fn every_question_has_its_index() {
    let house = House::new();
    drop(house.open());
    let db = Connection::open(house.dir().join("ward.db")).unwrap();
    for sql in crate::sqlite::by_index() {
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = vec![None::<i64>; plan.parameter_count()];
        let rows = plan.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3)).unwrap();
        let steps: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
        assert!(steps.iter().any(|step| step.starts_with("SEARCH")), "{sql}: {steps:?}");
        assert!(!steps.iter().any(|step| step.starts_with("SCAN")), "{sql}: {steps:?}");
    }
}

fn count(house: &House, table: &str) -> i64 {
    let db = Connection::open(house.dir().join("ward.db")).unwrap();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_renewed_registration_hangs_on_its_old_certificate_only_as_long_as_grants_may() {
    let house = House::new();
    let all = house.open();
    let tenant = &house.world.tenant;
    let event = || house.world.event(EventKind::Registration, "registered");
    let first = registration(&house, 0);
    let put = all.registrations.put_marked(
        first.clone(),
        Expected::Absent,
        Some(reach(&house, 0)),
        event(),
    );
    let _ = put.await.unwrap();
    let renewed = Registration { thumbprint: thumbprint("leaf", 1), ..first.clone() };
    let expected = Expected::Unchanged(Box::new(first.clone()));
    let mut marks = reach(&house, 0);
    marks.marks[0] = mark("leaf", 1);
    let put = all.registrations.put_marked(renewed.clone(), expected, Some(marks.clone()), event());
    let _ = put.await.unwrap();
    let on = async |one| all.hanging.clients(tenant, one, None, 10).await.unwrap();
    for still in [thumbprint("leaf", 0), thumbprint("leaf", 1), thumbprint("root", 0)] {
        assert_eq!(on(still).await, [first.client]);
    }

    // A day later the old one goes with the next row that is written; what is registered stays.
    house.world.clock.advance(Duration::from_hours(26));
    let (another, its) = (registration(&house, 5), reach(&house, 5));
    let put = all.registrations.put_marked(another, Expected::Absent, Some(its), event());
    let _ = put.await.unwrap();
    assert!(on(thumbprint("leaf", 0)).await.is_empty());
    let number = vec![vec![0x80, 0, 0, 0, 0]];
    let found = all.hanging.numbered(tenant, [3; 32], number).await.unwrap();
    assert!(!found.contains(&thumbprint("leaf", 0)), "nor is it known by number");
    assert_eq!(on(thumbprint("leaf", 1)).await, [first.client]);

    // Cancelled by its id alone, it is still known by its certificate, but ends nowhere.
    let before = house.world.now().plus(Duration::from_hours(24 * 365));
    assert_eq!(all.hanging.ending(tenant, before, 10).await.unwrap().len(), 2);
    let cancelled = Registration { cancelled: true, ..renewed.clone() };
    let expected = Expected::Client(first.client);
    let _ = all.registrations.put(cancelled.clone(), expected, event()).await.unwrap();
    assert_eq!(on(thumbprint("leaf", 1)).await, [first.client]);
    assert_eq!(all.hanging.ending(tenant, before, 10).await.unwrap().len(), 1);
    assert!(all.hanging.unmarked(tenant, vec![UNDER], 10).await.unwrap().is_empty());

    // Registered anew, it is another client; the old id goes in its time.
    let expected = Expected::Unchanged(Box::new(cancelled));
    let anew = Registration { client: house.world.client(), ..renewed };
    let put = all.registrations.put_marked(anew.clone(), expected, Some(marks), event());
    let _ = put.await.unwrap();
    let both = BTreeSet::from([first.client, anew.client]);
    assert_eq!(BTreeSet::from_iter(on(thumbprint("leaf", 1)).await), both);
    house.world.clock.advance(Duration::from_hours(26));
    let put = all.registrations.put_marked(
        registration(&house, 6),
        Expected::Absent,
        Some(reach(&house, 6)),
        event(),
    );
    let _ = put.await.unwrap();
    assert_eq!(on(thumbprint("leaf", 1)).await, [anew.client]);
}

#[tokio::test]
async fn grants_hang_on_the_path_that_they_were_given_under_and_write_it_once() {
    let house = House::new();
    let store = house.open();
    let tenant = &house.world.tenant;
    let client = house.world.client();
    let grant = |minutes| {
        let mut grant: Grant = house.world.grant(client);
        grant.expires = house.world.now().plus(Duration::from_mins(minutes));
        grant
    };
    let marks = || vec![mark("renewed", 1), mark("ca", 1), mark("root", 0)];
    let event = || house.world.event(EventKind::Token, "issued");
    let on = async |one| store.hanging.clients(tenant, one, None, 10).await.unwrap();
    for minutes in [5, 7, 59] {
        let _ = store.grants.put_marked(&grant(minutes), marks(), event()).await.unwrap();
    }
    assert_eq!(count(&house, "hanging"), 3);
    assert_eq!(on(thumbprint("renewed", 1)).await, [client]);
    let living = async || store.hanging.with_grants(tenant, None, 10).await.unwrap();
    assert_eq!(living().await, [client]);

    // A day and an hour after the last of them, with the next row.
    house.world.clock.advance(Duration::from_hours(25));
    assert!(living().await.is_empty());
    let other = house.world.client();
    let late = Grant { client: other, ..grant(5) };
    let _ = store.grants.put_marked(&late, vec![mark("leaf", 2)], event()).await.unwrap();
    assert_eq!(on(thumbprint("renewed", 1)).await, [client], "not before");
    house.world.clock.advance(Duration::from_hours(2));
    let _ = store.grants.put_marked(&grant(5), vec![mark("leaf", 3)], event()).await.unwrap();
    assert!(on(thumbprint("renewed", 1)).await.is_empty());
    assert!(on(thumbprint("root", 0)).await.is_empty());
    // Its grants ended with its id, in the same moment; what hangs on them is no matter of this index.
    let subject = [Subject::Client(other)];
    let _ = store.epochs.bump(tenant, &subject, event()).await.unwrap();
    assert_eq!(on(thumbprint("leaf", 2)).await, [other]);
}

#[tokio::test]
async fn what_an_earlier_version_registered_is_marked_once_and_never_over_a_newer_state() {
    let house = House::new();
    let all = house.open();
    let tenant = &house.world.tenant;
    let event = || house.world.event(EventKind::Registration, "registered");
    let first = registration(&house, 0);
    let _ = all.registrations.put(first.clone(), Expected::Absent, event()).await.unwrap();
    let unmarked = async || all.hanging.unmarked(tenant, vec![UNDER, OTHER], 10).await.unwrap();
    let before = house.world.now().plus(Duration::from_hours(48));
    let ending = all.hanging.ending(tenant, before, 10).await.unwrap();
    assert_eq!(ending, std::slice::from_ref(&first), "unknown");
    let found = unmarked().await;
    assert_eq!(found[0].registration, first);

    // It is modified between reading and marking.
    let modified = Registration { client_name: "modified".into(), ..first.clone() };
    let expected = Expected::Unchanged(Box::new(first.clone()));
    let _ = all.registrations.put(modified.clone(), expected, event()).await.unwrap();
    for one in found {
        all.hanging.mark(one, reach(&house, 0)).await.unwrap();
    }
    assert!(all.hanging.clients(tenant, thumbprint("leaf", 0), None, 10).await.unwrap().is_empty());
    let found = unmarked().await;
    assert_eq!(found[0].registration, modified);
    for one in found {
        all.hanging.mark(one, reach(&house, 0)).await.unwrap();
    }
    assert!(unmarked().await.is_empty());
    // Other authorities: marked anew, and found by all that it was ever marked with.
    let found = all.hanging.unmarked(tenant, vec![OTHER], 10).await.unwrap();
    for one in found {
        let marks = vec![mark("leaf", 0), mark("ca", 9)];
        all.hanging.mark(one, Reach { under: OTHER, marks, ..reach(&house, 0) }).await.unwrap();
    }
    assert!(all.hanging.unmarked(tenant, vec![OTHER], 10).await.unwrap().is_empty());
    for through in [mark("ca", 0), mark("ca", 9), mark("root", 0)] {
        let on = all.hanging.clients(tenant, through.thumbprint, None, 10).await.unwrap();
        assert_eq!(on, [first.client]);
    }
    let on = all.hanging.clients(tenant, thumbprint("leaf", 0), None, 10).await.unwrap();
    assert_eq!(on, [first.client]);
    let ends = all.hanging.ending(tenant, house.world.now(), 10).await.unwrap();
    assert!(ends.is_empty(), "its end is known now");
}
