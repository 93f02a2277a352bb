//! The files that a configuration names, read and understood: certificates, keys, secrets.
//!
//! Everything that is wrong is said at once. Refused: private keys that others can read, keys that do not
//! belong to their certificate, a community certificate without the FHIR base, communities that
//! cannot be told apart. Dates are not judged here: an expired certificate must not keep Ward from
//! coming up and serving those who still may be served; `ward check` and the log say so.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use ward_core::{CommunityUri, Secret};
use ward_fhir::ScopeSet;
use ward_issuer::ServedCommunity;
use ward_net::client::Egress;
use ward_net::tls::{TlsVersions, server_config};
use ward_store::vault::Unlock;
use ward_trust::{
    Bundle, Certificate, Community, CommunityFault, KeyKind, SignedBundle, SigningIdentity,
};
use ward_watch::{Ceiling, Ceilings};

use super::meaning::{authority, is_open_to_all};
use super::{Config, Problem};
use crate::bundle_pull::Kept;

/// Largest file that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Where systems keep the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What the files say.
pub struct Material {
    /// Trust communities, ready to be served.
    pub communities: Vec<ServedCommunity>,
    /// TLS of the listener.
    pub tls: Arc<ServerConfig>,
    /// Chain of the listener's certificate, for its dates and names.
    pub tls_chain: Vec<Certificate>,
    /// Everything that can be granted.
    pub scopes: ScopeSet,
    /// What detection takes for normal.
    pub ceilings: Ceilings,
    /// The way to the upstream.
    pub reach: Reach,
    /// Authorities of servers of revocation lists, DER.
    pub list_roots: Vec<Vec<u8>>,
    /// Where revocation lists may be fetched.
    pub list_egress: Egress,
}

impl Material {
    /// What a community's trust bundle asks of each of its servers and this one does not support (COMM-05).
    pub fn lacking(&self, community: &Community) -> Vec<String> {
        let asked = community.context.of_bundle.scopes.iter();
        let lacking = asked.filter(|scope| {
            let (wanted, unknown) = ScopeSet::parse(scope);
            !unknown.is_empty() || !self.scopes.contains(&wanted)
        });
        lacking.cloned().collect()
    }
}

/// The way to the upstream.
#[derive(Debug)]
pub struct Reach {
    /// Where the gateway may call.
    pub egress: Egress,
    /// Authorities that its TLS certificate may come from, DER.
    pub roots: Vec<Vec<u8>>,
    /// `Authorization` for it; marked as sensitive.
    pub authorization: Option<HeaderValue>,
}

/// The way to the upstream, without looking at anything else.
pub fn reach(config: &Config) -> Result<Reach, Vec<Problem>> {
    way(config, &system_roots())
}

fn way(config: &Config, system: &[Vec<u8>]) -> Result<Reach, Vec<Problem>> {
    let egress = match authority(&config.upstream.base) {
        Some(target) if config.upstream.allow_private => Egress::allowing([target]),
        _ => Egress::public_only(),
    };
    match (upstream_roots(config, system), authorization(config)) {
        (Ok(roots), Ok(authorization)) => Ok(Reach { egress, roots, authorization }),
        (roots, authorization) => {
            let both = roots.err().into_iter().chain(authorization.err());
            Err(both.flatten().collect())
        }
    }
}

/// What opens the vault, as the configuration says.
pub fn unlock(config: &Config) -> Result<Unlock, Problem> {
    if let Some(path) = &config.keys.passphrase_file {
        let mut bytes = private(config, "keys.passphrase_file", path)?;
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        if bytes.len() < 12 {
            return Err(config.problem(
                "keys.passphrase_file",
                "holds fewer than 12 characters",
                "choose a longer passphrase before the first start",
            ));
        }
        return Ok(Unlock::Passphrase(Secret::new(bytes)));
    }
    let key = "keys.key_file";
    let Some(path) = &config.keys.key_file else {
        return Err(config.problem(
            "keys",
            "names nothing that opens the vault",
            "set key_file or passphrase_file",
        ));
    };
    private(config, key, path)?;
    Ok(Unlock::KeyFile(path.clone()))
}

/// Reads all that the configuration names, or says all that is wrong with it, its meaning included.
pub fn gather(config: &Config) -> Result<Material, Vec<Problem>> {
    gather_with(config, None)
}

