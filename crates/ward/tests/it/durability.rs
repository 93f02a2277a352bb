//! kill -9 under load, and a disk that is full: no acknowledged event is missing, state and log agree, the
//! server comes back by itself, and no PHI leaves unrecorded.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use ward::house::system;
use ward_audit::{Reader, RealDisk, verify};
use ward_core::EventKind;
use ward_net::client::{Egress, HttpClient};
use ward_net::tls::client_config;

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
                let mut shell = Command::new("bash");
                let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
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
        let http = HttpClient::new(
            Egress::allowing([authority]),
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
    let response = http.send(request, 1 << 20, Duration::from_secs(5)).await.ok()?;
    let correlation = response.headers().get("x-correlation-id")?.to_str().ok()?.to_owned();
    Some((response.status().as_u16(), correlation, response.into_body()))
}

/// Correlation ids of the log's accesses, and the highest outbox number that it drained.
fn logged(data: &Path) -> (HashSet<String>, u64) {
    let reader = Reader::open_dir(&data.join("log"), None).unwrap();
    let mut accesses = HashSet::new();
    let mut drained = 0;
    for entry in reader.leaves(0..reader.size()) {
        let (_, leaf) = entry.unwrap();
        drained = drained.max(leaf.outbox.unwrap_or(0));
        if leaf.kind == EventKind::Access {
            accesses.insert(leaf.correlation.to_string());
        }
    }
    (accesses, drained)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_nothing() {
    let dir = TempDir::new("kill");
    let data = dir.0.join("data");
    let mut acknowledged: HashSet<String> = HashSet::new();
    let mut checkpoint: Option<String> = None;
    let mut first_token = None;
    for round in 0..20_u64 {
        let server = Server::start(&data, None);
        // The token of the first life still opens: registration, grant and keys outlived every kill.
        let token: String = first_token.get_or_insert_with(|| server.token()).clone();
        // One patient: the load must stay below detection's ceiling, which survives restarts too.
        let url = format!(
            "{}/Patient/{}",
            server.ready["fhir_base"].as_str().unwrap(),
            server.patients()[0]
        );
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = vec![];
        for _ in 0..4 {
            let (http, url, token, stop) =
                (server.http.clone(), url.clone(), token.clone(), stop.clone());
            tasks.push(tokio::spawn(async move {
                let mut seen = vec![];
                while !stop.load(Ordering::SeqCst) {
                    match read(&http, &url, &token).await {
                        Some((200, correlation, _)) => seen.push(correlation),
                        Some((status, _, body)) => panic!("round {round}: {status} {body:?}"),
                        None => break,
                    }
                }
                seen
            }));
        }
        tokio::time::sleep(Duration::from_millis(60 + round * 13 % 90)).await;
        server.kill();
        stop.store(true, Ordering::SeqCst);
        let before = acknowledged.len();
        for task in tasks {
            acknowledged.extend(task.await.unwrap());
        }
        assert!(acknowledged.len() > before, "round {round}: the load must have been answered");

        let key = std::fs::read_to_string(data.join("log-verifier.txt")).unwrap();
        let disk = RealDisk::new(data.join("log"));
        verify(&disk, key.trim(), checkpoint.as_deref())
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        let (accesses, _) = logged(&data);
        let missing: Vec<_> = acknowledged.difference(&accesses).collect();
        assert!(missing.is_empty(), "round {round}: acknowledged but not logged: {missing:?}");
        checkpoint = std::fs::read_to_string(data.join("log/checkpoint")).ok().or(checkpoint);
    }
    println!("20 kills, {} acknowledged reads, none missing", acknowledged.len());
    // State and log agree: the server comes up once more, and its outbox is drained into the log.
    let server = Server::start(&data, None);
    let tokens_before = logged(&data).1;
    assert!(tokens_before > 0);
    server.kill();
    let key = std::fs::read_to_string(data.join("log-verifier.txt")).unwrap();
    verify(&RealDisk::new(data.join("log")), key.trim(), checkpoint.as_deref()).unwrap();
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
    assert!(logged(&data).0.len() >= released);
    let server = Server::start(&data, None);
    let url = format!("{base}/Patient/{}", server.patients()[0]);
    assert_eq!(read(&server.http, &url, &server.token()).await.unwrap().0, 200);
}
