//! What Ward counts, as OpenMetrics text (Prometheus reads it). The catalogue below is the documentation
//! too: `docs/operate/metrics.md` is made from it, and a test fails when they differ.
//!
//! Events are counted from the stream of the log, once each, since the start of the process. Labels come from
//! Ward's own words (kinds, rules, status codes); more than `MOST_SERIES` of them fall into `other`.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use ward_audit::{Log, LogStats};
use ward_core::{Clock, Event, EventKind, Outcome, Timestamp, WindowStep};
use ward_net::ServerStats;
use ward_net::lists::RevocationLists;
use ward_net::stats::LATENCY_BOUNDS_MS;

use super::OpsDeps;
use super::ready::Report;

/// OpenMetrics text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Series of events at most; labels beyond it become `other`.
const MOST_SERIES: usize = 2000;

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; named with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One metric of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name; a counter is shown with `_total` behind it.
    pub name: &'static str,
    /// What kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $constant: Metric = Metric {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)*
        /// Every metric that Ward shows.
        pub const CATALOGUE: &[Metric] = &[$($constant),*];
    };
}

catalogue! {
    ANSWERS = Counter "ward_fhir_answers" ["interaction", "outcome", "status", "rule"]
        "FHIR requests that were decided, by what was asked, how it ended and the rule that decided";
    RECORDS = Counter "ward_fhir_records" [] "Records that were released";
    TOKENS = Counter "ward_tokens" ["outcome", "rule"] "Token requests, issued or refused, by rule";
    REGISTRATIONS = Counter "ward_registrations" ["action", "outcome", "rule"]
        "Registrations made, modified, cancelled or refused, by rule";
    REVOCATIONS = Counter "ward_revocations" [] "Revocations";
    FINDINGS = Counter "ward_findings" ["rule"] "Findings of detection, by rule";
    INCIDENTS = Counter "ward_incidents" ["action"] "Incidents opened or contained";
    OPERATOR_ACTS = Counter "ward_operator_acts" ["action", "outcome"]
        "Acts of operators, done or refused";
    CONNECTIONS = Gauge "ward_connections_open" [] "Open connections of partners";
    ACCEPTED = Counter "ward_connections" [] "Connections of partners that were accepted";
    HANDSHAKES = Counter "ward_tls_handshakes_failed" [] "TLS handshakes that failed or took too long";
    REQUESTS = Counter "ward_http_requests" ["protocol"] "HTTP requests of partners, by protocol";
    ABANDONED = Counter "ward_http2_abandoned" []
        "HTTP/2 requests that callers took back; a rapid-reset flood shows here";
    CUT = Counter "ward_http2_cut" [] "HTTP/2 connections that were cut because of a bound";
    DISPLACED = Counter "ward_connections_displaced" []
        "Idle connections that were asked to close because all places were taken (limits.connections)";
    LATENCY = Histogram "ward_http_answer_seconds" ["class"]
        "Time from a request's head to its answer's head, by class of status";
    LOG_ENTRIES = Gauge "ward_log_entries" [] "Durable entries of the log";
    LOG_COMMITS = Counter "ward_log_commits" [] "Commits of the log; each is one sync of its disk";
    LOG_SYNC = Counter "ward_log_sync_seconds" []
        "Time that syncs of the log took in all; divided by the commits it is the time of one";
    LOG_QUEUE = Gauge "ward_log_queue" [] "Places taken in the queue of the log (limits.log_queue)";
    LISTS = Gauge "ward_lists" ["state"] "Revocation lists: fresh, stale (past nextUpdate) or missing";
    LIST_AGE = Gauge "ward_list_oldest_seconds" [] "Age of the oldest revocation list at hand";
    LIST_LEFT = Gauge "ward_list_expiry_seconds" []
        "Time until the first revocation list goes stale; negative once one is";
    BUNDLES = Gauge "ward_bundles" ["state"]
        "Trust bundles: fresh, ended, or missing (none was ever taken)";
    BUNDLE_LEFT = Gauge "ward_bundle_expiry_seconds" []
        "Time until the first trust bundle ends; negative once one has, +Inf where none is followed";
    BUNDLE_HEARD = Gauge "ward_bundle_heard_seconds" []
        "Longest time since a community's good trust bundle was last seen at its place";
    BUNDLE_FAILING = Gauge "ward_bundle_failing" ["why"]
        "Communities whose last trust bundle was refused (look at once: the diagnostics say why) or not to be had";
    SIGNALS = Counter "ward_signals" ["effect"]
        "Signals of communities that were heard, by what they did: revoked, none, lists-fetched, advice, alarm (look at once), reused (of a jti)";
    SIGNALS_REFUSED = Counter "ward_signals_refused" []
        "Requests to the endpoint for signals that were refused; somebody tries, or a community's operator has this server's data wrong";
    READY = Gauge "ward_ready" ["component"] "1 where the part works, else 0; as /readyz";
    MODE = Gauge "ward_mode" ["mode"]
        "1 at the mode in force, `observe` (nothing is blocked) or `enforce`, and 0 at the other";
    MEMORY = Gauge "process_resident_memory_bytes" [] "Resident memory of the process";
    STARTED = Gauge "process_start_time_seconds" [] "When the process started, seconds since 1970";
}

