//! Servers that lie to our client (udap.md §7.9, M01..M22, M24): every row of `tests/data/metadata.jsonl` over sockets, by
//! the library and by `ward client`. The result is always: stop, a non-zero exit, *nothing further sent* (CLI-06, asserted
//! at the server), and words that name what is wrong. M16 and M22 are allowed and told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ward_client::{ClientError, Discovery};
use ward_core::{Clock as _, Secret, SystemClock};
use ward_net::client::{Egress, HttpClient};
use ward_net::http::{Body, channel_body, full};
use ward_net::lists::RevocationLists;
use ward_net::tls::client_config;
use ward_trust::SigningIdentity;

use crate::pki::authorities::{Authority, By};
use crate::pki::{COMMUNITY, Key, Leaf, Member, Pki};
use crate::rows::{self, Words};
use crate::scripted::{Files, Said, Scripted, Sent, answer, patient, status};

/// What a document of 500 MB would have.
const HUGE: usize = 500_000_000;

/// One row.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    what: String,
    /// Status of the metadata, if not 200.
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    location: Option<String>,
    /// The document as it is sent; `{doc}` is the good one, `{rest}` the same without its first brace.
    #[serde(default)]
    body: Option<String>,
    /// Merged into the plain document; null removes.
    #[serde(default)]
    plain: Map<String, Value>,
    /// Merged into the signed claims.
    #[serde(default)]
    claims: Map<String, Value>,
    /// Further members of [`rows::Row`].
    #[serde(default)]
    jwt: Map<String, Value>,
    /// Whose certificate is shown.
    #[serde(default)]
    member: Option<String>,
    /// Whose key signs.
    #[serde(default)]
    signer: Option<String>,
    #[serde(default)]
    registration: Option<Scene>,
    #[serde(default)]
    token: Option<Scene>,
    /// `register` if absent.
    #[serde(default)]
    command: Option<String>,
    /// What is demanded: the exit status,
    exit: i32,
    /// the rule that is named,
    #[serde(default)]
    rule: Option<String>,
    /// and words of the message;
    says: Vec<String>,
    /// what the server was sent, if it was more than the request for its metadata;
    #[serde(default)]
    sent: Option<Vec<String>>,
    /// and what is warned of.
    #[serde(default)]
    warns: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Scene {
    status: u16,
    body: Value,
}

/// The members of the trust community, good and bad, by the names of the rows.
struct Cast {
    pki: Pki,
    members: Vec<(&'static str, Member)>,
}

fn rsa(uri: &str) -> Leaf {
    Leaf { key: Key::Rsa, ..Leaf::client(uri) }
}

/// A server's certificate of another authority than the usual one.
fn under(pki: &mut Pki, authority: &Authority, base: &str) -> Member {
    let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let chain = pki.certify_by(By::Other(authority), &rsa(base), &pair, &[&authority.der]);
    let key = Secret::new(pair.serialize_der());
    let identity = Arc::new(SigningIdentity::from_pkcs8(&chain, &key).unwrap());
    Member { chain, identity, serial: 0 }
}

impl Cast {
    async fn call(base: &str) -> Self {
        let mut pki = Pki::start().await;
        let host = Leaf { uris: vec![], dns: vec!["localhost".to_owned()], ..rsa(base) };
        let mut members = vec![
            ("server", pki.issue(&rsa(base))),
            ("other", pki.issue(&rsa(base))),
            ("ec", pki.issue(&Leaf::client(base))),
            ("elsewhere", pki.issue(&rsa("https://elsewhere.example/fhir"))),
            ("host", pki.issue(&host)),
            ("slash", pki.issue(&rsa(&format!("{base}/")))),
            ("stranger", pki.impostor(&rsa(base))),
            ("self-signed", pki.self_signed(&rsa(base))),
            ("revoked", pki.issue(&rsa(base))),
            ("expired", pki.issue(&Leaf { days: (-30, -1), ..rsa(base) })),
            ("no-list", pki.issue(&Leaf { crl: false, ..rsa(base) })),
        ];
        let revoked = members.iter().find(|(name, _)| *name == "revoked").unwrap().1.clone();
        pki.revoke(&revoked);
        for name in ["dead-list", "stale-list", "lying-list", "revoked-issuer"] {
            let authority = pki.authority(By::Root, &format!("Issuer {name}"), |_| {});
            members.push((name, under(&mut pki, &authority, base)));
            match name {
                "dead-list" => pki.withdraw(&authority.path),
                "stale-list" => pki.put_list(&authority, |list| {
                    list.this_update -= Duration::from_hours(48);
                    list.next_update -= Duration::from_hours(24);
                }),
                "lying-list" => {
                    let liar = pki.another_root(&format!("Issuer {name}"), |_| {});
                    pki.put_foreign_list(&authority, &liar);
                }
                _ => pki.revoke_authority(&authority),
            }
        }
        let foreign = pki.another_root("Another community", |_| {});
        members.push(("other-community", under(&mut pki, &foreign, base)));
        Self { pki, members }
    }

