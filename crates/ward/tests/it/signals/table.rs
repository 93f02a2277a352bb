//! `tests/data/signals.jsonl`: what is demanded of every bad signal, and of the good ones between them, row by row. All bad ones name the
//! certificate of a partner that reads on afterwards.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ward_core::{Limits, Thumbprint, Timestamp};
use ward_trust::signal::About;
use ward_trust::{Alg, Certificate};

use super::{
    MEDIA_TYPE, OPERATOR, SECOND, certificate, endpoint, err, heard, is_ended, merge, partner,
    revoked, serve_second, signal, unhurried,
};
use crate::bad_input::world;
use crate::pki::authorities::By;
use crate::pki::{COMMUNITY, Key, Leaf, Member};

/// One row. It starts from a good signal about the partner and says what differs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Its name, which is the signal's `jti` too.
    id: String,
    /// What is wrong, for the reader.
    what: String,
    /// The status demanded.
    status: u16,
    /// `err` demanded (RFC 8935 §2.4).
    #[serde(default)]
    err: Option<String>,
    /// What the log must say of it: its effect, or the rule that refused it there; absent: nothing.
    #[serde(default)]
    log: Option<String>,
    /// What is named: `partner`, or what [`About`] has a word for here.
    #[serde(default)]
    about: Option<String>,
    /// Whose certificate it shows.
    #[serde(default)]
    sender: Option<String>,
    /// Whose key signs, if another's.
    #[serde(default)]
    signer: Option<String>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    /// Sends it so many times more.
    #[serde(default)]
    again: usize,
}

