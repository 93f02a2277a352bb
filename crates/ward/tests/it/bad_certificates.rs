//! `udap.md` §7.3 over sockets: each certificate is shown in a software statement and in an authentication
//! token, and the table demands both answers. `tests/data/certificates.jsonl` names the certificates; here
//! they are made. What changes while Ward runs (an anchor that goes, a certificate revoked after its
//! registration, two communities) follows as stories.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CrlDistributionPoint, RevocationReason, SanType};
use serde_json::json;
use tokio::net::TcpListener;
use ward::house::Turned;
use ward_admin::{Command, Done, Operator, Role};
use ward_core::{Clock as _, CommunityUri, ManualClock, Purpose, SystemClock};
use ward_issuer::ServedCommunity;
use ward_trust::{Certificate, Community};

use crate::bad_input::{generous, world, world_at};
use crate::harness::{Answer, ISS, SCOPE, World};
use crate::pki::authorities::{
    By, days, depth, entry, extension, no_authority, signs_no_certificates,
};
use crate::pki::ocsp::Says;
use crate::pki::{Leaf, Member, Pki};
use crate::reasons::Reasons;
use crate::rows::{form, jwt};

/// What differs in a certificate.
type Edit = fn(&mut rcgen::CertificateParams);

/// What is demanded: the status, and the error code if the body has one.
type Demand = (u16, Option<String>);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateRow {
    id: String,
    what: String,
    member: String,
    register: Demand,
    token: Demand,
}

/// The policy that one row asks for.
const POLICY: &str = "1.3.6.1.4.1.99999.1";

/// A certificatePolicies extension with [`POLICY`].
fn policy() -> rcgen::CustomExtension {
    let oid = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x86, 0x8d, 0x1f, 0x01];
    let mut content = vec![0x30, 13, 0x30, 11, 0x06, 9];
    content.extend(oid);
    extension(&[2, 5, 29, 32], false, content)
}

/// authorityInfoAccess with one caIssuers URL.
fn issued_at(url: &str) -> rcgen::CustomExtension {
    let ca_issuers = [0x06, 8, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
    let length = u8::try_from(url.len()).unwrap();
    let mut description = vec![0x30, length + 12];
    description.extend(ca_issuers);
    description.extend([0x86, length]);
    description.extend(url.as_bytes());
    let mut content = vec![0x30, length + 14];
    content.extend(description);
    extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], false, content)
}

/// A SAN with this URI.
fn uri(text: &str) -> Vec<SanType> {
    vec![SanType::URI(text.try_into().unwrap())]
}

fn points(url: String) -> Vec<CrlDistributionPoint> {
    vec![CrlDistributionPoint { uris: vec![url] }]
}

