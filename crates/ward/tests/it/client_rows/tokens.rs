//! Tokens: how they are asked for, and for whom they are used (CLI-19..22, CLI-24).

use serde_json::json;

use super::*;

/// CLI-19, CLI-20, CLI-21, CLI-22: the request for a token by the book.
#[tokio::test]
async fn a_token_is_asked_for_by_the_book() {
    let stage = Stage::raise().await.registered().await;
    let who = [
        "--organization-name",
        "Partner",
        "--purpose",
        "TREAT",
        "--subject-name",
        "Dr A",
        "--subject-role",
        "doctor",
    ];
    let mut jtis = vec![];
    for _ in 0..2 {
        let said = stage.token(&who).await;
        assert_eq!(said.code(), 0, "{}", said.text());
        let sent = one(&stage.at.seen(), "token");
        stage.at.words();
        assert_eq!((sent.method.as_str(), sent.query.as_str()), ("POST", ""));
        assert_eq!(sent.headers["content-type"], "application/x-www-form-urlencoded");
        assert!(!sent.headers.contains_key("authorization"), "CLI-20");
        let text = String::from_utf8(sent.body.to_vec()).unwrap();
        let names: Vec<&str> =
            text.split('&').map(|pair| pair.split_once('=').unwrap().0).collect();
        let wanted = ["grant_type", "scope", "client_assertion_type", "client_assertion", "udap"];
        assert_eq!(names, wanted, "CLI-20: no client_secret, and nothing else");
        let field = |name: &str| sent.form(name).unwrap();
        assert_eq!(
            (field("grant_type").as_str(), field("udap").as_str()),
            ("client_credentials", "1")
        );
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(
            (field("client_assertion_type").as_str(), field("scope").as_str()),
            (kind, "system/Patient.rs"),
            "CLI-21"
        );
        let claims = read(&field("client_assertion"));
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("c1"), &json!("c1")), "CLI-19");
        assert_eq!(claims["aud"], stage.at.url("/oauth/token"), "CLI-19");
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((1..=300).contains(&life), "CLI-19");
        jtis.push(claims["jti"].clone());
        let object = json!({ "version": "1", "organization_id": ORGANIZATION, "organization_name": "Partner",
            "subject_name": "Dr A", "subject_role": "doctor",
            "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#TREAT"] });
        assert_eq!(claims["extensions"], json!({ "hl7-b2b": object }), "CLI-22");
    }
    assert_ne!(jtis[0], jtis[1], "CLI-19: a fresh jti");
}

/// CLI-22: an `hl7-b2b` that lacks what the community demands, or is wrong in itself, is not sent.
#[tokio::test]
async fn an_incomplete_context_is_not_sent() {
    let stage = Stage::raise().await.registered().await;
    let rows: [(&str, &str, &[&str]); 5] = [
        (
            "a reference without a policy",
            "B21",
            &["--consent-reference", "https://c.example/Consent/1"],
        ),
        ("a policy that is no URI", "B2B-10", &["--consent-policy", "yes"]),
        (
            "a reference that is a file",
            "B22",
            &["--consent-policy", "urn:x:y", "--consent-reference", "file:///etc"],
        ),
        ("a wrong NPI", "B19", &["--subject-id", "urn:oid:2.16.840.1.113883.4.6#1234567890"]),
        ("no scope", "CLI-21", &["--scope", ""]),
    ];
    for (what, rule, more) in rows {
        let said = stage.token(more).await;
        assert_eq!(
            (said.code(), said.json()["error"]["rule"].as_str()),
            (2, Some(rule)),
            "{what}: {}",
            said.text()
        );
        assert_eq!(stage.at.words(), ["metadata"], "CLI-22: {what}");
    }
    // Without an organisation, or with a purpose that nobody knows, not even the server is asked what it is.
    for (more, says) in [
        (vec!["--purpose", "TREAT"], "--organization is missing"),
        (vec!["--organization", "x y"], "--organization"),
        (vec!["--organization", ORGANIZATION, "--purpose", "CURIOSITY"], "CURIOSITY is not known"),
    ] {
        let said = stage.client("token", &more).await;
        assert!(said.code() == 2 && said.text().contains(says), "{}", said.text());
        assert!(stage.at.words().is_empty(), "CLI-22");
    }
    // A further extension that the server demands, and that this client does not speak.
    stage.play_document(stage.document(|d| {
        d["udap_authorization_extensions_supported"] = json!(["hl7-b2b", "other"]);
        d["udap_authorization_extensions_required"] = json!(["hl7-b2b", "other"]);
    }));
    let said = stage.token(&[]).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (1, Some("CLI-22")));
    assert_eq!(stage.at.words(), ["metadata"], "CLI-22");
}

