//! Registration: what is sent, what is not, and what is made of the answer (CLI-10..18).

use serde_json::{Value, json};

use super::*;

/// CLI-10, CLI-12: the software statement by the book, all parameters inside it.
#[tokio::test]
async fn everything_stands_in_the_software_statement() {
    let stage = Stage::raise().await;
    let asked = ["--scope", "system/Patient.rs system/Observation.rs", "--name", "Sample"];
    let mut jtis = vec![];
    for _ in 0..2 {
        let said = stage.client("register", &[&CONTACT[..], &asked].concat()).await;
        assert_eq!(said.code(), 0, "{}", said.text());
        let sent = one(&stage.at.seen(), "register");
        stage.at.words();
        assert_eq!((sent.method.as_str(), sent.query.as_str()), ("POST", ""));
        assert_eq!(sent.headers["content-type"], "application/json");
        assert!(!sent.headers.contains_key("authorization"));
        let body: Map<String, Value> = serde_json::from_slice(&sent.body).unwrap();
        let names: Vec<&str> = body.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["certifications", "software_statement", "udap"],
            "CLI-12: three members"
        );
        assert_eq!((&body["udap"], &body["certifications"]), (&json!("1"), &json!([])));
        let claims = read(body["software_statement"].as_str().unwrap());
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT), &json!(CLIENT)), "CLI-10");
        assert_eq!(
            claims["aud"],
            stage.at.url("/oauth/register"),
            "CLI-10: as the server wrote it"
        );
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((1..=300).contains(&life), "CLI-10");
        jtis.push(claims["jti"].clone());
        assert_eq!(claims["client_name"], "Sample");
        assert_eq!(claims["contacts"], json!(["mailto:ops@partner.example"]));
        assert_eq!(
            claims["grant_types"],
            json!(["client_credentials"]),
            "CLI-11: one grant family"
        );
        assert_eq!(claims["token_endpoint_auth_method"], "private_key_jwt");
        assert_eq!(claims["scope"], "system/Patient.rs system/Observation.rs");
        assert!(!claims.contains_key("redirect_uris") && !claims.contains_key("response_types"));
    }
    assert_ne!(jtis[0], jtis[1], "CLI-10: a new jti each time");
}

/// CLI-11: what a server must refuse is refused before anything is sent, discovery included; by rule and exit status 2.
#[tokio::test]
async fn what_a_server_must_refuse_is_not_sent_to_it() {
    let stage = Stage::raise().await;
    let redirect = ["--contact", "mailto:a@b.example", "--redirect-uri"];
    let with = |last: &[&'static str]| [&redirect[..], last].concat();
    let many = vec!["--contact"; 1];
    let rows: [(&str, &str, Vec<&str>); 10] = [
        ("no mailto", "REG-15", vec!["--contact", "ops@partner.example"]),
        ("an empty mailto", "REG-15", vec!["--contact", "mailto:"]),
        ("a phone alone", "REG-15", vec!["--contact", "tel:1"]),
        ("no name", "REG-11", [&CONTACT[..], &["--name", ""]].concat()),
        ("no scope", "REG-19", [&CONTACT[..], &["--scope", " "]].concat()),
        (
            "a logo on http",
            "REG-16",
            [&CONTACT[..], &["--logo", "http://p.example/l.png"]].concat(),
        ),
        (
            "a redirect on http",
            "REG-13",
            with(&["http://p.example/back", "--logo", "https://p.example/l.png"]),
        ),
        ("no logo for the code", "REG-16", with(&["https://p.example/back"])),
        (
            "a redirect with a fragment",
            "P08",
            with(&["https://p.example/b#x", "--logo", "https://p.example/l.png"]),
        ),
        ("a contact that is no URI", "P11", [&CONTACT[..], &many, &["not a uri"]].concat()),
    ];
    for (what, rule, more) in rows {
        let said = stage.client("register", &more).await;
        assert_eq!(said.code(), 2, "{what}: {}", said.text());
        let told = said.json();
        assert_eq!(told["error"]["rule"], rule, "{what}: {told}");
        assert_eq!(told["error"]["origin"], "client", "{what}");
        assert!(stage.at.words().is_empty(), "CLI-11: {what}");
    }
    // A change of what is registered too.
    let stage = stage.registered().await;
    let said = stage.client("update", &["--contact", "nobody"]).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (2, Some("REG-15")));
    assert!(stage.at.words().is_empty(), "CLI-11: update");
    // Another's URI.
    let said = stage
        .client("register", &[&CONTACT[..], &["--client-uri", "https://x.example/"]].concat())
        .await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (2, Some("REG-06")));
    assert!(stage.at.words().is_empty(), "CLI-11");
}