/// `=now-10`, `=base`, `=long:300` are computed.
fn resolve(value: &Value, now: i64, base: &str) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('=') {
            None => value.clone(),
            Some("base") => json!(base),
            Some(word) => match (word.strip_prefix("now"), word.strip_prefix("long:")) {
                (Some(""), _) => json!(now),
                (Some(offset), _) => json!(now + offset.parse::<i64>().unwrap()),
                (_, Some(count)) => json!("x".repeat(count.parse().unwrap())),
                _ => panic!("unknown word {word}"),
            },
        },
        Value::Array(all) => all.iter().map(|one| resolve(one, now, base)).collect(),
        Value::Object(all) => {
            all.iter().map(|(name, one)| (name.clone(), resolve(one, now, base))).collect()
        }
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_table() {
    let many = Limits { signals_per_minute: 100_000, ..unhurried() };
    let (mut world, _upstream, ours, _) = world(many).await;
    // On the list before Ward fetches it.
    let gone = world.pki.client(COMMUNITY);
    world.pki.revoke(&gone);
    let (member, _, token) = partner(&mut world).await;
    let root = serve_second(&mut world).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    let pki = &mut world.pki;
    let community = || Leaf::client(COMMUNITY);
    let mut senders: HashMap<&str, Member> = HashMap::from([
        ("community", pki.client(COMMUNITY)),
        ("rsa", pki.issue(&Leaf { key: Key::Rsa, ..community() })),
        ("operator", pki.client(OPERATOR)),
        ("member", pki.client("https://member.example/app")),
        ("second", pki.client_by(By::Other(&root), SECOND, &[], |_| {})),
        ("second-as-first", pki.client_by(By::Other(&root), COMMUNITY, &[], |_| {})),
        (
            "two-names",
            pki.issue(&Leaf { uris: vec![COMMUNITY.into(), OPERATOR.into()], ..community() }),
        ),
        ("expired", pki.issue(&Leaf { days: (-20, -1), ..community() })),
        ("future", pki.issue(&Leaf { days: (2, 20), ..community() })),
        ("self-signed", pki.self_signed(&community())),
        ("impostor", pki.impostor(&community())),
        ("issued-by-leaf", pki.issued_by_leaf(COMMUNITY)),
        ("revoked", gone),
        ("no-list", pki.issue(&Leaf { crl: false, ..community() })),
    ]);
    senders.insert("partner", member.clone());
    let foreign = pki.client_by(By::Other(&root), "https://theirs.example/app", &[], |_| {});
    let namesake = pki.client_by(By::Other(&root), "https://certifier.example", &[], |_| {});
    let lapsed = pki.issue(&Leaf { days: (-20, -1), ..Leaf::client("https://lapsed.example/app") });
    let stranger = pki.impostor(&Leaf::client("https://stranger.example/app"));
    let fresh = pki.client("https://fresh.example/app");
    let branch = pki.authority(By::Root, "A branch", |_| {});
    let certifier = pki.client("https://certifier.example");
    let ends = Timestamp::from_seconds(1_900_000_000);
    let named = certificate(&member);

    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in include_str!("../../data/signals.jsonl").lines() {
        let row: Row = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        count += 1;
        let about = match row.about.as_deref() {
            None | Some("partner") => revoked(&named),
            Some("fresh") => revoked(&certificate(&fresh)),
            Some("foreign") => revoked(&certificate(&foreign)),
            Some("lapsed") => revoked(&certificate(&lapsed)),
            Some("stranger") => revoked(&certificate(&stranger)),
            Some("issuing") => revoked(&Certificate::from_der(&member.chain[1]).unwrap()),
            Some("branch") => revoked(&Certificate::from_der(&branch.der).unwrap()),
            Some("root") => revoked(&Certificate::from_der(&world.pki.root_der()).unwrap()),
            Some("unnamed") => {
                About::Certificate { thumbprint: named.thumbprint(), certificate: None }
            }
            Some("certification") => About::Certification {
                issuer: "https://certifier.example".to_owned(),
                jti: "c1".to_owned(),
                signed: None,
            },
            Some("own-certification") => About::Certification {
                issuer: "https://certifier.example".to_owned(),
                jti: "c2".to_owned(),
                signed: Some((ends, Box::new(certificate(&certifier)))),
            },
            Some("foreign-certification") => About::Certification {
                issuer: "https://certifier.example".to_owned(),
                jti: "c3".to_owned(),
                signed: Some((ends, Box::new(certificate(&foreign)))),
            },
            Some("namesake-certification") => About::Certification {
                issuer: "https://certifier.example".to_owned(),
                jti: "c5".to_owned(),
                signed: Some((ends, Box::new(certificate(&namesake)))),
            },
            Some("others-certification") => About::Certification {
                issuer: "https://certifier.example".to_owned(),
                jti: "c4".to_owned(),
                signed: Some((ends, Box::new(certificate(&fresh)))),
            },
            Some("published") => About::Published,
            Some("verification") => About::Verification,
            Some(other) => About::Other(other.to_owned()),
        };
        let sender = &senders[row.sender.as_deref().unwrap_or("community")];
        let signer =
            &senders[row.signer.as_deref().or(row.sender.as_deref()).unwrap_or("community")];
        let mut good = signal(&world, &row.id, about);
        good.issuer = match row.sender.as_deref() {
            Some("second") => SECOND.to_owned(),
            Some("operator") => OPERATOR.to_owned(),
            _ => good.issuer,
        };
        let now = world.system.clock.now().as_seconds();
        let mut claims = good.to_claims();
        merge(&mut claims, &resolve(&Value::Object(row.claims.clone()), now, &world.base));
        let chain: Vec<_> = sender.chain.iter().map(|der| json!(STANDARD.encode(der))).collect();
        let alg = signer.identity.alg();
        let mut header = json!({ "alg": alg.name(), "typ": "secevent+jwt", "x5c": chain });
        merge(&mut header, &Value::Object(row.header.clone()));
        let alg = if signer.identity.leaf().key_bits().len() > 100 { Alg::Rs256 } else { alg };
        let signed = signer.identity.sign_raw(
            alg,
            header.to_string().as_bytes(),
            claims.to_string().as_bytes(),
        );
        let body = match row.body.as_deref() {
            None => signed.unwrap(),
            Some("=large") => "a.".repeat(40 * 1024),
            Some("=cut") => signed.unwrap().rsplit_once('.').unwrap().0.to_owned() + ".",
            Some("=json") => json!({ "payload": "", "signature": "" }).to_string(),
            Some(raw) => raw.to_owned(),
        };
        let method = row.method.as_deref().unwrap_or("POST");
        let kind = row.content_type.as_deref().unwrap_or(MEDIA_TYPE);
        let path = world.path(&endpoint(&world));
        let mut problems = Vec::new();
        for _ in 0..=row.again {
            let answer =
                world.send(method, &path, &[("content-type", kind)], Some(body.as_bytes())).await;
            let found = (answer.status, err(&answer));
            if found != (row.status, row.err.clone()) {
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                problems
                    .push(format!("demanded {} {:?}, got {found:?} {said}", row.status, row.err));
            }
            if answer.status == 202 && !answer.body.is_empty() {
                problems.push("202 with a body".to_owned());
            }
            let json = answer.header("content-type") == Some("application/json");
            let language = answer.header("content-language") == Some("en");
            if answer.status >= 400
                && !(json && language && answer.json()["description"].is_string())
            {
                problems.push("a refusal that is not as RFC 8935 §2.3 has it".to_owned());
            }
        }
        let told = heard(&world, &row.id).await;
        if told != row.log.iter().cloned().collect::<Vec<_>>() {
            problems.push(format!("the log should say {:?}, and says {told:?}", row.log));
        }
        let status = world.get(&read, &token).await.status;
        if status != 200 || is_ended(&world, &named) {
            problems.push(format!("the partner's door: {status}"));
        }
        wrong.extend(problems.into_iter().map(|one| format!("{} ({}): {one}", row.id, row.what)));
    }
    println!("signals.jsonl: {count} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 50, "only {count} rows");
    assert!(is_ended(&world, &certificate(&fresh)));
    for one in [&foreign, &lapsed, &stranger] {
        assert!(!is_ended(&world, &certificate(one)));
    }
    // Only as far as the certificate that came along signed it, and never the certification of all its namesakes.
    let ended = |jti: &str, signer: &Member| {
        let id = ward_trust::Certification::id_of("https://certifier.example", jti, ends);
        let signed = ward_trust::Certification::signed_id(id, certificate(signer).thumbprint());
        let epoch = |id: Thumbprint| {
            let subject = ward_policy::Subject::Certification(id);
            let epochs = &world.house.repositories.epochs;
            epochs.current(&ward_core::TenantId::default_tenant(), &subject)
        };
        assert_eq!(epoch(id), 0, "{jti}");
        epoch(signed) > 0
    };
    assert!(ended("c2", &certifier));
    for jti in ["c1", "c2", "c3", "c4", "c5"] {
        assert_eq!(ended(jti, &certifier), jti == "c2", "{jti}");
        assert!(!ended(jti, &foreign) && !ended(jti, &fresh), "{jti}");
        assert_eq!(ended(jti, &namesake), jti == "c5", "{jti}");
    }
    // The same, without a fault.
    let document = signal(&world, "last", revoked(&named)).sign(&senders["community"].identity);
    assert_eq!(super::push(&world, &document.unwrap()).await.status, 202);
    assert_eq!(world.get(&read, &token).await.status, 401);
}
