//! Trust that ends costs what hangs on it: among thousands of registrations with live grants only those are opened that hang on the
//! certificate in question, whether an operator asks or a list names it (PKI-17). Records are counted, never time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use ward_core::{
    ClientId, ClientUri, CorrelationId, Event, EventKind, EventSink as _, GrantId, TenantId,
    Thumbprint, crypto,
};
use ward_policy::{Grant, Subject};
use ward_store::{Expected, Mark, Reach};
use ward_trust::{Certificate, reach_digest};

use crate::bad_input::world;
use crate::harness::{ISS, World};
use crate::operators::{bootstrap, command};
use crate::ops::{admin_listener, limits};
use crate::pki::COMMUNITY;

const MANY: u32 = 3000;
/// Far more than is needed for what hangs on one certificate, and far less than there is.
const FEW: u64 = 60;

/// Registers many clients of another authority, each with a live grant, straight into the store.
async fn crowd(world: &World) {
    let system = &world.system;
    let tenant = TenantId::default_tenant();
    let repositories = &world.house.repositories;
    let first = repositories.registrations.list(&tenant, None, 1).await.unwrap().remove(0);
    let communities = world.config().communities;
    let under = reach_digest(&communities[0].community);
    let now = system.clock.now();
    let event = |kind| {
        let id = CorrelationId::new(&*system.clock, &*system.rng);
        Event::new(kind, "test", tenant.clone(), now, id)
    };
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..MANY {
        let thumbprint = Thumbprint(crypto::sha256(&[b"crowd", &number.to_be_bytes()]));
        let mark = |thumbprint| Mark {
            thumbprint,
            issuer: [9; 32],
            serial: number.to_be_bytes().to_vec(),
        };
        let mut one = first.clone();
        one.client = ClientId::new(&*system.clock, &*system.rng);
        one.uri = ClientUri::parse(&format!("https://crowd.example/app/{number}")).unwrap();
        one.thumbprint = thumbprint;
        "no.statement.here".clone_into(&mut one.statement);
        let grant: Grant = {
            let id = GrantId::new(&*system.clock, &*system.rng);
            serde_json::from_value(json!({
                "id": id, "tenant": tenant, "client": one.client, "community": COMMUNITY,
                "client_uri": one.uri, "organization": "https://crowd.example/org",
                "purposes": ["TREAT"], "scopes": "system/Patient.rs", "certificate": thumbprint,
                "issued": now, "expires": now.plus(Duration::from_mins(50)),
                "hangs_on": [[Subject::Grant(id), 0], [Subject::Certificate(thumbprint), 0]],
            }))
            .unwrap()
        };
        let marks = vec![mark(thumbprint), mark(Thumbprint([8; 32]))];
        let ends = now.plus(Duration::from_hours(24 * 4000));
        let reach = Reach { under, ends, marks: marks.clone() };
        let (registering, granting) = (event(EventKind::Registration), event(EventKind::Token));
        let repositories = repositories.clone();
        puts.spawn(async move {
            let registrations = &repositories.registrations;
            let put = registrations.put_marked(one, Expected::Absent, Some(reach), registering);
            let _ = put.await.unwrap();
            repositories.grants.put_marked(&grant, marks, granting).await.unwrap()
        });
    }
    // Their events go to the log now, and are not counted later.
    let last = puts.join_all().await.into_iter().max().unwrap();
    world.house.log.settle(last).await.unwrap();
}

/// Waits for what is asked of it, and how many records were opened for it.
async fn cost<T>(world: &World, work: impl Future<Output = T>) -> (T, u64) {
    let before = world.house.store.records_opened();
    let done = work.await;
    (done, world.house.store.records_opened() - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn among_thousands_only_what_hangs_on_a_certificate_is_opened() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    // A renewed certificate counts like the one that it registered with.
    let renewed = world.pki.client(ISS);
    let token = world.access_token(&renewed, &client).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let key = bootstrap(&world, to, "alice").await;
    // Whatever is learnt at the start has been: nobody looks at everybody any more.
    let done = command(to, &key, "refresh-lists", json!({})).await;
    assert_eq!(done.status, 200, "{}", done.json());
    crowd(&world).await;

    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    let issuing = Certificate::from_der(&member.chain[1]).unwrap();
    let of = |one: &Certificate| one.thumbprint().to_string();
    let (leaf, again) = (member.identity.leaf(), renewed.identity.leaf());
    // (certificate, registrations, grants)
    let table = [
        (of(leaf), 1, 0),
        (leaf.serial_text(), 1, 0),
        (of(again), 0, 1),
        (again.serial_text(), 0, 1),
        (of(&issuing), 1, 1),
    ];
    for (certificate, registrations, grants) in table {
        let fields = json!({ "certificate": certificate });
        let asking = command(to, &key, "passport-what-if", fields);
        let (answer, opened) = cost(&world, asking).await;
        let ends = answer.json()["would-end"].clone();
        assert_eq!(ends[0]["registrations"], registrations, "{certificate}: {ends}");
        assert_eq!(ends[0]["live_grants"], grants, "{certificate}: {ends}");
        assert!(opened < FEW, "{certificate}: {opened} records were opened");
    }
    for (name, fields, wanted) in [
        ("passport", json!({ "entity": of(again) }), "/passport/registrations"),
        ("passport", json!({ "entity": client }), "/passport/registrations"),
        (
            "what-if",
            json!({ "subject": format!("certificate:{}", of(again)) }),
            "/what-if/live_grants",
        ),
        ("what-if", json!({ "subject": format!("client:{client}") }), "/what-if/clients"),
    ] {
        let (answer, opened) = cost(&world, command(to, &key, name, fields)).await;
        assert_eq!(answer.json().pointer(wanted), Some(&json!(1)), "{name}: {}", answer.json());
        assert!(opened < FEW, "{name}: {opened} records were opened");
    }
    let expiring = command(to, &key, "expiring", json!({ "days": 400 }));
    let (answer, opened) = cost(&world, expiring).await;
    let lapses = answer.json()["expiring"]["lapses"].as_array().unwrap().clone();
    let clients = lapses.iter().filter(|one| one["what"] == "client-certificate").count();
    assert_eq!(clients, 1, "{lapses:?}");
    assert!(opened < FEW, "{opened} records were opened for what ends soon");

    // A list names the renewed one: its grant ends, and nobody else was looked at.
    assert_eq!(world.get(&read, &token).await.status, 200);
    world.pki.revoke(&renewed);
    let ending = async {
        world.house.ops.lists.refresh().await;
        let subject = Subject::Certificate(again.thumbprint());
        let epochs = Arc::clone(&world.house.repositories.epochs);
        for _ in 0..3000 {
            if epochs.current(&TenantId::default_tenant(), &subject) > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("what the list names has not ended");
    };
    let ((), opened) = cost(&world, ending).await;
    assert!(opened < FEW, "{opened} records were opened to end one certificate");
    assert_eq!(world.get(&read, &token).await.status, 401);

    // An operator ends the other, which is one client's alone.
    let fields = json!({ "subject": format!("certificate:{}", of(leaf)), "reason": "lost" });
    let (answer, opened) = cost(&world, command(to, &key, "revoke", fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert!(answer.json().get("revoked").is_some_and(Value::is_string), "{}", answer.json());
    assert!(opened < FEW, "{opened} records were opened to revoke one certificate");
}