/// Counts who calls.
async fn listener() -> (String, Arc<AtomicUsize>) {
    let (calls, socket) = (Arc::new(AtomicUsize::new(0)), TcpListener::bind("127.0.0.1:0").await);
    let socket = socket.unwrap();
    let (counted, address) = (calls.clone(), socket.local_addr().unwrap());
    tokio::spawn(async move {
        while socket.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (format!("http://{address}"), calls)
}

/// The certificates of the table.
fn members(pki: &mut Pki, secret: &str) -> HashMap<&'static str, Member> {
    let mut members = HashMap::new();
    let mut add = |name, member| assert!(members.insert(name, member).is_none(), "{name}");
    add("good", pki.client(ISS));
    let at = |from, to| Leaf { days: (from, to), ..Leaf::client(ISS) };
    add("expired", pki.issue(&at(-20, -1)));
    add("future", pki.issue(&at(2, 20)));
    add("self-signed", pki.self_signed(&Leaf::client(ISS)));
    add("impostor", pki.impostor(&Leaf::client(ISS)));
    add("issued-by-leaf", pki.issued_by_leaf(ISS));
    add("no-cdp", pki.issue(&Leaf { crl: false, ..Leaf::client(ISS) }));
    let revoked = pki.client(ISS);
    pki.revoke(&revoked);
    add("revoked", revoked);

    // Authorities that are not what they should be.
    let authorities: [(&str, Edit); 6] = [
        ("expired-intermediate", |p| (p.not_before, p.not_after) = (days(-20), days(-1))),
        ("no-authority", no_authority),
        ("no-basic-constraints", |p| p.is_ca = rcgen::IsCa::NoCa),
        ("signs-no-certificates", signs_no_certificates),
        ("constrained", |p| {
            // A constraint for URIs, which rcgen does not know: *.elsewhere.example.
            let host = b".elsewhere.example";
            let mut content = vec![0x30, 24, 0xa0, 22, 0x30, 20, 0x86, 18];
            content.extend(host);
            p.custom_extensions = vec![extension(&[2, 5, 29, 30], true, content)];
        }),
        ("good-branch", |_| {}),
    ];
    for (name, edit) in authorities {
        let authority = pki.authority(By::Root, name, edit);
        add(name, pki.client_by(By::Other(&authority), ISS, &[&authority.der], |_| {}));
    }
    let branch = pki.authority(By::Root, "Revoked branch", |_| {});
    add("revoked-intermediate", pki.client_by(By::Other(&branch), ISS, &[&branch.der], |_| {}));
    pki.revoke_authority(&branch);
    let first = pki.authority(By::Root, "Depth 0", |p| depth(p, 0));
    let second = pki.authority(By::Other(&first), "Too deep", |p| depth(p, 0));
    let above: [&[u8]; 2] = [&second.der, &first.der];
    add("too-deep", pki.client_by(By::Other(&second), ISS, &above, |_| {}));
    let other = pki.another_root("Another community", |_| {});
    add("other-root", pki.client_by(By::Other(&other), ISS, &[], |_| {}));
    add("other-root-sent", pki.client_by(By::Other(&other), ISS, &[&other.der], |_| {}));
    let web = |p: &mut rcgen::CertificateParams| {
        // With the URI too, or it would be refused for want of that alone.
        p.subject_alt_names.push(SanType::DnsName("partner.example".try_into().unwrap()));
        p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    add("web-pki", pki.client_by(By::Other(&other), ISS, &[&other.der], web));
    // Named and keyed like the issuing authority, signed by the attacker's own key.
    let namesake = pki.another_root("Test Issuing CA", |_| {});
    let chain = members_chain(pki);
    add("namesake", pki.client_by(By::Other(&namesake), ISS, &[&chain], |_| {}));

    // Lists that are not there, or not what they should be.
    let mut listed = |name: &'static str, spoil: &dyn Fn(&mut Pki, &_)| {
        let branch = pki.authority(By::Root, name, |_| {});
        add(name, pki.client_by(By::Other(&branch), ISS, &[&branch.der], |_| {}));
        spoil(pki, &branch);
    };
    listed("list-missing", &|pki, one: &crate::pki::authorities::Authority| {
        pki.put_file("/nothing", vec![]);
        pki.withdraw(&one.path);
    });
    listed("list-old", &|pki, one| {
        pki.put_list(one, |p| (p.this_update, p.next_update) = (days(-9), days(-2)));
    });
    listed("list-foreign", &|pki, one| {
        let other = pki.another_root("A stranger to this list", |_| {});
        pki.put_foreign_list(one, &other);
    });
    listed("list-namesake", &|pki, one| {
        let other = pki.another_root("list-namesake", |_| {});
        pki.put_foreign_list(one, &other);
    });
    listed("list-future", &|pki, one| {
        pki.put_list(one, |p| (p.this_update, p.next_update) = (days(1), days(2)));
    });
    listed("list-partial", &|pki, one| {
        pki.put_list(one, |p| {
            p.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint { uris: vec!["http://x.example/".into()] },
                scope: Some(rcgen::CrlScope::CaCertsOnly),
            });
        });
    });
    // 2.5.29.27 deltaCRLIndicator, 2.5.29.28 issuingDistributionPoint with indirectCRL, and one that nobody knows.
    listed("list-delta", &|pki, one| pki.put_list_with(one, &[0x55, 29, 27], true, &[2, 1, 1]));
    listed("list-indirect", &|pki, one| {
        pki.put_list_with(one, &[0x55, 29, 28], true, &[0x30, 3, 0x84, 1, 0xff]);
    });
    for (name, critical) in [("list-unknown", true), ("list-remark", false)] {
        listed(name, &|pki, one| pki.put_list_with(one, &[0x2a, 3, 4], critical, &[5, 0]));
    }
    listed("list-huge", &|pki, one| pki.put_file(&one.path, vec![0x30; 32 << 20]));
    listed("list-html", &|pki, one| pki.put_file(&one.path, b"<html>".to_vec()));
    // `removeFromCRL` means something in a list of changes only; in a complete one the certificate is named.
    for (name, reason) in [
        ("on-hold", RevocationReason::CertificateHold),
        ("removed-from-list", RevocationReason::RemoveFromCrl),
    ] {
        let hold = pki.authority(By::Root, name, |_| {});
        let held = pki.client_by(By::Other(&hold), ISS, &[&hold.der], |_| {});
        pki.put_list(&hold, |p| p.revoked_certs = vec![entry(held.serial, Some(reason))]);
        add(name, held);
    }
    let secret_list = format!("{secret}/list.crl");
    for (name, url) in [
        ("list-private", secret_list.as_str()),
        ("list-file", "file:///etc/passwd"),
        ("list-ldap", "ldap://127.0.0.1/cn=x"),
        ("list-down", "http://127.0.0.1:1/x.crl"),
    ] {
        add(
            name,
            pki.client_by(By::Issuing, ISS, &[], |p| {
                p.crl_distribution_points = points(url.to_owned());
            }),
        );
    }

    // A responder speaks instead of a list.
    for (name, says) in [
        ("ocsp-good", Says::Good),
        ("ocsp-responder", Says::Responder),
        ("ocsp-revoked", Says::Revoked),
        ("ocsp-unknown", Says::Unknown),
        ("ocsp-late", Says::Late),
        ("ocsp-stale", Says::Stale),
        ("ocsp-stranger", Says::Stranger),
        ("ocsp-member", Says::Member),
        ("ocsp-late-responder", Says::LateResponder),
        ("ocsp-foreign-responder", Says::ForeignResponder),
        ("ocsp-about-another", Says::AboutAnother),
        ("ocsp-nonced", Says::Nonced),
        ("ocsp-busy", Says::Busy),
        ("ocsp-page", Says::Page),
        ("ocsp-huge", Says::Huge),
    ] {
        add(name, pki.with_ocsp(ISS, says));
    }

    // The issuer is not sent, but its place is named.
    let circle = pki.authority(By::Root, "Test Issuing CA", |_| {});
    for (name, place) in [
        ("aia", None),
        ("aia-page", Some(b"<html>".to_vec())),
        ("aia-huge", Some(vec![0x30; 1 << 20])),
        ("aia-namesake", Some(circle.der.clone())),
    ] {
        add(name, pki.alone(ISS, place));
    }

    // Leaves that differ in one thing.
    let bare = |member: Member| Member { chain: vec![member.chain[0].clone()], ..member };
    for name in ["aia-private", "aia-loop", "aia-junk"] {
        let url = issued_at(&format!("{secret}/{name}"));
        add(name, bare(pki.client_by(By::Issuing, ISS, &[], |p| p.custom_extensions.push(url))));
    }
    add("no-intermediate", bare(pki.client(ISS)));
    let leaves: [(&'static str, Edit); 7] = [
        ("critical-extension", |p| {
            p.custom_extensions.push(extension(&[1, 2, 3, 4], true, vec![5, 0]));
        }),
        ("key-encipherment", |p| p.key_usages = vec![rcgen::KeyUsagePurpose::KeyEncipherment]),
        ("no-san", |p| p.subject_alt_names = vec![]),
        ("dns-only", |p| {
            let name = "partner.example".try_into().unwrap();
            p.subject_alt_names = vec![SanType::DnsName(name)];
        }),
        ("uri-in-cn", |p| {
            p.subject_alt_names = vec![];
            p.distinguished_name.push(rcgen::DnType::CommonName, ISS);
        }),
        ("san-nul", |p| p.subject_alt_names = uri(&format!("{ISS}\0.evil.example"))),
        ("san-wildcard", |p| p.subject_alt_names = uri("https://*.example/app")),
    ];
    for (name, edit) in leaves {
        add(name, pki.client_by(By::Issuing, ISS, &[], edit));
    }

    // Two ways up for one key, one of them revoked: the other is good.
    let way = pki.authority(By::Root, "Two ways", |_| {});
    let again = pki.certified_again(&way, "Two ways", By::Root);
    let both: [&[u8]; 2] = [&way.der, &again];
    add("two-ways", pki.client_by(By::Other(&way), ISS, &both, |_| {}));
    pki.revoke_authority(&way);
    members
}

