//! The passport over the admin API and `ward passport`: who trusts whom, what would stop, what ends soon; and trust that
//! ends, by whatever way Ward learns it, ends every grant at the next request (PKI-17, X47). Order is asserted, never time.

use std::time::Duration;

use serde_json::{Value, json};
use ward::house::Turned;
use ward_core::{CommunityUri, EventKind, Limits, Outcome};
use ward_issuer::ServedCommunity;
use ward_trust::Certificate;

use crate::bad_input::world;
use crate::harness::{ISS, ORGANIZATION, TempDir, World};
use crate::operators::{add, bootstrap, command};
use crate::ops::{admin_listener, limits};
use crate::pki::authorities::By;
use crate::pki::{COMMUNITY, Leaf, Member};
use crate::rows::{form, jwt};

/// A registered client with a live token.
async fn partner(world: &mut World) -> (Member, String, String) {
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    (member, client, token)
}

fn thumbprint(member: &Member) -> String {
    member.identity.leaf().thumbprint().to_string()
}

/// Asks until the door is closed to the token; whatever it says before is the patient's record. No read is answered that
/// begins when the log has the revocation by this operator; how many were under way while it came there, one at most.
async fn closed(world: &World, read: &str, token: &str, operator: &str) -> usize {
    for _ in 0..3000 {
        let known = revoked_at(world, operator).is_some();
        let status = world.get(read, token).await.status;
        if status == 401 {
            written(world, operator).await;
            return 0;
        }
        assert_eq!(status, 200);
        assert!(!known, "read after Ward knew");
        if revoked_at(world, operator).is_some() {
            assert_eq!(world.get(read, token).await.status, 401, "the next request");
            return 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the token still opens the door");
}

/// Waits for the revocation in the log: the door closes first, and what closed it is written then.
async fn written(world: &World, operator: &str) {
    for _ in 0..3000 {
        if revoked_at(world, operator).is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the revocation is not in the log");
}

/// Where the log says that something was revoked by this operator.
fn revoked_at(world: &World, operator: &str) -> Option<usize> {
    leaves(world).iter().position(|leaf| {
        leaf.kind == EventKind::Revocation && leaf.actor.operator.as_deref() == Some(operator)
    })
}

fn leaves(world: &World) -> Vec<ward_audit::Leaf> {
    let reader = world.house.log.reader().unwrap();
    (0..reader.size()).map(|at| reader.leaf(at).unwrap()).collect()
}

/// The log says that the certificate was revoked by this operator, and after that nothing was read, but for what was
/// under way.
fn nothing_left_after_revocation(world: &World, operator: &str, under_way: usize) {
    let revoked = revoked_at(world, operator).expect("the revocation is in the log");
    let late = leaves(world)
        .into_iter()
        .skip(revoked)
        .filter(|leaf| leaf.kind == EventKind::Access && leaf.outcome == Outcome::Success);
    assert!(late.count() <= under_way, "read after Ward knew");
}

async fn serve(world: &World, edit: impl FnOnce(&mut Vec<ServedCommunity>)) {
    let config = world.config();
    let mut communities = config.communities;
    edit(&mut communities);
    let tls = world.house.tls.current();
    let turned = Turned { action: "reloaded", operator: None, changed: &[] };
    world.house.knobs.turn(communities, tls, config.ceilings, turned).await.unwrap();
}

/// PORT-05.
#[tokio::test(flavor = "multi_thread")]
async fn a_passport_names_chain_checks_and_grants() {
    let (mut world, _upstream, ..) = world(limits()).await;
    let (member, client, _) = partner(&mut world).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let officer = bootstrap(&world, to, "alice").await;
    let auditor = add(to, &officer, "audrey", "auditor").await;
    let leaf = thumbprint(&member);
    let mut about = vec![Value::Null];
    about.extend([ISS, &client, &leaf, COMMUNITY, ORGANIZATION].map(Value::from));
    for entity in about {
        let answer = command(to, &auditor, "passport", json!({ "entity": entity })).await;
        assert_eq!(answer.status, 200, "{entity}: {}", answer.json());
        let passport = answer.json()["passport"].clone();
        assert_eq!(passport["registrations"], 1, "{entity}");
        assert_eq!(passport["live_grants"], 1, "{entity}");
        let community = &passport["communities"][0];
        assert_eq!(community["community"], COMMUNITY);
        assert_eq!(community["certifications"], json!([]), "none yet");
        assert_eq!(community["ours"]["uris"][0], world.base.as_str());
        let one = &passport["clients"][0];
        assert_eq!(one["uri"], ISS);
        assert_eq!(one["client"], client.as_str());
        assert_eq!(one["refused"], Value::Null);
        assert_eq!(one["organizations"], json!([ORGANIZATION]));
        assert_eq!(one["grants"][0]["organization"], ORGANIZATION);
        let path = one["paths"][0]["certificates"].as_array().unwrap();
        let roles: Vec<_> = path.iter().map(|one| one["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["client", "issuer", "anchor"]);
        assert_eq!(path[0]["thumbprint"], leaf.as_str());
        assert_eq!(path[0]["uris"], json!([ISS]));
        for below in &path[..2] {
            let check = &below["checks"][0];
            assert_eq!(check["by"], "list");
            assert_eq!(check["number"], "01", "{check}");
            let moment = |name: &str| check[name].as_i64().unwrap();
            assert!(moment("this_update") < moment("next_update"));
            assert!(moment("fetched") > 0);
        }
        let ends = path.iter().map(|one| one["not_after"].as_i64().unwrap()).min().unwrap();
        assert_eq!(one["until"], ends);
    }
    // The issuing authority's thumbprint finds its clients too.
    let issuing = Certificate::from_der(&member.chain[1]).unwrap().thumbprint().to_string();
    let by = command(to, &auditor, "passport", json!({ "entity": issuing })).await.json();
    assert_eq!(by["passport"]["registrations"], 1);
    let nobody = json!({ "entity": "https://nobody.example/app" });
    assert_eq!(command(to, &auditor, "passport", nobody).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_if_names_what_would_stop_and_changes_nothing() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let (member, client, token) = partner(&mut world).await;
    let other = world.pki.client("https://other.example/app");
    world.register_client(&other, "https://other.example/app").await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let key = bootstrap(&world, to, "alice").await;
    let issuing = Certificate::from_der(&member.chain[1]).unwrap();
    let root = Certificate::from_der(&world.pki.root_der()).unwrap();
    // (certificate, registrations, grants)
    let table = [
        (thumbprint(&member), 1, 1),
        (member.identity.leaf().serial_text(), 1, 1),
        (thumbprint(&other), 1, 0),
        (issuing.thumbprint().to_string(), 2, 1),
        (root.thumbprint().to_string(), 2, 1),
    ];
    for (certificate, registrations, grants) in table {
        let fields = json!({ "certificate": certificate });
        let answer = command(to, &key, "passport-what-if", fields).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        let ends = answer.json()["would-end"].clone();
        assert_eq!(ends.as_array().unwrap().len(), 1, "{ends}");
        assert_eq!(ends[0]["registrations"], registrations, "{certificate}");
        assert_eq!(ends[0]["live_grants"], grants, "{certificate}");
        assert_eq!(ends[0]["clients"].as_array().unwrap().len(), registrations);
        assert_eq!(ends[0]["last_token_ends"].is_i64(), grants > 0);
    }
    for unknown in ["00".repeat(32), "7777777777".to_owned(), "no certificate".to_owned()] {
        let fields = json!({ "certificate": unknown });
        assert_eq!(command(to, &key, "passport-what-if", fields).await.status, 404);
    }
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200, "nothing was changed");
    world.access_token(&member, &client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_soon_is_named_with_whom_to_tell() {
    let (mut world, _upstream, ..) = world(limits()).await;
    partner(&mut world).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let key = bootstrap(&world, to, "alice").await;
    let kinds = async |days: u64| {
        let answer = command(to, &key, "expiring", json!({ "days": days })).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        let lapses = answer.json()["expiring"]["lapses"].as_array().unwrap().clone();
        let times: Vec<i64> = lapses.iter().map(|one| one["until"].as_i64().unwrap()).collect();
        assert!(times.is_sorted(), "soonest first");
        lapses
    };
    let of = |lapses: &[Value], kind: &str| {
        lapses.iter().filter(|one| one["what"] == kind).cloned().collect::<Vec<_>>()
    };
    let soon = kinds(2).await;
    assert_eq!(of(&soon, "client-certificate").len(), 0);
    assert_eq!(of(&soon, "list").len(), 2, "lists last an hour: {soon:?}");
    let later = kinds(60).await;
    let clients = of(&later, "client-certificate");
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0]["contacts"], json!(["mailto:ops@partner.example"]));
    assert_eq!(of(&later, "server-certificate").len(), 1);
    assert_eq!(of(&later, "anchor").len(), 0);
    assert_eq!(of(&kinds(366).await, "anchor").len(), 1);
}

/// COMM-19.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_ward_fetches_by_itself_closes_the_door() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let (member, client, token) = partner(&mut world).await;
    // The same client, by a certificate that stays good.
    let renewed = world.pki.client(ISS);
    let kept = world.access_token(&renewed, &client).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);
    world.pki.revoke(&member);
    // As its minder does every minute for lists past half of their life: no request, no operator.
    world.house.ops.lists.refresh().await;
    let under_way = closed(&world, &read, &token, "ward-lists").await;
    nothing_left_after_revocation(&world, "ward-lists", under_way);
    assert_eq!(world.get(&read, &kept).await.status, 200, "the other goes on");

    let admin = admin_listener(&world).await;
    let key = bootstrap(&world, admin.local_addr(), "alice").await;
    let entity = json!({ "entity": ISS });
    let shown = command(admin.local_addr(), &key, "passport", entity).await.json();
    let one = &shown["passport"]["clients"][0];
    assert_eq!(one["live_grants"], 1, "that of the other certificate");
    assert!(one["refused"].as_str().unwrap().contains("revoked"), "{one}");
    let leaf = &one["paths"][0]["certificates"][0];
    assert_eq!(leaf["revoked"], "here");
    assert_eq!(leaf["checks"][0]["revoked"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_ends_too_when_a_list_names_it() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let first = world.pki.client(ISS);
    let client = world.register_client(&first, ISS).await;
    let renewed = world.pki.client(ISS);
    let token = world.access_token(&renewed, &client).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);

    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let key = bootstrap(&world, to, "alice").await;
    let entity = json!({ "entity": thumbprint(&renewed) });
    let shown = command(to, &key, "passport", entity).await.json();
    let paths = shown["passport"]["clients"][0]["paths"].as_array().unwrap().clone();
    assert_eq!(paths.len(), 2, "{shown}");
    assert_eq!(paths[1]["registered"], false);
    assert_eq!(paths[1]["certificates"][0]["thumbprint"], thumbprint(&renewed).as_str());
    assert_eq!(paths[1]["certificates"].as_array().unwrap().len(), 3);

    world.pki.revoke(&renewed);
    let done = command(to, &key, "refresh-lists", json!({})).await.json();
    assert_eq!(done["lists-refreshed"]["revoked"], 1, "{done}");
    assert_eq!(world.get(&read, &token).await.status, 401);
    // What it registered with is as good as before.
    let token = world.access_token(&first, &client).await;
    assert_eq!(world.get(&read, &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuing_authority_that_is_listed_ends_all_below_it() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let branch = world.pki.authority(By::Root, "A branch", |_| {});
    let member = world.pki.client_by(By::Other(&branch), ISS, &[&branch.der], |_| {});
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);
    world.pki.revoke_authority(&branch);
    world.house.ops.lists.refresh().await;
    let under_way = closed(&world, &read, &token, "ward-lists").await;
    nothing_left_after_revocation(&world, "ward-lists", under_way);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_community_or_an_anchor_that_is_given_up_lets_nobody_in() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let (member, client, token) = partner(&mut world).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);
    let elsewhere = world.pki.another_root("Second community", |_| {});
    let anchor = Certificate::from_der(&elsewhere.der).unwrap();

    // Another anchor in the place of the one that vouched.
    serve(&world, |all| all[0].community.anchors = vec![anchor.clone()]).await;
    assert_eq!(world.get(&read, &token).await.status, 401, "anchor");
    // Another community in the place of the one that vouched.
    serve(&world, |all| {
        all[0].community.uri = CommunityUri::parse("https://second.example/trust").unwrap();
    })
    .await;
    assert_eq!(world.get(&read, &token).await.status, 401, "community");
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let key = bootstrap(&world, to, "alice").await;
    let shown = command(to, &key, "passport", json!({ "entity": ISS })).await.json();
    let one = &shown["passport"]["clients"][0];
    assert!(one["refused"].as_str().unwrap().contains("not served"), "{one}");
    let assertion = jwt(
        &World::good_row(),
        &world.words(ISS, &client),
        world.assertion_claims(&client),
        &member,
        &member,
    );
    let body = form(&World::token_form(&assertion));
    let asked = world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await;
    assert_eq!(asked.error().as_deref(), Some("invalid_client"), "{}", asked.json());
    serve(&world, |_| {}).await;
    world.access_token(&member, &client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_cancelled_or_revoked_ends_its_grants() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let (_, client, token) = partner(&mut world).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let key = bootstrap(&world, to, "alice").await;
    let fields = json!({ "subject": format!("client:{client}"), "reason": "left" });
    assert_eq!(command(to, &key, "revoke", fields).await.status, 200);
    assert_eq!(world.get(&read, &token).await.status, 401);
    nothing_left_after_revocation(&world, "alice", 0);
    let shown = command(to, &key, "passport", json!({ "entity": ISS })).await.json();
    let one = &shown["passport"]["clients"][0];
    assert!(one["refused"].as_str().unwrap().contains("cancelled"), "{one}");
    assert_eq!(one["live_grants"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ward_passport_says_it_to_a_person_and_to_a_script() {
    let limits = Limits { registrations_per_minute: 40, ..limits() };
    let (mut world, _upstream, ..) = world(limits).await;
    let (member, ..) = partner(&mut world).await;
    world.pki.issue(&Leaf::client(ISS));
    let listener = admin_listener(&world).await;
    let url = format!("http://{}", listener.local_addr());
    let key = bootstrap(&world, listener.local_addr(), "alice").await;
    let dir = TempDir::new("passport");
    let key_file = dir.0.join("alice.key");
    std::fs::write(&key_file, key).unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(&key_file, mode).unwrap();
    let pem = dir.0.join("issuing.pem");
    std::fs::write(&pem, ward_community::pem("CERTIFICATE", &member.chain[1])).unwrap();
    let ward = async |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ward"));
        command.args(["passport", "--url", &url, "--key-file"]).arg(&key_file).args(args);
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let out = String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap();
        (ran.status.success(), out)
    };
    let (ok, out) = ward(&[ISS]).await;
    let leaf = thumbprint(&member);
    assert!(ok, "{out}");
    for said in [ISS, COMMUNITY, &leaf, "good by list number 01", "certifications: none"] {
        assert!(out.contains(said), "{said}: {out}");
    }
    let (ok, out) = ward(&["--json"]).await;
    let parsed: Value = serde_json::from_str(&out).unwrap();
    assert!(ok && parsed["passport"]["registrations"] == 1, "{out}");
    let (ok, out) = ward(&["--what-if", "revoke", pem.to_str().unwrap()]).await;
    assert!(ok && out.contains("1 registrations would get no token, 1 live grants"), "{out}");
    let (ok, out) = ward(&["--expiring", "8w"]).await;
    assert!(ok && out.contains("mailto:ops@partner.example  client-certificate"), "{out}");
    for wrong in [
        &["--expiring", "soon"][..],
        &["--what-if", "forget", "1"],
        &["--what-if", "revoke", "77"],
        &["https://nobody.example/app"],
    ] {
        let (ok, out) = ward(wrong).await;
        assert!(!ok && out.starts_with("ward: "), "{out}");
    }
}
