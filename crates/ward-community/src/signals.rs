//! The operator's side of signals (issue 4 Build 6; RFC 8417, RFC 8935; document: `ward_trust::signal`): members that want to be told, and
//! for each of them a queue of security event tokens, pushed by [`SignalPusher`].
//!
//! What is to be told is read off what is: certificates that the register calls revoked, and the number of the bundle, against
//! what was told. So nothing is forgotten whatever fails in between, and telling twice does no harm. Each act signs its tokens
//! with a key made for it, certified by the issuing authority for the community's own URI, and forgotten at once, as with bundles: whoever
//! pushes needs no key, and nothing is left to steal.
//!
//! Refused: a subscriber that is no member with a good server certificate for its base, and an endpoint without TLS.

mod push;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::Issuer;
use serde::{Deserialize, Serialize};
use ward_core::crypto::{hex, sha256, unhex};
use ward_core::{CorrelationId, Limits, Secret, Thumbprint, Timestamp};
use ward_net::HttpClient;
use ward_trust::signal::{About, Signal};
use ward_trust::{Certificate, SigningIdentity};

use crate::authority::{leaf_params, set_issuer_urls, set_life, set_uris};
use crate::operator::{BACKDATE, MAX_FILE};
use crate::publish::{authority_key, certificate, event, write_register};
use crate::register::{Register, Revocation};
use crate::{CommunityError, IssuedCertification, KeySpec, Member, Operator, Profile, files};

pub use push::{Delivery, SignalPusher};

/// Version of the files.
const VERSION: u32 = 1;
/// For how long a signal is worth delivering; then it is given up, and lists have told for days. As long as members take it
/// (`limits.signal_age`).
pub(crate) const LIFE: Duration = Duration::from_hours(7 * 24);
/// Members that are told.
const MAX_SUBSCRIBERS: usize = 10_000;
/// Signals that wait, of all members.
pub(crate) const MAX_WAITING: usize = 50_000;
/// Bytes of the file of subscribers.
const MAX_STATE: u64 = 16 * 1024 * 1024;
const STATE: &str = "signals.json";
const QUEUE: &str = "signals";

/// A member that is told by push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscriber {
    /// Its FHIR base: the audience of its signals.
    pub base: String,
    /// Where they are sent.
    pub endpoint: String,
    /// Since when.
    pub since: Timestamp,
}

/// The file of subscribers, and of what was told.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    v: u32,
    subscribers: Vec<Subscriber>,
    /// Thumbprints of revoked certificates, and ids of revoked certifications, of which signals were queued, or that were revoked
    /// before anybody was to be told.
    told: BTreeSet<String>,
    /// SHA-256 of the bundle that was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
}

/// One signal for one member, as it waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiting {
    v: u32,
    pub(crate) jti: String,
    pub(crate) base: String,
    pub(crate) endpoint: String,
    pub(crate) queued: Timestamp,
    pub(crate) about: String,
    pub(crate) subject: String,
    pub(crate) token: String,
}

/// How the queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Members that are told.
    pub subscribers: Vec<Subscriber>,
    /// Signals that wait for each base: how many, and since when the oldest does.
    pub waiting: Vec<(String, usize, Timestamp)>,
}

fn queue(dir: &Path) -> PathBuf {
    dir.join(QUEUE)
}

fn read_state(dir: &Path) -> Result<Option<State>, CommunityError> {
    let path = dir.join(STATE);
    let Some(bytes) = files::read(&path, MAX_STATE)? else { return Ok(None) };
    let state: Option<State> = serde_json::from_slice(&bytes).ok();
    state.filter(|state| state.v == VERSION).map(Some).ok_or(CommunityError::Damaged(path))
}

fn write_state(dir: &Path, state: &State) -> Result<(), CommunityError> {
    let path = dir.join(STATE);
    let bytes =
        serde_json::to_vec_pretty(state).map_err(|_| CommunityError::Damaged(path.clone()))?;
    files::replace(&path, &bytes)
}

