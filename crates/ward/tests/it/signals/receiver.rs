//! What true signals do at a member.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use ward_core::{Clock as _, EventKind, Limits, ManualClock, SystemClock};
use ward_trust::Certificate;
use ward_trust::signal::About;

use super::{
    OPERATOR, SECOND, certificate, err, events, heard, is_ended, partner, push, revoked,
    serve_second, signal, unhurried,
};
use crate::bad_input::{world, world_at};
use crate::harness::{ISS, World};
use crate::pki::COMMUNITY;
use crate::pki::authorities::By;
use crate::rows::{form, jwt};

/// Waits for a condition, a minute at most.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within a minute");
}

/// RFC 8935 §2.2, PKI-17: acknowledged when it is done. No list is fetched for it: the server of lists names nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_closes_the_door_before_it_is_acknowledged() {
    let (mut world, _upstream, ours, _) = world(unhurried()).await;
    let (member, client, token) = partner(&mut world).await;
    let speaker = world.pki.client(COMMUNITY);
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);

    let leaf = certificate(&member);
    let document = signal(&world, "s1", revoked(&leaf)).sign(&speaker.identity).unwrap();
    let answer = push(&world, &document).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert_eq!(world.get(&read, &token).await.status, 401, "the next request");

    // Nor is there another token, or another registration, by this certificate.
    let words = world.words(ISS, &client);
    let claims = world.assertion_claims(&client);
    let assertion = jwt(&World::good_row(), &words, claims, &member, &member);
    let body = form(&World::token_form(&assertion));
    let asked = world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await;
    assert_eq!(asked.error().as_deref(), Some("invalid_client"));

    // The log says who, by which signal, and why.
    let ends = events(&world, EventKind::Revocation).await;
    let (event, body) = ends.last().unwrap();
    assert_eq!(event.actor.operator.as_deref(), Some("ward-signals"));
    assert_eq!(event.actor.community.as_ref().unwrap().as_str(), COMMUNITY);
    assert_eq!(body.detail["subject"], format!("certificate:{}", leaf.thumbprint()));
    assert_eq!(body.detail["signal"], "s1");
    assert!(body.detail["reason"].contains("key-compromise"));
    assert_eq!(heard(&world, "s1").await, ["revoked"]);

    // Again, as after an answer that was lost: acknowledged, without another effect.
    for _ in 0..3 {
        assert_eq!(push(&world, &document).await.status, 202);
    }
    assert_eq!(events(&world, EventKind::Revocation).await.len(), ends.len());
    assert_eq!(heard(&world, "s1").await, ["revoked"]);

    // Another certificate of the same client goes on.
    let renewed = world.pki.client(ISS);
    let token = world.access_token(&renewed, &client).await;
    assert_eq!(world.get(&read, &token).await.status, 200);
}

/// What was revoked stays so over a restart, and the same signal then changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_never_came_is_refused_when_it_comes() {
    let (mut world, _upstream, ..) = world(unhurried()).await;
    let speaker = world.pki.client(COMMUNITY);
    let late = world.pki.client(ISS);
    let about = revoked(&certificate(&late));
    let document = signal(&world, "s1", about).sign(&speaker.identity).unwrap();
    assert_eq!(push(&world, &document).await.status, 202);
    let ends = events(&world, EventKind::Revocation).await.len();
    let data = world.house.paths.store().parent().unwrap().to_path_buf();
    let world = world.move_to(&data).await;
    assert!(is_ended(&world, &certificate(&late)));
    assert_eq!(push(&world, &document).await.status, 202);
    assert_eq!(heard(&world, "s1").await, ["revoked"], "told once");
    assert_eq!(events(&world, EventKind::Revocation).await.len(), ends);
    let statement =
        jwt(&World::good_row(), &world.words(ISS, ""), world.statement_claims(ISS), &late, &late);
    let body = json!({ "udap": "1", "software_statement": statement }).to_string();
    let answer = world.post(&world.register, "application/json", &body, &[]).await;
    assert_eq!(answer.error().as_deref(), Some("unapproved_software_statement"));
}

/// Lists are fetched when a community says something, and what they name ends the usual way.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_the_lists_fetched_at_once() {
    let (mut world, _upstream, ours, _) = world(unhurried()).await;
    let (member, _, token) = partner(&mut world).await;
    let speaker = world.pki.client(COMMUNITY);
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    world.pki.revoke(&member);
    assert_eq!(world.get(&read, &token).await.status, 200, "nobody has told yet");
    let document = signal(&world, "s1", About::Published).sign(&speaker.identity).unwrap();
    assert_eq!(push(&world, &document).await.status, 202);
    until("the door closes", async || world.get(&read, &token).await.status == 401).await;
    until("the log says by what", async || {
        let ends = events(&world, EventKind::Revocation).await;
        ends.iter().any(|(leaf, _)| leaf.actor.operator.as_deref() == Some("ward-lists"))
    })
    .await;
    assert_eq!(heard(&world, "s1").await, ["lists-fetched"]);
}

