//! The places of issuers, honest and hostile (PKI-06, X23–X26).

use rcgen::CrlDistributionPoint;
use ward_core::{Clock as _, Timestamp};
use ward_trust::{Certificate, PathError};

use super::authorities::{
    Ca, HOUR, Lab, PATIENT, SHORT, START, access, authority, below, member, parsed, root,
};
use super::*;

/// Root, and two authorities of which the leaf names the places alone.
struct Remote {
    lab: Lab,
    first: Ca,
    second: Ca,
    leaf: Certificate,
}

impl Remote {
    async fn new(patience: Duration) -> Self {
        let lab = Lab::new(patience).await;
        let at = |place: &str, list: &str| {
            let (place, list) = (access(&[(2, lab.url(place))]), lab.url(list));
            move |p: &mut CertificateParams| {
                p.custom_extensions = vec![place];
                p.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![list] }];
            }
        };
        let first = below(&lab.root, "First", at("/root.cer", "/root.crl"));
        let second = below(&first, "Second", at("/first.cer", "/first.crl"));
        let leaf = member(&second, at("/second.cer", "/second.crl"));
        for (ca, path) in
            [(&lab.root, "/root.crl"), (&first, "/first.crl"), (&second, "/second.crl")]
        {
            lab.list(ca, path);
        }
        lab.put("/first.cer", 200, first.der());
        lab.put("/second.cer", 200, second.der());
        Self { lab, first, second, leaf }
    }
}

/// PKI-07.
#[tokio::test]
async fn issuers_that_nobody_sent_are_fetched_once() {
    let Remote { lab, first, leaf, .. } = Remote::new(PATIENT).await;
    for _ in 0..3 {
        assert_eq!(lab.validate(&leaf).await, Ok(false), "PKI-06");
    }
    let asked = ["/second.cer", "/first.cer", "/root.cer"].map(|path| lab.asked(path));
    assert_eq!(asked, [1, 1, 0], "an anchor is never fetched");
    // What was sent is not fetched, and nothing is fetched for those whose path is complete.
    let Remote { lab: again, first: sent, second, leaf: other } = Remote::new(PATIENT).await;
    assert_eq!(again.within(&other, &[parsed(&sent)], Duration::ZERO).await, Ok(false));
    assert_eq!((again.asked("/second.cer"), again.asked("/first.cer")), (1, 0));
    let direct =
        member(&first, |p| p.custom_extensions = vec![access(&[(2, lab.url("/never.cer"))])]);
    assert!(
        lab.within(&direct, &[parsed(&first)], Duration::ZERO).await.is_err(),
        "no list is named"
    );
    assert_eq!(lab.asked("/never.cer"), 0);
    drop(second);
}

#[tokio::test]
async fn places_of_issuers_that_cheat_lead_nowhere() {
    let Remote { lab, first, second, leaf } = Remote::new(SHORT).await;
    let refused = async |row: &str| {
        lab.clock.advance(Duration::from_mins(6));
        assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted), "{row}");
    };
    let double = below(&root("First"), "Second", |_| {});
    let mut bundle = second.der().to_vec();
    bundle.extend_from_slice(first.der());
    for (row, status, body) in [
        ("X25 a page", 200, b"<html>".to_vec()),
        ("X25 two certificates", 200, bundle),
        ("X25 PEM", 200, b"-----BEGIN CERTIFICATE-----".to_vec()),
        ("X25 huge", 200, vec![0x30; 17 * 1024]),
        ("a redirect", 301, vec![]),
        ("not there", 404, vec![]),
        ("another authority", 200, first.der().to_vec()),
        ("X24 the leaf itself", 200, leaf.der().to_vec()),
    ] {
        lab.put("/second.cer", status, &body);
        refused(row).await;
    }
    // A namesake under another key, which vouches for nobody.
    lab.put("/second.cer", 200, double.der());
    lab.clock.advance(Duration::from_mins(6));
    assert!(lab.validate(&leaf).await.is_err(), "X43 a namesake");
    let asked = lab.asked("/second.cer");
    assert!(lab.validate(&leaf).await.is_err(), "and it is not fetched again at once");
    assert_eq!(lab.asked("/second.cer"), asked);
    lab.silence("/second.cer");
    lab.clock.advance(25 * HOUR);
    assert!(lab.validate(&leaf).await.is_err(), "silence");
}

