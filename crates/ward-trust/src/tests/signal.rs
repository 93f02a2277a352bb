//! Signals, good and bad: what a member reads out of a security event token, and the refusals of RFC 8935 §2.4.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ward_core::{Limits, Timestamp};

use super::pki::{Leaf, NOW, World, now, p256, uri};
use crate::signal::{About, CREDENTIAL_CHANGE, Signal, SignedSignal, VERIFICATION};
use crate::{Alg, SigningIdentity};

const COMMUNITY: &str = "urn:example:community";
const BASE: &str = "https://ward.example/default/fhir";
const AGE: Duration = Duration::from_hours(24);

/// How a row differs from a good signal.
type Edit<'a> = Box<dyn FnOnce(&mut Value) + 'a>;

struct Lab {
    speaker: SigningIdentity,
    member: Leaf,
    other: Leaf,
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        let speaker =
            world.issuing.leaf_with(p256(), |one| one.subject_alt_names = vec![uri(COMMUNITY)]);
        let speaker = speaker.identity(&[&world.issuing]);
        Self { speaker, member: world.issuing.leaf(), other: world.issuing.leaf() }
    }

    fn signal(&self) -> Signal {
        Signal {
            issuer: COMMUNITY.to_owned(),
            audience: BASE.to_owned(),
            jti: "one".to_owned(),
            issued: now(),
            about: About::Certificate {
                thumbprint: self.member.certificate.thumbprint(),
                certificate: Some(Box::new(self.member.certificate.clone())),
            },
            reason: Some("key-compromise".to_owned()),
        }
    }

    fn raw(&self, typ: &Value, edit: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.signal().to_claims();
        edit(&mut claims);
        let header = json!({"alg": "ES256", "typ": typ, "x5c": self.speaker.x5c()}).to_string();
        let claims = claims.to_string();
        self.speaker.sign_raw(Alg::Es256, header.as_bytes(), claims.as_bytes()).unwrap()
    }
}

fn read(document: &str, now: Timestamp) -> Result<Signal, (&'static str, &'static str)> {
    SignedSignal::parse(document.as_bytes(), BASE, AGE, now, &Limits::default())
        .map(|signed| signed.signal().clone())
        .map_err(|error| (error.code(), error.rule()))
}

#[test]
fn what_was_signed_is_read_back() {
    let lab = Lab::new();
    let abouts = [
        lab.signal().about,
        About::Certification {
            issuer: "https://certifier.example".into(),
            jti: "c1".into(),
            signed: None,
        },
        About::Certification {
            issuer: "https://certifier.example".into(),
            jti: "c1".into(),
            signed: Some((now(), Box::new(lab.member.certificate.clone()))),
        },
        About::Published,
        About::Verification,
        About::Other("https://events.example/else".to_owned()),
    ];
    for about in abouts {
        let changes = matches!(about, About::Certificate { .. } | About::Certification { .. });
        let reason = changes.then(|| "superseded".to_owned());
        let signal = Signal { about, reason, ..lab.signal() };
        assert_eq!(read(&signal.sign(&lab.speaker).unwrap(), now()), Ok(signal));
    }
}

#[test]
fn a_certificate_may_be_named_without_coming_along_and_aud_may_be_several() {
    let lab = Lab::new();
    let document = lab.raw(&json!("application/SECEVENT+jwt"), |claims| {
        claims["events"][CREDENTIAL_CHANGE].as_object_mut().unwrap().remove("x509_certificate");
        claims["aud"] = json!(["https://other.example/fhir", BASE]);
        // A second event is a facet of the same.
        claims["events"]["https://events.example/facet"] = json!({});
    });
    let thumbprint = lab.member.certificate.thumbprint();
    let about = read(&document, now()).unwrap().about;
    assert_eq!(about, About::Certificate { thumbprint, certificate: None });
}

#[test]
fn the_age_is_bounded_both_ways() {
    let lab = Lab::new();
    let document = lab.signal().sign(&lab.speaker).unwrap();
    let (skew, second) = (Limits::default().clock_skew, Duration::from_secs(1));
    assert!(read(&document, now().minus(skew)).is_ok());
    let early = read(&document, now().minus(skew).minus(second));
    assert_eq!(early, Err(("invalid_request", "SET-FUTURE")));
    assert!(read(&document, now().plus(AGE).plus(skew)).is_ok());
    let late = read(&document, now().plus(AGE).plus(skew).plus(second));
    assert_eq!(late, Err(("invalid_request", "SET-OLD")));
}

