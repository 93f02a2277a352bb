//! `udap.md` §7.1 (signatures) and §7.3 (certificates) at the registration endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use rcgen::KeyUsagePurpose;

use super::pki::Leaf;
use super::registration::nothing_registered;
use super::*;

const STATEMENT: &str = "invalid_software_statement";
const UNAPPROVED: &str = "unapproved_software_statement";

#[tokio::test]
async fn statements_that_are_not_soundly_signed_are_refused() {
    let world = World::new();
    let member = &PKI.client;
    let payload = Value::Object(statement(CLIENT_URI)).to_string();
    let x5c = member.identity.x5c();
    let others = PKI.other.identity.x5c();
    let entry = x5c[0].as_str().unwrap().to_owned();
    let der = STANDARD.decode(&entry).unwrap();
    let es256 = jws_header(member, Alg::Es256);
    let raw = |header: &Value| sign_raw(member, header, &payload);
    let with = |name: &str, value: Value| {
        let mut header = es256.clone();
        header[name] = value;
        raw(&header)
    };
    let good = raw(&es256);
    let parts: Vec<&str> = good.split('.').collect();
    let (head, claims, signature) = (parts[0], parts[1], parts[2]);
    let unsigned = |alg: &str| {
        let header = json!({ "alg": alg, "x5c": x5c });
        format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    let flipped = {
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[5] ^= 1;
        format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let changed = {
        let mut other = statement(CLIENT_URI);
        other.insert("scope".into(), json!("system/Encounter.rs"));
        format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(Value::Object(other).to_string()))
    };
    let hmac = {
        // Keyed with the certificate, as a verifier that trusts `alg` would do.
        let header = json!({ "alg": "HS256", "x5c": x5c });
        let input = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let mac = ward_core::crypto::sha256(&[&der, input.as_bytes()]);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac))
    };
    let twice = |text: &str| sign_raw(member, &es256, text);
    let mut long_der = der.clone();
    long_der.push(0);
    let victims = json!({ "alg": "ES256", "x5c": [others[0], x5c[0]] });
    let lines: Vec<_> = entry.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let wrapped = lines.join(
        "
",
    ) + "
