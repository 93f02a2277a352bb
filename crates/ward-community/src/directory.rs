//! The participant directory: who is in the community and where, as a FHIR R4 `Bundle` of `Organization` and `Endpoint` made from the
//! register (issue 4 Build 4; udap.md §6.3).
//!
//! Endpoints carry the security extensions of the National Directory (`hl7.fhir.us.ndh`, commit 56b63f6): dynamic registration, security
//! details, access control and the signing certificate. The trust-framework codes of that guide name other networks, and its binding is
//! extensible: a community stands there by text and its URI as qualifier. Left out: what is revoked or over, clients (who are called by
//! nobody), and everything about people, for the register has nothing of that. A member's kind of organisation is not known
//! here and stands as `other`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ward_core::Timestamp;
use ward_core::crypto::{hex, sha256};

use crate::operator::MAX_FILE;
use crate::publish::{event, write_register};
use crate::{CommunityError, Member, Operator, Profile, files};

/// The directory, as it is handed out.
const FILE: &str = "directory.json";
/// Octets of it.
const MAX_DIRECTORY: u64 = 64 * 1024 * 1024;
const NDH: &str = "http://hl7.org/fhir/us/ndh";

/// A FHIR id that stays with a name: the beginning of its hash.
fn id(kind: &str, name: &str) -> String {
    hex(&sha256(&[kind.as_bytes(), b"\0", name.as_bytes()])).chars().take(32).collect()
}

fn extension(name: &str, inner: &[Value]) -> Value {
    json!({"url": format!("{NDH}/StructureDefinition/{name}"), "extension": inner})
}

fn coding(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": format!("{NDH}/CodeSystem/{system}"), "code": code}]})
}

/// One server with the certificate that it signs with.
struct Listed<'a> {
    member: &'a Member,
    uri: &'a str,
    certificate: Vec<u8>,
}

fn endpoint(one: &Listed<'_>, community: &str, at: &str) -> Value {
    let certificate = STANDARD.encode(&one.certificate);
    let member = one.member;
    let access = json!({
        "url": format!("{NDH}/StructureDefinition/base-ext-endpointAccessControlMechanism"),
        "valueCodeableConcept":
            coding("NdhEndpointAccessControlMechanismCS", "OAuth-backend"),
    });
    json!({
        "resourceType": "Endpoint",
        "id": id("Endpoint", one.uri),
        "meta": {
            "lastUpdated": at,
            "profile": [format!("{NDH}/StructureDefinition/ndh-Endpoint")],
        },
        "extension": [
            extension("base-ext-dynamicRegistration", &[
                json!({"url": "trustProfile", "valueCodeableConcept": coding("NdhTrustProfileCS", "udap")}),
                json!({"url": "version", "valueString": "1"}),
            ]),
            extension("base-ext-security-details", &[
                json!({"url": "trustFrameworkType", "valueCodeableConcept": {"text": "HL7 FAST Security (UDAP) trust community"}}),
                json!({"url": "qualifier", "valueString": community}),
                json!({"url": "publicCertificate", "valueBase64Binary": certificate}),
            ]),
            extension("base-ext-secureExchangeArtifacts", &[
                json!({"url": "secureExchangeArtifactsType", "valueCodeableConcept":
                    coding("NdhSecureExchangeArtifactsCS", "x509-signing-certificate")}),
                json!({"url": "certificate", "valueBase64Binary": certificate}),
                json!({"url": "expirationDate", "valueDateTime": member.not_after.to_rfc3339()}),
            ]),
            access,
        ],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": one.uri}],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "hl7-fhir-rest",
        },
        "name": format!("FHIR server of {}", member.name),
        "managingOrganization": {"reference": format!("Organization/{}", id("Organization", &member.name))},
        "period": {"start": member.not_before.to_rfc3339(), "end": member.not_after.to_rfc3339()},
        "payloadType": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
            "code": "not-applicable",
        }]}],
        "payloadMimeType": ["application/fhir+json"],
        "address": one.uri,
    })
}

