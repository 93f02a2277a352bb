//! Whether Ward can do its work now, part by part, and what to do where it cannot.
//!
//! The log and the lists say so themselves; the store is asked by a small durable write and the upstream by
//! its CapabilityStatement, both at most every `limits.probe_age`. A stale list is not ready, even while its
//! grace lasts: somebody has to look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use ward_audit::Log;
use ward_core::{Clock, Limits, Timestamp};
use ward_net::HttpClient;
use ward_net::lists::RevocationLists;
use ward_store::Probe;

use super::OpsDeps;
use crate::bundle_pull::{Bundles, Standing};

/// One part of Ward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Whether it works.
    pub ok: bool,
    /// What is the matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

impl Component {
    const fn good() -> Self {
        Self { ok: true, problem: None, remedy: None }
    }

    fn bad(problem: impl Into<String>, remedy: &'static str) -> Self {
        Self { ok: false, problem: Some(problem.into()), remedy: Some(remedy) }
    }
}

/// All parts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether Ward can serve.
    pub ready: bool,
    /// `observe` while anything may pass that a rule refuses, else `enforce`.
    pub mode: &'static str,
    /// Its parts: `log`, `store`, `upstream`, `lists`, `bundles`, and `serving` (no once it is told to stop).
    pub components: BTreeMap<&'static str, Component>,
}

impl Report {
    /// As JSON, one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{\"ready\":false}".to_owned()) + "\n"
    }
}

/// The names of the parts.
pub(super) const COMPONENTS: [&str; 6] =
    ["log", "store", "upstream", "lists", "bundles", "serving"];

/// A dead disk can hang; the answer must not.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Readiness {
    log: Arc<Log>,
    probe: Arc<dyn Probe>,
    lists: Arc<RevocationLists>,
    bundles: Arc<Bundles>,
    http: HttpClient,
    upstream: String,
    enforcement: ward_gateway::EnforcementDial,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    draining: Arc<AtomicBool>,
    /// What was found at the store and the upstream, and when. Also keeps probes from piling up.
    probed: Mutex<Option<(Timestamp, Component, Component)>>,
}

impl Readiness {
    pub(super) fn new(deps: &OpsDeps, draining: Arc<AtomicBool>) -> Self {
        Self {
            log: deps.log.clone(),
            probe: deps.probe.clone(),
            lists: deps.lists.clone(),
            bundles: deps.bundles.clone(),
            http: deps.http.clone(),
            upstream: deps.upstream.clone(),
            enforcement: deps.enforcement.clone(),
            clock: deps.system.clock.clone(),
            limits: deps.system.limits.clone(),
            draining,
            probed: Mutex::default(),
        }
    }

    pub(super) async fn report(&self) -> Report {
        let (store, upstream) = self.probed().await;
        let lists = self.lists();
        let parts = [self.log(), store, upstream, lists, self.bundles(), self.serving()];
        let components: BTreeMap<_, _> = COMPONENTS.into_iter().zip(parts).collect();
        let mode = if self.enforcement.now().is_observing() { "observe" } else { "enforce" };
        Report { ready: components.values().all(|part| part.ok), mode, components }
    }

    fn log(&self) -> Component {
        match self.log.healthy() {
            Ok(()) => Component::good(),
            Err(why) => Component::bad(
                why,
                "nothing is released while the log cannot be written: free space on its disk; it comes back by itself unless the text says restart",
            ),
        }
    }

    fn lists(&self) -> Component {
        // Lists that never came are no sign here: one member's dead link must not take Ward out of service.
        let lists = self.lists.status().lists;
        let stale = lists.iter().filter(|list| list.stale).count();
        if stale == 0 {
            return Component::good();
        }
        Component::bad(
            format!(
                "{stale} of {} revocation lists and OCSP answers are past their nextUpdate",
                lists.len()
            ),
            "see whether this machine reaches the community's servers of lists and OCSP, then run: ward admin lists refresh",
        )
    }

    fn bundles(&self) -> Component {
        // A refused one is no sign here: whoever serves a lie must not take Ward out of service.
        let now = self.clock.now();
        let standing = self.bundles.standing();
        let over = |one: &&Standing| one.expires.is_some_and(|end| now > end);
        match standing.iter().filter(over).count() {
            0 => Component::good(),
            ended => Component::bad(
                format!("{ended} of {} trust bundles have ended", standing.len()),
                "nobody can register in that community, and clients go on only for its revocation_grace: see what the diagnostics say of the bundle, then ask the community's operator",
            ),
        }
    }

    fn serving(&self) -> Component {
        if self.draining.load(Ordering::Acquire) {
            Component::bad("Ward was told to stop and lets running requests end", "nothing")
        } else {
            Component::good()
        }
    }

    async fn probed(&self) -> (Component, Component) {
        let mut probed = self.probed.lock().await;
        let now = self.clock.now();
        if let Some((at, store, upstream)) = &*probed {
            // A clock that was set back must not freeze what was found.
            if now >= *at && now.since(*at) < self.limits.probe_age {
                return (store.clone(), upstream.clone());
            }
        }
        let (store, upstream) = tokio::join!(self.store(), self.upstream());
        *probed = Some((now, store.clone(), upstream.clone()));
        (store, upstream)
    }

    async fn store(&self) -> Component {
        const REMEDY: &str = "registrations and tokens are refused while the store cannot be written: free space on its disk and see that it is mounted read-write";
        match tokio::time::timeout(STORE_TIMEOUT, self.probe.writable()).await {
            Ok(Ok(())) => Component::good(),
            Ok(Err(error)) => Component::bad(error.to_string(), REMEDY),
            Err(_) => Component::bad("a small write takes more than 2 s", REMEDY),
        }
    }

    async fn upstream(&self) -> Component {
        const REMEDY: &str =
            "see that the FHIR server runs and that [upstream] base is right: ward check";
        let url = format!("{}/metadata", self.upstream.trim_end_matches('/'));
        let bound = self.limits.upstream_body_bytes;
        match self.http.get(&url, bound, self.limits.connect_timeout).await {
            // Who demands authorization here is there.
            Ok(answer) if answer.status().as_u16() < 500 => Component::good(),
            Ok(answer) => {
                Component::bad(format!("the upstream answers {}", answer.status().as_u16()), REMEDY)
            }
            Err(error) => Component::bad(format!("the upstream: {error}"), REMEDY),
        }
    }
}
