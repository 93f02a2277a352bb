//! Operators over the admin API and `ward admin`: the first by a one-time code, roles, acts of two, and
//! guesses that are slowed. Every refusal is in the log.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use ward_core::{
    ClientId, ClientUri, Clock as _, CorrelationId, Event, EventKind, Limits, ManualClock,
    SystemClock,
};
use ward_store::repo::Expected;

use crate::bad_input::{world, world_at};
use crate::harness::{Answer, ISS, ORGANIZATION, TempDir, World, parse};
use crate::ops::{admin_listener, ask, limits};
use crate::pki::{COMMUNITY, Member};

/// Sends exactly these bytes.
async fn raw(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    parse(&received)
}

pub async fn command(to: SocketAddr, key: &str, word: &str, fields: Value) -> Answer {
    ask(to, "POST", &format!("/admin/v1/{word}"), key, &fields.to_string()).await
}

/// The first operator's key.
pub async fn bootstrap(world: &World, to: SocketAddr, name: &str) -> String {
    let code = world.house.admin.offer_bootstrap().await.unwrap().unwrap();
    let fields = json!({ "code": code.expose(), "name": name });
    let answer = command(to, "", "bootstrap", fields).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["operator-added"]["key"].as_str().unwrap().to_owned()
}

pub async fn add(to: SocketAddr, key: &str, name: &str, role: &str) -> String {
    let answer = command(to, key, "add-operator", json!({ "name": name, "role": role })).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["operator-added"]["key"].as_str().unwrap().to_owned()
}

