//! The clock jumps a day ahead or back, and is set right again. Ward believes its clock, so while it is wrong honest
//! partners are refused; nothing that was used or has ended becomes valid by it.

use serde_json::json;
use ward_audit::{RealDisk, verify};
use ward_core::ManualClock;

use super::*;
use crate::harness::Answer;
use crate::rows::{form, jwt};

const DAY: Duration = Duration::from_hours(24);

/// OPS-01.
#[tokio::test(flavor = "multi_thread")]
async fn clock_jumps_of_a_day_make_nothing_valid_twice() {
    let now = system().clock.now().as_seconds();
    let clock = Arc::new(ManualClock::at_unix_seconds(now));
    let stage = Stage::set_on(crate::bad_input::generous(), 10, clock.clone(), |_| {}).await;
    let world = &stage.world;
    // An authentication token of a partner whose clock shows `at`.
    let assertion = |at: i64, jti: &str| {
        let mut claims = world.assertion_claims(&stage.client);
        (claims["iat"], claims["exp"], claims["jti"]) = (json!(at), json!(at + 280), json!(jti));
        jwt(
            &World::good_row(),
            &world.words(ISS, &stage.client),
            claims,
            &stage.member,
            &stage.member,
        )
    };
    let present = async |assertion: &str| -> Answer {
        let body = form(&World::token_form(assertion));
        world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
    };
    let verdict = |answer: &Answer| (answer.status, answer.error());
    let refused = (400, Some("invalid_client".to_owned()));
    let mut tally = Tally::default();
    let mut read = async |token: &str| tally.ask(world, &stage.good, token).await;
    let token_in = |answer: &Answer| answer.json()["access_token"].as_str().unwrap().to_owned();

    let used = assertion(now, "used");
    assert_eq!(present(&used).await.status, 200);
    assert_eq!(verdict(&present(&used).await), refused, "used twice");
    assert_eq!(read(&stage.token).await, 200);

    // A day ahead: tokens have ended, partners' statements have too.
    clock.advance(DAY);
    assert_eq!(read(&stage.token).await, 401);
    assert_eq!(verdict(&present(&assertion(now, "true-1")).await), refused);
    assert_eq!(verdict(&present(&used).await), refused);
    // A partner whose clock jumped, too: the list is stale and within its grace.
    let ahead = assertion(now + 86_400, "ahead");
    let answer = present(&ahead).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let from_ahead = token_in(&answer);
    assert_eq!(read(&from_ahead).await, 200);

    let stale = || world.house.ops.lists.status().lists.iter().any(|list| list.stale);
    assert!(stale(), "the operator is told");

    // Set right: what was good is good, what was used is used, what was made in the future is not believed.
    clock.set_back(DAY);
    assert!(!stale());
    assert_eq!(read(&stage.token).await, 200);
    assert_eq!(verdict(&present(&used).await), refused, "used twice, over a jump");
    assert_eq!(read(&from_ahead).await, 401, "a token from the future");
    assert_eq!(verdict(&present(&ahead).await), refused);
    let answer = present(&assertion(now, "true-2")).await;
    assert_eq!(answer.status, 200);

    // A day back: nothing that has ended wakes, nobody is believed.
    clock.set_back(DAY);
    assert_eq!(read(&stage.token).await, 401, "a token from the future");
    for statement in [&used, &ahead, &assertion(now, "true-3")] {
        assert_eq!(verdict(&present(statement).await), refused);
    }
    clock.advance(DAY);
    assert_eq!(verdict(&present(&used).await), refused, "used twice, over a jump back");
    assert_eq!(read(&stage.token).await, 200);
    let answer = present(&assertion(now, "true-4")).await;
    assert_eq!(answer.status, 200, "back without a restart");

    // Ended is ended, whatever the clock does afterwards.
    let last = token_in(&answer);
    clock.advance(Duration::from_mins(10));
    assert_eq!(read(&last).await, 401);
    clock.set_back(DAY);
    assert_eq!(read(&last).await, 401, "a token that has ended is awake again");
    clock.advance(DAY);

    // Detection and containment work after it all.
    let now = clock.now().as_seconds();
    let token = token_in(&present(&assertion(now, "scraper")).await);
    let base = world.path(&world.base);
    let mut seen = 0;
    for round in 0..6000 {
        let id = &stage.patients[round % stage.patients.len()];
        match world.get(&format!("{base}/Patient/{id}"), &token).await.status {
            200 => seen += 1,
            401 => break,
            other => panic!("{other}"),
        }
        assert!(round < 5999, "a scrape goes on after the clock jumped");
    }
    let log = logged(world);
    tally.is_in(&log);
    let key = std::fs::read_to_string(world.house.paths.verifier_key()).unwrap();
    verify(&RealDisk::new(world.house.paths.log()), key.trim(), None).unwrap();
    println!(
        "clock: 3 jumps of a day ahead and 3 back; reads {tally}; a scrape stopped after {seen} records; {} events, log verifies",
        log.accesses.len()
    );
}
