//! Decisions against a slow oracle that shares no code with them, and tables of the rules.

mod oracle;
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;

use ward_core::{
    ClientId, ClientUri, CommunityUri, FhirVersion, GrantId, Limits, OrganizationUri, PatientId,
    Purpose, TenantId, TokenId,
};
use ward_fhir::{FhirRequest, RawRequest, ReferenceBases, ResourceView, ScopeSet};

use crate::{Facts, Principal, Roster};

const PUBLIC: &str = "https://ward.example/default/fhir";
const UPSTREAM: &str = "http://upstream.example/fhir";

fn principal(scopes: &str) -> Principal {
    let (scopes, rejected) = ScopeSet::parse(scopes);
    assert!(rejected.is_empty());
    Principal {
        tenant: TenantId::default_tenant(),
        client: ClientId::from_bytes([1; 16]),
        client_uri: ClientUri::parse("https://client.example/app").unwrap(),
        grant: GrantId::from_bytes([2; 16]),
        token: TokenId::from_bytes([3; 16]),
        community: CommunityUri::parse("urn:community").unwrap(),
        organization: OrganizationUri::parse("https://org.example").unwrap(),
        purposes: vec![Purpose::Treatment],
        scopes,
    }
}

fn patients<'a>(ids: impl IntoIterator<Item = &'a str>) -> BTreeSet<PatientId> {
    ids.into_iter().map(|id| PatientId::parse(id).unwrap()).collect()
}

fn facts<'a>(ids: impl IntoIterator<Item = &'a str>) -> Facts {
    Facts { roster: Roster::Known(Arc::new(patients(ids))) }
}

fn parse(target: &str) -> FhirRequest {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let raw = RawRequest { base: PUBLIC, method: "GET", path, query, ..RawRequest::default() };
    FhirRequest::parse(FhirVersion::R4, &raw, &Limits::default())
        .unwrap_or_else(|refusal| panic!("{target}: {refusal}"))
}

fn view(json: &str) -> ResourceView {
    let bases = ReferenceBases { public: PUBLIC.into(), upstream: UPSTREAM.into() };
    ResourceView::parse(json, &bases, &Limits::default()).unwrap()
}