/// The certificate of the test's issuing authority.
fn members_chain(pki: &mut Pki) -> Vec<u8> {
    pki.client("https://nobody.example/app").chain[1].clone()
}

/// The member's answers: registering, and asking for a token as a client that is registered.
async fn shown(world: &World, member: &Member, client: &str) -> (Answer, Answer) {
    (register(world, member, ISS).await, ask(world, member, client).await)
}

pub async fn register(world: &World, member: &Member, iss: &str) -> Answer {
    let words = world.words(iss, "");
    let statement = jwt(&World::good_row(), &words, world.statement_claims(iss), member, member);
    let body = json!({ "udap": "1", "software_statement": statement }).to_string();
    world.post(&world.register, "application/json", &body, &[]).await
}

pub async fn ask(world: &World, member: &Member, client: &str) -> Answer {
    let words = world.words(ISS, client);
    let claims = world.assertion_claims(client);
    let assertion = jwt(&World::good_row(), &words, claims, member, member);
    send_assertion(world, &assertion).await
}

async fn send_assertion(world: &World, assertion: &str) -> Answer {
    let body = form(&World::token_form(assertion));
    world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
}

/// Serves these communities from now on, as a reload does.
pub async fn serve(world: &World, edit: impl FnOnce(&mut Vec<ServedCommunity>)) {
    let config = world.config();
    let mut communities = config.communities;
    edit(&mut communities);
    let tls = world.house.tls.current();
    let turned = Turned { action: "reloaded", operator: None, changed: &[] };
    world.house.knobs.turn(communities, tls, config.ceilings, turned).await.unwrap();
}

