//! What replaces a certificate: a member's renewed with the same key or re-keyed, an OCSP responder's.
//!
//! Refused: to renew what is revoked, and to re-key with the same key.

use std::time::Duration;

use rcgen::Issuer;
use ward_core::crypto::{hex, sha256};
use ward_core::{Thumbprint, Timestamp};
use ward_trust::{Certificate, KeyKind, SigningRequest};

use crate::authority::{RequestedKey, leaf_params, set_life, set_responder};
use crate::keys::KeyOf;
use crate::operator::{BACKDATE, MAX_FILE};
use crate::publish::{
    RESPONDER_KEY, Shown, authority_key, event, responder_key_name, responder_path, write_register,
};
use crate::register::{Member, Reason, Register, Revocation};
use crate::{Authority, CertificateRequest, CommunityError, Finding, KeySpec, Operator, files};

/// A responder's certificate is not asked after, so it is short-lived.
const RESPONDER_LIFE: Duration = Duration::from_hours(30 * 24);

/// How a member's certificate comes to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// For a new holder, or one more.
    Issue,
    /// In place of the one with this thumbprint, which must not be revoked.
    Renew(&'a str),
    /// For a new key of a holder.
    Rekey,
}

impl Act<'_> {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Issue => "issued",
            Self::Renew(_) => "renewed",
            Self::Rekey => "rekeyed",
        }
    }

    /// Looked at together with the register, so that a revocation is not overtaken.
    pub(crate) fn check(self, register: &Register) -> Result<(), CommunityError> {
        let Self::Renew(old) = self else { return Ok(()) };
        match register.members.iter().find(|member| member.thumbprint == old) {
            // Where the authority's key was lost, the holder's was not.
            Some(Member {
                revoked: None | Some(Revocation { reason: Reason::CaCompromise, .. }),
                ..
            }) => Ok(()),
            Some(_) => Err(CommunityError::RenewRevoked),
            None => Err(CommunityError::Unknown),
        }
    }
}

impl Operator {
    /// A certificate for the same holder, key and URIs as this one; the chain, leaf first, without the root.
    pub async fn renew(
        &self,
        thumbprint: &Thumbprint,
        life: Duration,
    ) -> Result<Vec<Vec<u8>>, CommunityError> {
        let (member, certificate) = self.member(thumbprint).await?;
        let key = RequestedKey::again(&certificate).ok_or(CommunityError::Lint(Finding::Key))?;
        let request = again(&member, certificate.subject_key(), life);
        request.check().map_err(CommunityError::Lint)?;
        Ok(self.certify_key(&request, &key, Act::Renew(&member.thumbprint)).await?.0)
    }

    /// A certificate for the same holder and URIs as this one, and a new key. The former stays good until it is
    /// revoked or lapses.
    pub async fn rekey(
        &self,
        thumbprint: &Thumbprint,
        asked: &SigningRequest,
        life: Duration,
    ) -> Result<Vec<Vec<u8>>, CommunityError> {
        let (member, certificate) = self.member(thumbprint).await?;
        if certificate.key_bits() == asked.key_bits() {
            return Err(CommunityError::KeySame);
        }
        let request = again(&member, asked.key(), life);
        self.certify_as(&request, asked, Act::Rekey).await
    }

    /// Makes each issuing authority an OCSP responder's key and certificate, where there is none that is good for a while yet. A
    /// community that has no responder stays without.
    pub async fn keep_responder(&self) -> Result<(), CommunityError> {
        let mut register = self.register.lock().await;
        if register.ocsp {
            for issuing in self.published().of_kind(Authority::Issuing) {
                self.keep_responder_of(&mut register, issuing).await?;
            }
        }
        Ok(())
    }

    async fn keep_responder_of(
        &self,
        register: &mut Register,
        issuing: &Shown,
    ) -> Result<(), CommunityError> {
        let now = self.deps.clock.now();
        let path = responder_path(&self.dir, issuing.id);
        let name = responder_key_name(&register.uri, issuing.id);
        let found = files::read(&path, MAX_FILE)?;
        if let Some(found) = found.and_then(|der| Certificate::from_der(&der).ok())
            && now < responder_due(&found)
            && let Ok(key) = self.deps.vault.open(KeyOf::Responder, &name, RESPONDER_KEY)
            && key.der_bytes() == found.key_bits()
        {
            return Ok(());
        }
        self.log(register).await?;
        let key = self.deps.vault.make(KeyOf::Responder, &name, RESPONDER_KEY)?;
        let issuing_key = authority_key(&self.deps, register, issuing.id)?;
        let common: String = format!("{} OCSP", register.name).chars().take(64).collect();
        let mut params = leaf_params(&common);
        let until = now.plus(RESPONDER_LIFE).min(issuing.certificate.not_after());
        let serial = set_life(&mut params, &*self.deps.rng, now.minus(BACKDATE), until);
        set_responder(&mut params);
        let issuer_params = issuing.id.params(&register.name);
        let issuer = Issuer::from_params(&issuer_params, &*issuing_key);
        let der = params.signed_by(&&*key, &issuer)?.der().to_vec();
        drop((key, issuing_key));
        let event = event(register, &self.deps, "responder-issued")
            .with("issuer", issuing.id.to_string())
            .with("serial", hex(&serial))
            .with("thumbprint", hex(&sha256(&[&der])));
        register.unlogged.push(event);
        write_register(&self.dir, register)?;
        self.log(register).await?;
        files::replace(&path, &der)
    }

    /// The thumbprint of the certificate with this serial number, hexadecimal as [`Member::serial`].
    pub async fn by_serial(&self, serial: &str) -> Result<Thumbprint, CommunityError> {
        let wanted: String = serial.chars().filter(|c| *c != ':').collect();
        let wanted = wanted.to_ascii_lowercase();
        let register = self.register.lock().await;
        let member = register.members.iter().find(|member| member.serial == wanted);
        member
            .and_then(|member| ward_core::crypto::unhex::<32>(&member.thumbprint))
            .map(Thumbprint)
            .ok_or(CommunityError::Unknown)
    }

    async fn member(
        &self,
        thumbprint: &Thumbprint,
    ) -> Result<(Member, Certificate), CommunityError> {
        let wanted = thumbprint.to_string();
        let register = self.register.lock().await;
        let member = register.members.iter().find(|member| member.thumbprint == wanted);
        let member = member.cloned().ok_or(CommunityError::Unknown)?;
        let path = self.dir.join("issued").join(format!("{wanted}.cer"));
        let der = files::read(&path, MAX_FILE)?;
        let certificate = der.and_then(|der| Certificate::from_der(&der).ok());
        Ok((member, certificate.ok_or(CommunityError::Damaged(path))?))
    }
}

/// When a responder's certificate is to be replaced: past half of its life.
pub(crate) fn responder_due(certificate: &Certificate) -> Timestamp {
    let (from, until) = (certificate.not_before(), certificate.not_after());
    from.plus(until.since(from) / 2)
}

fn again(member: &Member, key: KeyKind, life: Duration) -> CertificateRequest {
    CertificateRequest {
        profile: member.profile,
        name: member.name.clone(),
        san_uris: member.san_uris.clone(),
        // Only its kind counts here; the key itself is looked at when the certificate is made.
        key: match key {
            KeyKind::Rsa { .. } => KeySpec::Rsa2048,
            KeyKind::P256 | KeyKind::P384 | KeyKind::Other => KeySpec::P256,
        },
        life,
        renewal: true,
    }
}
