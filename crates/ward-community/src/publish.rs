//! What lies in the community's directory and how it changes: register, authorities, numbered lists.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{RevokedCertParams, SerialNumber};
use ward_core::crypto::{hex, sha256, unhex};
use ward_core::{CommunityUri, CorrelationId, Event, EventKind, Timestamp};
use ward_trust::{Certificate, Crl};

use crate::authority::{calendar, sign_list};
use crate::keys::{AuthorityKey, KeyOf};
use crate::operator::{ISSUING_LIFE, MAX_FILE, OperatorDeps};
use crate::register::{LastList, MAX_BYTES, Reason, Register, Revocation, VERSION};
use crate::{Authority, AuthorityId, CommunityError, KeySpec, files};

/// The issuing authority's list says who is revoked today; the root's changes once in years.
const ISSUING_LIST_LIFE: Duration = Duration::from_hours(24);

/// A list as it is handed out.
#[derive(Debug, Clone)]
pub struct ListInfo {
    /// `cRLNumber`.
    pub number: u64,
    /// DER.
    pub der: Vec<u8>,
    /// The same, parsed.
    pub list: Arc<Crl>,
}

impl ListInfo {
    pub(crate) fn half(&self) -> Timestamp {
        let (from, until) = (self.list.this_update(), self.list.next_update());
        from.plus(until.since(from) / 2)
    }
}

/// An authority as it is handed out.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) id: AuthorityId,
    pub(crate) certificate: Certificate,
    pub(crate) list: ListInfo,
}

/// What is handed out.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// The newest root.
    pub(crate) root: Shown,
    /// The newest issuing authority.
    pub(crate) issuing: Shown,
    /// Those before them that still vouch for somebody.
    pub(crate) elder: Vec<Shown>,
    /// What one root says of another's entities: the next root, and issuing authorities.
    pub(crate) cross: Vec<Certificate>,
}

