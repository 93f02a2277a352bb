//! Whether other members of a community would believe this server: its chain, with revocation lists.

use ward_net::client::HttpClient;
use ward_net::lists::RevocationLists;
use ward_net::tls::client_config;
use ward_trust::PathError;

use super::{Findings, Level};
use crate::config::material::Material;
use crate::house::System;

/// Validates this server's own certificates as a partner does.
pub(super) async fn probe(material: &Material, system: &System, findings: &mut Findings) {
    let Ok(tls) = client_config(material.list_roots.iter().map(Vec::as_slice)) else { return };
    let http = HttpClient::new(material.list_egress.clone(), tls, system.limits.clone());
    for served in &material.communities {
        let about = format!("community {}", served.community.uri);
        let lacking = material.lacking(&served.community);
        if !lacking.is_empty() {
            findings.add(
                Level::Warning,
                &about,
                format!(
                    "it asks its servers to support {}, and this one does not",
                    lacking.join(", ")
                ),
                "add them to scopes.supported, or ask the community's operator",
            );
        }
        let lists = RevocationLists::new(http.clone(), system.clock.clone(), system.limits.clone());
        let extra = served.identity.chain().get(1..).unwrap_or_default();
        let path = lists
            .validate(served.identity.leaf(), extra, &served.community, std::time::Duration::ZERO)
            .await;
        for list in lists.status().lists {
            match (&list.failure, list.validity) {
                (Some(failure), _) => findings.add(
                    Level::Error,
                    &about,
                    format!("the revocation list {} cannot be had: {failure}", list.url),
                    if failure.to_string().contains("public address") {
                        "if the server is on your own network, add its host:port to this community's allow_private"
                    } else {
                        "let this machine reach it, through the firewall if there is one; without it no member can be checked"
                    },
                ),
                (None, Some((_, next))) => {
                    let until = next.to_rfc3339();
                    findings.ok(&about, format!("the revocation list {} is good until {until}", list.url));
                }
                (None, None) => {}
            }
        }
        match path {
            Ok(chain) => {
                let leaf = served.identity.leaf().not_after().to_rfc3339();
                let what = format!(
                    "this server's certificate has a valid chain of {} and ends on {leaf}",
                    chain.certificates.len() + 1
                );
                findings.ok(&about, what);
            }
            Err(error) => {
                let what = format!("partners would refuse this server's certificate: {error}");
                findings.add(Level::Error, &about, what, mend(error));
            }
        }
    }
}

const fn mend(error: PathError) -> &'static str {
    match error {
        PathError::Untrusted => {
            "check that `anchors` holds the community's root, and that `certificate` holds the issuing authorities after the leaf"
        }
        PathError::Expired | PathError::AnchorExpired => {
            "have it renewed by the community's operator"
        }
        PathError::NotYetValid => "check this machine's clock",
        PathError::Revoked => "ask the community's operator why, and for a new certificate",
        PathError::NoRevocationSource => {
            "ask for a certificate that names a revocation list; only if the community publishes none, set require_revocation = false"
        }
        PathError::RevocationUnknown
        | PathError::RevocationStale
        | PathError::RevocationFuture
        | PathError::RevocationSigner => {
            "the lists above say which; check the way there and this machine's clock, then ask the community's operator"
        }
        PathError::BundleExpired => {
            "see why no newer trust bundle comes from `bundle`, and check this machine's clock"
        }
        _ => "ask the community's operator for a certificate that follows the profile",
    }
}
