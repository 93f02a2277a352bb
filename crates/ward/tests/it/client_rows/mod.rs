//! The rules of udap.md §3 that our client keeps towards other organisations' servers (CLI-01..CLI-29 without the code
//! flow), one test each: `ward client` as a process, against a server that the test scripts and that remembers what it
//! was sent.

mod attack;
mod commands;
mod communities;
mod registration;
mod tokens;

use http::Response;
use serde_json::{Map, Value, json};
use ward_core::{Clock as _, SystemClock};
use ward_net::http::{Body, full};
use ward_trust::Jws;

use crate::pki::{COMMUNITY, Key, Leaf, Member, Pki};
use crate::scripted::{Files, Said, Scripted, Sent, answer, status};

const CLIENT: &str = "https://partner.example/app";
const ORGANIZATION: &str = "https://partner.example/org";
const CONTACT: [&str; 2] = ["--contact", "mailto:ops@partner.example"];

/// A scripted server that is a member of a community, and a client of it with its files.
struct Stage {
    at: Scripted,
    pki: Pki,
    server: Member,
    files: Files,
}

fn registered(client_id: &str) -> Value {
    json!({ "client_id": client_id, "grant_types": ["client_credentials"], "scope": "system/Patient.rs" })
}

fn issued(token: &str) -> Value {
    json!({ "access_token": token, "token_type": "Bearer", "expires_in": 600 })
}

/// The document of a server with this certificate, changed by the test; claims are merged.
fn document_of(
    at: &Scripted,
    member: &Member,
    change: impl FnOnce(&mut Value),
    claims: &Map<String, Value>,
) -> String {
    let mut all = at.claims(SystemClock.now().as_seconds());
    for (name, value) in claims {
        all[name.as_str()] = value.clone();
    }
    let mut plain = at.plain();
    plain["signed_metadata"] = json!(member.identity.sign(ward_trust::Alg::Rs256, &all).unwrap());
    change(&mut plain);
    plain.to_string()
}

impl Stage {
    async fn raise() -> Self {
        let at = Scripted::start().await;
        let mut pki = Pki::start().await;
        let server = pki.issue(&Leaf { key: Key::Rsa, ..Leaf::client(&at.base) });
        let files = Files::make(&mut pki, &at, COMMUNITY, CLIENT);
        let stage = Self { at, pki, server, files };
        stage.play(|_| None);
        stage
    }

    /// Good metadata, changed.
    fn document(&self, change: impl FnOnce(&mut Value)) -> String {
        document_of(&self.at, &self.server, change, &Map::new())
    }

    /// The server answers as the test says, and well where it says nothing.
    fn play(&self, says: impl Fn(&Sent) -> Option<Response<Body>> + Send + Sync + 'static) {
        let document = self.document(|_| ());
        self.at.script(move |sent| {
            says(sent).unwrap_or_else(|| match sent.word().as_str() {
                "metadata" => Response::new(full(document.clone())),
                "register" => answer(201, &registered("c1")),
                "token" => answer(200, &issued("t1")),
                path if path.starts_with("/fhir/") => {
                    answer(200, &json!({ "resourceType": "Patient" }))
                }
                _ => status(404),
            })
        });
    }

    /// The server answers well, with these metadata.
    fn play_document(&self, document: String) {
        self.play(move |sent| {
            (sent.word() == "metadata").then(|| Response::new(full(document.clone())))
        });
    }

    async fn client(&self, command: &str, more: &[&str]) -> Said {
        self.files.run(command, &[more, &["--json"]].concat()).await
    }

    /// Registered, and the server has forgotten what it was sent.
    async fn registered(self) -> Self {
        let said = self.client("register", &CONTACT).await;
        assert_eq!(said.code(), 0, "{}", said.text());
        self.at.words();
        self
    }

    async fn token(&self, more: &[&str]) -> Said {
        let to = self.files.path("token.txt");
        let common = ["--organization", ORGANIZATION, "--to", to.to_str().unwrap()];
        self.client("token", &[&common[..], more].concat()).await
    }

    /// What the state file holds.
    fn state(&self) -> Value {
        let text = std::fs::read(self.files.path("state.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

/// Header and claims of a JWT, with its signature verified; the certificate that it shows is the client's.
fn read(compact: &str) -> Map<String, Value> {
    let jws = Jws::parse(compact, &ward_core::Limits::default()).unwrap();
    let jws = jws.verify(&ward_trust::Alg::ALL).unwrap();
    assert_eq!(jws.leaf().san_uris(), [CLIENT], "x5c, leaf first");
    jws.claims().clone()
}

/// The one request of this kind that was sent.
fn one(sent: &[Sent], word: &str) -> Sent {
    let mut found = sent.iter().filter(|one| one.word() == word);
    let first = found.next().unwrap_or_else(|| panic!("no {word}"));
    assert!(found.next().is_none(), "more than one {word}");
    first.clone()
}
