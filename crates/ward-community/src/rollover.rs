//! New keys for the authorities while members go on: the next issuing authority, and the next root (PKI-16; RFC 4210 §4.4).
//!
//! Nothing that was good ends by it. The former issuing authority signs nobody any more, but its list and its OCSP answers until the last
//! certificate that it signed has ended; then its key is destroyed. The next root comes in beside the present one, which signs a
//! certificate for it (`NewWithOld`), so that members who follow the bundle believe it; and it vouches for the issuing
//! authorities in turn, so that nobody below them needs a new certificate when the present one goes.
//!
//! An issuing authority whose key is in other hands is revoked, once another one signs: every certificate that a root gave it goes on that
//! root's list, and whatever it signed ends. Its members keep their keys, and are renewed.
//!
//! Refused: all of it without the root's key; to revoke the authority that signs; a third root; to let a root go before a bundle has named the next one.

use std::path::PathBuf;

use rcgen::Issuer;
use ward_core::Timestamp;
use ward_core::crypto::{hex, sha256};
use ward_trust::{Certificate, SignedBundle};

use crate::authority::set_life;
use crate::keys::KeyOf;
use crate::operator::{BACKDATE, ISSUING_LIFE, ROOT_LIFE, below};
use crate::publish::{
    authority_key, certificate, certificate_path, cross_path, event, key_name, renew_list,
    responder_key_name, write_register,
};
use crate::register::{Reason, Register, Revocation, Vouched};
use crate::{Authority, AuthorityId, CommunityError, Operator, files};

/// A certificate of an authority that is to come into force.
struct Made {
    path: PathBuf,
    der: Vec<u8>,
    /// For which authority, by which root; `None`: a root's own.
    by: Option<(AuthorityId, AuthorityId)>,
}

