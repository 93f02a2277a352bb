//! Whom the client believes, and by which of its certificates it is known (CLI-01..03, CLI-08, CLI-09, CLI-18).

use serde_json::json;

use super::*;
use crate::scripted::{decoded, run};

const OTHER: &str = "urn:oid:1.2.3.4#other";

/// CLI-01, CLI-02: asked for at the well-known place, with the community's name; 404 ends it.
#[tokio::test]
async fn discovery_asks_at_the_well_known_place_for_the_community() {
    let stage = Stage::raise().await;
    let found = stage.client("discover", &[]).await.json();
    assert_eq!(found["ok"], true, "{found}");
    let sent = one(&stage.at.seen(), "metadata");
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("GET", "/fhir/.well-known/udap"));
    assert_eq!(sent.query, "community=https%3A%2F%2Fcommunity.example%2Ftrust", "CLI-02");
    assert!(!sent.headers.contains_key("authorization"));
    stage.play(|_| Some(status(404)));
    for command in ["discover", "register"] {
        let more: &[&str] = if command == "register" { &CONTACT } else { &[] };
        let said = stage.client(command, more).await;
        assert_eq!(said.code(), 3, "CLI-01: a status of its own: {}", said.text());
        assert!(said.text().contains("does not support UDAP"), "{}", said.text());
        assert_eq!(stage.at.words(), ["metadata"], "CLI-01: no further call");
    }
}

/// For each community: by whose certificate the metadata are signed (0: the first's), or a status.
type Signed = [Result<usize, u16>; 2];

/// Two communities, the server in both, and a client with a certificate of each.
struct Both {
    stage: Stage,
    /// The server's certificate of the other community; it lives as long as its lists are served.
    other: Member,
    _other_pki: Pki,
    arguments: Vec<String>,
    state: String,
}

impl Both {
    async fn raise() -> Self {
        let stage = Stage::raise().await;
        let mut pki = Pki::start().await;
        let other = pki.issue(&Leaf { key: Key::Rsa, ..Leaf::client(&stage.at.base) });
        let files = Files::make(&mut pki, &stage.at, OTHER, CLIENT);
        for name in ["certificate.pem", "key.pem", "root.pem"] {
            let text = std::fs::read_to_string(files.path(name)).unwrap();
            stage.files.private(&format!("other-{name}"), &text);
        }
        let config = stage.files.private(
            "communities.toml",
            &format!(
                "tls_ca = \"tls.pem\"\nallow_private = [\"*\"]\n\
                 [[community]]\nuri = \"{COMMUNITY}\"\nanchors = [\"root.pem\"]\n\
                 certificate = \"certificate.pem\"\nkey = \"key.pem\"\n\
                 [[community]]\nuri = \"{OTHER}\"\nanchors = [\"other-root.pem\"]\n\
                 certificate = \"other-certificate.pem\"\nkey = \"other-key.pem\"\n"
            ),
        );
        let state = stage.files.path("state.json").to_str().unwrap().to_owned();
        let base = stage.at.base.clone();
        let arguments = ["--base", &base, "--config", &config, "--json"].map(ToOwned::to_owned);
        let arguments = [&arguments[..], &["--timeout", "120"].map(ToOwned::to_owned)].concat();
        Self { stage, other, _other_pki: pki, arguments, state }
    }

    async fn client(&self, command: &str, more: &[&str]) -> Said {
        let words = ["client", command].map(ToOwned::to_owned).to_vec();
        let mut more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        if command != "discover" {
            more.extend(["--state".to_owned(), self.state.clone()]);
        }
        run([words, self.arguments.clone(), more].concat()).await
    }

