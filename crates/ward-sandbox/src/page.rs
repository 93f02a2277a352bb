//! Searchset Bundles and their paging. A `next` link carries an opaque token of ours with the query as
//! it was understood, the horizon of the first page and the offset: pages never repeat or lose a match,
//! whatever is written meanwhile (FHIR R4 §3.1.0.12.1). Nothing is kept on the server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::outcome::Refusal;
use crate::query;
use crate::search::{Found, Search};
use crate::store::Store;

/// The parameter that carries the token.
pub(crate) const PAGE: &str = "_page";

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    t: String,
    q: String,
    h: u64,
    o: usize,
}

#[derive(Serialize)]
struct Bundle<'a> {
    #[serde(rename = "resourceType")]
    resource_type: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    link: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entry: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Link {
    relation: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "fullUrl")]
    full_url: String,
    resource: &'a RawValue,
    search: Mode,
}

#[derive(Serialize)]
struct Mode {
    mode: &'static str,
}

/// The first page of a search.
pub(crate) fn first(search: &Search, store: &Store, base: &str) -> Result<String, Refusal> {
    page(search, store, store.horizon(), 0, base)
}

/// The page that a `next` link of `rtype` names.
pub(crate) fn next(rtype: &str, token: &str, store: &Store, base: &str) -> Result<String, Refusal> {
    let token: Token = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .filter(|token: &Token| token.t == rtype)
        .ok_or_else(|| Refusal::invalid("The page token is not valid"))?;
    let search = Search::parse(rtype, &query::pairs(&token.q), false)?;
    page(&search, store, token.h, token.o, base)
}

fn page(
    search: &Search,
    store: &Store,
    horizon: u64,
    offset: usize,
    base: &str,
) -> Result<String, Refusal> {
    let shown = offset.saturating_add(search.count);
    let found = search.run(store, horizon, base, shown.saturating_add(1));
    let rtype = &search.rtype;
    let understood = query::write(&search.understood);
    let ask = if understood.is_empty() { "" } else { "?" };
    let mut link = vec![Link { relation: "self", url: format!("{base}/{rtype}{ask}{understood}") }];
    let mut entry = Vec::new();
    if !search.count_only {
        entry = found
            .iter()
            .skip(offset)
            .take(search.count)
            .filter_map(|f| listed(f, rtype, base))
            .collect();
        if shown < found.len() {
            let token = Token { t: rtype.clone(), q: understood, h: horizon, o: shown };
            let json = serde_json::to_vec(&token)
                .map_err(|_| Refusal::new(500, "exception", "The page token cannot be written"))?;
            let url = format!("{base}/{rtype}?{PAGE}={}", URL_SAFE_NO_PAD.encode(json));
            link.push(Link { relation: "next", url });
        }
    }
    let bundle = Bundle {
        resource_type: "Bundle",
        kind: "searchset",
        total: (search.with_total || search.count_only).then_some(found.len()),
        link,
        entry,
    };
    serde_json::to_string(&bundle)
        .map_err(|_| Refusal::new(500, "exception", "The Bundle cannot be written"))
}

fn listed<'s>(found: &Found<'s>, rtype: &str, base: &str) -> Option<Entry<'s>> {
    let body = found.version.body.as_deref()?;
    let resource: &RawValue = serde_json::from_str(body).ok()?;
    let full_url = format!("{base}/{rtype}/{}", found.id);
    Some(Entry { full_url, resource, search: Mode { mode: "match" } })
}
