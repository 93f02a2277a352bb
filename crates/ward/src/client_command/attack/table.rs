//! The bad inputs of `udap.md` §7 as rows: the ones of our own tests, and which of them one identity can send.
//!
//! A row starts from a good request and says what differs. `claims`, `header`, `body` and `form` are merged (null
//! removes); a text that starts with `=` is computed: `=now+301`, `=register`, `=token`, `=base`, `=iss`, `=client`.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ward_trust::Alg;

const REGISTRATION: &str = include_str!("../../../tests/data/registration.jsonl");
const TOKEN: &str = include_str!("../../../tests/data/token.jsonl");

/// What the rows were written for, and is exchanged for the operator's own.
const WRITTEN_SCOPE: &str = "system/Patient.rs";
const WRITTEN_ORGANIZATION: &str = "https://partner.example/org";
const WRITTEN_URI: &str = "https://partner.example/app";

/// Rows whose answer is the server's configuration to choose: scopes, grants, purposes, organisations, known issuers.
const CONFIGURED: [&str; 10] =
    ["X26", "P16", "REG-12", "REG-20", "TOK-20", "B07", "B08", "B09", "B14", "B2B-09"];

/// One row.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) what: String,
    pub(super) status: u16,
    pub(super) error: Option<String>,
    pub(super) method: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) headers: Map<String, Value>,
    pub(super) body: Map<String, Value>,
    pub(super) raw_body: Option<String>,
    pub(super) form: Map<String, Value>,
    pub(super) twice: Option<String>,
    pub(super) claims: Map<String, Value>,
    pub(super) raw_claims: Option<String>,
    pub(super) header: Map<String, Value>,
    pub(super) raw_header: Option<String>,
    pub(super) x5c: Option<String>,
    pub(super) twist: Option<String>,
    /// Sent twice; the second answer counts.
    pub(super) again: bool,
    pub(super) member: Option<String>,
    pub(super) signer: Option<String>,
    pub(super) rules: Option<String>,
}

/// A row that is not sent, and why.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) id: String,
    pub(super) what: String,
    pub(super) why: &'static str,
}

/// What decides which rows can be sent.
pub(super) struct Own<'a> {
    pub(super) uri: &'a str,
    pub(super) organization: &'a str,
    pub(super) scope: &'a str,
    pub(super) alg: Alg,
    /// Certificates in `x5c`.
    pub(super) chain: usize,
    /// Whether requests that Ward accepts are sent too.
    pub(super) accepted: bool,
}

/// The rows that can be sent with one identity, those of registration and those of tokens.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) registration: Vec<Row>,
    pub(super) token: Vec<Row>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Tables {
    pub(super) fn select(own: &Own<'_>) -> Self {
        let mut all = Self::default();
        all.registration = own.rows(REGISTRATION, &mut all.left_out);
        all.token = own.rows(TOKEN, &mut all.left_out);
        all
    }
}

