//! Metadata as made (udap.md §2.1, §2.2) and rows M01..M19 of §7.9 as refused.

use std::time::Duration;

use serde_json::{Value, json};
use ward_core::{Limits, Timestamp};

use super::pki::{Ca, DAY, NOW, World, community, crl_url, now, p256, rsa, uri};
use crate::metadata::{self, Metadata};
use crate::{Alg, MetadataError, PathError, SigningIdentity};

const BASE: &str = "https://ward.example/t1/fhir";

fn sample() -> Metadata {
    Metadata {
        base_url: BASE.to_owned(),
        registration_endpoint: "https://ward.example/t1/oauth/register".to_owned(),
        token_endpoint: "https://ward.example/t1/oauth/token".to_owned(),
        authorization_endpoint: None,
        grant_types: vec!["client_credentials".to_owned()],
        scopes: vec!["system/Patient.rs".to_owned()],
        extensions_supported: vec!["hl7-b2b".to_owned()],
        extensions_required: vec!["hl7-b2b".to_owned()],
        certifications_supported: vec![],
        certifications_required: vec![],
        algs: Alg::ALL.to_vec(),
    }
}

type Edit = fn(&mut Metadata);

struct Server {
    root: Ca,
    identity: SigningIdentity,
}

impl Server {
    fn new() -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf_with(rsa(0), |p| p.subject_alt_names = vec![uri(BASE)]);
        Self { identity: leaf.identity(&[]), root }
    }

    fn document(&self, metadata: &Metadata) -> Value {
        let signed =
            metadata.sign(&self.identity, "jti-1", now(), Duration::from_hours(72)).unwrap();
        serde_json::from_str(&metadata.to_json(&signed.jws)).unwrap()
    }

    fn claims(&self) -> Value {
        let document = self.document(&sample());
        let text = document["signed_metadata"].as_str().unwrap();
        let jws = crate::Jws::parse(text, &Limits::default()).unwrap();
        Value::Object(jws.claims().clone())
    }
}

fn read(document: &Value) -> Result<metadata::Unproven, &'static str> {
    metadata::validate(document.to_string().as_bytes(), BASE, now(), &Limits::default())
        .map_err(|error| error.rule())
}

#[test]
fn the_document_has_every_member() {
    let server = Server::new();
    let mut document = server.document(&sample());
    let algs = json!(["RS256", "ES256", "RS384", "ES384"]);
    assert!(document["signed_metadata"].take().is_string());
    assert_eq!(
        document,
        json!({
            "udap_versions_supported": ["1"],
            "udap_profiles_supported": ["udap_dcr", "udap_authn", "udap_authz"],
            "udap_authorization_extensions_supported": ["hl7-b2b"],
            "udap_authorization_extensions_required": ["hl7-b2b"],
            "udap_certifications_supported": [],
            "udap_certifications_required": [],
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": ["system/Patient.rs"],
            "token_endpoint": "https://ward.example/t1/oauth/token",
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": algs,
            "registration_endpoint": "https://ward.example/t1/oauth/register",
            "registration_endpoint_jwt_signing_alg_values_supported": algs,
            "signed_metadata": null,
        })
    );
    assert_eq!(
        server.claims(),
        json!({
            "iss": BASE, "sub": BASE, "iat": NOW, "exp": NOW + 3 * DAY, "jti": "jti-1",
            "token_endpoint": "https://ward.example/t1/oauth/token",
            "registration_endpoint": "https://ward.example/t1/oauth/register",
        })
    );
    let mut code = sample();
    code.grant_types = vec!["authorization_code".to_owned(), "refresh_token".to_owned()];
    code.authorization_endpoint = Some("https://ward.example/t1/oauth/authorize".to_owned());
    let document = server.document(&code);
    assert_eq!(document["udap_profiles_supported"], json!(["udap_dcr", "udap_authn"]));
    assert_eq!(document["authorization_endpoint"], "https://ward.example/t1/oauth/authorize");
    assert_eq!(
        read(&document)
            .unwrap()
            .prove(&community(&[&server.root]), &[server.root.list(&[])], now())
            .unwrap()
            .authorization_endpoint
            .as_deref(),
        Some("https://ward.example/t1/oauth/authorize")
    );
}

