//! The community's trust bundle (issue 4 Build 4; PKI-16; format and rules of acceptance: `ward_trust::bundle`).
//!
//! Each bundle is signed with a key that is made for it, certified by the issuing authority for the community's own URI until the
//! bundle ends, and forgotten at once: nothing is left to steal, and a hardware module need only sign a certificate. The
//! next root comes in by [`BundleTerms::anchors`] beside the `NewWithOld` certificate (RFC 4210 §4.4) in [`BundleTerms::intermediates`],
//! which needs the old root's key.
//!
//! A number is written down before anything is signed under it, so that no two bundles have the same. What is published is what a
//! member would take: it is checked as one would. Refused: a bundle that members refuse.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rcgen::Issuer;
use serde::{Deserialize, Serialize};
use ward_core::crypto::{hex, sha256};
use ward_core::{CommunityUri, Limits, Secret, Timestamp};
use ward_trust::bundle::{MAX_DAYS, Places};
use ward_trust::context::ValueSets;
use ward_trust::{Bundle, BundleError, Certificate, Community, SignedBundle, SigningIdentity};

use crate::authority::{leaf_params, set_issuer_urls, set_life, set_uris};
use crate::operator::BACKDATE;
use crate::publish::{Shown, authority_key, event};
use crate::register::Register;
use crate::{Authority, CommunityError, KeySpec, Operator, files};

/// Version of the file of numbers.
const VERSION: u32 = 1;
const MAX_STATE: u64 = 4096;
/// The bundle, as it is handed out.
pub(crate) const CURRENT: &str = "bundle.jwt";
/// The one before it.
const PREVIOUS: &str = "bundle.previous.jwt";
const STATE: &str = "bundle.json";

/// What a bundle is to say beside the community's own authorities.
#[derive(Debug, Clone)]
pub struct BundleTerms {
    /// Codes of the purposes of use that members may assert.
    pub purposes: Vec<String>,
    /// Prefixes of `organization_id`.
    pub organization_schemes: Vec<String>,
    /// Certifications without which nobody may register.
    pub certifications: Vec<String>,
    /// Who certifies beside those under whose URIs the community has certified already.
    pub certifiers: Vec<String>,
    /// Roles, consent policies and least scopes, for all servers alike.
    pub value_sets: ValueSets,
    /// Further anchors: the next root while both are live.
    pub anchors: Vec<Certificate>,
    /// Further intermediates: `NewWithOld`, and authorities below the next root.
    pub intermediates: Vec<Certificate>,
    /// Days until it ends, 1 to 90. Publish the next one well before.
    pub days: u64,
}

impl Default for BundleTerms {
    fn default() -> Self {
        Self {
            purposes: vec!["TREAT".to_owned()],
            organization_schemes: vec!["urn:oid:".to_owned(), "https:".to_owned()],
            certifications: Vec::new(),
            certifiers: Vec::new(),
            value_sets: ValueSets::default(),
            anchors: Vec::new(),
            intermediates: Vec::new(),
            days: 14,
        }
    }
}

/// The number that was used last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    v: u32,
    sequence: u64,
}

/// A member's certificate must not speak for the community.
pub(crate) fn is_reserved(community: &CommunityUri, uri: &str) -> bool {
    let plain = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    plain(community.as_str()) == plain(uri)
}

/// Who certifies: those of the terms, and all who did.
fn certifiers(register: &Register, terms: &BundleTerms) -> Vec<String> {
    let did = register.certifications.iter().map(|one| &one.certifier);
    let all: BTreeSet<&String> = terms.certifiers.iter().chain(did).collect();
    all.into_iter().cloned().collect()
}

impl Operator {
    /// The bundle that is handed out now.
    pub fn bundle(&self) -> Result<Option<Vec<u8>>, CommunityError> {
        files::read(&self.dir.join(CURRENT), Limits::default().bundle_bytes as u64)
    }

