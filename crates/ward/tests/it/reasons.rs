//! Why a row was refused. A status and an error code are the same for many rules, so a row could be refused for another
//! reason than its own, and go on passing when its own rule is gone. The issuer tells its diagnostics which rule decided;
//! `tests/data/reasons.jsonl` says which it must be.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Mutex, Once};

use serde::Deserialize;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::harness::Answer;

/// Rules by correlation id, as the diagnostics of this process named them.
static TOLD: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

struct Listening;

#[derive(Default)]
struct Refused {
    correlation: Option<String>,
    rule: Option<String>,
}

impl tracing::field::Visit for Refused {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == "rule" {
            self.rule = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        if field.name() == "correlation" {
            self.correlation = Some(format!("{value:?}"));
        }
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Listening {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("ward_issuer") {
            return;
        }
        let mut refused = Refused::default();
        event.record(&mut refused);
        if let Refused { correlation: Some(correlation), rule: Some(rule) } = refused {
            TOLD.lock().unwrap().get_or_insert_default().insert(correlation, rule);
        }
    }
}

/// The rule by which an answer of the issuer refuses.
pub fn of(answer: &Answer) -> Option<String> {
    let correlation = answer.header("x-correlation-id")?;
    TOLD.lock().unwrap().as_ref()?.get(correlation).cloned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    table: String,
    id: String,
    what: String,
    /// One, or several of which each is right.
    rules: Vec<String>,
}

/// The reasons of one table; what it finds is told by [`Reasons::end`].
pub struct Reasons {
    table: &'static str,
    known: HashMap<(String, String), Vec<String>>,
    wrong: Vec<String>,
    found: Vec<String>,
    seen: HashSet<(String, String)>,
}

impl Reasons {
    /// From now on the diagnostics are listened to.
    pub fn new(table: &'static str) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let _ = tracing_subscriber::registry().with(Listening).try_init();
        });
        let known = include_str!("../data/reasons.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
            .filter(|reason: &Reason| reason.table == table)
            .map(|reason| ((reason.id, reason.what), reason.rules))
            .collect();
        Self { table, known, wrong: vec![], found: vec![], seen: HashSet::new() }
    }

    /// Looks at the answer to a row.
    pub fn check(&mut self, id: &str, what: &str, answer: &Answer) {
        let Some(rule) = of(answer) else { return };
        let row = serde_json::json!({
            "table": self.table, "id": id, "what": what, "rules": [rule],
        });
        self.found.push(row.to_string());
        let key = (id.to_owned(), what.to_owned());
        let Some(wanted) = self.known.get(&key) else { return };
        self.seen.insert(key);
        if !wanted.contains(&rule) {
            self.wrong.push(format!("{id} ({what}): refused by {rule}, not by {wanted:?}"));
        }
    }

    /// `WARD_REASONS=FILE` writes down what was found, for whoever adds rows and has judged that each is right.
    pub fn end(self) {
        if let Some(file) = std::env::var_os("WARD_REASONS") {
            let place = std::path::Path::new(&file).with_extension(self.table);
            std::fs::write(place, self.found.join("\n") + "\n").unwrap();
        }
        println!("{}: {} answers by the rule that they are for", self.table, self.seen.len());
        assert!(self.wrong.is_empty(), "{}:\n{}", self.table, self.wrong.join("\n"));
        let gone = self.known.keys().filter(|row| !self.seen.contains(*row));
        let gone: Vec<_> = gone.map(|(id, what)| format!("{id} ({what})")).collect();
        assert!(
            gone.is_empty(),
            "reasons.jsonl names rows that {} does not have, or that are accepted; were they renamed?\n{}",
            self.table,
            gone.join("\n")
        );
    }
}