fn differs(demand: &Demand, answer: &Answer) -> bool {
    answer.status != demand.0 || answer.error() != demand.1
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_table() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let (secret, calls) = listener().await;
    let mut members = members(&mut world.pki, &secret);
    let client = world.register_client(&members["good"], ISS).await;
    let old = world.pki.another_root("An old root", |p| p.not_after = days(-1));
    members
        .insert("expired-anchor", world.pki.client_by(By::Other(&old), ISS, &[&old.der], |_| {}));
    let old = Certificate::from_der(&old.der).unwrap();
    serve(&world, |all| all[0].community.anchors.push(old)).await;
    let (mut rows, mut wrong) = (0, vec![]);
    let mut reasons = Reasons::new("certificates.jsonl");
    for line in include_str!("../data/certificates.jsonl").lines() {
        let row: CertificateRow =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let member = members.get(row.member.as_str()).unwrap_or_else(|| panic!("{}", row.member));
        let (registered, asked) = shown(&world, member, &client).await;
        rows += 1;
        for (what, demand, answer) in
            [("register", &row.register, &registered), ("token", &row.token, &asked)]
        {
            // A good row registers anew or modifies.
            let modified = demand.0 == 201 && answer.status == 200;
            if differs(demand, answer) && !modified {
                wrong.push(format!(
                    "{} ({}) {what}: demanded {demand:?}, got {} {}",
                    row.id,
                    row.what,
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                ));
            }
            reasons.check(&row.id, &format!("{what}: {}", row.what), answer);
            if answer.status == 503 {
                assert!(answer.header("retry-after").is_some(), "{}: Retry-After", row.id);
            }
        }
    }
    println!("certificates.jsonl: {rows} rows");
    assert!(rows >= 40 && wrong.is_empty(), "certificates.jsonl:\n{}", wrong.join("\n"));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "X20, X23: nothing private is called");
    reasons.end();
}

