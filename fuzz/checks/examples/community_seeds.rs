//! Writes the seeds of the target `community`, and its authority: `cargo run -p ward-fuzz-checks --example community_seeds`. All synthetic;
//! the signer's key signs what the fuzzer makes up, the authorities' keys are thrown away.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use serde_json::json;
use ward_core::Thumbprint;
use ward_fuzz_checks::community::{BASE, COMMUNITY, NOW};
use ward_trust::Certificate;
use ward_trust::signal::CREDENTIAL_CHANGE;

fn place(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn seed(name: &str, text: &str) {
    let dir = place("../corpus/community");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn params(name: &str, serial: u64, depth: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    match depth {
        Some(depth) => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        None => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
    }
    params
}

fn leaf(name: &str, uri: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial, None);
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params
}

fn main() {
    let root_params = params("Fuzz Root", 1, Some(1));
    let root_key = key();
    let root = root_params.self_signed(&root_key).unwrap().der().to_vec();
    let root_issuer = Issuer::new(root_params, root_key);
    let issuing_key = key();
    let issuing_params = params("Fuzz Issuing", 2, Some(0));
    let issuing = issuing_params.signed_by(&issuing_key, &root_issuer).unwrap().der().to_vec();
    let issuing_issuer = Issuer::new(issuing_params, issuing_key);
    let signer_key = key();
    let signer = leaf("Fuzz Community", COMMUNITY, 3);
    let signer = signer.signed_by(&signer_key, &issuing_issuer).unwrap().der().to_vec();
    let member_key = key();
    let member = leaf("Fuzz Member", "https://member.example/app", 4);
    let member = member.signed_by(&member_key, &issuing_issuer).unwrap().der().to_vec();
    // The next root, and what this one says of it (RFC 4210 NewWithOld).
    let next_key = key();
    let next_params = params("Next Root", 5, Some(1));
    let next = next_params.self_signed(&next_key).unwrap().der().to_vec();
    let cross = next_params.signed_by(&next_key, &root_issuer).unwrap().der().to_vec();

    for (name, bytes) in [
        ("root.cer", &root),
        ("issuing.cer", &issuing),
        ("signer.cer", &signer),
        ("signer.key", &signer_key.serialize_der()),
    ] {
        fs::write(place("src/community").join(name), bytes).unwrap();
    }

    let text = |der: &Vec<u8>| STANDARD.encode(der);
    let thumbprint = |der: &[u8]| Certificate::from_der(der).unwrap().thumbprint();
    let bundle = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = json!({
            "version": 1, "iss": COMMUNITY, "sequence": 7, "iat": NOW, "nbf": NOW - 60, "exp": NOW + 86_400,
            "anchors": [text(&root)], "intermediates": [text(&issuing)],
            "revocation": [{"issuer": thumbprint(&issuing).to_string(), "crl": ["http://crl.example/i.crl"], "ocsp": []}],
            "purposes": ["TREAT", "HRESCH"], "organization_schemes": ["urn:oid:2.16.", "https:"],
            "certifications_required": [],
        });
        edit(&mut claims);
        format!("b{claims}")
    };
    seed("bundle", &bundle(&|_| {}));
    seed(
        "bundle-rollover",
        &bundle(&|claims| {
            claims["sequence"] = json!(8);
            claims["anchors"] = json!([text(&root), text(&next)]);
            claims["intermediates"] = json!([text(&issuing), text(&cross)]);
        }),
    );
    seed(
        "bundle-unvouched",
        &bundle(&|claims| claims["anchors"] = json!([text(&root), text(&next)])),
    );
    seed("bundle-critical", &bundle(&|claims| claims["crit"] = json!(["sequence", "other"])));
    seed(
        "bundle-many",
        &bundle(&|claims| {
            claims["certifications_required"] = json!(["https://certified.example/1"]);
            claims["purposes"] = json!([]);
            claims["sequence"] = json!(9_007_199_254_740_991_u64);
        }),
    );

    let Thumbprint(hash) = thumbprint(&member);
    let signal = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = json!({
            "iss": COMMUNITY, "aud": BASE, "jti": "seed-1", "iat": NOW,
            "sub_id": {"format": "uri", "uri": format!("ni:///sha-256;{}", URL_SAFE_NO_PAD.encode(hash))},
            "events": {CREDENTIAL_CHANGE: {
                "event_timestamp": NOW, "credential_type": "x509", "change_type": "revoke", "initiating_entity": "admin",
                "reason_admin": {"en": "key-compromise"}, "x509_certificate": text(&member),
            }},
        });
        edit(&mut claims);
        format!("s{claims}")
    };
    seed("signal", &signal(&|_| {}));
    seed(
        "signal-short",
        &signal(&|claims| {
            claims["events"][CREDENTIAL_CHANGE]
                .as_object_mut()
                .unwrap()
                .retain(|name, _| name.ends_with("_type"));
            claims["aud"] = json!(["https://other.example/fhir", BASE]);
        }),
    );
    seed(
        "signal-certification",
        &signal(&|claims| {
            claims["sub_id"] =
                json!({"format": "jwt_id", "iss": "https://certifier.example", "jti": "c1"});
            claims["events"][CREDENTIAL_CHANGE]["credential_type"] = json!("udap-certification");
            claims["events"][CREDENTIAL_CHANGE]["certification_exp"] = json!(NOW + 60);
        }),
    );
    seed(
        "signal-published",
        &signal(&|claims| claims["events"] = json!({format!("{COMMUNITY}#published"): {}})),
    );
    seed(
        "signal-other",
        &signal(&|claims| {
            claims["events"] = json!({"https://events.example/else": {"a": [1, {"b": null}]}})
        }),
    );
    seed("signal-forbidden", &signal(&|claims| claims["exp"] = json!(NOW + 60)));
    seed("raw", "reyJhbGciOiJFUzI1NiJ9.e30.AAAA");
}
