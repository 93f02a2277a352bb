//! The CapabilityStatement, from what the router and the search really support (FHIR R4 §5.1).

use serde_json::{Value, json};

use crate::params::{self, Param};
use crate::population::TODAY;

/// The statement of the server at `base`.
pub(crate) fn statement(base: &str) -> Value {
    let resources: Vec<Value> = params::types().into_iter().map(resource).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": TODAY.to_rfc3339(),
        "kind": "instance",
        "software": { "name": "ward-sandbox", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "A sample hospital with synthetic people", "url": base },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "documentation": "For demos and tests behind Ward; no security of its own.",
            "resource": resources,
        }],
    })
}

fn resource(rtype: &'static str) -> Value {
    let interactions = ["read", "vread", "create", "update", "delete", "search-type"];
    let interactions: Vec<Value> =
        interactions.iter().map(|code| json!({ "code": code })).collect();
    json!({
        "type": rtype,
        "interaction": interactions,
        "versioning": "versioned",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": false,
        "searchParam": params::of_type(rtype).iter().map(search_param).collect::<Vec<_>>(),
    })
}

fn search_param(param: &Param) -> Value {
    json!({ "name": param.code, "type": param.kind.name() })
}
