//! What a community signs: trust bundles (PKI-16) and signals (RFC 8417), whatever it says in them. A community may be taken over; what its
//! members take from it stays bounded, unambiguous, and below its own anchors.
//!
//! Input: a first octet of `b` or `s` is followed by the claims of a bundle or signal, which are signed here, so that mutation gets
//! behind the signature; `r` by a whole document. The key in `community/` signs for nobody but the fuzzer.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ward_core::{CommunityUri, Limits, Purpose, Secret, Timestamp};
use ward_trust::bundle::{self, Held, MAX_ANCHORS, MAX_ENTRIES, MAX_INTERMEDIATES, MAX_LEAP};
use ward_trust::signal::{self, About, SignedSignal};
use ward_trust::{Certificate, Community, SignedBundle, SigningIdentity};

/// Who speaks.
pub const COMMUNITY: &str = "urn:fuzz:community";
/// Who is spoken to.
pub const BASE: &str = "https://ward.example/default/fhir";
/// The time at which it is read, seconds.
pub const NOW: i64 = 1_800_000_000;
const AGE: Duration = Duration::from_hours(24);

struct Lab {
    signer: SigningIdentity,
    community: Community,
    limits: Limits,
}

fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let chain =
            [&include_bytes!("community/signer.cer")[..], include_bytes!("community/issuing.cer")];
        let key = Secret::new(include_bytes!("community/signer.key").to_vec());
        let root = Certificate::from_der(include_bytes!("community/root.cer")).expect("a root");
        let uri = CommunityUri::parse(COMMUNITY).expect("a URI");
        Lab {
            signer: SigningIdentity::from_pkcs8(&chain.map(<[u8]>::to_vec), &key).expect("a key"),
            community: Community::new(uri, vec![root]),
            limits: Limits::default(),
        }
    })
}

/// See the module.
pub fn check(data: &[u8]) -> bool {
    let Some((kind, rest)) = data.split_first() else { return false };
    let sign = |typ: &str| {
        let lab = lab();
        let header = json!({"alg": "ES256", "typ": typ, "x5c": lab.signer.x5c()}).to_string();
        lab.signer.sign_raw(lab.signer.alg(), header.as_bytes(), rest).expect("signed")
    };
    match kind {
        b'b' => is_bundle(sign(bundle::TYPE).as_bytes(), Some(rest)),
        b's' => is_signal(sign(signal::TYPE).as_bytes(), Some(rest)),
        _ => is_bundle(rest, None) | is_signal(rest, None),
    }
}

/// Another reader's view of the claims; nothing to disagree about.
fn reread(claims: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(claims).expect("what is believed is JSON to others too")
}

fn is_bundle(document: &[u8], claims: Option<&[u8]>) -> bool {
    let Lab { signer, community, limits } = lab();
    let signed = match SignedBundle::parse(document, limits) {
        Ok(signed) => signed,
        Err(error) => {
            assert!(!error.word().is_empty() && !error.to_string().is_empty());
            return false;
        }
    };
    let Some(claims) = claims else { panic!("a forgery") };
    let (said, read) = (reread(claims), signed.bundle());
    assert_eq!(said.get("iss").and_then(Value::as_str), Some(read.community.as_str()));
    assert_eq!(said.get("sequence").and_then(Value::as_u64), Some(read.sequence));
    assert!((1..=MAX_ANCHORS).contains(&read.anchors.len()));
    assert!(read.intermediates.len() <= MAX_INTERMEDIATES);
    assert!(read.anchors.iter().all(|one| one.is_ca() && one.has_strong_key()));
    assert!(read.purposes.len() <= MAX_ENTRIES && read.certifications.len() <= MAX_ENTRIES);
    // What is read is what is written.
    let again = read.sign(signer).expect("signed");
    let again = SignedBundle::parse(again.as_bytes(), limits).expect("its own words");
    assert_eq!(again.bundle(), read);

    let now = Timestamp::from_seconds(NOW);
    let mut taken = false;
    for held in [None, Some(Held { sequence: 7, digest: signed.digest() })] {
        if signed.accept(community, held, now, limits).is_err() {
            continue;
        }
        taken = true;
        assert_eq!(read.community, community.uri);
        assert!(read.not_before <= now.plus(limits.clock_skew) && read.expires >= now);
        if let Some(held) = held {
            assert!((held.sequence..=held.sequence + MAX_LEAP).contains(&read.sequence));
        }
        // A new anchor comes by the word of one that is known.
        for anchor in read.anchors.iter().filter(|one| !community.anchors.contains(one)) {
            let vouches = |cross: &Certificate| {
                community.anchors.iter().any(|old| cross.issuer_der() == old.subject_der())
                    && cross.subject_der() == anchor.subject_der()
                    && cross.key_bits() == anchor.key_bits()
            };
            assert!(read.intermediates.iter().any(vouches), "an anchor that nobody vouches for");
        }
        // It narrows, and never widens.
        let applied = signed.apply(community);
        let ours = |one: &Purpose| community.purposes.contains(one);
        assert!(applied.purposes.iter().all(ours));
        for scheme in &applied.organization_schemes {
            assert!(community.organization_schemes.iter().any(|ours| scheme.starts_with(ours)));
        }
        assert_eq!(applied.trusted_until, Some(read.expires));
        assert_eq!(applied.anchors, read.anchors);
    }
    taken
}

fn is_signal(document: &[u8], claims: Option<&[u8]>) -> bool {
    let Lab { signer, limits, .. } = lab();
    let now = Timestamp::from_seconds(NOW);
    let read = |document: &[u8]| SignedSignal::parse(document, BASE, AGE, now, limits);
    let signed = match read(document) {
        Ok(signed) => signed,
        Err(error) => {
            assert!(error.code().starts_with("invalid_") && !error.rule().is_empty());
            return false;
        }
    };
    let Some(claims) = claims else { panic!("a forgery") };
    let (said, signal) = (reread(claims), signed.signal());
    assert_eq!(said.get("iss").and_then(Value::as_str), Some(signal.issuer.as_str()));
    assert_eq!(said.get("jti").and_then(Value::as_str), Some(signal.jti.as_str()));
    assert!(!said.contains_key("sub") && !said.contains_key("exp"));
    assert!(!signal.jti.is_empty() && signal.jti.chars().count() <= limits.jti_chars);
    assert!(signal.issued <= now.plus(limits.clock_skew));
    assert!(signal.issued.plus(AGE).plus(limits.clock_skew) >= now);
    let shown = [signal.issuer.clone(), signal.jti.clone(), signal.about.subject()];
    let reason = signal.reason.iter();
    assert!(shown.iter().chain(reason).all(|text| !text.chars().any(char::is_control)));
    match &signal.about {
        About::Certificate { thumbprint, certificate } => {
            assert!(certificate.as_ref().is_none_or(|one| one.thumbprint() == *thumbprint));
        }
        About::Other(event) => {
            assert!(event.len() <= 2048);
            return true;
        }
        _ => {}
    }
    let again = read(signal.sign(signer).expect("signed").as_bytes()).expect("its own words");
    assert_eq!(again.signal(), signal);
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn good_seeds_are_believed_and_bad_ones_are_not() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/community");
        let believed = |name: &str| super::check(&std::fs::read(dir.join(name)).unwrap());
        for name in ["bundle", "bundle-rollover", "signal", "signal-short", "signal-certification"]
        {
            assert!(believed(name), "{name}");
        }
        for name in ["bundle-unvouched", "bundle-critical", "signal-forbidden", "raw"] {
            assert!(!believed(name), "{name}");
        }
    }
}