    fn member(&self, name: Option<&String>, otherwise: &Member) -> Member {
        let Some(name) = name else { return otherwise.clone() };
        let found = self.members.iter().find(|(one, _)| one == name);
        found.unwrap_or_else(|| panic!("no member {name}")).1.clone()
    }
}

/// `{base}` and the like in the words of a row.
fn fill(text: &str, at: &Scripted) -> String {
    let origin = at.url("");
    text.replace("{base}", &at.base)
        .replace("{BASE}", &at.base.replace("localhost", "LOCALHOST"))
        .replace("{http-base}", &at.base.replacen("https", "http", 1))
        .replace("{origin}", &origin)
        .replace("{http-origin}", &origin.replacen("https", "http", 1))
        .replace("{port}", &at.port.to_string())
}

fn filled(patch: &Map<String, Value>, at: &Scripted) -> Map<String, Value> {
    serde_json::from_str(&fill(&json!(patch).to_string(), at)).unwrap()
}

/// The document of a row.
fn document(row: &Row, at: &Scripted, cast: &Cast) -> String {
    let now = SystemClock.now().as_seconds();
    let words = Words {
        now,
        register: at.url("/oauth/register"),
        token: at.url("/oauth/token"),
        base: at.base.clone(),
        iss: String::new(),
        client: String::new(),
    };
    let mut jwt = row.jwt.clone();
    for (name, value) in [("id", json!(row.id)), ("what", json!(row.what)), ("status", json!(200))]
    {
        jwt.insert(name.to_owned(), value);
    }
    jwt.insert("claims".to_owned(), json!(filled(&row.claims, at)));
    let jwt: rows::Row = serde_json::from_value(Value::Object(jwt)).unwrap();
    let member = cast.member(row.member.as_ref(), &cast.members[0].1);
    let signer = cast.member(row.signer.as_ref(), &member);
    let signed = rows::jwt(&jwt, &words, at.claims(now), &member, &signer);
    let mut plain = at.plain();
    plain["signed_metadata"] = json!(signed);
    words.merge(&mut plain, &filled(&row.plain, at));
    plain.to_string()
}

/// Sends chunks until all is sent or nobody takes more; counts what was taken.
fn endless(declared: bool, taken: &Arc<AtomicUsize>) -> Response<Body> {
    let (sender, body) = channel_body();
    let taken = Arc::clone(taken);
    tokio::spawn(async move {
        let chunk = Bytes::from(vec![b' '; 64 * 1024]);
        for _ in 0..HUGE / chunk.len() {
            if sender.send(chunk.clone()).await.is_err() {
                return;
            }
            taken.fetch_add(chunk.len(), Ordering::SeqCst);
        }
        let _ = sender.finish().await;
    });
    let mut response = Response::new(body);
    if declared {
        response.headers_mut().insert("content-length", HUGE.into());
    }
    response
}

/// What the server answers in a row.
fn scripted(row: &Row, at: &Scripted, cast: &Cast, taken: &Arc<AtomicUsize>) {
    let text = document(row, at, cast);
    let location = row.location.as_ref().map(|place| fill(place, at));
    let body = row.body.as_ref().map(|body| {
        let body = fill(body, at).replace("{rest}", text.trim_start_matches('{'));
        body.replace("{doc}", &text).replace("=deep", &"[".repeat(1000))
    });
    let (row, taken) = (row.clone(), Arc::clone(taken));
    let good = json!({ "client_id": "c1", "grant_types": ["client_credentials"], "scope": "system/Patient.rs" });
    let token = json!({ "access_token": "abc", "token_type": "Bearer", "expires_in": 300 });
    at.script(move |sent: &Sent| match sent.word().as_str() {
        "metadata" => {
            let mut response = match body.as_deref() {
                Some("=endless") => endless(false, &taken),
                Some("=long") => endless(true, &taken),
                Some(body) => Response::new(full(body.to_owned())),
                None if row.status == Some(204) => status(204),
                None => Response::new(full(text.clone())),
            };
            if let Some(code) = row.status {
                *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            }
            if let Some(location) = &location {
                response.headers_mut().insert("location", location.parse().unwrap());
            }
            response
        }
        "register" => match &row.registration {
            Some(scene) => answer(scene.status, &scene.body),
            None => answer(201, &good),
        },
        "token" => match &row.token {
            Some(scene) => answer(scene.status, &scene.body),
            None => answer(200, &token),
        },
        _ => status(404),
    });
}

/// What the library says of the row's metadata, over sockets.
async fn by_library(at: &Scripted, cast: &Cast) -> Option<ClientError> {
    let limits = Arc::new(patient());
    let tls = client_config([at.tls_root.as_slice()]).unwrap();
    let http = HttpClient::new(Egress::anywhere(), tls, limits.clone());
    let clock = Arc::new(SystemClock);
    let lists = RevocationLists::new(http.clone(), clock.clone(), limits.clone());
    let discovery = Discovery {
        community: cast.pki.community(),
        http: Arc::new(http),
        lists: Arc::new(lists),
        clock,
        limits,
    };
    discovery.discover(&at.base).await.err()
}

/// What a command did that the row does not demand.
fn judge(row: &Row, said: &Said, (seen, wanted): (&[String], &[String])) -> Vec<String> {
    let told = said.json();
    let (error, warnings) = (&told["error"], told["warnings"].to_string());
    let text = error.to_string();
    let mut wrong = vec![];
    let mut demand = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    demand(seen == wanted, format!("CLI-06: the server was sent {seen:?}"));
    demand(said.code() == row.exit, format!("exit status {}", said.code()));
    demand(error["rule"].as_str() == row.rule.as_deref(), format!("rule {}", error["rule"]));
    let named = row.rule.as_ref().is_none_or(|rule| text.contains(&format!("({rule})")));
    demand(named, "the rule is not named".to_owned());
    for word in &row.says {
        demand(text.contains(word), format!("{word:?} is not said"));
    }
    demand((warnings == "[]") == row.warns.is_empty(), format!("warnings {warnings}"));
    for word in &row.warns {
        demand(warnings.contains(word), format!("no warning of {word}"));
    }
    wrong
}

/// M01..M22, M24; CLI-05, CLI-06, CLI-07.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_table() {
    let rows: Vec<Row> = include_str!("../data/metadata.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let at = Scripted::start().await;
    let mut cast = Cast::call(&at.base).await;
    let files = Files::make(&mut cast.pki, &at, COMMUNITY, "https://partner.example/app");
    let taken = Arc::new(AtomicUsize::new(0));

    // A registration to remember, so that `token` has something to ask with.
    scripted(&rows[0], &at, &cast, &taken);
    let contact = ["--contact", "mailto:ops@partner.example"];
    let said = files.run("register", &contact).await;
    assert_eq!(said.code(), 0, "{}", said.text());
    let state = std::fs::read(files.path("state.json")).unwrap();

    let to = files.path("token.txt");
    let token = ["--organization", "https://partner.example/org", "--to", to.to_str().unwrap()];
    let (mut wrong, mut asked) = (vec![], BTreeSet::new());
    for row in &rows {
        let name = format!("{} {}", row.id, row.what);
        let in_metadata = row.sent.is_none() && row.exit != 0;
        // Where the metadata are at fault, no command gets further.
        let commands: Vec<&str> = match row.command.as_deref() {
            Some(command) => vec![command],
            None if row.registration.is_some() => vec!["register"],
            // One row of each id and end asks for a token too.
            None if asked.insert((row.id.clone(), row.exit)) => vec!["register", "token"],
            None => vec!["register"],
        };
        for command in commands {
            scripted(row, &at, &cast, &taken);
            std::fs::write(files.path("state.json"), &state).unwrap();
            let more: &[&str] = if command == "token" { &token } else { &contact };
            let more = [more, &["--json"]].concat();
            let said = files.run(command, &more).await;
            let seen = at.words();
            let wanted: Vec<String> = match &row.sent {
                Some(sent) => sent.clone(),
                None if in_metadata => vec!["metadata".to_owned()],
                None => vec!["metadata".to_owned(), command.to_owned()],
            };
            for fault in judge(row, &said, (&seen, &wanted)) {
                wrong.push(format!("{name}, {command}: {fault}: {}", said.text()));
            }
        }
        if in_metadata {
            scripted(row, &at, &cast, &taken);
            let error = by_library(&at, &cast).await.unwrap_or_else(|| panic!("{name}: believed"));
            if error.rule() != row.rule.as_deref() || at.words() != ["metadata"] {
                wrong.push(format!("{name}, by the library: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // M17: of several times 500 MB, hardly more was taken than sockets hold.
    assert!(taken.load(Ordering::SeqCst) < HUGE / 4, "{taken:?}");
}
