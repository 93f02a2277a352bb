//! Fills one page of a search from as many pages of the upstream as the work limit allows (E3), and
//! counts what is visible (E1, E2).
//!
//! What is read of the upstream depends on the request's criteria, the roster and the limits, never on
//! the client's `_count`. A page of the upstream that is too large is asked for in smaller pieces, and
//! a single entry that is too large is dropped: hidden data never makes an error (`enforcement.md` §3.3).
//! Refuses (502) paging links that lead in a circle and answers that are no searchset.

use ward_core::json::Unescaped;
use ward_fhir::{Entry, Searchset};
use ward_policy::{Permit, Verdict, judge};

use crate::cursor::Position;
use crate::forward::{Place, Upstream};
use crate::read::released;
use crate::release::Record;
use crate::{Fault, Gateway};

/// One page of visible records.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    /// Visible records seen, on this page and behind it.
    pub(crate) visible: u64,
    /// Records judged or too large, and dropped.
    pub(crate) withheld: u64,
    /// Where the next page begins.
    pub(crate) next: Option<Position>,
    /// Whether everything was seen to the end.
    pub(crate) exhausted: bool,
}

/// How much is wanted.
pub(crate) struct Want {
    /// Records of the page; none when only their number is asked for.
    pub(crate) records: usize,
    /// Whether to go on counting behind the page.
    pub(crate) count_all: bool,
    /// Whether only the number is asked for.
    pub(crate) count_only: bool,
}

/// By how much a page of the upstream shrinks when it is too large, and grows again.
const STEP: usize = 8;
/// Requests for one of the upstream's pages that may be needed, at most: smaller pieces and small pages.
const REQUESTS: usize = 8;

/// Answers in a row that are too large; an upstream that gives more of them gives nothing else.
const ROW: usize = 32;

/// What one search may still read.
struct Budget {
    requests: usize,
    entries: usize,
    bytes: usize,
}

impl Budget {
    const fn is_spent(&self) -> bool {
        self.requests == 0 || self.entries == 0 || self.bytes == 0
    }
}

