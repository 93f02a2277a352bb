//! The FHIR server goes and comes back, again and again, under load.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn upstream_restarts_lose_no_event_and_need_no_restart_of_ward() {
    let stage = Stage::set(Limits::default()).await;
    let world = &stage.world;
    let place = stage.upstream.base_url.split('/').nth(2).unwrap().to_owned();
    let rounds = 5;
    let (tally, (mut own, running)) = stage
        .beside(3, async {
            let mut own = Tally::default();
            let mut running = None::<ward_sandbox::Running>;
            for _ in 0..rounds {
                running.as_ref().unwrap_or(&stage.upstream).stop();
                let mut down = false;
                for _ in 0..6000 {
                    down = own.ask(world, &stage.good, &stage.token).await != 200;
                    if down {
                        break;
                    }
                }
                assert!(down, "an upstream that is gone was not noticed");
                // The port of a listener that was stopped can be taken for a moment.
                let mut listener = TcpListener::bind(&place).await;
                while listener.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    listener = TcpListener::bind(&place).await;
                }
                running = Some(Sandbox::generate(7, 20).start(listener.unwrap()).unwrap());
                let mut up = false;
                for _ in 0..6000 {
                    up = own.ask(world, &stage.good, &stage.token).await == 200;
                    if up {
                        break;
                    }
                }
                assert!(up, "an upstream that is back was not noticed");
            }
            (own, running)
        })
        .await;
    own.add(tally);
    // It cannot be reached: 503. It went in the middle of an answer: 502.
    own.only(&[200, 502, 503]);
    let log = logged(world);
    own.is_in(&log);
    // Back to normal: nothing but 200.
    let mut after = Tally::default();
    for _ in 0..10 {
        after.ask(world, &stage.good, &stage.token).await;
    }
    after.only(&[200]);
    drop(running);
    println!(
        "upstream: {rounds} restarts under load; {own}; {} events in the log, none missing",
        log.accesses.len()
    );
}
