//! A corpus of chains, good and bad, each named by what is wrong with it (PKI-01..PKI-14, X01..X46). Made anew in
//! every run; `interop/x509/expected.tsv` says what Ward answers, and `interop/x509/check` asks a second, independent
//! implementation (`WARD_X509_OUT=FILE` writes the chains down for it). Revocation has tests of its own.

mod authorities;
mod building;
mod honest;
mod leaves;
mod names;
mod policies;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::pki::{Ca, NOW, community, now, p256};
use crate::{Certificate, Community, candidate_paths};

/// One chain.
struct Sample {
    name: &'static str,
    leaf: Vec<u8>,
    extra: Vec<Vec<u8>>,
    community: Community,
}

impl Sample {
    fn new(name: &'static str, anchors: &[&Ca], extra: &[&Ca], leaf: &Certificate) -> Self {
        Self {
            name,
            leaf: leaf.der().to_vec(),
            extra: extra.iter().map(|ca| ca.certificate.der().to_vec()).collect(),
            community: community(anchors),
        }
    }

    /// The word of the table.
    fn verdict(&self) -> String {
        let Ok(leaf) = Certificate::from_der(&self.leaf) else { return "Unreadable".to_owned() };
        let extra: Result<Vec<_>, _> =
            self.extra.iter().map(|der| Certificate::from_der(der)).collect();
        let Ok(extra) = extra else { return "Unreadable".to_owned() };
        match candidate_paths(&leaf, &extra, &self.community, now()) {
            Ok(_) => "accept".to_owned(),
            Err(error) => format!("{error:?}"),
        }
    }
}

type Edit<'a> = &'a dyn Fn(&mut CertificateParams);

/// Leaves a certificate as it is.
fn sound(_: &mut CertificateParams) {}

/// Root, issuing authority and leaf, each edited.
fn three(name: &'static str, root: Edit<'_>, issuing: Edit<'_>, leaf: Edit<'_>) -> Sample {
    let root = Ca::root_with("Root", p256(), root);
    let issuing = root.child_with("Issuing", p256(), issuing);
    let leaf = issuing.leaf_with(p256(), leaf);
    Sample::new(name, &[&root], &[&issuing], &leaf.certificate)
}

/// A sound chain with an edited leaf.
fn leaf(name: &'static str, edit: Edit<'_>) -> Sample {
    three(name, &sound, &sound, edit)
}

/// A sound chain with an edited issuing authority.
fn issuing(name: &'static str, edit: Edit<'_>) -> Sample {
    three(name, &sound, edit, &sound)
}

fn copy(key: &KeyPair) -> KeyPair {
    KeyPair::try_from(key.serialized_der()).unwrap()
}

fn corpus() -> Vec<Sample> {
    let parts =
        [honest::all, leaves::all, authorities::all, building::all, names::all, policies::all];
    parts.iter().flat_map(|part| part()).collect()
}

/// Verdicts by name, and what is wrong with the chain.
fn table() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let text = include_str!("../../../../../interop/x509/expected.tsv");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<_> = line.split('\t').collect();
        let [name, verdict, why] = cells[..] else { panic!("three cells: {line}") };
        assert!(!why.is_empty(), "{name}: say what rule it is about");
        assert!(rows.insert(name, (verdict, why)).is_none(), "{name} stands twice");
    }
    rows
}

/// PKI-08.
#[test]
fn every_chain_gets_the_verdict_of_the_table() {
    let (corpus, table) = (corpus(), table());
    let names: BTreeSet<_> = corpus.iter().map(|sample| sample.name).collect();
    assert_eq!(names.len(), corpus.len(), "a name stands for one chain");
    assert!(names.len() >= 60, "{}", names.len());
    let mut wrong: Vec<String> = corpus
        .iter()
        .filter_map(|sample| {
            let (want, got) = (table.get(sample.name).map(|row| row.0), sample.verdict());
            (want != Some(&got)).then(|| format!("{}: {got}, the table says {want:?}", sample.name))
        })
        .collect();
    wrong.extend(
        table
            .keys()
            .filter(|name| !names.contains(*name))
            .map(|name| format!("{name}: no such chain")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if let Ok(file) = std::env::var("WARD_X509_OUT") {
        std::fs::write(file, written(&corpus).to_string()).unwrap();
    }
}

/// The chains for another implementation.
fn written(corpus: &[Sample]) -> Value {
    let text = |der: &[u8]| STANDARD.encode(der);
    let chains: Vec<_> = corpus
        .iter()
        .map(|sample| {
            let (anchors, known) = (&sample.community.anchors, &sample.community.intermediates);
            let known = known.iter().map(|one| one.der().to_vec());
            let extra: Vec<_> = sample.extra.iter().cloned().chain(known).collect();
            json!({
                "name": sample.name,
                "verdict": sample.verdict(),
                "leaf": text(&sample.leaf),
                "extra": extra.iter().map(|der| text(der)).collect::<Vec<_>>(),
                "anchors": anchors.iter().map(|one| text(one.der())).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"time": NOW, "chains": chains})
}
