//! `ward.toml`: what an operator decides.
//!
//! Reading has three steps. The *shape* ([`Config::read`]): every unknown key, missing key and value of the
//! wrong kind, with its line and the way out, all at once. The *meaning* ([`Config::load`]): URLs,
//! scopes and combinations, without opening another file. The *material* ([`material`]): certificates,
//! keys and secrets that it names. Nothing is guessed: what is not understood is refused.

mod certification;
mod changed;
mod context;
mod limits;
pub mod material;
mod meaning;
mod schema;
pub(crate) mod spec;
mod values;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use ward_core::{Limits, Purpose, TenantId};
use ward_policy::{Enforcement, Stance};
use ward_trust::Profile;
use ward_trust::context::UserObject;

pub use certification::Certification;
pub use schema::schema_text;
pub use values::{Span, show_span};

/// Largest configuration file, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// One thing that is wrong, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1, where it is known.
    pub line: Option<usize>,
    /// Full name of the key, as `listen.origin` or `community[0].uri`.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub way: String,
}

impl Problem {
    pub(crate) fn new(
        line: Option<usize>,
        key: &str,
        what: impl Into<String>,
        way: impl Into<String>,
    ) -> Self {
        Self { line, key: plain(key), what: plain(&what.into()), way: plain(&way.into()) }
    }
}

/// The file's own words in one line, whatever they hold.
fn plain(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return write!(f, "{}; {}", self.what, self.way);
        }
        write!(f, "`{}` {}; {}", self.key, self.what, self.way)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}; `ward init DIR` writes one", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It says something that cannot be done.
    #[error("{}", all(path, problems))]
    Faulty {
        /// Which.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
}

/// All problems, one a line, each with file and line.
fn all(path: &Path, problems: &[Problem]) -> String {
    let one = |problem: &Problem| match problem.line {
        Some(line) => format!("{}:{line}: {problem}", path.display()),
        None => format!("{}: {problem}", path.display()),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Whether refusals block. Without a word it is `enforce`: deny by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Decide and log, block nothing.
    Observe,
    /// Block what the rules refuse.
    #[default]
    Enforce,
}

impl Mode {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// `ward.toml`. The documentation of each key stands in the schema.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the keys are documented once, in spec.rs, for people and schema alike"
)]
pub struct Config {
    #[serde(default)]
    pub mode: Mode,
    #[serde(default = "default_data")]
    pub data: PathBuf,
    pub listen: Listen,
    pub upstream: Upstream,
    pub community: Vec<Community>,
    pub scopes: Scopes,
    #[serde(default)]
    pub detection: Detection,
    #[serde(default)]
    pub admin: Admin,
    pub keys: Keys,
    #[serde(default)]
    pub diagnostics: Diagnostics,
    #[serde(default)]
    pub observe: Observe,
    #[serde(default, deserialize_with = "limits::deserialize")]
    pub limits: Limits,
    #[serde(skip)]
    file: PathBuf,
    #[serde(skip)]
    lines: walk::Lines,
    #[serde(skip)]
    said: changed::Said,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Listen {
    pub address: SocketAddr,
    pub origin: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    #[serde(default)]
    pub tls12: bool,
}

/// `[upstream]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Upstream {
    pub base: String,
    #[serde(default)]
    pub allow_private: bool,
    pub ca: Option<PathBuf>,
    pub authorization_file: Option<PathBuf>,
}

/// `[[community]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Community {
    pub uri: String,
    pub anchors: PathBuf,
    pub intermediates: Option<PathBuf>,
    pub issuing: Option<PathBuf>,
    pub certificate: PathBuf,
    pub key: PathBuf,
    #[serde(default = "default_purposes")]
    pub purposes: Vec<Purpose>,
    #[serde(default = "default_organization_schemes")]
    pub organization_schemes: Vec<String>,
    #[serde(default = "default_grace")]
    pub revocation_grace: Span,
    #[serde(default, deserialize_with = "context::profile")]
    pub profile: Profile,
    pub max_purposes: Option<usize>,
    #[serde(default)]
    pub bare_purposes: bool,
    #[serde(default)]
    pub subject_id_systems: Vec<String>,
    #[serde(default)]
    pub subject_roles: Vec<String>,
    #[serde(default)]
    pub consent_policies: Vec<String>,
    #[serde(default)]
    pub consent_required: Vec<String>,
    pub consent_form: Option<String>,
    #[serde(default)]
    pub unknown_extensions: Unknown,
    #[serde(default, deserialize_with = "context::user_object")]
    pub hl7_b2b_user: UserObject,
    #[serde(default)]
    pub identity_provider: Vec<IdentityProvider>,
    #[serde(default)]
    pub policies: Vec<String>,
    #[serde(default)]
    pub uri_prefixes: Vec<String>,
    #[serde(default = "yes")]
    pub require_revocation: bool,
    #[serde(default)]
    pub allow_private: Vec<String>,
    pub bundle: Option<String>,
    #[serde(default)]
    pub certification: Vec<Certification>,
    pub signals_from: Option<String>,
}

