//! Writes the seed corpora: `cargo run -p ward-fuzz-checks --example seeds`. All synthetic; the
//! certificates are made for this and thrown away with their keys.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SanType,
    SerialNumber, SigningKey as _,
};
use serde_json::json;
use ward_core::{Secret, Timestamp};
use ward_trust::ocsp::{Respond, request, respond};
use ward_trust::{Alg, Certificate, CertificateStatus, OcspAnswer, SigningIdentity};

fn keep(target: &str, name: &str, bytes: &[u8]) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), bytes).unwrap();
}

fn main() {
    heads();
    requests();
    bundles();
    trust();
    for (n, token) in ward_fuzz_checks::sealed::SEALED.iter().enumerate() {
        keep("sealed", &format!("token-{n}"), format!("t{token}").as_bytes());
    }
    for n in 0..3_u8 {
        let mut seed = vec![0, n * 40, 1];
        seed.extend([n; 35]);
        seed.extend(vec![n; if n == 0 { 0 } else { 32 }]);
        seed.extend(b"system/Patient.rs system/Observation.rs");
        keep("sealed", &format!("claims-{n}"), &seed);
    }
    for (n, seed) in ward_fuzz_checks::tiles::seeds().iter().enumerate() {
        keep("tiles", &format!("format-{n}"), seed);
    }
    for (name, seed) in [
        ("untouched", &[][..]),
        ("bit", &[2, 0, 0, 90, 1]),
        ("cut", &[2, 1, 40, 0]),
        ("more", &[3, 2, 3, 1, 2, 3]),
        ("gone", &[4, 3]),
        ("copied", &[2, 4, 3]),
        ("entry-altered", &[2, 5, 0, 9, 0, 0, 0, 0, 20, 1, 1]),
        ("entry-swapped", &[2, 6, 0, 9, 0, 12, 0]),
        ("entry-removed", &[3, 7, 0, 3, 0, 0, 0, 0]),
        ("entry-doubled", &[3, 7, 0, 3, 0, 9, 1, 0, 3, 0]),
    ] {
        keep("tiles", name, seed);
    }
}

fn heads() {
    let host = "Host: gw.example\r\nAuthorization: Bearer x\r\n";
    for (name, text) in [
        ("get", format!("\x07GET /default/fhir/Patient/p1 HTTP/1.1\r\n{host}Accept: */*\r\n\r\n")),
        (
            "post",
            format!(
                "\x01\r\nPOST /default/oauth/token HTTP/1.1\r\n{host}Content-Length: 12\r\n\r\ngrant_type=x"
            ),
        ),
        (
            "chunked",
            format!(
                "\u{7f}POST /default/fhir/Patient/_search HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"
            ),
        ),
        (
            "two-lengths",
            format!("\x03POST / HTTP/1.1\r\n{host}Content-Length: 1\r\ncontent-length: 1\r\n\r\nx"),
        ),
        (
            "both",
            format!(
                "\x10POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
            ),
        ),
        ("bare-lf", format!("\x02GET / HTTP/1.1\n{host}\n")),
        ("folded", format!("\x05GET / HTTP/1.1\r\n{host}X-A: b\r\n c\r\n\r\n")),
        ("two", format!("\x0cGET /a HTTP/1.1\r\n{host}\r\nGET /b HTTP/1.1\r\n{host}\r\n")),
    ] {
        keep("head", name, text.as_bytes());
    }
}

fn requests() {
    for (name, text) in [
        ("read", "GET\n/Patient/p1\n-\n-\napplication/fhir+json\n-\n"),
        ("vread", "GET\n/Observation/o-1/_history/2\n-\n-\n-\n-\n"),
        ("metadata", "GET\n/metadata\nmode=full\n-\n-\n-\n"),
        (
            "search",
            "GET\n/Observation\npatient=Patient/p1,p2&code=http://loinc.org|8867-4&_count=20&_sort=-date,code&_total=accurate\n-\n-\nhandling=strict\n",
        ),
        (
            "post",
            "POST\n/Observation/_search\n_summary=count\napplication/x-www-form-urlencoded\n-\n-\nsubject:Patient=p1&value-string:exact=a%5C%2Cb+c&date=ge2026-01",
        ),
        (
            "lenient",
            "GET\n/Patient\nname:contains=%C3%A9&whatever=1&birthdate=lt2000&_format=json\n-\n-\nhandling=lenient\n",
        ),
        (
            "missing",
            "GET\n/Condition\nonset-date:missing=true&code:not=x|y&subject=https://gw.example/default/fhir/Patient/p1\n-\n-\n-\n",
        ),
        (
            "cursor",
            "GET\n/Observation\n_cursor=abc_-&code=a%7Cb&value-quantity=gt5.40e-3||mg\n-\n-\n-\n",
        ),
        ("refused", "GET\n/Patient/../metadata\n_include=*\n-\n-\n-\n"),
        ("delete", "DELETE\n/Patient/1\n-\n-\n-\n-\n"),
    ] {
        keep("request", name, text.as_bytes());
    }
}

