//! The operator of one community: create, reopen, issue, revoke, publish.
//!
//! Order of an act: sign → write register (with the event that waits) and lists durably → record the
//! event → only then hand out. If the log does not take the event, the act stands but is not handed
//! out, and the event goes first at the next act or start: state and log agree (rule 4).

use std::borrow::Cow;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rcgen::{Issuer, PublicKeyData};
use tokio::sync::Mutex;
use ward_core::crypto::{hex, sha256};
use ward_core::{Clock, CommunityUri, EventSink, Rng, Secret, TenantId, Thumbprint};
use ward_trust::{Certificate, Community, SigningIdentity, SigningRequest};

use crate::authority::{RequestedKey, leaf_params, set_issuer_urls, set_life, set_uris};
use crate::keys::{AuthorityKeys, KeyOf};
use crate::lint::{CertificateRequest, lint};
use crate::publish::{
    ListInfo, Published, REGISTER, authority_key, certificate_path, event, key_name, list_path,
    read_register, renew_list, write_register,
};
use crate::register::{
    LastList, MAX_MEMBERS, Member, Register, VERSION, Vouched, default_root_list_days,
};
use crate::renewal::Act;
use crate::revocation::root_is_due;
use crate::{Authority, AuthorityId, CommunityError, KeySpec, files};

/// What a new community is to be like.
#[derive(Debug, Clone)]
pub struct OperatorConfig {
    /// Whose events these are.
    pub tenant: TenantId,
    /// The community's name.
    pub uri: CommunityUri,
    /// Its name for people, which stands in the authorities' subjects.
    pub name: String,
    /// Where [`crate::ListServer`] is reached from outside, as `http://127.0.0.1:8083`; goes into every
    /// certificate and stays for the community's life.
    pub base_url: String,
    /// Key of both authorities: P-256 or P-384.
    pub ca_key: KeySpec,
}

/// What a community can be given beyond its configuration.
#[derive(Debug, Clone)]
pub struct CommunityOptions {
    /// Days that the root's list is good for: as long as the root's key may be away, and half as long again.
    pub root_list_days: u32,
    /// Whether certificates name the OCSP responder of [`crate::PublicServer`].
    pub ocsp: bool,
    /// What members' URIs must begin with, each ending in `/` or `:`; empty: anything.
    pub uri_prefixes: Vec<String>,
}

impl Default for CommunityOptions {
    fn default() -> Self {
        Self { root_list_days: default_root_list_days(), ocsp: false, uri_prefixes: Vec::new() }
    }
}

/// What the operator works with.
#[derive(Clone)]
pub struct OperatorDeps {
    /// Holds the authorities' keys.
    pub vault: Arc<dyn AuthorityKeys>,
    /// Where acts are recorded.
    pub sink: Arc<dyn EventSink>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for serial numbers and ids.
    pub rng: Arc<dyn Rng>,
    /// Who acts, for every event: a person by the name that they gave, or a program by its own.
    pub operator: Cow<'static, str>,
}

/// A new certificate with its key; the operator keeps no copy of the key.
pub struct Issued {
    /// DER, leaf first, then the issuing authority; without the root (`x5c`, SMD-09).
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key: Secret<Vec<u8>>,
    /// SHA-256 of the leaf.
    pub thumbprint: Thumbprint,
}

impl Issued {
    /// Ready to sign.
    pub fn identity(&self) -> Result<SigningIdentity, ward_trust::JoseError> {
        SigningIdentity::from_pkcs8(&self.chain, &self.key)
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

/// The operator of one community.
pub struct Operator {
    pub(crate) dir: PathBuf,
    _lock: File,
    pub(crate) deps: OperatorDeps,
    uri: CommunityUri,
    base_url: String,
    pub(crate) register: Mutex<Register>,
    pub(crate) published: RwLock<Arc<Published>>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("uri", &self.uri).finish_non_exhaustive()
    }
}

pub(crate) const ROOT_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
pub(crate) const ISSUING_LIFE: Duration = Duration::from_hours(5 * 365 * 24);
/// Certificates begin a little earlier than they are made, for clocks that run late.
pub(crate) const BACKDATE: Duration = Duration::from_mins(5);
/// Bytes of a certificate or list file.
pub(crate) const MAX_FILE: u64 = 16 * 1024 * 1024;

impl Operator {
    /// Makes a community in an empty directory: root, issuing authority, their first lists.
    pub async fn create(
        dir: PathBuf,
        config: OperatorConfig,
        deps: OperatorDeps,
    ) -> Result<Arc<Self>, CommunityError> {
        Self::create_with(dir, config, CommunityOptions::default(), deps).await
    }

