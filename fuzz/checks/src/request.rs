//! The request grammar (`enforcement.md` §2.A, 2.B, 2.D): whatever is understood is written anew in one
//! spelling that is understood as the same, and nothing else goes upstream.
//!
//! Input: lines `method`, `path`, `query`, `content type`, `accept`, `prefer`, then the body. A line that
//! is a lone `-` is absent.

use ward_core::{FhirVersion, Limits};
use ward_fhir::{FhirRequest, Interaction, RawRequest};

const BASE: &str = "https://gw.example/default/fhir";

/// See the module.
pub fn check(data: &[u8]) -> bool {
    let mut lines = data.splitn(7, |b| *b == b'\n');
    let mut line = || lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or("");
    let (method, path) = (line(), line());
    let mut field = || Some(line()).filter(|text| *text != "-");
    let (query, content_type, accept, prefer) = (field(), field(), field(), field());
    let body = lines.next().unwrap_or_default();
    let limits = Limits::default();
    let raw = RawRequest { base: BASE, method, path, query, content_type, body, accept, prefer };
    let mut request = match FhirRequest::parse(FhirVersion::R4, &raw, &limits) {
        Ok(request) => request,
        Err(refusal) => {
            assert!((400..=501).contains(&refusal.status), "{refusal:?}");
            assert!(!refusal.rule.is_empty() && !refusal.text.is_empty(), "{refusal:?}");
            assert_eq!(refusal.status == 405, refusal.allow.is_some(), "{refusal:?}");
            return false;
        }
    };
    if let Interaction::Search(search) = &mut request.interaction {
        assert!(search.criteria.len() <= limits.search_parameters);
        assert!(search.count != Some(0));
        for criterion in &search.criteria {
            assert!(!criterion.values.is_empty() && criterion.values.len() <= limits.search_values);
        }
        search.cursor = None;
        search.dropped.clear();
    }
    let target = request.upstream_target();
    assert!(target.bytes().all(|b| b.is_ascii_graphic() && b != b'#'), "{target}");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target.as_str(), None),
    };
    // No server may resolve it to another path.
    assert!(path.split('/').all(|word| !matches!(word, "" | "." | "..")), "{target}");
    let path = format!("/{path}");
    let again =
        RawRequest { base: BASE, method: "GET", path: &path, query, ..RawRequest::default() };
    // What is written can be longer than what was read, by its encoding; only then may it be refused.
    let roomy = Limits { target_bytes: limits.target_bytes * 8, ..limits };
    let again = FhirRequest::parse(FhirVersion::R4, &again, &roomy);
    assert_eq!(again.as_ref(), Ok(&request), "{target}");
    true
}
