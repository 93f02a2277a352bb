//! `ward check`: what is wrong with a deployment, said in plain words with the way to mend it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use ward_core::{BoxFuture, Limits};
use ward_net::http::Body;
use ward_net::server::{Handler, Peer, Running, Server};

use crate::pki::{Key, Leaf, Pki};
use crate::place::{Place, Serving, as_partner, free_port, pem, replaced, said, sandbox, ward};

/// A server with one fault.
struct Scripted {
    metadata: (u16, Value),
    search: (u16, Value),
    strict: bool,
}

impl Handler for Scripted {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        let uri = request.uri().to_string();
        let (status, body) = if uri.ends_with("/metadata") {
            self.metadata.clone()
        } else if uri.contains("no-such-parameter") && self.strict {
            (400, json!({ "resourceType": "OperationOutcome" }))
        } else {
            self.search.clone()
        };
        let status = StatusCode::from_u16(status).unwrap();
        let body = ward_net::http::full(body.to_string());
        let answer = ward_net::http::respond(status, "application/fhir+json", body);
        Box::pin(async move { answer })
    }
}

fn statement(version: &str) -> Value {
    json!({ "resourceType": "CapabilityStatement", "fhirVersion": version, "rest": [{ "mode": "server", "resource": [
        { "type": "Patient", "searchParam": [{ "name": "_id" }] },
        { "type": "Observation", "searchParam": [{ "name": "subject" }, { "name": "patient" }] },
        { "type": "Immunization", "searchParam": [{ "name": "date" }] },
    ] }] })
}

fn page(next: &str) -> Value {
    json!({ "resourceType": "Bundle", "type": "searchset", "link": [{ "relation": "next", "url": next }] })
}

