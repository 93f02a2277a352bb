//! New keys for the authorities while members go on (PKI-16): who follows the bundle needs no human act, and nothing that was good
//! ends before its time.

use ward_core::Limits;
use ward_trust::bundle::{Held, signers};
use ward_trust::{Community, SignedBundle};

use super::*;

/// A member that follows the bundle, from the root that it was given once.
struct Follower {
    trust: Community,
    held: Option<Held>,
}

impl Follower {
    fn new(operator: &Operator) -> Self {
        let root = operator.certificate(Authority::Root);
        Self { trust: Community::new(operator.uri().clone(), vec![root]), held: None }
    }

    fn follow(&mut self, lab: &Lab, operator: &Operator) {
        let (now, limits) = (lab.clock.now(), Limits::default());
        let bundle = operator.bundle().unwrap().unwrap();
        let bundle = SignedBundle::parse(&bundle, &limits).unwrap();
        bundle.accept(&self.trust, self.held, now, &limits).unwrap();
        let lists = lists(operator);
        let who = signers(&self.trust);
        validate(bundle.signer(), bundle.extra(), &who, &lists, now).unwrap();
        self.trust = bundle.apply(&self.trust);
        self.held = Some(bundle.held());
    }

    fn takes(&self, lab: &Lab, operator: &Operator, chain: &[Vec<u8>]) -> Result<(), PathError> {
        let all: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
        let now = lab.clock.now();
        validate(&all[0], &all[1..], &self.trust, &lists(operator), now).map(|_| ())
    }
}

fn lists(operator: &Operator) -> Vec<Arc<ward_trust::Crl>> {
    let all = operator.authorities().into_iter();
    all.map(|id| operator.list_of(id).unwrap().list).collect()
}

fn names(operator: &Operator) -> Vec<String> {
    operator.authorities().iter().map(ToString::to_string).collect()
}

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_new_issuing_key_signs_from_now_on_and_the_former_goes_on_until_its_leaves_ended() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    operator.publish_bundle(&BundleTerms::default()).await.unwrap();
    let mut member = Follower::new(&operator);
    member.follow(&lab, &operator);
    let before = operator.issue(&client("before")).await.unwrap();
    let bad = operator.issue(&client("bad")).await.unwrap();
    let was = operator.certificate(Authority::Issuing);

    let made = operator.rekey_issuing().await.unwrap();
    assert_ne!(made.key_bits(), was.key_bits());
    assert_eq!(operator.certificate(Authority::Issuing), made);
    assert_eq!(names(&operator), ["root", "issuing-2", "issuing"]);
    let after = operator.issue(&client("after")).await.unwrap();
    let leaf = Certificate::from_der(&after.chain[0]).unwrap();
    assert_eq!(leaf.crl_urls(), [format!("{BASE}/crl/issuing-2.crl")]);
    assert_eq!(leaf.ca_issuer_urls(), [format!("{BASE}/ca/issuing-2.cer")]);
    assert_eq!(after.chain[1], made.der());

    // Everybody takes both, whether or not they took the next bundle: the root vouches for both.
    operator.renew_bundle().await.unwrap().unwrap();
    for _ in 0..2 {
        for one in [&before, &bad, &after] {
            assert_eq!(member.takes(&lab, &operator, &one.chain), Ok(()));
        }
        member.follow(&lab, &operator);
    }

    // The former still says what it revoked, on its own list; a restart and a new list change nothing.
    operator.revoke(&bad.thumbprint, Reason::KeyCompromise).await.unwrap();
    assert_eq!(member.takes(&lab, &operator, &bad.chain), Err(PathError::Revoked));
    drop(operator);
    let operator = lab.open().await.unwrap();
    lab.clock.advance(DAY * 30);
    operator.publish().await.unwrap();
    operator.publish_now(Authority::Root).await.unwrap();
    operator.renew_bundle().await.unwrap();
    member.follow(&lab, &operator);
    assert_eq!(member.takes(&lab, &operator, &bad.chain), Err(PathError::Revoked));
    assert_eq!(member.takes(&lab, &operator, &before.chain), Ok(()));
    // What is renewed is signed by the new one.
    let renewed = operator.renew(&before.thumbprint, DEFAULT_LIFE).await.unwrap();
    assert_eq!(renewed[1], made.der());

    // When nothing that it signed is good any longer, it ends, and its key with it.
    let name = publish::key_name(operator.uri(), Authority::Issuing.first());
    assert!(lab.vault.get_secret(&name).unwrap().is_some());
    lab.clock.advance(DAY * 336);
    operator.publish().await.unwrap();
    assert_eq!(names(&operator), ["root", "issuing-2"]);
    assert!(
        lab.vault.get_secret(&name).unwrap().is_none(),
        "a key that signs nothing is destroyed"
    );
    operator.issue(&client("late")).await.unwrap();
    drop(operator);
    let operator = lab.open().await.unwrap();
    assert_eq!(names(&operator), ["root", "issuing-2"]);
    for (act, times) in [("issuing-rekeyed", 1), ("issuing-ended", 1)] {
        assert_eq!(lab.sink.actions().iter().filter(|one| *one == act).count(), times, "{act}");
    }
}

