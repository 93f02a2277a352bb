//! Certifications: what the community vouches for beyond membership, as JWTs that any server can check by itself (CE; IG §7.4; CRT-05,
//! CRT-06, CRT-12 to CRT-15). What stands in one, and what no server would accept, is `ward_trust::certification`'s.
//!
//! Each is signed with a key that is made for it, certified by the issuing authority as a certification issuer's until the certification
//! ends, and forgotten at once, as a bundle's is. So whoever follows revocation lists learns of a revoked certification by them, whether
//! or not it asks the status endpoint. A certifier that has a key and a certificate of its own signs with those: then the endpoint
//! alone tells. The certifier's URI belongs to the community and to no member.
//!
//! Refused: a life of more than three years or beyond the signer's certificate; a certifier's URI that a member has, or that is
//! the community's or the client's own; to revoke twice.

use std::path::Path;
use std::time::Duration;

use rcgen::Issuer;
use serde::{Deserialize, Serialize};
use ward_core::crypto::{hex, sha256, unhex};
use ward_core::{ClientUri, Limits, Secret, Timestamp};
use ward_trust::{Certification, SigningIdentity};

use crate::authority::{leaf_params, set_issuer_urls, set_life, set_uris};
use crate::operator::BACKDATE;
use crate::publish::{authority_key, event, read_register, write_register};
use crate::register::{
    MAX_MEMBERS, MAX_UNLOGGED, Reason, Register, Revocation, first, is_first, look_alike,
};
use crate::{
    Authority, AuthorityId, CertificateRequest, CommunityError, KeySpec, Operator, Profile,
};

/// What is to be certified of whom.
#[derive(Debug)]
pub struct CertificationTerms {
    /// The client: `sub`.
    pub subject: ClientUri,
    /// Who certifies: `iss`, an https URI that is the community's to use. With [`Self::signer`] a SAN URI of its certificate.
    pub certifier: ClientUri,
    /// `certification_name`.
    pub name: String,
    /// `certification_uris`: by these a server knows what it is.
    pub uris: Vec<String>,
    /// `is_endorsement`.
    pub endorsement: bool,
    /// `scope`: nothing beyond is granted for it; `None`: it says nothing of scopes.
    pub scope: Option<String>,
    /// `grant_types` that registrations must keep to; empty: it says nothing of them.
    pub grant_types: Vec<String>,
    /// Registration endpoints for which it is meant; empty: all.
    pub audiences: Vec<String>,
    /// How long it is good: at most three years.
    pub life: Duration,
    /// `certification_status_endpoint`, https.
    pub status_endpoint: Option<String>,
    /// The key and certificate of the certifier, if it has its own; it must be this community's, for this profile, and not revoked.
    pub signer: Option<SigningIdentity>,
}

/// A certification that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedCertification {
    /// Its id.
    pub jti: String,
    /// The client.
    pub subject: String,
    /// Who certified.
    pub certifier: String,
    /// Its name.
    pub name: String,
    /// Its URIs.
    pub uris: Vec<String>,
    /// The scopes that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// When it was issued.
    pub issued: Timestamp,
    /// Its last second.
    pub expires: Timestamp,
    /// SHA-256 of the certificate that signed it, hexadecimal.
    pub thumbprint: String,
    /// Serial number of the certificate that was made for it, hexadecimal; `None`: the certifier has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Which issuing authority signed that certificate, by its generation.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub issuer: u32,
    /// Whether and why it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

impl Register {
    /// A certifier's URI is nobody else's: who had it as a member could certify too.
    fn check_certifier(
        &self,
        terms: &CertificationTerms,
        now: Timestamp,
    ) -> Result<(), CommunityError> {
        let uri = terms.certifier.as_str();
        let request = CertificateRequest {
            profile: Profile::CertificationIssuer,
            san_uris: vec![uri.to_owned()],
            renewal: true,
            ..CertificateRequest::client(certifier_name(&self.name), uri)
        };
        request.check().map_err(CommunityError::Lint)?;
        self.check_uris(&request, now)
    }