/// CLI-24: a kept token is used again for exactly the requestor and purpose that were asserted for it.
#[tokio::test]
async fn a_token_is_used_for_its_context_only() {
    let stage = Stage::raise().await.registered().await;
    let count = std::sync::atomic::AtomicU64::new(0);
    stage.play(move |sent| {
        (sent.word() == "token").then(|| {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            answer(200, &issued(&format!("token-{n}")))
        })
    });
    let cache = stage.files.path("cache.json");
    let cache = ["--cache", cache.to_str().unwrap()];
    let get = async |more: &[&str]| {
        let said = stage.token(&[&cache[..], more].concat()).await;
        assert_eq!(said.code(), 0, "{}", said.text());
        let token = std::fs::read_to_string(stage.files.path("token.txt")).unwrap();
        let asked = stage.at.words().contains(&"token".to_owned());
        assert_eq!(said.json()["from_cache"], !asked, "it says so");
        (token.trim().to_owned(), asked)
    };
    let fresh = |n: u64| (format!("token-{n}"), true);
    assert_eq!(get(&[]).await, fresh(1));
    assert_eq!(get(&[]).await, ("token-1".to_owned(), false), "kept over runs");
    // The whole object counts, and scopes too.
    let others: [&[&str]; 6] = [
        &["--purpose", "HPAYMT"],
        &["--purpose", "TREAT", "--purpose", "HPAYMT"],
        &["--subject-name", "Dr A"],
        &["--subject-name", "Dr B"],
        &["--organization-name", "Partner"],
        &["--scope", "system/Observation.rs"],
    ];
    for (n, other) in (2..).zip(others) {
        assert_eq!(get(other).await, fresh(n), "CLI-24: {other:?}");
    }
    assert_eq!(get(&["--subject-name", "Dr A"]).await, ("token-4".to_owned(), false));
    assert_eq!(get(&[]).await, ("token-1".to_owned(), false), "and the first is still there");
    // The cache is its owner's, and names nobody.
    let path = stage.files.path("cache.json");
    assert_eq!(crate::place::mode_of(&path), 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("Dr A") && !text.contains(ORGANIZATION), "{text}");
    // Refused at a call: forgotten, and the next run asks anew.
    let call = ["--organization", ORGANIZATION, cache[0], cache[1], "/Patient/1"];
    let said = stage.client("call", &call).await;
    assert_eq!((said.code(), said.json()["status"].as_u64()), (0, Some(200)), "{}", said.text());
    let sent = stage.at.seen();
    assert_eq!(one(&sent, "/fhir/Patient/1").headers["authorization"], "Bearer token-1");
    let again = |sent: &Sent| match sent.word().as_str() {
        "token" => Some(answer(200, &issued("anew"))),
        "/fhir/Patient/1" => Some(status(401)),
        _ => None,
    };
    stage.play(again);
    assert_eq!(stage.client("call", &call).await.code(), 1);
    assert_eq!(stage.at.words(), ["metadata", "/fhir/Patient/1"]);
    assert_eq!(stage.client("call", &call).await.code(), 1);
    assert_eq!(
        stage.at.words(),
        ["metadata", "token", "/fhir/Patient/1"],
        "a refused token is not used again"
    );
}

/// CLI-24: runs side by side lose none of each other's tokens.
#[tokio::test]
async fn runs_side_by_side_share_a_cache() {
    let stage = Stage::raise().await.registered().await;
    let cache = stage.files.path("cache.json");
    let cache = cache.to_str().unwrap();
    let people = ["Dr A", "Dr B", "Dr C", "Dr D", "Dr E", "Dr F"];
    let run = |person: &'static str, at: usize| {
        let to = stage.files.path(&format!("token-{at}.txt")).to_str().unwrap().to_owned();
        let stage = &stage;
        async move {
            let more = ["--organization", ORGANIZATION, "--cache", cache, "--to", &to];
            let said =
                stage.client("token", &[&more[..], &["--subject-name", person]].concat()).await;
            assert_eq!(said.code(), 0, "{}", said.text());
            said.json()["from_cache"] == true
        }
    };
    let at = |n: usize| run(people[n], n);
    let all = tokio::join!(at(0), at(1), at(2), at(3), at(4), at(5));
    assert_eq!(<[bool; 6]>::from(all), [false; 6], "one token each");
    for (at, person) in people.into_iter().enumerate() {
        assert!(run(person, at).await, "CLI-24: {person}'s was lost");
    }
}