/// X09, X45, X47: an anchor goes, a policy is demanded, a certificate is revoked after its registration.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_good_yesterday() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let other = ISS;
    let second = world.pki.another_root("Second root", |_| {});
    let by_second = world.pki.client_by(By::Other(&second), other, &[], |_| {});
    let anchor = Certificate::from_der(&second.der).unwrap();
    serve(&world, |all| all[0].community.anchors.push(anchor)).await;
    let answer = register(&world, &by_second, other).await;
    assert_eq!(answer.status, 201, "X09 before");
    let its = answer.json()["client_id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&world, &by_second, &its).await.status, 200, "X09 before");
    serve(&world, |_| {}).await;
    let unapproved = (400, Some("unapproved_software_statement".to_owned()));
    let invalid = (400, Some("invalid_client".to_owned()));
    assert!(!differs(&unapproved, &register(&world, &by_second, other).await), "X09");
    assert!(!differs(&invalid, &ask(&world, &by_second, &its).await), "X09");

    // X45: from now on members need a policy.
    let plain = world.pki.client(ISS);
    let client = world.register_client(&plain, ISS).await;
    let asserting = |p: &mut rcgen::CertificateParams| p.custom_extensions.push(policy());
    let branch = world.pki.authority(By::Root, "With a policy", asserting);
    let with = world.pki.client_by(By::Other(&branch), ISS, &[&branch.der], asserting);
    serve(&world, |all| all[0].community.policies = vec![POLICY.to_owned()]).await;
    assert!(!differs(&unapproved, &register(&world, &plain, ISS).await), "X45");
    assert!(!differs(&invalid, &ask(&world, &plain, &client).await), "X45");
    assert_eq!(register(&world, &with, ISS).await.status, 200, "X45 control");
    assert_eq!(ask(&world, &with, &client).await.status, 200, "X45 control");
    serve(&world, |_| {}).await;

    // X47: revoked by its community; the list is fetched again.
    assert_eq!(ask(&world, &plain, &client).await.status, 200, "X47 before");
    world.pki.revoke(&plain);
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    world.house.admin.execute(&officer, Command::RefreshLists).await.unwrap();
    assert!(!differs(&invalid, &ask(&world, &plain, &client).await), "X47");
    assert!(!differs(&unapproved, &register(&world, &plain, ISS).await), "X47");
}