async fn scripted(script: impl FnOnce(&str) -> Scripted) -> (String, Running) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let handler = Arc::new(script(&base));
    let running = Server::start(listener, None, handler, Arc::new(Limits::default())).unwrap();
    (base, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_with_an_upstream() {
    type Case = (&'static str, fn(&str) -> Scripted, &'static str, &'static str);
    let good = |base: &str| Scripted {
        metadata: (200, statement("4.0.1")),
        search: (200, page(&format!("{base}?_getpages=1"))),
        strict: true,
    };
    let cases: &[Case] = &[
        (
            "R5",
            |b| Scripted {
                metadata: (200, statement("5.0.0")),
                search: (200, page(b)),
                strict: true,
            },
            "error",
            "does not guard yet",
        ),
        (
            "R4B",
            |b| Scripted {
                metadata: (200, statement("4.3.0")),
                search: (200, page(b)),
                strict: true,
            },
            "error",
            "R4B",
        ),
        (
            "lenient",
            |b| Scripted {
                metadata: (200, statement("4.0.1")),
                search: (200, page(&format!("{b}?p=2"))),
                strict: false,
            },
            "warning",
            "Ward judges every record",
        ),
        (
            "paging astray",
            |_| Scripted {
                metadata: (200, statement("4.0.1")),
                search: (200, page("http://fhir.internal/baseR4?p=2")),
                strict: true,
            },
            "error",
            "http://fhir.internal/baseR4",
        ),
        (
            "one page",
            |_| Scripted {
                metadata: (200, statement("4.0.1")),
                search: (200, json!({ "resourceType": "Bundle" })),
                strict: true,
            },
            "note",
            "fewer than two patients",
        ),
        (
            "closed",
            |_| Scripted { metadata: (401, json!({})), search: (401, json!({})), strict: true },
            "error",
            "upstream.authorization_file",
        ),
        (
            "elsewhere",
            |_| Scripted { metadata: (404, json!({})), search: (404, json!({})), strict: true },
            "error",
            "the part before /metadata",
        ),
        (
            "no FHIR",
            |_| Scripted {
                metadata: (200, json!({ "hello": "world" })),
                search: (200, json!({})),
                strict: true,
            },
            "error",
            "no CapabilityStatement",
        ),
        ("wide", good, "warning", "Immunization by patient"),
    ];
    for (name, script, level, word) in cases {
        let (base, _server) = scripted(script).await;
        let place = Place::init(&base);
        let (_, report) = place.check();
        let findings = report["findings"].as_array().unwrap();
        let hit = findings.iter().find(|finding| finding.to_string().contains(word));
        let hit = hit.unwrap_or_else(|| panic!("{name}: no {word:?} in {report:#}"));
        assert_eq!(
            (&hit["level"], &hit["about"]),
            (&json!(level), &json!("upstream")),
            "{name}: {hit}"
        );
        assert!(
            *level == "note" || hit["mend"].as_str().is_some_and(|mend| !mend.is_empty()),
            "{name}: {hit}"
        );
    }
    // Records for everybody: on this machine it is a note, elsewhere whoever reaches it needs no Ward.
    for (host, level) in [("127.0.0.1", "note"), ("0.0.0.0", "warning")] {
        let (base, _server) = scripted(|_| Scripted {
            metadata: (200, statement("4.0.1")),
            search: (200, json!({ "resourceType": "Bundle", "entry": [{ "resource": {} }] })),
            strict: true,
        })
        .await;
        let place = Place::init(&base);
        place.edit(|text| replaced(&text, &base, &base.replace("127.0.0.1", host)));
        let (_, report) = place.check();
        let findings = report["findings"].as_array().unwrap();
        let mut open =
            findings.iter().filter(|one| one.to_string().contains("without credentials"));
        let found = open.next().unwrap_or_else(|| panic!("{host}: {report:#}"));
        assert_eq!(
            (&found["level"], &found["about"]),
            (&json!(level), &json!("upstream")),
            "{found}"
        );
        assert!(open.next().is_none(), "{report:#}");
    }
    // Nobody there, and nobody that may be called.
    let place = Place::init(&format!("http://127.0.0.1:{}/fhir", free_port()));
    assert!(place.check().1.to_string().contains("start it, and check host"));
    place.edit(|text| replaced(&text, "allow_private = true", "allow_private = false"));
    assert!(place.check().1.to_string().contains("set upstream.allow_private = true"));
}

/// Over TLS of an authority that only `ca` names, and with an account of Ward's own.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_behind_tls_and_a_password_is_reached() {
    struct Closed(Scripted, Arc<Mutex<&'static str>>);
    impl Handler for Closed {
        fn handle(&self, request: Request<Incoming>, peer: Peer) -> BoxFuture<'_, Response<Body>> {
            let secret = *self.1.lock().unwrap();
            let known = request.headers().get("authorization").is_some_and(|v| v == secret);
            if known {
                return self.0.handle(request, peer);
            }
            Box::pin(async { ward_net::http::text(StatusCode::UNAUTHORIZED, "who?") })
        }
    }
    let (root, chain, key) = crate::pki::tls();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://localhost:{}/fhir", listener.local_addr().unwrap().port());
    let tls = ward_net::tls::server_config(&chain, &key, ward_net::tls::TlsVersions::default());
    let script = Scripted {
        metadata: (200, statement("4.0.1")),
        search: (200, json!({ "resourceType": "Bundle", "type": "searchset" })),
        strict: true,
    };
    let wanted = Arc::new(Mutex::new("Bearer of-ward"));
    let handler = Arc::new(Closed(script, wanted.clone()));
    let tls = Some(ward_net::tls::TlsReload::new(tls.unwrap()));
    let _server = Server::start(listener, tls, handler, Arc::new(Limits::default())).unwrap();

    let place = Place::init(&base);
    let report = place.check().1.to_string();
    assert!(report.contains("set upstream.ca"), "{report}");
    fs::write(place.path("w/ca.pem"), pem(&[root])).unwrap();
    place.edit(|text| replaced(&text, "#ca =", "ca = \"ca.pem\""));
    let report = place.check().1.to_string();
    assert!(report.contains("wants to know who asks"), "{report}");
    fs::write(place.path("w/secret"), "Bearer of-ward\n").unwrap();
    fs::set_permissions(place.path("w/secret"), fs::Permissions::from_mode(0o644)).unwrap();
    place.edit(|text| replaced(&text, "#authorization_file =", "authorization_file = \"secret\""));
    let report = place.check().1.to_string();
    assert!(report.contains("chmod 600") && !report.contains("of-ward"), "{report}");
    fs::set_permissions(place.path("w/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let report = place.check().1.to_string();
    assert!(report.contains("fewer than two patients") && !report.contains("of-ward"), "{report}");
    assert!(report.contains("gives nothing to callers without credentials"), "{report}");

    // And by the gateway, for a partner that knows nothing of either.
    let mut pki = Pki::start().await;
    place.join(&mut pki);
    let mut serving = Serving::start(&place).await;
    let partner = place.partner(&mut pki);
    let run = |words: &[&str], more: &[&str]| as_partner(&partner, words, more);
    let scope = ["--scope", "system/Practitioner.rs", "--contact", "mailto:ops@partner.example"];
    run(&["client", "register"], &scope);
    let organization = ["--organization", "https://partner.example/org"];
    let read = || run(&["client", "get", "Practitioner?_count=1"], &organization);
    let first = read();
    assert_eq!(first["status"], 200, "{first}\n{}", serving.said());

    // Other credentials are taken up by themselves. What is none is said, and the last good ones go on; what is
    // wrong with a certificate does not keep them back.
    let write = |text: &str| fs::write(place.path("w/secret"), text).unwrap();
    fs::copy(place.path("w/tls/key.pem"), place.path("old.pem")).unwrap();
    write("of-ward-without-scheme\n");
    serving
        .until("renewed credentials for the FHIR server are not usable, the old ones stay")
        .await;
    assert_eq!(read()["status"], 200, "{}", serving.said());
    fs::write(place.path("w/tls/key.pem"), "none").unwrap();
    serving.until("renewed certificates are not usable").await;
    *wanted.lock().unwrap() = "Bearer of-ward-anew";
    let refused = read();
    assert!(refused["status"].as_u64().unwrap() >= 500, "{refused}");
    write("Bearer of-ward-anew\n");
    serving.until("renewed credentials for the FHIR server are in force").await;
    let again = read();
    assert_eq!(again["status"], 200, "{again}\n{}", serving.said());
    assert_eq!(serving.said().matches("are not usable").count(), 2, "{}", serving.said());
    assert!(!again.to_string().contains("of-ward") && !serving.said().contains("of-ward"));

    // The log knows of it, and not the secret.
    fs::copy(place.path("old.pem"), place.path("w/tls/key.pem")).unwrap();
    serving.until("renewed certificates are in force").await;
    serving.signal("-TERM");
    serving.until("Ward is down").await;
    let log = ward(&["log", "show", "--json", "--data", place.path("w/data").to_str().unwrap()]);
    let log = said(&log);
    assert_eq!(log.matches("credentials-renewed").count(), 1, "{log}");
    assert!(!log.contains("of-ward"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_with_a_community() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    let key = fs::read_to_string(place.path("w/community/key.pem")).unwrap();
    let certify = |pki: &mut Pki, leaf: Leaf| {
        let chain = pki.certify(&leaf, &KeyPair::from_pem(&key).unwrap());
        fs::write(place.path("w/community/certificate.pem"), pem(&chain)).unwrap();
    };
    let leaf = Leaf { key: Key::Rsa, ..Leaf::client(&place.base) };
    for (leaf, word) in [
        (Leaf { days: (-30, -1), ..leaf.clone() }, "ended on"),
        (Leaf { days: (-30, 5), ..leaf.clone() }, "in 4 days"),
        (
            Leaf { uris: vec!["https://other.example/fhir".into()], ..leaf.clone() },
            "has no SAN URI",
        ),
        (
            Leaf { usages: vec![rcgen::KeyUsagePurpose::KeyEncipherment], ..leaf.clone() },
            "may not sign",
        ),
    ] {
        certify(&mut pki, leaf);
        let (_, report) = place.check();
        assert!(report.to_string().contains(word), "{word}: {report:#}");
    }
    certify(&mut pki, leaf);
    let stranger = Pki::start().await;
    fs::write(place.path("w/community/anchors.pem"), pem(&[stranger.root_der()])).unwrap();
    let (good, report) = place.check();
    assert!(
        !good && report.to_string().contains("partners would refuse this server"),
        "{report:#}"
    );
    fs::write(place.path("w/community/anchors.pem"), pem(&[pki.root_der()])).unwrap();
    place.edit(|text| replaced(&text, &pki.lists_authority(), "127.0.0.1:1"));
    let (good, report) = place.check();
    assert!(!good && report.to_string().contains("this community's allow_private"), "{report:#}");
    // A key that others can read is refused.
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(place.path("w/community/key.pem"), open).unwrap();
    let (good, report) = place.check();
    assert!(!good && report.to_string().contains("chmod 600"), "{report:#}");
}
