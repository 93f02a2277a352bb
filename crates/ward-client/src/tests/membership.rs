//! One application in two communities: which certificate is shown, to whom, and how often (CLI-02, CLI-03, CLI-18).

use std::sync::{Arc, Mutex};

use http::Request;
use ward_core::{BoxFuture, ClientUri, Clock as _, CommunityUri, Limits, ManualClock, SystemRng};
use ward_trust::{Certificate, Chain, Community, Jws, PathError, SigningIdentity, validate};

use super::world::*;
use crate::*;

/// Paths without revocation: the communities of these tests do not demand it.
struct NoLists(Arc<ManualClock>);

impl Lists for NoLists {
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
    ) -> BoxFuture<'a, Result<Chain, PathError>> {
        Box::pin(async move { validate(leaf, extra, community, &[], self.0.now()) })
    }
}

struct Carried(Arc<Server>);

impl Transport for Carried {
    fn send(
        &self,
        request: Request<bytes::Bytes>,
        max_body: usize,
        timeout: std::time::Duration,
    ) -> BoxFuture<'_, Result<http::Response<bytes::Bytes>, FetchError>> {
        self.0.send(request, max_body, timeout)
    }
}

/// Two communities, a server that is a member of both, and an application that is too.
struct Two {
    server: Arc<Server>,
    memberships: Memberships,
    identities: [Arc<SigningIdentity>; 2],
    signers: [Arc<SigningIdentity>; 2],
}

const NAMES: [&str; 2] = ["urn:test:one", "urn:test:two"];

impl Two {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at_unix_seconds(START));
        let script: Script = Box::new(|_| Ok(respond(404, &serde_json::json!({}))));
        let server = Arc::new(Server { script: Mutex::new(script), seen: Mutex::default() });
        let roots = NAMES.map(authority);
        let leaf = |at: usize, uri: &str, serial: u64, rsa: bool| {
            Arc::new(leaf_listed_at(&roots[at].1, uri, serial, rsa, "http://crl.test/list"))
        };
        let identities = [0, 1].map(|at| leaf(at, &format!("{CLIENT_URI}/{at}"), 20, false));
        let signers = [0, 1].map(|at| leaf(at, BASE, 21, true));
        let memberships = [0, 1].map(|at| {
            let uri = CommunityUri::parse(NAMES[at]).unwrap();
            let mut community = Community::new(uri, vec![roots[at].0.clone()]);
            community.require_revocation = false;
            let client = PartnerClient::new(Config {
                community,
                identity: identities[at].clone(),
                http: Arc::new(Carried(server.clone())),
                lists: Arc::new(NoLists(clock.clone())),
                clock: clock.clone(),
                rng: Arc::new(SystemRng),
                limits: Arc::new(Limits::default()),
            });
            let uri = ClientUri::parse(&format!("{CLIENT_URI}/{at}")).unwrap();
            Membership { client: Arc::new(client), uri }
        });
        Self { server, memberships: Memberships::new(memberships.to_vec()), identities, signers }
    }

    /// The server answers discovery for a community as told: with whose signature, or a status. It registers whoever
    /// shows a certificate of the communities in `approves`.
    fn answers(&self, signed: [Result<usize, u16>; 2], approves: Vec<usize>) {
        let (signers, identities) = (self.signers.clone(), self.identities.clone());
        let script: Script = Box::new(move |request| {
            if request.uri().path() == "/oauth/register" {
                let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
                let jws = body["software_statement"].as_str().unwrap();
                let jws = Jws::parse(jws, &Limits::default()).unwrap();
                let leaf = jws.leaf().thumbprint();
                let who = identities.iter().position(|one| one.leaf().thumbprint() == leaf);
                if !approves.contains(&who.unwrap()) {
                    let error = serde_json::json!({ "error": "unapproved_software_statement" });
                    return Ok(respond(400, &error));
                }
                let answer = serde_json::json!({ "client_id": format!("in-{}", who.unwrap()),
                    "grant_types": ["client_credentials"], "scope": "system/Patient.rs" });
                return Ok(respond(201, &answer));
            }
            let query = request.uri().query().unwrap();
            let at = usize::from(query.ends_with("two"));
            match signed[at] {
                Err(status) => Ok(respond(status, &serde_json::json!({}))),
                Ok(signer) => {
                    let jws = signed_by(&signers[signer]);
                    let text = metadata().to_json(&jws);
                    Ok(respond(200, &serde_json::from_str(&text).unwrap()))
                }
            }
        });
        *self.server.script.lock().unwrap() = script;
        self.server.seen.lock().unwrap().clear();
    }

    /// What was sent: the communities asked for, and the registrations.
    fn seen(&self) -> Vec<&'static str> {
        let seen = self.server.seen.lock().unwrap();
        seen.iter()
            .map(|request| match request.uri().query() {
                Some(query) if query.ends_with("one") => "one",
                Some(query) if query.ends_with("two") => "two",
                _ => "register",
            })
            .collect()
    }
}

