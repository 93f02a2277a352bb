//! Whether what the rules refuse is blocked, or only observed (`mode`, `[observe]`).
//!
//! A refusal is waived only by a [`Waiver`], and only [`Enforcement::waive`] of an enforcement that observes
//! makes one: under `mode = "enforce"` there is no way to have it. The gateway passes nothing unjudged
//! without one, as it forwards nothing without a [`crate::Permit`].
//! Deny wins: a rule that is enforced is enforced for everybody, and a caller for whom anything says
//! enforce is enforced, whatever else says observe.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ward_core::{ClientId, ClientUri};

/// Whether refusals block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// Decide and log, block nothing.
    Observe,
    /// Block what the rules refuse.
    Enforce,
}

/// Whose request it is, for the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Nobody whom Ward knows: no token, or none of Ward's.
    Anonymous,
    /// A registered client, also if its token has ended.
    Client {
        /// By its id.
        id: ClientId,
        /// By the URI that its certificate proves, which outlives the id.
        uri: &'a ClientUri,
    },
}

/// How callers without a token are named in `[observe.clients]`.
pub const ANONYMOUS: &str = "anonymous";
/// How all callers that are not named are named in `[observe.clients]`.
pub const EVERYBODY_ELSE: &str = "*";

/// What is enforced. [`Enforcement::default`] enforces everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enforcement(Option<Exceptions>);

/// What differs from observing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Exceptions {
    clients: BTreeMap<String, Stance>,
    rules: BTreeSet<String>,
}

/// Leave to let one request through although a rule refuses it. Made here only, by an enforcement that
/// observes both the caller and the rule.
#[derive(Debug)]
#[must_use]
pub struct Waiver(());

impl Enforcement {
    /// Everything is enforced.
    pub fn full() -> Self {
        Self::default()
    }

    /// Nothing is enforced but for these clients (by id, URI, [`ANONYMOUS`] or [`EVERYBODY_ELSE`]) and these
    /// rules.
    pub fn observing(
        clients: impl IntoIterator<Item = (String, Stance)>,
        enforced_rules: impl IntoIterator<Item = String>,
    ) -> Self {
        Self(Some(Exceptions {
            clients: clients.into_iter().collect(),
            rules: enforced_rules.into_iter().collect(),
        }))
    }

    /// Whether anything at all may pass that a rule refuses.
    pub const fn is_observing(&self) -> bool {
        self.0.is_some()
    }

    /// How a caller's refusals are taken, rules apart.
    pub fn stance(&self, caller: Caller<'_>) -> Stance {
        let Some(exceptions) = &self.0 else { return Stance::Enforce };
        let of = |name: &str| exceptions.clients.get(name).copied();
        let named = match caller {
            Caller::Anonymous => [of(ANONYMOUS), None],
            Caller::Client { id, uri } => [of(&id.to_string()), of(uri.as_str())],
        };
        let mut said = named.into_iter().flatten().peekable();
        if said.peek().is_none() {
            return of(EVERYBODY_ELSE).unwrap_or(Stance::Observe);
        }
        if said.any(|stance| stance == Stance::Enforce) { Stance::Enforce } else { Stance::Observe }
    }

    /// Whether a rule is enforced for everybody.
    pub fn enforces_rule(&self, rule: &str) -> bool {
        self.0.as_ref().is_none_or(|exceptions| exceptions.rules.contains(rule))
    }

    /// Leave to pass although these rules refuse; `None` if the caller or one of them is enforced.
    pub fn waive<'a>(
        &self,
        caller: Caller<'_>,
        rules: impl IntoIterator<Item = &'a str>,
    ) -> Option<Waiver> {
        let observed = self.is_observing()
            && self.stance(caller) == Stance::Observe
            && !rules.into_iter().any(|rule| self.enforces_rule(rule));
        observed.then_some(Waiver(()))
    }
}

/// For the log and for people: `enforce`, or `observe` and what is excepted.
impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(exceptions) = &self.0 else { return f.write_str("enforce") };
        f.write_str("observe")?;
        for (client, stance) in &exceptions.clients {
            let word = if *stance == Stance::Enforce { "enforce" } else { "observe" };
            write!(f, "; {client} = {word}")?;
        }
        for rule in &exceptions.rules {
            write!(f, "; {rule} = enforce")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "https://client.example/app";

    fn with(clients: &[(&str, Stance)], rules: &[&str]) -> Enforcement {
        Enforcement::observing(
            clients.iter().map(|(name, stance)| ((*name).to_owned(), *stance)),
            rules.iter().map(|rule| (*rule).to_owned()),
        )
    }

    #[test]
    fn deny_wins_and_the_default_denies() {
        use Stance::{Enforce, Observe};
        let id = ClientId::from_bytes([7; 16]);
        let name = id.to_string();
        let uri = ClientUri::parse(URI).unwrap();
        let client = Caller::Client { id, uri: &uri };
        for (what, enforcement, known, unknown) in [
            ("the default", Enforcement::default(), false, false),
            ("full", Enforcement::full(), false, false),
            ("plain observe", with(&[], &[]), true, true),
            ("by URI", with(&[(URI, Enforce)], &[]), false, true),
            ("by id", with(&[(&name, Enforce)], &[]), false, true),
            ("URI and id differ", with(&[(URI, Observe), (&name, Enforce)], &[]), false, true),
            ("anonymous", with(&[(ANONYMOUS, Enforce)], &[]), true, false),
            ("everybody else", with(&[("*", Enforce)], &[]), false, false),
            ("one observed", with(&[("*", Enforce), (URI, Observe)], &[]), true, false),
            ("the rule", with(&[], &["ROSTER"]), false, false),
            ("the rule for one observed", with(&[(URI, Observe)], &["ROSTER"]), false, false),
            ("another rule", with(&[], &["RSV-02"]), true, true),
        ] {
            assert_eq!(enforcement.waive(client, ["ROSTER"]).is_some(), known, "{what}");
            assert_eq!(
                enforcement.waive(Caller::Anonymous, ["ROSTER"]).is_some(),
                unknown,
                "{what}"
            );
        }
        assert!(with(&[], &["ROSTER"]).waive(client, ["C9", "ROSTER"]).is_none(), "any of them");
        assert!(Enforcement::full().waive(client, []).is_none(), "no rule at all");
    }
}