#[test]
fn a_server_does_not_say_what_is_wrong() {
    let edits: [(&str, Edit); 12] = [
        ("DSC-17", |m| m.token_endpoint = "/token".to_owned()),
        ("DSC-17", |m| m.registration_endpoint = "http://ward.example/".to_owned()),
        ("DSC-14", |m| m.grant_types = vec![]),
        ("DSC-14", |m| m.grant_types.push("refresh_token".to_owned())),
        ("DSC-14", |m| m.grant_types.push("implicit".to_owned())),
        ("DSC-16", |m| m.grant_types.push("authorization_code".to_owned())),
        ("DSC-16", |m| m.authorization_endpoint = Some("https://ward.example/a".to_owned())),
        ("DSC-09", |m| m.extensions_supported = vec![]),
        ("DSC-10", |m| m.extensions_required.push("other".to_owned())),
        ("DSC-13", |m| m.certifications_required.push("https://c/".to_owned())),
        ("DSC-15", |m| m.scopes = vec![]),
        ("DSC-19", |m| m.algs = vec![Alg::Es256]),
    ];
    let server = Server::new();
    let sign = |metadata: &Metadata, identity: &SigningIdentity, now: Timestamp| {
        metadata.sign(identity, "j", now, Duration::from_hours(72)).map_err(|error| error.rule())
    };
    for (rule, edit) in edits {
        let mut metadata = sample();
        edit(&mut metadata);
        assert_eq!(sign(&metadata, &server.identity, now()), Err(rule));
    }
    let ec = server.root.leaf_with(p256(), |p| p.subject_alt_names = vec![uri(BASE)]);
    assert_eq!(sign(&sample(), &ec.identity(&[]), now()), Err("SMD-11"));
    let other = server.root.leaf_with(rsa(0), |p| {
        p.subject_alt_names = vec![uri(&format!("{BASE}/"))];
    });
    assert_eq!(sign(&sample(), &other.identity(&[]), now()), Err("SMD-03"));
    let late = Timestamp::from_seconds(NOW + 366 * DAY);
    assert_eq!(sign(&sample(), &server.identity, late), Err("SMD-10"));
    // SMD-10: not after the certificate's end. SMD-05: not more than a year.
    let near = Timestamp::from_seconds(NOW + 364 * DAY);
    assert_eq!(sign(&sample(), &server.identity, near).unwrap().exp.as_seconds(), NOW + 365 * DAY);
    let durable = server.root.leaf_with(rsa(0), |p| {
        p.subject_alt_names = vec![uri(BASE)];
        p.not_after = super::pki::at(NOW + 900 * DAY);
    });
    let life = Duration::from_hours(24 * 800);
    let long = sample().sign(&durable.identity(&[]), "j", now(), life).unwrap();
    assert_eq!(long.exp.as_seconds(), NOW + 365 * DAY);
}

#[test]
fn sound_metadata_are_proven_by_their_path() {
    let server = Server::new();
    let found = read(&server.document(&sample())).unwrap();
    let trusted = community(&[&server.root]);
    assert_eq!(found.crl_urls(&trusted, now()).unwrap(), [crl_url("Root")]);
    let lists = [server.root.list(&[])];
    let proven = found.clone().prove(&trusted, &lists, now()).unwrap();
    assert_eq!(proven.token_endpoint, sample().token_endpoint);
    assert_eq!(proven.scopes, sample().scopes);
    assert_eq!(proven.token_algs, Alg::ALL);
    assert_eq!(proven.chain().anchor, server.root.certificate);
    assert!(proven.warnings.is_empty());
    // A path that was validated elsewhere counts for its own leaf alone.
    let again = found.clone().prove_with(proven.chain().clone()).unwrap();
    assert_eq!(again.token_endpoint, proven.token_endpoint);
    let mut other = proven.chain().clone();
    other.certificates = vec![server.root.leaf().certificate];
    for chain in [other.clone(), crate::Chain { certificates: vec![], ..other }] {
        let error = found.clone().prove_with(chain).unwrap_err();
        assert_eq!(error, MetadataError::Path(PathError::Untrusted));
    }
    // M10: untrusted, revoked, no list. M20: another community's signature.
    let stranger = community(&[&World::new().root]);
    let leaf = server.identity.leaf();
    for (lists, community, want) in [
        (vec![], &stranger, PathError::Signature),
        (vec![server.root.list(&[leaf])], &trusted, PathError::Revoked),
        (vec![], &trusted, PathError::RevocationUnknown),
    ] {
        let error = found.clone().prove(community, &lists, now()).unwrap_err();
        assert_eq!(error, MetadataError::Path(want));
        assert_eq!(error.rule(), "M10");
    }
}

