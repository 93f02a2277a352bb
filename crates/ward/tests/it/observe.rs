//! Observe mode: everything is decided and logged, and nothing is blocked by the gateway, except what protects
//! Ward itself. The report says by client and rule what enforcement would have stopped, without PHI.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use ward_admin::{Command, Operator, Role};
use ward_audit::{Leaf, Reader};
use ward_core::{
    ClientUri, EventBody, EventKind, KeyVault, Limits, OrganizationUri, Outcome, PatientId,
    Purpose, WindowStep,
};
use ward_policy::{Enforcement, Stance};
use ward_store::RosterRow;

use crate::bad_input::world;
use crate::harness::{ISS, ORGANIZATION, Setup, World, parse};
use crate::pki::{Member, Pki};
use crate::place::{Place, Serving, as_partner, ask, replaced, said, sandbox, ward};

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

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An upstream that keeps what it sees and says what it is told.
struct Scripted {
    base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Script = dyn Fn(&Seen) -> (u16, Vec<(&'static str, String)>, Vec<u8>) + Send + Sync;

async fn scripted(script: impl FnOnce(&str) -> Box<Script>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let script: Arc<Script> = script(&base).into();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
            tokio::spawn(async move {
                let _ = serve_one(stream, &*script, &kept).await;
            });
        }
    });
    Scripted { base, seen, task }
}

async fn serve_one(
    mut stream: TcpStream,
    script: &Script,
    kept: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let end = loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        received.extend_from_slice(&buffer[..n]);
        if let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let mut body = received.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").map(|(_, v)| v.clone());
    let chunked = headers.iter().any(|(n, _)| n == "transfer-encoding");
    let length: usize = length.map_or(0, |v| v.parse().unwrap());
    while (chunked && !body.ends_with(b"0\r\n\r\n")) || (!chunked && body.len() < length) {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        body.extend_from_slice(&buffer[..n]);
    }
    let seen = Seen { method, target, headers, body };
    let (status, headers, body) = script(&seen);
    kept.lock().unwrap().push(seen);
    let mut answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        answer += &format!("{name}: {value}\r\n");
    }
    answer += "connection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}

