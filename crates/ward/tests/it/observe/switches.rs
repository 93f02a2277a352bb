//! Switching by client and by rule, and what detection does meanwhile.

use std::sync::Arc;

use serde_json::json;
use ward_audit::Reader;
use ward_core::{Clock as _, EventKind, Limits, ManualClock, Outcome, SystemClock};
use ward_policy::{Enforcement, Stance};

use super::upstream::{Seen, fhir, scripted};
use super::{OTHER, admitted, observing, second_client, turn};
use crate::bad_input::world;
use crate::harness::{ISS, Setup, World};

/// By client, by anonymous callers, by everybody else.
#[tokio::test(flavor = "multi_thread")]
async fn clients_are_switched_one_by_one() {
    use Stance::{Enforce, Observe};
    let (mut world, _upstream, mine, theirs) = world(Limits::default()).await;
    let (_, client, token) = admitted(&mut world).await;
    let other = second_client(&mut world, &mine).await;
    let base = world.path(&world.base);
    let stranger = format!("{base}/Patient/{}", theirs[0]);
    let own = format!("{base}/Patient/{}", mine[0]);
    let statuses = async |enforcement: Enforcement| {
        turn(&world, enforcement);
        let anonymous = world.send("GET", &own, &[], None).await.status;
        let outside = world.get(&stranger, &token).await.status;
        let inside = world.get(&own, &token).await.status;
        let others = world.get(&stranger, &other).await.status;
        [anonymous, outside, inside, others]
    };
    for (what, enforcement, want) in [
        ("enforce", Enforcement::full(), [401, 404, 200, 404]),
        ("observe", observing(&[], &[]), [200, 200, 200, 200]),
        ("this client by URI", observing(&[(ISS, Enforce)], &[]), [200, 404, 200, 200]),
        ("this client by id", observing(&[(&client, Enforce)], &[]), [200, 404, 200, 200]),
        ("anonymous callers", observing(&[("anonymous", Enforce)], &[]), [401, 200, 200, 200]),
        (
            "all but the other",
            observing(&[("*", Enforce), (OTHER, Observe)], &[]),
            [401, 404, 200, 200],
        ),
        // Who has no roster keeps to none.
        ("the roster rule", observing(&[], &["ROSTER"]), [401, 404, 200, 404]),
        ("tokens", observing(&[], &["G01"]), [401, 200, 200, 200]),
    ] {
        assert_eq!(statuses(enforcement).await, want, "{what}");
    }
    world.house.close().await;
}

/// Detection counts what left; while its client is observed, a finding holds nobody; enforced, it does.
#[tokio::test(flavor = "multi_thread")]
async fn findings_hold_nobody_who_is_only_observed() {
    let upstream = scripted(|_| {
        Box::new(|seen: &Seen| {
            let id = seen.target.rsplit('/').next().unwrap();
            fhir(&json!({"resourceType": "Patient", "id": id}))
        })
    })
    .await;
    let setup = Setup {
        upstream: upstream.base.clone(),
        roster: (0..9).map(|n| format!("p{n}")).collect(),
        limits: Limits::default(),
        ceiling: 3,
    };
    // All of it is one minute, however long the machine takes.
    let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
    let mut world = World::raise_with(setup, clock, |_| {}).await;
    let (member, client, token) = admitted(&mut world).await;
    let base = world.path(&world.base);
    turn(&world, observing(&[], &[]));
    for n in 0..6 {
        assert_eq!(world.get(&format!("{base}/Patient/p{n}"), &token).await.status, 200, "{n}");
    }
    let incident = async |want: Outcome| {
        for _ in 0..3000 {
            let reader = Reader::open_dir(&world.house.paths.log(), None).unwrap();
            let found = reader
                .leaves(0..reader.size())
                .map(|leaf| leaf.unwrap().1)
                .find(|leaf| leaf.kind == EventKind::Incident && leaf.outcome == want);
            if let Some(found) = found {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("no incident {want:?}")
    };
    let opened = incident(Outcome::Observed).await;
    assert_eq!((&opened.action[..], opened.rule.as_deref()), ("opened", Some("WATCH-01")));
    assert_eq!(world.get(&format!("{base}/Patient/p1"), &token).await.status, 200);
    // It may have tokens, too; and the same with every record rule enforced.
    let second = world.access_token(&member, &client).await;
    turn(&world, observing(&[], &["ROSTER"]));
    assert_eq!(world.get(&format!("{base}/Patient/p7"), &second).await.status, 200);
    assert_eq!(world.get(&format!("{base}/Patient/p1"), &second).await.status, 200);

    // Enforced for the rule alone, the next finding contains.
    turn(&world, observing(&[], &["WATCH-01"]));
    let third = world.access_token(&member, &client).await;
    assert_eq!(world.get(&format!("{base}/Patient/p8"), &third).await.status, 200);
    let contained = incident(Outcome::Success).await;
    assert_eq!(contained.action, "contained");
    turn(&world, Enforcement::full());
    assert_eq!(world.get(&format!("{base}/Patient/p1"), &third).await.status, 401);
    world.house.close().await;
}
