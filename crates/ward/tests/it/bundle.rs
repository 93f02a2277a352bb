//! Trust bundles over sockets (PKI-16, issue 4 Build 4): a member follows its community through a change of root while a partner keeps
//! reading; what a lying or broken host serves is refused and told; when the last bundle ends, the door closes as stated.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use ward_audit::Reader;
use ward_core::{Clock as _, CommunityUri, EventKind, SystemClock};
use ward_trust::{Bundle, Certificate};

use crate::pki::authorities::{By, depth};
use crate::pki::{COMMUNITY, Leaf, Member, Pki};
use crate::place::{Place, Serving, free_port, pem, replaced, said, sandbox, ward};

const PLACE: &str = "/bundle.jwt";

fn certificate(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

/// A bundle that begins now and is good for an hour.
pub fn bundle(sequence: u64, anchors: &[&[u8]], intermediates: &[&[u8]]) -> Bundle {
    let now = SystemClock.now();
    Bundle {
        community: CommunityUri::parse(COMMUNITY).unwrap(),
        sequence,
        issued: now,
        not_before: now.minus(Duration::from_secs(5)),
        expires: now.plus(Duration::from_hours(1)),
        anchors: anchors.iter().map(|der| certificate(der)).collect(),
        intermediates: intermediates.iter().map(|der| certificate(der)).collect(),
        revocation: vec![],
        purposes: vec!["TREAT".to_owned()],
        organization_schemes: vec!["https:".to_owned()],
        certifications: vec![],
        certifiers: vec![],
        value_sets: ward_trust::context::ValueSets::default(),
    }
}

pub fn publish(pki: &Pki, bundle: &Bundle, speaker: &Member) {
    pki.put_file(PLACE, bundle.sign(&speaker.identity).unwrap().into_bytes());
}

/// A deployment that follows the bundle of its community.
pub fn following(pki: &mut Pki, upstream: &str) -> Place {
    let place = Place::init(upstream);
    place.join(pki);
    let url = pki.url(PLACE);
    place.edit(|text| {
        let anchors = "anchors = \"community/anchors.pem\"";
        let text = replaced(&text, anchors, &format!("{anchors}\nbundle = \"{url}\""));
        let often = "tokens_per_client_per_minute = 100000";
        let text = replaced(&text, "#tokens_per_client_per_minute = 60", often);
        replaced(&text, "#bundle_interval = \"15m\"", "bundle_interval = \"200ms\"")
    });
    place
}

/// A partner with a key of its own, as `ward client` knows it.
struct Partner {
    pair: KeyPair,
    uri: String,
    certificate: PathBuf,
    arguments: Vec<String>,
}

impl Partner {
    fn new(place: &Place, name: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let file = |suffix: &str| place.path(&format!("{name}.{suffix}"));
        let key = file("key");
        fs::write(&key, pair.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let arguments = vec![
            "--base".into(),
            place.base.clone(),
            "--community-uri".into(),
            COMMUNITY.into(),
            "--anchor".into(),
            text(place.path("w/community/anchors.pem")),
            "--tls-ca".into(),
            text(place.path("w/tls/certificate.pem")),
            "--allow-private".into(),
            "--certificate".into(),
            text(file("pem")),
            "--key".into(),
            text(key),
            "--state".into(),
            text(file("json")),
            "--json".into(),
        ];
        let uri = format!("https://{name}.example/app");
        Self { pair, uri, certificate: file("pem"), arguments }
    }

    /// Takes the certificate that this authority issues.
    fn certify(&self, pki: &mut Pki, by: By<'_>, above: &[&[u8]]) {
        let chain = pki.certify_by(by, &Leaf::client(&self.uri), &self.pair, above);
        let next = self.certificate.with_extension("next");
        fs::write(&next, pem(&chain)).unwrap();
        fs::rename(next, &self.certificate).unwrap();
    }

    fn run(&self, command: &[&str], more: &[&str]) -> (bool, String) {
        let common = self.arguments.iter().map(String::as_str);
        let all: Vec<&str> =
            command.iter().copied().chain(common).chain(more.iter().copied()).collect();
        let output = ward(&all);
        (output.status.success(), said(&output))
    }

    fn register(&self) -> (bool, String) {
        let scope = "system/Patient.rs system/Practitioner.rs";
        let contact = "mailto:ops@partner.example";
        // A client that was refused for its certificate does not show it again by itself.
        let again = "--again";
        self.run(&["client", "register"], &["--scope", scope, "--contact", contact, again])
    }

    fn read(&self) -> (bool, String) {
        let (done, text) = self.run(
            &["client", "get", "Practitioner?_count=1"],
            &["--organization", "https://partner.example/org"],
        );
        (done && text.contains("\"status\":200") | text.contains("\"status\": 200"), text)
    }
}

fn kept(place: &Place) -> Value {
    let dir = fs::read_dir(place.path("w/data/bundles")).unwrap();
    let file = dir.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some());
    serde_json::from_slice(&fs::read(file.unwrap()).unwrap()).unwrap()
}

/// How many such events the log holds.
fn events(place: &Place, kind: EventKind, action: &str) -> usize {
    let reader = Reader::open_dir(&place.path("w/data/log"), None).unwrap();
    let leaves = (0..reader.size()).map(|index| reader.leaf(index).unwrap());
    leaves.filter(|leaf| leaf.kind == kind && leaf.action == action).count()
}

/// COMM-16, COMM-20, COMM-21.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_follows_its_community_to_a_new_root_while_a_partner_keeps_reading() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = following(&mut pki, &upstream.base_url);
    let root = pki.root_der();
    let speaker = pki.client(COMMUNITY);
    publish(&pki, &bundle(1, &[&root], &[]), &speaker);
    let mut serving = Serving::start(&place).await;
    serving.until("sequence=1 ").await;

    let partner = Arc::new(Partner::new(&place, "partner"));
    partner.certify(&mut pki, By::Issuing, &[]);
    let (done, text) = partner.register();
    assert!(done, "{text}");
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reading = {
        let (partner, stop, reads) = (partner.clone(), stop.clone(), reads.clone());
        tokio::task::spawn_blocking(move || {
            while !stop.load(Ordering::SeqCst) {
                let (done, text) = partner.read();
                assert!(done, "after {} reads: {text}", reads.load(Ordering::SeqCst));
                reads.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let some_reads = async || {
        let from = reads.load(Ordering::SeqCst);
        for _ in 0..3000 {
            if reads.load(Ordering::SeqCst) >= from + 2 || reading.is_finished() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no reads");
    };
    some_reads().await;

    // A new root that nobody vouches for is refused; with the old root's word both are live.
    let next = pki.another_root("Next Root", |params| depth(params, 1));
    let issuing = pki.authority(By::Other(&next), "Next Issuing", |_| {});
    let newcomer = Partner::new(&place, "newcomer");
    newcomer.certify(&mut pki, By::Other(&issuing), &[&issuing.der]);
    publish(&pki, &bundle(2, &[&root, &next.der], &[]), &speaker);
    serving.until("for which no anchor in force vouches").await;
    assert!(!newcomer.register().0, "the new root is not in force");
    let cross = pki.certified_again(&next, "Next Root", By::Root);
    let second = bundle(2, &[&root, &next.der], &[&cross, &issuing.der]);
    let second = second.sign(&speaker.identity).unwrap().into_bytes();
    pki.put_file(PLACE, second.clone());
    serving.until("sequence=2 ").await;
    let (done, text) = newcomer.register();
    assert!(done, "{text}");
    some_reads().await;

    // The partner renews below the new root, and the old one goes; the bundle that says so is signed below the new one.
    partner.certify(&mut pki, By::Other(&issuing), &[&issuing.der]);
    some_reads().await;
    let speaker_next = pki.client_by(By::Other(&issuing), COMMUNITY, &[&issuing.der], |_| {});
    publish(&pki, &bundle(3, &[&next.der], &[&issuing.der]), &speaker_next);
    serving.until("sequence=3 ").await;
    some_reads().await;
    let late = Partner::new(&place, "late");
    late.certify(&mut pki, By::Issuing, &[]);
    assert!(!late.register().0, "the old root is out");

    // A host that serves the older bundle again is refused, told, and after a restart too.
    pki.put_file(PLACE, second);
    serving.until("ROLL-BACK").await;
    some_reads().await;
    stop.store(true, Ordering::SeqCst);
    reading.await.unwrap();
    assert!(newcomer.read().0);
    assert!(!late.register().0, "still out");
    serving.signal("-TERM");
    serving.until("Ward is down").await;
    drop(serving);
    let kept = kept(&place);
    assert!(kept["previous"].is_string() && kept["current"] != kept["previous"], "{kept}");
    let mut serving = Serving::start(&place).await;
    serving.until("ROLL-BACK").await;
    assert!(newcomer.read().0);
    assert!(!late.register().0, "still out after a restart");
    serving.signal("-TERM");
    serving.until("Ward is down").await;

    assert_eq!(events(&place, EventKind::Operator, "bundle-taken"), 3);
    // Unvouched, rolled back, and rolled back after the restart: once each, however often it was pulled.
    assert_eq!(events(&place, EventKind::Community, "bundle-refused"), 3);
}

async fn readiness(place: &Place) -> Value {
    let toml = fs::read_to_string(place.toml()).unwrap();
    let address = toml.split("[admin]").nth(1).unwrap().split('"').nth(1).unwrap().to_owned();
    let answer = crate::ops::ask(address.parse().unwrap(), "GET", "/readyz", "", "").await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// What is refused changes nothing and says why; when the bundle ends nobody new gets in, those who are in go on for the grace, and a
/// newer bundle mends it.
#[tokio::test(flavor = "multi_thread")]
async fn refused_bundles_change_nothing_and_an_ended_one_closes_the_door() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = following(&mut pki, &upstream.base_url);
    let root = pki.root_der();
    let speaker = pki.client(COMMUNITY);
    let partner = Partner::new(&place, "partner");
    partner.certify(&mut pki, By::Issuing, &[]);
    let revoked = pki.client(COMMUNITY);
    pki.revoke(&revoked);

    // Until the first one comes, the configured anchors are in force.
    let mut serving = Serving::start(&place).await;
    serving.until("the server answers 404").await;
    let (done, text) = partner.register();
    assert!(done, "{text}");
    publish(&pki, &bundle(5, &[&root], &[]), &speaker);
    serving.until("sequence=5 ").await;

    let impostor = pki.impostor(&Leaf::client(COMMUNITY));
    let member = pki.client("https://member.example/app");
    let signed = |edit: &dyn Fn(&mut Bundle), by: &Member| {
        let mut one = bundle(6, &[&root], &[]);
        edit(&mut one);
        one.sign(&by.identity).unwrap().into_bytes()
    };
    let other = CommunityUri::parse("https://other.example/").unwrap();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("no signed document", b"<html>Welcome to the network</html>".to_vec()),
        ("larger than", vec![b'a'; 300 * 1024]),
        ("signer is not trusted", signed(&|_| {}, &impostor)),
        ("not signed by the community itself", signed(&|_| {}, &member)),
        ("another community", signed(&|one| one.community = other.clone(), &speaker)),
        ("same number", signed(&|one| one.sequence = 5, &speaker)),
        ("no anchors", signed(&|one| one.anchors.clear(), &speaker)),
        (
            "demands the certification",
            signed(
                &|one| one.certifications.push("https://cert.example/gold".to_owned()),
                &speaker,
            ),
        ),
        ("a certificate is revoked", signed(&|_| {}, &revoked)),
    ];
    for (word, document) in rows {
        serving.hush();
        pki.put_file(PLACE, document);
        serving.until(word).await;
        assert!(!serving.said().contains("is in force"), "{}", serving.said());
    }
    assert!(partner.read().0);
    assert_eq!(readiness(&place).await["components"]["bundles"]["ok"], json!(true));

    // The last bundle ends; nothing newer comes. On a busy machine one may have ended before it was looked at: the next lives longer.
    let mut sequence = 6;
    for life in [4, 16, 64] {
        let mut short = bundle(sequence, &[&root], &[]);
        short.expires = SystemClock.now().plus(Duration::from_secs(life));
        serving.hush();
        publish(&pki, &short, &speaker);
        let taken = format!("sequence={sequence} ");
        while !serving.said().contains(&taken) && SystemClock.now() < short.expires {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if serving.said().contains(&taken) {
            break;
        }
        sequence += 1;
    }
    serving.until("the bundle has ended").await;
    let report = readiness(&place).await;
    assert_eq!(report["components"]["bundles"]["ok"], json!(false), "{report}");
    let late = Partner::new(&place, "late");
    late.certify(&mut pki, By::Issuing, &[]);
    let (done, text) = late.register();
    assert!(!done && text.contains("503"), "{text}");
    fs::remove_file(place.path("partner.json")).ok();
    let (done, text) = partner.register();
    assert!(!done && text.contains("503"), "a registration again is none within the grace: {text}");

    publish(&pki, &bundle(sequence + 1, &[&root], &[]), &speaker);
    serving.until(&format!("sequence={} ", sequence + 1)).await;
    assert_eq!(readiness(&place).await["components"]["bundles"]["ok"], json!(true));
    let (done, text) = late.register();
    assert!(done, "{text}");
    assert!(late.read().0);
}

/// The operator's commands make what a member follows: from `ward community` to a registered partner, and to the next bundle.
/// COMM-02, COMM-18, COMM-20.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_follows_what_ward_community_publishes() {
    let upstream = sandbox().await;
    let place = Place::init(&upstream.base_url);
    let port = free_port();
    let public = format!("http://127.0.0.1:{port}");
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let dir = path("c");
    let community = |arguments: &[&str]| {
        let output = ward(&[&["community"], arguments].concat());
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    community(&["init", &dir, "--uri", COMMUNITY, "--public", &public]);
    let (request, chain) = (path("w/community/request.pem"), path("w/community/certificate.pem"));
    community(&[
        "issue",
        &dir,
        "--request",
        &request,
        "--profile",
        "server",
        "--uri",
        &place.base,
        "--out",
        &chain,
    ]);
    fs::copy(place.path("c/root.pem"), place.path("w/community/anchors.pem")).unwrap();
    let told = community(&["bundle", "publish", &dir, "--days", "30"]);
    assert!(told.contains("bundle 1") && told.contains("/bundle.jwt"), "{told}");
    let told = community(&["directory", "publish", &dir]);
    assert!(told.contains("2 entries"), "{told}");
    let listen = format!("127.0.0.1:{port}");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ward"))
        .args(["community", "serve", &dir, "--listen", &listen])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert!(line.contains("serving"), "{line}");

    place.edit(|text| {
        let anchors = "anchors = \"community/anchors.pem\"";
        let text =
            replaced(&text, anchors, &format!("{anchors}\nbundle = \"{public}/bundle.jwt\""));
        let private = format!("allow_private = [\"{listen}\"]");
        let text = replaced(&text, "#allow_private = []", &private);
        replaced(&text, "#bundle_interval = \"15m\"", "bundle_interval = \"200ms\"")
    });
    let mut serving = Serving::start(&place).await;
    serving.until("sequence=1 ").await;
    community(&["bundle", "publish", &dir]);
    serving.until("sequence=2 ").await;

    // COMM-05: what each server must support at least; who lacks it is told, by itself and by `ward check`.
    let lacking = "system/Claim.rs";
    community(&["bundle", "publish", &dir, "--scope", lacking, "--scope", "system/Patient.rs"]);
    serving.until("asks its servers for scopes").await;
    serving.until("sequence=3 ").await;
    let warned = place.check().1.to_string();
    assert!(warned.contains(&format!("support {lacking}, and this one does not")), "{warned}");
    community(&["bundle", "publish", &dir, "--role", "urn:roles#", "--consent-policy", "urn:p:1"]);
    serving.until("sequence=4 ").await;
    assert!(!place.check().1.to_string().contains("and this one does not"), "COMM-05");

    let to = listen.parse().unwrap();
    let directory = crate::ops::ask(to, "GET", "/directory.json", "", "").await;
    assert_eq!(directory.header("content-type"), Some("application/fhir+json"));
    let directory = directory.json();
    let endpoint = directory["entry"].as_array().unwrap().iter().find_map(|entry| {
        let resource = &entry["resource"];
        (resource["resourceType"] == "Endpoint").then(|| resource["address"].clone())
    });
    assert_eq!(endpoint, Some(json!(place.base)));
    // No member can be the community: whoever had its URI would sign the next bundle.
    community(&["request", "--uri", COMMUNITY, "--out", &path("m")]);
    let refused = ward(&[
        "community",
        "issue",
        &dir,
        "--request",
        &path("m/request.pem"),
        "--profile",
        "client",
        "--uri",
        COMMUNITY,
        "--out",
        &path("m/certificate.pem"),
    ]);
    assert!(
        !refused.status.success() && said(&refused).contains("the community itself"),
        "{}",
        said(&refused)
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A bundle that demands a certification is followed (CRT-02): from then on nobody registers or gets a token without, whoever it
/// names may certify, and no member can.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_demands_a_certification_is_followed() {
    const CERTIFIER: &str = "https://community.example/certifications";
    const GOLD: &str = "https://community.example/programmes/gold";
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = following(&mut pki, &upstream.base_url);
    let root = pki.root_der();
    let speaker = pki.client(COMMUNITY);
    let (certifier, member) = (pki.client(CERTIFIER), pki.client("https://member.example/app"));
    let partner = Partner::new(&place, "partner");
    partner.certify(&mut pki, By::Issuing, &[]);
    publish(&pki, &bundle(1, &[&root], &[]), &speaker);
    let mut serving = Serving::start(&place).await;
    serving.until("sequence=1 ").await;
    let (done, text) = partner.register();
    assert!(done && partner.read().0, "{text}");

    let mut demanding = bundle(2, &[&root], &[]);
    demanding.certifications = vec![GOLD.to_owned()];
    demanding.certifiers = vec![CERTIFIER.to_owned()];
    publish(&pki, &demanding, &speaker);
    serving.until("sequence=2 ").await;
    // A token of before may still live; a new one is not had.
    let token = |partner: &Partner| {
        let to = place.path("again.txt");
        let to = to.to_str().unwrap();
        partner.run(
            &["client", "token"],
            &["--organization", "https://partner.example/org", "--to", to],
        )
    };
    let (done, text) = token(&partner);
    assert!(!done && text.contains("unauthorized_client"), "{text}");
    let certified = |by: &Member, iss: &str| {
        let now = SystemClock.now().as_seconds();
        let claims = json!({
            "iss": iss, "sub": partner.uri, "jti": format!("gold-{iss}"), "iat": now, "exp": now + 86_400,
            "certification_name": "Gold", "certification_uris": [GOLD],
            "certification_issuer": "The Community", "grant_types": ["client_credentials"],
        });
        let file = place.path(&format!("{}.jwt", by.serial));
        fs::write(&file, by.identity.sign(by.identity.alg(), &claims).unwrap()).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let register = |file: &str| {
        let scope = "system/Patient.rs system/Practitioner.rs";
        let contact = "mailto:ops@partner.example";
        let more = ["--scope", scope, "--contact", contact, "--again", "--certification", file];
        partner.run(&["client", "register"], &more)
    };
    let (done, text) = register(&certified(&member, "https://member.example/app"));
    assert!(!done && text.contains("unapproved_certification"), "{text}");
    let (done, text) = register(&certified(&certifier, CERTIFIER));
    assert!(done, "{text}");
    let (done, text) = token(&partner);
    assert!(done && partner.read().0, "{text}");
    serving.signal("-TERM");
    serving.until("Ward is down").await;
}
