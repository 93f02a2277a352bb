//! Signals as an operator queues them: what members must be told is never forgotten, and what they are told they believe.

use ward_core::{Limits, Timestamp};
use ward_trust::signal::{About, SignedSignal, speakers};
use ward_trust::{Certificate, validate};

use super::certification::{terms, verified};
use super::*;
use crate::signals::{LIFE, Waiting, waiting};

const WARD: &str = "https://ward.example/default/fhir";
const OTHER: &str = "https://other.example/r4";

/// A community with two servers, of which the first is told.
async fn told(lab: &Lab) -> Arc<Operator> {
    let operator = lab.create(KeySpec::P256, BASE).await;
    for base in [WARD, OTHER] {
        operator
            .issue(&CertificateRequest::server(base.split('/').nth(2).unwrap(), base))
            .await
            .unwrap();
    }
    operator.subscribe(WARD, None).await.unwrap();
    operator
}

fn queued(lab: &Lab) -> Vec<Waiting> {
    waiting(&lab.community()).unwrap().into_iter().map(|(_, one)| one).collect()
}

/// What the member reads out of it.
fn read(lab: &Lab, operator: &Operator, one: &Waiting) -> SignedSignal {
    let (now, limits) = (lab.clock.now(), Limits::default());
    let signed =
        SignedSignal::parse(one.token.as_bytes(), &one.base, limits.signal_age, now, &limits)
            .unwrap();
    assert_eq!(signed.signal().issuer, "https://community.example");
    let lists = [Authority::Root, Authority::Issuing].map(|of| operator.list(of).list);
    let trust = speakers(&operator.trust());
    validate(signed.signer(), signed.extra(), &trust, &lists, now).unwrap();
    signed
}

#[tokio::test]
async fn what_is_revoked_is_queued_for_each_member_as_a_signal_that_it_believes() {
    let lab = Lab::new();
    let operator = told(&lab).await;
    let first = queued(&lab);
    assert_eq!(first.len(), 1, "a new subscriber's way is tried");
    assert_eq!(read(&lab, &operator, &first[0]).signal().about, About::Verification);
    assert_eq!(first[0].endpoint, "https://ward.example/default/signals");
    operator.subscribe(OTHER, Some("https://other.example/hooks/set")).await.unwrap();

    let partner = operator.issue(&client("partner")).await.unwrap();
    assert_eq!(operator.signal().await.unwrap(), 0, "nothing to tell");
    operator.revoke(&partner.thumbprint, Reason::KeyCompromise).await.unwrap();
    assert_eq!(operator.signal().await.unwrap(), 2);
    assert_eq!(operator.signal().await.unwrap(), 0, "told once");
    let certificate = Box::new(Certificate::from_der(&partner.chain[0]).unwrap());
    let about =
        About::Certificate { thumbprint: partner.thumbprint, certificate: Some(certificate) };
    let all = queued(&lab);
    let said: Vec<_> = all.iter().filter(|one| one.about == "certificate-revoked").collect();
    assert_eq!(said.len(), 2);
    for one in said {
        let signed = read(&lab, &operator, one);
        assert_eq!(signed.signal().about, about);
        assert_eq!(signed.signal().reason.as_deref(), Some("key-compromise"));
        // Another member cannot take it for its own.
        let other = if one.base == WARD { OTHER } else { WARD };
        let (now, limits) = (lab.clock.now(), Limits::default());
        assert!(SignedSignal::parse(one.token.as_bytes(), other, LIFE, now, &limits).is_err());
    }
    let jtis: std::collections::BTreeSet<_> = all.iter().map(|one| &one.jti).collect();
    assert_eq!(jtis.len(), all.len());
    let actions = lab.sink.actions();
    assert_eq!(actions.iter().filter(|one| *one == "signal-queued").count(), 3);
}

#[tokio::test]
async fn nothing_that_was_revoked_is_forgotten_whatever_fails_in_between() {
    let lab = Lab::new();
    let operator = told(&lab).await;
    let partner = operator.issue(&client("partner")).await.unwrap();
    operator.revoke(&partner.thumbprint, Reason::Superseded).await.unwrap();
    // The log takes no event, so nothing is queued as told; then the process ends.
    lab.sink.broken.store(true, Ordering::SeqCst);
    assert!(operator.signal().await.is_err());
    drop(operator);
    lab.sink.broken.store(false, Ordering::SeqCst);
    let operator = lab.open().await.unwrap();
    assert!(operator.signal().await.unwrap() >= 1);
    assert!(queued(&lab).iter().any(|one| one.subject.ends_with(&partner.thumbprint.to_string())));
    assert_eq!(operator.signal().await.unwrap(), 0);
    // A bundle is told when it is another one.
    operator.publish_bundle(&BundleTerms::default()).await.unwrap();
    assert_eq!(operator.signal().await.unwrap(), 1);
    assert_eq!(operator.signal().await.unwrap(), 0);
    assert!(queued(&lab).iter().any(|one| one.about == "published"));
}