#[test]
fn rows_m01_to_m19() {
    let server = Server::new();
    let good = server.document(&sample());
    let signed = |alg: &str, edits: &[(&str, Value)]| {
        let mut claims = server.claims();
        for (name, value) in edits {
            if value == "REMOVE" {
                claims.as_object_mut().unwrap().remove(*name);
            } else {
                claims[*name] = value.clone();
            }
        }
        let header = json!({"alg": alg, "x5c": server.identity.x5c()}).to_string();
        let (header, claims) = (header.as_bytes().to_vec(), claims.to_string());
        let jws = server.identity.sign_raw(Alg::Rs256, &header, claims.as_bytes()).unwrap();
        let mut document = good.clone();
        document["signed_metadata"] = json!(jws);
        document
    };
    let plain = |name: &str, value: Value| {
        let mut document = good.clone();
        if value == "REMOVE" {
            document.as_object_mut().unwrap().remove(name);
        } else {
            document[name] = value;
        }
        document
    };
    let by_other_key = {
        let other = server.root.leaf_with(rsa(1), |p| p.subject_alt_names = vec![uri(BASE)]);
        let header = json!({"alg": "RS256", "x5c": server.identity.x5c()}).to_string();
        let claims = server.claims().to_string();
        let jws = other.identity(&[]).sign_raw(Alg::Rs256, header.as_bytes(), claims.as_bytes());
        plain("signed_metadata", json!(jws.unwrap()))
    };
    let by_ec = {
        let leaf = server.root.leaf_with(p256(), |p| p.subject_alt_names = vec![uri(BASE)]);
        let jws = leaf.identity(&[]).sign(Alg::Es256, &server.claims()).unwrap();
        plain("signed_metadata", json!(jws))
    };
    let without_name = {
        let leaf = server.root.leaf_with(rsa(0), |p| p.subject_alt_names = vec![uri("https://x/")]);
        let jws = leaf.identity(&[]).sign(Alg::Rs256, &server.claims()).unwrap();
        plain("signed_metadata", json!(jws))
    };
    let iss = |text: &str| signed("RS256", &[("iss", json!(text)), ("sub", json!(text))]);
    for (rule, row, document) in [
        ("M01", "other key", by_other_key),
        ("M01", "no JWS", plain("signed_metadata", json!("x.y"))),
        ("M02", "ES256", by_ec),
        ("M02", "none", signed("none", &[])),
        ("M02", "HS256", signed("HS256", &[])),
        ("M02", "RS384", signed("RS384", &[])),
        ("M03", "slash", iss(&format!("{BASE}/"))),
        ("M03", "case", iss("https://Ward.example/t1/fhir")),
        ("M03", "port", iss("https://ward.example:443/t1/fhir")),
        ("M03", "missing", signed("RS256", &[("iss", json!("REMOVE"))])),
        ("M04", "SAN", without_name),
        ("M05", "sub", signed("RS256", &[("sub", json!("https://x/"))])),
        ("M05", "no sub", signed("RS256", &[("sub", json!("REMOVE"))])),
        ("M06", "expired", signed("RS256", &[("iat", json!(NOW - DAY)), ("exp", json!(NOW - 61))])),
        ("M07", "over a year", signed("RS256", &[("exp", json!(NOW + 366 * DAY + 1))])),
        ("SMD-05", "no iat", signed("RS256", &[("iat", json!("REMOVE"))])),
        ("SMD-05", "no exp", signed("RS256", &[("exp", json!("REMOVE"))])),
        ("SMD-06", "no jti", signed("RS256", &[("jti", json!("REMOVE"))])),
        ("SMD-07", "no endpoint at all", {
            let mut document = signed("RS256", &[("token_endpoint", json!("REMOVE"))]);
            document.as_object_mut().unwrap().remove("token_endpoint");
            document
        }),
        ("M08", "token", plain("token_endpoint", json!("https://evil.example/token"))),
        ("M08", "null", plain("registration_endpoint", json!(null))),
        ("M09", "token", signed("RS256", &[("token_endpoint", json!("REMOVE"))])),
        ("M09", "authorization", plain("authorization_endpoint", json!("https://ward.example/a"))),
        ("M11", "missing", plain("signed_metadata", json!("REMOVE"))),
        ("M11", "object", plain("signed_metadata", json!({}))),
        ("M12", "2", plain("udap_versions_supported", json!(["2"]))),
        ("M12", "1.0", plain("udap_versions_supported", json!(["1.0"]))),
        ("M12", "number", plain("udap_versions_supported", json!([1]))),
        ("M12", "string", plain("udap_versions_supported", json!("1"))),
        ("M12", "missing", plain("udap_versions_supported", json!("REMOVE"))),
        (
            "M13",
            "basic",
            plain("token_endpoint_auth_methods_supported", json!(["client_secret_basic"])),
        ),
        (
            "M13",
            "both",
            plain("token_endpoint_auth_methods_supported", json!(["private_key_jwt", "none"])),
        ),
        ("M15", "http", {
            let http = json!("http://ward.example/t1/oauth/token");
            let mut document = signed("RS256", &[("token_endpoint", http.clone())]);
            document["token_endpoint"] = http;
            document
        }),
        ("DSC-02", "scopes", plain("scopes_supported", json!("system/*.rs"))),
        ("DSC-02", "null list", plain("grant_types_supported", json!(null))),
        ("DSC-02", "array", json!([])),
    ] {
        assert_eq!(read(&document).map(|_| ()), Err(rule), "{rule} {row}");
    }
    let text = good.to_string().replacen('{', r#"{"token_endpoint":"https://evil.example/","#, 1);
    let limits = Limits::default();
    let validate = |bytes: &[u8]| {
        metadata::validate(bytes, BASE, now(), &limits).map(|_| ()).map_err(|error| error.rule())
    };
    assert_eq!(validate(text.as_bytes()), Err("M19"));
    let large = format!("{}{good}", " ".repeat(300_000));
    assert_eq!(validate(large.as_bytes()), Err("M17"));
    assert_eq!(validate(b"<html>"), Err("DSC-02"));
    assert_eq!(validate(b""), Err("DSC-02"));
}

/// DSC-25.
#[test]
fn what_is_odd_but_allowed_is_told() {
    let server = Server::new();
    let mut metadata = sample();
    metadata.token_endpoint = "https://tokens.example/token".to_owned();
    let mut document = server.document(&metadata);
    document["unknown"] = json!({"a": [1]});
    document["udap_certifications_required"] = json!("REMOVE").take();
    document.as_object_mut().unwrap().remove("udap_certifications_required");
    document["token_endpoint_auth_signing_alg_values_supported"] = json!(["RS256", "PS512"]);
    let proven = read(&document)
        .unwrap()
        .prove(&community(&[&server.root]), &[server.root.list(&[])], now())
        .unwrap();
    assert_eq!(proven.warnings.len(), 1, "M16");
    assert_eq!(proven.token_algs, [Alg::Rs256]);
    assert!(proven.certifications_required.is_empty(), "CLI-04");
}
