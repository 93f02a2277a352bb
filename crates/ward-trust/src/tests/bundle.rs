//! Trust bundles, good and bad (PKI-16; issue 4 Build 4): every refusal of [`BundleError`] by a row, and an anchor rolled over.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{IsCa, KeyUsagePurpose};
use serde_json::{Value, json};
use ward_core::{CommunityUri, Limits, Purpose, Timestamp};

use super::pki::{Ca, DAY, Leaf, NOW, World, community, now, p256, uri};
use crate::bundle::{Bundle, BundleError, Held, MAX_LEAP, Places, SignedBundle, signers};
use crate::context::ValueSets;
use crate::{Alg, Community, JoseError, PathError, SigningIdentity};

const COMMUNITY: &str = "urn:example:community";

fn limits() -> Limits {
    Limits::default()
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + seconds)
}

/// The certificate with which the community signs its bundles.
fn speaker(issuing: &Ca) -> Leaf {
    issuing.leaf_with(p256(), |params| params.subject_alt_names = vec![uri(COMMUNITY)])
}

fn plain(world: &World) -> Bundle {
    Bundle {
        community: CommunityUri::parse(COMMUNITY).unwrap(),
        sequence: 7,
        issued: now(),
        not_before: later(-60),
        expires: later(7 * DAY),
        anchors: vec![world.root.certificate.clone()],
        intermediates: vec![world.issuing.certificate.clone()],
        revocation: vec![Places {
            issuer: world.issuing.certificate.thumbprint(),
            crl: vec!["http://crl.test/Issuing.crl".to_owned()],
            ocsp: Vec::new(),
        }],
        purposes: vec!["TREAT".to_owned(), "HRESCH".to_owned(), "X-UNHEARD-OF".to_owned()],
        organization_schemes: vec!["urn:oid:2.16.".to_owned(), "https:".to_owned()],
        certifications: Vec::new(),
        certifiers: vec!["https://community.example/certifier".to_owned()],
        value_sets: ValueSets::default(),
    }
}

struct Lab {
    world: World,
    speaker: SigningIdentity,
    community: Community,
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        let speaker = speaker(&world.issuing).identity(&[&world.issuing]);
        let community = world.community();
        Self { world, speaker, community }
    }

    fn signed(&self, edit: impl FnOnce(&mut Bundle)) -> String {
        let mut bundle = plain(&self.world);
        edit(&mut bundle);
        bundle.sign(&self.speaker).unwrap()
    }

    /// Signs the claims of a sound bundle after an edit of their JSON text, which need not stay sound.
    fn raw(&self, edit: impl FnOnce(String) -> String) -> String {
        let header = json!({"alg": "ES256", "typ": "trust-bundle+jwt", "x5c": self.speaker.x5c()});
        let claims = edit(plain(&self.world).to_claims().to_string());
        let header = header.to_string();
        self.speaker.sign_raw(Alg::Es256, header.as_bytes(), claims.as_bytes()).unwrap()
    }

    fn member(&self, name: &str, value: Value) -> String {
        self.raw(|text| {
            let mut claims: Value = serde_json::from_str(&text).unwrap();
            claims[name] = value;
            claims.to_string()
        })
    }

    fn without(&self, name: &str) -> String {
        self.raw(|text| {
            let mut claims: Value = serde_json::from_str(&text).unwrap();
            claims.as_object_mut().unwrap().remove(name).unwrap();
            claims.to_string()
        })
    }

    fn header(&self, header: &Value) -> String {
        let claims = plain(&self.world).to_claims().to_string();
        let header = header.to_string();
        self.speaker.sign_raw(Alg::Es256, header.as_bytes(), claims.as_bytes()).unwrap()
    }

    fn take(&self, document: &str, held: Option<Held>) -> Result<SignedBundle, BundleError> {
        take(document, &self.community, held, now())
    }
}

fn take(
    document: &str,
    community: &Community,
    held: Option<Held>,
    now: Timestamp,
) -> Result<SignedBundle, BundleError> {
    let signed = SignedBundle::parse(document.as_bytes(), &limits())?;
    signed.accept(community, held, now, &limits())?;
    Ok(signed)
}