fn fhir(value: &Value) -> (u16, Vec<(&'static str, String)>, Vec<u8>) {
    (
        200,
        vec![("content-type", "application/fhir+json".to_owned())],
        value.to_string().into_bytes(),
    )
}

/// A patient and everything else the upstream is asked for.
fn plain(_: &str) -> Box<Script> {
    Box::new(|_| fhir(&json!({"resourceType": "Patient", "id": "theirs"})))
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

type Case<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, Option<&'a str>, &'a str, u16);

/// Every class of refusal passes, under the rule by which enforcement refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_refusal_passes_and_names_its_rule() {
    let upstream = scripted(plain).await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    let base = world.path(&world.base);
    let bearer = format!("Bearer {token}");
    let form = "application/x-www-form-urlencoded";
    let fhir_json = "application/fhir+json";
    // Rule, method, target below the base, authorization, content type, body, status under enforcement.
    let cases: Vec<Case<'_>> = vec![
        ("G01", "GET", "/Patient/mine", None, None, "", 401),
        ("G01", "GET", "/Patient/mine", Some("Basic dTpw"), None, "", 401),
        ("G02", "GET", "/Patient/mine", Some("Bearer of.another.issuer"), None, "", 401),
        ("RSV-02", "GET", "/Patient/mine", Some("Bearer a b"), None, "", 400),
        ("RSV-02", "GET", "/Condition/1", Some(&bearer), None, "", 403),
        ("A5", "GET", "//Patient/mine", Some(&bearer), None, "", 400),
        ("A6", "GET", "/patient/mine", Some(&bearer), None, "", 404),
        ("A7", "GET", "/Patient/a*b", Some(&bearer), None, "", 400),
        ("A14", "GET", "/Patient/mine?_method=PUT", Some(&bearer), None, "", 400),
        ("A16", "DELETE", "/Patient/mine", Some(&bearer), None, "", 405),
        ("A16", "PUT", "/Patient/mine", Some(&bearer), Some(fhir_json), "{}", 405),
        ("A16", "POST", "/Patient", Some(&bearer), Some(fhir_json), "{}", 405),
        ("A17", "GET", "/Patient/mine", Some(&bearer), Some(form), "x=1", 400),
        ("A23", "GET", "/Patient/mine?access_token=foreign", Some(&bearer), None, "", 400),
        ("B3", "GET", "/Patient/mine?_format=xml", Some(&bearer), None, "", 406),
        ("B10", "POST", "/Patient/_search", Some(&bearer), Some(fhir_json), "{}", 415),
        ("C6", "GET", "/Patient/mine/_history", Some(&bearer), None, "", 403),
        ("C7", "GET", "/Patient/mine?_summary=true", Some(&bearer), None, "", 400),
        ("D7", "GET", "/Observation?subject:missing=true", Some(&bearer), None, "", 403),
        ("D10", "GET", "/Observation?_security=R", Some(&bearer), None, "", 403),
        ("D15", "GET", "/Patient?_content=x", Some(&bearer), None, "", 400),
        ("D20", "GET", "/Patient?_has:Observation:subject:code=1", Some(&bearer), None, "", 400),
        ("D22", "GET", "/Observation?subject.name=x", Some(&bearer), None, "", 400),
        ("D25", "GET", "/?name=x", Some(&bearer), None, "", 403),
        ("D27", "GET", "/Patient/mine/Observation", Some(&bearer), None, "", 403),
        ("F1", "GET", "/Observation?_include=Observation:subject", Some(&bearer), None, "", 400),
        ("F2", "GET", "/Patient?_revinclude=Observation:subject", Some(&bearer), None, "", 400),
        ("G18", "GET", "/Patient/mine/$everything", Some(&bearer), None, "", 403),
        ("H1", "POST", "/", Some(&bearer), Some(fhir_json), "{}", 403),
    ];
    let ask =
        async |method: &str, below: &str, auth: Option<&str>, kind: Option<&str>, body: &str| {
            let mut headers = vec![];
            headers.extend(auth.map(|auth| ("authorization", auth)));
            headers.extend(kind.map(|kind| ("content-type", kind)));
            let body = (!body.is_empty()).then_some(body.as_bytes());
            world.send(method, &format!("{base}{below}"), &headers, body).await
        };
    let mut wrong = vec![];
    for (rule, method, below, auth, kind, body, status) in cases {
        turn(&world, Enforcement::full());
        upstream.seen.lock().unwrap().clear();
        let refused = ask(method, below, auth, kind, body).await;
        if refused.status != status || !upstream.seen.lock().unwrap().is_empty() {
            wrong.push(format!("{rule} {method} {below}: enforcement gives {}", refused.status));
        }
        turn(&world, observing(&[], &[]));
        let passed = ask(method, below, auth, kind, body).await;
        let (leaf, detail) = last_access(&world).await;
        let seen = upstream.seen.lock().unwrap().last().cloned();
        let as_it_came = seen.is_some_and(|seen| {
            seen.method == method
                && seen.target == format!("/fhir{below}")
                && seen.body == body.as_bytes()
        });
        let logged = (leaf.outcome, leaf.rule.as_deref()) == (Outcome::Observed, Some(rule))
            && detail.detail["would_status"] == status.to_string();
        if passed.status != 200 || !as_it_came || !logged {
            wrong.push(format!(
                "{rule} {method} {below}: passed with {} {:?} {:?} {:?} {as_it_came}",
                passed.status, leaf.outcome, leaf.rule, detail.detail
            ));
        }
        // By rule it can be enforced alone, and nothing goes to the upstream then.
        turn(&world, observing(&[], &[rule]));
        upstream.seen.lock().unwrap().clear();
        let refused = ask(method, below, auth, kind, body).await;
        if refused.status != status || !upstream.seen.lock().unwrap().is_empty() {
            wrong.push(format!("{rule} {method} {below}: its own switch gives {}", refused.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.house.close().await;
}

/// What protects Ward and the upstream themselves holds in both modes, and nothing of it reaches the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn what_protects_ward_itself_is_enforced_while_observing() {
    let upstream = scripted(plain).await;
    let limits = Limits { observe_body_bytes: 100_000, ..Limits::default() };
    let mut world = before(&upstream, limits).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    let long = format!("{base}/Patient?name={}", "x".repeat(9000));
    let bearer = format!("Bearer {token}");
    let one = [("authorization", bearer.as_str())];
    for (what, method, target, headers, status) in [
        ("another host", "GET", format!("{base}/Patient/1"), vec![("host", "internal")], 421),
        ("TRACE", "TRACE", format!("{base}/Patient/1"), one.to_vec(), 405),
        ("dot segments", "GET", format!("{base}/../admin"), one.to_vec(), 400),
        ("encoded dot segments", "GET", format!("{base}/%2e%2e/admin"), one.to_vec(), 400),
        ("parameters of a segment", "GET", format!("{base}/..;/admin"), one.to_vec(), 400),
        ("encoded slash", "GET", format!("{base}/x%2F..%2Fadmin"), one.to_vec(), 400),
        ("double encoding", "GET", format!("{base}/%252e%252e/admin"), one.to_vec(), 400),
        ("backslash", "GET", format!("{base}/..\\admin"), one.to_vec(), 400),
        ("not below the base", "GET", "/admin".to_owned(), one.to_vec(), 404),
        ("a long target", "GET", long, one.to_vec(), 414),
        ("two Authorization headers", "GET", format!("{base}/Patient/1"), [one, one].concat(), 400),
        (
            "a token of Ward's in the URL",
            "GET",
            format!("{base}/Patient/1?access_token={token}"),
            vec![],
            400,
        ),
        ("under another name", "GET", format!("{base}/Patient/1?x={token}"), vec![], 400),
    ] {
        let answer = world.send(method, &target, &headers, None).await;
        assert_eq!(answer.status, status, "{what}");
    }
    let large = vec![b'x'; 100_001];
    let kind = [("content-type", "application/fhir+json")];
    let answer = world.send("POST", &format!("{base}/Patient"), &kind, Some(&large)).await;
    assert_eq!(answer.status, 413, "a body beyond limits.observe_body_bytes");
    // The registration endpoint and the token endpoint have no mode.
    let body = json!({"udap": "1", "software_statement": "x"}).to_string();
    assert_eq!(world.post(&world.register, "application/json", &body, &[]).await.status, 400);
    assert!(upstream.seen.lock().unwrap().is_empty(), "{:?}", upstream.seen.lock().unwrap());
    world.house.close().await;
}

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
        ("the roster rule", observing(&[], &["ROSTER"]), [200, 404, 200, 404]),
        ("tokens", observing(&[], &["G01"]), [401, 200, 200, 200]),
    ] {
        assert_eq!(statuses(enforcement).await, want, "{what}");
    }
    world.house.close().await;
}