    /// [`Self::create`] with these options.
    pub async fn create_with(
        dir: PathBuf,
        config: OperatorConfig,
        options: CommunityOptions,
        deps: OperatorDeps,
    ) -> Result<Arc<Self>, CommunityError> {
        if dir.join(REGISTER).exists() {
            return Err(CommunityError::Exists(dir));
        }
        if config.ca_key.is_rsa() {
            return Err(CommunityError::Lint(crate::Finding::Key));
        }
        for sub in ["crl", "ca", "issued"] {
            files::make_dir(&dir.join(sub))?;
        }
        let lock = files::lock(&dir)?;
        let now = deps.clock.now();
        let base_url = config.base_url.trim_end_matches('/').to_owned();
        let make = |of: KeyOf, id| deps.vault.make(of, &key_name(&config.uri, id), config.ca_key);
        let [root_id, issuing_id] = [Authority::Root, Authority::Issuing].map(Authority::first);
        let root_key = make(KeyOf::Root, root_id)?;
        let issuing_key = make(KeyOf::Issuing, issuing_id)?;
        let start = now.minus(BACKDATE);
        let mut root = root_id.params(&config.name);
        set_life(&mut root, &*deps.rng, start, now.plus(ROOT_LIFE));
        let root_der = root.self_signed(&&*root_key)?.der().to_vec();
        let mut issuing = below(issuing_id, root_id, &config.name, &base_url);
        let serial = set_life(&mut issuing, &*deps.rng, start, now.plus(ISSUING_LIFE));
        let issuer = Issuer::from_params(&root, &*root_key);
        let issuing_der = issuing.signed_by(&&*issuing_key, &issuer)?.der().to_vec();
        drop(issuing_key);
        files::replace(&certificate_path(&dir, root_id), &root_der)?;
        files::replace(&certificate_path(&dir, issuing_id), &issuing_der)?;
        let mut register = Register {
            v: VERSION,
            tenant: config.tenant,
            uri: config.uri,
            name: config.name,
            base_url,
            ca_key: config.ca_key,
            root_list: LastList::default(),
            issuing_list: LastList::default(),
            later: Vec::new(),
            vouched: vec![Vouched {
                id: issuing_id,
                by: root_id.generation,
                serial: hex(&serial),
                revoked: None,
            }],
            ended: Vec::new(),
            members: Vec::new(),
            certifications: Vec::new(),
            root_list_days: options.root_list_days,
            ocsp: options.ocsp,
            uri_prefixes: options.uri_prefixes,
            unlogged: Vec::new(),
        };
        let event = event(&register, &deps, "created");
        register.unlogged.push(event);
        // The register comes last, with the lists: without it `create` can be run again.
        for id in [root_id, issuing_id] {
            renew_list(&dir, &deps, &mut register, id)?;
        }
        let operator = Self::assemble(dir, lock, register, deps)?;
        operator.log(&mut *operator.register.lock().await).await?;
        Ok(operator)
    }

    /// Opens the community in `dir`, and records what the log has not got yet.
    pub async fn open(dir: PathBuf, deps: OperatorDeps) -> Result<Arc<Self>, CommunityError> {
        if !dir.join(REGISTER).exists() {
            return Err(CommunityError::Missing(dir));
        }
        let lock = files::lock(&dir)?;
        let mut register = read_register(&dir)?;
        // A crash between register and list leaves an older list in the file, which may lack the last
        // revocation: it is signed anew.
        for id in register.authorities() {
            let der = files::read(&list_path(&dir, id), MAX_FILE)?.unwrap_or_default();
            if hex(&sha256(&[&der])) != register.last_list(id).sha256 {
                match renew_list(&dir, &deps, &mut register, id) {
                    Ok(_) => {}
                    Err(CommunityError::RootAway) => root_is_due(),
                    Err(error) => return Err(error),
                }
            }
        }
        let operator = Self::assemble(dir, lock, register, deps)?;
        operator.log(&mut *operator.register.lock().await).await?;
        operator.publish().await?;
        Ok(operator)
    }

