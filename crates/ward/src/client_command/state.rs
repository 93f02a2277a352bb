//! What `ward client` remembers between runs, in files that only their owner can use: registrations and refusals in
//! the state file (CLI-15, CLI-18), and tokens by the name of their whole context in the cache (CLI-24).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ward_client::{Registered, RegistrationGrant, RegistrationRequest, Standing};
use ward_core::{ClientUri, Timestamp};

use super::files::{is_private, read, write_private};
use super::talk::Failure;

/// Refusals and tokens that are remembered, each.
const MAX_KEPT: usize = 1000;

/// The right to change a file until it is dropped: a lock on a file beside it, which stays, for the file itself is
/// replaced as a whole.
fn turn(option: &str, path: &Path) -> Result<File, Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&beside);
    let locked = opened.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| {
        Failure::refused(
            format!("{option} {}: {error}", Path::new(&beside).display()),
            "name a file in a directory of yours",
        )
    })
}

/// One registration, keyed by registration endpoint, community and client URI (CLI-15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// FHIR base that was asked.
    pub(super) base: String,
    pub(super) registration_endpoint: String,
    pub(super) community: String,
    pub(super) client_uri: String,
    pub(super) client_id: String,
    pub(super) scope: String,
    /// What was asked for, so that a change can leave the rest as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<Asked>,
}

/// What a registration asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) contacts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) logo: Option<String>,
    pub(super) scope: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) redirect_uris: Vec<String>,
    /// Certifications that were shown, compact JWSs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) certifications: Vec<String>,
}

impl Asked {
    pub(super) fn of(request: &RegistrationRequest) -> Self {
        Self {
            name: request.client_name.clone(),
            contacts: request.contacts.clone(),
            logo: request.logo_uri.clone(),
            scope: request.scope.clone(),
            redirect_uris: match &request.grant {
                RegistrationGrant::AuthorizationCode { redirect_uris, .. } => redirect_uris.clone(),
                RegistrationGrant::ClientCredentials | RegistrationGrant::Cancel => Vec::new(),
            },
            certifications: request.certifications.clone(),
        }
    }

    /// The same again, for this URI.
    pub(super) fn request(self, uri: ClientUri) -> RegistrationRequest {
        RegistrationRequest {
            uri,
            client_name: self.name,
            contacts: self.contacts,
            logo_uri: self.logo,
            scope: self.scope,
            grant: grant(self.redirect_uris),
            certifications: self.certifications,
        }
    }
}

/// Client credentials, or the authorization code where browsers have a place to come back to.
pub(super) fn grant(redirect_uris: Vec<String>) -> RegistrationGrant {
    if redirect_uris.is_empty() {
        RegistrationGrant::ClientCredentials
    } else {
        RegistrationGrant::AuthorizationCode { redirect_uris, refresh: true }
    }
}

impl Kept {
    fn same(&self, other: &Self) -> bool {
        self.registration_endpoint == other.registration_endpoint
            && self.community == other.community
            && self.client_uri == other.client_uri
    }