/// CLI-22: an extension object that the server requires is sent from a file, and counts for the use of the token (CLI-24).
#[tokio::test]
async fn further_extension_objects_come_from_files() {
    let stage = Stage::raise().await.registered().await;
    let document = stage.document(|d| {
        d["udap_authorization_extensions_supported"] = json!(["hl7-b2b", "hl7-b2b-user"]);
        d["udap_authorization_extensions_required"] = json!(["hl7-b2b", "hl7-b2b-user"]);
    });
    stage.play_document(document);
    let person = json!({ "version": "1", "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#TREAT"],
        "user_person": { "resourceType": "Person", "birthDate": "1980-01-01",
            "name": [{ "family": "Sample", "given": ["Ann"] }],
            "telecom": [{ "system": "phone", "value": "+1-555-0100" },
                { "system": "email", "value": "ann@partner.example" }] } });
    let good = stage.files.private("person.json", &person.to_string());
    let with = |file: &str| format!("hl7-b2b-user={file}");
    let said = stage.token(&["--extension", &with(&good)]).await;
    assert_eq!(said.code(), 0, "{}", said.text());
    let claims = read(&one(&stage.at.seen(), "token").form("client_assertion").unwrap());
    assert_eq!(claims["extensions"]["hl7-b2b-user"], person, "CLI-22");
    assert_eq!(claims["extensions"]["hl7-b2b"]["organization_id"], ORGANIZATION);
    assert!(!said.text().contains("Ann"), "what is said of a person is not printed");
    stage.at.words();
    // A person of whom nothing is known is not sent; nor is what is no object, or not there.
    let empty = stage.files.private("empty.json", "{\"version\":\"1\"}");
    let said = stage.token(&["--extension", &with(&empty)]).await;
    assert_eq!(
        (said.code(), stage.at.words().as_slice()),
        (2, &["metadata".to_owned()][..]),
        "{}",
        said.text()
    );
    let list = stage.files.private("list.json", "[]");
    for wrong in
        [with(&list), with("/nonexistent"), "hl7-b2b-user".to_owned(), format!("hl7-b2b={good}")]
    {
        let said = stage.token(&["--extension", &wrong]).await;
        assert!(said.code() == 2 && said.text().contains("--extension"), "{}", said.text());
        assert!(stage.at.words().is_empty(), "{wrong}");
    }
}

/// CLI-24: a token stays at the base that it was issued for, whatever is given as a path.
#[tokio::test]
async fn a_token_does_not_leave_its_base() {
    let stage = Stage::raise().await.registered().await;
    let token = stage.files.private("kept.txt", "secret-token\n");
    for path in
        ["@evil.example/x", ".evil.example/x", "//evil.example/x", "/\\evil.example", "/a b"]
    {
        let said = stage.client("call", &["--token", &token, path]).await;
        for sent in stage.at.seen() {
            assert_eq!(sent.host, format!("localhost:{}", stage.at.port), "{path}");
            assert!(sent.path.starts_with("/fhir/"), "{path}: {}", sent.path);
        }
        assert!(!said.text().contains("secret-token"), "{path}");
        stage.at.words();
    }
    let elsewhere = ["--token", &token, "--base", "https://other.example/fhir", "/Patient/1"];
    let said = stage.client("call", &elsewhere).await;
    assert_ne!(said.code(), 0);
    assert!(stage.at.words().is_empty(), "CLI-24");
}

/// CLI-24: a server that names the endpoints of another one gets no token of that one's: what was registered at a base is used there only.
#[tokio::test]
async fn a_server_with_the_endpoints_of_another_gets_none_of_its_tokens() {
    let mut stage = Stage::raise().await.registered().await;
    let lying = stage.at.url("/lying");
    let member = stage.pki.issue(&Leaf { key: Key::Rsa, ..Leaf::client(&lying) });
    let claims = json!({ "iss": lying, "sub": lying });
    let document = document_of(&stage.at, &member, |_| (), claims.as_object().unwrap());
    stage.play(move |sent| match sent.path.as_str() {
        "/lying/.well-known/udap" => Some(Response::new(full(document.clone()))),
        "/lying/Patient/1" => Some(answer(200, &json!({ "resourceType": "Patient" }))),
        _ => None,
    });
    let base = stage.files.server[1].clone();
    stage.files.server[1].clone_from(&lying);
    let call = ["--organization", ORGANIZATION, "/Patient/1"];
    for command in ["token", "call", "cancel"] {
        let said = match command {
            "token" => stage.token(&[]).await,
            "call" => stage.client(command, &call).await,
            _ => stage.client(command, &[]).await,
        };
        assert_eq!(said.code(), 1, "{command}: {}", said.text());
        assert!(said.text().contains(&base), "{command}: {}", said.text());
        assert_eq!(stage.at.words(), ["/lying/.well-known/udap"], "{command}");
    }
    // One server with two bases is registered at each, and said so.
    let said = stage.client("register", &CONTACT).await;
    assert_eq!(said.code(), 0, "{}", said.text());
    assert!(said.text().contains("names the same registration endpoint"), "{}", said.text());
    assert_eq!(stage.client("call", &call).await.code(), 0);
    stage.files.server[1].clone_from(&base);
    assert_eq!(stage.client("call", &call).await.code(), 0, "both are known");
}
