//! The commands: that each is there and does what it says, that nothing goes where it must not, and that no key is
//! printed (CLI-27, CLI-28, CLI-29).

use serde_json::json;

use super::*;
use crate::scripted::run;

/// CLI-27: a private address is not called unless it was named, by no command.
#[tokio::test]
async fn private_addresses_are_not_called_unless_they_are_named() {
    let mut stage = Stage::raise().await.registered().await;
    stage.files.server.retain(|word| word != "--allow-private");
    let token = stage.files.private("kept.txt", "abc");
    let rows: [(&str, &[&str]); 6] = [
        ("discover", &[]),
        ("register", &CONTACT),
        ("token", &["--organization", ORGANIZATION]),
        ("update", &[]),
        ("cancel", &[]),
        ("call", &["--token", &token, "/Patient/1"]),
    ];
    for (command, more) in rows {
        let said = stage.client(command, more).await;
        assert_eq!(said.code(), 6, "{command}: {}", said.text());
        assert!(said.text().contains("egress refused"), "{command}: {}", said.text());
        assert!(stage.at.words().is_empty(), "CLI-27: {command}");
    }
    // The server named, but not its lists: these are not fetched, and nothing is believed without them.
    let only = format!("--allow-private=localhost:{}", stage.at.port);
    let said = stage.client("discover", &[&only]).await;
    assert_eq!(said.code(), 5, "{}", said.text());
    assert!(said.text().contains("egress refused"), "CLI-27: {}", said.text());
}