    /// The server answers so, and registers whom it approves.
    fn play(&self, signed: Signed, approves: &'static [usize]) {
        let documents = [&self.stage.server, &self.other]
            .map(|member| document_of(&self.stage.at, member, |_| (), &Map::new()));
        self.stage.play(move |sent| match sent.word().as_str() {
            "metadata" => {
                let name = decoded(sent.query.strip_prefix("community=").unwrap());
                let at = usize::from(name == OTHER);
                assert!(at == 1 || name == COMMUNITY, "CLI-02: {name}");
                Some(match signed[at] {
                    Ok(whose) => Response::new(full(documents[whose].clone())),
                    Err(code) => status(code),
                })
            }
            "register" => {
                let body: Value = serde_json::from_slice(&sent.body).unwrap();
                let jws = body["software_statement"].as_str().unwrap();
                let jws = Jws::parse(jws, &ward_core::Limits::default()).unwrap();
                let chain: Vec<_> = std::iter::once(jws.leaf()).chain(jws.extra()).collect();
                // The issuing authorities differ by key only.
                let whose = documents.iter().position(|document| {
                    let document: Value = serde_json::from_str(document).unwrap();
                    let theirs = document["signed_metadata"].as_str().unwrap();
                    let theirs = Jws::parse(theirs, &ward_core::Limits::default()).unwrap();
                    chain.iter().any(|ours| theirs.extra().contains(ours))
                });
                let whose = whose.unwrap();
                Some(if approves.contains(&whose) {
                    answer(201, &registered(&format!("in-{whose}")))
                } else {
                    answer(400, &json!({ "error": "unapproved_software_statement" }))
                })
            }
            _ => None,
        });
    }
}

/// CLI-02, CLI-03: of several communities the one is used that the server serves; metadata signed for another one that
/// the client is a member of are believed, those of a stranger are not.
#[tokio::test]
async fn the_community_is_the_one_that_both_are_members_of() {
    let both = Both::raise().await;
    let rows: [(Signed, Result<&str, i32>, usize); 6] = [
        ([Ok(0), Ok(1)], Ok(COMMUNITY), 1),
        ([Err(204), Ok(1)], Ok(OTHER), 2),
        ([Ok(1), Err(204)], Ok(OTHER), 1),
        ([Err(204), Err(204)], Err(4), 2),
        ([Err(404), Ok(1)], Err(3), 1),
        ([Err(500), Ok(1)], Err(1), 1),
    ];
    for (answers, wanted, asked) in rows {
        both.play(answers, &[0, 1]);
        let said = both.client("discover", &[]).await;
        let told = said.json();
        let found = match said.code() {
            0 => Ok(told["community"].as_str().unwrap()),
            code => Err(code),
        };
        assert_eq!(found, wanted, "CLI-03 {answers:?}: {told}");
        assert_eq!(both.stage.at.words(), vec!["metadata"; asked], "{answers:?}");
        if answers[0] == Err(204) {
            assert!(told["passed_over"].to_string().contains(COMMUNITY), "it says why: {told}");
        }
    }
    // With the first community alone, the other's signature is a stranger's (M20).
    both.play([Ok(1), Ok(1)], &[0, 1]);
    let said = both.stage.client("discover", &[]).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (5, Some("M10")));
    assert_eq!(both.stage.at.words(), ["metadata"], "CLI-03: stop");
}

/// CLI-18: after `unapproved_software_statement` the certificate of the next community is tried, each one once; what
/// came of it is what later commands use (CLI-15).
#[tokio::test]
async fn the_next_communitys_certificate_is_tried_once() {
    let both = Both::raise().await;
    both.play([Ok(0), Ok(1)], &[1]);
    let said = both.client("register", &CONTACT).await;
    let told = said.json();
    assert_eq!(said.code(), 0, "{told}");
    assert_eq!(
        (told["client_id"].as_str(), told["community"].as_str()),
        (Some("in-1"), Some(OTHER))
    );
    assert!(told["passed_over"].to_string().contains("unapproved_software_statement"), "{told}");
    assert_eq!(both.stage.at.words(), ["metadata", "register", "metadata", "register"]);
    // The token is asked for by that registration; the first community is not asked again.
    let to = both.stage.files.path("token.txt");
    let token = ["--organization", ORGANIZATION, "--to", to.to_str().unwrap()];
    let said = both.client("token", &token).await;
    assert_eq!(
        (said.code(), said.json()["client_id"].as_str()),
        (0, Some("in-1")),
        "{}",
        said.text()
    );
    assert_eq!(both.stage.at.words(), ["metadata", "token"]);
    // Nobody approves: each was shown once, and the refused one of before not at all.
    both.play([Ok(0), Ok(1)], &[]);
    let said = both.client("register", &CONTACT).await;
    assert_eq!(said.code(), 4, "{}", said.text());
    assert_eq!(both.stage.at.words(), ["metadata", "metadata", "register"], "CLI-18");
    assert_eq!(both.client("register", &CONTACT).await.code(), 4);
    assert_eq!(both.stage.at.words(), ["metadata", "metadata"], "CLI-18: and over runs");
}

