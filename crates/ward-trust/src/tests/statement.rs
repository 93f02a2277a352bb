//! Rows R25..R36 and R41, R42 of udap.md §7.1 and P02..P16 of §7.2, each with wire code and rule.

use serde_json::{Value, json};
use ward_core::Limits;

use super::pki::{CLIENT, NOW, World, now, p256, uri};
use crate::{Alg, GrantTypes, Jws, Profile, SigningIdentity, SoftwareStatement, StatementError};

const ENDPOINT: &str = "https://as.example/t1/oauth/register";

/// Members to set, or to remove with the word `REMOVE`.
type Changes = Vec<(&'static str, Value)>;

fn credentials() -> Value {
    json!({
        "iss": CLIENT, "sub": CLIENT, "aud": ENDPOINT,
        "iat": NOW, "exp": NOW + 300, "jti": "one",
        "client_name": "Client", "grant_types": ["client_credentials"],
        "contacts": ["mailto:a@client.example"],
        "token_endpoint_auth_method": "private_key_jwt",
        "scope": "system/Patient.rs system/Observation.rs",
    })
}

fn code() -> Value {
    let mut claims = credentials();
    claims["grant_types"] = json!(["authorization_code", "refresh_token"]);
    claims["response_types"] = json!(["code"]);
    claims["redirect_uris"] = json!(["https://client.example/cb", "https://client.example/cb2"]);
    claims["logo_uri"] = json!("https://client.example/logo.png");
    claims
}

/// The base with members set, or removed where the value is the word `REMOVE`.
fn edit(mut base: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        if value == "REMOVE" {
            base.as_object_mut().unwrap().remove(*name);
        } else {
            base[*name] = value.clone();
        }
    }
    base
}

fn validate_as(
    identity: &SigningIdentity,
    profile: Profile,
    claims: &str,
) -> Result<SoftwareStatement, StatementError> {
    let header = json!({"alg": "ES256", "x5c": identity.x5c()}).to_string();
    let token = identity.sign_raw(Alg::Es256, header.as_bytes(), claims.as_bytes()).unwrap();
    let limits = Limits::default();
    let jws = Jws::parse(&token, &limits)?.verify(&Alg::ALL)?;
    SoftwareStatement::validate_for(profile, &jws, ENDPOINT, now(), &limits)
}

fn identity() -> SigningIdentity {
    World::new().leaf.identity(&[])
}

#[test]
fn honest_statements_are_read() {
    let identity = identity();
    let read = |claims: Value| validate_as(&identity, Profile::Stu2, &claims.to_string());
    let statement = read(credentials()).unwrap();
    assert_eq!(statement.iss.as_str(), CLIENT);
    assert_eq!(statement.grant_types, GrantTypes::ClientCredentials);
    assert_eq!(statement.exp.as_seconds(), NOW + 300);
    assert_eq!(
        Value::Object(statement.parameters()),
        json!({
            "client_name": "Client", "grant_types": ["client_credentials"],
            "contacts": ["mailto:a@client.example"],
            "token_endpoint_auth_method": "private_key_jwt",
            "scope": "system/Patient.rs system/Observation.rs",
        }),
        "REG-22, REG-23"
    );
    let statement = read(code()).unwrap();
    assert_eq!(statement.grant_types, GrantTypes::AuthorizationCode { refresh: true });
    let parameters = statement.parameters();
    for name in ["redirect_uris", "response_types", "logo_uri", "grant_types"] {
        assert_eq!(parameters[name], code()[name], "{name}");
    }
    for (row, base, changes) in [
        ("REG-08 array", credentials(), vec![("aud", json!(["https://x/", ENDPOINT]))]),
        (
            "§8.4 iat within the skew",
            credentials(),
            vec![("iat", json!(NOW + 60)), ("exp", json!(NOW + 300))],
        ),
        (
            "§8.4 exp within the skew",
            credentials(),
            vec![("iat", json!(NOW - 360)), ("exp", json!(NOW - 60))],
        ),
        ("R35 nbf now", credentials(), vec![("nbf", json!(NOW))]),
        ("R36 256 characters", credentials(), vec![("jti", json!("\u{e9}".repeat(256)))]),
        (
            "REG-16 logo with client credentials",
            credentials(),
            vec![("logo_uri", json!("https://client.example/a.gif"))],
        ),
        (
            "P12 extensionless logo",
            code(),
            vec![("logo_uri", json!("https://client.example/v1.2/logo"))],
        ),
        ("P13 logo on this host", code(), vec![("logo_uri", json!("https://127.0.0.1/logo.png"))]),
        ("REG-12 without refresh", code(), vec![("grant_types", json!(["authorization_code"]))]),
        (
            "REG-15 web page beside",
            credentials(),
            vec![("contacts", json!(["https://x.example/", "mailto:a@b"]))],
        ),
        (
            "REG-29 keys are ignored",
            credentials(),
            vec![("jwks", json!({"keys": []})), ("jwks_uri", json!("file:///x"))],
        ),
        ("TOK-13 unknown claims", credentials(), vec![("whatever", json!(null))]),
    ] {
        assert!(read(edit(base, &changes)).is_ok(), "{row}");
    }
    for changes in [
        vec![("grant_types", json!([]))],
        vec![
            ("grant_types", json!([])),
            ("redirect_uris", json!([])),
            ("response_types", json!(["code"])),
        ],
    ] {
        let statement = read(edit(credentials(), &changes)).unwrap();
        assert_eq!(statement.grant_types, GrantTypes::Cancel, "MOD-07, §8.11");
        assert_eq!(statement.parameters()["grant_types"], json!([]));
    }
    let bare = edit(credentials(), &[("scope", json!("REMOVE"))]).to_string();
    assert_eq!(validate_as(&identity, Profile::Stu1, &bare).unwrap().scope, "", "REG-19");
}

