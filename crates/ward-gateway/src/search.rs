//! Type search: one page of what is visible. Kept entries are spliced byte for byte; nothing else of the
//! upstream's Bundle is used.
//!
//! A `next` link says that one more *visible* record is known, or that the work limit ended the look-ahead;
//! never that hidden ones lie ahead. `total` counts visible ones, and stands only if all were counted.
//! Refuses (413) searches that are too long to be repeated in a `next` link.

use http::Response;
use ward_core::Timestamp;
use ward_fhir::outcome::operation_outcome;
use ward_fhir::{Interaction, IssueCode, Search, Severity, TotalMode};
use ward_net::http::Body;
use ward_policy::Permit;

use crate::cursor::{self, Binding, Position};
use crate::fill::{Page, Want, beginning};
use crate::forward::search_target;
use crate::release::{Draft, Record, release};
use crate::{Exchange, Fault, Gateway};

impl Gateway {
    /// Answers a search. `nothing`: it is known that no visible record can match.
    pub(crate) async fn search(
        &self,
        exchange: &Exchange<'_>,
        permit: &Permit,
        nothing: bool,
    ) -> Result<Response<Body>, Fault> {
        let Interaction::Search(search) = &exchange.request.interaction else {
            return Err(Fault::NotFound);
        };
        let want = self.want(search);
        let query = search.self_query();
        if !want.count_only && self.next_length(search, &query) > self.limits.target_bytes {
            self.note_refusal(exchange, "LIMIT", 413).await?;
            return Err(Fault::QueryTooLong);
        }
        let upstream = self.asked(exchange, permit);
        let question = format!("{}?{query}", search.rtype);
        let binding = Binding {
            tenant: &self.tenant,
            grant: exchange.principal.grant,
            query: &question,
            policy: &self.policy,
            upstream: &upstream,
            parked: &self.parked,
            parked_links: self.limits.parked_links,
        };
        let now = self.clock.now();
        let start = match self.start(&binding, search, now).await {
            Err(Fault::NotFound) => {
                self.note_refusal(exchange, "E4", 404).await?;
                return Err(Fault::NotFound);
            }
            start => start?,
        };
        let page = if nothing {
            Page { exhausted: true, ..Page::default() }
        } else {
            match self.fill(permit, &want, start).await {
                Err(Fault::NotFound) => {
                    self.note_refusal(exchange, "NOT-FOUND", 404).await?;
                    return Err(Fault::NotFound);
                }
                page => page?,
            }
        };
        let cursor = match &page.next {
            None => None,
            Some(next) => {
                let expires = now.plus(self.limits.cursor_life);
                Some(cursor::seal(&*self.vault, &*self.rng, &binding, next, expires).await?)
            }
        };
        // Exact only if everything that is visible was seen, from the first page on.
        let whole = page.exhausted && search.cursor.is_none();
        let total = (whole && (page.next.is_none() || want.count_all)).then_some(page.visible);
        let draft = self.bundle(search, &query, page.records, total, cursor.as_deref());
        let mut event = self.event(exchange, "released");
        if page.withheld > 0 {
            // For detection: who keeps asking for what he may not see.
            event = event.with(WITHHELD, page.withheld.to_string());
        }
        release(&self.sink, &self.clock, &self.limits, event, draft, exchange.without_body).await
    }

    pub(crate) fn want(&self, search: &Search) -> Want {
        let limits = &self.limits;
        let asked = search.count.and_then(|count| usize::try_from(count).ok());
        let records = asked.unwrap_or(limits.page_default).min(limits.page_max);
        let count_only = search.summary_count || records == 0;
        let counted = matches!(search.total, TotalMode::Estimate | TotalMode::Accurate);
        let count_all = count_only || (counted && search.cursor.is_none());
        Want { records: if count_only { 0 } else { records }, count_all, count_only }
    }

    /// Octets of path and query of a `next` link.
    pub(crate) fn next_length(&self, search: &Search, query: &str) -> usize {
        const REST: usize = "/?&_cursor=".len() + cursor::LENGTH;
        let name = search.rtype.name().len();
        [self.base.path.len(), name, query.len(), REST].into_iter().fold(0, usize::saturating_add)
    }

    /// What is asked of the upstream, on one line: what a cursor is bound to.
    fn asked(&self, exchange: &Exchange<'_>, permit: &Permit) -> String {
        let count = self.limits.upstream_page;
        match permit.part(0).filter(|_| permit.parts() == 1) {
            Some(part) => search_target(&part, count),
            // The parts are a function of the request and the roster.
            None => format!("{} {}", exchange.known.digest, search_target(permit.request(), count)),
        }
    }

    async fn start(
        &self,
        binding: &Binding<'_>,
        search: &Search,
        now: Timestamp,
    ) -> Result<Position, Fault> {
        match &search.cursor {
            None => Ok(beginning(self.limits.upstream_page)),
            Some(cursor) => cursor::open(&*self.vault, binding, cursor, now).await,
        }
    }

    /// The Bundle around the records. Without `id`, `meta` and time stamps (amendments, "The promise").
    fn bundle(
        &self,
        search: &Search,
        query: &str,
        records: Vec<Record>,
        total: Option<u64>,
        cursor: Option<&str>,
    ) -> Draft {
        use std::fmt::Write as _;
        let address = |extra: Option<&str>| {
            let mut url = format!("{}/{}", self.base.url, search.rtype);
            let cursor = extra.map(|cursor| format!("_cursor={cursor}"));
            let parts = [Some(query).filter(|query| !query.is_empty()), cursor.as_deref()];
            for (joint, part) in ["?", "&"].iter().zip(parts.into_iter().flatten()) {
                url.push_str(joint);
                url.push_str(part);
            }
            serde_json::Value::String(url)
        };
        let mut head = String::from(r#"{"resourceType":"Bundle","type":"searchset","#);
        if let Some(total) = total {
            let _ = write!(head, r#""total":{total},"#);
        }
        let _ = write!(head, r#""link":[{{"relation":"self","url":{}}}"#, address(None));
        if let Some(cursor) = cursor {
            let _ = write!(head, r#",{{"relation":"next","url":{}}}"#, address(Some(cursor)));
        }
        head.push(']');
        let mut tail = String::new();
        let outcome = dropped_notice(search);
        // FHIR forbids empty arrays.
        if !records.is_empty() || outcome.is_some() {
            head.push_str(r#","entry":["#);
            if let Some(outcome) = outcome {
                let comma = if records.is_empty() { "" } else { "," };
                let _ = write!(
                    tail,
                    r#"{comma}{{"resource":{outcome},"search":{{"mode":"outcome"}}}}"#
                );
            }
            tail.push(']');
        }
        tail.push('}');
        Draft { head: head.into_bytes(), records, tail: tail.into_bytes() }
    }
}

/// The particular of an event that says how many records were judged and dropped.
pub(crate) const WITHHELD: &str = "withheld";

/// D30: names the parameters that were dropped under lenient handling.
fn dropped_notice(search: &Search) -> Option<String> {
    if search.dropped.is_empty() {
        return None;
    }
    let text = format!("Unknown search parameters were ignored: {}.", search.dropped.join(", "));
    Some(operation_outcome(&[(Severity::Warning, IssueCode::NotSupported, &text)]))
}
