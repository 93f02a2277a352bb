//! Certifications end to end: what is issued is what a server takes, by the community's root alone; what is revoked ends by the lists
//! and by its status (CRT-05, CRT-06, CRT-12 to CRT-15).

use ward_core::{ClientUri, Limits, Timestamp};
use ward_trust::{Alg, Jws, SigningIdentity, Verified};

use super::*;

const CERTIFIER: &str = "https://community.example/certifications";
const PROGRAMME: &str = "https://community.example/programmes/vetted";

fn uri(text: &str) -> ClientUri {
    ClientUri::parse(text).unwrap()
}

pub(super) fn terms() -> CertificationTerms {
    CertificationTerms {
        subject: uri("https://partner.example/udap"),
        certifier: uri(CERTIFIER),
        name: "Vetted application".into(),
        uris: vec![PROGRAMME.into()],
        endorsement: false,
        scope: Some("system/Patient.rs system/Condition.rs".into()),
        grant_types: vec!["client_credentials".into()],
        audiences: Vec::new(),
        life: Duration::from_hours(365 * 24),
        status_endpoint: Some("https://status.community.example/certifications/status".into()),
        signer: None,
    }
}

pub(super) fn verified(jwt: &str) -> Verified {
    Jws::parse(jwt, &Limits::default()).unwrap().verify(&Alg::ALL).unwrap()
}

/// What a server makes of the certifier's certificate with the lists of now.
fn path(lab: &Lab, operator: &Operator, jws: &Verified) -> Result<(), PathError> {
    let all = operator.authorities().into_iter();
    let lists: Vec<_> = all.map(|id| operator.list_of(id).unwrap().list).collect();
    validate(jws.leaf(), jws.extra(), &operator.trust(), &lists, lab.clock.now()).map(|_| ())
}

#[tokio::test]
async fn a_certification_is_what_a_server_takes_until_it_is_revoked() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let (jwt, issued) = operator.certify_client(terms()).await.unwrap();
    let jws = verified(&jwt);
    let now = lab.clock.now();
    assert_eq!(jws.alg(), Alg::Rs256, "every server can check it");
    assert_eq!(jws.leaf().san_uris(), [CERTIFIER]);
    assert_eq!(jws.leaf().not_after(), issued.expires, "CRT-06: not beyond the certificate");
    assert_eq!(path(&lab, &operator, &jws), Ok(()));
    let claims = jws.claims();
    for (name, value) in [
        ("iss", CERTIFIER),
        ("sub", "https://partner.example/udap"),
        ("certification_issuer", "https://community.example"),
        ("certification_name", "Vetted application"),
        ("scope", "system/Patient.rs system/Condition.rs"),
        ("certification_status_endpoint", "https://status.community.example/certifications/status"),
    ] {
        assert_eq!(claims[name], value, "CRT-13, CRT-15 {name}");
    }
    assert_eq!(claims["certification_uris"], serde_json::json!([PROGRAMME]));
    assert_eq!(claims["grant_types"], serde_json::json!(["client_credentials"]));
    for absent in ["jwks_uri", "aud", "is_endorsement"] {
        assert!(!claims.contains_key(absent), "CRT-14 {absent}");
    }
    assert_eq!(claims["exp"], (now.as_seconds() + 365 * 24 * 3600));

    // Another for another client: each has its own key.
    let other = CertificationTerms { subject: uri("https://other.example/udap"), ..terms() };
    let (other, _) = operator.certify_client(other).await.unwrap();
    assert_ne!(verified(&other).leaf().key_bits(), jws.leaf().key_bits());

    let revoked =
        operator.revoke_certification(&issued.jti, Reason::PrivilegeWithdrawn).await.unwrap();
    assert_eq!(revoked.revoked.unwrap().reason, Reason::PrivilegeWithdrawn);
    assert_eq!(path(&lab, &operator, &jws), Err(PathError::Revoked), "by the list too");
    assert_eq!(path(&lab, &operator, &verified(&other)), Ok(()));
    let again = operator.revoke_certification(&issued.jti, Reason::Unspecified).await;
    assert!(matches!(again, Err(CommunityError::Revoked)), "{again:?}");
    let unknown = operator.revoke_certification("00", Reason::Unspecified).await;
    assert!(matches!(unknown, Err(CommunityError::UnknownCertification)), "{unknown:?}");

    // Everything is in the log, and there after a restart.
    assert_eq!(operator.certifications().await.len(), 2);
    drop(operator);
    assert_eq!(certifications_of(&lab.community()).unwrap()[0], revoked);
    let events = lab.sink.events.lock().unwrap().clone();
    let of = |act: &str| events.iter().filter(|one| one.action == act).cloned().collect::<Vec<_>>();
    assert_eq!(of("certification-issued").len(), 2);
    let [event] = of("certification-revoked").try_into().unwrap();
    assert_eq!(event.body.detail["jti"], issued.jti);
    assert_eq!(event.body.detail["reason"], "privilege-withdrawn");
    assert_eq!(event.actor.operator.as_deref(), Some("alice"));
}

