//! Writes a request anew from its parsed form (A5, D28, D29): one spelling for one meaning.

use super::encode::encode;
use super::{FhirRequest, Interaction, Search, TotalMode};

impl FhirRequest {
    /// Path and query relative to the upstream's base: `Observation/9`, `Observation?code=…`.
    /// Holds neither [`Search::cursor`] nor [`Search::dropped`].
    pub fn upstream_target(&self) -> String {
        match &self.interaction {
            Interaction::Capabilities => "metadata".to_owned(),
            Interaction::Read { rtype, id } => format!("{rtype}/{id}"),
            Interaction::Vread { rtype, id, vid } => format!("{rtype}/{id}/_history/{vid}"),
            Interaction::Search(search) => match search.self_query() {
                query if query.is_empty() => search.rtype.name().to_owned(),
                query => format!("{}?{query}", search.rtype),
            },
        }
    }
}

impl Search {
    /// The query in canonical form, percent-encoded, without dropped names and without `_cursor`:
    /// what `Bundle.link[self]` says (E5).
    pub fn self_query(&self) -> String {
        let mut query = Query(String::new());
        for criterion in &self.criteria {
            let name = query.name(criterion.code);
            if let Some(modifier) = criterion.modifier {
                name.push(':');
                name.push_str(modifier.code());
            }
            name.push('=');
            for (at, value) in criterion.values.iter().enumerate() {
                if at > 0 {
                    name.push(',');
                }
                encode(name, value);
            }
        }
        if let Some(count) = self.count {
            query.pair("_count", &count.to_string());
        }
        if !self.sort.is_empty() {
            let sign = |descending| if descending { "-" } else { "" };
            let keys: Vec<String> = self
                .sort
                .iter()
                .map(|key| format!("{}{}", sign(key.descending), key.code))
                .collect();
            query.pair("_sort", &keys.join(","));
        }
        match self.total {
            TotalMode::Unspecified => {}
            TotalMode::None => query.pair("_total", "none"),
            TotalMode::Estimate => query.pair("_total", "estimate"),
            TotalMode::Accurate => query.pair("_total", "accurate"),
        }
        if self.summary_count {
            query.pair("_summary", "count");
        }
        query.0
    }
}

struct Query(String);

impl Query {
    fn name(&mut self, name: &str) -> &mut String {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        &mut self.0
    }

    /// `value` is made of characters that need no encoding in a query.
    fn pair(&mut self, name: &str, value: &str) {
        let out = self.name(name);
        out.push('=');
        out.push_str(value);
    }
}