#[tokio::test]
async fn the_next_root_comes_in_beside_the_present_one_and_members_follow_without_a_human_act() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P384, BASE).await;
    operator.publish_bundle(&BundleTerms::default()).await.unwrap();
    let mut member = Follower::new(&operator);
    member.follow(&lab, &operator);
    // One who trusts by hand, one who was away all the time.
    let by_hand = Follower::new(&operator);
    let mut away = Follower::new(&operator);
    away.follow(&lab, &operator);
    let old = operator.issue(&client("old")).await.unwrap();

    let refused = |result: Result<_, CommunityError>| result.err().unwrap().to_string();
    assert!(refused(operator.retire_root().await).contains("one root only"));
    let first = operator.certificate(Authority::Root);
    let next = operator.next_root().await.unwrap();
    assert_ne!(next.key_bits(), first.key_bits());
    assert_eq!(names(&operator), ["root-2", "issuing", "root"]);
    assert!(refused(operator.next_root().await.map(|_| ())).contains("two roots"));
    assert!(refused(operator.retire_root().await).contains("no trust bundle names"));
    operator.renew_bundle().await.unwrap();
    member.follow(&lab, &operator);
    assert_eq!(member.trust.anchors, [next.clone(), first.clone()], "both are live");

    // A new issuing authority while both are: those who know either take it.
    operator.rekey_issuing().await.unwrap();
    let new = operator.issue(&client("new")).await.unwrap();
    let only_next =
        Follower { trust: Community::new(operator.uri().clone(), vec![next.clone()]), held: None };
    for who in [&member, &by_hand, &away] {
        for one in [&old, &new] {
            assert_eq!(who.takes(&lab, &operator, &one.chain), Ok(()));
        }
    }
    operator.renew_bundle().await.unwrap();
    member.follow(&lab, &operator);

    operator.retire_root().await.unwrap();
    operator.renew_bundle().await.unwrap();
    member.follow(&lab, &operator);
    assert_eq!(member.trust.anchors, std::slice::from_ref(&next));
    assert_eq!(names(&operator), ["root-2", "issuing-2", "issuing"]);
    let newest = operator.issue(&client("newest")).await.unwrap();
    for one in [&old, &new, &newest] {
        assert_eq!(
            member.takes(&lab, &operator, &one.chain),
            Ok(()),
            "nobody needs a new certificate"
        );
    }
    assert_eq!(only_next.takes(&lab, &operator, &newest.chain), Ok(()));
    assert_eq!(only_next.takes(&lab, &operator, &new.chain), Err(PathError::Untrusted));
    // The old root's word is worth nothing any more to who followed.
    assert_eq!(by_hand.takes(&lab, &operator, &newest.chain), Err(PathError::Untrusted));

    // Who was away finds the way by the first root's word for the next one, while its last list is good.
    let mut at_hand = lists(&operator);
    let file = std::fs::read(lab.community().join("crl/root.crl")).unwrap();
    at_hand.push(Arc::new(ward_trust::Crl::from_der(&file).unwrap()));
    let (now, limits) = (lab.clock.now(), Limits::default());
    let bundle = SignedBundle::parse(&operator.bundle().unwrap().unwrap(), &limits).unwrap();
    bundle.accept(&away.trust, away.held, now, &limits).unwrap();
    let path =
        validate(bundle.signer(), bundle.extra(), &signers(&away.trust), &at_hand, now).unwrap();
    assert_eq!(path.anchor, first);

    // Revocation goes on under the new root, and so does everything after a restart.
    drop(operator);
    let operator = lab.open().await.unwrap();
    operator.revoke(&old.thumbprint, Reason::Superseded).await.unwrap();
    assert_eq!(member.takes(&lab, &operator, &old.chain), Err(PathError::Revoked));
    operator.renew_issuing().await.unwrap();
    let third = operator.next_root().await.unwrap();
    operator.renew_bundle().await.unwrap();
    member.follow(&lab, &operator);
    assert_eq!(member.trust.anchors, [third, next]);
    assert_eq!(member.takes(&lab, &operator, &new.chain), Ok(()));
}