#[tokio::test]
async fn a_stranger_makes_ward_fetch_little() {
    let lab = Lab::new(PATIENT).await;
    // X24: two authorities that name each other.
    let stranger = root("Stranger");
    let at = |path: &str| {
        let place = access(&[(2, lab.url(path))]);
        move |p: &mut CertificateParams| p.custom_extensions = vec![place]
    };
    let one = below(&stranger, "One", at("/two.cer"));
    let two = below(&one, "Two", at("/one.cer"));
    let back = Ca::signed_by(authority("One", at("/two.cer")), KeyPair::generate().unwrap(), &two)
        .unwrap();
    lab.put("/one.cer", 200, back.der());
    lab.put("/two.cer", 200, two.der());
    let leaf = member(&two, at("/two.cer"));
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted), "X24");
    assert_eq!((lab.asked("/one.cer"), lab.asked("/two.cer")), (1, 1));
    // A ladder without an end.
    let mut ladder = stranger;
    for step in 0..8 {
        lab.put(&format!("/step-{step}.cer"), 200, ladder.der());
        ladder = below(&ladder, &format!("Step {step}"), at(&format!("/step-{step}.cer")));
    }
    lab.put("/top.cer", 200, ladder.der());
    let leaf = member(&ladder, at("/top.cer"));
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted));
    assert_eq!(lab.asked(".cer"), 2 + 4, "four at most for one leaf");
    // X23: an address that Ward may not call, and many leaves with a place each.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let private = access(&[(2, format!("http://{}/x.cer", elsewhere.local_addr().unwrap()))]);
    let leaf = member(&ladder, |p| p.custom_extensions = vec![private]);
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted), "X23");
    let visited = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(visited.is_err(), "nobody came");
    for count in 0..70 {
        let leaf = member(&ladder, at(&format!("/many-{count}.cer")));
        assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted));
    }
    let fetched = lab.asked(".cer");
    assert!(fetched <= 60, "{fetched} in one minute");
    assert!(Timestamp::from_seconds(START) == lab.clock.now());
}

/// Strangers can push out of memory what was fetched, and use up what may be fetched in a minute; who had a path
/// before has it still.
#[tokio::test]
async fn strangers_keep_out_nobody_who_came_before() {
    let Remote { lab, leaf, .. } = Remote::new(PATIENT).await;
    assert_eq!(lab.validate(&leaf).await, Ok(false));
    let stranger = root("Stranger");
    for minute in 0..5 {
        lab.clock.advance(Duration::from_mins(1));
        for count in 0..61 {
            let place = access(&[(2, lab.url(&format!("/{minute}-{count}.cer")))]);
            let other = member(&stranger, |p| p.custom_extensions = vec![place]);
            assert_eq!(lab.validate(&other).await, Err(PathError::Untrusted));
        }
    }
    assert_eq!(lab.validate(&leaf).await, Ok(false));
    assert_eq!(lab.asked("/second.cer"), 1);
}

/// A namesake put in the issuer's place on the way is believed by nobody, and forgotten in minutes.
#[tokio::test]
async fn a_namesake_in_the_issuers_place_is_not_kept() {
    let Remote { lab, second, leaf, .. } = Remote::new(PATIENT).await;
    let namesake = below(&root("First"), "Second", |_| {});
    lab.put("/second.cer", 200, namesake.der());
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted));
    lab.put("/second.cer", 200, second.der());
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted), "not asked again at once");
    assert_eq!(lab.asked("/second.cer"), 1);
    lab.clock.advance(Duration::from_mins(5));
    assert_eq!(lab.validate(&leaf).await, Ok(false));
}

