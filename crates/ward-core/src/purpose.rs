//! Purpose of use: why data is asked for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::IdError;

/// The HL7 v3 ActReason code system, in the URI form of `hl7-b2b` (IG §5.2.1.1).
pub const ACT_REASON: &str = "urn:oid:2.16.840.1.113883.5.8#";

/// A purpose of use that Ward knows (a closed list; B14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Purpose {
    /// `TREAT`: treatment.
    #[serde(rename = "TREAT")]
    Treatment,
    /// `HPAYMT`: payment.
    #[serde(rename = "HPAYMT")]
    Payment,
    /// `HOPERAT`: health care operations.
    #[serde(rename = "HOPERAT")]
    Operations,
    /// `PUBHLTH`: public health.
    #[serde(rename = "PUBHLTH")]
    PublicHealth,
    /// `HRESCH`: research.
    #[serde(rename = "HRESCH")]
    Research,
    /// `PATRQT`: at the patient's request.
    #[serde(rename = "PATRQT")]
    PatientRequest,
    /// `ELIGDTRM`: determination of eligibility for benefits.
    #[serde(rename = "ELIGDTRM")]
    Eligibility,
    /// `SYSDEV`: development and test of systems.
    #[serde(rename = "SYSDEV")]
    SystemDevelopment,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Treatment,
        Self::Payment,
        Self::Operations,
        Self::PublicHealth,
        Self::Research,
        Self::PatientRequest,
        Self::Eligibility,
        Self::SystemDevelopment,
    ];

    /// The bare ActReason code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Treatment => "TREAT",
            Self::Payment => "HPAYMT",
            Self::Operations => "HOPERAT",
            Self::PublicHealth => "PUBHLTH",
            Self::Research => "HRESCH",
            Self::PatientRequest => "PATRQT",
            Self::Eligibility => "ELIGDTRM",
            Self::SystemDevelopment => "SYSDEV",
        }
    }

    /// The URI form, `urn:oid:2.16.840.1.113883.5.8#TREAT`.
    pub fn uri(self) -> String {
        format!("{ACT_REASON}{}", self.code())
    }

    /// Parses the URI form only (B15: a bare code is refused).
    pub fn parse_uri(text: &str) -> Result<Self, IdError> {
        text.strip_prefix(ACT_REASON)
            .and_then(|code| Self::ALL.into_iter().find(|purpose| purpose.code() == code))
            .ok_or(IdError::Malformed("purpose of use"))
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