    /// [`Self::open`] if there is a community in `dir`, else [`Self::create`].
    pub async fn open_or_create(
        dir: PathBuf,
        config: OperatorConfig,
        deps: OperatorDeps,
    ) -> Result<Arc<Self>, CommunityError> {
        match Self::open(dir.clone(), deps.clone()).await {
            Err(CommunityError::Missing(_)) => Self::create(dir, config, deps).await,
            opened => opened,
        }
    }

    fn assemble(
        dir: PathBuf,
        lock: File,
        register: Register,
        deps: OperatorDeps,
    ) -> Result<Arc<Self>, CommunityError> {
        let published = Published::read(&dir, &register)?;
        Ok(Arc::new(Self {
            uri: register.uri.clone(),
            base_url: register.base_url.clone(),
            published: RwLock::new(Arc::new(published)),
            register: Mutex::new(register),
            _lock: lock,
            dir,
            deps,
        }))
    }

    /// The community's name.
    pub const fn uri(&self) -> &CommunityUri {
        &self.uri
    }

    /// Where lists are to be served, as given at creation.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What members trust: the roots as anchors, the issuing authorities beside them, revocation demanded.
    /// Purposes and organisation schemes are [`Community::new`]'s defaults; members choose their own.
    pub fn trust(&self) -> Community {
        let published = self.published();
        let of = |kind| published.of_kind(kind).map(|one| one.certificate.clone());
        let mut community = Community::new(self.uri.clone(), of(Authority::Root).collect());
        community.intermediates = of(Authority::Issuing).chain(published.cross.clone()).collect();
        community
    }

    /// Which authorities vouch for somebody now, the newest root and the newest issuing authority first.
    pub fn authorities(&self) -> Vec<AuthorityId> {
        self.published().all().map(|one| one.id).collect()
    }

    /// The list of the newest authority of this kind that is handed out now.
    pub fn list(&self, authority: Authority) -> ListInfo {
        self.published().current(authority).list.clone()
    }

    /// The list of this authority, unless it has ended.
    pub fn list_of(&self, id: AuthorityId) -> Option<ListInfo> {
        self.published().one(id).map(|one| one.list.clone())
    }

    /// The certificate of the newest authority of this kind.
    pub fn certificate(&self, authority: Authority) -> Certificate {
        self.published().current(authority).certificate.clone()
    }

    /// The certificate of this authority, unless it has ended.
    pub fn certificate_of(&self, id: AuthorityId) -> Option<Certificate> {
        self.published().one(id).map(|one| one.certificate.clone())
    }

    /// Everything that was issued, oldest first.
    pub async fn members(&self) -> Vec<Member> {
        self.register.lock().await.members.clone()
    }

    /// Issues a certificate with a new key. Refuses a URI that another holder has, and one that this holder
    /// has unless the request is a renewal.
    pub async fn issue(&self, request: &CertificateRequest) -> Result<Issued, CommunityError> {
        request.check().map_err(CommunityError::Lint)?;
        let spec = request.key;
        // RSA takes a good part of a second: off the runtime's threads, and before the lock.
        let key = tokio::task::spawn_blocking(move || spec.generate())
            .await
            .map_err(|_| CommunityError::Interrupted)??;
        let (chain, thumbprint) = self.certify_key(request, &key, Act::Issue).await?;
        Ok(Issued { chain, key: Secret::new(key.serialized_der().to_vec()), thumbprint })
    }

    /// Issues a certificate for a key that the holder keeps (PKCS#10); the chain, leaf first, without the
    /// root. Names, URIs and life are those of `request`; of `asked` only the key counts. Refuses what
    /// [`Self::issue`] refuses, and a key that the profile does not take.
    pub async fn certify(
        &self,
        request: &CertificateRequest,
        asked: &SigningRequest,
    ) -> Result<Vec<Vec<u8>>, CommunityError> {
        self.certify_as(request, asked, Act::Issue).await
    }

