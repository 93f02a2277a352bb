//! A member of the community that turns against the others: everything it sends is well signed (T16).

use ward_core::Limits;

use crate::bad_input::world;
use crate::harness::World;
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
    assert_eq!(read.status, 404);
}