/// CLI-28: a key that others can read is not used, no key is printed by anything, and `--explain` shows each check with
/// its rule.
#[tokio::test]
async fn keys_are_private_and_checks_are_explained() {
    let stage = Stage::raise().await.registered().await;
    let key = std::fs::read_to_string(stage.files.path("key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let to = stage.files.path("token.txt");
    let to = to.to_str().unwrap();
    let token = ["--organization", ORGANIZATION, "--to", to];
    let call = ["--organization", ORGANIZATION, "/Patient/1"];
    let rows: [(&str, &[&str], &[&str]); 6] = [
        ("discover", &[], &["CLI-01", "M03", "M08", "M10"]),
        ("register", &CONTACT, &["M10", "REG-15", "CLI-18", "CLI-17"]),
        ("token", &token, &["M10", "B2B-09", "M24"]),
        ("call", &call, &["M10", "CLI-24"]),
        ("doctor", &[], &["M10"]),
        ("update", &["--name", "New"], &["M10", "REG-15"]),
    ];
    for (command, more, rules) in rows {
        let said = stage.files.run(command, &[more, &["--explain"]].concat()).await;
        let text = said.text();
        assert_eq!(said.code(), 0, "{command}: {text}");
        assert!(!text.contains(&secret) && !text.contains("PRIVATE KEY"), "CLI-28: {command}");
        for rule in rules {
            assert!(text.contains(rule), "CLI-28: {command} does not tell {rule}: {text}");
        }
        assert!(text.contains("passed") && !text.contains("FAILED"), "{command}: {text}");
    }
    // A fault is shown in its place, and what came after it was not reached.
    stage.play_document(stage.document(|d| d["udap_versions_supported"] = json!(["2"])));
    let told = stage.client("register", &[&CONTACT[..], &["--explain"]].concat()).await.json();
    let verdict = |rule: &str| {
        let checks = told["checks"].as_array().unwrap();
        let of = |one: &&Value| one["rules"].as_array().unwrap().contains(&json!(rule));
        checks.iter().find(of).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!((verdict("M03").as_str(), verdict("M12").as_str()), ("passed", "failed"));
    assert_eq!(verdict("M10"), "not-reached");
    // A key of everybody's.
    let open = stage.files.path("key.pem");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    stage.at.words();
    let said = stage.client("register", &CONTACT).await;
    assert!(said.code() == 2 && said.text().contains("chmod 600"), "CLI-28: {}", said.text());
    assert!(stage.at.words().is_empty());
}

/// CLI-29: every command is there; `status` and `verify` ask nobody, `update` changes only what is given, and
/// `doctor` tells good from bad. A test community comes from `ward sandbox community`.
#[tokio::test]
async fn every_command_does_what_it_says() {
    let help = run(["client", "--help"].map(ToOwned::to_owned).to_vec()).await.text();
    for command in
        ["discover", "verify", "register", "status", "update", "cancel", "token", "call", "doctor"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "CLI-29: {command}: {help}");
    }
    let stage = Stage::raise().await;
    // Nothing is registered: neither shown nor changed.
    let state = stage.files.path("state.json").to_str().unwrap().to_owned();
    let status = ["client", "status", "--state", &state, "--json"].map(ToOwned::to_owned);
    assert_eq!(run(status.to_vec()).await.code(), 1);
    assert_eq!(stage.client("update", &["--name", "x"]).await.code(), 1);
    assert_eq!(stage.at.words(), ["metadata"], "an update of nothing is no registration");
    let asked =
        ["--scope", "system/Patient.rs", "--name", "Old", "--logo", "https://p.example/l.png"];
    assert_eq!(stage.client("register", &[&CONTACT[..], &asked].concat()).await.code(), 0);
    stage.at.words();
    let told = run(status.to_vec()).await;
    assert_eq!(told.code(), 0);
    let kept = &told.json()["registrations"][0];
    assert_eq!((&kept["client_id"], &kept["base"]), (&json!("c1"), &json!(stage.at.base)));
    assert_eq!((&kept["community"], &kept["client_uri"]), (&json!(COMMUNITY), &json!(CLIENT)));
    let shown = run(status[..4].to_vec()).await.text();
    assert!(shown.contains("c1") && shown.contains(CLIENT), "{shown}");
    assert!(stage.at.words().is_empty(), "status asks nobody");

    // Update: what is not given stays.
    let said = stage.client("update", &["--name", "New"]).await;
    assert_eq!(said.code(), 0, "{}", said.text());
    let sent = one(&stage.at.seen(), "register");
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    let claims = read(body["software_statement"].as_str().unwrap());
    assert_eq!(
        (&claims["client_name"], &claims["scope"]),
        (&json!("New"), &json!("system/Patient.rs"))
    );
    assert_eq!(
        (&claims["logo_uri"], &claims["contacts"][0]),
        (&json!("https://p.example/l.png"), &json!(CONTACT[1]))
    );

    // Verify: a document that is at hand.
    stage.at.words();
    let good = stage.files.private("good.json", &stage.document(|_| ()));
    let bad = stage.document(|d| d["token_endpoint"] = json!("https://evil.example/"));
    let bad = stage.files.private("bad.json", &bad);
    assert_eq!(stage.client("verify", &[&good]).await.code(), 0);
    let said = stage.client("verify", &[&bad]).await;
    assert_eq!((said.code(), said.json()["error"]["rule"].as_str()), (5, Some("M08")));
    assert_eq!(stage.client("verify", &["/nonexistent"]).await.code(), 2);
    assert!(stage.at.words().is_empty(), "verify does not ask the server");
}

/// What `doctor` finds, by name.
fn findings(told: &Value) -> Vec<(String, String, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let all = told["findings"].as_array().unwrap_or_else(|| panic!("{told}"));
    all.iter().map(|one| (text(one, "what"), text(one, "health"), text(one, "text"))).collect()
}

/// CLI-29: `doctor` on what is well, and on one fault each.
#[tokio::test]
async fn the_doctor_names_what_is_wrong() {
    let mut stage = Stage::raise().await.registered().await;
    let health = |told: &Value, what: &str| {
        let all = findings(told);
        let worst = ["bad", "warning", "ok"];
        let of =
            |word: &&&str| all.iter().any(|(name, health, _)| name == what && health == **word);
        (*worst.iter().find(of).unwrap_or(&"none")).to_owned()
    };
    let with_token = ["--organization", ORGANIZATION];
    let said = stage.client("doctor", &with_token).await;
    let told = said.json();
    assert_eq!(said.code(), 0, "{told}");
    for what in [
        "certificate",
        "client uri",
        "key",
        "chain",
        "server",
        "clock",
        "metadata",
        "registration",
        "token",
        "list",
    ] {
        // The test's certificates live for thirty days.
        let wanted = if what == "certificate" { "warning" } else { "ok" };
        assert_eq!(health(&told, what), wanted, "{what}: {told}");
    }
    assert!(!stage.at.words().contains(&"register".to_owned()), "nothing is registered by it");

    // The clocks are apart.
    for (date, wanted) in [("Sun, 06 Nov 1994 08:49:37 GMT", "bad"), ("yesterday", "warning")] {
        let document = stage.document(|_| ());
        stage.play(move |sent| {
            (sent.word() == "metadata").then(|| {
                let mut response = Response::new(full(document.clone()));
                response.headers_mut().insert("date", date.parse().unwrap());
                response
            })
        });
        let said = stage.client("doctor", &[]).await;
        assert_eq!(health(&said.json(), "clock"), wanted, "{}", said.text());
        assert_eq!(said.code(), i32::from(wanted == "bad"), "{}", said.text());
    }
    // The server does not know the client any more.
    stage.play(|sent| {
        (sent.word() == "token").then(|| answer(400, &json!({ "error": "invalid_client" })))
    });
    let said = stage.client("doctor", &with_token).await;
    assert_eq!((said.code(), health(&said.json(), "token").as_str()), (1, "bad"));
    assert!(said.text().contains("register again"), "{}", said.text());
    // Its metadata do not hold; the rest is still looked at.
    stage.play_document(stage.document(|d| d["signed_metadata"] = json!("x")));
    let told = stage.client("doctor", &[]).await.json();
    assert_eq!((health(&told, "metadata"), health(&told, "chain")), ("bad".into(), "ok".into()));
    // The lists are gone.
    stage.play(|_| None);
    stage.pki.withdraw("/issuing.crl");
    let said = stage.client("doctor", &[]).await;
    let told = said.json();
    assert_eq!(
        (health(&told, "chain"), health(&told, "list")),
        ("bad".into(), "bad".into()),
        "{told}"
    );
    assert_eq!(said.code(), 1);
    stage.pki.publish();
    // Nobody there.
    let at = stage.files.server.iter().position(|word| word == "--base").unwrap() + 1;
    let port = crate::place::free_port();
    stage.files.server[at] = format!("https://localhost:{port}/fhir");
    let told = stage.client("doctor", &[]).await.json();
    assert_eq!(
        (health(&told, "server"), health(&told, "chain")),
        ("bad".into(), "ok".into()),
        "{told}"
    );
}