#[tokio::test]
async fn a_bundle_is_renewed_before_half_of_its_life_is_over_with_what_it_said() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    operator.keep_bundle().await.unwrap();
    assert!(operator.bundle().unwrap().is_none(), "who has published none gets none");
    let terms = BundleTerms {
        purposes: vec!["TREAT".into(), "HPAYMT".into()],
        organization_schemes: vec!["urn:oid:".into()],
        certifications: vec!["https://community.example/certified".into()],
        certifiers: vec!["https://community.example/certifier".into()],
        value_sets: ward_trust::context::ValueSets {
            subject_id_systems: vec!["urn:ids:1".into()],
            subject_roles: vec!["urn:roles#".into()],
            consent_policies: vec!["urn:policy:1".into()],
            scopes: vec!["system/Patient.rs".into()],
        },
        days: 10,
        ..BundleTerms::default()
    };
    operator.publish_bundle(&terms).await.unwrap();
    let read = || {
        let bundle = operator.bundle().unwrap().unwrap();
        SignedBundle::parse(&bundle, &Limits::default()).unwrap().bundle().clone()
    };
    let first = read();
    lab.clock.advance(Duration::from_hours(5 * 24 - 1));
    operator.keep_bundle().await.unwrap();
    assert_eq!(read(), first);
    for sequence in 2..5 {
        lab.clock.advance(DAY * 5 + Duration::from_hours(1));
        operator.publish().await.unwrap();
        operator.keep_bundle().await.unwrap();
        let next = read();
        assert_eq!(next.sequence, sequence);
        assert_eq!(
            (&next.purposes, &next.organization_schemes, &next.certifications),
            (&first.purposes, &first.organization_schemes, &first.certifications)
        );
        assert_eq!(next.value_sets, terms.value_sets);
        assert_eq!(next.expires.since(next.issued), DAY * 10);
    }
}

#[tokio::test]
async fn without_the_roots_key_no_authority_is_made_and_nothing_is_left_behind() {
    let lab = Lab::new();
    drop(lab.create(KeySpec::P256, BASE).await);
    let vault: Arc<dyn AuthorityKeys> = lab.vault.clone();
    let deps =
        OperatorDeps { vault: Arc::new(RootApart { root: None, rest: vault }), ..lab.deps() };
    let operator = Operator::open(lab.community(), deps).await.unwrap();
    let kept = lab.vault.list_secrets().unwrap();
    for made in [operator.rekey_issuing().await, operator.next_root().await] {
        assert!(matches!(made, Err(CommunityError::RootAway)), "{made:?}");
    }
    assert_eq!(names(&operator), ["root", "issuing"]);
    assert_eq!(lab.vault.list_secrets().unwrap(), kept);
}

