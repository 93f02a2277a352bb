//! From an empty folder to a guarded server: `ward init`, `ward check`, `ward serve`, as a stranger runs them,
//! with a community of the test's own and the sample FHIR server behind.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt as _;
use ward_audit::Reader;
use ward_core::EventKind;

use crate::harness::TempDir;
use crate::pki::authorities::By;
use crate::pki::{COMMUNITY, Pki};
use crate::place::{Place, Serving, as_partner, ask, mode_of, pem, replaced, said, sandbox, ward};

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_folder_to_a_guarded_server() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);

    // Keys are their owner's alone, the request names the FHIR base, and nothing is overwritten.
    for name in ["w/vault.key", "w/community/key.pem", "w/tls/key.pem", "w/ward.toml"] {
        assert_eq!(mode_of(&place.path(name)), 0o600, "{name}");
    }
    let request = fs::read_to_string(place.path("w/community/request.pem")).unwrap();
    let body: String = request.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    let base = place.base.as_bytes();
    assert!(der.windows(base.len()).any(|window| window == base), "the request names the base");
    let before = fs::read(place.path("w/vault.key")).unwrap();
    let again = ward(&[
        "init",
        place.path("w").to_str().unwrap(),
        "--origin",
        "https://other.example",
        "--upstream",
        "https://fhir.example/r4",
        "--community",
        COMMUNITY,
    ]);
    assert!(
        !again.status.success() && said(&again).contains("nothing is overwritten"),
        "{}",
        said(&again)
    );
    assert_eq!(fs::read(place.path("w/vault.key")).unwrap(), before);

    // Before the community has answered: both missing files are named at once, with their keys.
    let (good, report) = place.check();
    let report = report.to_string();
    assert!(
        !good
            && report.contains("community[0].anchors")
            && report.contains("community[0].certificate"),
        "{report}"
    );
    let refused = ward(&["serve", "--config", &place.config()]);
    assert!(
        !refused.status.success() && said(&refused).contains("community[0].anchors"),
        "{}",
        said(&refused)
    );

    place.join(&mut pki);
    let (good, report) = place.check();
    let text = serde_json::to_string_pretty(&report).unwrap();
    assert!(good, "{text}");
    for word in [
        "R4",
        "its paging links work",
        "refuses search parameters",
        "valid chain",
        "good until",
        "signs itself",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let sentences = ward(&["check", "--config", &place.config()]);
    assert!(said(&sentences).contains("Ward would serve"), "{}", said(&sentences));

    let mut serving = Serving::start(&place).await;
    assert_eq!(place.discover().await.0, 200);
    let banner = serving.said();
    assert_eq!(
        banner.lines().filter(|line| line.contains("INFO ward::serve: Ward ")).count(),
        1,
        "{banner}"
    );
    // Without a token nothing of the upstream is seen.
    let (_, mut stream) = place.connect().await;
    assert_eq!(ask(&mut stream, "/default/fhir/Patient").await, 401);
    drop(stream);

    // A partner registers and reads; whose patients it may see nobody has said yet.
    let partner = place.partner(&mut pki);
    let client = |command: &[&str], more: &[&str]| as_partner(&partner, command, more);
    let scope = "system/Patient.rs system/Practitioner.rs";
    let contact = "mailto:ops@partner.example";
    let registered = client(&["client", "register"], &["--scope", scope, "--contact", contact]);
    assert_eq!(registered["standing"], "new", "{registered}");
    let organization = ["--organization", "https://partner.example/org"];
    let directory = client(&["client", "get", "Practitioner?_count=1"], &organization);
    assert_eq!(directory["status"], 200, "{directory}");
    assert_eq!(directory["body"]["resourceType"], "Bundle", "{directory}");
    let patients = client(&["client", "get", "Patient?_count=1"], &organization);
    assert_eq!(patients["status"], 403, "{patients}");

    serving.signal("-TERM");
    serving.until("Ward is down").await;
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let verified = ward(&["log", "verify", "--data", place.path("w/data").to_str().unwrap()]);
    assert!(verified.status.success(), "{}", said(&verified));
}