/// The catalogue as a page of the documentation.
pub fn catalogue() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade from `crates/ward/src/ops/metrics.rs`; do not edit. Refresh: `WARD_BLESS=1 cargo test -p ward --test it catalogue`.\n\n\
         `GET /metrics` at the admin listener, OpenMetrics text. Counters begin at 0 when Ward starts. No label holds a name, an id or a URL.\n\n\
         | metric | kind | labels | what it says |\n|---|---|---|---|\n",
    );
    for metric in CATALOGUE {
        let (suffix, kind) = match metric.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        let labels = metric.labels.join("`, `");
        let labels = if labels.is_empty() { "–".to_owned() } else { format!("`{labels}`") };
        let _ =
            writeln!(page, "| `{}{suffix}` | {kind} | {labels} | {} |", metric.name, metric.help);
    }
    page
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answer {
    interaction: String,
    outcome: &'static str,
    status: u16,
    rule: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Act {
    action: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ruled {
    outcome: &'static str,
    rule: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Registered {
    action: String,
    outcome: &'static str,
    rule: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rule {
    rule: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Action {
    action: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Heard {
    effect: String,
}

/// The counters of events, and what is looked at when somebody asks.
pub(super) struct Metrics {
    registry: Registry,
    series: AtomicUsize,
    answers: Family<Answer, Counter>,
    records: Counter,
    tokens: Family<Ruled, Counter>,
    registrations: Family<Registered, Counter>,
    revocations: Counter,
    findings: Family<Rule, Counter>,
    incidents: Family<Action, Counter>,
    acts: Family<Act, Counter>,
    signals: Family<Heard, Counter>,
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
        Outcome::Observed => "observed",
    }
}

/// Adds one, under `labels` as long as there is room for another series, else under `other`.
fn add<L>(series: &AtomicUsize, family: &Family<L, Counter>, labels: L, other: L)
where
    L: Clone + std::hash::Hash + Eq,
{
    if let Some(counter) = family.get(&labels) {
        counter.inc();
        return;
    }
    let labels = if series.load(Ordering::Relaxed) < MOST_SERIES { labels } else { other };
    if family.get(&labels).is_none() {
        series.fetch_add(1, Ordering::Relaxed);
    }
    family.get_or_create(&labels).inc();
}

impl Metrics {
    pub(super) fn new(deps: &OpsDeps) -> Self {
        let mut registry = Registry::default();
        let (answers, tokens) = (Family::default(), Family::default());
        let (registrations, findings) = (Family::default(), Family::default());
        let (incidents, acts) = (Family::default(), Family::default());
        let signals = Family::<Heard, Counter>::default();
        // There from the start, so that an alarm can be written on each.
        for effect in ["revoked", "none", "lists-fetched", "advice", "alarm", "reused"] {
            let _ = signals.get_or_create(&Heard { effect: effect.to_owned() });
        }
        let (records, revocations) = (Counter::default(), Counter::default());
        registry.register(ANSWERS.name, ANSWERS.help, Clone::clone(&answers));
        registry.register(RECORDS.name, RECORDS.help, Clone::clone(&records));
        registry.register(TOKENS.name, TOKENS.help, Clone::clone(&tokens));
        registry.register(REGISTRATIONS.name, REGISTRATIONS.help, Clone::clone(&registrations));
        registry.register(REVOCATIONS.name, REVOCATIONS.help, Clone::clone(&revocations));
        registry.register(FINDINGS.name, FINDINGS.help, Clone::clone(&findings));
        registry.register(INCIDENTS.name, INCIDENTS.help, Clone::clone(&incidents));
        registry.register(OPERATOR_ACTS.name, OPERATOR_ACTS.help, Clone::clone(&acts));
        registry.register(SIGNALS.name, SIGNALS.help, Clone::clone(&signals));
        registry.register_collector(Box::new(Looked {
            log: deps.log.clone(),
            lists: deps.lists.clone(),
            bundles: deps.bundles.clone(),
            signals: deps.signals.clone(),
            server: deps.server.clone(),
            clock: deps.system.clock.clone(),
            started: deps.system.clock.now(),
        }));
        Self {
            registry,
            series: AtomicUsize::new(0),
            answers,
            records,
            tokens,
            registrations,
            revocations,
            findings,
            incidents,
            acts,
            signals,
        }
    }

    /// Counts one event.
    pub(super) fn count(&self, event: &Event) {
        let other = || "other".to_owned();
        let rule = || event.rule.as_deref().unwrap_or_default().to_owned();
        let action = || event.action.clone().into_owned();
        let outcome = word(event.outcome);
        let series = &self.series;
        match event.kind {
            EventKind::Access => {
                let Some(transfer) = &event.transfer else { return };
                let step = transfer.window.map_or(WindowStep::Whole, |window| window.step);
                if matches!(step, WindowStep::Whole | WindowStep::Items) {
                    self.records.inc_by(u64::from(transfer.resources));
                }
                // A long answer is counted once, at its end.
                if matches!(step, WindowStep::Whole | WindowStep::Complete | WindowStep::Aborted) {
                    let labels = |interaction, rule| Answer {
                        interaction,
                        outcome,
                        status: transfer.status,
                        rule,
                    };
                    let interaction = transfer.interaction.clone().into_owned();
                    add(
                        series,
                        &self.answers,
                        labels(interaction, rule()),
                        labels(other(), other()),
                    );
                }
            }
            EventKind::Token => {
                let labels = |rule| Ruled { outcome, rule };
                add(series, &self.tokens, labels(rule()), labels(other()));
            }
            EventKind::Registration => {
                let labels = |action, rule| Registered { action, outcome, rule };
                add(
                    series,
                    &self.registrations,
                    labels(action(), rule()),
                    labels(other(), other()),
                );
            }
            EventKind::Revocation => {
                self.revocations.inc();
            }
            EventKind::Finding => {
                add(series, &self.findings, Rule { rule: rule() }, Rule { rule: other() });
            }
            EventKind::Incident => {
                let labels = |action| Action { action };
                add(series, &self.incidents, labels(action()), labels(other()));
            }
            EventKind::Operator | EventKind::Roster => {
                let labels = |action| Act { action, outcome };
                add(series, &self.acts, labels(action()), labels(other()));
            }
            EventKind::Community if event.action == "signal-heard" => {
                let effect = event.body.detail.get("effect").map_or("reused", String::as_str);
                let labels = |effect| Heard { effect };
                add(series, &self.signals, labels(effect.to_owned()), labels(other()));
            }
            EventKind::LogStarted | EventKind::Community => {}
        }
    }

    /// All of it as text.
    pub(super) fn text(&self, report: &Report) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        // What is ready is known from outside; it goes before the end mark of OpenMetrics.
        let body = text.strip_suffix("# EOF\n").unwrap_or(&text);
        let mut out = body.to_owned();
        writeln!(out, "# HELP {} {}.\n# TYPE {0} gauge", READY.name, READY.help)?;
        for (component, found) in &report.components {
            writeln!(out, "{}{{component=\"{component}\"}} {}", READY.name, u8::from(found.ok))?;
        }
        writeln!(out, "# HELP {} {}.\n# TYPE {0} gauge", MODE.name, MODE.help)?;
        for mode in ["enforce", "observe"] {
            writeln!(out, "{}{{mode=\"{mode}\"}} {}", MODE.name, u8::from(report.mode == mode))?;
        }
        out.push_str("# EOF\n");
        Ok(out)
    }
}

/// What is looked at when somebody asks.
struct Looked {
    log: Arc<Log>,
    lists: Arc<RevocationLists>,
    bundles: Arc<crate::bundle_pull::Bundles>,
    signals: Arc<ward_issuer::SignalDesk>,
    server: Arc<ServerStats>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
}

impl fmt::Debug for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Looked")
    }
}

/// A count as the floating-point number that the text format shows; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "the text format knows floating-point numbers only")]
fn number(count: u64) -> f64 {
    count as f64
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    if to >= from { to.since(from).as_secs_f64() } else { -from.since(to).as_secs_f64() }
}

fn gauge(to: &mut DescriptorEncoder<'_>, metric: Metric, value: f64) -> fmt::Result {
    let value = ConstGauge::new(value);
    let encoder = to.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
    value.encode(encoder)
}

fn counter(to: &mut DescriptorEncoder<'_>, metric: Metric, value: f64) -> fmt::Result {
    to.encode_descriptor(metric.name, metric.help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, f64>(&value, None)
}

impl Collector for Looked {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let server = self.server.snapshot();
        gauge(to, CONNECTIONS, number(server.open))?;
        counter(to, ACCEPTED, number(server.accepted))?;
        counter(to, HANDSHAKES, number(server.handshakes_failed))?;
        counter(to, ABANDONED, number(server.abandoned))?;
        counter(to, CUT, number(server.cut))?;
        counter(to, DISPLACED, number(server.displaced))?;
        let mut requests =
            to.encode_descriptor(REQUESTS.name, REQUESTS.help, None, MetricType::Counter)?;
        for (protocol, count) in
            [("http/1.1", server.requests_http1), ("h2", server.requests_http2)]
        {
            requests
                .encode_family(&[("protocol", protocol)])?
                .encode_counter::<NoLabelSet, _, f64>(&number(count), None)?;
        }
        let mut latency =
            to.encode_descriptor(LATENCY.name, LATENCY.help, None, MetricType::Histogram)?;
        for answers in &server.answers {
            let bounds = LATENCY_BOUNDS_MS.iter().map(|bound| number(*bound) / 1000.0);
            let buckets: Vec<(f64, u64)> =
                bounds.chain([f64::INFINITY]).zip(answers.buckets.iter().copied()).collect();
            latency.encode_family(&[("class", answers.class)])?.encode_histogram::<NoLabelSet>(
                number(answers.micros) / 1e6,
                answers.buckets.iter().sum(),
                &buckets,
                None,
            )?;
        }
        let LogStats { entries, commits, sync_micros, queued } = self.log.stats();
        gauge(to, LOG_ENTRIES, number(entries))?;
        counter(to, LOG_COMMITS, number(commits))?;
        counter(to, LOG_SYNC, number(sync_micros) / 1e6)?;
        gauge(to, LOG_QUEUE, number(queued as u64))?;

        let (now, lists) = (self.clock.now(), self.lists.status().lists);
        let missing = lists.iter().filter(|list| list.validity.is_none()).count();
        let stale = lists.iter().filter(|list| list.stale).count();
        let fresh = lists.len().saturating_sub(missing + stale);
        let mut states = to.encode_descriptor(LISTS.name, LISTS.help, None, MetricType::Gauge)?;
        for (state, count) in [("fresh", fresh), ("stale", stale), ("missing", missing)] {
            let labels = [("state", state)];
            states.encode_family(&labels)?.encode_gauge(&number(count as u64))?;
        }
        let held = || lists.iter().filter_map(|list| list.validity);
        if let Some(oldest) = held().map(|(issued, _)| issued).min() {
            gauge(to, LIST_AGE, seconds(oldest, now))?;
        }
        if let Some(first) = held().map(|(_, next)| next).min() {
            gauge(to, LIST_LEFT, seconds(now, first))?;
        }
        self.bundles(to, now)?;
        counter(to, SIGNALS_REFUSED, number(self.signals.refused()))?;
        if let Some(bytes) = resident() {
            gauge(to, MEMORY, number(bytes))?;
        }
        gauge(to, STARTED, seconds(Timestamp::from_seconds(0), self.started))
    }
}

impl Looked {
    fn bundles(&self, to: &mut DescriptorEncoder<'_>, now: Timestamp) -> fmt::Result {
        let bundles = self.bundles.standing();
        let ended = bundles.iter().filter(|one| one.expires.is_some_and(|end| now > end)).count();
        let missing = bundles.iter().filter(|one| one.expires.is_none()).count();
        let fresh = bundles.len().saturating_sub(ended + missing);
        let mut states =
            to.encode_descriptor(BUNDLES.name, BUNDLES.help, None, MetricType::Gauge)?;
        for (state, count) in [("fresh", fresh), ("ended", ended), ("missing", missing)] {
            let labels = [("state", state)];
            states.encode_family(&labels)?.encode_gauge(&number(count as u64))?;
        }
        // Shown where nobody is followed too, so that an alarm can be written once for all.
        let first = bundles.iter().filter_map(|one| one.expires).min();
        gauge(to, BUNDLE_LEFT, first.map_or(f64::INFINITY, |first| seconds(now, first)))?;
        let oldest = bundles.iter().filter_map(|one| one.heard).min();
        gauge(to, BUNDLE_HEARD, oldest.map_or(0.0, |oldest| seconds(oldest, now)))?;
        let (name, help) = (BUNDLE_FAILING.name, BUNDLE_FAILING.help);
        let mut failing = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (word, refused) in [("refused", true), ("unavailable", false)] {
            let count = bundles.iter().filter(|one| one.refused == Some(refused)).count();
            failing.encode_family(&[("why", word)])?.encode_gauge(&number(count as u64))?;
        }
        Ok(())
    }
}

/// Resident memory, bytes, as Linux tells it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