/// CLI-08: a server that sends its certificate alone is believed by the issuer that the certificate names.
#[tokio::test]
async fn a_missing_issuer_is_fetched() {
    let mut stage = Stage::raise().await;
    let alone = stage.pki.alone_server(&stage.at.base);
    assert_eq!(alone.chain.len(), 1);
    stage.play_document(document_of(&stage.at, &alone, |_| (), &Map::new()));
    let said = stage.client("discover", &[]).await;
    assert_eq!(said.code(), 0, "CLI-08: {}", said.text());
    // Without a place for it, or with an issuer of one's own, as for any chain.
    stage.server.chain.truncate(1);
    let nowhere = Member { chain: stage.server.chain.clone(), ..stage.server.clone() };
    let key = nowhere.identity.clone();
    let header = json!({ "alg": "RS256", "x5c": [base64(&nowhere.chain[0])] }).to_string();
    let claims = stage.at.claims(SystemClock.now().as_seconds()).to_string();
    let signed =
        key.sign_raw(ward_trust::Alg::Rs256, header.as_bytes(), claims.as_bytes()).unwrap();
    let mut document = stage.at.plain();
    document["signed_metadata"] = json!(signed);
    stage.play_document(document.to_string());
    let said = stage.client("discover", &[]).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (5, Some("M10")));
    let issuer = stage
        .files
        .private("issuing.pem", &crate::place::pem(&stage.pki.client("urn:x").chain[1..]));
    let said = stage.client("discover", &["--intermediate", &issuer]).await;
    assert_eq!(said.code(), 0, "CLI-08, a cache of one's own: {}", said.text());
}

fn base64(der: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(der)
}

/// CLI-09: without revocation information nothing is believed, unless somebody says so, loudly; and what is known to be
/// revoked never is.
#[tokio::test]
async fn revocation_fails_closed_unless_somebody_says_so_loudly() {
    let mut stage = Stage::raise().await;
    for path in ["/issuing.crl", "/root.crl"] {
        stage.pki.withdraw(path);
    }
    let said = stage.client("discover", &[]).await;
    assert_eq!(
        (said.code(), said.json()["error"]["rule"].as_str()),
        (5, Some("M10")),
        "{}",
        said.text()
    );
    assert!(said.text().contains("/issuing.crl"), "which list: {}", said.text());
    let open = ["--revocation", "when-available"];
    let said = stage.client("discover", &open).await;
    assert_eq!(said.code(), 0, "{}", said.text());
    assert!(said.json()["warnings"].to_string().contains("CLI-09"), "{}", said.text());
    let said = stage.files.run("discover", &open).await;
    assert!(
        said.code() == 0 && said.text().contains("WARNING: certificates of"),
        "{}",
        said.text()
    );
    let server = stage.server.clone();
    stage.pki.revoke(&server);
    let said = stage.client("discover", &open).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (5, Some("M10")));
    assert!(said.text().contains("revoked"), "{}", said.text());
    // By default nothing is said, for nothing is open.
    stage.pki.publish();
    let said = stage.client("discover", &[]).await;
    assert_eq!(said.json()["warnings"], json!([]), "{}", said.text());
}