/// [`gather`], as it would be with this trust bundle in the place of the one at hand.
pub fn gather_with(
    config: &Config,
    bundle: Option<&SignedBundle>,
) -> Result<Material, Vec<Problem>> {
    let mut problems = config.problems();
    let mut keep = |result: Result<(), Vec<Problem>>| {
        if let Err(found) = result {
            problems.extend(found);
        }
    };
    keep(unlock(config).map(|_| ()).map_err(|problem| vec![problem]));
    let tls = keep_value(listener(config), &mut keep);
    let system = system_roots();
    let reach = keep_value(way(config, &system), &mut keep);
    let mut communities = Vec::new();
    for at in 0..config.community.len() {
        match community(config, at, bundle) {
            Ok(Some(one)) => communities.push(one),
            Ok(None) => {}
            Err(found) => keep(Err(found)),
        }
    }
    for (at, one) in communities.iter().enumerate() {
        for other in communities.iter().take(at) {
            if one.community.overlaps(&other.community) {
                let what = format!(
                    "shares a root with {}, and nothing tells their members apart",
                    other.community.uri
                );
                keep(Err(vec![config.problem(
                    &format!("community[{at}].anchors"),
                    what,
                    "give each its uri_prefixes, or its issuing authorities",
                )]));
            }
        }
    }
    let (scopes, _) = ScopeSet::parse(&config.scopes.supported.join(" "));
    problems.sort_by_key(|problem| problem.line);
    problems.dedup();
    match (problems.is_empty(), tls, reach) {
        (true, Some((tls, tls_chain)), Some(reach)) => Ok(Material {
            communities,
            tls,
            tls_chain,
            scopes,
            ceilings: ceilings(config),
            reach,
            list_roots: system,
            list_egress: Egress::allowing(
                config.community.iter().flat_map(|one| one.allow_private.iter().cloned()),
            ),
        }),
        _ => Err(problems),
    }
}

fn keep_value<T>(
    result: Result<T, Vec<Problem>>,
    keep: &mut impl FnMut(Result<(), Vec<Problem>>),
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(found) => {
            keep(Err(found));
            None
        }
    }
}

fn ceilings(config: &Config) -> Ceilings {
    let detection = &config.detection;
    let all = Ceiling { patients: detection.patients, window: detection.window.0 };
    detection.purposes.iter().fold(Ceilings::uniform(all), |ceilings, (purpose, one)| {
        ceilings.with(*purpose, Ceiling { patients: one.patients, window: one.window.0 })
    })
}

pub(super) fn bytes(config: &Config, key: &str, path: &Path) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => {
            let way = match error.kind() {
                std::io::ErrorKind::NotFound => "put the file there, or correct the path",
                std::io::ErrorKind::PermissionDenied => "let Ward's account read it",
                _ => "mend it",
            };
            Err(config.problem(
                key,
                format!("names {}, which cannot be read: {error}", path.display()),
                way,
            ))
        }
        Ok(_) if bytes.len() as u64 > MAX_BYTES => Err(config.problem(
            key,
            format!("names {}, which is larger than 1 MiB", path.display()),
            "name the right file",
        )),
        Ok(_) => Ok(bytes),
    }
}

/// A file that only Ward may read.
fn private(config: &Config, key: &str, path: &Path) -> Result<Vec<u8>, Problem> {
    let bytes = bytes(config, key, path)?;
    if is_open_to_all(path) {
        let what = format!("names {}, which every account of this machine can use", path.display());
        return Err(config.problem(key, what, format!("chmod 600 {}", path.display())));
    }
    Ok(bytes)
}

/// The certificates in a PEM file, DER.
pub(super) fn certificates(
    config: &Config,
    key: &str,
    path: &Path,
) -> Result<Vec<Certificate>, Problem> {
    let bytes = bytes(config, key, path)?;
    let shown = path.display();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|_| {
        config.problem(key, format!("names {shown}, which is damaged PEM"), "write it again")
    })?;
    if found.is_empty() {
        let way =
            format!("if it is DER: openssl x509 -inform der -in {shown} -out certificate.pem");
        return Err(config.problem(
            key,
            format!("names {shown}, which holds no PEM certificate"),
            way,
        ));
    }
    found
        .iter()
        .map(|der| {
            Certificate::from_der(der).map_err(|error| {
                config.problem(
                    key,
                    format!("names {shown}, in which something is {error}"),
                    "write it again",
                )
            })
        })
        .collect()
}

/// The anchors that a configuration names for a community.
pub fn anchors(config: &Config, path: &Path) -> Result<Vec<Certificate>, Problem> {
    certificates(config, "community.anchors", path)
}