    /// As the library knows it.
    pub(super) fn registered(&self, uri: &ClientUri) -> Registered {
        Registered {
            registration_endpoint: self.registration_endpoint.clone(),
            uri: uri.clone(),
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
            standing: Standing::Modified,
            certifications: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// A certificate that a server does not trust: not shown again by itself (CLI-18).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unapproved {
    pub(super) registration_endpoint: String,
    /// SHA-256 thumbprint.
    pub(super) certificate: String,
}

/// The state file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) registrations: Vec<Kept>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unapproved: Vec<Unapproved>,
}

impl State {
    /// What the file holds; nothing if there is none.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        if !is_private("--state", path)? {
            return Ok(Self::default());
        }
        serde_json::from_slice(&read("--state", path)?).map_err(|_| {
            Failure::usage(
                format!("--state {} is not a state file of `ward client`", path.display()),
                "name another file, or move it away and register again",
            )
        })
    }

    /// The registration at this endpoint.
    pub(super) fn find(&self, endpoint: &str, community: &str, uri: &str) -> Option<&Kept> {
        self.registrations.iter().find(|one| {
            one.registration_endpoint == endpoint
                && one.community == community
                && one.client_uri == uri
        })
    }

    /// The registration at this endpoint, as far as it was made for this base: a token of it goes nowhere else (CLI-24), whichever
    /// endpoints another server names.
    pub(super) fn find_at(
        &self,
        base: &str,
        endpoint: &str,
        community: &str,
        uri: &str,
    ) -> Option<&Kept> {
        self.registrations.iter().find(|one| {
            one.base == base
                && one.registration_endpoint == endpoint
                && one.community == community
                && one.client_uri == uri
        })
    }

    /// Other bases at which the same was registered.
    pub(super) fn elsewhere(&self, kept: &Kept) -> Vec<&str> {
        let others = self.registrations.iter();
        others.filter(|one| one.same(kept) && one.base != kept.base).map(|one| &*one.base).collect()
    }

    /// With this registration in place of an earlier one of the same key; those at other bases are the same one there.
    pub(super) fn put(&mut self, kept: Kept) {
        self.registrations.retain(|one| !one.same(&kept) || one.base != kept.base);
        for one in self.registrations.iter_mut().filter(|one| one.same(&kept)) {
            one.client_id.clone_from(&kept.client_id);
            one.scope.clone_from(&kept.scope);
        }
        self.registrations.push(kept);
    }

    /// Without the registration of this key.
    pub(super) fn remove(&mut self, gone: &Kept) {
        self.registrations.retain(|one| !one.same(gone));
    }

    /// With this refusal.
    pub(super) fn refused(&mut self, one: Unapproved) {
        if !self.unapproved.contains(&one) && self.unapproved.len() < MAX_KEPT {
            self.unapproved.push(one);
        }
    }

    /// Changes what the file holds, whatever other runs have written to it meanwhile: one at a time.
    pub(super) fn change(path: &Path, change: impl FnOnce(&mut Self)) -> Result<(), Failure> {
        let _turn = turn("--state", path)?;
        let mut state = Self::read(path)?;
        change(&mut state);
        state.write(path)
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        write_private("--state", path, &text)
    }
}

/// A token and the name of all that it was issued for.
#[derive(Serialize, Deserialize)]
pub(super) struct CachedToken {
    context: String,
    token: String,
    scope: String,
    /// Unix seconds.
    expires: i64,
}

/// The cache of `--cache`. Has no `Debug`: its tokens are secrets.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cache {
    tokens: Vec<CachedToken>,
}

impl Cache {
    /// What the file holds and has not ended; nothing if there is none.
    pub(super) fn read(path: &Path, now: Timestamp) -> Result<Self, Failure> {
        if !is_private("--cache", path)? {
            return Ok(Self::default());
        }
        let mut cache: Self = serde_json::from_slice(&read("--cache", path)?).map_err(|_| {
            Failure::usage(
                format!("--cache {} is not a cache of `ward client`", path.display()),
                "name another file, or remove it",
            )
        })?;
        cache.tokens.retain(|one| now < Timestamp::from_seconds(one.expires));
        Ok(cache)
    }

    /// Token, scopes and end for exactly this context.
    pub(super) fn find(&self, context: &str) -> Option<(&str, &str, Timestamp)> {
        self.tokens.iter().find(|one| one.context == context).map(|one| {
            (one.token.as_str(), one.scope.as_str(), Timestamp::from_seconds(one.expires))
        })
    }

    pub(super) fn put(&mut self, context: &str, token: &str, scope: &str, expires: Timestamp) {
        self.forget(context);
        if self.tokens.len() < MAX_KEPT {
            self.tokens.push(CachedToken {
                context: context.to_owned(),
                token: token.to_owned(),
                scope: scope.to_owned(),
                expires: expires.as_seconds(),
            });
        }
    }

    pub(super) fn forget(&mut self, context: &str) {
        self.tokens.retain(|one| one.context != context);
    }

    /// As [`State::change`].
    pub(super) fn change(
        path: &Path,
        now: Timestamp,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), Failure> {
        let _turn = turn("--cache", path)?;
        let mut cache = Self::read(path, now)?;
        change(&mut cache);
        cache.write(path)
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        write_private("--cache", path, &serde_json::to_vec(self).unwrap_or_default())
    }
}