/// What finds no room among the signals that wait is queued later.
#[tokio::test]
async fn what_does_not_fit_is_queued_by_the_next_act() {
    let lab = Lab::new();
    let operator = told(&lab).await;
    for name in ["one", "two"] {
        let partner = operator.issue(&client(name)).await.unwrap();
        operator.revoke(&partner.thumbprint, Reason::Superseded).await.unwrap();
    }
    // The first signal to the subscriber waits too.
    let filler = |n: usize| lab.community().join("signals").join(format!("filler-{n}"));
    let count = crate::signals::MAX_WAITING - 2;
    (0..count).for_each(|n| drop(std::fs::File::create(filler(n)).unwrap()));
    assert_eq!(operator.signal().await.unwrap(), 1);
    assert_eq!(operator.signal().await.unwrap(), 0, "no room");
    (0..count).for_each(|n| std::fs::remove_file(filler(n)).unwrap());
    assert_eq!(operator.signal().await.unwrap(), 1);
    assert_eq!(operator.signal().await.unwrap(), 0);
    assert_eq!(queued(&lab).iter().filter(|one| one.about == "certificate-revoked").count(), 2);
}

#[tokio::test]
async fn only_members_are_told_and_over_tls() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let partner = operator.issue(&client("partner")).await.unwrap();
    let before = operator.issue(&client("before")).await.unwrap();
    operator.revoke(&before.thumbprint, Reason::Superseded).await.unwrap();
    assert_eq!(operator.signal().await.unwrap(), 0, "nobody wants to know");
    let refused = async |base: &str, endpoint: Option<&str>| {
        operator.subscribe(base, endpoint).await.unwrap_err().to_string()
    };
    assert!(refused(WARD, None).await.contains("issue one first"));
    assert!(refused("https://partner.example/udap", None).await.contains("issue one first"));
    let server = operator.issue(&CertificateRequest::server("Ward", WARD)).await.unwrap();
    let other = operator.issue(&CertificateRequest::server("Other", OTHER)).await.unwrap();
    assert!(refused(OTHER, None).await.contains("--endpoint"), "it is no Ward");
    for bad in ["http://ward.example/signals", "ward.example", "https://a b/"] {
        assert!(refused(WARD, Some(bad)).await.contains("--endpoint"), "{bad}");
    }
    assert_eq!(backlog_of(&lab.community()).unwrap().subscribers, []);
    operator.subscribe(WARD, None).await.unwrap();
    assert_eq!(operator.signal().await.unwrap(), 0, "the lists have told of what was before");
    operator.revoke(&partner.thumbprint, Reason::Superseded).await.unwrap();
    operator.signal().await.unwrap();
    let backlog = backlog_of(&lab.community()).unwrap();
    assert_eq!(backlog.waiting.iter().map(|(_, count, _)| count).sum::<usize>(), 2);
    operator.unsubscribe(WARD).await.unwrap();
    let backlog = backlog_of(&lab.community()).unwrap();
    assert_eq!((backlog.subscribers.len(), backlog.waiting.len()), (0, 0));
    assert!(operator.unsubscribe(WARD).await.is_err());
    // Who has lost its certificate is no member to subscribe.
    operator.revoke(&server.thumbprint, Reason::CessationOfOperation).await.unwrap();
    operator.revoke(&other.thumbprint, Reason::CessationOfOperation).await.unwrap();
    assert!(refused(WARD, None).await.contains("issue one first"));
}

/// Whoever has a signal that was kept back cannot use it for ever, and its key dies with it.
#[tokio::test]
async fn the_certificate_of_a_signal_lasts_as_long_as_the_signal() {
    let lab = Lab::new();
    let operator = told(&lab).await;
    let one = &queued(&lab)[0];
    let signed = read(&lab, &operator, one);
    let ends = Timestamp::from_seconds(one.queued.as_seconds()).plus(LIFE);
    let until = signed.signer().not_after();
    assert!(until >= ends && until <= ends.plus(Duration::from_hours(2)));
    assert_eq!(signed.signer().san_uris(), ["https://community.example"]);
    assert!(!signed.signer().crl_urls().is_empty());
}

/// A certification that is taken back goes out with what a server knows it by, and with its signer's certificate, so that it sees whose
/// word it was.
#[tokio::test]
async fn a_certification_that_is_revoked_is_told_too() {
    let lab = Lab::new();
    let operator = told(&lab).await;
    let (jwt, made) = operator.certify_client(terms()).await.unwrap();
    assert_eq!(operator.signal().await.unwrap(), 0);
    operator.revoke_certification(&made.jti, Reason::PrivilegeWithdrawn).await.unwrap();
    assert_eq!(operator.signal().await.unwrap(), 1);
    assert_eq!(operator.signal().await.unwrap(), 0, "told once");
    let all = queued(&lab);
    let one = all.iter().find(|one| one.about == "certification-revoked").unwrap();
    let signed = read(&lab, &operator, one);
    let About::Certification { issuer, jti, signed: Some((exp, signer)) } = &signed.signal().about
    else {
        panic!("{:?}", signed.signal())
    };
    assert_eq!((issuer, jti, *exp), (&made.certifier, &made.jti, made.expires));
    assert_eq!(**signer, *verified(&jwt).leaf());
    let limits = Limits::default();
    let kept = ward_trust::Certification::kept(&verified(&jwt), lab.clock.now(), &limits).unwrap();
    assert_eq!(ward_trust::Certification::id_of(issuer, jti, *exp), kept.id());
}
