//! Observe mode: everything is decided and logged, and nothing is blocked by the gateway, except what protects
//! Ward itself. The report says by client and rule what enforcement would have stopped, without PHI.

mod answers;
mod credentials;
mod refusals;
mod report;
mod switches;
mod upstream;

use std::sync::Arc;

use serde_json::json;
use ward_admin::{Command, Operator, Role};
use ward_audit::{Leaf, Reader};
use ward_core::{
    ClientUri, EventBody, EventKind, KeyVault, Limits, OrganizationUri, Outcome, PatientId, Purpose,
};
use ward_policy::{Enforcement, Stance};
use ward_store::RosterRow;

use crate::bad_input::world;
use crate::harness::{ISS, ORGANIZATION, Setup, World};
use crate::pki::Member;
use upstream::{Scripted, plain, scripted};

/// Nothing is enforced but these.
fn observing(clients: &[(&str, Stance)], rules: &[&str]) -> Enforcement {
    Enforcement::observing(
        clients.iter().map(|(name, stance)| ((*name).to_owned(), *stance)),
        rules.iter().map(|rule| (*rule).to_owned()),
    )
}

fn turn(world: &World, enforcement: Enforcement) {
    world.house.ops.enforcement.turn(enforcement);
}

async fn before(upstream: &Scripted, limits: Limits) -> World {
    let setup = Setup {
        upstream: upstream.base.clone(),
        roster: vec!["mine".to_owned()],
        limits,
        ceiling: 1000,
    };
    World::raise(setup).await
}

async fn admitted(world: &mut World) -> (Member, String, String) {
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    (member, client, token)
}

const OTHER: &str = "https://other.example/app";

/// A token of another client that speaks for the same organisation.
async fn second_client(world: &mut World, roster: &[String]) -> String {
    let community = world.config().communities[0].community.uri.clone();
    let members = [ISS, OTHER].map(|uri| (community.clone(), ClientUri::parse(uri).unwrap()));
    let rows = roster
        .iter()
        .map(|id| RosterRow {
            patient: PatientId::parse(id).unwrap(),
            purposes: vec![Purpose::Treatment],
        })
        .collect();
    let organization = OrganizationUri::parse(ORGANIZATION).unwrap();
    let import = Command::ImportRoster { organization, members: members.to_vec(), rows };
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    world.house.admin.execute(&officer, import).await.unwrap();
    let member = world.pki.client(OTHER);
    let client = world.register_client(&member, OTHER).await;
    world.access_token(&member, &client).await
}

/// The last access in the log, with its body.
async fn last_access(world: &World) -> (Leaf, EventBody) {
    accesses(world).await.pop().expect("an access in the log")
}

async fn accesses(world: &World) -> Vec<(Leaf, EventBody)> {
    let vault: Arc<dyn KeyVault> = world.house.vault.clone();
    let reader = Reader::open_dir(&world.house.paths.log(), Some(vault)).unwrap();
    let mut found = Vec::new();
    for index in 0..reader.size() {
        let leaf = reader.leaf(index).unwrap();
        if leaf.kind == EventKind::Access {
            found.push((leaf, reader.body(index).await.unwrap()));
        }
    }
    found
}

/// A read outside the roster: the record while observing, the uniform 404 while enforcing, and by which rule
/// either way is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_outside_the_roster_passes_and_is_logged_by_its_rule() {
    let (mut world, upstream, mine, theirs) = world(Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    let base = world.path(&world.base);
    let target = format!("{base}/Patient/{}", theirs[0]);
    assert_eq!(world.get(&target, &token).await.status, 404);
    let (enforced, _) = last_access(&world).await;
    assert_eq!((enforced.outcome, enforced.rule.as_deref()), (Outcome::Refused, Some("ROSTER")));

    turn(&world, observing(&[], &[]));
    let answer = world.get(&target, &token).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(theirs[0])));
    let (leaf, body) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("ROSTER")));
    assert_eq!(leaf.transfer.as_ref().unwrap().status, 200);
    assert_eq!(leaf.transfer.as_ref().unwrap().resources, 1);
    assert_eq!(body.released[0].reference, format!("Patient/{}", theirs[0]));
    assert_eq!(body.detail["would_status"], "404");
    assert_eq!(body.detail["shape"], "GET Patient/{id}");
    // What is allowed is an ordinary access.
    let answer = world.get(&format!("{base}/Patient/{}", mine[0]), &token).await;
    assert_eq!(answer.status, 200);
    let (leaf, _) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule), (Outcome::Success, None));

    // A search is answered whole, and says how many records would have stayed.
    let answer = world.get(&format!("{base}/Patient?_count=50"), &token).await;
    assert_eq!(answer.json()["entry"].as_array().unwrap().len(), 20);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!text.contains(&upstream.base_url), "links are Ward's: {text:.400}");
    let (leaf, body) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("ROSTER")));
    assert_eq!(leaf.transfer.unwrap().resources, 20);
    assert_eq!(body.detail["would_withhold"], "ROSTER=10");

    turn(&world, Enforcement::full());
    assert_eq!(world.get(&target, &token).await.status, 404);
    upstream.stop();
    world.house.close().await;
}

/// Nobody forgets that nothing is blocked: readiness and metrics say so.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_and_metrics_name_the_mode() {
    let upstream = scripted(plain).await;
    let world = before(&upstream, crate::ops::limits()).await;
    let admin = crate::ops::admin_listener(&world).await;
    let base = world.path(&world.base);
    let show = async |path: &str| {
        let answer = crate::ops::ask(admin.local_addr(), "GET", path, "", "").await;
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    assert!(show("/readyz").await.contains("\"mode\":\"enforce\""));
    assert!(show("/metrics").await.contains("ward_mode{mode=\"observe\"} 0"));
    turn(&world, observing(&[], &[]));
    world.send("GET", &format!("{base}/Patient/x"), &[], None).await;
    assert!(show("/readyz").await.contains("\"mode\":\"observe\""));
    let mut text = String::new();
    for _ in 0..3000 {
        text = show("/metrics").await;
        if text.contains("outcome=\"observed\"") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(text.contains("ward_mode{mode=\"observe\"} 1"), "{text}");
    assert!(text.contains("outcome=\"observed\",status=\"200\",rule=\"G01\""), "{text}");
    admin.close().await;
    world.house.close().await;
}
