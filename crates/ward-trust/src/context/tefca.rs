//! TEFCA's exchange purposes and individual access services (udap.md §2.9, TEF-01..TEF-10).
//!
//! **Unverified**: the rows rest on third-party readings of the Facilitated FHIR SOP v2.0, Exchange Purposes SOP v5.1, IAS
//! XP SOP v3.0 and Treatment XP SOP v2.0; hold them against the SOPs before relying on them.

use std::fmt;

use serde_json::{Map, Value};
use ward_core::{Limits, Purpose, Timestamp};

/// The certification that its members must have (TEF-02).
pub use crate::certification::TEFCA_BASIC_APP as BASIC_CERTIFICATION;

use super::b2b::is_npi;
use super::{B2bError, Hl7B2b, consents, fault, identity, person};
use crate::Community;

/// The community (TEF-01).
pub const COMMUNITY: &str = "urn:oid:2.16.840.1.113883.3.7204.1.5";
/// Name of the extension object of individual access services (TEF-07).
pub const IAS: &str = "tefca_ias";
/// How it is misspelt (B32).
const IAS_MISSPELT: &str = "tefca-ias";
/// The code system (TEF-05).
const SYSTEM: &str = "urn:oid:2.16.840.1.113883.3.7204.1.5.2.1#";

macro_rules! exchange_purposes {
    ($($name:ident, $code:literal, $purpose:ident, $doc:literal;)*) => {
        /// An exchange purpose of TEFCA (TEF-06: Exchange Purposes SOP v5.1).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ExchangePurpose {
            $(#[doc = $doc] $name,)*
        }

        impl ExchangePurpose {
            /// All 17.
            pub const ALL: [Self; 17] = [$(Self::$name,)*];

            /// The bare code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The purpose of use under which Ward decides.
            pub const fn purpose(self) -> Purpose {
                match self { $(Self::$name => Purpose::$purpose,)* }
            }
        }
    };
}

exchange_purposes! {
    Treatment, "T-TREAT", Treatment, "Treatment.";
    RequiredTreatment, "T-TRTMNT", Treatment, "Treatment to which a response is required.";
    Payment, "T-PYMNT", Payment, "Payment.";
    Operations, "T-HCO", Operations, "Health care operations.";
    CareCoordination, "T-HCO-CC", Operations, "Care coordination and case management.";
    Hedis, "T-HCO-HED", Operations, "HEDIS reporting.";
    Quality, "T-HCO-QAI", Operations, "Quality assessment and improvement.";
    Population, "T-HCO-POP", Operations, "Population-based activities.";
    PatientSafety, "T-HCO-PTSAFETY", Operations, "Patient safety.";
    Performance, "T-HCO-PERF", Operations, "Performance review.";
    PublicHealth, "T-PH", PublicHealth, "Public health.";
    CaseReporting, "T-PH-ECR", PublicHealth, "Electronic case reporting.";
    LabReporting, "T-PH-ELR", PublicHealth, "Electronic laboratory reporting.";
    IndividualAccess, "T-IAS", PatientRequest, "Individual access services.";
    Government, "T-GOVDTRM", Eligibility, "Government benefits determination.";
    SocialSecurity, "T-GOVDTRM-SSD", Eligibility, "Social security determination.";
    AccessConsent, "T-GOVDTRM-ACP", Eligibility, "Access consent policy, beside social security determination.";
}

impl ExchangePurpose {
    /// Parses the URI form only: a bare code or one of another code system is none (TEF-05).
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_code(text.strip_prefix(SYSTEM)?)
    }

    fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }

    /// The one that a client's URI carries in its fragment, as `https://clinic.example/app#T-TREAT` (TEF-04).
    pub fn of_uri(uri: &str) -> Option<Self> {
        Self::from_code(uri.rsplit_once('#')?.1)
    }

    /// The URI form.
    pub fn uri(self) -> String {
        format!("{SYSTEM}{}", self.code())
    }
}