impl Gateway {
    /// Reads upstream pages until the page is full and one more visible record is known (and, if asked,
    /// all are counted), the upstream is exhausted, or the work limit is reached.
    pub(crate) async fn fill(
        &self,
        permit: &Permit,
        want: &Want,
        start: Position,
    ) -> Result<Page, Fault> {
        let limits = &self.limits;
        let mut page = Page::default();
        let mut budget = Budget {
            requests: limits.refill_pages.saturating_mul(REQUESTS),
            entries: limits.refill_pages.saturating_mul(limits.upstream_page),
            bytes: limits.refill_bytes,
        };
        // However many pages it takes, the upstream has one time to answer (rule 12).
        let mut time = std::pin::pin!(tokio::time::sleep(limits.upstream_timeout));
        let mut at = start;
        let (mut read, mut lost, mut row) = (false, false, 0_usize);
        loop {
            let Some(request) = permit.part(at.part) else {
                page.exhausted = !lost;
                return Ok(page);
            };
            if budget.is_spent() {
                break;
            }
            budget.requests = budget.requests.saturating_sub(1);
            let answer = tokio::select! {
                biased;
                answer = self.upstream.page(&request, &at.place, at.count) => answer,
                () = &mut time => Err(Fault::UpstreamTimeout),
            };
            let bytes = match answer {
                Ok(bytes) => bytes,
                // The time is a work limit too, once there is something to show for it.
                Err(Fault::UpstreamTimeout) if read => break,
                Err(Fault::Oversized) => {
                    read = true;
                    row = row.saturating_add(1);
                    (at, lost) = match self.smaller(&at, &mut page).filter(|_| row <= ROW) {
                        Some(smaller) => (smaller, lost),
                        None => (behind(&at), true),
                    };
                    continue;
                }
                // It does not skip by number, and what it cannot give ends this part.
                Err(Fault::NotSupported) if is_guess(&at) => {
                    (at, lost) = (behind(&at), true);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let mended;
            let mut mark = None;
            let unescaped = Unescaped::default();
            let set = match Searchset::parse(&bytes, &unescaped, limits) {
                Ok(set) => Ok(set),
                Err(_) => match mend(&bytes) {
                    None => Err(Fault::Upstream("its answer is not a searchset")),
                    Some((text, with)) => {
                        (mended, mark) = (text, Some(with));
                        Searchset::parse(mended.as_bytes(), &unescaped, limits)
                            .map_err(|_| Fault::Upstream("its answer is not a searchset"))
                    }
                },
            }?;
            (read, row) = (true, 0);
            if at.place == Place::First {
                Upstream::check_self(&request, set.self_link.as_deref());
            }
            let passed_over = at.skip.min(set.entries.len());
            for (index, entry) in set.entries.iter().enumerate().skip(passed_over) {
                let marked = mark.is_some_and(|mark: char| entry.resource.contains(mark));
                if marked {
                    self.note_unreadable("not UTF-8");
                }
                let first = page.records.is_empty();
                let Some(record) = self.entry(permit, entry, first).filter(|_| !marked) else {
                    page.withheld = page.withheld.saturating_add(u64::from(is_match(entry)));
                    continue;
                };
                page.visible = page.visible.saturating_add(1);
                if page.visible > limits.total_max as u64 && page.records.len() >= want.records {
                    if page.next.is_none() && !want.count_only {
                        page.next = Some(Position { skip: index, ..at });
                    }
                    return Ok(page);
                }
                if want.count_only {
                    continue;
                }
                if page.records.len() < want.records {
                    page.records.push(record);
                    continue;
                }
                if page.next.is_none() {
                    page.next = Some(Position { skip: index, ..at.clone() });
                }
                if !want.count_all {
                    return Ok(page);
                }
            }
            let fresh = set.entries.len().saturating_sub(passed_over);
            let cost = if passed_over == 0 { fresh.max(1) } else { fresh };
            budget.entries = budget.entries.saturating_sub(cost);
            budget.bytes = budget.bytes.saturating_sub(bytes.len());
            let Some(link) = &set.next else {
                at = behind(&at);
                continue;
            };
            let next = self.upstream.follow(&request, at.count, link)?;
            if next == at.place {
                return Err(Fault::Upstream("its paging link leads back to the same page"));
            }
            at = Position {
                part: at.part,
                place: next,
                skip: at.skip.saturating_sub(passed_over),
                count: at.count,
                passed: at.passed.saturating_add(set.entries.len()),
            };
            if at.count < limits.upstream_page && at.place.counts_entries() {
                let count = at.count.saturating_mul(STEP).min(limits.upstream_page);
                if let Some(place) = at.place.moved(at.passed, at.passed, count) {
                    at = Position { place, count, ..at };
                }
            }
        }
        if page.next.is_none() && !want.count_only {
            page.next = Some(at);
        }
        Ok(page)
    }

    /// The same in smaller pieces, or behind the one entry that is too large. `None` if the upstream
    /// pages in a way of its own, so that there is no going around that entry.
    fn smaller(&self, at: &Position, page: &mut Page) -> Option<Position> {
        if at.count > 1 {
            let count = (at.count / STEP).max(1);
            let same = at.place.moved(at.passed, at.passed, count);
            return Some(match same {
                Some(place) => Position { place, count, ..at.clone() },
                // From the start, since its link may count pages by their size.
                None => Position {
                    part: at.part,
                    place: Place::First,
                    skip: at.passed.saturating_add(at.skip),
                    count,
                    passed: 0,
                },
            });
        }
        self.note_unreadable("larger than the bound");
        page.withheld = page.withheld.saturating_add(u64::from(at.skip == 0));
        let behind = at.passed.saturating_add(1);
        let place = at.place.moved(at.passed, behind, at.count)?;
        Some(Position { place, skip: at.skip.saturating_sub(1), passed: behind, ..at.clone() })
    }

    /// One entry of the upstream as an entry of ours, if it may leave.
    fn entry(&self, permit: &Permit, entry: &Entry<'_>, first: bool) -> Option<Record> {
        if !is_match(entry) {
            return None;
        }
        let text = entry.resource;
        let view = match entry.view(&self.bases, &self.limits) {
            Ok(view) => view,
            Err(error) => {
                // B6: dropped, and the operator is told; the text of the error holds no content.
                self.note_unreadable(&error.to_string());
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
                let head = format!(r#"{comma}{{"fullUrl":"{base}/{rtype}/{id}","resource":"#);
                // In one piece of the right size: most of what a search moves is this.
                let bytes = [&head, text, r#","search":{"mode":"match"}}"#].concat().into_bytes();
                Some(Record { bytes, released: released(&view) })
            }
        }
    }
}

/// A page that is not UTF-8, with a noncharacter that stands nowhere else in it for what is not: a record that holds one
/// cannot be judged (B6), the others can. `None` if it is UTF-8, or holds all of these characters already.
fn mend(bytes: &[u8]) -> Option<(String, char)> {
    std::str::from_utf8(bytes).err()?;
    let lossy = String::from_utf8_lossy(bytes);
    let mark = ('\u{fdd0}'..='\u{fdef}').find(|mark| !lossy.contains(*mark))?;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(mark);
        }
    }
    Some((text, mark))
}

/// Includes and outcomes are nobody's matches (F1, E6).
fn is_match(entry: &Entry<'_>) -> bool {
    entry.mode.as_deref().is_none_or(|mode| mode == "match")
}

/// The beginning of the next part.
const fn behind(at: &Position) -> Position {
    Position {
        part: at.part.saturating_add(1),
        place: Place::First,
        skip: 0,
        count: at.count,
        passed: 0,
    }
}

/// Whether the place was made here, behind a first entry that is too large.
fn is_guess(at: &Position) -> bool {
    at.passed > 0 && Place::First.moved(0, at.passed, at.count).as_ref() == Some(&at.place)
}

/// Where a search begins.
pub(crate) const fn beginning(count: usize) -> Position {
    Position { part: 0, place: Place::First, skip: 0, count, passed: 0 }
}