    /// Refuses members a URI under which the community itself certifies.
    pub(crate) fn check_not_certifier(&self, uris: &[String]) -> Result<(), CommunityError> {
        let certifies = |uri: &&String| {
            let mut own = self.certifications.iter().filter(|one| one.serial.is_some());
            own.any(|one| look_alike(&one.certifier, uri))
        };
        match uris.iter().find(certifies) {
            Some(uri) => Err(CommunityError::UriTaken(uri.clone())),
            None => Ok(()),
        }
    }
}

/// The holder of what is made for certifications.
fn certifier_name(community: &str) -> String {
    format!("{community} Certifications").chars().take(64).collect()
}

impl Operator {
    /// Issues a certification; the JWT, for the client.
    pub async fn certify_client(
        &self,
        terms: CertificationTerms,
    ) -> Result<(String, IssuedCertification), CommunityError> {
        // Every server can check RS256. Off the runtime's threads, and before the lock.
        let key = tokio::task::spawn_blocking(|| KeySpec::Rsa2048.generate())
            .await
            .map_err(|_| CommunityError::Interrupted)??;
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        if register.certifications.len() >= MAX_MEMBERS {
            return Err(CommunityError::Full(MAX_MEMBERS));
        }
        let now = self.deps.clock.now();
        let expires = now.plus(terms.life);
        let (identity, serial, issuer) = if let Some(own) = terms.signer {
            register.check_signer(&own, now)?;
            (own, None, 1)
        } else {
            register.check_certifier(&terms, now)?;
            let published = self.published();
            let issuing = &published.issuing;
            let mut params = leaf_params(&certifier_name(&register.name));
            let serial = set_life(
                &mut params,
                &*self.deps.rng,
                now.minus(BACKDATE),
                expires.min(issuing.certificate.not_after()),
            );
            set_uris(&mut params, &[terms.certifier.as_str().to_owned()])?;
            set_issuer_urls(&mut params, &register.base_url, issuing.id, register.ocsp);
            let issuing_key = authority_key(&self.deps, &register, issuing.id)?;
            let issuer_params = issuing.id.params(&register.name);
            let issuer = Issuer::from_params(&issuer_params, &*issuing_key);
            let leaf = params.signed_by(&key, &issuer)?.der().to_vec();
            drop(issuing_key);
            // For the signal that tells of its end.
            let name = hex(&sha256(&[&leaf]));
            crate::files::replace(&self.dir.join("issued").join(format!("{name}.cer")), &leaf)?;
            let chain = [leaf, issuing.certificate.der().to_vec()];
            let pkcs8 = Secret::new(key.serialize_der());
            let identity =
                SigningIdentity::from_pkcs8(&chain, &pkcs8).map_err(CommunityError::Signer)?;
            (identity, Some(hex(&serial)), issuing.id.generation)
        };
        drop(key);
        let mut id = [0; 16];
        self.deps.rng.fill(&mut id);
        let mut made = Certification::of_client(
            terms.certifier.clone(),
            terms.subject.clone(),
            terms.name.as_str(),
            "urn:unused",
            register.uri.as_str(),
        )
        .lasting(hex(&id), now, expires);
        made.uris = terms.uris;
        made.endorsement = terms.endorsement;
        made.scope = terms.scope;
        made.grant_types = terms.grant_types;
        made.audiences = terms.audiences;
        made.status_endpoint = terms.status_endpoint;
        let jwt = made.sign(&identity, now, &Limits::default())?;
        let issued = IssuedCertification {
            jti: made.jti,
            subject: terms.subject.as_str().to_owned(),
            certifier: terms.certifier.as_str().to_owned(),
            name: made.name,
            uris: made.uris,
            scope: made.scope,
            issued: made.iat,
            expires: made.exp,
            thumbprint: identity.leaf().thumbprint().to_string(),
            serial,
            issuer,
            revoked: None,
        };
        let event = event(&register, &self.deps, "certification-issued")
            .with("jti", issued.jti.clone())
            .with("subject", issued.subject.clone())
            .with("certifier", issued.certifier.clone())
            .with("uris", issued.uris.join(" "))
            .with("expires", issued.expires.to_rfc3339())
            .with("thumbprint", issued.thumbprint.clone())
            .with("sha256", hex(&sha256(&[jwt.as_bytes()])));
        register.certifications.push(issued.clone());
        register.unlogged.push(event);
        if let Err(error) = write_register(&self.dir, &register) {
            // Not issued after all: what is in memory must not be ahead of the disk.
            register.certifications.pop();
            register.unlogged.pop();
            return Err(error);
        }
        self.log(&mut register).await?;
        Ok((jwt, issued))
    }