    /// Signs the next bundle, records it and hands it out; the one before it is kept beside it.
    pub async fn publish_bundle(
        &self,
        terms: &BundleTerms,
    ) -> Result<SignedBundle, CommunityError> {
        if !(1..=MAX_DAYS).contains(&terms.days) {
            return Err(CommunityError::Bundle(BundleError::Life));
        }
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        let limits = Limits::default();
        let before = self.bundle()?;
        let last = before.as_ref().and_then(|held| SignedBundle::parse(held, &limits).ok());
        let sequence = self.next_number(last.as_ref())?;
        let now = self.deps.clock.now();
        let published = self.published();
        let expires = now
            .plus(Duration::from_hours(24 * terms.days))
            .min(published.issuing.certificate.not_after())
            .min(published.root.certificate.not_after());
        // Made for this one document, never written down.
        let key = KeySpec::P256.generate()?;
        let name: String = format!("{} Trust Bundle", register.name).chars().take(64).collect();
        let mut params = leaf_params(&name);
        let serial = set_life(&mut params, &*self.deps.rng, now.minus(BACKDATE), expires);
        set_uris(&mut params, &[register.uri.as_str().to_owned()])?;
        set_issuer_urls(&mut params, &register.base_url, published.issuing.id, false);
        let issuing_key = authority_key(&self.deps, &register, published.issuing.id)?;
        let issuing = published.issuing.id.params(&register.name);
        let issuer = Issuer::from_params(&issuing, &*issuing_key);
        let leaf = params.signed_by(&key, &issuer)?.der().to_vec();
        drop(issuing_key);
        // Who was away while the root changed finds the way by the former root's word.
        let is_root = |one: &&Certificate| {
            let mut roots = published.of_kind(Authority::Root);
            roots.any(|root| root.certificate.key_bits() == one.key_bits())
        };
        let words = published.cross.iter().filter(is_root);
        let mut chain = vec![leaf, published.issuing.certificate.der().to_vec()];
        chain.extend(words.map(|one| one.der().to_vec()).take(4));
        let identity = SigningIdentity::from_pkcs8(&chain, &Secret::new(key.serialize_der()))
            .map_err(|error| CommunityError::Bundle(error.into()))?;
        let places = |one: &Shown| Places {
            issuer: one.certificate.thumbprint(),
            crl: vec![format!("{}/crl/{}.crl", register.base_url, one.id)],
            ocsp: if register.ocsp && one.id.of == Authority::Issuing {
                vec![format!("{}/ocsp", register.base_url)]
            } else {
                Vec::new()
            },
        };
        let own = |of: Authority, more: &[Certificate]| {
            let mut all: Vec<_> =
                published.of_kind(of).map(|one| one.certificate.clone()).collect();
            for one in more {
                if !all.contains(one) {
                    all.push(one.clone());
                }
            }
            all
        };
        let below = [&published.cross[..], &terms.intermediates].concat();
        let bundle = Bundle {
            community: register.uri.clone(),
            sequence,
            issued: now,
            not_before: now.minus(BACKDATE),
            expires,
            anchors: own(Authority::Root, &terms.anchors),
            intermediates: own(Authority::Issuing, &below),
            revocation: published.all().map(places).collect(),
            purposes: terms.purposes.clone(),
            organization_schemes: terms.organization_schemes.clone(),
            certifications: terms.certifications.clone(),
            certifiers: certifiers(&register, terms),
            value_sets: terms.value_sets.clone(),
        };
        let document =
            bundle.sign(&identity).map_err(|error| CommunityError::Bundle(error.into()))?;
        drop(identity);
        let signed = SignedBundle::parse(document.as_bytes(), &limits)?;
        // As a member would that has the last one, or only the root.
        let known = published.of_kind(Authority::Root).min_by_key(|one| one.id.generation);
        let known = known.unwrap_or(&published.root).certificate.clone();
        let mut trust = Community::new(register.uri.clone(), vec![known]);
        if let Some(last) = &last {
            trust = last.apply(&trust);
        }
        signed.accept(&trust, last.as_ref().map(SignedBundle::held), now, &limits)?;
        let state = State { v: VERSION, sequence };
        let path = self.dir.join(STATE);
        let bytes =
            serde_json::to_vec(&state).map_err(|_| CommunityError::Damaged(path.clone()))?;
        files::replace(&path, &bytes)?;
        let event = event(&register, &self.deps, "bundle-published")
            .with("sequence", sequence.to_string())
            .with("sha256", hex(&sha256(&[document.as_bytes()])))
            .with("anchors", bundle.anchors.len().to_string())
            .with("expires", expires.to_rfc3339())
            .with("serial", hex(&serial));
        register.unlogged.push(event);
        // Recorded before it is handed out.
        crate::publish::write_register(&self.dir, &register)?;
        self.log(&mut register).await?;
        if let Some(before) = before {
            files::replace(&self.dir.join(PREVIOUS), &before)?;
        }
        files::replace(&self.dir.join(CURRENT), document.as_bytes())?;
        Ok(signed)
    }

