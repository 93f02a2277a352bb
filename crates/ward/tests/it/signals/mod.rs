//! Signals of a community over sockets (issue 4 Build 6; RFC 8417, RFC 8935; amendments, "Signals"; `smart.md` bad input 91): a lying,
//! replayed or foreign one does nothing, and what a true one ends is ended before it is acknowledged.

mod pushed;
mod receiver;
mod table;

use std::time::Duration;

use serde_json::{Value, json};
use ward::house::Turned;
use ward_audit::{Leaf as LogLeaf, Reader};
use ward_core::{CommunityUri, EventBody, EventKind, Limits, Secret, Timestamp};
use ward_issuer::ServedCommunity;
use ward_policy::Subject;
use ward_trust::signal::{About, Signal};
use ward_trust::{Certificate, Community, SigningIdentity};

use crate::bad_input::generous;
use crate::harness::{Answer, ISS, World};
use crate::pki::authorities::{Authority, By};
use crate::pki::{COMMUNITY, Leaf, Member};

pub const MEDIA_TYPE: &str = "application/secevent+jwt";
/// A second community of the same server, under a root of its own.
pub const SECOND: &str = "https://second.example/trust";
/// Who sends signals in the name of the first community, beside itself.
pub const OPERATOR: &str = "https://operator.example/signals";

pub fn certificate(member: &Member) -> Certificate {
    Certificate::from_der(&member.chain[0]).unwrap()
}

pub fn revoked(certificate: &Certificate) -> About {
    About::Certificate {
        thumbprint: certificate.thumbprint(),
        certificate: Some(Box::new(certificate.clone())),
    }
}

/// Where signals go.
pub fn endpoint(world: &World) -> String {
    format!("https://localhost:{}/default/signals", world.port)
}

/// A signal of the first community.
pub fn signal(world: &World, jti: &str, about: About) -> Signal {
    Signal {
        issuer: COMMUNITY.to_owned(),
        audience: world.base.clone(),
        jti: jti.to_owned(),
        issued: Timestamp::from_seconds(world.system.clock.now().as_seconds()),
        about,
        reason: Some("key-compromise".to_owned()),
    }
}

pub async fn push(world: &World, document: &str) -> Answer {
    world.post(&endpoint(world), MEDIA_TYPE, document, &[]).await
}

/// A second community, with Ward as a member.
pub fn second(world: &mut World) -> (Authority, ServedCommunity) {
    let root = world.pki.another_root("Second Root", |_| {});
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let leaf = Leaf::client(&world.base);
    let chain = world.pki.certify_by(By::Other(&root), &leaf, &pair, &[]);
    let identity = SigningIdentity::from_pkcs8(&chain, &Secret::new(pair.serialize_der())).unwrap();
    let anchors = vec![Certificate::from_der(&root.der).unwrap()];
    let second = Community::new(CommunityUri::parse(SECOND).unwrap(), anchors);
    (root, ServedCommunity::new(second, identity.into()))
}

/// Serves a second community too, and knows the operator of the first one.
pub async fn serve_second(world: &mut World) -> Authority {
    let (root, second) = second(world);
    let config = world.config();
    let mut communities = config.communities;
    communities[0].signals_from = Some(OPERATOR.to_owned());
    communities.push(second);
    let tls = world.house.tls.current();
    let turned = Turned { action: "reloaded", operator: None, changed: &[] };
    world.house.knobs.turn(communities, tls, config.ceilings, turned).await.unwrap();
    root
}

/// Bounds that no honest caller meets on a busy machine.
pub fn unhurried() -> Limits {
    let minute = Duration::from_mins(1);
    Limits {
        connect_timeout: minute,
        header_timeout: minute,
        body_timeout: minute,
        upstream_timeout: minute,
        crl_timeout: minute,
        probe_age: Duration::ZERO,
        ..generous()
    }
}

/// A registered client with a live token.
pub async fn partner(world: &mut World) -> (Member, String, String) {
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    (member, client, token)
}

/// Whether the certificate is revoked here.
pub fn is_ended(world: &World, certificate: &Certificate) -> bool {
    let subject = Subject::Certificate(certificate.thumbprint());
    let epochs = &world.house.repositories.epochs;
    epochs.current(&ward_core::TenantId::default_tenant(), &subject) > 0
}

/// The events of a kind with their particulars, in order.
pub async fn events(world: &World, kind: EventKind) -> Vec<(LogLeaf, EventBody)> {
    let vault: std::sync::Arc<dyn ward_core::KeyVault> = world.house.vault.clone();
    let reader = Reader::open_dir(&world.house.paths.log(), Some(vault)).unwrap();
    let mut found = Vec::new();
    for index in 0..reader.size() {
        let leaf = reader.leaf(index).unwrap();
        if leaf.kind == kind {
            found.push((leaf, reader.body(index).await.unwrap()));
        }
    }
    found
}

/// What the log says of the signals with this `jti`: (effect, or the rule that refused).
pub async fn heard(world: &World, jti: &str) -> Vec<String> {
    let all = events(world, EventKind::Community).await;
    let mut said = Vec::new();
    for (leaf, body) in all {
        if leaf.action != "signal-heard" || body.detail.get("signal").is_none_or(|one| one != jti) {
            continue;
        }
        assert_eq!(leaf.actor.operator.as_deref(), Some("ward-signals"));
        said.push(match leaf.rule {
            Some(rule) => rule,
            None => body.detail["effect"].clone(),
        });
    }
    said
}

/// `err` of a refusal.
pub fn err(answer: &Answer) -> Option<String> {
    answer.json().get("err").and_then(Value::as_str).map(ToOwned::to_owned)
}

/// Merges a patch (RFC 7386), all the way down.
pub fn merge(onto: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *onto = patch.clone();
        return;
    };
    if !onto.is_object() {
        *onto = json!({});
    }
    for (name, value) in members {
        let object = onto.as_object_mut().unwrap();
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
