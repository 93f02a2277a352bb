//! Counts by client and rule, from the log. Bounded: so many clients, rules and shapes, and the rest is said to
//! be missing or summed up.

use std::collections::BTreeMap;

use ward_audit::{BodyError, Leaf, LogError, Reader};
use ward_core::{ClientId, ClientUri, EventBody, EventKind, Outcome, Timestamp};
use ward_policy::{ANONYMOUS, Caller, Enforcement, Stance};

/// Clients that are counted.
const MOST_CLIENTS: usize = 10_000;
/// Rows (client and rule) that are counted.
const MOST_ROWS: usize = 20_000;
/// Shapes of one row; more are summed up.
const MOST_SHAPES: usize = 12;
/// Shapes of all rows.
const MOST_SHAPES_IN_ALL: usize = 50_000;
/// Entries of one client that are opened to learn its URI.
const LOOKS: u32 = 8;
/// What further shapes are summed up as.
const OTHER: &str = "(other shapes)";

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A registered client.
    Client(ClientId),
    /// A caller without a token of Ward's.
    Anonymous,
}

impl Who {
    /// As it is named in the configuration: by its URI if that is known.
    pub(super) fn name(&self, one: &ClientTally) -> String {
        one.uri.clone().unwrap_or_else(|| self.id())
    }

    pub(super) fn id(&self) -> String {
        match self {
            Self::Client(id) => id.to_string(),
            Self::Anonymous => ANONYMOUS.to_owned(),
        }
    }

    /// Whether it is not enforced yet.
    pub(super) fn is_observed(&self, one: &ClientTally, enforcement: &Enforcement) -> bool {
        let stance = match self {
            Self::Anonymous => enforcement.stance(Caller::Anonymous),
            Self::Client(id) => {
                let uri = one.uri.as_deref().and_then(|uri| ClientUri::parse(uri).ok());
                match uri.or_else(|| ClientUri::parse("urn:unknown").ok()) {
                    Some(uri) => enforcement.stance(Caller::Client { id: *id, uri: &uri }),
                    None => Stance::Enforce,
                }
            }
        };
        stance == Stance::Observe
    }
}

/// What one client did.
#[derive(Debug, Default)]
pub(super) struct ClientTally {
    pub(super) uri: Option<String>,
    pub(super) requests: u64,
    /// Requests that enforcement would have refused, or answered in part.
    pub(super) would_refuse: u64,
    pub(super) rules: BTreeMap<String, Row>,
    looks: u32,
}

/// What one rule would have done to one client.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) requests: u64,
    /// Of them, those that the upstream answered with a status below 400.
    pub(super) answered: u64,
    /// Records that would have been held back.
    pub(super) withheld: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) shapes: BTreeMap<String, u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) clients: BTreeMap<Who, ClientTally>,
    /// Something was not counted.
    pub(super) incomplete: bool,
    rows: usize,
    shapes: usize,
}

impl Tally {
    /// Reads the log from `since` on.
    pub(super) async fn read(reader: &Reader, since: Timestamp) -> Result<Self, LogError> {
        let mut tally = Self::default();
        for index in first_since(reader, since)?..reader.size() {
            let leaf = reader.leaf(index)?;
            if leaf.at < since || !begins(&leaf) {
                continue;
            }
            tally.count(reader, index, &leaf).await?;
        }
        Ok(tally)
    }

    async fn count(&mut self, reader: &Reader, index: u64, leaf: &Leaf) -> Result<(), LogError> {
        let who = leaf.actor.client.map_or(Who::Anonymous, Who::Client);
        if !self.clients.contains_key(&who) && self.clients.len() >= MOST_CLIENTS {
            self.incomplete = true;
            return Ok(());
        }
        let one = self.clients.entry(who).or_default();
        let request = leaf.kind == EventKind::Access;
        one.requests += u64::from(request);
        let observed = leaf.outcome == Outcome::Observed;
        let unnamed = who != Who::Anonymous && one.uri.is_none() && one.looks < LOOKS;
        if !observed && !unnamed {
            return Ok(());
        }
        one.looks += u32::from(unnamed);
        let body = match reader.body(index).await {
            Ok(body) => body,
            Err(BodyError::Log(error)) => return Err(error),
            // The leaf alone still says who and which rule.
            Err(_) => {
                self.incomplete |= observed;
                EventBody::default()
            }
        };
        if one.uri.is_none() {
            one.uri = body.detail.get("client_uri").cloned();
        }
        if !observed {
            return Ok(());
        }
        one.would_refuse += u64::from(request);
        let mut by_rule = withheld(&body);
        by_rule.entry(leaf.rule.clone().unwrap_or_default()).or_default();
        let answered = leaf.transfer.as_ref().is_some_and(|transfer| transfer.status < 400);
        let shape = body.detail.get(ward_gateway::SHAPE);
        for (rule, records) in by_rule {
            if !one.rules.contains_key(&rule) {
                if self.rows >= MOST_ROWS {
                    self.incomplete = true;
                    continue;
                }
                self.rows += 1;
            }
            let row = one.rules.entry(rule).or_insert_with(|| Row {
                requests: 0,
                answered: 0,
                withheld: 0,
                first: leaf.at,
                last: leaf.at,
                shapes: BTreeMap::new(),
            });
            row.requests += 1;
            row.answered += u64::from(answered);
            row.withheld = row.withheld.saturating_add(records);
            row.first = row.first.min(leaf.at);
            row.last = row.last.max(leaf.at);
            let Some(shape) = shape else { continue };
            let known = row.shapes.contains_key(shape);
            let room = row.shapes.len() < MOST_SHAPES && self.shapes < MOST_SHAPES_IN_ALL;
            let shown = if known || room { shape.as_str() } else { OTHER };
            if !row.shapes.contains_key(shown) {
                self.shapes += 1;
            }
            *row.shapes.entry(shown.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    /// One client only, by URI or id.
    pub(super) fn keep(&mut self, client: &str) {
        self.clients.retain(|who, one| who.id() == client || one.uri.as_deref() == Some(client));
    }

    pub(super) fn requests(&self) -> u64 {
        self.clients.values().map(|one| one.requests).sum()
    }

    pub(super) fn would_refuse(&self) -> u64 {
        self.clients.values().map(|one| one.would_refuse).sum()
    }
}

/// Whether an entry is a request (its first event, if its answer has several) or an incident that was only
/// observed.
fn begins(leaf: &Leaf) -> bool {
    match (leaf.kind, &leaf.transfer) {
        (EventKind::Access, Some(transfer)) => transfer.window.is_none_or(|window| window.seq == 0),
        (EventKind::Incident, _) => leaf.outcome == Outcome::Observed,
        _ => false,
    }
}

/// `RULE=COUNT,…`
fn withheld(body: &EventBody) -> BTreeMap<String, u64> {
    let said = body.detail.get(ward_gateway::WOULD_WITHHOLD).map_or("", String::as_str);
    said.split(',')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(rule, count)| Some((rule.to_owned(), count.parse().ok()?)))
        .collect()
}

/// Events lie about in the order of their times: by so much they may be out of it.
const DISORDER: std::time::Duration = std::time::Duration::from_hours(1);

/// The first entry that may be of that time or later, by bisection.
fn first_since(reader: &Reader, since: Timestamp) -> Result<u64, LogError> {
    let horizon = since.minus(DISORDER);
    let (mut low, mut high) = (0, reader.size());
    while low < high {
        let middle = low + (high - low) / 2;
        if reader.leaf(middle)?.at < horizon {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
