//! New keys for the authorities while members go on: the next issuing authority, and the next root (PKI-16; RFC 4210 §4.4).
//!
//! Nothing that was good ends by it. The former issuing authority signs nobody any more, but its list and its OCSP answers until the last
//! certificate that it signed has ended; then its key is destroyed. The next root comes in beside the present one, which signs a
//! certificate for it (`NewWithOld`), so that members who follow the bundle believe it; and it vouches for the issuing
//! authorities in turn, so that nobody below them needs a new certificate when the present one goes.
//!
//! Refused: all of it without the root's key; a third root; to let a root go before a bundle has named the next one.

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
use crate::register::Register;
use crate::{Authority, AuthorityId, CommunityError, Operator, files};

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
            (certificate_path(&self.dir, id), root),
            (cross_path(&self.dir, id, present), word.der().to_vec()),
        ];
        for issuing in register.of_kind(Authority::Issuing) {
            let der = self.word_for(&register, issuing, (id, until))?;
            made.push((cross_path(&self.dir, issuing, id), der));
        }
        drop((key, present_key));
        self.bring_in(&mut register, "root-made", id, made).await
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
            self.deps.vault.destroy(KeyOf::Issuing, &key_name(&register.uri, id))?;
            self.deps.vault.destroy(KeyOf::Responder, &responder_key_name(&register.uri, id))?;
        }
        self.take_up(&register)
    }

    /// What each live root says of an issuing authority, with the files that it goes to.
    fn vouch(
        &self,
        register: &Register,
        id: AuthorityId,
    ) -> Result<Vec<(std::path::PathBuf, Vec<u8>)>, CommunityError> {
        let known = register.known_root();
        let until = self.deps.clock.now().plus(ISSUING_LIFE);
        let made = register.of_kind(Authority::Root).map(|root| {
            let path = if root == known {
                certificate_path(&self.dir, id)
            } else {
                cross_path(&self.dir, id, root)
            };
            Ok((path, self.word_for(register, id, (root, until.min(self.not_after(root)?)))?))
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
        made: Vec<(std::path::PathBuf, Vec<u8>)>,
    ) -> Result<Certificate, CommunityError> {
        let mut event = event(register, &self.deps, act).with("authority", id.to_string());
        for (path, der) in &made {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            event = event.with(format!("thumbprint {name}"), hex(&sha256(&[der])));
        }
        register.unlogged.push(event);
        if register.number(id) == 0 {
            // The files of an authority that no register names are nobody's: they come first.
            for (path, der) in &made {
                files::replace(path, der)?;
            }
            renew_list(&self.dir, &self.deps, register, id)?;
            self.log(register).await?;
        } else {
            // Recorded before it is in force.
            write_register(&self.dir, register)?;
            self.log(register).await?;
            for (path, der) in &made {
                files::replace(path, der)?;
            }
        }
        self.take_up(register)?;
        certificate(&certificate_path(&self.dir, id))
    }
}