/// `[[community.identity_provider]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct IdentityProvider {
    pub issuer: String,
    pub jwks: PathBuf,
    pub audiences: Vec<String>,
    #[serde(default = "default_identity_age")]
    pub max_age: Span,
}

/// What becomes of unknown extension objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// They are ignored.
    #[default]
    Ignore,
    /// The request is refused.
    Refuse,
}

impl Community {
    /// What an operator should know of its profile.
    pub(crate) fn profile_notes(&self) -> Vec<String> {
        context::notes(self)
    }

    /// Where its trust bundle comes from.
    pub fn bundle_source(&self) -> Option<crate::bundle_pull::Source> {
        self.bundle.as_deref().map(crate::bundle_pull::Source::of)
    }
}

/// `[scopes]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Scopes {
    pub supported: Vec<String>,
}

/// `[detection]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Detection {
    #[serde(default = "default_patients")]
    pub patients: u32,
    #[serde(default = "default_window")]
    pub window: Span,
    #[serde(default)]
    pub purposes: BTreeMap<Purpose, CeilingFor>,
}

/// `[detection.purposes.CODE]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct CeilingFor {
    pub patients: u32,
    pub window: Span,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Admin {
    #[serde(default = "default_admin")]
    pub address: SocketAddr,
}

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Keys {
    pub key_file: Option<PathBuf>,
    pub passphrase_file: Option<PathBuf>,
}

/// Form of the diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[diagnostics]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Diagnostics {
    #[serde(default)]
    pub format: Format,
    #[serde(default = "default_level")]
    pub level: String,
}

/// `[observe]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Observe {
    #[serde(default)]
    pub clients: BTreeMap<String, Mode>,
    #[serde(default)]
    pub rules: BTreeMap<String, Mode>,
}

const fn yes() -> bool {
    true
}
fn default_data() -> PathBuf {
    "data".into()
}
fn default_purposes() -> Vec<Purpose> {
    vec![Purpose::Treatment]
}
fn default_organization_schemes() -> Vec<String> {
    vec!["urn:oid:".to_owned(), "https:".to_owned()]
}
const fn default_grace() -> Span {
    Span(std::time::Duration::from_hours(24))
}
const fn default_identity_age() -> Span {
    Span(std::time::Duration::from_hours(1))
}
const fn default_patients() -> u32 {
    500
}
const fn default_window() -> Span {
    Span(std::time::Duration::from_hours(1))
}
fn default_admin() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8444))
}
fn default_level() -> String {
    "info".to_owned()
}

impl Default for Detection {
    fn default() -> Self {
        Self { patients: default_patients(), window: default_window(), purposes: BTreeMap::new() }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: default_admin() }
    }
}

impl Default for Diagnostics {
    fn default() -> Self {
        Self { format: Format::default(), level: default_level() }
    }
}

