//! Operators, the bootstrap code and acts that wait: what must hold whoever comes first.

use ward_core::{ApprovalId, Clock as _, OperatorId, OperatorName, SeededRng};

use super::*;
use crate::{Approval, OperatorRecord};

fn operator(world: &World, name: &str) -> OperatorRecord {
    OperatorRecord {
        id: OperatorId::new(world.clock.as_ref(), &SystemRng),
        tenant: world.tenant.clone(),
        name: OperatorName::parse(name).unwrap(),
        role: "security-officer".to_owned(),
        key_hash: "ab".repeat(32),
        created: world.now(),
    }
}

#[tokio::test]
async fn one_code_makes_one_first_operator_and_only_in_time() {
    let house = House::new();
    let world = &house.world;
    let store = house.open();
    let operators = &store.operators;
    let event = || world.event(EventKind::Operator, "test");
    let (tenant, now) = (&world.tenant, world.now());
    let first = operator(world, "alice");
    let claim = |hash, now| operators.claim(hash, now, first.clone(), event());

    assert!(matches!(claim([1; 32], now).await, Err(StoreError::Conflict)), "no code yet");
    let expires = now.plus(Duration::from_mins(10));
    let _ = operators.offer(tenant, [9; 32], expires, event()).await.unwrap();
    let _ = operators.offer(tenant, [1; 32], expires, event()).await.unwrap();
    assert!(matches!(claim([9; 32], now).await, Err(StoreError::Conflict)), "a replaced code");
    assert!(matches!(claim([1; 32], expires).await, Err(StoreError::Conflict)), "expired");

    let mut race = Vec::new();
    for n in 0..8 {
        race.push(operators.claim([1; 32], now, operator(world, &format!("o{n}")), event()));
    }
    let mut won = 0;
    for one in race {
        won += u32::from(one.await.is_ok());
    }
    assert_eq!(won, 1);
    assert_eq!(operators.list(tenant).await.unwrap().len(), 1);
    assert!(operators.list(&world.other).await.unwrap().is_empty());
    let offer = operators.offer(tenant, [2; 32], expires, event()).await;
    assert!(matches!(offer, Err(StoreError::Conflict)), "there is an operator");
    // When keys were lost: one more, once.
    let _ = operators.offer_one_more(tenant, [3; 32], expires, event()).await.unwrap();
    assert!(matches!(claim([2; 32], now).await, Err(StoreError::Conflict)), "never offered");
    let _ = claim([3; 32], now).await.unwrap();
    assert!(matches!(claim([3; 32], now).await, Err(StoreError::Conflict)), "used");
    assert_eq!(operators.list(tenant).await.unwrap().len(), 2);
}

#[tokio::test]
async fn operators_are_kept_by_name_and_gone_when_removed() {
    let house = House::new();
    let world = &house.world;
    let event = || world.event(EventKind::Operator, "test");
    let (alice, bob) = (operator(world, "alice"), operator(world, "bob"));
    {
        let store = house.open();
        for one in [&alice, &bob] {
            let _ = store.operators.add(one.clone(), event()).await.unwrap();
        }
        let twin = store.operators.add(operator(world, "alice"), event()).await;
        assert!(matches!(twin, Err(StoreError::Conflict)));
    }
    let store = house.open();
    assert_eq!(store.operators.get(&world.tenant, alice.id).await.unwrap(), Some(alice.clone()));
    assert_eq!(store.operators.get(&world.other, alice.id).await.unwrap(), None);
    let _ = store.operators.remove(&world.tenant, alice.id, event()).await.unwrap();
    assert_eq!(store.operators.get(&world.tenant, alice.id).await.unwrap(), None);
    let again = store.operators.remove(&world.tenant, alice.id, event()).await;
    assert!(matches!(again, Err(StoreError::Conflict)));
    assert_eq!(store.operators.list(&world.tenant).await.unwrap(), [bob]);
    store.probe.writable().await.unwrap();
    store.probe.writable().await.unwrap();
}

#[tokio::test]
async fn an_act_that_waits_is_taken_once_and_not_for_ever() {
    let house = House::new();
    let world = &house.world;
    let store = house.open();
    let event = || world.event(EventKind::Operator, "test");
    let alice = operator(world, "alice");
    let rng = SeededRng::new(5);
    let approval = |minutes| Approval {
        id: ApprovalId::new(world.clock.as_ref(), &rng),
        tenant: world.tenant.clone(),
        requested_by: alice.id,
        requested_by_name: alice.name.clone(),
        requested: world.clock.now(),
        expires: world.clock.now().plus(Duration::from_mins(minutes)),
        act: "{}".to_owned(),
        what_if: "{}".to_owned(),
    };
    let (short, long) = (approval(1), approval(30));
    for one in [&short, &long] {
        let _ = store.operators.propose(one.clone(), event()).await.unwrap();
    }
    let waiting = store.operators.waiting(&world.tenant, world.now()).await.unwrap();
    assert_eq!(waiting.len(), 2);
    assert!(store.operators.waiting(&world.other, world.now()).await.unwrap().is_empty());
    let later = world.now().plus(Duration::from_mins(1));
    assert_eq!(
        store.operators.waiting(&world.tenant, later).await.unwrap(),
        std::slice::from_ref(&long)
    );
    let _ = store.operators.take(&world.tenant, long.id, event()).await.unwrap();
    let again = store.operators.take(&world.tenant, long.id, event()).await;
    assert!(matches!(again, Err(StoreError::Conflict)));
}