/// What signed a certificate that led to it stays, whatever is put in its place afterwards and whoever asks for it.
#[tokio::test]
async fn an_issuer_that_is_proven_is_not_pushed_out_by_a_namesake() {
    let Remote { lab, first, leaf, .. } = Remote::new(PATIENT).await;
    // No path yet: the authority above cannot be had.
    lab.put("/first.cer", 404, b"");
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted));
    let namesake = below(&root("First"), "Second", |_| {});
    lab.put("/second.cer", 200, namesake.der());
    let place = access(&[(2, lab.url("/second.cer"))]);
    let stranger = member(&namesake, |p| p.custom_extensions = vec![place]);
    lab.clock.advance(Duration::from_mins(5));
    assert_eq!(lab.validate(&stranger).await, Err(PathError::Untrusted));
    assert_eq!(lab.asked("/second.cer"), 2, "it was asked for: the one at hand did not sign it");
    lab.put("/first.cer", 200, first.der());
    assert_eq!(lab.validate(&leaf).await, Ok(false), "the one that signed it is still at hand");
    assert_eq!(lab.asked("/second.cer"), 2);
}

/// A day later an issuer is fetched again, once.
#[tokio::test]
async fn an_issuer_is_looked_at_again_after_a_day() {
    let Remote { lab, second, leaf, .. } = Remote::new(PATIENT).await;
    // The authority above cannot be had: nothing is remembered but what was fetched.
    lab.put("/first.cer", 404, b"");
    for asked in [1, 1, 2, 2] {
        if (asked, lab.asked("/second.cer")) == (2, 1) {
            lab.clock.advance(24 * HOUR);
        }
        assert_eq!(lab.validate(&leaf).await, Err(PathError::Untrusted));
        assert_eq!(lab.asked("/second.cer"), asked);
    }
    drop(second);
}

/// A first visit needs no fetch where others of the same authority came before, and strangers cannot use it up.
#[tokio::test]
async fn strangers_keep_out_nobody_whose_authority_is_known() {
    let Remote { lab, second, leaf, .. } = Remote::new(PATIENT).await;
    assert_eq!(lab.validate(&leaf).await, Ok(false));
    let stranger = root("Stranger");
    for count in 0..400 {
        if count == 300 {
            // What was fetched is pushed out, and this minute is used up.
            lab.clock.advance(Duration::from_mins(1));
        }
        let place = access(&[(2, lab.url(&format!("/{count}.cer")))]);
        let other = member(&stranger, |p| p.custom_extensions = vec![place]);
        assert_eq!(lab.validate(&other).await, Err(PathError::Untrusted));
    }
    let newcomer = member(&second, |p| {
        p.custom_extensions = vec![access(&[(2, lab.url("/second.cer"))])];
        let uris = vec![lab.url("/second.crl")];
        p.crl_distribution_points = vec![CrlDistributionPoint { uris }];
    });
    assert_eq!(lab.validate(&newcomer).await, Ok(false));
    assert_eq!(lab.asked("/second.cer"), 1);
    // An authority that took another key under the same name is asked for, whatever strangers used up.
    lab.clock.advance(Duration::from_mins(6));
    let rekeyed = below(&lab.root, "Second", |p| {
        p.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![lab.url("/root.crl")] }];
    });
    lab.put("/second.cer", 200, rekeyed.der());
    lab.list(&rekeyed, "/rekeyed.crl");
    for count in 400..470 {
        let place = access(&[(2, lab.url(&format!("/{count}.cer")))]);
        let other = member(&stranger, |p| p.custom_extensions = vec![place]);
        assert_eq!(lab.validate(&other).await, Err(PathError::Untrusted));
    }
    assert_eq!(lab.asked("/469.cer"), 0, "this minute is used up");
    let renewed = member(&rekeyed, |p| {
        p.custom_extensions = vec![access(&[(2, lab.url("/second.cer"))])];
        let uris = vec![lab.url("/rekeyed.crl")];
        p.crl_distribution_points = vec![CrlDistributionPoint { uris }];
    });
    assert_eq!(lab.validate(&renewed).await, Ok(false));
    assert_eq!(lab.validate(&newcomer).await, Ok(false));
}