/// What waits, by the name of its file; at most [`MAX_WAITING`].
pub(crate) fn waiting(dir: &Path) -> Result<Vec<(String, Waiting)>, CommunityError> {
    let dir = queue(dir);
    let at = |source| CommunityError::Io { path: dir.clone(), source };
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(error)),
    };
    let mut found = Vec::new();
    for entry in entries.take(MAX_WAITING) {
        let path = entry.map_err(at)?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        let (Some(name), true) = (name, path.extension().is_some_and(|end| end == "json")) else {
            continue;
        };
        // Delivered meanwhile.
        let Some(bytes) = files::read(&path, MAX_FILE)? else { continue };
        let one: Waiting =
            serde_json::from_slice(&bytes).map_err(|_| CommunityError::Damaged(path.clone()))?;
        found.push((name, one));
    }
    found.sort_by(|(one, a), (two, b)| (a.queued, one).cmp(&(b.queued, two)));
    Ok(found)
}

/// Who is told in the community in this directory, and what waits; read without opening it.
pub fn backlog_of(dir: &Path) -> Result<Backlog, CommunityError> {
    let subscribers = read_state(dir)?.unwrap_or_default().subscribers;
    let mut by_base: Vec<(String, usize, Timestamp)> = Vec::new();
    for (_, one) in waiting(dir)? {
        match by_base.iter_mut().find(|(base, ..)| *base == one.base) {
            Some((_, count, _)) => *count += 1,
            // The oldest comes first.
            None => by_base.push((one.base, 1, one.queued)),
        }
    }
    Ok(Backlog { subscribers, waiting: by_base })
}

