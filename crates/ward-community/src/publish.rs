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
use crate::operator::OperatorDeps;
use crate::register::{LastList, Member, Register};
use crate::{Authority, CommunityError, KeySpec, files};

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

/// What is handed out.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) root: Certificate,
    pub(crate) issuing: Certificate,
    pub(crate) root_list: ListInfo,
    pub(crate) issuing_list: ListInfo,
}

impl Published {
    pub(crate) const fn list(&self, authority: Authority) -> &ListInfo {
        match authority {
            Authority::Root => &self.root_list,
            Authority::Issuing => &self.issuing_list,
        }
    }

    pub(crate) const fn certificate(&self, authority: Authority) -> &Certificate {
        match authority {
            Authority::Root => &self.root,
            Authority::Issuing => &self.issuing,
        }
    }
}

pub(crate) const REGISTER: &str = "register.json";

pub(crate) fn certificate_path(dir: &Path, authority: Authority) -> PathBuf {
    dir.join("ca").join(format!("{}.cer", authority.word()))
}

pub(crate) fn list_path(dir: &Path, authority: Authority) -> PathBuf {
    dir.join("crl").join(format!("{}.crl", authority.word()))
}

/// Keys of several communities can lie in one vault.
pub(crate) fn key_name(uri: &CommunityUri, authority: Authority) -> String {
    let name = hex(&sha256(&[uri.as_str().as_bytes()]));
    format!("community/{name}/{}", authority.word())
}

/// The responder's certificate.
pub(crate) fn responder_path(dir: &Path) -> PathBuf {
    dir.join("ca").join("ocsp.cer")
}

/// The responder's key; a kind that signs fast.
pub(crate) const RESPONDER_KEY: KeySpec = KeySpec::P256;

pub(crate) fn responder_key_name(uri: &CommunityUri) -> String {
    let name = hex(&sha256(&[uri.as_str().as_bytes()]));
    format!("community/{name}/ocsp")
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
    authority: Authority,
) -> Result<AuthorityKey, CommunityError> {
    let name = key_name(&register.uri, authority);
    let of = match authority {
        Authority::Root => KeyOf::Root,
        Authority::Issuing => KeyOf::Issuing,
    };
    deps.vault.open(of, &name, register.ca_key)
}

/// Signs the authority's next list from the register and keeps both. Register first, then the list:
/// a number is never used for two lists, and a list that is left behind is noticed by its hash.
pub(crate) fn renew_list(
    dir: &Path,
    deps: &OperatorDeps,
    register: &mut Register,
    authority: Authority,
) -> Result<ListInfo, CommunityError> {
    let key = authority_key(deps, register, authority)?;
    let (revoked, life) = match authority {
        Authority::Root => {
            (Vec::new(), Duration::from_hours(24 * u64::from(register.root_list_days)))
        }
        Authority::Issuing => {
            (register.members.iter().filter_map(entry).collect(), ISSUING_LIST_LIFE)
        }
    };
    let number = register.last_list(authority).number + 1;
    let params = authority.params(&register.name);
    let der = sign_list(&params, &*key, number, deps.clock.now(), life, revoked)?;
    drop(key);
    let path = list_path(dir, authority);
    let info = list_info(number, der).ok_or_else(|| CommunityError::Damaged(path.clone()))?;
    let last = LastList { number, sha256: hex(&sha256(&[&info.der])) };
    let before = std::mem::replace(register.last_list(authority), last);
    let event = event(register, deps, "list-published")
        .with("list", authority.word())
        .with("number", number.to_string());
    register.unlogged.push(event);
    if let Err(error) = write_register(dir, register) {
        register.unlogged.pop();
        *register.last_list(authority) = before;
        return Err(error);
    }
    files::replace(&path, &info.der)?;
    Ok(info)
}

pub(crate) fn entry(member: &Member) -> Option<RevokedCertParams> {
    let revocation = member.revoked?;
    let serial = unhex::<16>(&member.serial)?;
    Some(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&serial),
        revocation_time: calendar(revocation.at),
        reason_code: revocation.reason.code(),
        invalidity_date: None,
    })
}

pub(crate) fn list_info(number: u64, der: Vec<u8>) -> Option<ListInfo> {
    let list = Arc::new(Crl::from_der(&der).ok()?);
    Some(ListInfo { number, der, list })
}