    pub(crate) async fn certify_as(
        &self,
        request: &CertificateRequest,
        asked: &SigningRequest,
        act: Act<'_>,
    ) -> Result<Vec<Vec<u8>>, CommunityError> {
        request.check().map_err(CommunityError::Lint)?;
        let unasked = asked.san_uris().iter().find(|uri| !request.san_uris.contains(uri));
        if let Some(uri) = unasked {
            return Err(CommunityError::UriUnasked(uri.clone()));
        }
        let key = RequestedKey::new(asked).ok_or(CommunityError::Lint(crate::Finding::Key))?;
        Ok(self.certify_key(request, &key, act).await?.0)
    }

    pub(crate) async fn certify_key(
        &self,
        request: &CertificateRequest,
        key: &(impl PublicKeyData + Sync),
        act: Act<'_>,
    ) -> Result<(Vec<Vec<u8>>, Thumbprint), CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        act.check(&register)?;
        register.check_prefixes(&request.san_uris)?;
        register.check_not_certifier(&request.san_uris)?;
        register.check_uris(request, self.deps.clock.now())?;
        let key_hash = hex(&sha256(&[key.der_bytes()]));
        register.check_key(&request.name, &key_hash)?;
        if register.members.len() >= MAX_MEMBERS {
            return Err(CommunityError::Full(MAX_MEMBERS));
        }
        let now = self.deps.clock.now();
        let published = self.published();
        let mut params = leaf_params(&request.name);
        let issuing = &published.issuing;
        let until = now.plus(request.life).min(issuing.certificate.not_after());
        let serial = set_life(&mut params, &*self.deps.rng, now.minus(BACKDATE), until);
        set_uris(&mut params, &request.san_uris)?;
        set_issuer_urls(&mut params, &self.base_url, issuing.id, register.ocsp);
        let issuer_params = issuing.id.params(&register.name);
        let issuing_key = authority_key(&self.deps, &register, issuing.id)?;
        let der = params
            .signed_by(key, &Issuer::from_params(&issuer_params, &*issuing_key))?
            .der()
            .to_vec();
        drop(issuing_key);
        let certificate = Certificate::from_der(&der)
            .map_err(|_| CommunityError::Lint(crate::Finding::UriForm))?;
        if let Some(finding) = lint(&certificate, request.profile, now).first() {
            return Err(CommunityError::Lint(*finding));
        }
        let thumbprint = certificate.thumbprint();
        files::replace(&self.dir.join("issued").join(format!("{thumbprint}.cer")), &der)?;
        register.members.push(Member {
            thumbprint: thumbprint.to_string(),
            serial: hex(&serial),
            profile: request.profile,
            name: request.name.clone(),
            san_uris: request.san_uris.clone(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            key: Some(key_hash),
            issuer: issuing.id.generation,
            revoked: None,
        });
        let event = event(&register, &self.deps, act.word())
            .with("thumbprint", thumbprint.to_string())
            .with("serial", hex(&serial))
            .with("profile", request.profile.word())
            .with("san_uris", request.san_uris.join(" "));
        register.unlogged.push(event);
        if let Err(error) = write_register(&self.dir, &register) {
            // Not issued after all: what is in memory must not be ahead of the disk.
            register.members.pop();
            register.unlogged.pop();
            return Err(error);
        }
        self.log(&mut register).await?;
        Ok((vec![der, issuing.certificate.der().to_vec()], thumbprint))
    }

    /// Records what waits, in order, then forgets it durably.
    pub(crate) async fn log(&self, register: &mut Register) -> Result<(), CommunityError> {
        if register.unlogged.is_empty() {
            return Ok(());
        }
        let _ = self.deps.sink.record(register.unlogged.clone()).await?;
        register.unlogged.clear();
        write_register(&self.dir, register)
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The certificate of an authority below a root, but for its life.
pub(crate) fn below(
    id: AuthorityId,
    root: AuthorityId,
    name: &str,
    base_url: &str,
) -> rcgen::CertificateParams {
    let mut params = id.params(name);
    if id.of == Authority::Root {
        // One root's word for the next: an issuing authority may stand below.
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(1));
    }
    params.use_authority_key_identifier_extension = true;
    set_issuer_urls(&mut params, base_url, root, false);
    params
}