/// A private key in PKCS#8.
fn private_key(config: &Config, key: &str, path: &Path) -> Result<Secret<Vec<u8>>, Problem> {
    let bytes = private(config, key, path)?;
    let shown = path.display();
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(PrivateKeyDer::Pkcs8(der)) => Ok(Secret::new(der.secret_pkcs8_der().to_vec())),
        Ok(_) => {
            let way = format!("openssl pkcs8 -topk8 -nocrypt -in {shown} -out key.pem");
            Err(config.problem(key, format!("names {shown}, which is not PKCS#8"), way))
        }
        Err(_) => {
            let way = "it must begin with -----BEGIN PRIVATE KEY-----; a key under a passphrase must be unwrapped first";
            Err(config.problem(key, format!("names {shown}, which holds no PEM private key"), way))
        }
    }
}

type Tls = (Arc<ServerConfig>, Vec<Certificate>);

fn listener(config: &Config) -> Result<Tls, Vec<Problem>> {
    let listen = &config.listen;
    let chain = certificates(config, "listen.certificate", &listen.certificate);
    let key = private_key(config, "listen.key", &listen.key);
    let (chain, key) = both(chain, key)?;
    let versions = if listen.tls12 { TlsVersions::Tls12Too } else { TlsVersions::Tls13 };
    let ders: Vec<Vec<u8>> = chain.iter().map(|one| one.der().to_vec()).collect();
    let tls = server_config(&ders, &key, versions).map_err(|error| {
        vec![config.problem(
            "listen.key",
            format!("does not serve with listen.certificate: {error}"),
            "name the key of this certificate",
        )]
    })?;
    Ok((tls, chain))
}

fn both<A, B>(one: Result<A, Problem>, two: Result<B, Problem>) -> Result<(A, B), Vec<Problem>> {
    match (one, two) {
        (Ok(one), Ok(two)) => Ok((one, two)),
        (one, two) => Err(one.err().into_iter().chain(two.err()).collect()),
    }
}

/// `Ok(None)`: a problem that [`Config::problems`] names already.
fn community(
    config: &Config,
    at: usize,
    bundle: Option<&SignedBundle>,
) -> Result<Option<ServedCommunity>, Vec<Problem>> {
    let Some(one) = config.community.get(at) else { return Ok(None) };
    let key = |name: &str| format!("community[{at}].{name}");
    let anchors = certificates(config, &key("anchors"), &one.anchors);
    let chain = certificates(config, &key("certificate"), &one.certificate);
    let pkcs8 = private_key(config, &key("key"), &one.key);
    let intermediates = match &one.intermediates {
        Some(path) => certificates(config, &key("intermediates"), path),
        None => Ok(Vec::new()),
    };
    let issuing = match &one.issuing {
        Some(path) => certificates(config, &key("issuing"), path),
        None => Ok(Vec::new()),
    };
    let (anchors, mut intermediates, issuing, mut chain, pkcs8) =
        match (anchors, intermediates, issuing, chain, pkcs8) {
            (Ok(anchors), Ok(intermediates), Ok(issuing), Ok(chain), Ok(pkcs8)) => {
                (anchors, intermediates, issuing, chain, pkcs8)
            }
            (anchors, intermediates, issuing, chain, pkcs8) => {
                let wrong =
                    [anchors.err(), intermediates.err(), issuing.err(), chain.err(), pkcs8.err()];
                return Err(wrong.into_iter().flatten().collect());
            }
        };
    // What members need not send either.
    intermediates
        .extend(issuing.iter().filter(|one| !anchors.contains(one)).cloned().collect::<Vec<_>>());
    // Whoever believes the root has it; sent along, it only makes statements larger.
    let leaf = chain.first().cloned();
    chain
        .retain(|certificate| Some(certificate) == leaf.as_ref() || !anchors.contains(certificate));
    let mut problems = Vec::new();
    if let Some(leaf) = &leaf {
        let base = config.fhir_base();
        if !leaf.san_uris().contains(&base) {
            let has = if leaf.san_uris().is_empty() {
                "none".to_owned()
            } else {
                leaf.san_uris().join(", ")
            };
            problems.push(config.problem(&key("certificate"), format!("has no SAN URI {base} (it has: {has})"), "have it issued with exactly this URI (`ward init` writes the request), or correct listen.origin"));
        }
        if !matches!(leaf.subject_key(), KeyKind::Rsa { .. }) || !leaf.has_strong_key() {
            problems.push(config.problem(
                &key("certificate"),
                "has no RSA key of 2048 to 8192 bits, which signed metadata needs (RS256)",
                "have one issued for an RSA key",
            ));
        }
    }
    let ders: Vec<Vec<u8>> = chain.iter().map(|one| one.der().to_vec()).collect();
    let identity = SigningIdentity::from_pkcs8(&ders, &pkcs8);
    if let (Err(error), true) = (&identity, problems.is_empty()) {
        problems.push(config.problem(
            &key("key"),
            format!("does not sign for community[{at}].certificate: {error}"),
            "name the key for which this certificate was issued",
        ));
    }
    let (Ok(identity), true) = (identity, problems.is_empty()) else { return Err(problems) };
    let Ok(uri) = CommunityUri::parse(&one.uri) else { return Ok(None) };
    let mut community = Community::new(uri, anchors);
    community.intermediates = intermediates;
    community.issuing = issuing.iter().map(Certificate::thumbprint).collect();
    community.profile = one.profile;
    community.max_purposes = one.max_purposes;
    community.context = super::context::rules(config, at)?;
    community.purposes.clone_from(&one.purposes);
    community.organization_schemes.clone_from(&one.organization_schemes);
    community.policies.clone_from(&one.policies);
    community.uri_prefixes.clone_from(&one.uri_prefixes);
    community.require_revocation = one.require_revocation;
    let mut published = None;
    if one.bundle.is_some() {
        (community, published) = followed(config, &key("bundle"), community, bundle)?;
    }
    if let Err(fault) = community.check() {
        let (name, way) = match &fault {
            CommunityFault::Prefix(_) => ("uri_prefixes", "write the prefix to its end"),
            _ => ("anchors", "ask the community for its root certificates"),
        };
        return Err(vec![config.problem(&key(name), format!("is of no use: {fault}"), way)]);
    }
    let mut served = ServedCommunity::new(community, Arc::new(identity));
    served.revocation_grace = one.revocation_grace.0;
    served.certifications =
        super::certification::rules(config, at, &served.community, published.as_ref())?;
    served.signals_from.clone_from(&one.signals_from);
    Ok(Some(served))
}

