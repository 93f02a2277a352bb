//! What a token request asserts (IG §5.2.1; CLI-22): `hl7-b2b`, and extension objects beside it.
//!
//! Not sent: what the community does not allow, what a server of ours would refuse, and a request that lacks an extension
//! that the server requires. In a community of TEFCA's profile (**unverified**) the purpose is written in TEFCA's code, the
//! one that the certificate's URI carries (TEF-04).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use ward_core::{OrganizationUri, Purpose};
use ward_trust::{Context, Discovered, ExchangePurpose, Hl7B2b, Profile};

use crate::error::ClientError;
use crate::{PartnerClient, Registered};

/// The object of individual access services, which is checked by the server alone: it needs the keys of who vouches.
const IAS: &str = "tefca_ias";

/// `hl7-b2b` for an organisation and one purpose of use, without a person (IG §5.2.1.1).
pub fn on_behalf_of(organization: OrganizationUri, purpose: Purpose) -> Hl7B2b {
    Hl7B2b {
        subject_name: None,
        subject_id: None,
        subject_role: None,
        organization_id: organization,
        organization_name: None,
        purposes: vec![purpose],
        consent_policy: Vec::new(),
        consent_reference: Vec::new(),
    }
}

/// `hl7-b2b`, and objects of other names beside it: all of it counts for the use of a token (CLI-24).
#[derive(Clone, PartialEq)]
pub struct Asserted {
    b2b: Hl7B2b,
    others: BTreeMap<String, Value>,
}

impl Asserted {
    /// With a further extension object, as `hl7-b2b-user`. One named `hl7-b2b` is ignored.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, object: Value) -> Self {
        let name = name.into();
        if name != "hl7-b2b" {
            self.others.insert(name, object);
        }
        self
    }
}

impl From<&Hl7B2b> for Asserted {
    fn from(b2b: &Hl7B2b) -> Self {
        Self { b2b: b2b.clone(), others: BTreeMap::new() }
    }
}

impl fmt::Debug for Asserted {
    /// Without the persons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<_> = self.others.keys().collect();
        f.debug_struct("Asserted").field("b2b", &self.b2b).field("others", &others).finish()
    }
}

impl PartnerClient {
    /// The `extensions` claim.
    pub(crate) fn extensions(&self, registered: &Registered, asserted: &Asserted) -> Value {
        let mut all = asserted.b2b.to_extensions();
        if self.config.community.profile == Profile::Tefca
            && let Some(code) = ExchangePurpose::of_uri(registered.uri.as_str())
            && asserted.b2b.purposes == [code.purpose()]
            && let Some(object) = all.get_mut("hl7-b2b").and_then(Value::as_object_mut)
        {
            object.insert("purpose_of_use".to_owned(), json!([code.uri()]));
        }
        if let Some(objects) = all.as_object_mut() {
            objects.extend(asserted.others.clone());
        }
        all
    }

    /// The `extensions` claim, if the server and the community can take it (CLI-22).
    pub(crate) fn checked(
        &self,
        server: &Discovered,
        registered: &Registered,
        asserted: &Asserted,
    ) -> Result<Value, ClientError> {
        let community = &self.config.community;
        let b2b = &asserted.b2b;
        let unknown = |p| !community.purposes.contains(p);
        if b2b.purposes.is_empty() || b2b.purposes.iter().any(unknown) {
            return Err(ClientError::Local {
                what: "purpose_of_use must be one or more that the community allows",
                rule: "B2B-09",
            });
        }
        let organization = b2b.organization_id.as_str();
        if !community.organization_schemes.iter().any(|scheme| organization.starts_with(scheme)) {
            return Err(ClientError::Local {
                what: "organization_id must have a scheme that the community allows",
                rule: "B2B-08",
            });
        }
        let has = |name: &String| name == "hl7-b2b" || asserted.others.contains_key(name);
        if !server.extensions_required.iter().all(has) {
            return Err(ClientError::NotSupported {
                what: "a request without the other extensions that it requires",
                rule: "CLI-22",
            });
        }
        // Then all that a server of the community would ask of it.
        let extensions = self.extensions(registered, asserted);
        let uri = registered.uri.as_str();
        let individual = community.profile == Profile::Tefca
            && ExchangePurpose::of_uri(uri) == Some(ExchangePurpose::IndividualAccess);
        let read = if individual {
            if !asserted.others.contains_key(IAS) {
                return Err(ClientError::Local {
                    what: "individual access needs the object tefca_ias",
                    rule: "B31",
                });
            }
            Hl7B2b::parse(Some(&extensions), community).map(drop)
        } else {
            let (now, limits) = (self.config.clock.now(), &self.config.limits);
            Context::parse(Some(&extensions), community, uri, now, limits).map(drop)
        };
        match read {
            Ok(()) => Ok(extensions),
            Err(error) => Err(ClientError::Local { what: error.0.text, rule: error.0.rule }),
        }
    }
}
