//! Certificate policies (RFC 5280 §6.1, by the graph of RFC 9618; PKI-14, X45).
//!
//! A policy holds for a path if every certificate on it asserts the policy, or anyPolicy as long as no authority
//! inhibits it. An anchor that names policies or constrains them is held to it like an authority (RFC 5937); one that
//! names none limits nothing. Qualifiers are not looked at: they are for people.
//!
//! Of the graph only the last level is kept, each node with the policies of the anchor's domain from which it
//! descends: nothing further up is ever asked for, so that the work is bounded by what one certificate may name.

use der::Decode as _;
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{CertificatePolicies, PolicyConstraints, PolicyMappings};

use crate::{Certificate, PathError};

/// anyPolicy (RFC 5280 §4.2.1.4).
pub(crate) const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32.0");
/// Policies and mappings of one certificate that are looked at; a path with more is refused.
const MAX: usize = 64;

/// What one certificate says of policies.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// certificatePolicies; `None` if the extension is absent.
    pub(crate) asserted: Option<Vec<ObjectIdentifier>>,
    /// policyMappings: a policy of the issuer, and what it is called below.
    mappings: Vec<(ObjectIdentifier, ObjectIdentifier)>,
    require_explicit: Option<u32>,
    inhibit_mapping: Option<u32>,
    inhibit_any: Option<u32>,
}

impl Policies {
    /// Reads certificatePolicies. `None`: unreadable, empty, or a policy stands twice.
    pub(crate) fn assert(&mut self, value: &[u8]) -> Option<()> {
        let found = CertificatePolicies::from_der(value).ok()?;
        let found: Vec<_> = found.0.iter().map(|one| one.policy_identifier).collect();
        let twice = found
            .iter()
            .enumerate()
            .any(|(at, one)| found.iter().skip(at + 1).any(|two| two == one));
        self.asserted = (!found.is_empty() && !twice).then_some(found);
        self.asserted.as_ref().map(|_| ())
    }

    /// Reads policyMappings. `None`: unreadable, empty, or with anyPolicy (§6.1.4 (a)).
    pub(crate) fn map(&mut self, value: &[u8]) -> Option<()> {
        let found = PolicyMappings::from_der(value).ok()?;
        let pair = |one: &x509_cert::ext::pkix::PolicyMapping| {
            (one.issuer_domain_policy, one.subject_domain_policy)
        };
        self.mappings = found.0.iter().map(pair).collect();
        let sound = |(from, to): &(ObjectIdentifier, ObjectIdentifier)| *from != ANY && *to != ANY;
        (!self.mappings.is_empty() && self.mappings.iter().all(sound)).then_some(())
    }

    /// Reads policyConstraints. `None`: unreadable or empty.
    pub(crate) fn constrain(&mut self, value: &[u8]) -> Option<()> {
        let found = PolicyConstraints::from_der(value).ok()?;
        self.require_explicit = found.require_explicit_policy;
        self.inhibit_mapping = found.inhibit_policy_mapping;
        (self.require_explicit.is_some() || self.inhibit_mapping.is_some()).then_some(())
    }

    /// Reads inhibitAnyPolicy. `None`: unreadable.
    pub(crate) fn inhibit(&mut self, value: &[u8]) -> Option<()> {
        self.inhibit_any = Some(u32::from_der(value).ok()?);
        Some(())
    }
}

/// A policy that is valid for the path so far.
#[derive(Clone)]
struct Node {
    policy: ObjectIdentifier,
    /// What the next certificate may call it.
    expected: Vec<ObjectIdentifier>,
    /// The policies of the anchor's domain that it stands for; empty for anyPolicy.
    roots: Vec<ObjectIdentifier>,
}

/// The state of §6.1.2 between two certificates.
struct State {
    level: Vec<Node>,
    explicit: u32,
    mapping: u32,
    any: u32,
}

