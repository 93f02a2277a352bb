//! Servers of revocation lists and OCSP answers that are slow, endless or lying (X14–X20, X22, T36), over sockets: who depends
//! on them waits for a bounded time and gets no further, everybody else is served, and what is mended is believed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ward_admin::{Command, Operator, Role};
use ward_core::Limits;

use crate::bad_certificates::{ask, register};
use crate::bad_input::{generous, world};
use crate::harness::{Answer, ISS, World};
use crate::pki::Member;
use crate::pki::authorities::{By, days, entry};
use crate::pki::liars::Lie;

/// Neither let in nor refused for good: it is told when to come again.
fn later(answer: &Answer, what: &str) {
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    let error = answer.error();
    assert_eq!((answer.status, error.as_deref()), (503, Some("temporarily_unavailable")), "{what}");
    assert!(answer.header("retry-after").is_some(), "{what}: {shown}");
    assert!(answer.json().get("access_token").is_none(), "{what}");
}

async fn refresh(world: &World) {
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    world.house.admin.execute(&officer, Command::RefreshLists).await.unwrap();
}

/// X14, X19, T36: each kind of misbehaviour, all at once, beside an honest client.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_lists_that_misbehave_let_nobody_in_and_keep_nobody_out() {
    let limits = Limits { crl_timeout: Duration::from_secs(1), ..generous() };
    let most = limits.crl_bytes as u64;
    let (mut world, ..) = world(limits).await;
    let good = world.pki.client(ISS);
    let client = world.register_client(&good, ISS).await;
    let elsewhere = world.pki.url("/root.crl");
    let lies = [
        Lie::Silence,
        Lie::Drip,
        Lie::Endless,
        Lie::Stall,
        Lie::BreakOff,
        Lie::Elsewhere(elsewhere),
        Lie::Coded,
        Lie::Status(206),
        Lie::Status(404),
        Lie::Status(500),
    ];
    let mut members = vec![];
    for (n, lie) in lies.into_iter().enumerate() {
        let branch = world.pki.authority(By::Root, &format!("Behind liar {n}"), |_| {});
        let uri = format!("https://partner.example/behind/{n}");
        let member = world.pki.client_by(By::Other(&branch), &uri, &[&branch.der], |_| {});
        // The good client's URI too, so that a token can be asked for.
        let same = world.pki.client_by(By::Other(&branch), ISS, &[&branch.der], |_| {});
        world.pki.lie(&branch.path, lie.clone());
        members.push((lie, uri, member, same));
    }
    let world = Arc::new(world);
    let over = Arc::new(AtomicBool::new(false));
    let honest = {
        let (world, over, good, client) =
            (world.clone(), over.clone(), good.clone(), client.clone());
        tokio::spawn(async move {
            let mut served = 0;
            while !over.load(Ordering::SeqCst) {
                assert_eq!(register(&world, &good, ISS).await.status, 200, "honest");
                assert_eq!(ask(&world, &good, &client).await.status, 200, "honest");
                served += 2;
            }
            served
        })
    };
    let mut asking = tokio::task::JoinSet::new();
    for (lie, uri, member, same) in members.clone() {
        let (world, client) = (world.clone(), client.clone());
        asking.spawn(async move {
            // Again, while the first fetch is under way or has just failed.
            for turn in 0..2 {
                let what = format!("{lie:?}, turn {turn}");
                let asked =
                    [register(&world, &member, &uri).await, ask(&world, &same, &client).await];
                for answer in &asked {
                    later(answer, &what);
                }
            }
        });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    let served = honest.await.unwrap();
    // Ward lets go of all of them, and took no more of what is endless than its bound and what was on the way.
    for _ in 0..3000 {
        if world.pki.lies_told().2 == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (asked, taken, open) = world.pki.lies_told();
    assert_eq!(open, 0, "answers are still being read");
    assert!(taken <= asked as u64 * (most + (16 << 20)), "{taken} octets in {asked} fetches");
    assert!(served > 0, "nobody else was served");

    // Mended: by itself, with the same certificates.
    world.pki.be_honest();
    for (lie, uri, member, same) in &members {
        let mut turns = 0;
        while register(&world, member, uri).await.status != 201 {
            turns += 1;
            assert!(turns < 600, "{lie:?}: never believed again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(ask(&world, same, &client).await.status, 200, "{lie:?}");
    }
    println!(
        "{} servers misbehaved: {asked} fetches, {taken} octets of an endless list; {served} honest requests meanwhile",
        members.len()
    );
}

fn refused(answer: &Answer, what: &str) {
    let error = answer.error();
    let error = error.as_deref().unwrap_or_default();
    let known = ["unapproved_software_statement", "invalid_client"];
    assert!(answer.status == 400 && known.contains(&error), "{what}: {} {error}", answer.status);
}

/// Puts something in the place of a list.
type Put<'a> = &'a dyn Fn(&World);

/// X16, PKI-04 as amended: a server that goes back to an older list, whatever its number, or to one that somebody else signed, frees
/// nobody: neither whom Ward saw revoked, nor one whom the list at hand names and who comes for the first time.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_goes_back_frees_nobody() {
    let (mut world, ..) = world(generous()).await;
    let good = world.pki.client(ISS);
    let client = world.register_client(&good, ISS).await;
    let branch = world.pki.authority(By::Root, "A branch", |_| {});
    let stranger = world.pki.another_root("A branch", |_| {});
    let mut member =
        || -> Member { world.pki.client_by(By::Other(&branch), ISS, &[&branch.der], |_| {}) };
    let (seen, unseen, kept) = (member(), member(), member());
    assert_eq!(ask(&world, &seen, &client).await.status, 200, "before");
    let bad = || vec![entry(seen.serial, None), entry(unseen.serial, None)];
    let number = |n: u64| rcgen::SerialNumber::from(n);
    world.pki.put_list(&branch, |p| (p.crl_number, p.revoked_certs) = (number(2), bad()));
    refresh(&world).await;
    refused(&ask(&world, &seen, &client).await, "revoked");

    // One after the other is put in its place, and fetched.
    let older: [(&str, Put<'_>); 3] = [
        ("the older list again", &|world| {
            world.pki.put_list(&branch, |p| p.this_update -= Duration::from_mins(10));
        }),
        ("an older list with a higher number", &|world| {
            world.pki.put_list(&branch, |p| {
                (p.this_update, p.crl_number) =
                    (p.this_update - Duration::from_mins(10), number(9));
            });
        }),
        ("a list by a namesake's key", &|world| world.pki.put_foreign_list(&branch, &stranger)),
    ];
    for (what, put) in older {
        put(&world);
        refresh(&world).await;
        refused(&ask(&world, &seen, &client).await, what);
        refused(&register(&world, &seen, ISS).await, what);
        refused(&ask(&world, &unseen, &client).await, what);
        refused(&register(&world, &unseen, ISS).await, what);
        assert_eq!(
            ask(&world, &kept, &client).await.status,
            200,
            "{what}: the list at hand serves"
        );
    }
    // A good new one is taken, and still frees nobody whom Ward saw revoked.
    world.pki.put_list(&branch, |p| {
        p.this_update += Duration::from_secs(5);
        (p.crl_number, p.next_update) = (number(3), days(1));
    });
    refresh(&world).await;
    refused(&ask(&world, &seen, &client).await, "taken off the list");
    assert_eq!(ask(&world, &kept, &client).await.status, 200);
}