    /// Revokes a certification for good: its status says so at once, and so does the next list, which is published with it, if a
    /// certificate was made for it.
    pub async fn revoke_certification(
        &self,
        jti: &str,
        reason: Reason,
    ) -> Result<IssuedCertification, CommunityError> {
        let mut register = self.register.lock().await;
        if register.unlogged.len() >= MAX_UNLOGGED {
            self.log(&mut register).await?;
        }
        let at = self.deps.clock.now();
        let found = register.certifications.iter_mut().find(|one| one.jti == jti);
        let found = found.ok_or(CommunityError::UnknownCertification)?;
        let issuer = AuthorityId { of: Authority::Issuing, generation: found.issuer };
        let list = self.published().one(issuer).map(|one| one.list.list.clone());
        let serial = found.serial.as_deref().and_then(unhex::<16>);
        let listed = match (&list, &serial) {
            (Some(list), Some(serial)) => list.is_revoked(serial),
            _ => true,
        };
        // Set, but not on the list: an earlier attempt failed half-way and is taken up here.
        let is_new = found.revoked.is_none();
        if !is_new && listed {
            return Err(CommunityError::Revoked);
        }
        if is_new {
            found.revoked = Some(Revocation { at, reason });
        }
        let revoked = found.clone();
        if is_new {
            let event = event(&register, &self.deps, "certification-revoked")
                .with("jti", revoked.jti.clone())
                .with("subject", revoked.subject.clone())
                .with("thumbprint", revoked.thumbprint.clone())
                .with("reason", reason.as_str());
            register.unlogged.push(event);
        }
        // From here on nothing takes the revocation back: trying again, or the next act, writes, publishes and records it.
        if serial.is_some() && list.is_some() {
            self.publish_list(&mut register, issuer).await?;
        } else {
            write_register(&self.dir, &register)?;
        }
        self.log(&mut register).await?;
        Ok(revoked)
    }

    /// Every certification that was issued, oldest first.
    pub async fn certifications(&self) -> Vec<IssuedCertification> {
        self.register.lock().await.certifications.clone()
    }
}

impl Register {
    /// Whether a certification is revoked, or the certificate that signed it.
    pub(crate) fn is_withdrawn(&self, one: &IssuedCertification) -> bool {
        let signer = self.members.iter().find(|member| member.thumbprint == one.thumbprint);
        one.revoked.is_some() || signer.is_some_and(|signer| signer.revoked.is_some())
    }

    /// Whether this certificate is one that the community issued to a certifier and did not revoke.
    fn check_signer(&self, own: &SigningIdentity, now: Timestamp) -> Result<(), CommunityError> {
        let thumbprint = own.leaf().thumbprint().to_string();
        let member = self.members.iter().find(|one| one.thumbprint == thumbprint);
        let member = member.ok_or(CommunityError::Unknown)?;
        if member.profile != Profile::CertificationIssuer {
            return Err(CommunityError::NoCertifier(member.profile.word()));
        }
        if member.revoked.is_some() || member.not_after < now {
            return Err(CommunityError::CertifierEnded);
        }
        Ok(())
    }
}

/// Every certification that the community in this directory has issued, oldest first; read without opening it.
pub fn certifications_of(dir: &Path) -> Result<Vec<IssuedCertification>, CommunityError> {
    Ok(read_register(dir)?.certifications)
}
