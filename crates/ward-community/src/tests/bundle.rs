//! What the operator publishes for members to follow: trust bundles and the directory.

use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use ward_core::{Clock as _, Limits};
use ward_fhir::{FhirId, ResourceType};
use ward_trust::{Community, SignedBundle};

use super::*;

fn read(operator: &Operator) -> SignedBundle {
    let document = operator.bundle().unwrap().unwrap();
    SignedBundle::parse(&document, &Limits::default()).unwrap()
}

/// COMM-20.
#[tokio::test]
async fn bundles_are_what_a_member_takes_one_after_the_other() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, "http://lists.example").await;
    let limits = Limits::default();
    let root = operator.certificate(Authority::Root);
    let member = Community::new(operator.uri().clone(), vec![root]);
    assert!(operator.bundle().unwrap().is_none());
    operator.publish_bundle(&BundleTerms::default()).await.unwrap();
    let first = read(&operator);
    first.accept(&member, None, lab.clock.now(), &limits).unwrap();
    let lists = [Authority::Root, Authority::Issuing].map(|of| operator.list(of).list);
    let trust = ward_trust::bundle::signers(&member);
    validate(first.signer(), first.extra(), &trust, &lists, lab.clock.now()).unwrap();
    assert_eq!(first.bundle().sequence, 1);
    assert_eq!(first.bundle().revocation.len(), 2);
    let member = first.apply(&member);

    // Another process goes on with the next number, also where the last document was lost.
    drop(operator);
    let operator = lab.open().await.unwrap();
    let terms = BundleTerms { purposes: vec!["HRESCH".into()], ..BundleTerms::default() };
    operator.publish_bundle(&terms).await.unwrap();
    let second = read(&operator);
    second.accept(&member, Some(first.held()), lab.clock.now(), &limits).unwrap();
    assert_eq!(second.bundle().sequence, 2);
    assert_ne!(second.signer(), first.signer(), "a key signs one bundle");
    std::fs::remove_file(operator.dir.join("bundle.jwt")).unwrap();
    operator.publish_bundle(&terms).await.unwrap();
    assert_eq!(read(&operator).bundle().sequence, 3);
    let published: Vec<_> = lab.sink.actions();
    assert_eq!(published.iter().filter(|one| *one == "bundle-published").count(), 3);

    // What members would refuse is not published, and nothing of it is left behind.
    let other = Lab::new();
    let stranger = other.create(KeySpec::P256, "http://other.example").await;
    let stranger = stranger.certificate(Authority::Root);
    let terms = BundleTerms { anchors: vec![stranger], ..BundleTerms::default() };
    let error = operator.publish_bundle(&terms).await.unwrap_err();
    assert!(error.to_string().contains("NewWithOld"), "{error}");
    for days in [0, 91] {
        let terms = BundleTerms { days, ..BundleTerms::default() };
        assert!(operator.publish_bundle(&terms).await.is_err());
    }
    assert_eq!(read(&operator).bundle().sequence, 3);
}

#[tokio::test]
async fn no_member_gets_a_certificate_that_speaks_for_the_community() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, "http://lists.example").await;
    let uri = operator.uri().as_str().to_owned();
    for uri in [uri.clone(), uri.to_ascii_uppercase().replace("HTTPS", "https"), format!("{uri}/")]
    {
        let error = operator.issue(&CertificateRequest::client("Mallory", &uri)).await.unwrap_err();
        assert!(matches!(error, CommunityError::UriReserved(_)), "{uri}: {error}");
    }
}

/// Every reference of a resource, by the element that holds it.
fn references(resource: &Value, path: &str) -> Vec<String> {
    let found = resource.get(path);
    let all = found
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_else(|| found.cloned().into_iter().collect());
    all.iter().map(|one| one["reference"].as_str().unwrap().to_owned()).collect()
}

