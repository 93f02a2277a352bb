//! The way from observing to enforcing, by the report and a reload.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use ward_audit::Reader;
use ward_core::EventKind;

use crate::harness::{ISS, parse};
use crate::pki::Pki;
use crate::place::{Place, Serving, as_partner, ask, replaced, said, sandbox, ward};

/// The whole way of a hospital: `ward init` observes, the report says what would be refused and which lines
/// to write, and the switch takes effect on connections that stay.
#[tokio::test(flavor = "multi_thread")]
async fn from_observing_to_enforcing_by_report_and_reload() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::observing(&upstream.base_url);
    place.join(&mut pki);
    place.patient();
    let (good, checked) = place.check();
    assert!(good && checked.to_string().contains("NOTHING IS BLOCKED"), "{checked}");
    let early = ward(&["report", "would-refuse", "--config", &place.config()]);
    assert!(!early.status.success() && said(&early).contains("no log yet"), "{}", said(&early));
    assert!(!place.path("w/data/vault").exists(), "a report makes nothing");

    let before = std::fs::read_to_string(place.toml()).unwrap();
    let edited = |text: &str, table: &str| {
        let start = text.find("[observe]").unwrap();
        let end = start + text[start + 1..].find("\n[").unwrap() + 1;
        format!("{}{table}{}", &text[..start], &text[end..])
    };
    // A name of nobody is told when Ward starts.
    let misspelt = "[observe.clients]\n\"https://partner.example/ap\" = \"enforce\"\n";
    std::fs::write(place.toml(), edited(&before, misspelt)).unwrap();
    let mut serving = Serving::start(&place).await;
    serving.until("OBSERVE MODE: Ward decides and logs but BLOCKS NOTHING").await;
    serving.until("nobody is registered under this name of [observe.clients]").await;
    std::fs::write(place.toml(), &before).unwrap();
    let (_, mut kept) = place.connect().await;
    let secret = "/default/fhir/Patient?name=Zimmermann&identifier=MRN-4711";
    assert_eq!(ask(&mut kept, secret).await, 200, "nobody is refused");

    let partner = place.partner(&mut pki);
    let client = |command: &[&str], more: &[&str]| as_partner(&partner, command, more);
    let scope = "system/Patient.rs system/Practitioner.rs";
    let contact = "mailto:ops@partner.example";
    let registered = client(
        &["client", "register"],
        &["--contact", contact, "--scope", scope, "--name", "Partner"],
    );
    assert!(registered.to_string().contains("client_id"), "{registered}");
    let organization = ["--organization", "https://partner.example/org"];
    let token =
        client(&["client", "token"], &[&organization[..], &["--scope", scope, "--show"]].concat());
    let token = token["token"].as_str().unwrap_or_else(|| panic!("{token}")).to_owned();
    let (_, mut known) = place.connect().await;
    let bearer = format!("authorization: Bearer {token}\r\n");
    assert_eq!(ask_with(&mut known, "/default/fhir/Practitioner?_count=1", &bearer).await, 200);

    // A client for whom nothing would change can be switched; anonymous callers would be refused.
    let report = |more: &[&str]| {
        let config = place.config();
        let all = [&["report", "would-refuse", "--config", &config][..], more].concat();
        let output = ward(&all);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let text = report(&[]);
    for word in [
        "mode is observe",
        "anonymous  1 request, 1 would be refused",
        "G01",
        "1 × GET Patient ?identifier&name",
        "https://partner.example/app  1 request, none would be refused",
        "\"https://partner.example/app\" = \"enforce\"",
        "have them register",
    ] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }

    // Now it asks for patients, and there is no roster: not clean any more.
    assert_eq!(
        ask_with(&mut known, "/default/fhir/Patient?_count=3&birthdate=lt2026-01-01", &bearer)
            .await,
        200
    );
    let text = report(&[]);
    assert!(text.contains("ROSTER") && text.contains("GET Patient ?_count&birthdate"), "{text}");
    assert!(!text.contains("[observe.clients]"), "{text}");
    let found: Value = serde_json::from_str(&report(&["--json", "--client", ISS])).unwrap();
    let clients = found["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 1, "{found}");
    assert_eq!((&clients[0]["requests"], &clients[0]["would_refuse"]), (&json!(2), &json!(1)));
    let row = &clients[0]["rules"][0];
    assert_eq!(
        (&row["rule"], &row["records_withheld"], &row["answered"]),
        (&json!("ROSTER"), &json!(3), &json!(1))
    );
    // No value, no id of a record, and no more of a URL than FHIR's words.
    let everything = report(&[]) + &report(&["--json"]);
    for word in ["Zimm", "lt2026", "MRN", "4711", "default/fhir", "synthetic-", &token[..20]] {
        assert!(!everything.contains(word), "{word} is in:\n{everything}");
    }

    // The switch, by the lines of the report; connections stay.
    let table = format!("{misspelt}\"https://partner.example/app\" = \"enforce\"\n");
    std::fs::write(place.toml(), edited(&before, &table)).unwrap();
    serving.hush();
    serving.signal("-HUP");
    serving.until("is in force").await;
    serving.until("OBSERVE MODE").await;
    let told = serving.said();
    let named: Vec<_> = told.lines().filter(|line| line.contains("nobody is registered")).collect();
    assert!(named.len() == 1 && named[0].contains("partner.example/ap\""), "{told}");
    let text = report(&[]);
    assert!(text.contains("not seen in this time: https://partner.example/ap. See"), "{text}");
    let found: Value = serde_json::from_str(&report(&["--json"])).unwrap();
    assert_eq!(found["named_but_not_seen"], json!(["https://partner.example/ap"]));
    assert_eq!(ask_with(&mut known, "/default/fhir/Patient?_count=3", &bearer).await, 403);
    assert_eq!(ask_with(&mut known, "/default/fhir/Practitioner?_count=1", &bearer).await, 200);
    assert_eq!(ask(&mut kept, "/default/fhir/Patient?_count=1").await, 200, "still observed");

    // A mistake changes nothing.
    std::fs::write(place.toml(), edited(&before, "[observe.rules]\nROSTR = \"enforce\"\n"))
        .unwrap();
    serving.hush();
    serving.signal("-HUP");
    serving.until("did you mean `ROSTER`?").await;
    assert_eq!(ask_with(&mut known, "/default/fhir/Patient?_count=3", &bearer).await, 403);
    assert_eq!(ask(&mut kept, "/default/fhir/Patient?_count=1").await, 200);

    // Enforce; and without the word it is the same.
    for mode in ["mode = \"enforce\"", "#"] {
        std::fs::write(place.toml(), replaced(&before, "mode = \"observe\"", mode)).unwrap();
        serving.hush();
        serving.signal("-HUP");
        serving.until("is in force").await;
        assert!(!serving.said().contains("OBSERVE MODE"), "{}", serving.said());
        assert_eq!(ask(&mut kept, "/default/fhir/Patient?_count=1").await, 401);
        assert_eq!(ask_with(&mut known, "/default/fhir/Patient?_count=3", &bearer).await, 403);
    }
    // Each switch is an operator's act in the log.
    let reader = Reader::open_dir(&place.path("w/data/log"), None).unwrap();
    let switches: Vec<String> = reader
        .leaves(0..reader.size())
        .map(|leaf| leaf.unwrap().1)
        .filter(|leaf| leaf.kind == EventKind::Operator && leaf.action.starts_with("mode-"))
        .map(|leaf| leaf.action)
        .collect();
    assert_eq!(switches, ["mode-observe", "mode-observe", "mode-enforce"]);
    let text = report(&[]);
    assert!(text.contains("mode is enforce: what is listed here passed before"), "{text}");
}

/// One request with a further header line on a connection that stays; the status.
async fn ask_with(stream: &mut TlsStream<TcpStream>, target: &str, header: &str) -> u16 {
    let port = stream.get_ref().0.peer_addr().unwrap().port();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..n]);
        let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let answer = parse(&received);
        let length: usize = answer.header("content-length").map_or(0, |v| v.parse().unwrap());
        if received.len() >= end + 4 + length {
            return answer.status;
        }
    }
}
