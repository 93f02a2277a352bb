//! Signed JSON (JWT-01..14, R07..R24): what parses is canonical, unambiguous and bounded, and what
//! verifies was signed by a key of ours.
//!
//! Input: a first octet of `c` is followed by a compact serialization; `p` by header, claims and
//! signature, separated by line feeds, which are encoded here so that mutation reaches the JSON.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use ward_core::{CommunityUri, Limits, Purpose, Timestamp};
use ward_trust::context::UserObject;
use ward_trust::{Alg, Certification, Community, Context, Hl7B2b, Jws, Profile};

/// See the module.
pub fn check(data: &[u8]) -> bool {
    let Some((kind, rest)) = data.split_first() else { return false };
    if *kind == b'p' {
        let parts: Vec<_> =
            rest.splitn(3, |b| *b == b'\n').map(|p| URL_SAFE_NO_PAD.encode(p)).collect();
        compact(&parts.join("."))
    } else {
        std::str::from_utf8(rest).is_ok_and(compact)
    }
}

fn compact(text: &str) -> bool {
    let limits = Limits::default();
    let jws = match Jws::parse(text, &limits) {
        Ok(jws) => jws,
        Err(error) => {
            assert!(!error.rule().is_empty());
            return false;
        }
    };
    assert!(text.len() <= limits.auth_body_bytes);
    assert!(jws.extra().len() < limits.x5c_certificates);
    let segments: Vec<_> = text.split('.').collect();
    assert_eq!(segments.len(), 3);
    for (segment, want) in segments.iter().zip([Some(jws.header()), Some(jws.claims()), None]) {
        let octets = URL_SAFE_NO_PAD.decode(segment).expect("canonical");
        assert_eq!(URL_SAFE_NO_PAD.encode(&octets), *segment, "two spellings");
        if let Some(want) = want {
            // Another parser reads the same, so there is nothing to disagree about.
            let other: Value = serde_json::from_slice(&octets).expect("JSON");
            assert_eq!(other.as_object(), Some(want));
        }
    }
    assert!(!jws.header().contains_key("crit") && !jws.header().contains_key("b64"));
    let uri = CommunityUri::parse("https://community.example/udap/fuzz").expect("a URI");
    let community = Community::new(uri, vec![]);
    if let Ok(b2b) = Hl7B2b::parse(jws.claims().get("extensions"), &community) {
        assert!(!b2b.purposes.is_empty());
        assert!(b2b.purposes.iter().all(|purpose| community.purposes.contains(purpose)));
        let again = Hl7B2b::parse(Some(&b2b.to_extensions()), &community);
        assert_eq!(again.ok().map(|b2b| b2b.to_extensions()), Some(b2b.to_extensions()));
    }
    contexts(jws.claims().get("extensions"), community, &limits);
    certification(&jws, text, &limits);
    let alg = jws.alg();
    assert_eq!(jws.header().get("alg").and_then(Value::as_str), Some(alg.name()));
    if let Ok(verified) = jws.verify(&Alg::ALL) {
        // ES256 signatures can be mauled into a second valid one, the signed text cannot.
        let signed = verified.claims().get("jti").and_then(Value::as_str);
        assert!(signed.is_some_and(|jti| jti.starts_with("seed-")), "a forgery");
    }
    true
}

/// A certification that is read is sound, and says the same when it is written and read again.
fn certification(jws: &Jws, text: &str, limits: &Limits) {
    let now = Timestamp::from_seconds(1_795_306_600);
    let Ok(read) = Certification::kept(jws, now, limits) else { return };
    assert!(!read.uris.is_empty() && !read.name.trim().is_empty());
    assert!(read.exp.since(read.iat) <= Duration::from_hours(24 * 1096), "three years");
    assert_eq!(read.issuer.is_none(), read.is_declared());
    assert!(jws.leaf().san_uris().iter().any(|uri| uri == read.iss.as_str()));
    assert!(read.status_url().is_none_or(|url| url.starts_with("https://")));
    assert!(!jws.claims().contains_key("jwks_uri"));
    let mut parts: Vec<_> = text.split('.').map(str::to_owned).collect();
    parts[1] = URL_SAFE_NO_PAD.encode(read.claims().to_string());
    let again = parts.join(".");
    if again.len() <= limits.auth_body_bytes {
        let again = Jws::parse(&again, limits).expect("what was written is read");
        assert_eq!(Certification::kept(&again, now, limits).as_ref(), Ok(&read));
    }
}

/// What is asserted is read by the rules of the community, whatever the objects are.
fn contexts(extensions: Option<&Value>, mut community: Community, limits: &Limits) {
    let now = Timestamp::from_seconds(1_800_000_000);
    community.context.user = UserObject::Supported;
    community.purposes = Purpose::ALL.to_vec();
    for (profile, uri) in [
        (Profile::Stu2, "https://partner.example/app"),
        (Profile::Tefca, "https://partner.example/app#T-TREAT"),
        (Profile::Tefca, "https://partner.example/app#T-IAS"),
    ] {
        community.profile = profile;
        let Ok(context) = Context::parse(extensions, &community, uri, now, limits) else {
            continue;
        };
        assert!(context.b2b.purposes.iter().all(|purpose| community.purposes.contains(purpose)));
        if profile == Profile::Tefca {
            // Nobody vouches for individuals here.
            assert!(context.ias.is_none() && uri.ends_with("#T-TREAT"));
            assert_eq!(context.b2b.purposes, [Purpose::Treatment]);
        }
        // A person is a digest, and the same one whoever reads it.
        let again = Context::parse(extensions, &community, uri, now, limits);
        assert_eq!(again.ok(), Some(context));
    }
}
