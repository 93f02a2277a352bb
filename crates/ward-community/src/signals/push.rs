//! Pushes what waits to members (RFC 8935 §2): each in turn, members side by side. One that is down or busy is tried again, later and
//! later, for as long as the signal is worth something; one that refuses (400) is not asked again.
//!
//! Needs no key, and changes nothing in the directory: what came of it is for [`crate::Operator::settle_signals`] to record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::task::JoinSet;
use ward_core::{Clock, Limits, Timestamp};
use ward_net::HttpClient;
use ward_trust::signal::MEDIA_TYPE;

use super::{LIFE, Waiting, waiting};
use crate::CommunityError;

/// Members that are called at once.
const ABREAST: usize = 16;
/// Signals for one member in one round.
const ROUND: usize = 64;
/// The first pause after a failure; each is twice the last.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_mins(10);
/// Bytes of an answer that are looked at.
const MAX_ANSWER: usize = 4096;

/// How it ended with one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The member has it.
    Delivered,
    /// The member will not have it; its `err`.
    Refused(String),
    /// It was not to be had for as long as the signal was worth something.
    GivenUp,
}

impl End {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Delivered => "signal-delivered",
            Self::Refused(_) => "signal-refused",
            Self::GivenUp => "signal-given-up",
        }
    }

    pub(super) fn why(&self) -> Option<&str> {
        match self {
            Self::Delivered => None,
            Self::Refused(err) => Some(err),
            Self::GivenUp => Some("not reached for seven days"),
        }
    }
}

/// What became of one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub(super) name: String,
    /// Its `jti`.
    pub jti: String,
    /// The member.
    pub base: String,
    /// What it was about, in a word.
    pub about: String,
    /// How often it was sent.
    pub tries: u32,
    /// How it ended.
    pub end: End,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    failures: u32,
    until: Option<Timestamp>,
}

/// Pushes the signals of the community in a directory.
pub struct SignalPusher {
    dir: PathBuf,
    client: HttpClient,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    /// By endpoint.
    pauses: BTreeMap<String, Pause>,
    tries: BTreeMap<String, u32>,
    /// Ended, and perhaps not yet settled.
    ended: BTreeSet<String>,
}