/// P21–P24, P26, T15, X48: two communities, and two URIs in one certificate.
#[tokio::test(flavor = "multi_thread")]
async fn two_communities_keep_their_members_apart() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let second = world.pki.another_root("Second community", |_| {});
    let by_second = world.pki.client_by(By::Other(&second), ISS, &[], |_| {});
    let first = world.pki.client(ISS);
    let anchor = Certificate::from_der(&second.der).unwrap();
    let both = |all: &mut Vec<ServedCommunity>| {
        let uri = CommunityUri::parse("https://second.example/trust").unwrap();
        let mut community = Community::new(uri, vec![anchor]);
        community.purposes = vec![Purpose::Treatment];
        let identity = all[0].identity.clone();
        all.push(ServedCommunity::new(community, identity));
    };
    serve(&world, both).await;
    let unapproved = (400, Some("unapproved_software_statement".to_owned()));
    let invalid = (400, Some("invalid_client".to_owned()));
    let metadata = (400, Some("invalid_client_metadata".to_owned()));
    let id = |answer: &Answer| answer.json()["client_id"].as_str().unwrap().to_owned();

    // P22: the same URI in another community is another registration; the first is untouched.
    let a = id(&register(&world, &first, ISS).await);
    let answer = register(&world, &by_second, ISS).await;
    assert_eq!(answer.status, 201, "P22");
    let b = id(&answer);
    assert_ne!(a, b, "P22");
    for (member, client) in [(&first, &b), (&by_second, &a)] {
        assert!(!differs(&invalid, &ask(&world, member, client).await), "T15");
    }
    assert_eq!(ask(&world, &first, &a).await.status, 200, "P22: untouched");

    // P21: cancelled there, alive here; once more is as unknown. P24: and no token after that.
    let cancel = async |member: &Member| {
        let mut claims = world.statement_claims(ISS);
        claims["grant_types"] = json!([]);
        let words = world.words(ISS, "");
        let statement = jwt(&World::good_row(), &words, claims, member, member);
        let body = json!({ "udap": "1", "software_statement": statement }).to_string();
        world.post(&world.register, "application/json", &body, &[]).await
    };
    assert_eq!(cancel(&by_second).await.status, 200, "P21");
    assert!(!differs(&metadata, &cancel(&by_second).await), "P21");
    assert!(!differs(&invalid, &ask(&world, &by_second, &b).await), "P24");
    assert_eq!(ask(&world, &first, &a).await.status, 200, "P21: the other stays");
    // P24: registered anew under a new id, the old id stays dead.
    let renewed = id(&register(&world, &by_second, ISS).await);
    assert_ne!(renewed, b, "P24");
    assert!(!differs(&invalid, &ask(&world, &by_second, &b).await), "P24 old id");

    // X48: an authority that both communities know vouches for one member: whose it is stays open.
    let shared = world.pki.authority(By::Root, "Cross", |_| {});
    let cross = world.pki.certified_again(&shared, "Cross", By::Other(&second));
    let uri = "https://cross.example/app";
    let above: [&[u8]; 2] = [&shared.der, &cross];
    let torn = world.pki.client_by(By::Other(&shared), uri, &above, |_| {});
    assert!(!differs(&unapproved, &register(&world, &torn, uri).await), "X48");
    let one: [&[u8]; 1] = [&shared.der];
    let whole = world.pki.client_by(By::Other(&shared), uri, &one, |_| {});
    assert_eq!(register(&world, &whole, uri).await.status, 201, "X48 control");

    // A community that came by a reload is looked at too when an operator refreshes the lists.
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    world.pki.put_list(&second, |p| {
        p.crl_number = rcgen::SerialNumber::from(2_u64);
        p.revoked_certs = vec![entry(by_second.serial, None)];
    });
    let done = world.house.admin.execute(&officer, Command::RefreshLists).await.unwrap();
    assert!(matches!(done, Done::ListsRefreshed { revoked: 1, failed: 0, .. }), "{done:?}");
}