    /// Signs the next bundle with what the last one said, if there is one: after the authorities changed, and before it ends.
    pub async fn renew_bundle(&self) -> Result<Option<SignedBundle>, CommunityError> {
        let limits = Limits::default();
        let Some(held) = self.bundle()? else { return Ok(None) };
        let last = SignedBundle::parse(&held, &limits)?;
        let mine = {
            let register = self.register.lock().await;
            crate::publish::own_certificates(&self.dir, &register)
        };
        let bundle = last.bundle();
        let brought = |all: &[Certificate]| {
            all.iter()
                .filter(|one| !mine.iter().any(|own| own.key_bits() == one.key_bits()))
                .cloned()
                .collect()
        };
        let terms = BundleTerms {
            purposes: bundle.purposes.clone(),
            organization_schemes: bundle.organization_schemes.clone(),
            certifications: bundle.certifications.clone(),
            certifiers: bundle.certifiers.clone(),
            value_sets: bundle.value_sets.clone(),
            anchors: brought(&bundle.anchors),
            intermediates: brought(&bundle.intermediates),
            days: bundle
                .expires
                .since(bundle.issued)
                .as_secs()
                .div_ceil(24 * 3600)
                .clamp(1, MAX_DAYS),
        };
        Ok(Some(self.publish_bundle(&terms).await?))
    }

    /// [`Self::renew_bundle`], if the bundle that is handed out does not name all who certified.
    pub async fn name_certifiers(&self) -> Result<Option<SignedBundle>, CommunityError> {
        let Some(held) = self.bundle()? else { return Ok(None) };
        let last = SignedBundle::parse(&held, &Limits::default())?;
        let named = &last.bundle().certifiers;
        let certifications = self.certifications().await;
        if certifications.iter().all(|one| named.contains(&one.certifier)) {
            return Ok(None);
        }
        self.renew_bundle().await
    }

    /// [`Self::renew_bundle`], if the bundle that is handed out is past half of its life.
    pub async fn keep_bundle(&self) -> Result<(), CommunityError> {
        if bundle_is_due(&self.dir, self.deps.clock.now())? {
            self.renew_bundle().await?;
        }
        Ok(())
    }

    /// The number after the last: of the file of numbers and of the bundle at hand the higher counts.
    fn next_number(&self, last: Option<&SignedBundle>) -> Result<u64, CommunityError> {
        let path = self.dir.join(STATE);
        let written = match files::read(&path, MAX_STATE)? {
            None => 0,
            Some(bytes) => match serde_json::from_slice::<State>(&bytes) {
                Ok(State { v: VERSION, sequence }) => sequence,
                _ => return Err(CommunityError::Damaged(path)),
            },
        };
        let shown = last.map_or(0, |last| last.bundle().sequence);
        Ok(written.max(shown).saturating_add(1))
    }
}

/// Whether the bundle in this directory is past half of its life. One that does not parse is nobody's to renew.
pub(crate) fn bundle_is_due(dir: &Path, now: Timestamp) -> Result<bool, CommunityError> {
    let limits = Limits::default();
    let Some(held) = files::read(&dir.join(CURRENT), limits.bundle_bytes as u64)? else {
        return Ok(false);
    };
    let Ok(last) = SignedBundle::parse(&held, &limits) else { return Ok(false) };
    let (from, until) = (last.bundle().issued, last.bundle().expires);
    Ok(until <= from || now >= from.plus(until.since(from) / 2))
}
