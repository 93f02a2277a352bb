//! A member of the community that turns against the others: everything it sends is well signed (T16).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ward_admin::{Command, Operator, Role};
use ward_core::{ClientId, Clock as _, Limits, ManualClock, SystemClock};
use ward_sandbox::Sandbox;

use crate::bad_input::world;
use crate::harness::{ISS, Setup, World};
use crate::rows::{form, jwt};

/// B09, B2B-18: `organization_id` is a member's own word, and opens nobody's roster.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_takes_another_s_name_gets_nothing() {
    let (mut world, _upstream, ids, _) = world(Limits::default()).await;
    let iss = "https://evil.example/app";
    let evil = world.pki.client(iss);
    let client = world.register_client(&evil, iss).await;
    let ask = async |claims| {
        let assertion = jwt(&World::good_row(), &world.words(iss, &client), claims, &evil, &evil);
        let body = form(&World::token_form(&assertion));
        world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
    };
    let answer = ask(world.assertion_claims(&client)).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("invalid_grant")), "B09");
    // Its own name, which no roster knows: a token that sees nothing.
    let mut claims = world.assertion_claims(&client);
    claims["extensions"]["hl7-b2b"]["organization_id"] = "https://evil.example/org".into();
    let answer = ask(claims).await;
    assert_eq!(answer.status, 200, "B2B-18");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let base = world.path(&world.base);
    let read = world.get(&format!("{base}/Patient/{}", ids[0]), &token).await;
    assert_eq!(read.status, 403);
}

/// T16: a scraper that takes a new token for each record is stopped as one that keeps its token.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_for_each_read_does_not_outrun_containment() {
    let sandbox = Sandbox::generate(7, 30);
    let mut ids = sandbox.patient_ids();
    ids.sort();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = sandbox.start(listener).unwrap();
    let setup = Setup {
        upstream: upstream.base_url.clone(),
        roster: ids.clone(),
        limits: Limits::default(),
        ceiling: 2,
    };
    // All of it is one minute, however long the machine takes.
    let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
    let mut world = World::raise_with(setup, clock, |_| {}).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let base = world.path(&world.base);
    let ask = async || {
        let claims = world.assertion_claims(&client);
        let assertion =
            jwt(&World::good_row(), &world.words(ISS, &client), claims, &member, &member);
        let body = form(&World::token_form(&assertion));
        world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
    };
    let id = ClientId::parse(&client).unwrap();
    let tenant = ward_core::TenantId::default_tenant();
    let held = async |world: &World| {
        let incidents = world.house.repositories.incidents.list(&tenant, 10).await.unwrap();
        incidents.iter().any(|incident| incident.held && incident.client == Some(id))
    };
    let mut seen = BTreeSet::new();
    let mut refused = None;
    for patient in &ids {
        let answer = ask().await;
        if answer.status != 200 {
            refused = answer.error();
            break;
        }
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        if world.get(&format!("{base}/Patient/{patient}"), &token).await.status == 200 {
            seen.insert(patient);
        }
        // Beyond the ceiling detection answers, by itself and a moment later.
        for _ in 0..3000 {
            if seen.len() <= 2 || held(&world).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(refused.as_deref(), Some("unauthorized_client"));
    assert_eq!(seen.len(), 3, "of {}", ids.len());
    // The officer sees it, and lets the client go on; nobody else may.
    for (role, may) in
        [(Role::Automatic, false), (Role::Administrator, false), (Role::SecurityOfficer, true)]
    {
        let operator = Operator { name: "test".into(), role };
        let command = Command::ReleaseClient { client: id, reason: "looked into".to_owned() };
        assert_eq!(world.house.admin.execute(&operator, command).await.is_ok(), may, "{role:?}");
        assert_eq!(ask().await.status, if may { 200 } else { 400 });
    }
}