/// The whole way of a hospital: `ward init` observes, the report says what would be refused and which lines
/// to write, and the switch takes effect on connections that stay.
#[tokio::test(flavor = "multi_thread")]
async fn from_observing_to_enforcing_by_report_and_reload() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::observing(&upstream.base_url);
    place.join(&mut pki);
    let (good, checked) = place.check();
    assert!(good && checked.to_string().contains("NOTHING IS BLOCKED"), "{checked}");
    let early = ward(&["report", "would-refuse", "--config", &place.config()]);
    assert!(!early.status.success() && said(&early).contains("no log yet"), "{}", said(&early));
    assert!(!place.path("w/data/vault").exists(), "a report makes nothing");

    let mut serving = Serving::start(&place).await;
    serving.until("OBSERVE MODE: Ward decides and logs but BLOCKS NOTHING").await;
    let (_, mut kept) = place.connect().await;
    let secret = "/default/fhir/Patient?name=Zimmermann&identifier=MRN-4711";
    assert_eq!(ask(&mut kept, secret).await, 200, "nobody is refused");

    let partner = place.partner(&mut pki);
    let client = |command: &[&str], more: &[&str]| as_partner(&partner, command, more);
    let scope = "system/Patient.rs system/Practitioner.rs";
    let contact = "mailto:ops@partner.example";
    let registered = client(
        &["client", "register"],
        &["--contact", contact, "--scope", scope, "--name", "Partner"],
    );
    assert!(registered.to_string().contains("client_id"), "{registered}");
    let organization = ["--organization", "https://partner.example/org"];
    let token =
        client(&["client", "token"], &[&organization[..], &["--scope", scope, "--show"]].concat());
    let token = token["token"].as_str().unwrap_or_else(|| panic!("{token}")).to_owned();
    let (_, mut known) = place.connect().await;
    let bearer = format!("authorization: Bearer {token}\r\n");
    assert_eq!(ask_with(&mut known, "/default/fhir/Practitioner?_count=1", &bearer).await, 200);

    // A client for whom nothing would change can be switched; anonymous callers would be refused.
    let report = |more: &[&str]| {
        let config = place.config();
        let all = [&["report", "would-refuse", "--config", &config][..], more].concat();
        let output = ward(&all);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let text = report(&[]);
    for word in [
        "mode is observe",
        "anonymous  1 request, 1 would be refused",
        "G01",
        "1 × GET Patient ?identifier&name",
        "https://partner.example/app  1 request, none would be refused",
        "\"https://partner.example/app\" = \"enforce\"",
        "have them register",
    ] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }

    // Now it asks for patients, and there is no roster: not clean any more.
    assert_eq!(
        ask_with(&mut known, "/default/fhir/Patient?_count=3&birthdate=lt2026-01-01", &bearer)
            .await,
        200
    );
    let text = report(&[]);
    assert!(text.contains("ROSTER") && text.contains("GET Patient ?_count&birthdate"), "{text}");
    assert!(!text.contains("[observe.clients]"), "{text}");
    let found: Value = serde_json::from_str(&report(&["--json", "--client", ISS])).unwrap();
    let clients = found["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 1, "{found}");
    assert_eq!((&clients[0]["requests"], &clients[0]["would_refuse"]), (&json!(2), &json!(1)));
    let row = &clients[0]["rules"][0];
    assert_eq!(
        (&row["rule"], &row["records_withheld"], &row["answered"]),
        (&json!("ROSTER"), &json!(3), &json!(1))
    );
    // No value, no id of a record, and no more of a URL than FHIR's words.
    let everything = report(&[]) + &report(&["--json"]);
    for word in ["Zimm", "lt2026", "MRN", "4711", "default/fhir", "synthetic-", &token[..20]] {
        assert!(!everything.contains(word), "{word} is in:\n{everything}");
    }

    // The switch, by the lines of the report; connections stay.
    let table = "[observe.clients]\n\"https://partner.example/app\" = \"enforce\"\n";
    let before = std::fs::read_to_string(place.toml()).unwrap();
    let edited = |text: &str, table: &str| {
        let start = text.find("[observe]").unwrap();
        let end = start + text[start + 1..].find("\n[").unwrap() + 1;
        format!("{}{table}{}", &text[..start], &text[end..])
    };
    std::fs::write(place.toml(), edited(&before, table)).unwrap();
    serving.hush();
    serving.signal("-HUP");
    serving.until("is in force").await;
    serving.until("OBSERVE MODE").await;
    assert_eq!(ask_with(&mut known, "/default/fhir/Patient?_count=3", &bearer).await, 403);
    assert_eq!(ask_with(&mut known, "/default/fhir/Practitioner?_count=1", &bearer).await, 200);
    assert_eq!(ask(&mut kept, "/default/fhir/Patient?_count=1").await, 200, "still observed");

    // A mistake changes nothing.
    std::fs::write(place.toml(), edited(&before, "[observe.rules]\nROSTR = \"enforce\"\n"))
        .unwrap();
    serving.hush();
    serving.signal("-HUP");
    serving.until("did you mean `ROSTER`?").await;
    assert_eq!(ask_with(&mut known, "/default/fhir/Patient?_count=3", &bearer).await, 403);
    assert_eq!(ask(&mut kept, "/default/fhir/Patient?_count=1").await, 200);

    // Enforce; and without the word it is the same.
    for mode in ["mode = \"enforce\"", "#"] {
        std::fs::write(place.toml(), replaced(&before, "mode = \"observe\"", mode)).unwrap();
        serving.hush();
        serving.signal("-HUP");
        serving.until("is in force").await;
        assert!(!serving.said().contains("OBSERVE MODE"), "{}", serving.said());
        assert_eq!(ask(&mut kept, "/default/fhir/Patient?_count=1").await, 401);
        assert_eq!(ask_with(&mut known, "/default/fhir/Patient?_count=3", &bearer).await, 403);
    }
    // Each switch is an operator's act in the log.
    let reader = Reader::open_dir(&place.path("w/data/log"), None).unwrap();
    let switches: Vec<String> = reader
        .leaves(0..reader.size())
        .map(|leaf| leaf.unwrap().1)
        .filter(|leaf| leaf.kind == EventKind::Operator && leaf.action.starts_with("mode-"))
        .map(|leaf| leaf.action)
        .collect();
    assert_eq!(switches, ["mode-observe", "mode-observe", "mode-enforce"]);
    let text = report(&[]);
    assert!(text.contains("mode is enforce: what is listed here passed before"), "{text}");
}

