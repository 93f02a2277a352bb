//! Changes a running Ward to what its files say: the configuration when it is told to, all or nothing; renewed
//! certificates and credentials by themselves. What is of no use is named, and the old goes on.

mod bundle;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use ward_store::repo::Registrations;

use crate::config::Config;
use crate::config::material::{Material, authorization, gather};
use crate::house::{Knobs, System, Turned};

use super::named::warn_of_nobody;
use super::{ServeError, warn_of_dates, warn_of_mode};

/// Changes a running Ward to what its files say now.
pub struct Reloader {
    path: PathBuf,
    knobs: Knobs,
    system: System,
    registrations: Arc<dyn Registrations>,
    state: Mutex<State>,
}

struct State {
    config: Config,
    certificates: Watched,
    credentials: Watched,
}

impl State {
    /// A configuration in force, and its files as they are now.
    fn of(config: Config) -> Self {
        let certificates = Watched::new(certificate_files(&config));
        let credentials = Watched::new(credential_files(&config));
        Self { config, certificates, credentials }
    }
}

/// Files that are taken up when they are written.
struct Watched {
    /// As they are in force.
    taken: Files,
    /// As they were at the last look.
    seen: Files,
    /// There is a change that could not be taken up, and was spoken of.
    spoken: bool,
}

impl Watched {
    fn new(taken: Files) -> Self {
        Self { seen: taken.clone(), taken, spoken: false }
    }

    /// What was written since it was taken, and whether this was seen before; `None`: nothing to do.
    fn look(&mut self, now: Files) -> Option<(Vec<String>, bool)> {
        let again = now == self.seen;
        if again && !self.spoken {
            return None;
        }
        self.seen = now;
        Some((written(&self.taken, &self.seen), again))
    }

    /// What was seen is in force, or it is not and why; said once for each change.
    fn settle(&mut self, what: &str, taken: Result<(), ServeError>, again: bool) {
        self.spoken = taken.is_err();
        match taken {
            Ok(()) => {
                self.taken = self.seen.clone();
                tracing::info!("renewed {what} are in force");
            }
            Err(error) if !again => {
                tracing::error!("renewed {what} are not usable, the old ones stay: {error}");
            }
            Err(_) => {}
        }
    }
}

/// What tells that a file was written: its length, its place on the disk and when it was written.
type FileState = Option<(u64, u64, i64, i64)>;
/// Files by the path in the configuration.
type Files = BTreeMap<PathBuf, FileState>;

/// Files that were written since, or are named now and were not.
fn written(old: &Files, new: &Files) -> Vec<String> {
    let differs = |(path, state): &(&PathBuf, &FileState)| old.get(*path) != Some(*state);
    new.iter().filter(differs).map(|(path, _)| path.display().to_string()).collect()
}

fn look_at<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Files {
    use std::os::unix::fs::MetadataExt as _;
    let state = |path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.len(), data.ino(), data.mtime(), data.mtime_nsec()))
    };
    paths.into_iter().map(|path| (path.clone(), state(path))).collect()
}

fn certificate_files(config: &Config) -> Files {
    let communities = config.community.iter().flat_map(|one| {
        let named = [&one.intermediates, &one.issuing];
        let needed = [&one.anchors, &one.certificate, &one.key];
        needed.into_iter().chain(named.into_iter().flatten())
    });
    let own = [&config.listen.certificate, &config.listen.key];
    look_at(own.into_iter().chain(communities))
}

fn credential_files(config: &Config) -> Files {
    look_at(&config.upstream.authorization_file)
}

impl Reloader {
    /// For a house that was opened from this configuration.
    pub fn new(
        path: &Path,
        config: Config,
        knobs: Knobs,
        system: System,
        registrations: Arc<dyn Registrations>,
    ) -> Self {
        let state = Mutex::new(State::of(config));
        Self { path: path.to_path_buf(), knobs, system, registrations, state }
    }

    /// Reads the configuration again and takes all of it, or nothing; names what changed: keys, and files
    /// that were written anew. `operator` is who asked for it over the admin listener.
    pub async fn reload(&self, operator: Option<&str>) -> Result<Vec<String>, ServeError> {
        let mut state = self.state.lock().await;
        // Looked at before they are read: a change in between is seen by the next look.
        let new = State::of(Config::read(&self.path)?);
        let config = &new.config;
        let material = gather(config).map_err(|problems| config.faulty(problems))?;
        let named = state.config.needs_restart(config);
        if !named.is_empty() {
            return Err(ServeError::NeedsRestart(named));
        }
        let mut changed = state.config.changed(config);
        changed.extend(written(&state.certificates.taken, &new.certificates.taken));
        changed.extend(written(&state.credentials.taken, &new.credentials.taken));
        let turned = Turned { action: "reloaded", operator, changed: &changed };
        let authorization = material.reach.authorization.clone();
        self.take(config, material, turned).await?;
        // Recorded with the rest.
        self.knobs.credentials.turn(authorization);
        warn_of_mode(config);
        warn_of_nobody(config, &*self.registrations).await;
        *state = new;
        drop(state);
        let what = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
        tracing::info!(changed = what, "the configuration was read again and is in force");
        Ok(changed)
    }

    /// Takes up certificates, keys and credentials that were renewed, under the configuration in force.
    /// Neither waits for the other: a certificate that is of no use does not keep credentials from being renewed.
    pub async fn look(&self) {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if let Some((changed, again)) = state.credentials.look(credential_files(&state.config)) {
            let turned =
                Turned { action: "credentials-renewed", operator: None, changed: &changed };
            let taken = match authorization(&state.config) {
                Ok(value) => self.knobs.turn_credentials(value, turned).await.map_err(Into::into),
                Err(problems) => Err(state.config.faulty(problems).into()),
            };
            state.credentials.settle("credentials for the FHIR server", taken, again);
        }
        if let Some((changed, again)) = state.certificates.look(certificate_files(&state.config)) {
            let turned =
                Turned { action: "certificates-renewed", operator: None, changed: &changed };
            let taken = match gather(&state.config) {
                Ok(material) => self.take(&state.config, material, turned).await,
                Err(problems) => Err(state.config.faulty(problems).into()),
            };
            // Certificate and key are often written one after the other: the next look may be better.
            state.certificates.settle("certificates", taken, again);
        }
    }

    /// Speaks of certificates that end soon, and of a mode that blocks nothing.
    pub async fn dates(&self) {
        let state = self.state.lock().await;
        warn_of_mode(&state.config);
        if let Ok(material) = gather(&state.config) {
            warn_of_dates(&material, self.system.clock.now());
        }
    }

    /// The certificate of the listener as its file says it, DER.
    pub async fn tls_certificate(&self) -> Option<Vec<u8>> {
        let state = self.state.lock().await;
        gather(&state.config).ok()?.tls_chain.first().map(|leaf| leaf.der().to_vec())
    }

    /// All but the credentials for the upstream.
    async fn take(
        &self,
        config: &Config,
        material: Material,
        turned: Turned<'_>,
    ) -> Result<(), ServeError> {
        warn_of_dates(&material, self.system.clock.now());
        let Material { communities, tls, ceilings, .. } = material;
        Ok(self.knobs.turn_all(communities, tls, ceilings, config.enforcement(), turned).await?)
    }
}
