//! Names under `[observe.clients]` that match nobody. A misspelt one enforces, or observes, nobody, and that is told when Ward
//! starts and at each reload; a name may also wait for a client that registers later, so it is no error.

use std::collections::BTreeMap;

use ward_core::{ClientId, ClientUri, TenantId};
use ward_policy::{ANONYMOUS, EVERYBODY_ELSE};
use ward_store::Registration;
use ward_store::repo::Registrations;

use crate::config::{Config, Mode};

/// The names that may be those of clients.
pub(crate) fn of_clients(clients: &BTreeMap<String, Mode>) -> impl Iterator<Item = &str> {
    let names = clients.keys().map(String::as_str);
    names.filter(|name| ![ANONYMOUS, EVERYBODY_ELSE].contains(name))
}

/// Says which names match no registered client. What the store cannot tell is not said.
pub(super) async fn warn_of_nobody(config: &Config, registrations: &dyn Registrations) {
    if config.mode != Mode::Observe {
        return;
    }
    let tenant = config.tenant();
    for name in of_clients(&config.observe.clients) {
        if !is_somebody(name, config, &tenant, registrations).await {
            tracing::warn!(
                name,
                "nobody is registered under this name of [observe.clients], so it changes nothing: it must be the URI or \
                 the id that `ward admin clients list` shows (it counts once that client registers)"
            );
        }
    }
}

async fn is_somebody(
    name: &str,
    config: &Config,
    tenant: &TenantId,
    registrations: &dyn Registrations,
) -> bool {
    let lives = |found: &Registration| !found.cancelled;
    if let Ok(id) = ClientId::parse(name) {
        return registrations
            .by_client(tenant, id)
            .await
            .map_or(true, |found| found.is_some_and(|one| lives(&one)));
    }
    let Ok(uri) = ClientUri::parse(name) else { return false };
    for community in &config.community {
        let Ok(community) = ward_core::CommunityUri::parse(&community.uri) else { continue };
        match registrations.by_uri(tenant, &community, &uri).await {
            Ok(found) if !found.as_ref().is_some_and(lives) => {}
            _ => return true,
        }
    }
    false
}
