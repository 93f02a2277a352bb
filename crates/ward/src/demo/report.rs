//! What the walk says: one line a step for a person, one JSON object a step for a script.

use std::time::Duration;

use serde::Serialize;

use crate::ui::Ui;

/// One step and its outcome.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// Its name, which a script can rely on.
    #[serde(rename = "step")]
    pub(crate) name: &'static str,
    /// What was tried.
    pub(crate) tried: String,
    /// What should come back.
    pub(crate) expected: String,
    /// What came back.
    pub(crate) got: String,
    /// Why that is right.
    pub(crate) why: &'static str,
    /// Whether it came back as expected.
    pub(crate) ok: bool,
    /// Milliseconds that it took.
    pub(crate) millis: u64,
    /// Measured or shown things, for scripts.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub(crate) facts: serde_json::Map<String, serde_json::Value>,
}

/// All steps so far.
pub(crate) struct Report {
    ui: Ui,
    steps: Vec<Step>,
}

impl Report {
    pub(crate) const fn new(ui: Ui) -> Self {
        Self { ui, steps: Vec::new() }
    }

    pub(crate) fn working_on(&self, tried: &str) {
        self.ui.progress(tried);
    }

    pub(crate) fn add(&mut self, step: Step) {
        self.ui.clear();
        if self.ui.json() {
            self.ui.line(&serde_json::to_string(&step).unwrap_or_default());
        } else {
            let mark = if step.ok { self.ui.good("✓") } else { self.ui.bad("✗") };
            let number = self.steps.len() + 1;
            self.ui.line(&format!("{mark} {number:>2} {}", self.ui.bold(step.name)));
            self.ui.paragraph("     tried: ", &step.tried, Ui::plain);
            self.ui.paragraph("     got:   ", &step.got, if step.ok { Ui::plain } else { Ui::bad });
            if step.ok {
                self.ui.paragraph("     why:   ", step.why, Ui::dim);
            } else {
                self.ui.paragraph("     expected: ", &step.expected, Ui::plain);
            }
        }
        self.steps.push(step);
    }

    /// Further lines for a person below the last step.
    pub(crate) fn detail(&self, text: &str) {
        if !self.ui.json() {
            for line in text.lines() {
                self.ui.line(&format!("       {}", self.ui.dim(line)));
            }
        }
    }

    pub(crate) fn ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    pub(crate) fn summary(&self, took: Duration) {
        if self.ui.json() {
            return;
        }
        let failed: Vec<&str> =
            self.steps.iter().filter(|step| !step.ok).map(|step| step.name).collect();
        let text = if failed.is_empty() {
            self.ui.good(&format!(
                "all {} steps as expected in {:.1} s",
                self.steps.len(),
                took.as_secs_f64()
            ))
        } else {
            self.ui.bad(&format!("not as expected: {}", failed.join(", ")))
        };
        self.ui.line(&text);
    }
}