#[tokio::test]
async fn an_issuing_authority_whose_key_is_stolen_ends_with_all_that_it_signed_and_nobody_needs_a_new_key()
 {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    operator.publish_bundle(&BundleTerms::default()).await.unwrap();
    let mut member = Follower::new(&operator);
    member.follow(&lab, &operator);
    // The authority has had two certificates; the thief may use either.
    let first = operator.certificate(Authority::Issuing);
    let second = operator.renew_issuing().await.unwrap();
    let issued = operator.issue(&client("partner")).await.unwrap();
    let lost = operator.issue(&client("lost")).await.unwrap();
    operator.revoke(&lost.thumbprint, Reason::KeyCompromise).await.unwrap();
    let stolen = Authority::Issuing.first();
    let name = publish::key_name(operator.uri(), stolen);
    let key = lab.vault.open(KeyOf::Issuing, &name, KeySpec::P256).unwrap();

    let refused = |result: Result<usize, CommunityError>| result.unwrap_err().to_string();
    assert!(refused(operator.revoke_issuing(stolen).await).contains("authority rekey"));
    let unknown = AuthorityId { of: Authority::Issuing, generation: 7 };
    assert!(refused(operator.revoke_issuing(unknown).await).contains("no such"));
    let root = Authority::Root.first();
    assert!(refused(operator.revoke_issuing(root).await).contains("no such"));
    operator.rekey_issuing().await.unwrap();
    let safe = operator.issue(&client("safe")).await.unwrap();
    assert_eq!(member.takes(&lab, &operator, &issued.chain), Ok(()));
    assert_eq!(operator.revoke_issuing(stolen).await.unwrap(), 1);
    operator.renew_bundle().await.unwrap();
    assert_eq!(names(&operator), ["root", "issuing-2"]);
    assert!(lab.vault.get_secret(&name).unwrap().is_none());
    assert!(refused(operator.revoke_issuing(stolen).await).contains("no such"));

    // What the thief makes of it now, under either certificate, to one who follows and one who trusts by hand.
    let forged = {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut params = authority::leaf_params("Thief");
        let from = lab.clock.now();
        authority::set_life(&mut params, &SystemRng, from, from.plus(DAY));
        authority::set_uris(&mut params, &["https://partner.example/udap".into()]).unwrap();
        authority::set_issuer_urls(&mut params, BASE, stolen, false);
        let issuer = stolen.params("Example Community");
        let issuer = rcgen::Issuer::from_params(&issuer, &*key);
        params.signed_by(&pair, &issuer).unwrap().der().to_vec()
    };
    let by_hand = Follower::new(&operator);
    member.follow(&lab, &operator);
    for who in [&by_hand, &member] {
        for above in [&first, &second] {
            for leaf in [&forged, &issued.chain[0], &lost.chain[0]] {
                let chain = [leaf.clone(), above.der().to_vec()];
                let said = who.takes(&lab, &operator, &chain);
                assert_eq!(said, Err(PathError::Revoked));
            }
        }
        assert_eq!(who.takes(&lab, &operator, &safe.chain), Ok(()));
    }
    // Who has the root's list of before is told by the authority's own last one of those that it knows.
    let file = std::fs::read(lab.community().join("crl/issuing.crl")).unwrap();
    let last = ward_trust::Crl::from_der(&file).unwrap();
    let leaf = Certificate::from_der(&issued.chain[0]).unwrap();
    assert!(last.is_revoked(leaf.serial()));
    assert!(last.next_update() >= leaf.not_after());
    let public = PublicServer::new(lab.community(), lab.vault.clone(), lab.clock.clone()).unwrap();
    assert!(!public.is_due().await.unwrap());

    // The holder's key is as good as before: one renewal, after a restart too. A key that was lost stays lost.
    drop(operator);
    let operator = lab.open().await.unwrap();
    let renewed = operator.renew(&issued.thumbprint, DEFAULT_LIFE).await.unwrap();
    assert_eq!(member.takes(&lab, &operator, &renewed), Ok(()));
    let lost = operator.renew(&lost.thumbprint, DEFAULT_LIFE).await;
    assert!(matches!(lost, Err(CommunityError::RenewRevoked)), "{lost:?}");
    assert_eq!(lab.sink.actions().iter().filter(|one| *one == "issuing-revoked").count(), 1);
}