/// What differs in the metadata.
type Change = fn(&mut Value);

/// CLI-04, CLI-13: lists are exhaustive, an empty or absent one says "not supported", and unknown members say nothing.
#[tokio::test]
async fn what_the_metadata_do_not_list_is_not_asked_for() {
    let stage = Stage::raise().await;
    let rows: [(&str, &str, Change, &[&str]); 7] = [
        ("no grant", "CLI-04", |d| d["grant_types_supported"] = json!([]), &[]),
        (
            "another grant",
            "CLI-04",
            |d| d["grant_types_supported"] = json!(["authorization_code"]),
            &[],
        ),
        (
            "grants absent",
            "CLI-04",
            |d| drop(d.as_object_mut().unwrap().remove("grant_types_supported")),
            &[],
        ),
        (
            "no such signature",
            "CLI-04",
            |d| d["registration_endpoint_jwt_signing_alg_values_supported"] = json!(["RS256"]),
            &[],
        ),
        ("an unlisted wildcard", "CLI-13", |_| (), &["--scope", "system/*.cruds"]),
        (
            "no wildcard listed",
            "CLI-13",
            |d| d["scopes_supported"] = json!(["system/Patient.rs"]),
            &["--scope", "system/*.rs"],
        ),
        (
            "a certification demanded",
            "CRT-02",
            |d| d["udap_certifications_required"] = json!(["https://certs.example/x"]),
            &[],
        ),
    ];
    for (what, rule, change, more) in rows {
        stage.play_document(stage.document(change));
        let said = stage.client("register", &[&CONTACT[..], more].concat()).await;
        assert_eq!(said.code(), 1, "{what}: {}", said.text());
        assert_eq!(said.json()["error"]["rule"], rule, "{what}: {}", said.text());
        assert_eq!(stage.at.words(), ["metadata"], "{what}: nothing follows");
    }
    // A wildcard that is listed is asked for.
    stage.play(|_| None);
    let said =
        stage.client("register", &[&CONTACT[..], &["--scope", "system/*.rs"]].concat()).await;
    assert_eq!(said.code(), 0, "CLI-13: {}", said.text());
    // For a token too: the extension, the grant, the signature.
    let stage = stage.registered().await;
    let rows: [(&str, Change); 3] = [
        ("no hl7-b2b", |d| d["udap_authorization_extensions_supported"] = json!([])),
        ("no grant", |d| d["grant_types_supported"] = json!(["authorization_code"])),
        ("no such signature", |d| {
            d["token_endpoint_auth_signing_alg_values_supported"] = json!(["RS256"]);
        }),
    ];
    for (what, change) in rows {
        stage.play_document(stage.document(change));
        let said = stage.token(&[]).await;
        assert_eq!(
            (said.code(), said.json()["error"]["rule"].as_str()),
            (1, Some("CLI-04")),
            "{what}"
        );
        assert_eq!(stage.at.words(), ["metadata"], "CLI-04: {what}, and nothing follows");
    }
}

/// CLI-15: the client id is what the server gave last, by registration endpoint, community and URI.
#[tokio::test]
async fn a_new_client_id_replaces_the_old_one() {
    let stage = Stage::raise().await;
    let ids = |stage: &Stage| -> Vec<String> {
        let all = stage.state()["registrations"].as_array().unwrap().clone();
        all.iter().map(|one| one["client_id"].as_str().unwrap().to_owned()).collect()
    };
    for (code, given, standing) in
        [(201, "c1", "new"), (200, "c1", "modified"), (200, "c2", "modified"), (201, "c3", "new")]
    {
        stage.play(move |sent| {
            (sent.word() == "register").then(|| answer(code, &registered(given)))
        });
        let said = stage.client("register", &CONTACT).await;
        assert_eq!(said.json()["standing"], standing, "{}", said.text());
        assert_eq!(ids(&stage), [given], "only the new one is kept");
    }
    stage.at.words();
    assert_eq!(stage.token(&[]).await.code(), 0);
    let form = one(&stage.at.seen(), "token");
    let claims = read(&form.form("client_assertion").unwrap());
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("c3"), &json!("c3")), "CLI-15, CLI-19");

    // Another registration endpoint is another registration.
    let elsewhere = stage.at.url("/oauth/other");
    let moved = Map::from_iter([("registration_endpoint".to_owned(), json!(elsewhere))]);
    let document = document_of(
        &stage.at,
        &stage.server,
        |d| d["registration_endpoint"] = json!(elsewhere),
        &moved,
    );
    stage.play_document(document);
    let said = stage.token(&[]).await;
    assert_eq!(said.code(), 1, "{}", said.text());
    assert!(said.text().contains("holds no registration at this server"), "{}", said.text());
    assert_eq!(stage.at.words(), ["metadata"], "CLI-15: an id of elsewhere is not used");
}

