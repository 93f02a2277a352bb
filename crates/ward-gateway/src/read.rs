//! Read and vread: fetch, judge, then the record or the uniform 404 (C1–C3, C5, A25).
//!
//! The answer is the same whether the record is absent, deleted, hidden, or not what its address says.
//! A version is released only if it and the current version are visible (C3); both are always asked for.
//! So is a record that cannot be read: too deep, too large, in no strict JSON, or one on which the upstream fails while it
//! answers for others. Whether it can is a question
//! of what is stored, and the operator is told.

use bytes::Bytes;
use http::Response;
use ward_core::Released;
use ward_core::json::JsonError;
use ward_fhir::{Interaction, ResourceView, ViewError};
use ward_net::http::Body;
use ward_policy::{Permit, Residual, Verdict, judge};

use crate::release::{Draft, Record, release};
use crate::{Exchange, Fault, Gateway};

/// What became of one record on the way out.
enum Judged {
    /// It may leave.
    Kept(ResourceView),
    /// It stays, by this rule.
    Dropped(&'static str),
}

impl Gateway {
    /// Answers a read or vread.
    pub(crate) async fn read(
        &self,
        exchange: &Exchange<'_>,
        permit: &Permit,
    ) -> Result<Response<Body>, Fault> {
        let (fetched, current) = match permit.current() {
            None => (self.upstream.read(permit).await?, None),
            Some(current) => {
                let (asked, now) =
                    tokio::join!(self.upstream.read(permit), self.upstream.read(&current));
                (asked?, Some((current, now?)))
            }
        };
        let mut judged = self.judged(permit.residual(), fetched.as_ref());
        if let Some((current, now)) = &current {
            let current = self.judged(current.residual(), now.as_ref());
            judged = match (judged, current) {
                (Judged::Kept(view), Judged::Kept(_)) if is_version(exchange, &view) => {
                    Judged::Kept(view)
                }
                (Judged::Kept(_), Judged::Kept(_)) => Judged::Dropped("ID"),
                (Judged::Kept(_), Judged::Dropped(_)) => Judged::Dropped("C3"),
                (Judged::Dropped(rule), _) => Judged::Dropped(rule),
            };
        }
        match (judged, fetched) {
            (Judged::Kept(view), Some(bytes)) => {
                let record = Record { bytes: bytes.to_vec(), released: released(&view) };
                let draft = Draft { head: Vec::new(), records: vec![record], tail: Vec::new() };
                let event = self.event(exchange, "released");
                release(&self.sink, &self.clock, &self.limits, event, draft, exchange.without_body)
                    .await
            }
            (Judged::Dropped(rule), _) => {
                self.note_refusal(exchange, rule, 404).await?;
                Err(Fault::NotFound)
            }
            (Judged::Kept(_), None) => Err(Fault::NotFound),
        }
    }

    fn judged(&self, residual: &Residual, fetched: Option<&Bytes>) -> Judged {
        let Some(bytes) = fetched else { return Judged::Dropped("NOT-FOUND") };
        let view = std::str::from_utf8(bytes)
            .map_err(|_| ViewError::Json(JsonError::Malformed))
            .and_then(|text| ResourceView::parse(text, &self.bases, &self.limits));
        match view {
            Ok(view) => match judge(residual, &view) {
                Verdict::Keep => Judged::Kept(view),
                Verdict::Drop(rule) => Judged::Dropped(rule),
            },
            Err(error) => {
                self.note_unreadable(&error.to_string());
                Judged::Dropped(match error {
                    ViewError::Owner => "ROSTER",
                    ViewError::Reference => "D4",
                    ViewError::Json(_) => "B6",
                    ViewError::Shape | ViewError::Type => "TYPE",
                })
            }
        }
    }
}

/// Whether a version says that it is the one asked for; a version that does not say is believed.
fn is_version(exchange: &Exchange<'_>, view: &ResourceView) -> bool {
    match (&exchange.request.interaction, &view.version) {
        (Interaction::Vread { vid, .. }, Some(version)) => vid.as_str() == version,
        _ => true,
    }
}

/// The identity of a record, for the log.
pub(crate) fn released(view: &ResourceView) -> Released {
    Released {
        reference: format!("{}/{}", view.rtype, view.id),
        version: view.version.clone(),
        owners: view.owners.iter().cloned().collect(),
        labels: view.labels.clone(),
    }
}