/// All or nothing: what is wrong, or needs a restart, is named, and the old configuration goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_all_or_nothing_and_drops_no_connection() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    place.patient();
    let mut serving = Serving::start(&place).await;
    let (first, mut kept) = place.connect().await;
    assert_eq!(ask(&mut kept, "/default/fhir/metadata").await, 200);
    let good = fs::read_to_string(place.toml()).unwrap();

    // (what is changed, what must be said)
    let cases = [
        ("#tls12 = false", "tls21 = false", "did you mean `tls12`?"),
        ("\"community/anchors.pem\"", "\"community/nothing.pem\"", "community[0].anchors"),
        (
            "\"system/Patient.rs\", ",
            "",
            "only be changed by a restart, so nothing was changed: scopes.supported",
        ),
        ("#page_max = 200", "page_max = 100", "limits.page_max"),
        ("https://community.example/trust", "not a uri", "community[0].uri"),
    ];
    for (from, to, word) in cases {
        let text = replaced(&good, from, to);
        fs::write(place.toml(), text).unwrap();
        serving.hush();
        serving.signal("-HUP");
        serving.until(word).await;
        assert!(serving.said().contains("the old configuration stays"), "{}", serving.said());
        assert_eq!(place.discover().await, (200, first.clone()), "{from}");
    }

    // A good change is taken: another community URI is served from now on.
    fs::write(place.toml(), good.replace(COMMUNITY, "https://community.example/renamed")).unwrap();
    serving.hush();
    serving.signal("-HUP");
    serving.until("is in force").await;
    let (_, mut stream) = place.connect().await;
    let named =
        "/default/fhir/.well-known/udap?community=https%3A%2F%2Fcommunity.example%2Frenamed";
    assert_eq!(ask(&mut stream, named).await, 200);
    assert_eq!(
        ask(
            &mut stream,
            "/default/fhir/.well-known/udap?community=https%3A%2F%2Fcommunity.example%2Ftrust"
        )
        .await,
        204
    );
    fs::write(place.toml(), &good).unwrap();
    serving.hush();
    serving.signal("-HUP");
    serving.until("is in force").await;

    // A renewed certificate is taken up without a signal; the old connection goes on.
    let other = Place::init(&upstream.base_url);
    fs::copy(place.path("w/tls/certificate.pem"), place.path("w/tls/old.pem")).unwrap();
    serving.hush();
    for name in ["certificate.pem", "key.pem"] {
        fs::copy(other.path("w/tls").join(name), place.path("w/tls").join(name)).unwrap();
    }
    serving.until("renewed certificates are in force").await;
    let (second, mut fresh) = place.connect().await;
    assert_ne!(second, first);
    assert_eq!(ask(&mut fresh, "/default/fhir/metadata").await, 200);
    // Idle connections end by the header timeout; this one asked a moment ago or is asked again.
    let mut asked = [0; 1];
    if tokio::time::timeout(Duration::from_millis(50), kept.read(&mut asked)).await.is_err() {
        assert_eq!(ask(&mut kept, "/default/fhir/metadata").await, 200);
    }
    let mut under = fresh;
    // And one that is certainly alive goes on over a further renewal, by signal.
    fs::copy(place.path("w/tls/certificate.pem"), place.path("w/tls/old.pem")).unwrap();
    let third = Place::init(&upstream.base_url);
    for name in ["certificate.pem", "key.pem"] {
        fs::copy(third.path("w/tls").join(name), place.path("w/tls").join(name)).unwrap();
    }
    serving.hush();
    serving.signal("-HUP");
    serving.until("is in force").await;
    assert_eq!(ask(&mut under, "/default/fhir/metadata").await, 200);
    assert_ne!(place.discover().await.1, second);

    // A key that does not fit is refused, and what was there goes on.
    serving.hush();
    fs::copy(place.path("w/community/key.pem"), place.path("w/tls/key.pem")).unwrap();
    serving.until("the old ones stay").await;
    assert_eq!(place.discover().await.0, 200);
}