impl Operator {
    /// Tells this member from now on. `endpoint`: where its signals go; without one beside its base, as Ward has it. A first signal tries
    /// the way.
    pub async fn subscribe(
        &self,
        base: &str,
        endpoint: Option<&str>,
    ) -> Result<Subscriber, CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        let now = self.deps.clock.now();
        let has = |one: &Member| {
            one.profile == Profile::Server
                && one.revoked.is_none()
                && one.not_after >= now
                && one.san_uris.iter().any(|uri| uri == base)
        };
        if !register.members.iter().any(has) {
            return Err(CommunityError::NoMember(base.to_owned()));
        }
        let endpoint = match endpoint {
            Some(endpoint) => endpoint.to_owned(),
            None => beside(base).ok_or_else(|| CommunityError::NoEndpoint(base.to_owned()))?,
        };
        if !endpoint.starts_with("https://") || endpoint.parse::<http::Uri>().is_err() {
            return Err(CommunityError::NoEndpoint(endpoint));
        }
        let mut state = match read_state(&self.dir)? {
            Some(state) => state,
            // What was revoked before stands on the lists.
            None => State {
                v: VERSION,
                told: ended(&register).collect(),
                bundle: self.bundle()?.map(|held| hex(&sha256(&[&held]))),
                ..State::default()
            },
        };
        state.subscribers.retain(|one| one.base != base);
        if state.subscribers.len() >= MAX_SUBSCRIBERS {
            return Err(CommunityError::Full(MAX_SUBSCRIBERS));
        }
        let one = Subscriber { base: base.to_owned(), endpoint, since: now };
        state.subscribers.push(one.clone());
        write_state(&self.dir, &state)?;
        let event = event(&register, &self.deps, "signals-subscribed")
            .with("base", one.base.as_str())
            .with("endpoint", one.endpoint.as_str());
        register.unlogged.push(event);
        write_register(&self.dir, &register)?;
        self.log(&mut register).await?;
        self.queue(&mut register, std::slice::from_ref(&one), &[(About::Verification, None)])
            .await?;
        Ok(one)
    }

    /// Tells this member no longer; what waits for it is given up.
    pub async fn unsubscribe(&self, base: &str) -> Result<(), CommunityError> {
        let mut register = self.register.lock().await;
        let mut state = read_state(&self.dir)?.unwrap_or_default();
        let before = state.subscribers.len();
        state.subscribers.retain(|one| one.base != base);
        if state.subscribers.len() == before {
            return Err(CommunityError::NoSubscriber(base.to_owned()));
        }
        write_state(&self.dir, &state)?;
        let event = event(&register, &self.deps, "signals-unsubscribed").with("base", base);
        register.unlogged.push(event);
        write_register(&self.dir, &register)?;
        self.log(&mut register).await?;
        for (name, _) in waiting(&self.dir)?.into_iter().filter(|(_, one)| one.base == base) {
            self.forget(&name)?;
        }
        Ok(())
    }

    /// Queues signals of everything that was not told yet; how many there are. Cheap when there is nothing.
    pub async fn signal(&self) -> Result<usize, CommunityError> {
        let mut register = self.register.lock().await;
        let Some(mut state) = read_state(&self.dir)? else { return Ok(0) };
        let (mut abouts, mut names) = (Vec::new(), Vec::new());
        for member in revoked(&register).filter(|one| !state.told.contains(&one.thumbprint)) {
            let Some(thumbprint) = unhex(&member.thumbprint).map(Thumbprint) else { continue };
            let certificate = self.issued(&member.thumbprint);
            let about = About::Certificate { thumbprint, certificate };
            abouts.push((about, member.revoked));
            names.push(member.thumbprint.clone());
        }
        for one in withdrawn(&register).filter(|one| !state.told.contains(&one.jti)) {
            let signed = self.issued(&one.thumbprint).map(|signer| (one.expires, signer));
            let (issuer, jti) = (one.certifier.clone(), one.jti.clone());
            let about = About::Certification { issuer, jti, signed };
            abouts.push((about, one.revoked));
            names.push(one.jti.clone());
        }
        let bundle = self.bundle()?.map(|held| hex(&sha256(&[&held])));
        if bundle != state.bundle {
            abouts.push((About::Published, None));
        }
        if abouts.is_empty() {
            return Ok(0);
        }
        let held = std::fs::read_dir(queue(&self.dir)).map_or(0, Iterator::count);
        let fitting = fitting(held, state.subscribers.len());
        if abouts.len() > fitting {
            tracing::error!(
                waiting = held,
                "too many signals wait: the rest is queued by the next act, and members learn it from the lists; remove subscribers that are gone"
            );
            abouts.truncate(fitting);
        }
        let queued = self.queue(&mut register, &state.subscribers, &abouts).await?;
        if names.len() < abouts.len() {
            state.bundle = bundle;
        }
        state.told.extend(names.into_iter().take(abouts.len()));
        write_state(&self.dir, &state)?;
        Ok(queued)
    }

    /// Signs and keeps one signal for each subscriber and subject, and records it.
    async fn queue(
        &self,
        register: &mut Register,
        to: &[Subscriber],
        abouts: &[(About, Option<Revocation>)],
    ) -> Result<usize, CommunityError> {
        let wanted = to.len().saturating_mul(abouts.len());
        if wanted == 0 {
            return Ok(0);
        }
        let dir = queue(&self.dir);
        files::make_dir(&dir)?;
        let now = Timestamp::from_seconds(self.deps.clock.now().as_seconds());
        let (identity, serial) = self.speaker(register, now)?;
        let mut queued = 0;
        for (about, reason) in abouts {
            for one in to {
                let id = CorrelationId::new(&*self.deps.clock, &*self.deps.rng);
                let signal = Signal {
                    issuer: register.uri.as_str().to_owned(),
                    audience: one.base.clone(),
                    jti: id.to_string(),
                    issued: now,
                    about: about.clone(),
                    reason: reason.map(|revoked| revoked.reason.as_str().to_owned()),
                };
                let waiting = Waiting {
                    v: VERSION,
                    token: signal
                        .sign(&identity)
                        .map_err(|error| CommunityError::Bundle(error.into()))?,
                    jti: signal.jti,
                    base: one.base.clone(),
                    endpoint: one.endpoint.clone(),
                    queued: now,
                    about: about.word().to_owned(),
                    subject: about.subject(),
                };
                let path = dir.join(format!("{}.json", waiting.jti));
                let bytes = serde_json::to_vec(&waiting)
                    .map_err(|_| CommunityError::Damaged(path.clone()))?;
                files::replace(&path, &bytes)?;
                queued += 1;
            }
            let event = event(register, &self.deps, "signal-queued")
                .with("about", about.word())
                .with("subject", about.subject())
                .with("members", to.len().to_string())
                .with("serial", serial.as_str());
            register.unlogged.push(event);
        }
        write_register(&self.dir, register)?;
        self.log(register).await?;
        Ok(queued)
    }

    /// A key for the signals of one act, with its certificate: the community's own URI, good as long as they are.
    fn speaker(
        &self,
        register: &Register,
        now: Timestamp,
    ) -> Result<(SigningIdentity, String), CommunityError> {
        let published = self.published();
        let issuing = &published.issuing;
        let key = KeySpec::P256.generate()?;
        let name: String = format!("{} Signals", register.name).chars().take(64).collect();
        let mut params = leaf_params(&name);
        let until =
            now.plus(LIFE).plus(Duration::from_hours(1)).min(issuing.certificate.not_after());
        let serial = set_life(&mut params, &*self.deps.rng, now.minus(BACKDATE), until);
        set_uris(&mut params, &[register.uri.as_str().to_owned()])?;
        set_issuer_urls(&mut params, &register.base_url, issuing.id, false);
        let issuing_key = authority_key(&self.deps, register, issuing.id)?;
        let issuer = issuing.id.params(&register.name);
        let leaf = params.signed_by(&key, &Issuer::from_params(&issuer, &*issuing_key))?;
        drop(issuing_key);
        let mut chain = vec![leaf.der().to_vec(), issuing.certificate.der().to_vec()];
        // Members that know only the former root, or the next, find their way.
        chain.extend(published.cross.iter().map(|one| one.der().to_vec()).take(4));
        let identity = SigningIdentity::from_pkcs8(&chain, &Secret::new(key.serialize_der()))
            .map_err(|error| CommunityError::Bundle(error.into()))?;
        Ok((identity, hex(&serial)))
    }

    /// What pushes the signals of this community.
    pub fn signal_pusher(&self, client: HttpClient, limits: Arc<Limits>) -> SignalPusher {
        SignalPusher::new(self.dir.clone(), client, self.deps.clock.clone(), limits)
    }

    /// Records what became of signals, then forgets them.
    pub async fn settle_signals(&self, done: &[Delivery]) -> Result<(), CommunityError> {
        let mut register = self.register.lock().await;
        self.log(&mut register).await?;
        for one in done.chunks(500) {
            let events = one.iter().map(|one| {
                let event = event(&register, &self.deps, one.end.word())
                    .with("signal", one.jti.as_str())
                    .with("base", one.base.as_str())
                    .with("about", one.about.as_str())
                    .with("tries", one.tries.to_string());
                match one.end.why() {
                    Some(why) => event.refused("RFC8935").with("why", why),
                    None => event,
                }
            });
            let _ = self.deps.sink.record(events.collect()).await?;
        }
        for one in done {
            self.forget(&one.name)?;
        }
        Ok(())
    }

    /// A certificate that this community issued; `None`: its file is gone, and its members learn from the lists whose it was.
    fn issued(&self, thumbprint: &str) -> Option<Box<Certificate>> {
        let path = self.dir.join("issued").join(format!("{thumbprint}.cer"));
        certificate(&path).ok().map(Box::new)
    }

    fn forget(&self, name: &str) -> Result<(), CommunityError> {
        let path = queue(&self.dir).join(format!("{name}.json"));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(CommunityError::Io { path, source })
            }
            _ => Ok(()),
        }
    }
}