";
    let rows = [
        ("R08 none", unsigned("none")),
        ("R08 NONE", unsigned("NoNe")),
        ("R08 empty signature", format!("{head}.{claims}.")),
        ("R09", hmac),
        ("R10 PS256", with("alg", json!("PS256"))),
        ("R10 EdDSA", with("alg", json!("EdDSA"))),
        ("R10 RS512", with("alg", json!("RS512"))),
        ("R11 RS256 with EC key", with("alg", json!("RS256"))),
        ("R11 ES384 with P-256", with("alg", json!("ES384"))),
        ("R12", with("alg", json!("es256"))),
        ("R13 bit", flipped),
        ("R13 another key", sign_raw(&PKI.other, &es256, &payload)),
        ("R14", changed),
        ("R15", sign_raw(member, &victims, &payload)),
        (
            "R16 jwk without x5c",
            raw(&json!({ "alg": "ES256", "jku": "https://evil.test/jwks", "kid": "1" })),
        ),
        ("R17 missing", raw(&json!({ "alg": "ES256" }))),
        ("R17 empty", with("x5c", json!([]))),
        ("R17 string", with("x5c", json!(entry))),
        ("R17 number", with("x5c", json!([entry, 1]))),
        ("R17 null", with("x5c", Value::Null)),
        ("R18 base64url", with("x5c", json!([URL_SAFE.encode(&der)]))),
        (
            "R18 PEM",
            with(
                "x5c",
                json!([format!("-----BEGIN CERTIFICATE-----\n{wrapped}-----END CERTIFICATE-----")]),
            ),
        ),
        ("R18 lines", with("x5c", json!([wrapped]))),
        ("R18 trailing", with("x5c", json!([STANDARD.encode(&long_der)]))),
        ("R19", with("x5c", json!([STANDARD.encode(PKI.a.root.der()), x5c[1], x5c[0]]))),
        ("R20 many", with("x5c", json!(vec![entry.clone(); 11]))),
        ("R20 large", with("x5c", json!([STANDARD.encode(vec![0x30; 16 * 1024 + 1])]))),
        ("R21 crit", with("crit", json!(["exp"]))),
        ("R21 empty crit", with("crit", json!([]))),
        ("R21 b64", with("b64", json!(false))),
        ("R22 zeros", format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("R22 short", format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode([1; 63]))),
        ("R23 claim", twice(&payload.replacen('{', r#"{"iss":"https://partner.test/app","#, 1))),
        ("R24 padding", format!("{good}=")),
        (
            "R24 alphabet",
            format!("{head}.{claims}.{}", signature.replace(['-', '_'], "+"))
                + if signature.contains(['-', '_']) { "" } else { "+" },
        ),
        ("R41 access token", "wat_AQAAAAE".to_owned()),
        ("JWT-13 typ", with("typ", json!("at+jwt"))),
        ("JWT-10 payload is an array", twice("[]")),
    ];
    for (id, statement) in rows {
        world.register(&envelope(&statement)).await.refuses(id, 400, STATEMENT);
    }
    nothing_registered(&world, "after all rows").await;
    assert!(world.events().await.is_empty(), "nobody who is not a member fills the log");
    // R16: keys elsewhere in the header are ignored when `x5c` verifies.
    let ignored = with("jku", json!("https://evil.test/jwks"));
    assert_eq!(world.register(&envelope(&ignored)).await.status, 201);
}

#[tokio::test]
async fn certificates_that_no_community_vouches_for_are_refused() {
    let world = World::new();
    let leaf = |change: &dyn Fn(&mut Leaf<'static>)| {
        let mut leaf = Leaf::default();
        change(&mut leaf);
        PKI.a.issue(&leaf)
    };
    let rows = [
        ("X01", leaf(&|l| l.not_after = -60)),
        ("X02", leaf(&|l| l.not_before = 60)),
        ("X06", PKI.stranger.issue(&Leaf::default())),
        ("X33", leaf(&|l| l.usage = KeyUsagePurpose::KeyEncipherment)),
        ("X38, R28", leaf(&|l| l.uris = &[])),
        (
            "X39",
            leaf(&|l| {
                l.uris = &[];
                l.dns = Some("partner.test");
            }),
        ),
    ];
    for (id, member) in rows {
        let answer = world.statement(&member, &statement(CLIENT_URI)).await;
        answer.refuses(id, 400, UNAPPROVED);
    }
    // X07: the stranger's root in `x5c` is no anchor.
    let stranger = PKI.stranger.issue(&Leaf::default());
    let mut header = jws_header(&stranger, Alg::Es256);
    header["x5c"].as_array_mut().unwrap().push(json!(STANDARD.encode(PKI.stranger.root.der())));
    let payload = Value::Object(statement(CLIENT_URI)).to_string();
    let compact = sign_raw(&stranger, &header, &payload);
    world.register(&envelope(&compact)).await.refuses("X07", 400, UNAPPROVED);
    // X26: without the intermediate there is no path.
    let header = json!({ "alg": "ES256", "x5c": [PKI.client.identity.x5c()[0]] });
    let compact = sign_raw(&PKI.client, &header, &payload);
    world.register(&envelope(&compact)).await.refuses("X26", 400, UNAPPROVED);
    // X10, X12: revoked leaf and intermediate.
    for (id, serial) in [("X10", PKI.client.serial), ("X12", 2)] {
        *world.paths.revoked.lock().unwrap() = vec![serial];
        let answer = world.statement(&PKI.client, &statement(CLIENT_URI)).await;
        answer.refuses(id, 400, UNAPPROVED);
    }
    world.paths.revoked.lock().unwrap().clear();
    // X14, X15: lists out of reach or out of date are no verdict on the certificate.
    world.paths.outage.store(true, Ordering::SeqCst);
    let answer = world.statement(&PKI.client, &statement(CLIENT_URI)).await;
    answer.refuses("X14", 503, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "5", "T36");
    world.paths.outage.store(false, Ordering::SeqCst);
    world.paths.next_update.store(60, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(61));
    let answer = world.statement(&PKI.client, &statement(CLIENT_URI)).await;
    answer.refuses("X15: new registrations stop", 503, "temporarily_unavailable");
    nothing_registered(&world, "after all rows").await;
    world.paths.next_update.store(86_400, Ordering::SeqCst);
    assert_eq!(world.statement(&PKI.renewed, &statement(CLIENT_URI)).await.status, 201);
}