impl Published {
    /// Reads what is in force by the register.
    pub(crate) fn read(dir: &Path, register: &Register) -> Result<Self, CommunityError> {
        let shown = |id: AuthorityId| {
            let path = list_path(dir, id);
            let der = files::read(&path, MAX_FILE)?.unwrap_or_default();
            let list = list_info(register.number(id), der).ok_or(CommunityError::Damaged(path))?;
            Ok::<_, CommunityError>(Shown {
                id,
                certificate: certificate(&certificate_path(dir, id))?,
                list,
            })
        };
        let newest = [Authority::Root, Authority::Issuing].map(|of| register.current(of));
        let elder = register.authorities().into_iter().filter(|id| !newest.contains(id));
        let [root, issuing] = newest;
        let mut cross = Vec::new();
        for path in cross_paths(dir, register) {
            if path.exists() {
                cross.push(certificate(&path)?);
            }
        }
        Ok(Self {
            root: shown(root)?,
            issuing: shown(issuing)?,
            elder: elder.map(shown).collect::<Result<_, _>>()?,
            cross,
        })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Shown> {
        [&self.root, &self.issuing].into_iter().chain(&self.elder)
    }

    pub(crate) fn of_kind(&self, of: Authority) -> impl Iterator<Item = &Shown> {
        self.all().filter(move |one| one.id.of == of)
    }

    pub(crate) fn one(&self, id: AuthorityId) -> Option<&Shown> {
        self.all().find(|one| one.id == id)
    }

    /// The newest of its kind.
    pub(crate) const fn current(&self, of: Authority) -> &Shown {
        match of {
            Authority::Root => &self.root,
            Authority::Issuing => &self.issuing,
        }
    }
}

/// A certificate in a file of the community.
pub(crate) fn certificate(path: &Path) -> Result<Certificate, CommunityError> {
    let der = files::read(path, MAX_FILE)?;
    der.and_then(|der| Certificate::from_der(&der).ok())
        .ok_or_else(|| CommunityError::Damaged(path.to_path_buf()))
}

/// Every certificate that an authority of this community has or had, as far as it can be read.
pub(crate) fn own_certificates(dir: &Path, register: &Register) -> Vec<Certificate> {
    let firsts = [Authority::Root, Authority::Issuing].map(Authority::first);
    let all = firsts.into_iter().chain(register.later.iter().map(|one| one.id));
    all.filter_map(|id| certificate(&certificate_path(dir, id)).ok()).collect()
}

/// What `by` says of another root's `id`.
pub(crate) fn cross_path(dir: &Path, id: AuthorityId, by: AuthorityId) -> PathBuf {
    dir.join("ca").join(format!("{id}-by-{by}.cer"))
}

fn cross_paths(dir: &Path, register: &Register) -> Vec<PathBuf> {
    let roots: Vec<_> = register.of_kind(Authority::Root).collect();
    let mut paths = Vec::new();
    for root in roots.iter().filter(|root| root.generation > 1) {
        let before = AuthorityId { generation: root.generation - 1, ..*root };
        paths.push(cross_path(dir, *root, before));
    }
    for issuing in register.of_kind(Authority::Issuing) {
        paths.extend(roots.iter().map(|root| cross_path(dir, issuing, *root)));
    }
    paths
}

pub(crate) const REGISTER: &str = "register.json";

pub(crate) fn certificate_path(dir: &Path, id: AuthorityId) -> PathBuf {
    dir.join("ca").join(format!("{id}.cer"))
}

pub(crate) fn list_path(dir: &Path, id: AuthorityId) -> PathBuf {
    dir.join("crl").join(format!("{id}.crl"))
}

/// Keys of several communities can lie in one vault.
pub(crate) fn key_name(uri: &CommunityUri, id: AuthorityId) -> String {
    let name = hex(&sha256(&[uri.as_str().as_bytes()]));
    format!("community/{name}/{id}")
}

/// What belongs to the responder of one issuing authority: `ocsp`, `ocsp-2`.
fn responder(issuing: AuthorityId) -> String {
    issuing.to_string().replacen(issuing.of.word(), "ocsp", 1)
}

/// The responder's certificate.
pub(crate) fn responder_path(dir: &Path, issuing: AuthorityId) -> PathBuf {
    dir.join("ca").join(format!("{}.cer", responder(issuing)))
}

/// The responder's key; a kind that signs fast.
pub(crate) const RESPONDER_KEY: KeySpec = KeySpec::P256;

pub(crate) fn responder_key_name(uri: &CommunityUri, issuing: AuthorityId) -> String {
    let name = hex(&sha256(&[uri.as_str().as_bytes()]));
    format!("community/{name}/{}", responder(issuing))
}

pub(crate) fn event(register: &Register, deps: &OperatorDeps, action: &'static str) -> Event {
    let correlation = CorrelationId::new(&*deps.clock, &*deps.rng);
    let at = deps.clock.now();
    let mut event =
        Event::new(EventKind::Community, action, register.tenant.clone(), at, correlation);
    event.actor.community = Some(register.uri.clone());
    event.actor.operator = Some(deps.operator.clone());
    event
}

/// The register of the community in this directory, as it is now.
pub(crate) fn read_register(dir: &Path) -> Result<Register, CommunityError> {
    let path = dir.join(REGISTER);
    let bytes =
        files::read(&path, MAX_BYTES)?.ok_or_else(|| CommunityError::Missing(dir.to_path_buf()))?;
    let register: Option<Register> = serde_json::from_slice(&bytes).ok();
    register.filter(|register| register.v == VERSION).ok_or(CommunityError::Damaged(path))
}

pub(crate) fn write_register(dir: &Path, register: &Register) -> Result<(), CommunityError> {
    let path = dir.join(REGISTER);
    let bytes =
        serde_json::to_vec_pretty(register).map_err(|_| CommunityError::Damaged(path.clone()))?;
    files::replace(&path, &bytes)
}

/// Takes a key for one signature.
pub(crate) fn authority_key(
    deps: &OperatorDeps,
    register: &Register,
    id: AuthorityId,
) -> Result<AuthorityKey, CommunityError> {
    deps.vault.open(KeyOf::from(id.of), &key_name(&register.uri, id), register.ca_key)
}

/// Signs the authority's next list from the register and keeps both. Register first, then the list:
/// a number is never used for two lists, and a list that is left behind is noticed by its hash.
pub(crate) fn renew_list(
    dir: &Path,
    deps: &OperatorDeps,
    register: &mut Register,
    id: AuthorityId,
) -> Result<ListInfo, CommunityError> {
    let key = authority_key(deps, register, id)?;
    let (revoked, life) = match id.of {
        Authority::Root => {
            let own = register.vouched.iter().filter(|one| one.by == id.generation);
            let revoked = own.filter_map(|one| {
                let revocation = Revocation { at: one.revoked?, reason: Reason::CaCompromise };
                Some(entry(&unhex::<16>(&one.serial)?, revocation))
            });
            (revoked.collect(), Duration::from_hours(24 * u64::from(register.root_list_days)))
        }
        Authority::Issuing => {
            let issued = register
                .issued_by(id)
                .filter_map(|(serial, revoked)| Some(entry(&serial, revoked?)));
            // The last list of one that was revoked stands for as long as what it signed.
            let last = register.ended.contains(&id);
            let life = if last { ISSUING_LIFE } else { ISSUING_LIST_LIFE };
            (issued.collect(), life)
        }
    };
    let number = register.last_list(id).number + 1;
    let params = id.params(&register.name);
    let der = sign_list(&params, &*key, number, deps.clock.now(), life, revoked)?;
    drop(key);
    let path = list_path(dir, id);
    let info = list_info(number, der).ok_or_else(|| CommunityError::Damaged(path.clone()))?;
    let last = LastList { number, sha256: hex(&sha256(&[&info.der])) };
    let before = std::mem::replace(register.last_list(id), last);
    let event = event(register, deps, "list-published")
        .with("list", id.to_string())
        .with("number", number.to_string());
    register.unlogged.push(event);
    if let Err(error) = write_register(dir, register) {
        register.unlogged.pop();
        *register.last_list(id) = before;
        return Err(error);
    }
    files::replace(&path, &info.der)?;
    Ok(info)
}

fn entry(serial: &[u8], revocation: Revocation) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: calendar(revocation.at),
        reason_code: revocation.reason.code(),
        invalidity_date: None,
    }
}

pub(crate) fn list_info(number: u64, der: Vec<u8>) -> Option<ListInfo> {
    let list = Arc::new(Crl::from_der(&der).ok()?);
    Some(ListInfo { number, der, list })
}