/// The community under this bundle if it is its own, else under the one that was taken last, if there is one; and that one.
fn followed(
    config: &Config,
    key: &str,
    community: Community,
    bundle: Option<&SignedBundle>,
) -> Result<(Community, Option<Bundle>), Vec<Problem>> {
    if let Some(bundle) = bundle.filter(|one| one.bundle().community == community.uri) {
        return Ok((bundle.apply(&community), Some(bundle.bundle().clone())));
    }
    match Kept::read(&config.data, &community.uri, &config.limits) {
        Ok(Some(kept)) => Ok((kept.apply(&community), Some(kept.current().bundle().clone()))),
        Ok(None) => Ok((community, None)),
        Err(error) => Err(vec![config.problem(
            key,
            format!("is followed, but what was taken last cannot be read: {error}"),
            "do what this says",
        )]),
    }
}

pub(crate) fn system_roots() -> Vec<Vec<u8>> {
    let Some(bytes) = SYSTEM_ROOTS.iter().find_map(|path| fs::read(path).ok()) else {
        return Vec::new();
    };
    CertificateDer::pem_slice_iter(&bytes)
        .flatten()
        .filter(|der| rustls::RootCertStore::empty().add(der.clone()).is_ok())
        .map(|der| der.to_vec())
        .collect()
}

fn upstream_roots(config: &Config, system: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Vec<Problem>> {
    if let Some(path) = &config.upstream.ca {
        let found = certificates(config, "upstream.ca", path).map_err(|problem| vec![problem])?;
        return Ok(found.iter().map(|one| one.der().to_vec()).collect());
    }
    if config.upstream.base.starts_with("https:") && system.is_empty() {
        return Err(vec![config.problem(
            "upstream.base",
            "is https, and this system names no authorities to trust",
            "set upstream.ca, or install the package ca-certificates",
        )]);
    }
    Ok(system.to_vec())
}

/// What the upstream wants to see of Ward itself; `None` if nothing is configured.
pub fn authorization(config: &Config) -> Result<Option<HeaderValue>, Vec<Problem>> {
    const KEY: &str = "upstream.authorization_file";
    let Some(path) = &config.upstream.authorization_file else { return Ok(None) };
    let bytes = private(config, KEY, path).map_err(|problem| vec![problem])?;
    let mut value = HeaderValue::from_bytes(bytes.trim_ascii())
        .ok()
        .filter(|value| {
            value.to_str().is_ok_and(|text| {
                text.split_once(' ')
                    .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
            })
        })
        .ok_or_else(|| {
            vec![config.problem(
                KEY,
                "names a file that holds no value of an Authorization header",
                "write one line: \"Bearer …\" or \"Basic …\"",
            )]
        })?;
    value.set_sensitive(true);
    Ok(Some(value))
}