fn signed_by(identity: &SigningIdentity) -> String {
    signed(identity, &claims())
}

/// Whose signature the server shows for each community, or a status; the community that is used, or the rule that ends the
/// search; and what was sent.
type Row =
    ([Result<usize, u16>; 2], Result<&'static str, Option<&'static str>>, &'static [&'static str]);

#[tokio::test]
async fn the_community_is_one_that_both_are_members_of() {
    let two = Two::new();
    let rows: [Row; 7] = [
        ([Ok(0), Ok(1)], Ok("urn:test:one"), &["one"]),
        // CLI-03: 204 for the first, and the second is asked for.
        ([Err(204), Ok(1)], Ok("urn:test:two"), &["one", "two"]),
        ([Err(204), Err(204)], Err(Some("CLI-03")), &["one", "two"]),
        // CLI-03: signed for another community than the one asked for, of which we are members too.
        ([Ok(1), Ok(1)], Ok("urn:test:two"), &["one"]),
        // Anything else ends the search: CLI-01, CLI-06.
        ([Err(404), Ok(1)], Err(Some("CLI-01")), &["one"]),
        ([Err(500), Ok(1)], Err(None), &["one"]),
        ([Err(302), Ok(1)], Err(Some("M14")), &["one"]),
    ];
    for (answers, wanted, seen) in rows {
        two.answers(answers, vec![]);
        let found = two.memberships.discover(BASE).await;
        let found = match &found {
            Ok(joined) => Ok(joined.membership.client.config.community.uri.as_str()),
            Err(stopped) => Err(stopped.error.rule()),
        };
        assert_eq!(found, wanted, "{answers:?}");
        assert_eq!(two.seen(), seen, "{answers:?}");
    }
    // M20: signed for a community that is none of ours.
    two.answers([Ok(1), Ok(1)], vec![]);
    let alone = Memberships::new(two.memberships.iter().take(1).cloned().collect());
    let stopped = alone.discover(BASE).await.err().unwrap();
    assert_eq!(stopped.error.rule(), Some("M10"));
}

#[tokio::test]
async fn a_certificate_that_is_not_approved_is_shown_once_and_then_the_next() {
    let two = Two::new();
    two.answers([Ok(0), Ok(1)], vec![1]);
    let (joined, registered) = two.memberships.register(BASE, &request()).await.ok().unwrap();
    assert_eq!((registered.client_id.as_str(), registered.uri.as_str()), ("in-1", CLIENT_URI_1));
    assert_eq!(joined.passed_over.len(), 1, "and why is told");
    assert_eq!(two.seen(), ["one", "register", "two", "register"], "CLI-18");

    // Refused by all: each was shown once, and the refusal is what is told.
    let two = Two::new();
    two.answers([Ok(0), Ok(1)], vec![]);
    let stopped = two.memberships.register(BASE, &request()).await.err().unwrap();
    assert!(matches!(stopped.error, ClientError::Refused { status: 400, .. }));
    assert_eq!((stopped.passed_over.len(), stopped.step), (2, Step::Registration));
    assert_eq!(two.seen(), ["one", "register", "two", "register"], "CLI-18");
    // And not again, in any order.
    let stopped = two.memberships.register(BASE, &request()).await.err().unwrap();
    assert!(matches!(stopped.error, ClientError::Unapproved), "{}", stopped.error);
    assert_eq!(two.seen().iter().filter(|one| **one == "register").count(), 2, "CLI-18");
}

const CLIENT_URI_1: &str = "https://partner.test/app/1";
