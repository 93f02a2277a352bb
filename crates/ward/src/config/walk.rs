//! Holds a TOML document against the table of what it may say, and collects every fault with its line:
//! unknown keys with the nearest right one, missing keys, values of the wrong kind.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::limits::in_base;
use super::spec::{Kind, Need, Section, places, quoted};

/// Keys by their full name, as `community[0].uri`, with the line on which each stands.
pub(crate) type Lines = BTreeMap<String, usize>;

/// Collects faults.
pub(super) struct Walk<'a> {
    text: &'a str,
    pub(super) lines: Lines,
    pub(super) problems: Vec<Problem>,
}

/// The line of an octet, from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The word that is nearest to `wrong`, if it is near enough to be meant.
pub(super) fn nearest<'a>(
    wrong: &str,
    right: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = wrong.to_ascii_lowercase().replace('-', "_");
    right
        .into_iter()
        .map(|word| (strsim::osa_distance(&wrong, &word.to_ascii_lowercase()), word))
        .filter(|(distance, word)| {
            *distance <= (word.len() / 3).max(1)
                || (wrong.len() > 3 && (word.starts_with(&wrong) || wrong.starts_with(word)))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, lines: Lines::new(), problems: Vec::new() }
    }

    fn fault(&mut self, line: usize, key: &str, what: impl Into<String>, way: impl Into<String>) {
        self.problems.push(Problem::new(Some(line), key, what, way));
    }

    /// One table; `line` is where it begins.
    pub(super) fn table(
        &mut self,
        table: &DeTable<'_>,
        section: &Section,
        path: &str,
        line: usize,
    ) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let full = join(path, name);
            let line = line_at(self.text, key.span().start);
            self.lines.insert(full.clone(), line);
            match section.fields.iter().find(|field| field.name == name) {
                Some(field) => self.value(value, &field.kind, &full, line),
                None => self.unknown(name, section, &full, line),
            }
        }
        for field in section.fields {
            if matches!(field.need, Need::Required) && !table.contains_key(field.name) {
                let full = join(path, field.name);
                self.fault(line, &full, "is missing", format!("add it: {}", field.doc));
            }
        }
    }

    fn unknown(&mut self, name: &str, section: &Section, full: &str, line: usize) {
        let names = || section.fields.iter().map(|field| field.name);
        let way = match nearest(name, names()) {
            Some(right) => format!("did you mean `{right}`?"),
            None => match places(name, section).first() {
                Some(place) => format!("it belongs elsewhere: `{place}`"),
                None => format!("known here are: {}", names().collect::<Vec<_>>().join(", ")),
            },
        };
        self.fault(line, full, "is no key that Ward knows", way);
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, kind: &Kind, full: &str, line: usize) {
        let wrong = |walk: &mut Self| {
            let found = value.get_ref().type_str();
            let way = format!("write {}", kind.expects());
            walk.fault(line, full, format!("is {found}"), way);
        };
        match (kind, value.get_ref()) {
            (Kind::Text | Kind::Path, DeValue::String(text)) => {
                if text.trim().is_empty() {
                    self.fault(line, full, "is empty", "give it a value");
                }
            }
            (Kind::Flag, DeValue::Boolean(_)) => {}
            (Kind::Address, DeValue::String(text)) => {
                if text.parse::<std::net::SocketAddr>().is_err() {
                    let what = format!("is \"{text}\", which is no address with a port");
                    self.fault(line, full, what, "write as \"0.0.0.0:443\" or \"[::1]:8443\"");
                }
            }
            (Kind::Choice(words), DeValue::String(text)) => {
                if !words.contains(&text.as_ref()) {
                    let way = match nearest(text, words.iter().copied()) {
                        Some(right) => format!("did you mean \"{right}\"?"),
                        None => format!("write one of {}", quoted(words)),
                    };
                    self.fault(line, full, format!("is \"{text}\""), way);
                }
            }
            (Kind::Count { .. } | Kind::Size { .. } | Kind::Span { .. }, found) => {
                let number = found
                    .as_integer()
                    .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
                if let Err(what) = in_base(kind, number, found.as_str()) {
                    self.fault(line, full, what, "change it, or leave it out for the default");
                }
            }
            (Kind::List(item), DeValue::Array(items)) => {
                for (at, one) in items.iter().enumerate() {
                    let line = line_at(self.text, one.span().start);
                    self.value(one, item, &format!("{full}[{at}]"), line);
                }
            }
            (Kind::Table(section), DeValue::Table(table)) => self.table(table, section, full, line),
            (Kind::Tables(section), DeValue::Array(items)) => {
                for (at, one) in items.iter().enumerate() {
                    let line = line_at(self.text, one.span().start);
                    match one.get_ref() {
                        DeValue::Table(table) => {
                            self.table(table, section, &format!("{full}[{at}]"), line);
                        }
                        _ => wrong(self),
                    }
                }
            }
            (Kind::Map(keys, item), DeValue::Table(table)) => {
                for (key, one) in table {
                    let name = key.get_ref().as_ref();
                    let inner = join(full, name);
                    let line = line_at(self.text, key.span().start);
                    self.lines.insert(inner.clone(), line);
                    match keys {
                        Some(keys) if !keys.contains(&name) => {
                            let way = format!("known here are: {}", quoted(keys));
                            self.fault(line, &inner, "is no key that Ward knows", way);
                        }
                        _ => self.value(one, item, &inner, line),
                    }
                }
            }
            _ => wrong(self),
        }
    }
}