/// How many acts can be told to so many subscribers while so many signals wait.
fn fitting(held: usize, subscribers: usize) -> usize {
    MAX_WAITING.saturating_sub(held).checked_div(subscribers).unwrap_or(usize::MAX)
}

fn revoked(register: &Register) -> impl Iterator<Item = &Member> {
    register.members.iter().filter(|one| one.revoked.is_some())
}

/// Certifications that are revoked themselves; what the end of their signer ends goes with that.
fn withdrawn(register: &Register) -> impl Iterator<Item = &IssuedCertification> {
    register.certifications.iter().filter(|one| one.revoked.is_some())
}

/// What of all that is revoked stands in [`State::told`].
fn ended(register: &Register) -> impl Iterator<Item = String> {
    let certificates = revoked(register).map(|one| one.thumbprint.clone());
    certificates.chain(withdrawn(register).map(|one| one.jti.clone()))
}

/// Where a Ward with this FHIR base takes signals.
fn beside(base: &str) -> Option<String> {
    Some(format!("{}/signals", base.strip_suffix("/fhir")?))
}

#[cfg(test)]
mod tests {
    use super::fitting;

    /// What does not fit waits, and what fits goes: six acts in a community of ten thousand are not all forgotten.
    #[test]
    fn as_much_is_queued_as_fits() {
        assert_eq!(fitting(0, 0), usize::MAX, "nobody wants to know");
        assert_eq!(fitting(0, 10_000), 5);
        assert_eq!(fitting(49_999, 1), 1);
        assert_eq!(fitting(50_000, 1), 0);
        assert_eq!(fitting(60_000, 1), 0);
    }
}