impl Config {
    /// The configuration in a file whose shape and meaning are right. Certificates and keys that it
    /// names are not opened: [`material::gather`] does that.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config = Self::read(path)?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(config.faulty(problems)) }
    }

    /// The configuration in a file whose shape is right.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
        let mut text = String::new();
        let file = fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(unreadable(std::io::Error::other("larger than 1 MiB")));
        }
        let mut config = Self::parse(&text)
            .map_err(|problems| ConfigError::Faulty { path: path.to_path_buf(), problems })?;
        config.file = path.to_path_buf();
        config.anchor_paths(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// The configuration in a text whose shape is right; paths stay as they are written.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let syntax = |error: toml::de::Error| {
            let line = error.span().map(|span| walk::line_at(text, span.start));
            vec![Problem::new(line, "", one_line(error.message()), "mend the line")]
        };
        let table = toml::de::DeTable::parse(text).map_err(syntax)?;
        let mut walk = walk::Walk::new(text);
        walk.table(table.get_ref(), &spec::ROOT, "", 1);
        if !walk.problems.is_empty() {
            let mut problems = walk.problems;
            problems.sort_by_key(|problem| problem.line);
            return Err(problems);
        }
        let mut config: Self = toml::from_str(text).map_err(syntax)?;
        config.lines = walk.lines;
        config.said = changed::said(text);
        Ok(config)
    }

    /// Everything in it that makes no sense, without opening another file.
    pub fn problems(&self) -> Vec<Problem> {
        meaning::problems(self)
    }

    /// The error that names these problems.
    pub fn faulty(&self, problems: Vec<Problem>) -> ConfigError {
        ConfigError::Faulty { path: self.file.clone(), problems }
    }

    /// The file that it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A problem with one key, at its line.
    pub(crate) fn problem(
        &self,
        key: &str,
        what: impl Into<String>,
        way: impl Into<String>,
    ) -> Problem {
        Problem::new(self.lines.get(key).copied(), key, what, way)
    }

    /// The one tenant.
    pub fn tenant(&self) -> TenantId {
        TenantId::default_tenant()
    }

    /// Public FHIR base: what certificates must name.
    pub fn fhir_base(&self) -> String {
        format!("{}/{}/fhir", self.listen.origin, self.tenant())
    }

    /// The keys that the other file sets otherwise, adds or leaves out.
    pub fn changed(&self, new: &Self) -> Vec<String> {
        changed::between(&self.said, &new.said)
    }

    /// What is enforced. Only `mode = "observe"` makes one that waives anything.
    pub fn enforcement(&self) -> Enforcement {
        if self.mode == Mode::Enforce {
            return Enforcement::full();
        }
        let clients = self.observe.clients.iter().map(|(name, mode)| {
            let stance = match mode {
                Mode::Observe => Stance::Observe,
                Mode::Enforce => Stance::Enforce,
            };
            (name.clone(), stance)
        });
        let rules = self.observe.rules.iter().filter(|(_, mode)| **mode == Mode::Enforce);
        Enforcement::observing(clients, rules.map(|(rule, _)| rule.clone()))
    }

    /// What this configuration changes that only a restart can change.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let mut named = Vec::new();
        let mut differs = |same: bool, key: &str| {
            if !same {
                named.push(key.to_owned());
            }
        };
        differs(self.data == new.data, "data");
        differs(self.listen.address == new.listen.address, "listen.address");
        differs(self.listen.origin == new.listen.origin, "listen.origin");
        differs(self.upstream == new.upstream, "upstream");
        differs(self.admin == new.admin, "admin.address");
        differs(self.keys == new.keys, "keys");
        differs(self.diagnostics == new.diagnostics, "diagnostics");
        differs(self.scopes == new.scopes, "scopes.supported");
        let private = |config: &Self| {
            config.community.iter().flat_map(|one| one.allow_private.clone()).collect::<Vec<_>>()
        };
        differs(private(self) == private(new), "community.allow_private");
        named.extend(
            limits::changed(&self.limits, &new.limits).iter().map(|name| format!("limits.{name}")),
        );
        named
    }

    /// Relative paths start at the directory of the file.
    fn anchor_paths(&mut self, dir: &Path) {
        let anchor = |path: &mut PathBuf| *path = dir.join(&path);
        anchor(&mut self.data);
        anchor(&mut self.listen.certificate);
        anchor(&mut self.listen.key);
        let optional = [
            &mut self.upstream.ca,
            &mut self.upstream.authorization_file,
            &mut self.keys.key_file,
            &mut self.keys.passphrase_file,
        ];
        optional.into_iter().flatten().for_each(anchor);
        for community in &mut self.community {
            anchor(&mut community.anchors);
            anchor(&mut community.certificate);
            anchor(&mut community.key);
            [&mut community.intermediates, &mut community.issuing]
                .into_iter()
                .flatten()
                .for_each(anchor);
            community.identity_provider.iter_mut().map(|one| &mut one.jwks).for_each(anchor);
            community
                .certification
                .iter_mut()
                .filter_map(|one| one.anchors.as_mut())
                .for_each(anchor);
            if let Some(crate::bundle_pull::Source::File(path)) = community.bundle_source() {
                community.bundle = Some(dir.join(path).to_string_lossy().into_owned());
            }
        }
    }
}

/// Reads a span of time from the command line.
pub(crate) fn parse_since(text: &str) -> Result<std::time::Duration, String> {
    values::parse_span(text)
        .ok_or_else(|| "write a number and its unit, as 30m, 24h or 7d".to_owned())
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
