//! The load: partners that read, search, ask for what they may not have, renew tokens, open and close
//! connections; visitors that register, read and cancel; and callers that hang up in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ward_core::{Rng as _, SystemRng};

use super::tally::{Kind, Tally};
use crate::load::{Answer, Connection, Target, get};
use crate::surroundings::Client;
use crate::{Error, moment};

/// Requests on one connection, and as many again by chance.
const PER_CONNECTION: u64 = 200;
/// How long one asks with a token; it lives for five minutes.
const RENEW: Duration = Duration::from_secs(60);

/// What everybody knows.
pub struct Shared {
    pub target: Target,
    pub tally: Tally,
    pub roster: Vec<String>,
    pub outside: Vec<String>,
    /// Microseconds between two requests of one worker; 0: as fast as it goes.
    pub gap: AtomicU64,
    pub over: AtomicBool,
    /// Between two visitors.
    pub visit: Duration,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// A request of the mix.
    fn pick(&self, token: &str) -> (Kind, Vec<u8>) {
        let chance = SystemRng.next_u64();
        let one = |of: &[String]| {
            let at = usize::try_from(chance >> 16).unwrap_or(0) % of.len().max(1);
            of.get(at).cloned().unwrap_or_default()
        };
        let (kind, path) = match chance % 100 {
            0..82 => (Kind::Read, format!("Patient/{}", one(&self.roster))),
            82..88 => {
                (Kind::Search, format!("Observation?patient={}&_count=20", one(&self.roster)))
            }
            88..90 => (
                Kind::Search,
                format!(
                    "Observation?patient={},{}&_count=100",
                    one(&self.roster),
                    one(&self.outside)
                ),
            ),
            90..95 => (Kind::Outside, format!("Patient/{}", one(&self.outside))),
            95..98 => (Kind::Absent, format!("Patient/nobody-{}", chance >> 40)),
            _ => (Kind::Unscoped, format!("Condition/{}", one(&self.roster))),
        };
        (kind, get(self.target.port, &format!("/default/fhir/{path}"), Some(token)))
    }
}

/// Asks, on the connection if there is one; a connection that breaks is a fault.
async fn ask(
    shared: &Shared,
    connection: &mut Option<Connection>,
    kind: Kind,
    request: &[u8],
) -> Option<Answer> {
    let begun = moment();
    let answered: Result<Answer, Error> = async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => {
                shared.tally.connected(false);
                shared.target.connect().await?
            }
        };
        let answer = open.exchange(request).await?;
        if answer.header("connection:") != Some("close") {
            *connection = Some(open);
        }
        Ok(answer)
    }
    .await;
    match answered {
        Ok(answer) => shared.tally.answered(kind, begun, &answer).then_some(answer),
        Err(error) => {
            shared.tally.fault(format!("{}: {error}", kind.word()));
            None
        }
    }
}

fn word(answer: &Answer, name: &str) -> Option<String> {
    Some(answer.json().ok()?.get(name)?.as_str()?.to_owned())
}

/// One connection's worth of load after the other, until it is over.
pub async fn work(
    shared: Arc<Shared>,
    client: Arc<Client>,
    client_id: Arc<str>,
) -> Result<(), Error> {
    let mut connection = None;
    let (mut token, mut since) = (String::new(), moment());
    let (mut left, mut next) = (PER_CONNECTION, moment());
    while shared.goes_on() {
        // Those who renew at once must not do so for ever.
        let life = RENEW + Duration::from_millis(SystemRng.next_u64() % 20_000);
        if token.is_empty() || since.elapsed() > life {
            let request = client.token_request(shared.target.port, &client_id)?;
            let answer = ask(&shared, &mut connection, Kind::Token, &request).await;
            (token, since) =
                (answer.and_then(|a| word(&a, "access_token")).unwrap_or_default(), moment());
            if token.is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        let (kind, request) = shared.pick(&token);
        ask(&shared, &mut connection, kind, &request).await;
        left -= 1;
        if left == 0 {
            (connection, left) = (None, PER_CONNECTION + SystemRng.next_u64() % PER_CONNECTION);
        }
        let gap = shared.gap.load(Ordering::Relaxed);
        if gap > 0 {
            // Nobody hurries to make up for an outage.
            next = (next + Duration::from_micros(gap)).max(moment());
            tokio::time::sleep_until(next.into()).await;
        }
    }
    Ok(())
}

/// Visitors: register, get a token, read, cancel, read in vain; one after the other.
pub async fn visit(shared: Arc<Shared>, visitors: Vec<Client>) -> Result<(), Error> {
    let port = shared.target.port;
    for visitor in visitors.iter().cycle() {
        tokio::time::sleep(shared.visit).await;
        if !shared.goes_on() {
            break;
        }
        let mut connection = None;
        let registered =
            ask(&shared, &mut connection, Kind::Register, &visitor.registration(port)?).await;
        let Some(id) = registered.and_then(|answer| word(&answer, "client_id")) else { continue };
        let request = visitor.token_request(port, &id)?;
        let answer = ask(&shared, &mut connection, Kind::Token, &request).await;
        let Some(token) = answer.and_then(|answer| word(&answer, "access_token")) else { continue };
        let patient = shared.roster.first().map_or("", String::as_str);
        let read = get(port, &format!("/default/fhir/Patient/{patient}"), Some(&token));
        ask(&shared, &mut connection, Kind::Read, &read).await;
        ask(&shared, &mut connection, Kind::Cancel, &visitor.cancellation(port)?).await;
        ask(&shared, &mut connection, Kind::Cancelled, &read).await;
    }
    Ok(())
}

/// Callers that hang up: before, in the middle of and after what they ask.
pub async fn hang_up(
    shared: Arc<Shared>,
    client: Arc<Client>,
    client_id: Arc<str>,
) -> Result<(), Error> {
    let port = shared.target.port;
    let mut turn = 0_u32;
    let mut token = String::new();
    while shared.goes_on() {
        if turn.is_multiple_of(200) {
            let request = client.token_request(port, &client_id)?;
            let answer = ask(&shared, &mut None, Kind::Token, &request).await;
            token = answer.and_then(|answer| word(&answer, "access_token")).unwrap_or_default();
        }
        turn = turn.wrapping_add(1);
        shared.tally.connected(true);
        let (_, request) = shared.pick(&token);
        let half = request.get(..request.len() / 2).unwrap_or_default();
        match turn % 4 {
            0 => drop(tokio::net::TcpStream::connect(("127.0.0.1", port)).await),
            1 => drop(shared.target.connect().await),
            2 => {
                if let Ok(mut connection) = shared.target.connect().await {
                    let _ = connection.send(half).await;
                }
            }
            _ => {
                if let Ok(mut connection) = shared.target.connect().await {
                    let _ = connection.send(&request).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}
