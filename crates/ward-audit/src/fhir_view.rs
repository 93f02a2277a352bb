//! Events as FHIR R4 `AuditEvent` (IHE BALP shape; `zerotrust.md` §6.3), for interchange. Denials have the same shape
//! with an outcome other than 0; they name what was asked for, never what exists.

use serde_json::{Value, json};
use ward_core::{EventBody, EventKind, Outcome};

use crate::Leaf;

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const AUDIT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const RESOURCE_TYPE: &str = "http://hl7.org/fhir/resource-types";

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({ "system": system, "code": code, "display": display })
}

/// `AuditEvent.type` and `subtype` of an event that is not a FHIR interaction.
fn kind_codes(kind: EventKind, action: &str) -> (Value, Value) {
    let activity = || coding(DCM, "110100", "Application Activity");
    let attributes = || coding(DCM, "110137", "User Security Attributes Changed");
    let own =
        |code: &str| json!({ "system": "urn:ward:event", "code": format!("{code}/{action}") });
    match kind {
        EventKind::LogStarted => (activity(), coding(DCM, "110120", "Application Start")),
        EventKind::Access => (coding(AUDIT_TYPE, "rest", "RESTful Operation"), own("access")),
        EventKind::Registration => (attributes(), own("registration")),
        EventKind::Token => (coding(DCM, "110114", "User Authentication"), own("token")),
        EventKind::Revocation => (attributes(), own("revocation")),
        EventKind::Roster => (activity(), own("roster")),
        EventKind::Finding => (coding(DCM, "110113", "Security Alert"), own("finding")),
        EventKind::Incident => (coding(DCM, "110113", "Security Alert"), own("incident")),
        EventKind::Community => (activity(), own("community")),
        EventKind::Operator => (activity(), own("operator")),
    }
}

/// `AuditEvent.action` (http://hl7.org/fhir/R4/valueset-audit-event-action.html).
fn action_code(leaf: &Leaf) -> &'static str {
    match (leaf.kind, &leaf.transfer) {
        (EventKind::Access, Some(transfer)) => match transfer.interaction.as_ref() {
            "read" | "vread" => "R",
            _ => "E",
        },
        // A request that may change something, before it went on (observe mode).
        (EventKind::Access, None) if leaf.action == "handed-on" => "E",
        (EventKind::Access, None) => "R",
        (EventKind::Registration, _) if leaf.action == "cancelled" => "D",
        (EventKind::Registration, _) if leaf.action == "modified" => "U",
        (EventKind::Registration | EventKind::Token, _) => "C",
        (EventKind::Roster | EventKind::Revocation | EventKind::Incident, _) => "U",
        (
            EventKind::LogStarted | EventKind::Finding | EventKind::Community | EventKind::Operator,
            _,
        ) => "E",
    }
}

fn urn_uuid(id: impl std::fmt::Display) -> String {
    format!("urn:uuid:{id}")
}

fn uri_identifier(value: &str) -> Value {
    json!({ "identifier": { "system": "urn:ietf:rfc:3986", "value": value } })
}

/// Who asked, for whom, and Ward itself.
fn agents(leaf: &Leaf, body: Option<&EventBody>, source: &str) -> Vec<Value> {
    let actor = &leaf.actor;
    let mut policies: Vec<String> = actor.grant.iter().map(urn_uuid).collect();
    policies.extend(leaf.rule.iter().map(|rule| format!("urn:ward:rule:{rule}")));
    if let Some(policy) = body.and_then(|body| body.policy.as_ref()) {
        policies.push(format!("urn:ward:policy:sha-256:{policy}"));
    }
    let who = match (&actor.client, &actor.operator) {
        (Some(client), _) => uri_identifier(&urn_uuid(client)),
        (None, Some(operator)) => json!({ "display": operator }),
        (None, None) => json!({ "display": "unknown" }),
    };
    let mut requestor = json!({
        "type": { "coding": [coding(DCM, "110152", "Destination Role ID")] },
        "who": who,
        "requestor": true,
    });
    if let Some(fields) = requestor.as_object_mut() {
        if !policies.is_empty() {
            fields.insert("policy".into(), json!(policies));
        }
        if let Some(token) = &actor.token {
            fields.insert("altId".into(), json!(token.to_string()));
        }
    }
    let mut agents = vec![requestor];
    if let Some(organization) = body.and_then(|body| body.detail.get("organization")) {
        agents.push(json!({
            "type": { "coding": [coding(PARTICIPATION, "IRCP", "information recipient")] },
            "who": uri_identifier(organization),
            "requestor": false,
        }));
    }
    agents.push(json!({
        "type": { "coding": [coding(DCM, "110153", "Source Role ID")] },
        "who": { "display": source },
        "requestor": false,
    }));
    agents
}