/// What the profile demands beyond `hl7-b2b` (TEF-04, TEF-10, B30, B32).
pub(super) fn check(
    objects: &Map<String, Value>,
    b2b: &Hl7B2b,
    exchange_purpose: Option<ExchangePurpose>,
    client_uri: &str,
) -> Result<(), B2bError> {
    let certified = ExchangePurpose::of_uri(client_uri);
    if exchange_purpose.is_none() || certified != exchange_purpose {
        return Err(fault("B30", "purpose_of_use is not that of the certificate"));
    }
    if objects.contains_key(IAS_MISSPELT) {
        return Err(fault("B32", "tefca-ias is spelt tefca_ias"));
    }
    let treats =
        matches!(certified, Some(ExchangePurpose::Treatment | ExchangePurpose::RequiredTreatment));
    let name = b2b.organization_name.as_deref().unwrap_or_default();
    if treats && !names_provider(name) {
        return Err(fault("TEF-10", "organization_name has neither NPI nor TIN"));
    }
    Ok(())
}

/// Whether a name holds a National Provider Identifier or a Taxpayer Identification Number, nine digits with or without
/// its hyphen (Treatment XP SOP v2.0 §6.2).
fn names_provider(name: &str) -> bool {
    name.split(|c: char| !c.is_ascii_digit() && c != '-').any(|word| {
        let digits: String = word.chars().filter(|c| *c != '-').collect();
        let plain = digits == word || word.find('-') == Some(2);
        is_npi(word) || (plain && digits.len() == 9)
    })
}

/// The extension object of individual access services, version 1 (TEF-07, TEF-09, B31..B33).
#[derive(Clone, PartialEq, Eq)]
pub struct TefcaIas {
    /// Policies under which the individual's identity was proven and consent given: at least one.
    pub consent_policy: Vec<String>,
    /// Where the consent can be read. Never fetched here.
    pub consent_reference: Vec<String>,
    /// SHA-256 of the RelatedPerson who asks.
    pub user: [u8; 32],
    /// SHA-256 of the Patient whose data are asked for.
    pub patient: [u8; 32],
    /// Who vouches for the person: `iss` of the id token.
    pub vouched_by: String,
    /// For whom: the home community id of the provider of individual access.
    pub audience: String,
    /// SHA-256, hexadecimal, of the `jti` of the id token.
    pub id_token: String,
}

impl TefcaIas {
    /// Demands a token of a configured identity provider: without one nobody vouches for the person (fail closed).
    /// That its demographics are those of the patient is not compared here.
    pub(super) fn parse(
        object: Option<&Value>,
        community: &Community,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, B2bError> {
        let object = object
            .ok_or(fault("B31", "tefca_ias is missing"))?
            .as_object()
            .ok_or(fault("B31", "tefca_ias is no object"))?;
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        if text("version") != Some("1") {
            return Err(fault("TEF-07", "version is not \"1\""));
        }
        let purpose = text("purpose_of_use");
        let said = ExchangePurpose::IndividualAccess;
        let named = purpose.is_some_and(|one| one == said.code() || one == said.uri());
        if object.contains_key("purpose_of_use") && !named {
            return Err(fault("TEF-07", "purpose_of_use of tefca_ias is not T-IAS"));
        }
        let part = |name: &str| object.get(name).unwrap_or(&Value::Null);
        let user = person::related(part("user_information"))?;
        let patient = person::patient(part("patient_information"))?;
        let (consent_policy, consent_reference) = consents(object, &community.context)?;
        if consent_policy.is_empty() {
            return Err(fault("TEF-07", "consent_policy is missing"));
        }
        let token = text("id_token").ok_or(fault("B33", "id_token is missing"))?;
        let providers = &community.context.identity_providers;
        let vouched = identity::verify(token, providers, now, limits)?;
        Ok(Self {
            consent_policy,
            consent_reference,
            user,
            patient,
            vouched_by: vouched.issuer,
            audience: vouched.audience,
            id_token: vouched.jti,
        })
    }
}

impl fmt::Debug for TefcaIas {
    /// Without the persons and the consents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TefcaIas").field("vouched_by", &self.vouched_by).finish_non_exhaustive()
    }
}