/// One request with a further header line on a connection that stays; the status.
async fn ask_with(stream: &mut TlsStream<TcpStream>, target: &str, header: &str) -> u16 {
    let port = stream.get_ref().0.peer_addr().unwrap().port();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..n]);
        let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let answer = parse(&received);
        let length: usize = answer.header("content-length").map_or(0, |v| v.parse().unwrap());
        if received.len() >= end + 4 + length {
            return answer.status;
        }
    }
}

/// Record before release stands in observe mode: what no log can take does not leave (house rule 3).
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_shuts_the_door_in_observe_mode_too() {
    let upstream = scripted(plain).await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    assert_eq!(world.get(&format!("{base}/Patient/theirs"), &token).await.status, 200);
    world.house.log.close().await;
    for (what, token) in [("known", token.as_str()), ("anonymous", "of.another.issuer")] {
        let answer = world.get(&format!("{base}/Patient/theirs"), token).await;
        assert_eq!(answer.status, 503, "{what}");
        assert!(answer.header("retry-after").is_some(), "{what}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("theirs"), "{what}");
    }
}

/// What cannot be judged passes, is recorded window by window before it leaves, and is named `UNJUDGED`.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_passes_recorded_and_is_named() {
    const LONG: usize = 1_000_000;
    let upstream = scripted(|base| {
        let base = base.to_owned();
        Box::new(move |seen: &Seen| {
            let typed =
                |kind: &str, body: Vec<u8>| (200, vec![("content-type", kind.to_owned())], body);
            if seen.method == "POST" && seen.target == "/fhir/Patient" {
                let place = ("location", format!("{base}/Patient/new/_history/1"));
                let text =
                    json!({"resourceType": "Patient", "id": "new", "received": seen.body.len()});
                let (_, mut headers, body) = fhir(&text);
                headers.push(place);
                return (201, headers, body);
            }
            match seen.target.as_str() {
                "/fhir/Patient/xml" => typed("application/fhir+xml", b"<Patient/>".to_vec()),
                "/fhir/Patient/long" => typed("text/plain", vec![b'x'; LONG]),
                "/fhir/Patient/zip" => {
                    let (status, mut headers, body) = fhir(&json!({}));
                    headers.push(("content-encoding", "gzip".to_owned()));
                    (status, headers, body)
                }
                "/fhir/Patient/moved" => {
                    (302, vec![("location", format!("{base}/Patient/mine"))], vec![])
                }
                "/fhir/Patient/gone" => {
                    let (_, headers, body) = fhir(&json!({"resourceType": "OperationOutcome"}));
                    (410, headers, body)
                }
                "/fhir/Patient/broken" => {
                    let (_, headers, body) = fhir(&json!({"resourceType": "OperationOutcome"}));
                    (500, headers, body)
                }
                _ => fhir(&json!({"resourceType": "Patient", "id": "mine"})),
            }
        })
    })
    .await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    let get = async |id: &str| world.get(&format!("{base}/Patient/{id}"), &token).await;

    let answer = get("xml").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"<Patient/>"[..]));
    let (leaf, _) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("UNJUDGED")));
    assert_eq!(get("zip").await.header("content-encoding"), Some("gzip"));
    assert_eq!(last_access(&world).await.0.rule.as_deref(), Some("UNJUDGED"));

    // A long one leaves whole, and each window was recorded.
    let before_it = accesses(&world).await.len();
    let answer = get("long").await;
    assert_eq!((answer.status, answer.body.len()), (200, LONG));
    let mut steps;
    let mut turns = 0;
    // The last step is written when the caller may have everything already.
    loop {
        steps = accesses(&world).await.split_off(before_it);
        let last = steps.last().and_then(|(leaf, _)| leaf.transfer.clone()?.window);
        if last.is_some_and(|window| window.step == WindowStep::Complete) {
            break;
        }
        turns += 1;
        assert!(turns < 1000, "{steps:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let items: u64 = steps
        .iter()
        .filter_map(|(leaf, _)| leaf.transfer.as_ref())
        .filter(|transfer| transfer.window.is_some_and(|window| window.step == WindowStep::Items))
        .map(|transfer| transfer.bytes)
        .sum();
    assert_eq!(items, LONG as u64);
    assert!(
        steps.len() >= 4 && steps.iter().all(|(leaf, _)| leaf.rule.as_deref() == Some("UNJUDGED"))
    );
    let told = steps.iter().filter(|(_, body)| body.detail.contains_key("shape")).count();
    assert_eq!(told, 1, "an answer is told once");

    // Redirects are handed on, not followed, and lead to Ward; errors are the upstream's own.
    let answer = get("moved").await;
    let place = format!("{}/Patient/mine", world.base);
    assert_eq!((answer.status, answer.header("location")), (302, Some(place.as_str())));
    assert_eq!(get("gone").await.status, 410);
    let (leaf, _) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Refused, Some("NOT-FOUND")));
    assert_eq!(get("broken").await.status, 500);
    assert_eq!(last_access(&world).await.0.outcome, Outcome::Failed);

    // A write that is larger than what Ward holds is handed on as it comes.
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(500_000));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let target = format!("{base}/Patient");
    let answer = world.send("POST", &target, &headers, Some(large.as_bytes())).await;
    assert_eq!((answer.status, &answer.json()["received"]), (201, &json!(large.len())));
    let place = format!("{}/Patient/new/_history/1", world.base);
    assert_eq!(answer.header("location"), Some(place.as_str()));
    let (leaf, body) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("LIMIT")));
    assert_eq!(body.detail["shape"], "POST Patient");
    assert_eq!(body.released[0].reference, "Patient/new");
    world.house.close().await;
}