#[tokio::test]
async fn what_no_server_would_take_is_not_certified() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    operator.issue(&client("partner")).await.unwrap();
    let two = Duration::from_secs(2);
    let three_years = {
        let text = lab.clock.now().to_rfc3339();
        let (year, rest) = text.split_once('-').unwrap();
        let year: u32 = year.parse().unwrap();
        let until = Timestamp::parse_rfc3339(&format!("{}-{rest}", year + 3)).unwrap();
        until.since(lab.clock.now())
    };
    for (what, bad) in [
        ("CRT-06", CertificationTerms { life: three_years + two, ..terms() }),
        ("CRT-15", CertificationTerms { uris: vec![], ..terms() }),
        ("CRT-15", CertificationTerms { uris: vec!["not a URI".into()], ..terms() }),
        ("CRT-15", CertificationTerms { name: String::new(), ..terms() }),
        ("CRT-15", CertificationTerms { scope: Some("a\"b".into()), ..terms() }),
        ("CRT-15", CertificationTerms { grant_types: vec!["password".into()], ..terms() }),
        (
            "CRT-12",
            CertificationTerms { status_endpoint: Some("http://a.example/s".into()), ..terms() },
        ),
        ("CRT-13", CertificationTerms { subject: uri(CERTIFIER), ..terms() }),
        (
            "CRT-05",
            CertificationTerms { certifier: uri("https://partner.example/udap"), ..terms() },
        ),
        ("CRT-05", CertificationTerms { certifier: uri("https://community.example"), ..terms() }),
        ("CRT-05", CertificationTerms { certifier: uri("urn:oid:1.2.3"), ..terms() }),
    ] {
        let shown = format!("{what} {bad:?}");
        assert!(operator.certify_client(bad).await.is_err(), "{shown}");
    }
    assert_eq!(operator.certifications().await, []);
    operator.certify_client(CertificationTerms { life: three_years, ..terms() }).await.unwrap();
    // From now on the certifier's URI is the community's.
    let thief = CertificateRequest {
        profile: Profile::CertificationIssuer,
        ..CertificateRequest::client("Thief", format!("{CERTIFIER}/"))
    };
    let taken = operator.issue(&thief).await;
    assert!(matches!(taken, Err(CommunityError::UriTaken(_))), "{taken:?}");
    // Beyond the issuing authority's own end nothing is promised.
    lab.clock.advance(Duration::from_hours(24 * 365 * 3));
    operator.publish_now(Authority::Root).await.unwrap();
    let long = CertificationTerms { life: DEFAULT_LIFE * 5 / 2, ..terms() };
    let outlives = operator.certify_client(long).await.unwrap_err().to_string();
    assert!(outlives.contains("outlives"), "{outlives}");
}

#[tokio::test]
async fn a_certifier_with_a_certificate_of_its_own_signs_with_it() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let own = "https://certifier.example/";
    let request = CertificateRequest {
        profile: Profile::CertificationIssuer,
        ..CertificateRequest::client("Certifier", own)
    };
    let issued = operator.issue(&request).await.unwrap();
    let by = |identity: SigningIdentity| CertificationTerms {
        certifier: uri(own),
        signer: Some(identity),
        life: Duration::from_hours(24),
        ..terms()
    };
    let (jwt, one) = operator.certify_client(by(issued.identity().unwrap())).await.unwrap();
    assert_eq!(verified(&jwt).leaf().thumbprint(), issued.thumbprint);
    assert_eq!(one.serial, None);
    let long = CertificationTerms { life: DEFAULT_LIFE * 2, ..by(issued.identity().unwrap()) };
    assert!(operator.certify_client(long).await.unwrap_err().to_string().contains("outlives"));
    // Not with a member's, a stranger's or a revoked one.
    let member = operator.issue(&client("partner")).await.unwrap();
    let refused = operator.certify_client(by(member.identity().unwrap())).await;
    assert!(matches!(refused, Err(CommunityError::NoCertifier("client"))), "{refused:?}");
    let other = Lab::new();
    let stranger = other.create(KeySpec::P256, BASE).await.issue(&request).await.unwrap();
    let refused = operator.certify_client(by(stranger.identity().unwrap())).await;
    assert!(matches!(refused, Err(CommunityError::Unknown)), "{refused:?}");
    let public = PublicServer::new(lab.community(), lab.vault.clone(), lab.clock.clone()).unwrap();
    let exp = one.expires.as_seconds();
    assert!(public.stands_by(&one.jti, exp).await.unwrap());
    operator.revoke(&issued.thumbprint, Reason::KeyCompromise).await.unwrap();
    assert!(!public.stands_by(&one.jti, exp).await.unwrap(), "nor does who has lost its key");
    let refused = operator.certify_client(by(issued.identity().unwrap())).await;
    assert!(matches!(refused, Err(CommunityError::CertifierEnded)), "{refused:?}");
}

#[tokio::test]
async fn the_status_is_as_fresh_as_the_register() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let (_, one) = operator.certify_client(terms()).await.unwrap();
    let public = PublicServer::new(lab.community(), lab.vault.clone(), lab.clock.clone()).unwrap();
    let exp = one.expires.as_seconds();
    assert!(public.stands_by(&one.jti, exp).await.unwrap());
    assert!(!public.stands_by(&one.jti, exp + 1).await.unwrap(), "another last second");
    assert!(!public.stands_by("unknown", exp).await.unwrap());
    let (_, short) = operator
        .certify_client(CertificationTerms { life: Duration::from_hours(1), ..terms() })
        .await
        .unwrap();
    let end = short.expires.as_seconds();
    assert!(public.stands_by(&short.jti, end).await.unwrap());
    lab.clock.advance(Duration::from_hours(1) + Duration::from_secs(1));
    assert!(!public.stands_by(&short.jti, end).await.unwrap(), "it has ended");
    operator.revoke_certification(&one.jti, Reason::Superseded).await.unwrap();
    assert!(!public.stands_by(&one.jti, exp).await.unwrap());
}