fn organization(name: &str, uris: &[&str], endpoints: &[&str], at: &str) -> Value {
    let identifiers: Vec<Value> =
        uris.iter().map(|uri| json!({"system": "urn:ietf:rfc:3986", "value": uri})).collect();
    let mut resource = json!({
        "resourceType": "Organization",
        "id": id("Organization", name),
        "meta": {
            "lastUpdated": at,
            "profile": [format!("{NDH}/StructureDefinition/ndh-Organization")],
        },
        "identifier": identifiers,
        "active": true,
        "type": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/organization-type",
            "code": "other",
        }]}],
        "name": name,
    });
    let references: Vec<Value> = endpoints
        .iter()
        .map(|uri| json!({"reference": format!("Endpoint/{}", id("Endpoint", uri))}))
        .collect();
    if let (Some(members), false) = (resource.as_object_mut(), references.is_empty()) {
        members.insert("endpoint".to_owned(), references.into());
    }
    resource
}

/// The newest certificate of each server's URI that is good now.
fn servers<'a>(members: &'a [Member], now: Timestamp) -> BTreeMap<&'a str, &'a Member> {
    let good =
        |one: &&Member| one.revoked.is_none() && one.not_before <= now && now <= one.not_after;
    let mut newest: BTreeMap<&'a str, &'a Member> = BTreeMap::new();
    for member in members.iter().filter(good).filter(|one| one.profile == Profile::Server) {
        for uri in &member.san_uris {
            let known = newest.entry(uri).or_insert(member);
            if known.not_after < member.not_after {
                *known = member;
            }
        }
    }
    newest
}

impl Operator {
    /// The directory as of now.
    pub async fn directory(&self) -> Result<Value, CommunityError> {
        let members = self.members().await;
        let now = self.deps.clock.now();
        let at = now.to_rfc3339();
        let community = self.uri().as_str();
        let mut entries = Vec::new();
        let newest = servers(&members, now);
        let good =
            |one: &&Member| one.revoked.is_none() && one.not_before <= now && now <= one.not_after;
        let mut organizations: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for member in members.iter().filter(good) {
            let uris = organizations.entry(member.name.as_str()).or_default();
            for uri in &member.san_uris {
                if !uris.contains(&uri.as_str()) {
                    uris.push(uri);
                }
            }
        }
        let mut entry = |resource: Value| {
            let text = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or_default();
            let url =
                format!("{}/directory/{}/{}", self.base_url(), text("resourceType"), text("id"));
            entries.push(json!({"fullUrl": url, "resource": resource}));
        };
        for (name, uris) in &organizations {
            let own = newest.iter().filter(|(_, member)| member.name == *name);
            let endpoints: Vec<&str> = own.map(|(uri, _)| *uri).collect();
            entry(organization(name, uris, &endpoints, &at));
        }
        for (uri, member) in &newest {
            let path = self.dir.join("issued").join(format!("{}.cer", member.thumbprint));
            let certificate = files::read(&path, MAX_FILE)?.ok_or(CommunityError::Damaged(path))?;
            entry(endpoint(&Listed { member, uri, certificate }, community, &at));
        }
        Ok(json!({
            "resourceType": "Bundle",
            "id": id("Bundle", community),
            "meta": {"lastUpdated": at},
            "identifier": {"system": "urn:ietf:rfc:3986", "value": community},
            "type": "collection",
            "timestamp": at,
            "entry": entries,
        }))
    }

    /// Writes the directory as of now, records it and hands it out; how many entries it has.
    pub async fn publish_directory(&self) -> Result<usize, CommunityError> {
        let directory = self.directory().await?;
        let count = directory.get("entry").and_then(Value::as_array).map_or(0, Vec::len);
        let text = directory.to_string();
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        let event = event(&register, &self.deps, "directory-published")
            .with("entries", count.to_string())
            .with("sha256", hex(&sha256(&[text.as_bytes()])));
        register.unlogged.push(event);
        write_register(&self.dir, &register)?;
        self.log(&mut register).await?;
        files::replace(&self.dir.join(FILE), text.as_bytes())?;
        Ok(count)
    }
}

/// What is handed out under a path beside lists and authorities: media type and octets; `None` if there is no such file.
pub(crate) fn handed_out(
    dir: &std::path::Path,
    path: &str,
) -> Result<Option<(&'static str, Vec<u8>)>, CommunityError> {
    let (name, kind) = match path {
        "/bundle.jwt" => (crate::bundle::CURRENT, "application/jwt"),
        "/directory.json" => (FILE, "application/fhir+json"),
        _ => return Ok(None),
    };
    Ok(files::read(&dir.join(name), MAX_DIRECTORY)?.map(|bytes| (kind, bytes)))
}
