//! Is this normal.
//!
//! Streaming detection over the event stream (rule 7: a reader of the log, it keeps no second
//! account). For now one explainable measure: how many distinct patients a client has touched for
//! one purpose within a sliding window, against the ceiling set for that purpose
//! (`detection.md` §3.a, the volume template). A finding is an event like any other; `ward-respond`
//! reads it from the same stream. This room blocks nothing itself.

mod detector;
mod runner;

pub use detector::{Ceiling, CeilingDial, Ceilings, Detector, Finding, RULE_DISTINCT_PATIENTS};
pub use runner::Watch;