/// P23, P26: only the URIs of the certificate, each a registration of its own.
#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_registers_its_own_uris_only() {
    let limits = ward_core::Limits { registrations_per_minute: 10, ..generous() };
    let (mut world, _upstream, ..) = world(limits).await;
    let uris: Vec<String> = (0..3).map(|n| format!("https://partner.example/app/{n}")).collect();
    let member = world.pki.issue(&Leaf { uris: uris.clone(), ..Leaf::client(ISS) });
    let mut ids = std::collections::BTreeSet::new();
    for uri in &uris {
        let answer = register(&world, &member, uri).await;
        assert_eq!(answer.status, 201, "P23 {uri}");
        ids.insert(answer.json()["client_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 3, "P23: separate registrations");
    // P26: a hundred more that are not in it; each refused, until the quota ends it.
    let mut statuses = std::collections::BTreeMap::new();
    for n in 3..103 {
        let answer = register(&world, &member, &format!("https://partner.example/app/{n}")).await;
        if answer.status == 400 {
            assert_eq!(answer.error().as_deref(), Some("invalid_software_statement"), "P26");
        }
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    let known: Vec<u16> = statuses.keys().copied().collect();
    assert_eq!(known, [400, 429], "P26: {statuses:?}");
}

/// R38: a `jti` counts as used until its JWT has ended, skew included; after that it is a new JWT.
#[tokio::test(flavor = "multi_thread")]
async fn a_jti_is_free_again_when_its_statement_has_ended() {
    let now = SystemClock.now().as_seconds();
    let clock = Arc::new(ManualClock::at_unix_seconds(now));
    let (mut world, _upstream, ..) = world_at(generous(), clock.clone()).await;
    let member = world.pki.client(ISS);
    let words = world.words(ISS, "");
    let send = async |iat: i64, exp: i64| {
        let now = clock.now().as_seconds();
        let mut claims = world.statement_claims(ISS);
        (claims["iat"], claims["exp"]) = (json!(now + iat), json!(now + exp));
        claims["jti"] = json!("r38");
        let statement = jwt(&World::good_row(), &words, claims, &member, &member);
        let body = json!({ "udap": "1", "software_statement": statement }).to_string();
        world.post(&world.register, "application/json", &body, &[]).await
    };
    // Ends within the skew: four seconds from now it is over.
    assert_eq!(send(-200, -56).await.status, 201, "R38 first");
    let used = Some("invalid_software_statement");
    assert_eq!(send(0, 280).await.error().as_deref(), used, "R37");
    clock.advance(Duration::from_secs(4));
    assert_eq!(send(0, 280).await.error().as_deref(), used, "R37: to the last second");
    clock.advance(Duration::from_secs(1));
    assert_eq!(send(0, 280).await.status, 200, "R38: a new JWT");
    assert_eq!(send(0, 280).await.error().as_deref(), used, "R37 again");
}

/// B16, T36: one purpose at most where the community says so; no list, no token, and the assertion is not
/// used up by it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_community_or_an_outage_forbids() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let words = world.words(ISS, &client);
    let mut claims = world.assertion_claims(&client);
    claims["extensions"]["hl7-b2b"]["purpose_of_use"] =
        json!(["urn:oid:2.16.840.1.113883.5.8#TREAT", "urn:oid:2.16.840.1.113883.5.8#HPAYMT"]);
    let two = |claims| jwt(&World::good_row(), &words, claims, &member, &member);
    assert_eq!(send_assertion(&world, &two(claims.clone())).await.status, 200, "B16 control");
    serve(&world, |all| all[0].community.max_purposes = Some(1)).await;
    claims["jti"] = json!("b16");
    let answer = send_assertion(&world, &two(claims)).await;
    assert!(!differs(&(400, Some("invalid_grant".to_owned())), &answer), "B16");

    // T36: a member whose list cannot be had, and then can.
    let branch = world.pki.authority(By::Root, "Unlisted", |_| {});
    let late = world.pki.client_by(By::Other(&branch), ISS, &[&branch.der], |_| {});
    world.pki.withdraw(&branch.path);
    let assertion = jwt(&World::good_row(), &words, world.assertion_claims(&client), &late, &late);
    let answer = send_assertion(&world, &assertion).await;
    assert!(!differs(&(503, Some("temporarily_unavailable".to_owned())), &answer), "T36");
    assert!(answer.header("retry-after").is_some(), "T36");
    assert!(answer.json().get("access_token").is_none(), "T36");
    world.pki.put_list(&branch, |_| {});
    let mut turns = 0;
    while send_assertion(&world, &assertion).await.status != 200 {
        turns += 1;
        assert!(turns < 240, "T36: the same assertion is good once the list is there");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(SCOPE.contains("Patient"));
}
