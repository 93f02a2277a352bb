//! Which keys two configuration files set differently. Names only: values stay where they are.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// What a file says: keys by their full name, as `community[0].uri`, with their values.
pub(super) type Said = BTreeMap<String, Value>;

/// What a text says; nothing if it is no TOML.
pub(super) fn said(text: &str) -> Said {
    let mut said = Said::new();
    if let Ok(table) = text.parse::<Table>() {
        tables(&table, "", &mut said);
    }
    said
}

fn tables(table: &Table, path: &str, said: &mut Said) {
    for (name, value) in table {
        let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Table(inner) => tables(inner, &full, said),
            Value::Array(items) if items.iter().all(Value::is_table) && !items.is_empty() => {
                for (at, item) in items.iter().filter_map(Value::as_table).enumerate() {
                    tables(item, &format!("{full}[{at}]"), said);
                }
            }
            _ => {
                said.insert(full, value.clone());
            }
        }
    }
}

/// The keys that differ.
pub(super) fn between(old: &Said, new: &Said) -> Vec<String> {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let differ = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    let mut names: Vec<String> = gone.chain(differ.map(|(key, _)| key)).cloned().collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_otherwise_added_or_left_out_is_named() {
        let old = "a = 1\n[b]\nc = [\"x\"]\nd = 2\n[[e]]\nf = 1\n";
        let new = "a = 1 # same\n[b]\nc = [\"x\", \"y\"]\n[[e]]\nf = 1\n[[e]]\nf = 2\n";
        let names = between(&said(old), &said(new));
        assert_eq!(names, ["b.c", "b.d", "e[1].f"]);
        assert!(between(&said(old), &said(old)).is_empty());
    }
}
