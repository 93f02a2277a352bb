//! kill -9 under load, and a disk that is full: no acknowledged event is missing, state and log agree, the
//! server comes back by itself, and no PHI leaves unrecorded.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use ward::house::{open_or_make_vault, system};
use ward_audit::{Reader, RealDisk, verify};
use ward_client::{
    ClientError, Config, Hl7B2b, PartnerClient, RegistrationGrant, RegistrationRequest,
};
use ward_core::{ClientUri, CommunityUri, EventKind, OrganizationUri, Outcome, Purpose};
use ward_net::client::{Egress, HttpClient};
use ward_net::lists::RevocationLists;
use ward_net::tls::client_config;
use ward_trust::{Certificate, Community, SigningIdentity};

use crate::harness::TempDir;

/// A `ward demo` process that serves a kept directory.
struct Server {
    child: Child,
    ready: Value,
    http: HttpClient,
    errors: Option<std::process::ChildStderr>,
}

impl Server {
    /// Starts and waits until it says that it is ready. `limit` is a file-size limit in KiB.
    fn start(data: &Path, limit: Option<u32>) -> Self {
        let ward = env!("CARGO_BIN_EXE_ward");
        let mut command = match limit {
            None => Command::new(ward),
            Some(kib) => {
                // POSIX counts in blocks of 512 octets.
                let mut shell = Command::new("sh");
                let script = format!("ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
                shell.arg("-c").arg(script).arg(ward);
                shell
            }
        };
        command.args(["demo", "--no-walk", "--json", "--patients", "30", "--data"]).arg(data);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ward starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut said = String::new();
            let _ = std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said);
            panic!("ward did not come up: {said}");
        }
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let ca = std::fs::read(data.join("tls/tls-ca.cer")).unwrap();
        let base = ready["fhir_base"].as_str().unwrap();
        let authority = base.trim_start_matches("https://").split('/').next().unwrap().to_owned();
        let ports: Value =
            serde_json::from_slice(&std::fs::read(data.join("demo.json")).unwrap()).unwrap();
        let lists = format!("127.0.0.1:{}", ports["lists_port"]);
        let http = HttpClient::new(
            Egress::allowing([authority, lists]),
            client_config([ca.as_slice()]).unwrap(),
            system().limits,
        );
        let errors = child.stderr.take();
        Self { child, ready, http, errors }
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.ready["token_file"].as_str().unwrap()).unwrap()
    }

    fn patients(&self) -> Vec<String> {
        let list = self.ready["in_roster"].as_array().unwrap();
        list.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    /// kill -9.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One read: status, correlation id, body.
async fn read(http: &HttpClient, url: &str, token: &str) -> Option<(u16, String, Bytes)> {
    let request = Request::get(url)
        .header("authorization", format!("Bearer {token}"))
        .body(Bytes::new())
        .unwrap();
    let response = http.send(request, 1 << 20, Duration::from_mins(1)).await.ok()?;
    let correlation = response.headers().get("x-correlation-id")?.to_str().ok()?.to_owned();
    Some((response.status().as_u16(), correlation, response.into_body()))
}

/// What the log holds: correlation ids of accesses, number of tokens issued, outbox numbers in order.
#[derive(Default)]
struct Logged {
    accesses: HashSet<String>,
    tokens: usize,
    outbox: Vec<u64>,
}

fn logged(data: &Path) -> Logged {
    let reader = Reader::open_dir(&data.join("log"), None).unwrap();
    let mut logged = Logged::default();
    for entry in reader.leaves(0..reader.size()) {
        let (_, leaf) = entry.unwrap();
        logged.outbox.extend(leaf.outbox);
        match leaf.kind {
            EventKind::Access => drop(logged.accesses.insert(leaf.correlation.to_string())),
            EventKind::Token if leaf.outcome == Outcome::Success => logged.tokens += 1,
            _ => {}
        }
    }
    logged
}

/// What the demo registers for: narrowing it would end the tokens in use (MOD-10).
const SCOPE: &str =
    "system/Condition.rs system/Encounter.rs system/Observation.rs system/Patient.rs";

/// The partner of the demo, with the key that it keeps in its own vault.
struct Partner {
    client: PartnerClient,
    base: String,
}

impl Partner {
    fn of(server: &Server, data: &Path) -> Self {
        let system = system();
        let dir = data.join("partner");
        let vault =
            open_or_make_vault(&dir.join("vault"), &dir.join("vault.key"), &system).unwrap();
        let chain = vault.get_secret("care/chain").unwrap().unwrap();
        let chain: Vec<Vec<u8>> = serde_json::from_slice(chain.expose()).unwrap();
        let key = vault.get_secret("care/key").unwrap().unwrap();
        let root = std::fs::read(data.join("community/ca/ca/root.cer")).unwrap();
        let uri = CommunityUri::parse("https://community.example/udap/demo").unwrap();
        let client = PartnerClient::new(Config {
            community: Community::new(uri, vec![Certificate::from_der(&root).unwrap()]),
            identity: Arc::new(SigningIdentity::from_pkcs8(&chain, &key).unwrap()),
            http: Arc::new(server.http.clone()),
            lists: Arc::new(RevocationLists::new(
                server.http.clone(),
                system.clock.clone(),
                system.limits.clone(),
            )),
            clock: system.clock,
            rng: system.rng,
            limits: system.limits,
        });
        Self { client, base: server.ready["fhir_base"].as_str().unwrap().to_owned() }
    }

    /// Registers again (a state change) and gets a token (another); the token, and the assertion that was used for it.
    async fn establish(&self) -> Result<(String, String), ClientError> {
        let server = self.client.discover(&self.base).await?;
        let request = RegistrationRequest {
            uri: ClientUri::parse("https://partner.example/apps/care").unwrap(),
            client_name: "Partner".to_owned(),
            contacts: vec!["mailto:ops@partner.example".to_owned()],
            logo_uri: None,
            grant: RegistrationGrant::ClientCredentials,
            scope: SCOPE.to_owned(),
            certifications: Vec::new(),
        };
        let registered = self.client.register(&server, &request).await?;
        let b2b = Hl7B2b {
            subject_name: None,
            subject_id: None,
            subject_role: None,
            organization_id: OrganizationUri::parse("https://partner.example/organization")
                .unwrap(),
            organization_name: None,
            purposes: vec![Purpose::Treatment],
            consent_policy: vec![],
            consent_reference: vec![],
        };
        let assertion = self.client.authentication_token(&server, &registered, &b2b)?;
        let token = self.client.token_with(&server, SCOPE, &assertion).await?;
        Ok((token.expose().to_owned(), assertion))
    }

    /// Presents an assertion that was used before: it is refused, and nothing else went wrong (T18).
    async fn present_again(&self, assertion: &str) {
        let server = self.client.discover(&self.base).await.unwrap();
        match self.client.token_with(&server, SCOPE, assertion).await {
            Err(ClientError::Fetch(error)) => panic!("no answer: {error}"),
            Err(_) => {}
            Ok(_) => panic!("an assertion was used twice, over a kill"),
        }
    }
}

/// T18, R37: among what is acknowledged is that an assertion was used.

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_nothing() {
    let dir = TempDir::new("kill");
    let data = dir.0.join("data");
    let mut acknowledged: HashSet<String> = HashSet::new();
    let mut tokens = 0;
    let mut checkpoint: Option<String> = None;
    let mut newest_token: Option<String> = None;
    let mut spent: Option<String> = None;
    for round in 0..20_u64 {
        let server = Server::start(&data, None);
        let base = server.ready["fhir_base"].as_str().unwrap().to_owned();
        // One patient: the load must stay below detection's ceiling, which survives restarts too.
        let url = format!("{base}/Patient/{}", server.patients()[0]);
        // The token acknowledged last before the kill still opens: grant and keys outlived it.
        let token = newest_token.clone().unwrap_or_else(|| server.token());
        let (status, correlation, _) = read(&server.http, &url, &token).await.unwrap();
        assert_eq!(status, 200, "round {round}: the token acknowledged before the kill");
        acknowledged.insert(correlation);

        let stop = Arc::new(AtomicBool::new(false));
        let (reads, changes_made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut readers = vec![];
        for _ in 0..3 {
            let (http, url) = (server.http.clone(), url.clone());
            let (token, stop, reads) = (token.clone(), stop.clone(), reads.clone());
            readers.push(tokio::spawn(async move {
                let mut seen = vec![];
                while !stop.load(Ordering::SeqCst) {
                    match read(&http, &url, &token).await {
                        Some((200, correlation, _)) => {
                            seen.push(correlation);
                            reads.fetch_add(1, Ordering::SeqCst);
                        }
                        Some((status, _, body)) => panic!("round {round}: {status} {body:?}"),
                        None => break,
                    }
                }
                seen
            }));
        }
        let partner = Partner::of(&server, &data);
        if let Some(assertion) = &spent {
            partner.present_again(assertion).await;
        }
        let changes = {
            let (stop, made) = (stop.clone(), changes_made.clone());
            tokio::spawn(async move {
                let mut issued = vec![];
                while !stop.load(Ordering::SeqCst) {
                    match partner.establish().await {
                        Ok(token) => {
                            issued.push(token);
                            made.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(ClientError::Fetch(_)) => break,
                        Err(error) => panic!("round {round}: {error}"),
                    }
                }
                issued
            })
        };
        // Not before the load is under way, and then at another moment in every round.
        for _ in 0..12_000 {
            if reads.load(Ordering::SeqCst) >= 5 && changes_made.load(Ordering::SeqCst) >= 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(round * 13 % 90)).await;
        server.kill();
        stop.store(true, Ordering::SeqCst);
        let before = acknowledged.len();
        for reader in readers {
            acknowledged.extend(reader.await.unwrap());
        }
        assert!(acknowledged.len() > before, "round {round}: the load must have been answered");
        let issued = changes.await.unwrap();
        tokens += issued.len();
        if let Some((token, assertion)) = issued.last().cloned() {
            (newest_token, spent) = (Some(token), Some(assertion));
        }

        let key = std::fs::read_to_string(data.join("log-verifier.txt")).unwrap();
        let disk = RealDisk::new(data.join("log"));
        verify(&disk, key.trim(), checkpoint.as_deref())
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        let log = logged(&data);
        let missing: Vec<_> = acknowledged.difference(&log.accesses).collect();
        assert!(missing.is_empty(), "round {round}: acknowledged but not logged: {missing:?}");
        assert!(log.tokens >= tokens, "round {round}: {tokens} tokens, {} logged", log.tokens);
        // State and log agree: each state change is in the log once, in order, without a gap.
        let expected: Vec<u64> = (1..=log.outbox.len() as u64).collect();
        assert_eq!(log.outbox, expected, "round {round}: outbox numbers in the log");
        checkpoint = std::fs::read_to_string(data.join("log/checkpoint")).ok().or(checkpoint);
    }
    assert!(tokens > 0, "state must have changed under load");
    println!(
        "20 kills: {} reads and {tokens} tokens acknowledged, none missing",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_disk_full_nothing_leaves_and_the_operator_is_told() {
    let dir = TempDir::new("full");
    let data = dir.0.join("data");
    // 700 KiB a file: SQLite and keys stay far below, the log's segment grows into it.
    let mut server = Server::start(&data, Some(700));
    let token = server.token();
    let base = server.ready["fhir_base"].as_str().unwrap().to_owned();
    let url = format!("{base}/Patient/{}", server.patients()[0]);
    let mut released = 0;
    let mut refused = None;
    for _ in 0..3000 {
        match read(&server.http, &url, &token).await {
            Some((200, ..)) => released += 1,
            Some((503, _, body)) => {
                refused = Some(String::from_utf8_lossy(&body).into_owned());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let refused = refused.expect("the log must have met the limit");
    assert!(released > 100, "it worked before: {released}");
    let outcome: Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    assert!(!refused.contains("birthDate"), "no PHI in the refusal");
    for _ in 0..20 {
        let (status, ..) = read(&server.http, &url, &token).await.unwrap();
        assert_eq!(status, 503, "the door stays shut while the log cannot be written");
    }
    let mut errors = server.errors.take().unwrap();
    server.kill();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut errors, &mut said).unwrap();
    assert!(said.contains("log") && said.contains("ERROR"), "the operator is told why: {said}");
    // Every released record is in the log, which still verifies; with room again the server comes back by itself.
    let key = std::fs::read_to_string(data.join("log-verifier.txt")).unwrap();
    verify(&RealDisk::new(data.join("log")), key.trim(), None).unwrap();
    assert!(logged(&data).accesses.len() >= released);
    let server = Server::start(&data, None);
    let url = format!("{base}/Patient/{}", server.patients()[0]);
    assert_eq!(read(&server.http, &url, &server.token()).await.unwrap().0, 200);
}