fn bundles() {
    let observation = r#"{"resourceType":"Observation","id":"o1","meta":{"versionId":"3","security":[{"system":"s","code":"R"}]},"status":"final","subject":{"reference":"Patient/p1"},"performer":[{"reference":"https://gw.example/default/fhir/Patient/p2/_history/1"}],"valueQuantity":{"value":1.50}}"#;
    let patient = r#"{"resourceType":"Patient","id":"p1","link":[{"other":{"reference":"Patient/p9"},"type":"seealso"}],"contained":[{"resourceType":"Observation","id":"c","subject":{"reference":"Patient/p3"}}]}"#;
    let practitioner = r#"{"resourceType":"Practitioner","id":"d1","name":[{"family":"D\u00e9"}]}"#;
    let appointment = r#"{"resourceType":"Appointment","id":"a1","participant":[{"actor":{"reference":"http://127.0.0.1:8080/fhir/Patient/p1"}},{"actor":{"display":"x"}},{"actor":{"reference":"urn:uuid:1"}}]}"#;
    for (name, text) in [
        ("observation", observation),
        ("patient", patient),
        ("practitioner", practitioner),
        ("appointment", appointment),
    ] {
        keep("bundle", name, text.as_bytes());
    }
    let page = format!(
        r#"{{"resourceType":"Bundle","type":"searchset","total":4,"link":[{{"relation":"self","url":"u"}},{{"relation":"next","url":"u?page=2"}}],"entry":[{{"fullUrl":"u/Observation/o1","resource":{observation},"search":{{"mode":"match"}}}},{{"resource":{patient}}},{{"resource":{practitioner},"search":{{"mode":"include"}}}},{{"resource":{appointment}}}]}}"#
    );
    keep("bundle", "page", page.as_bytes());
    keep("bundle", "empty", br#"{"resourceType":"Bundle","type":"searchset"}"#);
}

/// What a member asks about the leaf.
fn ocsp_request(root: &[u8], leaf: &[u8]) -> Vec<u8> {
    let [root, leaf] = [root, leaf].map(|der| Certificate::from_der(der).unwrap());
    request(&leaf, &root, Some(&[7; 16])).unwrap()
}

/// What the root's own responder says of the leaf.
fn ocsp_answer(root: &[u8], leaf: &[u8], key: &KeyPair) -> Vec<u8> {
    let (issuer, leaf) =
        (Certificate::from_der(root).unwrap(), Certificate::from_der(leaf).unwrap());
    let about = Respond {
        serial: leaf.serial(),
        issuer: &issuer,
        answer: OcspAnswer {
            status: CertificateStatus::Good,
            this_update: Timestamp::from_seconds(1_800_000_000),
            next_update: Timestamp::from_seconds(1_800_003_600),
        },
        responder: &issuer,
        certificates: &[&issuer],
        nonce: Some(b"nonce"),
    };
    // SEQUENCE { ecdsa-with-SHA256 }
    let algorithm = [0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2].to_vec();
    respond(&about, |tbs| Ok((algorithm, key.sign(tbs).unwrap()))).unwrap()
}

fn trust() {
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root, root_key);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.serial_number = Some(SerialNumber::from(77));
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.subject_alt_names =
        vec![SanType::URI("https://partner.example/apps/fuzz".try_into().unwrap())];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2027, 1, 1),
        crl_number: SerialNumber::from(5),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(78),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    keep("der", "root", root_certificate.der());
    keep("der", "leaf", leaf.der());
    keep("der", "list", list.signed_by(&issuer).unwrap().der());
    keep("der", "ocsp-request", &ocsp_request(root_certificate.der(), leaf.der()));
    keep("der", "ocsp-answer", &ocsp_answer(root_certificate.der(), leaf.der(), issuer.key()));

    let chain = vec![leaf.der().to_vec(), root_certificate.der().to_vec()];
    let identity = SigningIdentity::from_pkcs8(&chain, &Secret::new(key.serialize_der())).unwrap();
    let claims = json!({
        "iss": "client-1", "sub": "client-1", "aud": "https://gw.example/default/oauth/token",
        "iat": 1_795_306_500, "exp": 1_795_306_600, "jti": "seed-1",
        "extensions": {"hl7-b2b": {"version": "1", "organization_id": "https://partner.example/org",
            "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#TREAT"]}},
    });
    let token = identity.sign(Alg::Es256, &claims).unwrap();
    keep("jwt", "token", format!("c{token}").as_bytes());
    let statement = json!({
        "iss": "https://partner.example/apps/fuzz", "sub": "https://partner.example/apps/fuzz",
        "aud": "https://gw.example/default/oauth/register", "iat": 1_795_306_500,
        "exp": 1_795_306_600, "jti": "seed-2", "client_name": "Fuzz", "grant_types": ["client_credentials"],
        "contacts": ["mailto:a@partner.example"], "scope": "system/Patient.rs",
        "token_endpoint_auth_method": "private_key_jwt",
    });
    let statement = identity.sign(Alg::Es256, &statement).unwrap();
    keep("jwt", "statement", format!("c{statement}").as_bytes());
    let parts: Vec<_> =
        token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    keep("jwt", "parts", &[b"p".to_vec(), parts.join(&b"\n"[..])].concat());
    let x5c = STANDARD.encode(leaf.der());
    let odd = format!(
        "p{{\"alg\":\"none\",\"typ\":\"JWT\",\"crit\":[\"b64\"],\"x5c\":[\"{x5c}\"]}}\n{{\"a\":1,\"a\":2}}\nx"
    );
    keep("jwt", "odd", odd.as_bytes());
}