impl Operator {
    /// The certificate of the issuing authority anew, with the same key: members and lists stay as they are. Needs the
    /// root's key.
    pub async fn renew_issuing(&self) -> Result<Certificate, CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        let id = register.current(Authority::Issuing);
        let made = self.vouch(&register, id)?;
        self.bring_in(&mut register, "issuing-renewed", id, made).await
    }

    /// A new issuing authority with a new key, which signs members from now on; the former goes on for those that it signed. Needs
    /// the root's key.
    pub async fn rekey_issuing(&self) -> Result<Certificate, CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        // Before anything is made.
        drop(authority_key(&self.deps, &register, register.known_root())?);
        let id = register.next(Authority::Issuing);
        let name = key_name(&register.uri, id);
        drop(self.deps.vault.make(KeyOf::Issuing, &name, register.ca_key)?);
        let made = self.vouch(&register, id)?;
        self.bring_in(&mut register, "issuing-rekeyed", id, made).await
    }

    /// The next root, beside the present one. Publish a bundle then, and let the present one go when all members have had time to
    /// take it. Needs the root's key; the next one's is kept with it.
    pub async fn next_root(&self) -> Result<Certificate, CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        if register.of_kind(Authority::Root).count() > 1 {
            return Err(CommunityError::TwoRoots);
        }
        let present = register.known_root();
        let present_key = authority_key(&self.deps, &register, present)?;
        let id = register.next(Authority::Root);
        let key =
            self.deps.vault.make(KeyOf::Root, &key_name(&register.uri, id), register.ca_key)?;
        let now = self.deps.clock.now();
        let (start, until) = (now.minus(BACKDATE), now.plus(ROOT_LIFE));
        let mut params = id.params(&register.name);
        set_life(&mut params, &*self.deps.rng, start, until);
        let root = params.self_signed(&&*key)?.der().to_vec();
        // NewWithOld.
        let mut word = below(id, present, &register.name, &register.base_url);
        let until = until.min(self.not_after(present)?);
        set_life(&mut word, &*self.deps.rng, start, until);
        let present_params = present.params(&register.name);
        let word = word.signed_by(&&*key, &Issuer::from_params(&present_params, &*present_key))?;
        let mut made = vec![
            Made { path: certificate_path(&self.dir, id), der: root, by: None },
            Made {
                path: cross_path(&self.dir, id, present),
                der: word.der().to_vec(),
                by: Some((id, present)),
            },
        ];
        for issuing in register.of_kind(Authority::Issuing) {
            let der = self.word_for(&register, issuing, (id, until))?;
            let path = cross_path(&self.dir, issuing, id);
            made.push(Made { path, der, by: Some((issuing, id)) });
        }
        drop((key, present_key));
        self.bring_in(&mut register, "root-made", id, made).await
    }

    /// Revokes an issuing authority whose key is in other hands; how many certificates of members ended with it. Another one must
    /// sign members already. Needs the root's key.
    pub async fn revoke_issuing(&self, id: AuthorityId) -> Result<usize, CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        let known = register.of_kind(Authority::Issuing).any(|one| one == id);
        if !known {
            return Err(CommunityError::UnknownAuthority);
        }
        if id == register.current(Authority::Issuing) {
            return Err(CommunityError::AuthorityInUse);
        }
        let roots: Vec<_> = register.of_kind(Authority::Root).collect();
        for root in &roots {
            // Before anything is changed.
            drop(authority_key(&self.deps, &register, *root)?);
        }
        let at = self.deps.clock.now();
        // Registers of before do not name them all.
        for root in &roots {
            for path in [certificate_path(&self.dir, id), cross_path(&self.dir, id, *root)] {
                let Ok(found) = certificate(&path) else { continue };
                let serial = hex(found.serial());
                if register.vouched.iter().all(|one| one.serial != serial) {
                    let by = root.generation;
                    register.vouched.push(Vouched { id, by, serial, revoked: None });
                }
            }
        }
        for one in register.vouched.iter_mut().filter(|one| one.id == id) {
            one.revoked.get_or_insert(at);
        }
        let revocation = Revocation { at, reason: Reason::CaCompromise };
        let mut ended = 0;
        let own = register.members.iter_mut().filter(|one| one.issuer == id.generation);
        for member in own.filter(|one| one.revoked.is_none()) {
            member.revoked = Some(revocation);
            ended += usize::from(member.not_after >= at);
        }
        let own = register.certifications.iter_mut().filter(|one| one.issuer == id.generation);
        for one in own.filter(|one| one.serial.is_some() && one.revoked.is_none()) {
            one.revoked = Some(revocation);
        }
        register.ended.push(id);
        let event = event(&register, &self.deps, "issuing-revoked")
            .with("authority", id.to_string())
            .with("reason", Reason::KeyCompromise.as_str())
            .with("certificates", ended.to_string());
        register.unlogged.push(event);
        // From here on nothing takes it back: publishing the lists again finishes what a failure broke off.
        // Members look at a root's list twice a year, at this one twice a day.
        self.publish_list(&mut register, id).await?;
        for root in roots {
            self.publish_list(&mut register, root).await?;
        }
        self.log(&mut register).await?;
        self.destroy_keys(&register, id)?;
        Ok(ended)
    }

    /// Lets the elder of two roots go: it is no anchor any more, and signs nothing. Members must have had time to take a bundle that
    /// names both.
    pub async fn retire_root(&self) -> Result<(), CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        let roots: Vec<_> = register.of_kind(Authority::Root).collect();
        let [elder, .., next] = *roots.as_slice() else { return Err(CommunityError::OneRoot) };
        let shown = certificate(&certificate_path(&self.dir, next))?;
        let limits = ward_core::Limits::default();
        let bundle = self.bundle()?.and_then(|held| SignedBundle::parse(&held, &limits).ok());
        if !bundle.is_some_and(|bundle| bundle.bundle().anchors.contains(&shown)) {
            return Err(CommunityError::RootUntold);
        }
        for issuing in register.of_kind(Authority::Issuing).collect::<Vec<_>>() {
            let der = certificate(&cross_path(&self.dir, issuing, next))?.der().to_vec();
            files::replace(&certificate_path(&self.dir, issuing), &der)?;
        }
        register.ended.push(elder);
        let event =
            event(&register, &self.deps, "root-retired").with("authority", elder.to_string());
        register.unlogged.push(event);
        write_register(&self.dir, &register)?;
        self.log(&mut register).await?;
        self.take_up(&register)
    }

    /// Ends issuing authorities of which nothing is good any longer, and destroys their keys.
    pub(crate) async fn end_spent(&self) -> Result<(), CommunityError> {
        let mut register = self.register.lock().await;
        let spent = register.spent(self.deps.clock.now());
        for id in &spent {
            register.ended.push(*id);
            let event =
                event(&register, &self.deps, "issuing-ended").with("authority", id.to_string());
            register.unlogged.push(event);
        }
        if spent.is_empty() {
            return Ok(());
        }
        write_register(&self.dir, &register)?;
        self.log(&mut register).await?;
        for id in spent {
            self.destroy_keys(&register, id)?;
        }
        self.take_up(&register)
    }

    fn destroy_keys(
        &self,
        register: &Register,
        issuing: AuthorityId,
    ) -> Result<(), CommunityError> {
        self.deps.vault.destroy(KeyOf::Issuing, &key_name(&register.uri, issuing))?;
        self.deps.vault.destroy(KeyOf::Responder, &responder_key_name(&register.uri, issuing))
    }

    /// What each live root says of an issuing authority, with the files that it goes to.
    fn vouch(&self, register: &Register, id: AuthorityId) -> Result<Vec<Made>, CommunityError> {
        let known = register.known_root();
        let until = self.deps.clock.now().plus(ISSUING_LIFE);
        let made = register.of_kind(Authority::Root).map(|root| {
            let path = if root == known {
                certificate_path(&self.dir, id)
            } else {
                cross_path(&self.dir, id, root)
            };
            let until = until.min(self.not_after(root)?);
            Ok(Made {
                path,
                der: self.word_for(register, id, (root, until))?,
                by: Some((id, root)),
            })
        });
        made.collect()
    }

    /// The certificate of an issuing authority by one root.
    fn word_for(
        &self,
        register: &Register,
        issuing: AuthorityId,
        (root, until): (AuthorityId, Timestamp),
    ) -> Result<Vec<u8>, CommunityError> {
        let start = self.deps.clock.now().minus(BACKDATE);
        let root_key = authority_key(&self.deps, register, root)?;
        let key = authority_key(&self.deps, register, issuing)?;
        let mut params = below(issuing, root, &register.name, &register.base_url);
        set_life(&mut params, &*self.deps.rng, start, until);
        let root_params = root.params(&register.name);
        let issuer = Issuer::from_params(&root_params, &*root_key);
        Ok(params.signed_by(&&*key, &issuer)?.der().to_vec())
    }

    fn not_after(&self, id: AuthorityId) -> Result<Timestamp, CommunityError> {
        Ok(certificate(&certificate_path(&self.dir, id))?.not_after())
    }

    /// Records certificates of an authority, then puts them into force; of a new authority also its first list.
    async fn bring_in(
        &self,
        register: &mut Register,
        act: &'static str,
        id: AuthorityId,
        made: Vec<Made>,
    ) -> Result<Certificate, CommunityError> {
        let mut event = event(register, &self.deps, act).with("authority", id.to_string());
        for Made { path, der, by } in &made {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            event = event.with(format!("thumbprint {name}"), hex(&sha256(&[der])));
            let found =
                Certificate::from_der(der).map_err(|_| CommunityError::Damaged(path.clone()))?;
            if let Some((id, root)) = *by {
                let serial = hex(found.serial());
                let by = root.generation;
                register.vouched.push(Vouched { id, by, serial, revoked: None });
            }
        }
        register.unlogged.push(event);
        if register.number(id) == 0 {
            // The files of an authority that no register names are nobody's: they come first.
            for Made { path, der, .. } in &made {
                files::replace(path, der)?;
            }
            renew_list(&self.dir, &self.deps, register, id)?;
            self.log(register).await?;
        } else {
            // Recorded before it is in force.
            write_register(&self.dir, register)?;
            self.log(register).await?;
            for Made { path, der, .. } in &made {
                files::replace(path, der)?;
            }
        }
        self.take_up(register)?;
        certificate(&certificate_path(&self.dir, id))
    }
}