#[test]
fn rows_r25_to_r42() {
    let identity = identity();
    let invalid = "invalid_software_statement";
    let cases: Vec<(&str, &str, Changes)> = vec![
        ("R25", "missing", vec![("iss", json!("REMOVE"))]),
        ("R25", "array", vec![("iss", json!([CLIENT]))]),
        ("R25", "number", vec![("iss", json!(1))]),
        ("R25", "empty", vec![("iss", json!(""))]),
        ("R26", "invalid_iss", vec![("iss", json!("invalid_iss")), ("sub", json!("invalid_iss"))]),
        ("R26", "R27 slash", vec![("iss", json!(format!("{CLIENT}/")))]),
        ("R26", "R27 host case", vec![("iss", json!("https://Client.example/udap"))]),
        ("R26", "R27 port", vec![("iss", json!("https://client.example:443/udap"))]),
        ("R26", "R27 percent", vec![("iss", json!("https://client.example/%75dap"))]),
        ("R26", "R28 host only", vec![("iss", json!("client.example"))]),
        ("R26", "R28 CN", vec![("iss", json!("Client"))]),
        ("R29", "differs", vec![("sub", json!("https://client.example/other"))]),
        ("R29", "missing", vec![("sub", json!("REMOVE"))]),
        ("R29", "array", vec![("sub", json!([CLIENT]))]),
        ("R30", "missing", vec![("aud", json!("REMOVE"))]),
        ("R30", "other server, R42", vec![("aud", json!("https://other.example/register"))]),
        ("R30", "token endpoint", vec![("aud", json!("https://as.example/t1/oauth/token"))]),
        ("R30", "FHIR base", vec![("aud", json!("https://as.example/t1/fhir"))]),
        ("R30", "http", vec![("aud", json!("http://as.example/t1/oauth/register"))]),
        ("R30", "slash", vec![("aud", json!(format!("{ENDPOINT}/")))]),
        ("R30", "query", vec![("aud", json!(format!("{ENDPOINT}?x")))]),
        ("R30", "array without ours", vec![("aud", json!(["https://x/"]))]),
        ("R30", "empty array", vec![("aud", json!([]))]),
        ("R30", "array with a number", vec![("aud", json!([ENDPOINT, 1]))]),
        ("R31", "missing", vec![("exp", json!("REMOVE"))]),
        ("R31", "string", vec![("exp", json!((NOW + 300).to_string()))]),
        ("R31", "float", vec![("exp", json!(1_800_000_300.5))]),
        ("R31", "whole float", vec![("exp", json!(1_800_000_300.0))]),
        ("R31", "negative", vec![("exp", json!(-1))]),
        ("R31", "zero", vec![("exp", json!(0))]),
        ("R31", "2^63", vec![("exp", json!(1_u64 << 63))]),
        ("R31", "2^63 - 1", vec![("exp", json!(i64::MAX))]),
        ("R33", "milliseconds", vec![("exp", json!((NOW + 300) * 1000))]),
        ("R32", "expired", vec![("iat", json!(NOW - 361)), ("exp", json!(NOW - 61))]),
        ("R33", "301 s", vec![("exp", json!(NOW + 301))]),
        ("R33", "a year", vec![("exp", json!(NOW + 31_536_000))]),
        ("R33", "301 s, long past", vec![("iat", json!(NOW - 301)), ("exp", json!(NOW))]),
        ("R34", "missing", vec![("iat", json!("REMOVE"))]),
        ("R34", "string", vec![("iat", json!("now"))]),
        ("R34", "future", vec![("iat", json!(NOW + 61)), ("exp", json!(NOW + 300))]),
        ("R34", "after exp", vec![("iat", json!(NOW + 10)), ("exp", json!(NOW + 9))]),
        ("R35", "future", vec![("nbf", json!(NOW + 61))]),
        ("R35", "not a date", vec![("nbf", json!("x"))]),
        ("R36", "missing", vec![("jti", json!("REMOVE"))]),
        ("R36", "number", vec![("jti", json!(1))]),
        ("R36", "empty", vec![("jti", json!(""))]),
        ("R36", "257 characters", vec![("jti", json!("x".repeat(257)))]),
    ];
    for (rule, row, changes) in cases {
        let claims = edit(credentials(), &changes).to_string();
        let error = validate_as(&identity, Profile::Stu2, &claims).unwrap_err();
        assert_eq!((error.code(), error.fault().rule), (invalid, rule), "{rule} {row}");
    }
    // R41: an authentication token is no statement.
    let token =
        json!({"iss": "id", "sub": "id", "aud": ENDPOINT, "iat": NOW, "exp": NOW + 60, "jti": "x"});
    let error = validate_as(&identity, Profile::Stu2, &token.to_string()).unwrap_err();
    assert_eq!((error.code(), error.fault().rule), (invalid, "R26"));
    // X38: a certificate without a URI is a matter of trust.
    let bare =
        World::new().issuing.leaf_with(p256(), |p| p.subject_alt_names = vec![]).identity(&[]);
    let error = validate_as(&bare, Profile::Stu2, &credentials().to_string()).unwrap_err();
    assert_eq!((error.code(), error.fault().rule), ("unapproved_software_statement", "X38"));
    // R25: a SAN entry that is no absolute URI names no client.
    let odd = World::new()
        .issuing
        .leaf_with(p256(), |p| p.subject_alt_names = vec![uri("odd")])
        .identity(&[]);
    let claims = edit(credentials(), &[("iss", json!("odd")), ("sub", json!("odd"))]).to_string();
    assert_eq!(validate_as(&odd, Profile::Stu2, &claims).unwrap_err().fault().rule, "R25");
    // R10: faults of the JWS come out under the same code.
    let error = StatementError::from(crate::JoseError::Algorithm);
    assert_eq!((error.code(), error.fault().rule), (invalid, "R10"));
    let error = StatementError::from(crate::PathError::Revoked);
    assert_eq!((error.code(), error.fault().rule), ("unapproved_software_statement", "X10"));
}

