//! Whose credentials go to the upstream.

use ward_admin::{Command, Operator, Role};
use ward_core::{Limits, Outcome};

use super::upstream::{Seen, plain, scripted};
use super::{admitted, before, last_access, observing, turn};
use crate::harness::ISS;

/// Who is who towards the upstream: a token of Ward's never goes there, nor does what Ward has for itself go
/// with what somebody else asks.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_where_they_belong() {
    let upstream = scripted(plain).await;
    let mut world = before(&upstream, Limits::default()).await;
    let (member, client, token) = admitted(&mut world).await;
    let second = world.access_token(&member, &client).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    let read = format!("{base}/Patient/mine");
    let last = || upstream.seen.lock().unwrap().last().cloned().unwrap();
    let token_of_ward = |seen: &Seen| {
        let text =
            format!("{} {:?} {}", seen.target, seen.headers, String::from_utf8_lossy(&seen.body));
        text.contains("wat_")
    };

    // Live: recognised, and replaced.
    world.get(&read, &token).await;
    assert_eq!(last().header("authorization"), None);
    // Wherever else it is put, it is taken out.
    let bearer = format!("Bearer {token}");
    let cookie = format!("session={token}");
    world.send("GET", &read, &[("authorization", &bearer), ("cookie", &cookie)], None).await;
    assert!(!token_of_ward(&last()));
    world.send("GET", &read, &[("x-forwarded-access-token", &token)], None).await;
    assert!(!token_of_ward(&last()));
    // Altered, or not one at all but like one.
    for odd in [format!("{bearer}x"), "Bearer wat_".to_owned(), format!("Basic {token}")] {
        world.send("GET", &read, &[("authorization", &odd)], None).await;
        assert_eq!(last().header("authorization"), None, "{odd}");
        let (leaf, _) = last_access(&world).await;
        assert_eq!(leaf.outcome, Outcome::Observed);
    }
    // Revoked: still the client's request, and still not the upstream's business.
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    let id = ward_core::ClientId::parse(&client).unwrap();
    let subject = ward_policy::Subject::Client(id);
    world
        .house
        .admin
        .execute(&officer, Command::Revoke { subject, reason: "test".into(), incident: None })
        .await
        .unwrap();
    let answer = world.get(&read, &second).await;
    assert_eq!(answer.status, 200, "observed, not enforced");
    assert_eq!(last().header("authorization"), None);
    let (leaf, body) = last_access(&world).await;
    assert_eq!(leaf.rule.as_deref(), Some("G02"));
    assert_eq!(leaf.actor.client, Some(id), "counted for the client whose token it was");
    assert_eq!(body.detail["client_uri"], ISS);
    // A foreign token is the upstream's to judge, with everything else that the caller sent but what belongs to
    // the connection.
    let headers = [
        ("authorization", "Bearer foreign.to.ward"),
        ("x-custom", "1"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("accept", "application/fhir+xml"),
    ];
    world.send("GET", &read, &headers, None).await;
    let seen = last();
    assert_eq!(seen.header("authorization"), Some("Bearer foreign.to.ward"));
    assert_eq!(seen.header("x-custom"), Some("1"));
    assert_eq!(seen.header("accept"), Some("application/fhir+xml"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert_eq!((seen.header("x-hop"), seen.header("te")), (None, None));
    assert_eq!(
        seen.header("host").unwrap(),
        upstream.base.strip_prefix("http://").unwrap().strip_suffix("/fhir").unwrap()
    );
    assert!(!upstream.seen.lock().unwrap().iter().any(token_of_ward));
    world.house.close().await;
}
