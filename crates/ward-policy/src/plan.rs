//! The lock on the way in: Principal × FhirRequest × Facts ─▶ Plan (house §1).
//!
//! Refuses, as a pure function of token, request and policy (and so with 403, RS-04): a type or
//! letter beyond the scopes (RSV-02), types of no known kind (default deny), types whose targets are not
//! judged yet (C17), an organisation whose roster is unknown (unknown is never yes), and the criteria of
//! [`crate::narrow`].

use ward_core::Limits;
use ward_fhir::{Criterion, FhirRequest, Interaction, Letter, ResourceType};

use crate::judge::{Residual, Rows};
use crate::narrow::{Narrowing, Split, narrow};
use crate::{Facts, Principal, Roster};

/// What the gateway must do with a request.
#[derive(Debug)]
pub enum Plan {
    /// Refuse; nothing that depends on stored data was touched.
    Deny(Denial),
    /// Fetch the one record, then judge it, then answer it or the uniform 404.
    PreRead(Permit),
    /// Ask as the client asked; judge what comes back.
    Forward(Permit),
    /// Ask for less than the client asked; judge what comes back.
    Rewrite(Permit),
    /// Provably empty: answer an empty searchset without asking the upstream.
    Nothing(Permit),
}

/// A refusal with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Id of the rule that decided.
    pub rule: &'static str,
    /// HTTP status: always 403.
    pub status: u16,
    /// What kind of refusal it is on the wire.
    pub code: DenialCode,
    /// Helps the honest caller; constant per rule.
    pub text: &'static str,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialCode {
    /// Policy forbids it whatever the scopes.
    Forbidden,
    /// A larger scope would allow it: `WWW-Authenticate: … error="insufficient_scope"` (RFC 6750 §3.1).
    InsufficientScope,
}

impl Denial {
    pub(crate) const fn forbidden(rule: &'static str, text: &'static str) -> Self {
        Self { rule, status: 403, code: DenialCode::Forbidden, text }
    }
}

/// Leave to ask the upstream one thing. Only this crate makes one, and the gateway forwards nothing
/// without one.
#[derive(Debug)]
pub struct Permit {
    request: FhirRequest,
    residual: Residual,
    split: Option<Split>,
}

impl Permit {
    /// The request to send: the client's own, or narrower. Never wider.
    pub const fn request(&self) -> &FhirRequest {
        &self.request
    }

    /// What each record that comes back must still satisfy.
    pub const fn residual(&self) -> &Residual {
        &self.residual
    }

    /// How many requests there are to send, one after another: more than one if the roster is longer than
    /// one request can name.
    pub fn parts(&self) -> usize {
        self.split.as_ref().map_or(1, |split| split.parts(&self.residual.patients))
    }

    /// One of them: [`Permit::request`], for its share of the roster. `None` behind the last.
    pub fn part(&self, index: usize) -> Option<FhirRequest> {
        let criterion: Option<Criterion> = match &self.split {
            None if index == 0 => None,
            None => return None,
            Some(split) => Some(split.part(&self.residual.patients, index)?),
        };
        let mut request = self.request.clone();
        if let (Some(criterion), Interaction::Search(search)) =
            (criterion, &mut request.interaction)
        {
            search.criteria.push(criterion);
        }
        Some(request)
    }

    /// For the read of a version: leave to read the current version of the same record, which must
    /// be visible too (C3). `None` for everything else.
    pub fn current(&self) -> Option<Self> {
        let Interaction::Vread { rtype, id, .. } = &self.request.interaction else { return None };
        Some(Self {
            request: FhirRequest {
                version: self.request.version,
                interaction: Interaction::Read { rtype: *rtype, id: id.clone() },
            },
            residual: self.residual.clone(),
            split: None,
        })
    }
}

const SCOPE: Denial = Denial {
    rule: "RSV-02",
    status: 403,
    code: DenialCode::InsufficientScope,
    text: "The scopes of this access token do not cover this interaction on this resource type.",
};
const TYPE: Denial = Denial::forbidden(
    "TYPE",
    "This resource type belongs neither to the Patient compartment nor to the directory, and is not served.",
);
const TARGETS: Denial = Denial::forbidden(
    "C17",
    "This resource type tells of other records, which are not judged yet, and is not served.",
);
const ROSTER: Denial = Denial::forbidden(
    "ROSTER",
    "No attribution roster is known for this organization; patient data cannot be served to it.",
);
const CAPABILITIES: Denial =
    Denial::forbidden("C21", "The capability statement is answered by the gateway itself.");

/// Decides what may be asked of the upstream.
pub fn plan(principal: &Principal, request: &FhirRequest, facts: &Facts, limits: &Limits) -> Plan {
    let (rtype, id, letter) = match &request.interaction {
        Interaction::Capabilities => return Plan::Deny(CAPABILITIES),
        Interaction::Read { rtype, id } | Interaction::Vread { rtype, id, .. } => {
            (*rtype, Some(id.clone()), Letter::R)
        }
        Interaction::Search(search) => (search.rtype, None, Letter::S),
    };
    if !principal.scopes.allows(rtype, letter) {
        return Plan::Deny(SCOPE);
    }
    if tells_of_others(rtype) {
        return Plan::Deny(TARGETS);
    }
    let rows = match rows_of(rtype) {
        Some(Rows::Compartment) if facts.roster == Roster::Unknown => return Plan::Deny(ROSTER),
        Some(rows) => rows,
        None => return Plan::Deny(TYPE),
    };
    let residual = Residual::new(rtype, id, rows, &facts.roster);
    let permit = |interaction, split| Permit {
        request: FhirRequest { version: request.version, interaction },
        residual: residual.clone(),
        split,
    };
    match &request.interaction {
        Interaction::Search(search) => match narrow(search, rows, &residual.patients, limits) {
            Narrowing::Denied(denial) => Plan::Deny(denial),
            Narrowing::Nothing => Plan::Nothing(permit(Interaction::Search(search.clone()), None)),
            Narrowing::Asked { search: narrowed, split } => {
                let same = split.is_none() && narrowed.criteria == search.criteria;
                let permit = permit(Interaction::Search(narrowed), split);
                if same { Plan::Forward(permit) } else { Plan::Rewrite(permit) }
            }
        },
        instance => Plan::PreRead(permit(instance.clone(), None)),
    }
}

/// Whether records of a type are served at all, to whom scopes and roster allow. For the
/// CapabilityStatement.
pub fn serves(rtype: ResourceType) -> bool {
    rows_of(rtype).is_some() && !tells_of_others(rtype)
}

/// C17: such a record may be seen only with everything that it points to.
fn tells_of_others(rtype: ResourceType) -> bool {
    matches!(rtype.name(), "AuditEvent" | "List" | "Provenance")
}

/// The kind of a type. Compartment first: a directory type that is a member too is a patient's data.
fn rows_of(rtype: ResourceType) -> Option<Rows> {
    if rtype.is_patient_member() {
        Some(Rows::Compartment)
    } else if rtype.is_directory() {
        Some(Rows::Directory)
    } else {
        None
    }
}
