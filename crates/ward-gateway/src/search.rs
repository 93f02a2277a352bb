//! Type search: one page of what is visible, refilled from as many upstream pages as the limit allows
//! (E3). Kept entries are spliced byte for byte; nothing else of the upstream's Bundle is used.
//!
//! Dropped: entries of another type than asked, includes and outcomes (F1, E6), entries that cannot be
//! read, and what the judge hides. A `next` link says that one more *visible* record is known, or that
//! the work limit ended the look-ahead; never that hidden ones lie ahead. `total` counts visible ones.

use http::Response;
use ward_core::Timestamp;
use ward_fhir::outcome::operation_outcome;
use ward_fhir::{
    Entry, Interaction, IssueCode, ResourceView, Search, Searchset, Severity, TotalMode,
};
use ward_net::http::Body;
use ward_policy::{Permit, Verdict, judge};

use crate::cursor::{self, Binding, Position};
use crate::forward::{Place, Upstream, search_target};
use crate::read::released;
use crate::release::{Draft, Record, release};
use crate::{Exchange, Fault, Gateway};

/// One page of visible records.
#[derive(Default)]
struct Page {
    records: Vec<Record>,
    /// Visible records seen, on this page and behind it.
    visible: u64,
    /// Where the next page begins.
    next: Option<Position>,
    /// Whether the upstream has no more.
    exhausted: bool,
}

/// By how much the upstream's page shrinks when it is too large.
const SMALLER: usize = 8;

/// How much is wanted.
struct Want {
    /// Records of the page; none when only their number is asked for.
    records: usize,
    /// Entries of one upstream page.
    upstream: usize,
    /// Whether to go on counting behind the page.
    count_all: bool,
    /// Whether records are wanted at all.
    count_only: bool,
}

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
        let want = self.want(search, permit);
        let query = search.self_query();
        let upstream = search_target(permit, self.limits.page_max);
        let question = format!("{}?{query}", search.rtype);
        let binding = Binding {
            tenant: &self.tenant,
            grant: exchange.principal.grant,
            query: &question,
            policy: &self.policy,
            upstream: &upstream,
        };
        let now = self.clock.now();
        let start = match self.start(&binding, search, want.upstream, now).await {
            Err(Fault::NotFound) => {
                self.note_refusal(exchange, "E4", 404).await?;
                return Err(Fault::NotFound);
            }
            start => start?,
        };
        let page = if nothing {
            Page { exhausted: true, ..Page::default() }
        } else {
            // However many pages it takes, the upstream has one time to answer (rule 12).
            let filled =
                tokio::time::timeout(self.limits.upstream_timeout, self.fill(permit, &want, start));
            match filled.await.unwrap_or(Err(Fault::UpstreamTimeout)) {
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
        let event = self.event(exchange, "released");
        release(&self.sink, &self.limits, event, draft, exchange.without_body).await
    }

    fn want(&self, search: &Search, permit: &Permit) -> Want {
        let limits = &self.limits;
        let asked = search.count.and_then(|count| usize::try_from(count).ok());
        let records = asked.unwrap_or(limits.page_default).min(limits.page_max);
        let count_only = search.summary_count || records == 0;
        // One more than the page tells whether there is a next one. Where most of what comes back
        // may be hidden, larger upstream pages make better use of the work limit.
        let upstream = if permit.is_dense() && !count_only {
            records.saturating_add(1).min(limits.page_max)
        } else {
            limits.page_max
        };
        let counted = matches!(search.total, TotalMode::Estimate | TotalMode::Accurate);
        let count_all = count_only || (counted && search.cursor.is_none());
        Want { records: if count_only { 0 } else { records }, upstream, count_all, count_only }
    }

    async fn start(
        &self,
        binding: &Binding<'_>,
        search: &Search,
        count: usize,
        now: Timestamp,
    ) -> Result<Position, Fault> {
        match &search.cursor {
            None => Ok(Position { place: Place::First, consumed: 0, count }),
            Some(cursor) => cursor::open(&*self.vault, binding, cursor, now).await,
        }
    }

    /// Reads upstream pages until the page is full and one more visible record is known, the upstream
    /// is exhausted, or the work limit is reached.
    async fn fill(&self, permit: &Permit, want: &Want, start: Position) -> Result<Page, Fault> {
        let mut page = Page::default();
        let Position { mut place, mut consumed, mut count } = start;
        for _ in 0..self.limits.refill_pages {
            let bytes = match self.upstream.page(permit, &place, count).await {
                // Large records: the same in smaller pieces. Only before paging began, since the
                // upstream may count its pages by their size.
                Err(Fault::Oversized) if place == Place::First && consumed == 0 && count > 1 => {
                    count = (count / SMALLER).max(1);
                    continue;
                }
                bytes => bytes?,
            };
            let set = Searchset::parse(&bytes, &self.limits)
                .map_err(|_| Fault::Upstream("its answer is not a searchset"))?;
            if place == Place::First {
                Upstream::check_self(permit, set.self_link.as_deref());
            }
            for (index, entry) in set.entries.iter().enumerate().skip(consumed) {
                let Some(record) = self.entry(permit, entry, page.records.is_empty()) else {
                    continue;
                };
                page.visible = page.visible.saturating_add(1);
                if want.count_only {
                    continue;
                }
                if page.records.len() < want.records {
                    page.records.push(record);
                    continue;
                }
                if page.next.is_none() {
                    page.next = Some(Position { place: place.clone(), consumed: index, count });
                }
                if !want.count_all {
                    return Ok(page);
                }
            }
            let Some(link) = &set.next else {
                page.exhausted = true;
                return Ok(page);
            };
            let next = self.upstream.follow(permit, count, link)?;
            if next == place {
                return Err(Fault::Upstream("its paging link leads back to the same page"));
            }
            place = next;
            consumed = 0;
        }
        if page.next.is_none() && !want.count_only {
            page.next = Some(Position { place, consumed: 0, count });
        }
        Ok(page)
    }

    /// One entry of the upstream as an entry of ours, if it may leave.
    fn entry(&self, permit: &Permit, entry: &Entry<'_>, first: bool) -> Option<Record> {
        if entry.mode.as_deref().is_some_and(|mode| mode != "match") {
            return None;
        }
        let text = entry.resource;
        let view = match ResourceView::parse(text, &self.bases, &self.limits) {
            Ok(view) => view,
            Err(error) => {
                // B6: dropped, and the operator is told; the text of the error holds no content.
                tracing::warn!(%error, "an entry of the upstream cannot be read and was dropped");
                return None;
            }
        };
        match judge(permit.residual(), &view) {
            Verdict::Drop(_) => None,
            Verdict::Keep => {
                // A26: the address is ours, whatever the upstream calls it. Type and id are plain
                // words by their grammars.
                let comma = if first { "" } else { "," };
                let (base, rtype, id) = (&self.base.url, view.rtype, &view.id);
                let bytes = format!(
                    r#"{comma}{{"fullUrl":"{base}/{rtype}/{id}","resource":{text},"search":{{"mode":"match"}}}}"#
                );
                Some(Record { bytes: bytes.into_bytes(), released: released(&view) })
            }
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

/// D30: names the parameters that were dropped under lenient handling.
fn dropped_notice(search: &Search) -> Option<String> {
    if search.dropped.is_empty() {
        return None;
    }
    let text = format!("Unknown search parameters were ignored: {}.", search.dropped.join(", "));
    Some(operation_outcome(&[(Severity::Warning, IssueCode::NotSupported, &text)]))
}