impl Own<'_> {
    fn rows(&self, table: &str, left_out: &mut Vec<LeftOut>) -> Vec<Row> {
        let scope = self.scope.split(' ').next().unwrap_or_default();
        let text = table.replace(WRITTEN_SCOPE, &in_json(scope));
        let text = text.replace(WRITTEN_ORGANIZATION, &in_json(self.organization));
        let mut rows = Vec::new();
        for line in text.lines() {
            let Ok(row) = serde_json::from_str::<Row>(line) else {
                left_out.push(LeftOut {
                    id: "?".to_owned(),
                    what: "a row that this mode does not read".to_owned(),
                    why: "it is written in another way",
                });
                continue;
            };
            match self.hindrance(&row) {
                Some(why) => left_out.push(LeftOut { id: row.id, what: row.what, why }),
                None => rows.push(row),
            }
        }
        rows
    }

    /// Why a row cannot be sent, or would not say anything.
    fn hindrance(&self, row: &Row) -> Option<&'static str> {
        let text = |members: &Map<String, Value>, name: &str| {
            members.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
        };
        if row.rules.is_some() {
            return Some("it needs other rules of the community");
        }
        if row.member.is_some() || row.signer.is_some() {
            return Some("it needs a certificate or key of somebody else");
        }
        let rsa = matches!(self.alg, Alg::Rs256 | Alg::Rs384);
        match row.twist.as_deref() {
            Some("hs256" | "hs256-pem") => {
                return Some("it needs a MAC keyed with the certificate");
            }
            Some("der" | "zero" | "zero-r" | "zero-s") if rsa => {
                return Some("it needs an ECDSA key");
            }
            Some("trailing-bits") if self.alg == Alg::Es384 => {
                return Some("signatures of this key have no unused bits");
            }
            _ => {}
        }
        if self.chain < 2 && matches!(row.x5c.as_deref(), Some("reversed" | "leaf-only")) {
            return Some("it needs a chain of two certificates");
        }
        if text(&row.header, "alg").is_some_and(|alg| alg == self.alg.name()) {
            return Some("it is good with this kind of key");
        }
        let iss = text(&row.claims, "iss");
        if row.id == "R27"
            && self.uri != WRITTEN_URI
            && iss.is_some_and(|iss| !iss.starts_with('='))
        {
            return Some("it is written for the URI of our tests");
        }
        let immunization = self.scope.contains("Immunization") || self.scope.contains('*');
        if CONFIGURED.contains(&row.id.as_str())
            || row.id == "T31" && (row.status < 400 || immunization)
        {
            return Some("the server's configuration decides");
        }
        if row.status < 400 && !self.accepted {
            return Some("it is a good request in Ward's reading; sent with --exact");
        }
        None
    }
}

/// The inside of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted.trim_matches('"').to_owned()
}

/// Words that rows refer to.
pub(super) struct Words {
    pub(super) now: i64,
    pub(super) register: String,
    pub(super) token: String,
    pub(super) base: String,
    pub(super) iss: String,
    pub(super) client: String,
}

impl Words {
    /// `None`: a word that is not known, or that means nothing at this server.
    fn resolve(&self, value: &Value) -> Option<Value> {
        match value {
            Value::String(text) => match text.strip_prefix('=') {
                Some(word) => self.word(word),
                None => Some(value.clone()),
            },
            Value::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, item)| Some((name.clone(), self.resolve(item)?)))
                .collect::<Option<Map<_, _>>>()
                .map(Value::Object),
            other => Some(other.clone()),
        }
    }

    fn word(&self, word: &str) -> Option<Value> {
        if let Some(offset) = word.strip_prefix("now") {
            let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
            return Some(json!(self.now.checked_add(offset)?));
        }
        if let Some(count) = word.strip_prefix("long:") {
            return Some(json!("x".repeat(count.parse().ok()?)));
        }
        let (name, rest) = word.split_at(word.find(['/', '?', '#']).unwrap_or(word.len()));
        let other = |known: &str, changed: String| (changed != known).then_some(changed);
        let text = match name {
            "register" => self.register.clone(),
            "token" => self.token.clone(),
            "base" => self.base.clone(),
            "iss" => self.iss.clone(),
            "client" => self.client.clone(),
            "other-tenant" => other(&self.token, self.token.replace("/default/", "/other/"))?,
            "http-register" => other(&self.register, self.register.replacen("https:", "http:", 1))?,
            "http-token" => other(&self.token, self.token.replacen("https:", "http:", 1))?,
            _ => return None,
        };
        Some(json!(format!("{text}{rest}")))
    }

    /// Merges a patch (RFC 7386 at the first level) into `onto`.
    pub(super) fn merge(
        &self,
        onto: &mut Map<String, Value>,
        patch: &Map<String, Value>,
    ) -> Option<()> {
        for (name, value) in patch {
            if value.is_null() {
                onto.remove(name);
            } else {
                onto.insert(name.clone(), self.resolve(value)?);
            }
        }
        Some(())
    }

    /// Replaces `{word}` in raw text.
    pub(super) fn fill(&self, text: &str) -> String {
        let words = [
            ("register", &self.register),
            ("token", &self.token),
            ("base", &self.base),
            ("iss", &self.iss),
            ("client", &self.client),
        ];
        let mut out = text.to_owned();
        for (name, word) in words {
            out = out.replace(&format!("{{{name}}}"), word);
        }
        for offset in [-400, -10, 0, 60, 120, 300] {
            out = out.replace(&format!("{{now{offset:+}}}"), &(self.now + offset).to_string());
        }
        out
    }
}