#[test]
fn a_sound_bundle_is_read_back_as_it_was_signed_and_taken() {
    let lab = Lab::new();
    let document = lab.signed(|_| {});
    let signed = lab.take(&document, None).unwrap();
    assert_eq!(*signed.bundle(), plain(&lab.world));
    assert_eq!(
        SignedBundle::parse(format!("{document}\n").as_bytes(), &limits()).unwrap().digest(),
        signed.digest()
    );
    // The same again is no roll-back, and a newer one follows.
    assert!(lab.take(&document, Some(signed.held())).unwrap().is(signed.held()));
    let next = lab.signed(|bundle| bundle.sequence = 8);
    assert!(!lab.take(&next, Some(signed.held())).unwrap().is(signed.held()));
    // Parts that are not critical may come later.
    lab.take(&lab.member("contacts", json!(["a"])), None).unwrap();
    lab.take(&lab.member("crit", json!(["anchors", "exp"])), None).unwrap();
}

/// COMM-21.
#[test]
fn bad_bundles_are_refused_each_for_its_own_reason() {
    use BundleError as E;
    let lab = Lab::new();
    let sound = lab.signed(|_| {});
    let held = Some(lab.take(&sound, None).unwrap().held());
    let (head, rest) = sound.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let b64 = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let x5c = lab.speaker.x5c();
    let stranger = World::new();
    let strange = speaker(&stranger.issuing).identity(&[&stranger.issuing]);
    let client = lab.world.leaf.identity(&[&lab.world.issuing]);
    let two_names = lab.world.issuing.leaf_with(p256(), |params| {
        params.subject_alt_names = vec![uri(COMMUNITY), uri("https://client.example/udap")];
    });
    let two_names = two_names.identity(&[&lab.world.issuing]);
    let ended = lab.world.issuing.leaf_with(p256(), |params| {
        params.subject_alt_names = vec![uri(COMMUNITY)];
        params.not_after = super::pki::at(NOW - 1);
    });
    let ended = ended.identity(&[&lab.world.issuing]);
    let no_ca = lab.world.leaf.certificate.clone();
    let may_not = Ca::root_with("May not", p256(), |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let over = Ca::root_with("Over", p256(), |params| params.not_after = super::pki::at(NOW - 1));
    let new_root = Ca::root("New root");
    let by = |identity: &SigningIdentity| plain(&lab.world).sign(identity).unwrap();
    let newer = |edit: &dyn Fn(&mut Bundle)| {
        lab.signed(|bundle| {
            bundle.sequence = 8;
            edit(bundle);
        })
    };
    let with_anchor =
        |anchor: &crate::Certificate| lab.signed(|bundle| bundle.anchors.push(anchor.clone()));
    let none = b64(&json!({"alg": "none", "typ": "trust-bundle+jwt", "x5c": x5c}));
    let hs = b64(&json!({"alg": "HS256", "typ": "trust-bundle+jwt", "x5c": x5c}));
    let root = lab.world.root.certificate.clone();
    let rows: Vec<(&str, String, Result<(), BundleError>)> = vec![
        ("empty", String::new(), Err(E::Jose(JoseError::Segments))),
        (
            "plain JSON",
            plain(&lab.world).to_claims().to_string(),
            Err(E::Jose(JoseError::Segments)),
        ),
        (
            "HTML",
            "<html><body>Not found</body></html>".to_owned(),
            Err(E::Jose(JoseError::Segments)),
        ),
        ("no signature", format!("{head}.{body}."), Err(E::Jose(JoseError::Unsigned))),
        ("alg none", format!("{none}.{body}."), Err(E::Jose(JoseError::Unsigned))),
        ("alg HS256", format!("{hs}.{body}.{signature}"), Err(E::Jose(JoseError::Symmetric))),
        (
            "alg of another key",
            lab.header(&json!({"alg": "RS256", "typ": "trust-bundle+jwt", "x5c": x5c})),
            Err(E::Jose(JoseError::KeyMismatch)),
        ),
        (
            "alg PS256",
            lab.header(&json!({"alg": "PS256", "typ": "trust-bundle+jwt", "x5c": x5c})),
            Err(E::Jose(JoseError::Algorithm)),
        ),
        (
            "no x5c",
            lab.header(&json!({"alg": "ES256", "typ": "trust-bundle+jwt"})),
            Err(E::Jose(JoseError::CertificateMissing)),
        ),
        (
            "header crit",
            lab.header(
                &json!({"alg": "ES256", "typ": "trust-bundle+jwt", "x5c": x5c, "crit": ["exp"]}),
            ),
            Err(E::Jose(JoseError::Critical)),
        ),
        ("no typ", lab.header(&json!({"alg": "ES256", "x5c": x5c})), Err(E::Type)),
        (
            "another typ",
            lab.header(&json!({"alg": "ES256", "typ": "JWT", "x5c": x5c})),
            Err(E::Type),
        ),
        (
            "changed",
            format!("{head}.{}.{signature}", b64(&json!({"version": 1}))),
            Err(E::Jose(JoseError::Signature)),
        ),
        // No base64 has a length of 4n + 1; with one character more, one signature in sixteen would decode.
        ("cut off", sound[..sound.len() - 5].to_owned(), Err(E::Jose(JoseError::Encoding))),
        ("too large", "a".repeat(limits().bundle_bytes + 1), Err(E::TooLarge)),
        (
            "a name twice",
            lab.raw(|text| text.replacen("\"sequence\":7", "\"sequence\":7,\"sequence\":8", 1)),
            Err(E::Jose(JoseError::Duplicate)),
        ),
        (
            "a name twice, escaped",
            lab.raw(|text| {
                text.replacen("\"sequence\":7", "\"sequence\":7,\"s\\u0065quence\":8", 1)
            }),
            Err(E::Jose(JoseError::Duplicate)),
        ),
        (
            "a name twice, deep",
            lab.raw(|text| text.replacen("\"ocsp\":[]", "\"ocsp\":[],\"ocsp\":[]", 1)),
            Err(E::Jose(JoseError::Duplicate)),
        ),
        ("trailing", lab.raw(|text| text + " x"), Err(E::Jose(JoseError::Json))),
        ("an array", lab.raw(|text| format!("[{text}]")), Err(E::Jose(JoseError::Json))),
        (
            "too deep",
            lab.member(
                "contacts",
                serde_json::from_str(&format!("{}{}", "[".repeat(60), "]".repeat(60))).unwrap(),
            ),
            Err(E::Jose(JoseError::Json)),
        ),
        ("version 2", lab.member("version", json!(2)), Err(E::Version)),
        ("no version", lab.without("version"), Err(E::Version)),
        (
            "unknown critical member",
            lab.member("crit", json!(["anchors", "quorum"])),
            Err(E::Critical),
        ),
        ("crit no array", lab.member("crit", json!("anchors")), Err(E::Member("crit"))),
        ("crit of numbers", lab.member("crit", json!([1])), Err(E::Member("crit"))),
        ("sequence 0", lab.member("sequence", json!(0)), Err(E::Member("sequence"))),
        ("sequence -1", lab.member("sequence", json!(-1)), Err(E::Member("sequence"))),
        ("sequence 7.0", lab.member("sequence", json!(7.0)), Err(E::Member("sequence"))),
        ("sequence text", lab.member("sequence", json!("7")), Err(E::Member("sequence"))),
        ("sequence 2^53", lab.member("sequence", json!(1_u64 << 53)), Err(E::Member("sequence"))),
        ("no sequence", lab.without("sequence"), Err(E::Member("sequence"))),
        ("no iss", lab.without("iss"), Err(E::Member("iss"))),
        ("no exp", lab.without("exp"), Err(E::Member("exp"))),
        ("exp text", lab.member("exp", json!("2030-01-01")), Err(E::Member("exp"))),
        ("no nbf", lab.without("nbf"), Err(E::Member("nbf"))),
        ("no anchors", lab.without("anchors"), Err(E::Member("anchors"))),
        ("empty anchors", lab.signed(|bundle| bundle.anchors.clear()), Err(E::NoAnchor)),
        ("anchors no array", lab.member("anchors", json!("x")), Err(E::Member("anchors"))),
        (
            "too many anchors",
            lab.signed(|bundle| bundle.anchors = vec![root.clone(); 9]),
            Err(E::Member("anchors")),
        ),
        ("an anchor twice", with_anchor(&root), Err(E::Member("anchors"))),
        (
            "an anchor of junk",
            lab.member("anchors", json!([STANDARD.encode("junk")])),
            Err(E::Certificate("anchors")),
        ),
        (
            "an anchor in base64url",
            lab.member("anchors", json!([URL_SAFE_NO_PAD.encode(root.der())])),
            Err(E::Certificate("anchors")),
        ),
        (
            "an anchor with trailing octets",
            lab.member("anchors", json!([STANDARD.encode([root.der(), &[0]].concat())])),
            Err(E::Certificate("anchors")),
        ),
        (
            "an anchor that is no CA",
            with_anchor(&no_ca),
            Err(E::Anchor(no_ca.thumbprint(), PathError::NotAuthority)),
        ),
        (
            "an anchor without keyCertSign",
            with_anchor(&may_not.certificate),
            Err(E::Anchor(may_not.certificate.thumbprint(), PathError::KeyCertSign)),
        ),
        (
            "an intermediate that is no CA",
            lab.signed(|bundle| bundle.intermediates.push(no_ca.clone())),
            Err(E::Certificate("intermediates")),
        ),
        (
            "too many purposes",
            lab.member("purposes", json!(vec!["TREAT"; 65])),
            Err(E::Member("purposes")),
        ),
        (
            "purposes with a control character",
            lab.member("purposes", json!(["TR\nEAT"])),
            Err(E::Member("purposes")),
        ),
        ("no purposes", lab.without("purposes"), Err(E::Member("purposes"))),
        (
            "a list by file URL",
            lab.raw(|text| text.replacen("http://crl.test", "file://crl.test", 1)),
            Err(E::Member("revocation")),
        ),
        (
            "places for no authority",
            lab.member("revocation", json!([{"issuer": "x", "crl": [], "ocsp": []}])),
            Err(E::Member("revocation")),
        ),
        (
            "a certification that is no URI",
            lab.member("certifications_required", json!(["gold"])),
            Err(E::Member("certifications_required")),
        ),
        (
            "another community",
            lab.member("iss", json!("urn:example:other")),
            Err(E::OtherCommunity),
        ),
        (
            "other letters",
            lab.member("iss", json!("urn:example:Community")),
            Err(E::OtherCommunity),
        ),
        ("signed by a member", by(&client), Err(E::Signer)),
        ("signed by a member that is the community too", by(&two_names), Err(E::Signer)),
        (
            "signed by the same name under another root",
            by(&strange),
            Err(E::Path(PathError::Signature)),
        ),
        ("signed with a certificate that ended", by(&ended), Err(E::Path(PathError::Expired))),
        (
            "expired",
            lab.signed(|bundle| {
                bundle.sequence = 8;
                bundle.expires = later(-1);
                bundle.not_before = later(-DAY);
            }),
            Err(E::Expired),
        ),
        ("not yet valid", newer(&|bundle| bundle.not_before = later(61)), Err(E::NotYetValid)),
        ("from the future", newer(&|bundle| bundle.issued = later(61)), Err(E::NotYetValid)),
        (
            "within the skew",
            lab.signed(|bundle| {
                bundle.sequence = 8;
                bundle.not_before = later(60);
            }),
            Ok(()),
        ),
        (
            "ends before it begins",
            newer(&|bundle| bundle.expires = bundle.not_before),
            Err(E::Member("exp")),
        ),
        ("lives too long", newer(&|bundle| bundle.expires = later(90 * DAY)), Err(E::Life)),
        ("older sequence", lab.signed(|bundle| bundle.sequence = 6), Err(E::RollBack)),
        (
            "older and ended",
            lab.signed(|bundle| {
                bundle.sequence = 6;
                bundle.expires = later(-1);
                bundle.not_before = later(-DAY);
            }),
            Err(E::RollBack),
        ),
        (
            "same sequence, other content",
            lab.signed(|bundle| bundle.purposes.clear()),
            Err(E::SameNumber),
        ),
        ("a leap", lab.signed(|bundle| bundle.sequence = 8 + MAX_LEAP), Err(E::Leap)),
        ("as far as it may", lab.signed(|bundle| bundle.sequence = 7 + MAX_LEAP), Ok(())),
        (
            "a new anchor for which nobody vouches",
            lab.signed(|bundle| {
                bundle.sequence = 8;
                bundle.anchors.push(new_root.certificate.clone());
            }),
            Err(E::Unvouched(new_root.certificate.thumbprint())),
        ),
        (
            "only a new anchor",
            lab.signed(|bundle| {
                bundle.sequence = 8;
                bundle.anchors = vec![new_root.certificate.clone()];
            }),
            Err(E::Unvouched(new_root.certificate.thumbprint())),
        ),
        (
            "the issuing authority as an anchor",
            lab.signed(|bundle| {
                bundle.sequence = 8;
                bundle.anchors.push(lab.world.issuing.certificate.clone());
            }),
            Ok(()),
        ),
    ];
    let mut failed = Vec::new();
    for (name, document, wanted) in rows {
        let got = lab.take(&document, held).map(|_| ());
        if got != wanted {
            failed.push(format!("{name}: {got:?}, wanted {wanted:?}"));
        }
        if let Err(error) = got {
            // Each says what to do.
            assert!(
                error.to_string().contains("; ") || error.to_string().contains(". "),
                "{error}"
            );
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let over_only =
        Community { anchors: vec![root, over.certificate.clone()], ..lab.community.clone() };
    let document = lab.signed(|bundle| bundle.anchors = vec![over.certificate.clone()]);
    assert_eq!(take(&document, &over_only, None, now()).unwrap_err(), E::AnchorsOver);
}

/// A certificate for the next root's name and key, signed by the old root (RFC 4210 §4.4, `NewWithOld`).
fn new_with_old(old: &Ca, name: &str, key: rcgen::KeyPair) -> (Ca, Ca) {
    let again = rcgen::KeyPair::try_from(key.serialize_der().as_slice()).unwrap();
    (Ca::root_with(name, key, |_| {}), old.child_with(name, again, |_| {}))
}

#[test]
fn a_bundle_under_the_outgoing_anchor_introduces_the_next_and_a_later_one_drops_it() {
    let lab = Lab::new();
    let first = lab.take(&lab.signed(|_| {}), None).unwrap();
    let member = first.apply(&lab.community);
    let (next, cross) = new_with_old(&lab.world.root, "Next root", p256());
    let both = lab.signed(|bundle| {
        bundle.sequence = 8;
        bundle.anchors.push(next.certificate.clone());
        bundle.intermediates.push(cross.certificate.clone());
    });
    let both = take(&both, &member, Some(first.held()), now()).unwrap();
    let member = both.apply(&member);
    assert_eq!(member.anchors.len(), 2);
    member.check().unwrap();

    // Both are live: members below the old and below the new root are members.
    let issuing = next.child("Next issuing");
    let newcomer = issuing.leaf();
    let lists = [lab.world.lists(), vec![next.list(&[]), issuing.list(&[])]].concat();
    let old = &lab.world.leaf.certificate;
    crate::validate(old, &[], &member, &lists, now()).unwrap();
    let sent = [issuing.certificate.clone()];
    crate::validate(&newcomer.certificate, &sent, &member, &lists, now()).unwrap();

    // The next bundle is signed below the new root, and leaves the old one out.
    let speaker = speaker(&issuing).identity(&[&issuing]);
    let mut last = plain(&lab.world);
    last.sequence = 9;
    last.anchors = vec![next.certificate.clone()];
    last.intermediates = vec![issuing.certificate.clone()];
    let document = last.sign(&speaker).unwrap();
    let last = take(&document, &member, Some(both.held()), now()).unwrap();
    let member = last.apply(&lab.community);
    crate::validate(&newcomer.certificate, &sent, &member, &lists, now()).unwrap();
    assert!(crate::validate(old, &[], &member, &lists, now()).is_err(), "the old root is out");
    // Who was away all the time cannot follow, and is told what to do.
    let error = take(&document, &lab.community, None, now()).unwrap_err();
    assert!(error.to_string().contains("`anchors`"), "{error}");
}

#[test]
fn only_an_anchor_that_is_valid_now_introduces_another() {
    let lab = Lab::new();
    let (next, by_issuing) = {
        let key = p256();
        let again = rcgen::KeyPair::try_from(key.serialize_der().as_slice()).unwrap();
        let next = Ca::root_with("Next root", key, |_| {});
        (next, lab.world.issuing.child_with("Next root", again, |_| {}))
    };
    let offer = |cross: &Ca| {
        lab.signed(|bundle| {
            bundle.anchors.push(next.certificate.clone());
            bundle.intermediates.push(cross.certificate.clone());
        })
    };
    let refused = Err(BundleError::Unvouched(next.certificate.thumbprint()));
    assert_eq!(lab.take(&offer(&by_issuing), None).map(|_| ()), refused, "an issuing authority");
    let (_, same_name) = new_with_old(&lab.world.root, "Next root", p256());
    assert_eq!(
        lab.take(&offer(&same_name), None).map(|_| ()),
        refused,
        "the name with another key"
    );
    let key = rcgen::KeyPair::try_from(next.issuer.key().serialize_der().as_slice()).unwrap();
    let ended = lab.world.root.child_with("Next root", key, |params| {
        params.not_after = super::pki::at(NOW - 1);
    });
    assert_eq!(lab.take(&offer(&ended), None).map(|_| ()), refused, "a certificate that ended");
    let key = rcgen::KeyPair::try_from(next.issuer.key().serialize_der().as_slice()).unwrap();
    let leaf =
        lab.world.root.child_with("Next root", key, |params| params.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(
        lab.take(&offer(&leaf), None).map(|_| ()),
        Err(BundleError::Certificate("intermediates")),
        "for a leaf"
    );
}

/// COMM-05, COMM-06, COMM-08: what the community says of roles, policies and scopes is said beside the member's own.
#[test]
fn value_sets_are_the_members_and_the_communitys() {
    let lab = Lab::new();
    let sets = ValueSets {
        subject_id_systems: vec!["urn:ids:1".to_owned(), "urn:ids:2".to_owned()],
        subject_roles: vec!["urn:roles#".to_owned(), "urn:other#7".to_owned()],
        consent_policies: vec!["urn:policy:1".to_owned(), "urn:policy:2".to_owned()],
        scopes: vec!["system/Patient.rs".to_owned()],
    };
    let signed = lab.take(&lab.signed(|bundle| bundle.value_sets = sets.clone()), None).unwrap();
    assert_eq!(signed.bundle().value_sets, sets);
    let mut local = lab.community.clone();
    local.context.subject_id_systems = vec!["urn:ids:2".to_owned(), "urn:ids:3".to_owned()];
    local.context.subject_roles = vec!["urn:roles#1".to_owned(), "urn:mine#".to_owned()];
    local.context.consent_policies = vec!["urn:policy:2".to_owned(), "urn:policy:3".to_owned()];
    let applied = signed.apply(&local);
    assert_eq!(applied.context.of_bundle, sets);
    let role = |community: &Community, role: &str| community.context.admits_role(role);
    let policy =
        |community: &Community, policy: &str| community.context.admits_policies(&[policy.into()]);
    let id = |community: &Community, id: &str| community.context.admits_subject(id);
    for (what, of_mine, of_both) in
        [("urn:ids:2#x", true, true), ("urn:ids:3#x", true, false), ("urn:ids:1#x", false, false)]
    {
        assert_eq!((id(&local, what), id(&applied, what)), (of_mine, of_both), "{what}");
    }
    for (what, of_mine, of_both) in
        [("urn:roles#1", true, true), ("urn:mine#9", true, false), ("urn:other#7", false, false)]
    {
        assert_eq!((role(&local, what), role(&applied, what)), (of_mine, of_both), "{what}");
    }
    for (what, of_mine, of_both) in [
        ("urn:policy:2", true, true),
        ("urn:policy:3", true, false),
        ("urn:policy:1", false, false),
    ] {
        assert_eq!((policy(&local, what), policy(&applied, what)), (of_mine, of_both), "{what}");
    }
    // Who sets none takes the community's; and a community that sets none takes nothing away.
    let open = signed.apply(&lab.community);
    assert!(role(&open, "urn:roles#2") && !role(&open, "urn:mine#9"));
    let silent = lab.take(&lab.signed(|_| {}), None).unwrap().apply(&local);
    assert!(role(&silent, "urn:mine#9") && policy(&silent, "urn:policy:3"));
    // A later bundle that says nothing takes back what an earlier one said.
    assert!(role(&lab.take(&lab.signed(|_| {}), None).unwrap().apply(&open), "urn:mine#9"));
    for bad in [
        json!([]),
        json!({ "subject_id_systems": ["npi"] }),
        json!({ "subject_roles": "urn:roles#" }),
        json!({ "consent_policies": ["no uri"] }),
        json!({ "scopes": ["system/Patient.rs system/Observation.rs"] }),
        json!({ "scopes": [7] }),
    ] {
        let error = lab.take(&lab.member("value_sets", bad.clone()), None).err();
        assert_eq!(error, Some(BundleError::Member("value_sets")), "{bad}");
    }
}

/// COMM-04, COMM-07.
#[test]
fn a_bundle_narrows_what_a_member_allows_and_never_widens_it() {
    let lab = Lab::new();
    let signed = lab.take(&lab.signed(|_| {}), None).unwrap();
    let mut local = lab.community.clone();
    local.purposes = vec![Purpose::Treatment, Purpose::Payment];
    local.organization_schemes =
        vec!["urn:oid:".to_owned(), "https://directory.example/".to_owned(), "tag:".to_owned()];
    local.uri_prefixes = vec!["https://client.example/".to_owned()];
    let applied = signed.apply(&local);
    assert_eq!(applied.purposes, [Purpose::Treatment]);
    assert_eq!(applied.organization_schemes, ["urn:oid:2.16.", "https://directory.example/"]);
    assert_eq!(applied.uri_prefixes, local.uri_prefixes);
    assert_eq!(applied.trusted_until, Some(later(7 * DAY)));
    // The community signs although its own name is outside the prefixes of its members.
    signed.accept(&applied, Some(signed.held()), now(), &limits()).unwrap();
    assert_eq!(signers(&applied).trusted_until, None);
}

#[test]
fn when_the_bundle_ends_nobody_is_let_in_but_within_the_grace() {
    let lab = Lab::new();
    let signed = lab.take(&lab.signed(|bundle| bundle.expires = later(60)), None).unwrap();
    let member = signed.apply(&lab.community);
    let leaf = &lab.world.leaf.certificate;
    let check = |at: i64, grace: u64| {
        let extra = [lab.world.issuing.certificate.clone()];
        crate::validate_within(
            leaf,
            &extra,
            &member,
            &lab.world.lists(),
            later(at),
            Duration::from_secs(grace),
        )
        .map(|chain| chain.stale)
    };
    assert_eq!(check(60, 0), Ok(false));
    assert_eq!(check(61, 0), Err(PathError::BundleExpired));
    assert_eq!(check(61, 3600), Ok(true), "flagged");
    assert_eq!(check(60 + 3600, 3600), Ok(true));
    assert_eq!(check(61 + 3600, 3600), Err(PathError::BundleExpired));
    assert!(PathError::BundleExpired.is_unavailable());
    // A newer bundle is still taken then: this is how it mends itself.
    let newer = lab.signed(|bundle| {
        bundle.sequence = 8;
        bundle.not_before = later(600);
    });
    take(&newer, &member, Some(signed.held()), later(3600)).unwrap();
    // A certificate known to be revoked stays refused for what it is.
    let lists = vec![lab.world.root.list(&[]), lab.world.issuing.list(&[leaf])];
    let extra = [lab.world.issuing.certificate.clone()];
    let verdict = crate::validate_within(leaf, &extra, &member, &lists, later(61), Duration::ZERO);
    assert_eq!(verdict.map(|_| ()), Err(PathError::Revoked));
}

#[test]
fn no_input_makes_the_reader_panic() {
    let lab = Lab::new();
    let document = lab.signed(|_| {}).into_bytes();
    for at in (0..document.len()).step_by(7) {
        for byte in [0, b'.', b'A', 0xff] {
            let mut changed = document.clone();
            changed[at] = byte;
            if changed != document {
                assert!(SignedBundle::parse(&changed, &limits()).is_err(), "{at}");
            }
        }
    }
    assert_eq!(community(&[&lab.world.root]).uri, lab.community.uri);
}
