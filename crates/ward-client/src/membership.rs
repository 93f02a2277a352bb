//! One application in several trust communities (CLI-02, CLI-03, CLI-15, CLI-18): which of its certificates a
//! server wants to see is found out by asking, community by community.
//!
//! Passed over: a community that the server does not serve (204), and one whose certificate it refuses with
//! `unapproved_software_statement`; each certificate is shown once. Every other fault ends the search, for a
//! server whose metadata do not hold is not asked a second time (CLI-06).

use std::collections::BTreeSet;
use std::sync::Arc;

use ward_core::{ClientUri, CommunityUri};
use ward_trust::{Community, Discovered};

use crate::error::ClientError;
use crate::registration::is_unapproved;
use crate::{PartnerClient, Registered, RegistrationRequest};

/// The application as a member of one community.
#[derive(Clone)]
pub struct Membership {
    /// The client with the certificate of this community.
    pub client: Arc<PartnerClient>,
    /// The URI that the certificate names, by which the application registers here.
    pub uri: ClientUri,
}

impl Membership {
    fn community(&self) -> &Community {
        self.client.community()
    }
}

/// A community that was passed over, and why.
pub type PassedOver = (CommunityUri, ClientError);

/// A server, and the membership by which it is reached.
pub struct Joined {
    /// By which certificate.
    pub membership: Membership,
    /// The server's metadata, proven in that community.
    pub server: Discovered,
    /// What was passed over on the way.
    pub passed_over: Vec<PassedOver>,
}

/// The step that a search had come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It had believed no metadata yet.
    Discovery,
    /// A server was discovered, and a registration was tried.
    Registration,
}

/// Why no membership led anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Stopped {
    /// The fault that ended the search.
    pub error: ClientError,
    /// Where.
    pub step: Step,
    /// What was passed over before.
    pub passed_over: Vec<PassedOver>,
}

/// All memberships, the preferred one first.
#[derive(Clone, Default)]
pub struct Memberships(Vec<Membership>);

impl Memberships {
    /// Those that are tried, in this order.
    pub fn new(memberships: Vec<Membership>) -> Self {
        Self(memberships)
    }

    /// In the order in which they are tried.
    pub fn iter(&self) -> std::slice::Iter<'_, Membership> {
        self.0.iter()
    }

    /// The metadata of a server in the first community that it serves. Signed for another community than the one
    /// asked for, they are believed if that is a membership too (CLI-03).
    ///
    /// # Errors
    /// [`ClientError::CommunityNotServed`] if it serves none; else as [`crate::Discovery::discover`].
    pub async fn discover(&self, base: &str) -> Result<Joined, Stopped> {
        self.search(base, &BTreeSet::new(), Vec::new()).await
    }

    /// Registers by the first membership that the server serves and approves; the request's URI is replaced by the
    /// membership's own.
    ///
    /// # Errors
    /// The refusal of the last certificate that was shown; else as [`PartnerClient::register`].
    pub async fn register(
        &self,
        base: &str,
        request: &RegistrationRequest,
    ) -> Result<(Joined, Registered), Stopped> {
        let mut shown = BTreeSet::new();
        let mut passed_over = Vec::new();
        let mut refusal = None;
        loop {
            let joined = match self.search(base, &shown, passed_over).await {
                Ok(joined) => joined,
                Err(Stopped { passed_over, error, step }) => {
                    // None is left, or served: what was refused says more.
                    let none_left = error == ClientError::CommunityNotServed;
                    return Err(match refusal.filter(|_| none_left) {
                        Some(error) => Stopped { error, step: Step::Registration, passed_over },
                        None => Stopped { error, step, passed_over },
                    });
                }
            };
            let member = &joined.membership;
            let request = RegistrationRequest { uri: member.uri.clone(), ..request.clone() };
            match member.client.register(&joined.server, &request).await {
                Ok(registered) => return Ok((joined, registered)),
                Err(error) if is_unapproved(&error) => {
                    let uri = member.community().uri.clone();
                    let same = |one: &Membership| Arc::ptr_eq(&one.client, &member.client);
                    shown.extend(self.0.iter().position(same));
                    passed_over = joined.passed_over;
                    passed_over.push((uri, error.clone()));
                    refusal = Some(error);
                }
                Err(error) => {
                    let passed_over = joined.passed_over;
                    return Err(Stopped { error, step: Step::Registration, passed_over });
                }
            }
        }
    }

    /// As [`Self::discover`], without those at the places `shown`.
    async fn search(
        &self,
        base: &str,
        shown: &BTreeSet<usize>,
        mut passed_over: Vec<PassedOver>,
    ) -> Result<Joined, Stopped> {
        let left: Vec<&Membership> = self
            .0
            .iter()
            .enumerate()
            .filter(|(place, _)| !shown.contains(place))
            .map(|(_, membership)| membership)
            .collect();
        let mut error = ClientError::CommunityNotServed;
        for (place, asked) in left.iter().enumerate() {
            let others: Vec<&Membership> = left
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place)
                .map(|(_, membership)| *membership)
                .collect();
            let communities: Vec<&Community> = others.iter().map(|one| one.community()).collect();
            let discovery = asked.client.discovery();
            let found = match discovery.fetch(base).await {
                Err(not_served @ ClientError::CommunityNotServed) => {
                    passed_over.push((asked.community().uri.clone(), not_served));
                    continue;
                }
                Err(fault) => Err(fault),
                Ok(document) => discovery.validate_among(base, &document.body, &communities).await,
            };
            match found {
                Ok((found, server)) => {
                    let other = found.checked_sub(1).and_then(|place| others.get(place));
                    let membership = Membership::clone(other.unwrap_or(asked));
                    return Ok(Joined { membership, server, passed_over });
                }
                Err(fault) => {
                    error = fault;
                    break;
                }
            }
        }
        Err(Stopped { error, step: Step::Discovery, passed_over })
    }
}

impl<'a> IntoIterator for &'a Memberships {
    type Item = &'a Membership;
    type IntoIter = std::slice::Iter<'a, Membership>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