/// COMM-18, NDH-01, NDH-02, NDH-03, NDH-04.
#[tokio::test]
async fn the_directory_is_r4_and_shows_who_can_be_called() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, "http://lists.example").await;
    let server = CertificateRequest::server("Ring Clinic", "https://fhir.ring.example/r4");
    operator.issue(&server).await.unwrap();
    operator
        .issue(&CertificateRequest::client("Partner", "https://partner.example/app"))
        .await
        .unwrap();
    let gone = operator
        .issue(&CertificateRequest::server("Gone", "https://gone.example/r4"))
        .await
        .unwrap();
    operator.revoke(&gone.thumbprint, Reason::CessationOfOperation).await.unwrap();
    assert_eq!(operator.publish_directory().await.unwrap(), 3);
    let text = std::fs::read(operator.dir.join("directory.json")).unwrap();
    let bundle: Value = ward_core::json::parse(&text, 32).unwrap();
    assert_eq!(
        (bundle["resourceType"].as_str(), bundle["type"].as_str()),
        (Some("Bundle"), Some("collection"))
    );
    let resources: Vec<&Value> =
        bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]).collect();
    let names: Vec<String> = resources
        .iter()
        .map(|one| {
            let kind = ResourceType::from_name(one["resourceType"].as_str().unwrap()).unwrap();
            assert!(kind.is_directory());
            FhirId::parse(one["id"].as_str().unwrap()).unwrap();
            format!("{}/{}", kind.name(), one["id"].as_str().unwrap())
        })
        .collect();
    for resource in &resources {
        let kind = ResourceType::from_name(resource["resourceType"].as_str().unwrap()).unwrap();
        // Each reference is where the R4 table has one, of a type that it allows, and to what stands here.
        let (code, path) = match kind.name() {
            "Endpoint" => ("organization", "managingOrganization"),
            _ => ("endpoint", "endpoint"),
        };
        let param = ward_fhir::lookup(kind, code).unwrap();
        assert!(param.paths.contains(&path), "{:?}", param.paths);
        for reference in references(resource, path) {
            assert!(names.contains(&reference), "{reference}");
            assert!(
                param.targets.iter().any(|target| reference.starts_with(&format!("{target}/")))
            );
        }
    }
    let endpoint = resources.iter().find(|one| one["resourceType"] == "Endpoint").unwrap();
    // 1..1 and 1..* of R4, and what the National Directory demands beyond.
    for required in ["status", "connectionType", "payloadType", "address"] {
        assert!(!endpoint[required].is_null(), "{required}");
    }
    assert_eq!(endpoint["address"], "https://fhir.ring.example/r4");
    let urls: Vec<&str> = endpoint["extension"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["url"].as_str().unwrap())
        .collect();
    let wanted = [
        "base-ext-dynamicRegistration",
        "base-ext-security-details",
        "base-ext-secureExchangeArtifacts",
        "base-ext-endpointAccessControlMechanism",
    ];
    let wanted = wanted.map(|one| format!("http://hl7.org/fhir/us/ndh/StructureDefinition/{one}"));
    assert_eq!(urls, wanted);
    // NDH-02, NDH-03: what it says in them.
    let said = |at: usize, url: &str| {
        let inner = endpoint["extension"][at]["extension"].as_array().unwrap();
        inner.iter().find(|one| one["url"] == url).unwrap_or_else(|| panic!("{url}")).clone()
    };
    let profile = said(0, "trustProfile");
    assert_eq!(profile["valueCodeableConcept"]["coding"][0]["code"], "udap");
    assert_eq!(said(0, "version")["valueString"], "1");
    assert_eq!(said(1, "qualifier")["valueString"], operator.uri().as_str());
    let der = said(2, "certificate")["valueBase64Binary"].as_str().unwrap().to_owned();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    let shown = Certificate::from_der(&der).unwrap();
    assert_eq!(shown.san_uris(), ["https://fhir.ring.example/r4"]);
    // FHIR: an extension has a value or extensions, never both, never neither.
    for one in endpoint["extension"].as_array().unwrap() {
        let value = one.as_object().unwrap().keys().any(|key| key.starts_with("value"));
        assert_ne!(value, one["extension"].is_array(), "{one}");
    }
    let all = String::from_utf8(text).unwrap();
    assert!(all.contains("partner.example") && !all.contains("gone.example"));
    lab.clock.advance(Duration::from_hours(24 * 400));
    assert_eq!(operator.publish_directory().await.unwrap(), 0, "what is over is left out");
}
