//! `GET /metadata` (C21): what Ward offers, said by Ward. Never the upstream's statement, whose
//! operations, software and URLs are nobody's business.

use serde_json::{Value, json};
use ward_fhir::params::accepted;
use ward_fhir::{ParamKind, ResourceType};
use ward_policy::serves;

use crate::GatewayConfig;

/// When the set of interactions below last changed.
const DATE: &str = "2026-11-22";
const OAUTH_URIS: &str = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";

/// The CapabilityStatement, as JSON text.
pub(crate) fn statement(base: &str, config: &GatewayConfig) -> String {
    let resources: Vec<Value> =
        ResourceType::all().filter(|rtype| serves(*rtype)).map(resource).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "software": {"name": "Ward", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "Ward, a gateway in front of a FHIR server", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "documentation": "Records are visible as far as scopes, purpose and attribution allow. \
                Search parameters are passed on strictly: one that the system behind does not \
                support is refused with 400.",
            "security": security(config),
            "resource": resources,
        }],
    })
    .to_string()
}

fn security(config: &GatewayConfig) -> Value {
    let uris: Vec<Value> = [
        ("token", config.token_endpoint.as_deref()),
        ("register", config.registration_endpoint.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, uri)| uri.map(|uri| json!({"url": name, "valueUri": uri})))
    .collect();
    let mut security = json!({
        "service": [{
            "coding": [{"system": "http://fhir.udap.org/CodeSystem/capability-rest-security-service", "code": "UDAP"}],
            "text": "OAuth 2.0 using UDAP profile (see http://www.udap.org)",
        }],
    });
    if let (Some(members), false) = (security.as_object_mut(), uris.is_empty()) {
        members.insert("extension".into(), json!([{"url": OAUTH_URIS, "extension": uris}]));
    }
    security
}

fn resource(rtype: ResourceType) -> Value {
    let params: Vec<Value> = accepted(rtype)
        .filter(|param| param.code != "_security")
        .map(|param| json!({"name": param.code, "type": kind(param.kind)}))
        .collect();
    json!({
        "type": rtype.name(),
        "interaction": [{"code": "read"}, {"code": "vread"}, {"code": "search-type"}],
        "versioning": "versioned",
        "searchParam": params,
    })
}

const fn kind(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::Number => "number",
        ParamKind::Date => "date",
        ParamKind::String => "string",
        ParamKind::Token => "token",
        ParamKind::Reference => "reference",
        ParamKind::Composite => "composite",
        ParamKind::Quantity => "quantity",
        ParamKind::Uri => "uri",
        ParamKind::Special => "special",
    }
}