/// A community ends what it issued; of others' it can only speak, and the door stays open. An authority takes more than a signal.
#[tokio::test(flavor = "multi_thread")]
async fn a_community_reaches_its_own_certificates_and_no_others() {
    let (mut world, _upstream, ours, _) = world(unhurried()).await;
    let (member, _, token) = partner(&mut world).await;
    let root = serve_second(&mut world).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    let second = world.pki.client_by(By::Other(&root), SECOND, &[], |_| {});
    let theirs = world.pki.client_by(By::Other(&root), "https://theirs.example/app", &[], |_| {});
    let mut said = signal(&world, "s1", revoked(&certificate(&member)));
    said.issuer = SECOND.to_owned();
    assert_eq!(push(&world, &said.sign(&second.identity).unwrap()).await.status, 202);
    assert_eq!(heard(&world, "s1").await, ["advice"]);
    assert_eq!(world.get(&read, &token).await.status, 200);
    // In the first community's name it may say nothing at all.
    let mut lie = signal(&world, "s2", revoked(&certificate(&member)));
    let answer = push(&world, &lie.sign(&second.identity).unwrap()).await;
    assert_eq!((answer.status, err(&answer).as_deref()), (400, Some("invalid_key")));
    lie.issuer = "https://third.example/trust".to_owned();
    let answer = push(&world, &lie.sign(&second.identity).unwrap()).await;
    assert_eq!((answer.status, err(&answer).as_deref()), (400, Some("invalid_issuer")));
    // Its own it ends.
    said.jti = "s3".to_owned();
    said.about = revoked(&certificate(&theirs));
    assert_eq!(push(&world, &said.sign(&second.identity).unwrap()).await.status, 202);
    assert!(is_ended(&world, &certificate(&theirs)));

    // The first community's issuing authority and root: an alarm, and everybody reads on.
    let speaker = world.pki.client(COMMUNITY);
    let root = Certificate::from_der(&world.pki.root_der()).unwrap();
    let issuing = Certificate::from_der(&member.chain[1]).unwrap();
    for (jti, authority) in [("a1", root), ("a2", issuing)] {
        let document = signal(&world, jti, revoked(&authority)).sign(&speaker.identity).unwrap();
        assert_eq!(push(&world, &document).await.status, 202);
        assert_eq!(heard(&world, jti).await, ["alarm"]);
        assert!(!is_ended(&world, &authority));
    }
    assert_eq!(world.get(&read, &token).await.status, 200);
    // Its operator, under a name of its own.
    let operator = world.pki.client(OPERATOR);
    let mut said = signal(&world, "o1", revoked(&certificate(&member)));
    said.issuer = OPERATOR.to_owned();
    assert_eq!(push(&world, &said.sign(&operator.identity).unwrap()).await.status, 202);
    assert_eq!(world.get(&read, &token).await.status, 401);
}

/// A flood from an address that nobody knows costs no signatures, and the community is heard from elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_bounded_before_anything_is_verified() {
    let few = Limits { signals_per_minute: 3, ..unhurried() };
    let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
    let (mut world, _upstream, ..) = world_at(few, clock).await;
    let member = world.pki.client(ISS);
    let speaker = world.pki.client(COMMUNITY);
    // Known senders are given back what their requests took.
    for n in 0..3 {
        let said = signal(&world, &format!("s{n}"), revoked(&certificate(&member)));
        assert_eq!(push(&world, &said.sign(&speaker.identity).unwrap()).await.status, 202);
    }
    for _ in 0..3 {
        assert_eq!(push(&world, "junk").await.status, 400);
    }
    let answer = push(&world, "junk").await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() <= 60);
    assert!(world.house.ops.signals.refused() >= 4);
}

/// Who sends again what he caught uses up nothing of what the community may say in the same minute.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_signal_do_not_use_up_what_the_community_may_say() {
    let few = Limits { signals_per_minute: 3, ..unhurried() };
    let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
    let (mut world, _upstream, ..) = world_at(few, clock).await;
    let member = world.pki.client(ISS);
    let speaker = world.pki.client(COMMUNITY);
    let caught = signal(&world, "caught", About::Verification).sign(&speaker.identity).unwrap();
    assert_eq!(push(&world, &caught).await.status, 202);
    for _ in 0..2 {
        assert_eq!(push(&world, &caught).await.status, 202);
    }
    let said = signal(&world, "true", revoked(&certificate(&member)));
    assert_eq!(push(&world, &said.sign(&speaker.identity).unwrap()).await.status, 202);
    assert!(is_ended(&world, &certificate(&member)));
}

/// A certificate of an authority that this server does not have configured, and that the signal does not bring along, as after a change of
/// keys of the issuing authority: it ends as any other.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_configured_does_not_keep_a_signal_from_its_effect() {
    let (mut world, _upstream, ours, _) = world(unhurried()).await;
    let branch = world.pki.authority(By::Root, "Former authority", |_| {});
    let member = world.pki.client_by(By::Other(&branch), ISS, &[branch.der.as_slice()], |_| {});
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);
    let speaker = world.pki.client(COMMUNITY);
    let said = signal(&world, "s1", revoked(&certificate(&member)));
    assert_eq!(push(&world, &said.sign(&speaker.identity).unwrap()).await.status, 202);
    assert_eq!(heard(&world, "s1").await, ["revoked"]);
    assert_eq!(world.get(&read, &token).await.status, 401);
}