/// `ward admin reload` answers as SIGHUP does, and says it to whom asked: what changed, or what is refused and
/// why; both are in the log under the operator's name.
#[tokio::test(flavor = "multi_thread")]
async fn reload_by_command_says_what_changed_or_why_not() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    let mut serving = Serving::start(&place).await;
    serving.until("works once: ").await;
    let banner = serving.said();
    let code = banner.split("works once: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let toml = fs::read_to_string(place.toml()).unwrap();
    let address = toml.split("[admin]").nth(1).unwrap().split('"').nth(1).unwrap().to_owned();
    let key = place.path("alice.key");
    let admin = |act: &[&str], stdin: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(["admin", "--json", "--url", &format!("http://{address}"), "--key-file"])
            .arg(&key)
            .args(act)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), said(&output))
    };
    let (ok, out) = admin(&["bootstrap", "--name", "alice"], code);
    assert!(ok, "{out}");

    // Nothing was changed; a key and a file were; something cannot be.
    let (ok, out) = admin(&["reload"], "");
    assert!(ok && out.contains(r#"{"reloaded":{"changed":[]}}"#), "{out}");
    fs::write(place.toml(), replaced(&toml, "#patients = 500", "patients = 77")).unwrap();
    let anchors = place.path("w/community/anchors.pem");
    let text = fs::read_to_string(&anchors).unwrap();
    fs::write(&anchors, format!("{text}\n")).unwrap();
    let (ok, out) = admin(&["reload"], "");
    assert!(ok && out.contains("detection.patients"), "{out}");
    let bad = replaced(&toml, "#page_max = 200", "page_max = 100");
    fs::write(place.toml(), replaced(&bad, "#tls12 = false", "tls12 = true")).unwrap();
    let (ok, out) = admin(&["reload"], "");
    let why = ["limits.page_max", "restart", "nothing was changed"];
    assert!(!ok && why.iter().all(|word| out.contains(word)), "{out}");
    fs::write(place.toml(), replaced(&toml, COMMUNITY, "not a uri")).unwrap();
    let (ok, out) = admin(&["reload"], "");
    assert!(!ok && out.contains("community[0].uri"), "{out}");
    assert_eq!(place.discover().await.0, 200);

    // The log knows who; a name of a community in it was never served.
    serving.signal("-TERM");
    let ended = tokio::task::spawn_blocking(move || serving.child.wait());
    assert!(ended.await.unwrap().unwrap().success());
    let reader = Reader::open_dir(&place.path("w/data/log"), None).unwrap();
    let leaves = (0..reader.size()).map(|index| reader.leaf(index).unwrap());
    let by: Vec<_> = leaves
        .filter(|leaf| leaf.kind == EventKind::Operator && leaf.action.contains("reload"))
        .map(|leaf| (leaf.actor.operator.unwrap().into_owned(), leaf.rule.is_some()))
        .collect();
    assert_eq!(by, [false, false, true, true].map(|refused| ("alice".to_owned(), refused)));
}

/// With a key lost, the other officer can neither remove its owner nor make another: who sits at the machine can.
#[tokio::test(flavor = "multi_thread")]
async fn lost_keys_are_mended_at_the_machine() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    let toml = fs::read_to_string(place.toml()).unwrap();
    let address = toml.split("[admin]").nth(1).unwrap().split('"').nth(1).unwrap().to_owned();
    let become_officer = |name: &str, code: &str| {
        let key = place.path(&format!("{name}.key"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(["admin", "--url", &format!("http://{address}"), "--key-file"])
            .arg(&key)
            .args(["bootstrap", "--name", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), said(&output))
    };
    let code_of = |text: &str| {
        text.split("works once: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    for (name, options) in [("alice", &[][..]), ("zoe", &["--recover-operators"])] {
        let mut serving = Serving::start_with(&place, options).await;
        serving.until("works once: ").await;
        let code = code_of(&serving.said());
        let (ok, out) = become_officer(name, &code);
        assert!(ok && out.contains("security-officer"), "{out}");
        let (ok, out) = become_officer("mallory", &code);
        assert!(!ok, "once: {out}");
        serving.signal("-TERM");
        let ended = tokio::task::spawn_blocking(move || serving.child.wait());
        assert!(ended.await.unwrap().unwrap().success());
    }
    // Without being asked for, there is no code once there is an operator.
    let mut serving = Serving::start(&place).await;
    serving.until("admin listener").await;
    assert!(!serving.said().contains("works once"), "{}", serving.said());
    let reader = Reader::open_dir(&place.path("w/data/log"), None).unwrap();
    let actions: Vec<String> = (0..reader.size())
        .map(|index| reader.leaf(index).unwrap())
        .filter(|leaf| leaf.kind == EventKind::Operator && leaf.rule.is_none())
        .map(|leaf| leaf.action)
        .filter(|action| action.contains("offered") || action.contains("bootstrapped"))
        .collect();
    let wanted = ["bootstrap-offered", "bootstrapped", "recovery-offered", "bootstrapped"];
    assert_eq!(actions, wanted);
}

/// Two communities below one root: told apart by who issues, or refused with the way out.
#[tokio::test(flavor = "multi_thread")]
async fn communities_that_share_a_root_say_who_issues() {
    let mut pki = Pki::start().await;
    let place = Place::init("http://127.0.0.1:9");
    place.join(&mut pki);
    let toml = fs::read_to_string(place.toml()).unwrap();
    let second = |issuing: &str| {
        format!(
            "\n[[community]]\nuri = \"https://second.example/trust\"\nanchors = \"community/anchors.pem\"\n\
             certificate = \"community/certificate.pem\"\nkey = \"community/key.pem\"\n{issuing}"
        )
    };
    let offline = || said(&ward(&["check", "--offline", "--config", &place.config()]));
    fs::write(place.toml(), toml.clone() + &second("")).unwrap();
    let report = offline();
    assert!(report.contains("shares a root") && report.contains("issuing"), "{report}");
    // The first community's authority, and one of the second's own.
    let first = pki.client("https://nobody.example/app").chain[1].clone();
    let own = pki.authority(By::Root, "Second issuing", |_| {}).der;
    fs::write(place.path("w/community/first.pem"), pem(&[first])).unwrap();
    fs::write(place.path("w/community/second.pem"), pem(&[own])).unwrap();
    let one = "[[community]]\nissuing = \"community/first.pem\"";
    let both =
        replaced(&toml, "[[community]]", one) + &second("issuing = \"community/second.pem\"\n");
    fs::write(place.toml(), &both).unwrap();
    let report = offline();
    assert!(!report.contains("shares a root") && !report.contains("issuing"), "{report}");
    // A prefix that is also the beginning of another name.
    let half = both + "uri_prefixes = [\"https://clinic.example\"]\n";
    fs::write(place.toml(), half).unwrap();
    let report = offline();
    assert!(report.contains("community[1].uri_prefixes"), "{report}");
}

/// Nothing is asked where nobody can answer, and a passphrase takes the place of the key file.
#[test]
fn init_without_a_terminal_says_what_is_missing() {
    let dir = TempDir::new("init");
    let place = dir.0.join("w");
    let place = place.to_str().unwrap();
    let missing = ward(&["init", place]);
    assert!(
        !missing.status.success() && said(&missing).contains("--origin is missing"),
        "{}",
        said(&missing)
    );
    let origin =
        ["--origin", "https://ward.example.org", "--upstream", "https://fhir.example.org/r4"];
    let given = |more: &[&str]| ward(&[&["init", place][..], &origin, more].concat());
    let bad = given(&["--community", "our community"]);
    assert!(!bad.status.success() && said(&bad).contains("which is no URI"), "{}", said(&bad));
    let bad = ward(&[
        "init",
        place,
        "--origin",
        "http://ward.example.org",
        "--upstream",
        "x",
        "--community",
        COMMUNITY,
    ]);
    let text = said(&bad);
    assert!(text.contains("write https://") && text.contains("no http or https URL"), "{text}");
    assert!(!dir.0.join("w").exists(), "a refused run leaves nothing behind");

    let secret = dir.0.join("passphrase");
    fs::write(&secret, "correct horse battery staple\n").unwrap();
    let made = given(&["--community", COMMUNITY, "--passphrase-file", secret.to_str().unwrap()]);
    assert!(made.status.success(), "{}", said(&made));
    assert!(!dir.0.join("w/vault.key").exists() && !dir.0.join("w/tls/key.pem").exists());
    let config = dir.0.join("w/ward.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(
        text.contains("passphrase_file = ") && text.contains("\nallow_private = false"),
        "{text}"
    );
    let checked = ward(&["check", "--offline", "--config", config.to_str().unwrap()]);
    let report = said(&checked);
    assert!(report.contains("keys.passphrase_file") && report.contains("chmod 600"), "{report}");
}