/// Holds a path, anchor first and leaf last, to its policies.
///
/// `demanded`: the community's, of which one must hold (user-initial-policy-set); empty for none. Where one is
/// demanded, mappings are inhibited from the beginning: the OIDs select a community, and what an authority calls
/// equal elsewhere must not move a certificate into it.
pub(crate) fn check(path: &[&Certificate], demanded: &[String]) -> Result<(), PathError> {
    let never = u32::try_from(path.len()).unwrap_or(u32::MAX - 1) + 1;
    let chosen = !demanded.is_empty();
    let any = Node { policy: ANY, expected: vec![ANY], roots: Vec::new() };
    let mut state = State {
        level: vec![any],
        explicit: if chosen { 0 } else { never },
        mapping: if chosen { 0 } else { never },
        any: never,
    };
    let last = path.len().saturating_sub(1);
    for (at, certificate) in path.iter().enumerate() {
        let said = certificate.policies();
        if said.asserted.as_ref().is_some_and(|list| list.len() > MAX) || said.mappings.len() > MAX
        {
            return Err(PathError::TooComplex);
        }
        let silent_anchor = at == 0 && said.asserted.is_none();
        if !silent_anchor {
            state.descend(said, at < last && certificate.is_self_issued());
        }
        if state.explicit == 0 && state.level.is_empty() {
            return Err(PathError::Policy);
        }
        if at < last {
            state.prepare(said, certificate.is_self_issued());
        }
    }
    let leaf = path.last().map(|leaf| leaf.policies());
    state.explicit = state.explicit.saturating_sub(1);
    if leaf.is_some_and(|said| said.require_explicit == Some(0)) {
        state.explicit = 0;
    }
    if state.explicit > 0 || state.holds(demanded) { Ok(()) } else { Err(PathError::Policy) }
}

impl State {
    /// §6.1.3 (d) and (e): the level of the next certificate.
    fn descend(&mut self, said: &Policies, self_issued_authority: bool) {
        let above = std::mem::take(&mut self.level);
        let Some(asserted) = &said.asserted else { return };
        let child = |policy: ObjectIdentifier, parents: &[&Node]| {
            let mut roots: Vec<_> =
                parents.iter().flat_map(|one| one.roots.iter().copied()).collect();
            if policy != ANY && parents.iter().any(|one| one.policy == ANY) {
                roots.push(policy);
            }
            roots.sort();
            roots.dedup();
            Node { policy, expected: vec![policy], roots }
        };
        let expecting = |policy: &ObjectIdentifier| -> Vec<&Node> {
            above.iter().filter(|one| one.expected.contains(policy)).collect()
        };
        for policy in asserted.iter().filter(|policy| **policy != ANY) {
            let mut parents = expecting(policy);
            if parents.is_empty() {
                parents = expecting(&ANY);
            }
            if !parents.is_empty() {
                self.level.push(child(*policy, &parents));
            }
        }
        if asserted.contains(&ANY) && (self.any > 0 || self_issued_authority) {
            for policy in above.iter().flat_map(|one| &one.expected) {
                if !self.level.iter().any(|known| known.policy == *policy) {
                    self.level.push(child(*policy, &expecting(policy)));
                }
            }
        }
    }

    /// §6.1.4 (b), (h), (i), (j): what an authority says of those below it.
    fn prepare(&mut self, said: &Policies, self_issued: bool) {
        for (from, _) in &said.mappings {
            if self.mapping == 0 {
                self.level.retain(|one| one.policy != *from);
                continue;
            }
            let below: Vec<_> = said
                .mappings
                .iter()
                .filter(|(other, _)| other == from)
                .map(|(_, to)| *to)
                .collect();
            if let Some(node) = self.level.iter_mut().find(|one| one.policy == *from) {
                node.expected = below;
            } else if self.level.iter().any(|one| one.policy == ANY) {
                self.level.push(Node { policy: *from, expected: below, roots: vec![*from] });
            }
        }
        let less = |left: &mut u32, limit: Option<u32>| {
            if !self_issued {
                *left = left.saturating_sub(1);
            }
            *left = limit.map_or(*left, |limit| limit.min(*left));
        };
        less(&mut self.explicit, said.require_explicit);
        less(&mut self.mapping, said.inhibit_mapping);
        less(&mut self.any, said.inhibit_any);
    }

    /// §6.1.5 (g): whether one that is demanded is valid.
    fn holds(&self, demanded: &[String]) -> bool {
        if demanded.is_empty() {
            return !self.level.is_empty();
        }
        let wanted = |oid: &ObjectIdentifier| demanded.contains(&oid.to_string());
        self.level.iter().any(|one| one.policy == ANY || one.roots.iter().any(wanted))
    }
}