/// How often the log has a refusal by this rule.
fn refusals(world: &World, rule: &str) -> usize {
    let reader = world.house.log.reader().unwrap();
    (0..reader.size())
        .filter(|index| reader.leaf(*index).unwrap().rule.as_deref() == Some(rule))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_makes_one_first_operator_once_and_in_time() {
    let (world, _upstream, ..) = world(limits()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let wrong = json!({ "code": "AAAAA-AAAAA-AAAAA-AAAAA", "name": "mallory" });
    assert_eq!(command(to, "", "bootstrap", wrong.clone()).await.status, 403);
    let code = world.house.admin.offer_bootstrap().await.unwrap().unwrap();
    // A later code takes its place.
    let newer = world.house.admin.offer_bootstrap().await.unwrap().unwrap();
    let with = |code: &str, name: &str| json!({ "code": code, "name": name });
    assert_eq!(command(to, "", "bootstrap", with(code.expose(), "alice")).await.status, 403);
    assert_eq!(command(to, "", "bootstrap", with(newer.expose(), "Alice A")).await.status, 400);
    let typed = newer.expose().to_lowercase();
    let answer = command(to, "", "bootstrap", with(&typed, "alice")).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let key = answer.json()["operator-added"]["key"].as_str().unwrap().to_owned();
    assert_eq!(command(to, "", "bootstrap", with(newer.expose(), "bob")).await.status, 403);
    assert!(world.house.admin.offer_bootstrap().await.unwrap().is_none());
    let me = command(to, &key, "whoami", json!({})).await.json();
    assert_eq!(me, json!({ "name": "alice", "role": "security-officer" }));
    assert_eq!(refusals(&world, "ADMIN-CODE"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_ends_after_its_time() {
    let limits = Limits { bootstrap_life: Duration::from_millis(200), ..limits() };
    let (world, _upstream, ..) = world(limits).await;
    let admin = admin_listener(&world).await;
    let code = world.house.admin.offer_bootstrap().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let fields = json!({ "code": code.expose(), "name": "alice" });
    assert_eq!(command(admin.local_addr(), "", "bootstrap", fields).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_a_table_and_refusals_are_recorded() {
    let (world, _upstream, ..) = world(limits()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let officer = bootstrap(&world, to, "alice").await;
    let administrator = add(to, &officer, "adam", "administrator").await;
    let auditor = add(to, &officer, "audrey", "auditor").await;
    let grant = "grant:019a0000-0000-7000-8000-000000000000";
    let roster = json!({
        "organization": ORGANIZATION, "members": [[COMMUNITY, ISS]],
        "rows": [{ "patient": "p1", "purposes": ["TREAT"] }],
    });
    // (command, fields, auditor, administrator, officer)
    let nil = "019a0000-0000-7000-8000-000000000000";
    let nobody = json!({ "approval": nil });
    let table = [
        ("list-clients", json!({}), 200, 200, 200),
        ("list-incidents", json!({}), 200, 200, 200),
        ("list-operators", json!({}), 200, 200, 200),
        ("list-approvals", json!({}), 200, 200, 200),
        ("what-if", json!({ "subject": grant }), 200, 200, 200),
        ("passport", json!({}), 200, 200, 200),
        ("passport-what-if", json!({ "certificate": "00" }), 404, 404, 404),
        ("expiring", json!({ "days": 30 }), 200, 200, 200),
        ("import-roster", roster, 403, 200, 200),
        ("refresh-lists", json!({}), 403, 200, 200),
        ("revoke", json!({ "subject": grant, "reason": "test" }), 403, 403, 404),
        ("add-operator", json!({ "name": "alice", "role": "auditor" }), 403, 403, 409),
        ("remove-operator", json!({ "name": "alice" }), 403, 403, 409),
        ("approve", nobody.clone(), 403, 403, 404),
        ("reject", nobody, 403, 403, 404),
        ("hold-client", json!({ "client": nil, "reason": "test" }), 403, 403, 404),
        ("release-client", json!({ "client": nil, "reason": "test" }), 403, 403, 404),
        // Whoever may is told why it is not done: here there is no configuration, and no such file.
        ("reload", json!({}), 403, 409, 409),
        ("backup", json!({ "to": "/nowhere/b", "key_file": "/nowhere/k" }), 403, 409, 409),
        ("backup", json!({}), 400, 400, 400),
        ("no-such-command", json!({}), 404, 404, 404),
        ("revoke", json!({ "subject": "p1", "reason": "x" }), 400, 400, 400),
        ("add-operator", json!({ "name": "ward-x", "role": "auditor" }), 400, 400, 400),
    ];
    let mut forbidden = 0;
    for (word, fields, by_auditor, by_administrator, by_officer) in table {
        for (key, expected) in
            [(&auditor, by_auditor), (&administrator, by_administrator), (&officer, by_officer)]
        {
            let answer = command(to, key, word, fields.clone()).await;
            assert_eq!(answer.status, expected, "{word}: {}", answer.json());
            forbidden += usize::from(expected == 403);
        }
    }
    assert_eq!(refusals(&world, "ADMIN-ROLE"), forbidden);
    // "automatic" is nobody's role.
    let fields = json!({ "name": "robot", "role": "automatic" });
    assert_eq!(command(to, &officer, "add-operator", fields).await.status, 403);
    // A key ends with its operator.
    let gone = command(to, &officer, "remove-operator", json!({ "name": "adam" })).await;
    assert_eq!(gone.status, 200);
    assert_eq!(command(to, &administrator, "whoami", json!({})).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slowed_and_lock_out_nobody_else() {
    let limits = Limits { admin_failures_per_minute: 4, ..limits() };
    // One minute is one minute, however long the machine takes.
    let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
    let (world, _upstream, ..) = world_at(limits, clock.clone()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    let bob = add(to, &alice, "bob", "auditor").await;
    let last = if alice.ends_with('0') { "1" } else { "0" };
    let near = format!("{}{last}", &alice[..alice.len() - 1]);
    for guess in [&near, "nonsense"] {
        for _ in 0..4 {
            assert_eq!(command(to, guess, "whoami", json!({})).await.status, 401);
        }
        let slow = command(to, guess, "whoami", json!({})).await;
        assert_eq!(slow.status, 429);
        assert!(slow.header("retry-after").is_some());
    }
    assert_eq!(command(to, &bob, "whoami", json!({})).await.status, 200);
    assert_eq!(refusals(&world, "ADMIN-KEY"), 8, "one entry a failure, up to the bound");
    clock.advance(Duration::from_mins(1));
    assert_eq!(command(to, &near, "whoami", json!({})).await.status, 401, "a minute later");
}

/// A registered client with a live token.
async fn partner(world: &mut World) -> (Member, String) {
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    (member, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_community_takes_two_people_who_saw_what_hangs_on_it() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let (_, token) = partner(&mut world).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    let bob = add(to, &alice, "bob", "security-officer").await;
    let subject = format!("community:{COMMUNITY}");
    let fields = json!({ "subject": subject, "reason": "the contract ended" });
    let asked = command(to, &alice, "revoke", fields.clone()).await;
    assert_eq!(asked.status, 202, "{}", asked.json());
    let waiting = asked.json()["waits-for-approval"].clone();
    assert_eq!(waiting["what_if"], json!({ "clients": 1, "live_grants": 1 }));
    let approval = json!({ "approval": waiting["approval"] });
    assert_eq!(world.get(&read, &token).await.status, 200, "nothing is done yet");

    // A second officer is needed, and one who was there before; a third takes both.
    assert_eq!(command(to, &alice, "approve", approval.clone()).await.status, 403);
    let carol = json!({ "name": "carol", "role": "security-officer" });
    let third = command(to, &alice, "add-operator", carol).await;
    assert_eq!(third.status, 202, "{}", third.json());
    let third = json!({ "approval": third.json()["waits-for-approval"]["approval"] });
    let made = command(to, &bob, "approve", third).await;
    assert_eq!(made.status, 200, "{}", made.json());
    let carol = made.json()["operator-added"]["key"].as_str().unwrap().to_owned();
    assert_eq!(command(to, &carol, "approve", approval.clone()).await.status, 403, "made after");
    assert_eq!(refusals(&world, "ADMIN-TWO"), 2);
    assert_eq!(world.get(&read, &token).await.status, 200, "still nothing");

    let listed = command(to, &bob, "list-approvals", json!({})).await.json();
    assert_eq!(listed["approvals"][0]["requested_by"], json!("alice"));
    assert_eq!(command(to, &bob, "approve", approval.clone()).await.status, 200);
    assert_eq!(world.get(&read, &token).await.status, 401, "revoked");
    assert_eq!(command(to, &bob, "approve", approval).await.status, 404, "taken once");

    // Turned down.
    let asked = command(to, &bob, "revoke", fields).await.json();
    let approval = json!({ "approval": asked["waits-for-approval"]["approval"] });
    assert_eq!(command(to, &alice, "reject", approval.clone()).await.status, 200);
    assert_eq!(command(to, &alice, "approve", approval).await.status, 404);
}

/// One officer could otherwise remove the other and be two people alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_officer_goes_only_with_anothers_consent_while_there_are_two() {
    let (world, _upstream, ..) = world(limits()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    // The second is made alone, or there never were two; other roles come and go as ever.
    let bob = add(to, &alice, "bob", "security-officer").await;
    add(to, &alice, "adam", "administrator").await;
    let remove = async |key: &str, name: &str| {
        command(to, key, "remove-operator", json!({ "name": name })).await
    };
    assert_eq!(remove(&alice, "adam").await.status, 200);
    for (key, name) in [(&alice, "bob"), (&alice, "alice"), (&bob, "alice")] {
        let asked = remove(key, name).await;
        assert_eq!(asked.status, 202, "{name}: {}", asked.json());
    }
    assert_eq!(command(to, &bob, "whoami", json!({})).await.status, 200, "nothing is done yet");
    let waiting = command(to, &bob, "list-approvals", json!({})).await.json();
    let ids: &Vec<Value> = waiting["approvals"].as_array().unwrap();
    assert_eq!(ids.len(), 3);
    let of = |by: &str, name: &str| {
        let found = ids
            .iter()
            .find(|one| one["requested_by"] == by && one["act"]["remove-operator"]["name"] == name);
        json!({ "approval": found.unwrap()["approval"] })
    };
    // Alice cannot approve what she asked for; Bob can let her go, and with her what she asked for.
    assert_eq!(command(to, &alice, "approve", of("alice", "bob")).await.status, 403);
    assert_eq!(command(to, &bob, "approve", of("alice", "alice")).await.status, 200);
    assert_eq!(command(to, &alice, "whoami", json!({})).await.status, 401);
    assert_eq!(command(to, &bob, "approve", of("alice", "bob")).await.status, 404);
    assert_eq!(remove(&bob, "bob").await.status, 409, "the last one stays");
}

/// Two who approve at once: it is done once.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_raced_is_done_once() {
    let (world, _upstream, ..) = world(limits()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    let bob = add(to, &alice, "bob", "security-officer").await;
    let carol = json!({ "name": "carol", "role": "security-officer" });
    let asked = command(to, &alice, "add-operator", carol).await.json();
    let approval = json!({ "approval": asked["waits-for-approval"]["approval"] });
    let mut tasks = vec![];
    for _ in 0..8 {
        let (bob, approval) = (bob.clone(), approval.clone());
        tasks
            .push(tokio::spawn(async move { command(to, &bob, "approve", approval).await.status }));
    }
    let mut answers = vec![];
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 404, 404, 404, 404, 404, 404, 404]);
}

/// Method, path, headers, and the status that is demanded.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);

/// A page in a browser on the machine: forms, `fetch` without a preflight, DNS rebinding; and keys twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_reaches_nothing() {
    let (world, _upstream, ..) = world(limits()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    let send = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = if method == "POST" { "{}" } else { "" };
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        raw(to, head.as_bytes()).await
    };
    let (host, key) = (to.to_string(), format!("Bearer {alice}"));
    let json = ("content-type", "application/json");
    let (here, rebound) = (("host", host.as_str()), ("host", "evil.example"));
    let (key, page) = (("authorization", key.as_str()), ("origin", "https://evil.example"));
    let cases: [Case<'_>; 11] = [
        ("POST", "/admin/v1/whoami", &[here, json, key], 200),
        ("POST", "/admin/v1/whoami", &[here, json, key, page], 403),
        ("POST", "/admin/v1/whoami", &[here, json, key, ("origin", "null")], 403),
        ("POST", "/admin/v1/whoami", &[rebound, json, key], 421),
        ("POST", "/admin/v1/whoami", &[here, json, key, ("sec-fetch-site", "cross-site")], 403),
        // What a form or a simple request can say.
        ("POST", "/admin/v1/whoami", &[here, ("content-type", "text/plain"), key], 415),
        ("POST", "/admin/v1/bootstrap", &[here, json, page], 403),
        // No preflight is ever granted.
        ("OPTIONS", "/admin/v1/whoami", &[here, page], 403),
        ("GET", "/metrics", &[rebound], 421),
        ("GET", "/readyz", &[here], 200),
        ("POST", "/admin/v1/whoami", &[here, json, key, key], 400),
    ];
    for (method, path, headers, expected) in cases {
        let answer = send(method, path, headers).await;
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, expected, "{method} {path} {headers:?}: {shown}");
        let allowed = answer.headers.iter().any(|(name, _)| name.starts_with("access-control-"));
        assert!(!allowed, "{method} {path}: nothing is allowed across origins");
    }
    // One who is not known yet cannot make Ward read much.
    let long = json!({ "code": "A".repeat(5000), "name": "mallory" });
    assert_eq!(command(to, "", "bootstrap", long).await.status, 413);
}

/// There is no session: what is not a key is refused, and a key comes from nobody but Ward.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_a_key_and_an_act_keeps_no_foreign_name() {
    let (world, _upstream, ..) = world(limits()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    let chosen = json!({ "name": "eve", "role": "auditor", "key": "ward_op_mine" });
    assert_eq!(command(to, &alice, "add-operator", chosen).await.status, 400);
    let audrey = add(to, &alice, "audrey", "auditor").await;
    // Nothing in a command says who gives it or in which role.
    for more in ["operator", "role", "requested_by", "approved_by"] {
        let mut fields = json!({ "subject": format!("community:{COMMUNITY}"), "reason": "x" });
        fields[more] = json!("alice");
        assert_eq!(command(to, &audrey, "revoke", fields).await.status, 400, "{more}");
    }
    // The secret of one operator with the id of another opens nothing.
    let (head, secret) = audrey.rsplit_once('_').unwrap();
    let (officer, _) = alice.rsplit_once('_').unwrap();
    assert_ne!(head, officer);
    let mixed = format!("{officer}_{secret}");
    assert_eq!(command(to, &mixed, "whoami", json!({})).await.status, 401);
    // The name of one who is gone does not bring back the rights of what was asked for under it.
    let bob = add(to, &alice, "bob", "security-officer").await;
    let subject = format!("community:{COMMUNITY}");
    let asked = command(to, &bob, "revoke", json!({ "subject": subject, "reason": "x" })).await;
    let approval = json!({ "approval": asked.json()["waits-for-approval"]["approval"] });
    let gone = command(to, &bob, "remove-operator", json!({ "name": "bob" })).await.json();
    let gone = json!({ "approval": gone["waits-for-approval"]["approval"] });
    assert_eq!(command(to, &alice, "approve", gone).await.status, 200);
    add(to, &alice, "bob", "auditor").await;
    assert_eq!(command(to, &alice, "approve", approval).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_nobody_approves_ends() {
    let limits = Limits { approval_life: Duration::from_millis(300), ..limits() };
    let (world, _upstream, ..) = world(limits).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    let bob = add(to, &alice, "bob", "security-officer").await;
    let fields = json!({ "subject": format!("community:{COMMUNITY}"), "reason": "test" });
    let asked = command(to, &alice, "revoke", fields).await.json();
    let approval = json!({ "approval": asked["waits-for-approval"]["approval"] });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(command(to, &bob, "approve", approval).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_take_two_and_a_clients_own_certificate_or_a_compromised_key_one() {
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let (member, token) = partner(&mut world).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    let alice = bootstrap(&world, to, "alice").await;
    let thumbprint = |der: &[u8]| {
        format!("certificate:{}", ward_core::crypto::hex(&ward_core::crypto::sha256(&[der])))
    };
    let anchor = thumbprint(&world.pki.root_der());
    let issuing = thumbprint(&member.chain[1]);
    let unknown = format!("certificate:{}", "ab".repeat(32));
    for subject in [&anchor, &issuing, &unknown] {
        for (reason, expected) in [("tidying up", 202), ("key-compromised?", 202)] {
            let fields = json!({ "subject": subject, "reason": reason });
            let answer = command(to, &alice, "revoke", fields).await;
            assert_eq!(answer.status, expected, "{subject} {reason}: {}", answer.json());
        }
    }
    assert_eq!(world.get(&read, &token).await.status, 200, "nothing is done yet");
    let what_if = command(to, &alice, "what-if", json!({ "subject": issuing })).await.json();
    assert_eq!(what_if["what-if"], json!({ "clients": 1, "live_grants": 1 }));
    let own = json!({ "subject": thumbprint(&member.chain[0]), "reason": "the laptop was lost" });
    assert_eq!(command(to, &alice, "revoke", own).await.status, 200);
    assert_eq!(world.get(&read, &token).await.status, 401);
    let now = json!({ "subject": issuing, "reason": "key-compromise: seen in a paste" });
    assert_eq!(command(to, &alice, "revoke", now).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ward_admin_does_it_from_the_command_line() {
    let (mut world, _upstream, ..) = world(limits()).await;
    partner(&mut world).await;
    let listener = admin_listener(&world).await;
    let url = format!("http://{}", listener.local_addr());
    let dir = TempDir::new("admin");
    let key = dir.0.join("alice.key");
    let ward = async |args: &[&str], key: &std::path::Path, stdin: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ward"));
        command.args(["admin", "--url", &url, "--key-file"]).arg(key).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let stdin = stdin.to_owned();
        let run = move || {
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        let ran = tokio::task::spawn_blocking(run).await.unwrap();
        let out = String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap();
        (ran.status.success(), out)
    };
    let code = world.house.admin.offer_bootstrap().await.unwrap().unwrap();
    let (ok, out) = ward(&["bootstrap", "--name", "alice"], &key, code.expose()).await;
    assert!(ok, "{out}");
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(!out.contains(secret.trim()), "the key was printed: {out}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let (ok, out) = ward(&["whoami"], &key, "").await;
    assert!(ok && out.contains("alice") && out.contains("security-officer"), "{out}");
    let bob = dir.0.join("bob.key");
    let bob_text = bob.to_str().unwrap();
    let adding = ["operators", "add", "bob", "--role", "security-officer", "--out", bob_text];
    let (ok, out) = ward(&adding, &key, "").await;
    assert!(ok, "{out}");
    let (ok, out) = ward(&["operators", "list", "--json"], &key, "").await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert!(ok && listed["operators"].as_array().unwrap().len() == 2, "{out}");
    let roster = dir.0.join("roster.txt");
    std::fs::write(&roster, "# one patient\np1 TREAT,HPAYMT\n").unwrap();
    let roster = roster.to_str().unwrap();
    let importing =
        ["roster", "import", "--organization", ORGANIZATION, "--member", COMMUNITY, ISS, roster];
    let (ok, out) = ward(&importing, &key, "").await;
    assert!(ok && out.contains("patients=1"), "{out}");
    let (ok, out) = ward(&["clients", "list"], &key, "").await;
    assert!(ok && out.contains(ISS), "{out}");
    for args in [&["lists", "refresh"][..], &["incidents", "list"], &["approvals", "list"]] {
        let (ok, out) = ward(args, &key, "").await;
        assert!(ok, "{args:?}: {out}");
    }
    // A client is put on hold and let go again.
    let tenant = ward_core::TenantId::default_tenant();
    let all = world.house.repositories.registrations.list(&tenant, None, 2).await.unwrap();
    let client = all[0].client.to_string();
    for (word, said) in [("hold-client", "client-held"), ("release-client", "client-released")] {
        let (ok, out) = ward(&[word, &client, "--reason", "test"], &key, "").await;
        assert!(ok && out.contains(said) && out.contains(&client), "{out}");
    }
    // The list goes on beyond one page of the API.
    let event = || {
        let now = world.system.clock.now();
        let id = CorrelationId::new(&*world.system.clock, &*world.system.rng);
        Event::new(EventKind::Registration, "registered", tenant.clone(), now, id)
    };
    let mut puts = tokio::task::JoinSet::new();
    for n in 0..501 {
        let mut one = all[0].clone();
        one.client = ClientId::new(&*world.system.clock, &*world.system.rng);
        one.uri = ClientUri::parse(&format!("https://partner.example/app/{n}")).unwrap();
        let (registrations, event) = (world.house.repositories.registrations.clone(), event());
        puts.spawn(async move { registrations.put(one, Expected::Absent, event).await.unwrap() });
    }
    puts.join_all().await;
    let (ok, out) = ward(&["clients", "list", "--json"], &key, "").await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    let clients = listed["clients"].as_array().unwrap();
    let distinct: BTreeSet<&str> = clients.iter().map(|one| one["uri"].as_str().unwrap()).collect();
    assert!(ok && clients.len() == 502 && distinct.len() == 502, "{}", clients.len());
    let (ok, out) = ward(&["reload"], &key, "").await;
    assert!(!ok && out.contains("nothing was changed"), "{out}");
    let subject = format!("community:{COMMUNITY}");
    let revoking = ["revoke", &subject, "--reason", "the contract ended"];
    let (ok, out) = ward(&revoking, &key, "").await;
    assert!(ok && out.contains("nothing is done yet"), "{out}");
    let id = out.rsplit(' ').next().unwrap().trim();
    let (ok, out) = ward(&["approve", id], &key, "").await;
    assert!(!ok && out.contains("second person"), "{out}");
    let (ok, out) = ward(&["approve", id], &bob, "").await;
    assert!(ok && out.contains("revoked"), "{out}");
    // Keys that others can read are not used, and a key goes nowhere in plain text.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&bob, open).unwrap();
    let (ok, out) = ward(&["whoami"], &bob, "").await;
    assert!(!ok && out.contains("chmod 600"), "{out}");
    let (ok, out) = ward(&["whoami", "--url", "http://192.0.2.1:1"], &key, "").await;
    assert!(!ok && out.contains("https"), "{out}");
}