/// The links of an answer that passed lead through Ward, and who follows them asks nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn further_pages_are_no_new_question() {
    let upstream = scripted(|base| {
        let base = base.to_owned();
        Box::new(move |seen: &Seen| {
            let first = !seen.target.contains("_getpages");
            let id = if first { "mine" } else { "theirs" };
            let mut link = vec![json!({"relation": "self", "url": format!("{base}/Patient")})];
            if first {
                let url = format!("{base}?_getpages=0f&_getpagesoffset=1");
                link.push(json!({"relation": "next", "url": url}));
            }
            fhir(&json!({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": [{
                "fullUrl": format!("{base}/Patient/{id}"), "search": {"mode": "match"},
                "resource": {"resourceType": "Patient", "id": id, "implicitRules": format!("{base}/x")},
            }]}))
        })
    })
    .await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    let page = "?_getpages=0f&_getpagesoffset=1";
    // Nobody was given this link yet.
    assert_eq!(world.get(&format!("{base}{page}"), &token).await.status, 200);
    assert_eq!(last_access(&world).await.0.rule.as_deref(), Some("D25"));

    let answer = world.get(&format!("{base}/Patient"), &token).await;
    let bundle = answer.json();
    assert_eq!(bundle["link"][0]["url"], format!("{}/Patient", world.base));
    assert_eq!(bundle["link"][1]["url"], format!("{}{page}", world.base));
    assert_eq!(bundle["entry"][0]["fullUrl"], format!("{}/Patient/mine", world.base));
    let rules = format!("{}/x", upstream.base);
    assert_eq!(bundle["entry"][0]["resource"]["implicitRules"], rules, "byte for byte");
    assert_eq!(last_access(&world).await.0.outcome, Outcome::Success);
    let answer = world.get(&format!("{base}{page}"), &token).await;
    assert_eq!(answer.status, 200);
    let (leaf, body) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("ROSTER")), "judged");
    assert_eq!(body.detail["would_withhold"], "ROSTER=1");
    let seen = upstream.seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!(seen.target, format!("/fhir{page}"));
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
    let mut world = World::raise(setup).await;
    let (member, client, token) = admitted(&mut world).await;
    let base = world.path(&world.base);
    turn(&world, observing(&[], &[]));
    for n in 0..6 {
        assert_eq!(world.get(&format!("{base}/Patient/p{n}"), &token).await.status, 200, "{n}");
    }
    let incident = async |want: Outcome| {
        for _ in 0..1000 {
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
    for _ in 0..1000 {
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