impl std::fmt::Debug for SignalPusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignalPusher").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl SignalPusher {
    /// For the community in `dir` (as given to [`crate::Operator::create`]).
    pub fn new(
        dir: PathBuf,
        client: HttpClient,
        clock: Arc<dyn Clock>,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            dir,
            client,
            clock,
            limits,
            pauses: BTreeMap::new(),
            tries: BTreeMap::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Sends what is due; what ended. Settle it: until then it is not sent again, but counts as waiting.
    pub async fn round(&mut self) -> Result<Vec<Delivery>, CommunityError> {
        let all = waiting(&self.dir)?;
        let names: BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
        self.ended.retain(|name| names.contains(name));
        self.tries.retain(|name, _| names.contains(name));
        let now = self.clock.now();
        let mut done = Vec::new();
        let mut by_endpoint: BTreeMap<String, Vec<(String, Waiting)>> = BTreeMap::new();
        for (name, one) in all {
            if self.ended.contains(&name) {
                continue;
            }
            if now > one.queued.plus(LIFE) {
                done.push(self.delivery(name, one, End::GivenUp));
                continue;
            }
            by_endpoint.entry(one.endpoint.clone()).or_default().push((name, one));
        }
        self.pauses.retain(|endpoint, _| by_endpoint.contains_key(endpoint));
        let paused = |pause: &Pause| pause.until.is_some_and(|until| now < until);
        by_endpoint.retain(|endpoint, _| !self.pauses.get(endpoint).is_some_and(paused));
        let mut calls = JoinSet::new();
        for (endpoint, batch) in by_endpoint {
            if calls.len() >= ABREAST
                && let Some(Ok(ended)) = calls.join_next().await
            {
                self.note(ended, &mut done);
            }
            let (client, limits) = (self.client.clone(), Arc::clone(&self.limits));
            calls.spawn(async move {
                let batch: Vec<_> = batch.into_iter().take(ROUND).collect();
                let heard = send_all(&client, &endpoint, &batch, &limits).await;
                Called { endpoint, batch, heard }
            });
        }
        while let Some(ended) = calls.join_next().await {
            if let Ok(ended) = ended {
                self.note(ended, &mut done);
            }
        }
        Ok(done)
    }

    fn note(&mut self, called: Called, done: &mut Vec<Delivery>) {
        let Called { endpoint, batch, heard } = called;
        for ((name, one), heard) in batch.into_iter().zip(heard) {
            let tries = self.tries.entry(name.clone()).or_default();
            *tries = tries.saturating_add(1);
            match heard {
                Heard::Taken => {
                    self.pauses.remove(&endpoint);
                    done.push(self.delivery(name, one, End::Delivered));
                }
                Heard::Refused(err) => {
                    tracing::error!(base = one.base, %err, "a member refuses a signal; it learns from the lists. Ask its operator");
                    done.push(self.delivery(name, one, End::Refused(err)));
                }
                Heard::Later(after, why) => {
                    let now = self.clock.now();
                    let pause = self.pauses.entry(endpoint.clone()).or_default();
                    let doubled = FIRST.saturating_mul(1 << pause.failures.min(16));
                    let wait = after.unwrap_or(doubled).clamp(FIRST, LONGEST);
                    pause.failures = pause.failures.saturating_add(1);
                    pause.until = Some(now.plus(wait));
                    tracing::warn!(
                        base = one.base,
                        again_in = wait.as_secs(),
                        "a signal was not delivered: {why}"
                    );
                }
            }
        }
    }

    fn delivery(&mut self, name: String, one: Waiting, end: End) -> Delivery {
        self.ended.insert(name.clone());
        let tries = self.tries.get(&name).copied().unwrap_or_default();
        Delivery { name, jti: one.jti, base: one.base, about: one.about, tries, end }
    }
}

/// One member, called.
struct Called {
    endpoint: String,
    batch: Vec<(String, Waiting)>,
    /// For the first of `batch`, as far as it was sent.
    heard: Vec<Heard>,
}

/// What came of one request.
enum Heard {
    Taken,
    Refused(String),
    /// Not now; how long the member wants to be left alone, and why.
    Later(Option<Duration>, String),
}

/// One after another, until one is not taken now.
async fn send_all(
    client: &HttpClient,
    endpoint: &str,
    batch: &[(String, Waiting)],
    limits: &Limits,
) -> Vec<Heard> {
    let mut heard = Vec::new();
    for (_, one) in batch {
        let said = send(client, endpoint, &one.token, limits).await;
        let goes_on = !matches!(said, Heard::Later(..));
        heard.push(said);
        if !goes_on {
            break;
        }
    }
    heard
}

async fn send(client: &HttpClient, endpoint: &str, token: &str, limits: &Limits) -> Heard {
    let request = Request::builder()
        .method(Method::POST)
        .uri(endpoint)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(ACCEPT, "application/json")
        .body(Bytes::copy_from_slice(token.as_bytes()));
    let Ok(request) = request else { return Heard::Refused("the endpoint is no URL".to_owned()) };
    match client.send(request, MAX_ANSWER, limits.upstream_timeout).await {
        // RFC 8935 says 202; whoever says 200 has it too.
        Ok(answer) if matches!(answer.status(), StatusCode::ACCEPTED | StatusCode::OK) => {
            Heard::Taken
        }
        Ok(answer) if answer.status() == StatusCode::BAD_REQUEST => Heard::Refused(err(&answer)),
        Ok(answer) => {
            let after = answer.headers().get(RETRY_AFTER).and_then(seconds);
            Heard::Later(after, format!("the member answers {}", answer.status().as_u16()))
        }
        Err(error) => Heard::Later(None, error.to_string()),
    }
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// `err` of a refusal (RFC 8935 §2.3), as far as it may be shown.
fn err(answer: &Response<Bytes>) -> String {
    let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let err = body.get("err").and_then(serde_json::Value::as_str).unwrap_or("400");
    err.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(40).collect()
}
