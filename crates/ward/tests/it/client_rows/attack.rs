//! CLI-30: `ward client attack`, against Ward itself, and against servers that are too good or refuse everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::bad_input::{generous, world};
use crate::harness::ISS;
use crate::rows::table;
use crate::scripted::patient;

const USUAL: [&str; 4] =
    ["--organization", ORGANIZATION, "--contact", "mailto:ops@partner.example"];
const OWN: [&str; 2] = ["--i-own-this-server", "localhost"];

/// Rows of an answer of `--json` that are not as demanded.
fn wrong(told: &Value) -> Vec<&str> {
    let rows = told["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["ok"] == false).map(|row| row["id"].as_str().unwrap()).collect()
}

/// CLI-30: Ward refuses every row in its own words, and what was registered for it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn ward_stands_an_attack_to_the_letter() {
    let limits = ward_core::Limits {
        registrations_per_minute: generous().registrations_per_minute,
        token_failures_per_minute: generous().token_failures_per_minute,
        tokens_per_client_per_minute: generous().tokens_per_client_per_minute,
        ..patient()
    };
    let (mut world, _upstream, ..) = world(limits).await;
    let files = Files::at(&mut world.pki, (&world.base, &world.tls_root), COMMUNITY, ISS);
    let said = files.run("attack", &[&USUAL[..], &OWN, &["--exact", "--json"]].concat()).await;
    let told = said.json();
    assert_eq!(wrong(&told), [""; 0], "{}", said.text());
    assert_eq!((said.code(), &told["not_as_demanded"]), (0, &json!(0)), "{}", said.text());
    // Every row of the tables is sent or named as left out; three more are good requests, after the registration.
    let rows = table(include_str!("../../data/registration.jsonl")).len()
        + include_str!("../../data/token.jsonl").lines().count();
    let count = |name: &str| usize::try_from(told[name].as_u64().unwrap()).unwrap();
    println!("attack: {} requests, {} left out of {rows} rows", count("sent"), count("left_out"));
    assert_eq!(count("sent") + count("left_out"), rows + 3);
    assert_eq!(count("left_out"), told["rows_left_out"].as_array().unwrap().len());
    assert!(count("sent") >= 230, "{}", count("sent"));
    let tenant = ward_core::TenantId::default_tenant();
    let all = world.house.repositories.registrations.list(&tenant, None, 100).await.unwrap();
    assert!(all.iter().all(|one| one.grant_types.is_empty()), "it was ended");

    // Again, to be read, with any code of the endpoint; the key is in nothing that is said.
    let said = files.run("attack", &[&USUAL[..], &OWN].concat()).await;
    let text = said.text();
    assert_eq!(said.code(), 0, "{text}");
    for word in ["ok    R08", "400 any code", "left out", "invalid_software_statement"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let key = std::fs::read_to_string(files.path("key.pem")).unwrap();
    assert!(!text.contains(key.lines().nth(1).unwrap()), "CLI-28");
}

/// CLI-30: a server that accepts everything fails, each row by its id; one that asks to wait is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_accepts_everything_fails_by_name() {
    let stage = Stage::raise().await;
    let waited = Arc::new(AtomicBool::new(false));
    let first = waited.clone();
    stage.play(move |sent| {
        (sent.word() == "token" && !first.swap(true, Ordering::SeqCst)).then(|| {
            let mut later = status(429);
            later.headers_mut().insert("retry-after", "1".parse().unwrap());
            later
        })
    });
    let more = [&USUAL[..], &OWN].concat();
    let said = stage.client("attack", &more).await;
    let told = said.json();
    assert_eq!(said.code(), 1, "{}", said.text());
    assert!(waited.load(Ordering::SeqCst));
    let wrong = wrong(&told);
    for id in ["R01", "R08", "R13", "R22", "R31", "R37", "P04", "T03", "T09", "T18", "B01", "B10"] {
        assert!(wrong.contains(&id), "{id}: {wrong:?}");
    }
    // All but the good requests.
    let rows = told["rows"].as_array().unwrap();
    assert_eq!((wrong.len() + 3, wrong.contains(&"good")), (rows.len(), false), "{wrong:?}");
    let warnings = told["warnings"].to_string();
    assert!(warnings.contains("was not ended"), "{warnings}");
    let text = stage.files.run("attack", &more).await.text();
    assert!(text.contains("not as demanded:") && text.contains("WRONG R08"), "{text}");
}

/// CLI-30: a server that refuses everything, or that knows the URI already, is sent nothing bad.
#[tokio::test]
async fn nothing_bad_is_sent_where_good_requests_fail_or_would_change_something() {
    let stage = Stage::raise().await;
    let more = [&USUAL[..], &OWN].concat();
    for (code, words) in [(400, "good registration"), (200, "--replace")] {
        stage
            .play(move |sent| (sent.word() == "register").then(|| answer(code, &registered("c1"))));
        let said = stage.client("attack", &more).await;
        assert_eq!(said.code(), 1, "{}", said.text());
        assert!(said.text().contains(words), "{}", said.text());
        assert_eq!(stage.at.words(), ["metadata", "register"]);
    }
    // One's own registration is not touched.
    stage.play(|_| None);
    let stage = stage.registered().await;
    let said = stage.client("attack", &more).await;
    assert_eq!(said.code(), 2, "{}", said.text());
    assert_eq!(stage.at.words(), ["metadata"]);
}

/// CLI-30: without the server named as one's own nothing is sent, and nothing bad to a host that was not named.
#[tokio::test]
async fn a_server_that_is_not_ones_own_is_not_attacked() {
    let stage = Stage::raise().await;
    for named in [&[][..], &["--i-own-this-server", "other.example"]] {
        let said = stage.client("attack", &[&USUAL[..], named].concat()).await;
        assert_eq!(said.code(), 2, "{}", said.text());
        assert!(said.text().contains("--i-own-this-server localhost"), "{}", said.text());
        assert!(stage.at.words().is_empty(), "nothing is sent");
    }
    // Its metadata name an endpoint elsewhere.
    let elsewhere = json!("https://as.example/oauth/token");
    let claims = Map::from_iter([("token_endpoint".to_owned(), elsewhere.clone())]);
    let document = document_of(
        &stage.at,
        &stage.server,
        |document| document["token_endpoint"] = elsewhere.clone(),
        &claims,
    );
    stage.play_document(document);
    let said = stage.client("attack", &[&USUAL[..], &OWN].concat()).await;
    assert_eq!(said.code(), 2, "{}", said.text());
    assert!(said.text().contains("--i-own-this-server as.example"), "{}", said.text());
    assert_eq!(stage.at.words(), ["metadata"]);
}