#[test]
fn two_uris_of_one_certificate_are_two_clients() {
    let two = "https://client.example/two";
    let world = World::new();
    let identity = world
        .issuing
        .leaf_with(p256(), |p| p.subject_alt_names = vec![uri(CLIENT), uri(two)])
        .identity(&[]);
    for name in [CLIENT, two] {
        let claims = edit(credentials(), &[("iss", json!(name)), ("sub", json!(name))]).to_string();
        let statement = validate_as(&identity, Profile::Stu2, &claims).unwrap();
        assert_eq!(statement.iss.as_str(), name, "PKI-12, P23");
    }
}

#[test]
fn rows_p02_to_p16() {
    const METADATA: &str = "invalid_client_metadata";
    const REDIRECT: &str = "invalid_redirect_uri";
    let identity = identity();
    let many: Vec<_> = (0..21).map(|n| format!("https://client.example/{n}")).collect();
    let mut cases: Vec<(&str, &str, Value, (&str, Value))> = vec![];
    for bad in [
        json!("REMOVE"),
        json!(""),
        json!(" "),
        json!("x".repeat(10_240)),
        json!("a\u{7}"),
        json!("a\u{202e}b"),
        json!(1),
    ] {
        cases.push(("P02", METADATA, credentials(), ("client_name", bad)));
    }
    cases.push(("P03", METADATA, credentials(), ("grant_types", json!("REMOVE"))));
    cases.push((
        "P04",
        METADATA,
        code(),
        ("grant_types", json!(["authorization_code", "client_credentials"])),
    ));
    for bad in [json!(["refresh_token"]), json!(["client_credentials", "refresh_token"])] {
        cases.push(("P05", METADATA, credentials(), ("grant_types", bad)));
    }
    for bad in [
        json!(["implicit"]),
        json!(["password"]),
        json!(["urn:ietf:params:oauth:grant-type:jwt-bearer"]),
        json!(["client_credentials", "client_credentials"]),
        json!("client_credentials"),
        json!([null]),
        json!(null),
        json!({}),
    ] {
        cases.push(("P06", METADATA, credentials(), ("grant_types", bad)));
    }
    for bad in
        [json!("REMOVE"), json!([]), json!("https://client.example/cb"), json!(many), json!([1])]
    {
        cases.push(("P07", REDIRECT, code(), ("redirect_uris", bad)));
    }
    for bad in [
        "http://client.example/cb",
        "myapp://cb",
        "javascript:alert(1)",
        "/cb",
        "//client.example/cb",
        "https://client.example/cb#f",
        "https://client.example/cb#",
        "https://u:p@client.example/cb",
        "https://*.client.example/cb",
        "https://client.example/*",
        "https://localhost/cb",
        "https://127.0.0.1/cb",
        "https://[::1]/cb",
        "https:///cb",
        "",
        "https://client.example/ cb",
        "https://client.example\\@evil.example/cb",
    ] {
        let uris = json!(["https://client.example/good", bad]);
        cases.push(("P08", REDIRECT, code(), ("redirect_uris", uris)));
    }
    for bad in [json!(["https://client.example/cb"]), json!([])] {
        cases.push(("P09", METADATA, credentials(), ("redirect_uris", bad)));
    }
    for bad in [
        json!("REMOVE"),
        json!(["token"]),
        json!(["code", "id_token"]),
        json!(["code", "token"]),
        json!("code"),
        json!([]),
    ] {
        cases.push(("P10", METADATA, code(), ("response_types", bad)));
    }
    cases.push(("P10", METADATA, credentials(), ("response_types", json!(["code"]))));
    for bad in [
        json!("REMOVE"),
        json!([]),
        json!(["https://x.example/"]),
        json!(["mailto:"]),
        json!(["mailto:a"]),
        json!(["mailto:@b"]),
        json!(["mailto:a@"]),
        json!(["a@b.example"]),
        json!("mailto:a@b"),
        json!(["mailto:a@b", "x y"]),
        json!(["mailto:a@b", 1]),
    ] {
        cases.push(("P11", METADATA, credentials(), ("contacts", bad)));
    }
    for bad in [
        json!("REMOVE"),
        json!("http://client.example/a.png"),
        json!("https://client.example/a.svg"),
        json!("https://client.example/a.SVG?x=.png"),
        json!("data:image/png;base64,AAAA"),
        json!("ftp://x/a.png"),
        json!("/a.png"),
        json!(["https://client.example/a.png"]),
        json!(""),
    ] {
        cases.push(("P12", METADATA, code(), ("logo_uri", bad)));
    }
    cases.push((
        "P12",
        METADATA,
        credentials(),
        ("logo_uri", json!("http://client.example/a.png")),
    ));
    for bad in [
        json!("REMOVE"),
        json!("none"),
        json!("client_secret_basic"),
        json!("tls_client_auth"),
        json!(["private_key_jwt"]),
    ] {
        cases.push(("P14", METADATA, credentials(), ("token_endpoint_auth_method", bad)));
    }
    for bad in [
        json!("REMOVE"),
        json!(["system/*.rs"]),
        json!(""),
        json!("a\tb"),
        json!("a  b"),
        json!(" a"),
        json!("a "),
        json!("a\"b"),
        json!("\u{e9}"),
        json!(null),
    ] {
        cases.push(("P15", METADATA, credentials(), ("scope", bad)));
    }
    for (rule, wire, base, change) in cases {
        let claims = edit(base, std::slice::from_ref(&change)).to_string();
        let error = validate_as(&identity, Profile::Stu2, &claims).unwrap_err();
        assert_eq!((error.code(), error.fault().rule), (wire, rule), "{rule} {change:?}");
    }
    // The JWT is judged before its parameters.
    let claims =
        edit(credentials(), &[("scope", json!("REMOVE")), ("jti", json!("REMOVE"))]).to_string();
    assert_eq!(validate_as(&identity, Profile::Stu2, &claims).unwrap_err().fault().rule, "R36");
    // STU1 is no more lenient than it says.
    let claims = edit(credentials(), &[("scope", json!([]))]).to_string();
    assert_eq!(validate_as(&identity, Profile::Stu1, &claims).unwrap_err().fault().rule, "P15");
}
