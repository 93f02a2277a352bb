//! Kill -9 under load: a child process writes and tells what was acknowledged; the parent kills it
//! and looks whether all of it is there. The child is this test program, started again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use ward_core::{ClientId, EventKind, OutboxSeq, TenantId};
use ward_policy::Subject;

use super::*;

const DIR: &str = "WARD_STORE_TEST_KILL_DIR";
const CHILD: &str = "tests::kill::writes_until_it_is_killed";

/// The child's part; does nothing in an ordinary run.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    // Not dropped: the directory is the parent's.
    let house = std::mem::ManuallyDrop::new(House::at(Scratch(dir.into())));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = house.open();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8_u8 {
            let store = store.clone();
            tasks.spawn(async move {
                let world = World::new();
                loop {
                    // From the system's generator: every child writes other clients.
                    let client = ClientId::new(world.clock.as_ref(), &SystemRng);
                    let subject = Subject::Client(client);
                    let event = world.event(EventKind::Revocation, "revoked");
                    let event = event.with("client", client.to_string());
                    let bump = store.epochs.bump(&world.tenant, &[subject], event).await;
                    let seq = bump.unwrap().0;
                    // One write a line, so that lines of several tasks do not mix.
                    let line = format!("ack {seq} {client} {task}\n");
                    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
        tasks.join_all().await;
    });
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed_under_load() {
    let house = House::new();
    let tenant = TenantId::default_tenant();
    let mut acknowledged: Vec<(u64, ClientId)> = Vec::new();
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, "--exact", "--nocapture"])
            .env(DIR, &house.scratch.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = 0;
        let mut note = |line: &str| {
            let mut words = line.split(' ');
            if words.next() == Some("ack")
                && let (Some(seq), Some(client), Some(_)) =
                    (words.next(), words.next(), words.next())
            {
                acknowledged.push((seq.parse().unwrap(), ClientId::parse(client).unwrap()));
            }
        };
        while read < 200 * round {
            note(&lines.next().expect("the child writes until it is killed").unwrap());
            read += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts too, but for a last line that was cut off.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            note(line);
        }

        let store = house.open();
        let mut rows = Vec::new();
        loop {
            let after = OutboxSeq(rows.len() as u64);
            let page = store.outbox.pending(after, 1000).await.unwrap();
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        for (seq, client) in &acknowledged {
            assert_eq!(store.epochs.current(&tenant, &Subject::Client(*client)), 1, "{seq}");
            let row = &rows[usize::try_from(*seq).unwrap() - 1];
            assert_eq!(row.seq, OutboxSeq(*seq));
            assert_eq!(row.event.body.detail["client"], client.to_string());
        }
        // State and log agree in the other direction too: no event without its state.
        for row in &rows {
            let client = ClientId::parse(&row.event.body.detail["client"]).unwrap();
            assert_eq!(store.epochs.current(&tenant, &Subject::Client(client)), 1);
        }
        assert!(rows.len() >= acknowledged.len());
    }
}