/// The exchange, the records that left, and the patients whose they are.
fn entities(leaf: &Leaf, body: Option<&EventBody>) -> Vec<Value> {
    let object = || coding(ENTITY_TYPE, "2", "System Object");
    let mut entities = vec![json!({
        "what": { "identifier": { "system": "urn:ietf:rfc:3986", "value": urn_uuid(leaf.correlation) } },
        "type": coding("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "XrequestId", "X-Request-Id"),
    })];
    if let Some(transfer) = &leaf.transfer {
        let mut query = json!({
            "type": object(),
            "role": coding(OBJECT_ROLE, "24", "Query"),
            "detail": [
                { "type": "status", "valueString": transfer.status.to_string() },
                { "type": "resources", "valueString": transfer.resources.to_string() },
                { "type": "patients", "valueString": transfer.patients.to_string() },
                { "type": "bytes", "valueString": transfer.bytes.to_string() },
            ],
        });
        let named = !transfer.resource_type.is_empty();
        if let Some(fields) = query.as_object_mut().filter(|_| named) {
            let asked = format!("{} {}", transfer.interaction, transfer.resource_type);
            fields.insert("name".into(), json!(asked));
        }
        entities.push(query);
    }
    let released = body.map(|body| body.released.as_slice()).unwrap_or_default();
    let mut patients = std::collections::BTreeSet::new();
    for record in released {
        let reference = match &record.version {
            Some(version) => format!("{}/_history/{version}", record.reference),
            None => record.reference.clone(),
        };
        patients.extend(record.owners.iter());
        let kind = record.reference.split('/').next().unwrap_or_default();
        let labels = record.labels.iter().map(|label| match label.split_once('|') {
            Some((system, code)) => json!({ "system": system, "code": code }),
            None => json!({ "code": label }),
        });
        let mut entity = json!({
            "what": { "reference": reference },
            "type": { "system": RESOURCE_TYPE, "code": kind },
            "role": coding(OBJECT_ROLE, "4", "Domain Resource"),
        });
        if let Some(fields) = entity.as_object_mut().filter(|_| !record.labels.is_empty()) {
            fields.insert("securityLabel".into(), labels.collect());
        }
        entities.push(entity);
    }
    entities.extend(patients.into_iter().map(|patient| {
        json!({
            "what": { "reference": format!("Patient/{patient}") },
            "type": coding(ENTITY_TYPE, "1", "Person"),
            "role": coding(OBJECT_ROLE, "1", "Patient"),
        })
    }));
    if let Some(incident) = &leaf.incident {
        entities.push(json!({
            "what": { "identifier": { "system": "urn:ietf:rfc:3986", "value": urn_uuid(incident) } },
            "type": object(),
        }));
    }
    entities
}

/// The event as a FHIR R4 `AuditEvent`. `body` is `None` when it cannot be opened (its key was destroyed): then the
/// records and patients are missing. `source` names the observer, normally the origin of the log.
pub fn audit_event(leaf: &Leaf, body: Option<&EventBody>, index: u64, source: &str) -> Value {
    let (mut kind, mut subtype) = kind_codes(leaf.kind, &leaf.action);
    if let Some(transfer) = leaf.transfer.as_ref().filter(|t| !t.interaction.is_empty()) {
        kind = coding(AUDIT_TYPE, "rest", "RESTful Operation");
        subtype = json!({ "system": INTERACTION, "code": transfer.interaction });
    }
    let (outcome, words) = match leaf.outcome {
        Outcome::Success => ("0", "Success"),
        Outcome::Refused => ("4", "Refused by a rule"),
        Outcome::Failed => ("8", "Could not be done"),
        // It was done; who reads the log elsewhere must see that nothing was stopped.
        Outcome::Observed => ("0", "Done, and only observed; enforcement would have refused it"),
    };
    let mut event = json!({
        "resourceType": "AuditEvent",
        "id": format!("{index}"),
        "meta": { "tag": [{ "system": "urn:ward:tenant", "code": leaf.tenant.as_str() }] },
        "type": kind,
        "subtype": [subtype],
        "action": action_code(leaf),
        "recorded": leaf.at.to_rfc3339(),
        "outcome": outcome,
        "outcomeDesc": match &leaf.rule {
            Some(rule) if leaf.outcome != Outcome::Success => format!("{words}: {rule}"),
            _ => words.to_owned(),
        },
        "agent": agents(leaf, body, source),
        "source": {
            "site": leaf.node,
            "observer": { "display": source },
            "type": [coding(SOURCE_TYPE, "3", "Web Server")],
        },
        "entity": entities(leaf, body),
    });
    if let Some(fields) = event.as_object_mut().filter(|_| !leaf.purposes.is_empty()) {
        let purposes: Vec<_> = leaf
            .purposes
            .iter()
            .map(|purpose| json!({ "coding": [{ "system": ACT_REASON, "code": purpose.code() }] }))
            .collect();
        fields.insert("purposeOfEvent".into(), json!(purposes));
    }
    event
}