#[test]
fn what_is_no_signal_is_refused_with_its_code() {
    let lab = Lab::new();
    let other = STANDARD.encode(lab.other.certificate.der());
    let change = |claims: &mut Value, name: &str, value: Value| {
        claims["events"][CREDENTIAL_CHANGE][name] = value;
    };
    let set = |name: &'static str, value: Value| {
        move |claims: &mut Value| {
            claims[name] = value;
        }
    };
    let rows: Vec<(&str, &str, Edit<'_>)> = vec![
        ("invalid_issuer", "SET-CLAIM", Box::new(set("iss", json!(null)))),
        ("invalid_issuer", "SET-CLAIM", Box::new(set("iss", json!("a\nb")))),
        ("invalid_audience", "SET-AUD", Box::new(set("aud", json!("https://other.example/fhir")))),
        ("invalid_audience", "SET-AUD", Box::new(set("aud", json!([BASE, 1])))),
        ("invalid_request", "SET-CLAIM", Box::new(set("jti", json!("")))),
        ("invalid_request", "SET-CLAIM", Box::new(set("jti", json!("x".repeat(257))))),
        ("invalid_request", "SET-CLAIM", Box::new(set("iat", json!("now")))),
        ("invalid_request", "SET-FUTURE", Box::new(set("nbf", json!(NOW + 3600)))),
        ("invalid_request", "SET-FORBIDDEN", Box::new(set("exp", json!(NOW + 3600)))),
        ("invalid_request", "SET-FORBIDDEN", Box::new(set("sub", json!("partner")))),
        ("invalid_request", "SET-CLAIM", Box::new(set("events", json!({})))),
        ("invalid_request", "SET-CLAIM", Box::new(set("events", json!([CREDENTIAL_CHANGE])))),
        ("invalid_request", "SET-CLAIM", Box::new(set("events", json!({"no uri": {}})))),
        ("invalid_request", "SET-CLAIM", Box::new(set("events", json!({VERIFICATION: 1})))),
        (
            "invalid_request",
            "SET-CLAIM",
            Box::new(|claims| {
                for n in 0..9 {
                    claims["events"][format!("urn:event:{n}")] = json!({});
                }
            }),
        ),
        ("invalid_request", "SET-CLAIM", Box::new(set("sub_id", json!(null)))),
        (
            "invalid_request",
            "SET-CLAIM",
            Box::new(set("sub_id", json!({"format": "opaque", "id": "1"}))),
        ),
        (
            "invalid_request",
            "SET-CLAIM",
            Box::new(set("sub_id", json!({"format": "uri", "uri": "ni:///sha-256;AAAA"}))),
        ),
        (
            "invalid_request",
            "SET-EVENT",
            Box::new(|claims| change(claims, "x509_certificate", json!(other))),
        ),
        (
            "invalid_request",
            "SET-EVENT",
            Box::new(|claims| change(claims, "x509_certificate", json!("!"))),
        ),
        (
            "invalid_request",
            "SET-EVENT",
            Box::new(|claims| change(claims, "credential_type", json!(1))),
        ),
        (
            "invalid_request",
            "SET-EVENT",
            Box::new(|claims| change(claims, "change_type", json!(null))),
        ),
        (
            "invalid_request",
            "SET-EVENT",
            Box::new(|claims| change(claims, "reason_admin", json!("text"))),
        ),
    ];
    for (at, (code, rule, edit)) in rows.into_iter().enumerate() {
        let document = lab.raw(&json!("secevent+jwt"), edit);
        assert_eq!(read(&document, now()), Err((code, rule)), "row {at}");
    }
    for typ in [json!("JWT"), json!("trust-bundle+jwt"), json!(null), json!(1)] {
        assert_eq!(
            read(&lab.raw(&typ, |_| {}), now()),
            Err(("invalid_request", "JWT-13")),
            "{typ}"
        );
    }
    let document = lab.raw(&json!("secevent+jwt"), |_| {});
    // Signed, but something else.
    let other = lab.raw(&json!("secevent+jwt"), |claims| claims["jti"] = json!("two"));
    let (said, signature) =
        (document.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
    assert_eq!(read(&format!("{said}.{signature}"), now()), Err(("invalid_key", "R13")));
    // Nor does a signal pass for anything else.
    assert!(crate::Jws::parse(&document, &Limits::default()).is_err());
}

#[test]
fn other_changes_of_a_credential_end_nothing() {
    let lab = Lab::new();
    for (name, value) in
        [("change_type", "update"), ("change_type", "create"), ("credential_type", "password")]
    {
        let document = lab.raw(&json!("secevent+jwt"), |claims| {
            claims["events"][CREDENTIAL_CHANGE][name] = json!(value);
        });
        let about = read(&document, now()).unwrap().about;
        assert_eq!(about, About::Other(CREDENTIAL_CHANGE.to_owned()), "{value}");
    }
}