/// CLI-16: other scopes than asked for are taken, and the difference is shown.
#[tokio::test]
async fn granted_scopes_may_differ_and_the_difference_is_told() {
    let stage = Stage::raise().await;
    stage.play(|sent| {
        let mut given = registered("c1");
        given["scope"] = json!("system/Patient.r system/Observation.rs");
        (sent.word() == "register").then(|| answer(201, &given))
    });
    let asked = ["--scope", "system/Patient.rs system/Observation.rs"];
    let said = stage.client("register", &[&CONTACT[..], &asked].concat()).await;
    let told = said.json();
    assert_eq!(said.code(), 0, "{told}");
    assert_eq!(told["scope"], "system/Patient.r system/Observation.rs");
    assert_eq!(told["not_granted"], json!(["system/Patient.rs"]));
    assert_eq!(told["not_asked_for"], json!(["system/Patient.r"]));
    // And they are what tokens are asked for from now on.
    stage.at.words();
    assert_eq!(stage.token(&[]).await.code(), 0);
    let form = one(&stage.at.seen(), "token");
    assert_eq!(form.form("scope").as_deref(), Some("system/Patient.r system/Observation.rs"));
}

/// CLI-17: an empty `grant_types` is the end of a registration, asked for or not; nothing is asked with it again.
#[tokio::test]
async fn a_cancelled_registration_is_forgotten() {
    let gone = || answer(200, &json!({ "client_id": "c1", "grant_types": [] }));
    let stage = Stage::raise().await.registered().await;
    stage.play(move |sent| (sent.word() == "register").then(gone));
    let said = stage.client("cancel", &[]).await;
    assert_eq!(
        (said.code(), said.json()["standing"].as_str()),
        (0, Some("cancelled")),
        "{}",
        said.text()
    );
    let sent = one(&stage.at.seen(), "register");
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    let claims = read(body["software_statement"].as_str().unwrap());
    assert_eq!(
        (&claims["grant_types"], &claims["scope"]),
        (&json!([]), &json!("system/Patient.rs"))
    );
    assert_eq!(stage.state()["registrations"], json!([]), "CLI-17: local state removed");
    stage.at.words();
    assert_eq!(stage.token(&[]).await.code(), 1);
    assert_eq!(stage.at.words(), ["metadata"], "CLI-17: no token is asked for");
    assert_eq!(stage.client("cancel", &[]).await.code(), 1, "there is nothing to cancel");

    // The server cancels what was to be changed.
    stage.play(|_| None);
    let stage = stage.registered().await;
    stage.play(move |sent| (sent.word() == "register").then(gone));
    let said = stage.client("update", &["--name", "Other"]).await;
    assert_eq!((said.code(), said.json()["standing"].as_str()), (0, Some("cancelled")));
    assert_eq!(stage.state()["registrations"], json!([]), "CLI-17");

    // And one that was asked to and did not: its answer does not hold.
    stage.play(|_| None);
    let stage = stage.registered().await;
    let said = stage.client("cancel", &[]).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (5, Some("CLI-17")));
    assert_eq!(stage.state()["registrations"].as_array().unwrap().len(), 1);
}

/// CLI-18: a certificate that a server does not trust is shown to it once, over runs too, until somebody says so.
#[tokio::test]
async fn an_unapproved_certificate_is_not_shown_again() {
    let stage = Stage::raise().await;
    stage.play(|sent| {
        let error = json!({ "error": "unapproved_software_statement" });
        (sent.word() == "register").then(|| answer(400, &error))
    });
    let said = stage.client("register", &CONTACT).await;
    assert_eq!(said.code(), 4, "{}", said.text());
    assert!(said.text().contains("does not trust this certificate"), "{}", said.text());
    assert_eq!(stage.at.words(), ["metadata", "register"]);
    let said = stage.client("register", &CONTACT).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (4, Some("CLI-18")));
    assert!(said.text().contains("--again"), "the way out: {}", said.text());
    assert_eq!(stage.at.words(), ["metadata"], "CLI-18: not shown a second time");
    // The operator of the server has mended it.
    stage.play(|_| None);
    let said = stage.client("register", &[&CONTACT[..], &["--again"]].concat()).await;
    assert_eq!(said.code(), 0, "{}", said.text());
    assert!(stage.state().get("unapproved").is_none(), "and it is forgotten");
}
