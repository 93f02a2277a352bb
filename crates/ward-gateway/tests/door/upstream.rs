//! A scripted upstream on a socket, and a small honest FHIR server as one of its scripts.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What the upstream writes to the socket.
pub(crate) enum Reply {
    /// These octets, then it closes.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Hang,
}

pub(crate) fn reply(status: u16, content_type: &str, body: &str) -> Reply {
    Reply::Raw(
        format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
             etag: W/\"7\"\r\nlast-modified: Sat, 21 Nov 2026 00:00:00 GMT\r\nx-powered-by: secret\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

pub(crate) fn fhir(value: &Value) -> Reply {
    reply(200, "application/fhir+json", &value.to_string())
}

pub(crate) type Script = dyn Fn(&str, &str) -> Reply + Send + Sync;

/// Serves a script: (base URL, request target) → reply. Returns the base URL and the heads it saw.
pub(crate) async fn upstream(script: Arc<Script>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (told, heads) = (base.clone(), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, base, heads) = (Arc::clone(&script), told.clone(), Arc::clone(&heads));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let mut head = String::from_utf8(head).unwrap();
                let mut target = head.split(' ').nth(1).unwrap().to_owned();
                let length = head.lines().find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                if let Some(length) = length {
                    let mut form = vec![0; length];
                    stream.read_exact(&mut form).await.unwrap();
                    let form = String::from_utf8(form).unwrap();
                    // A form is the same search as the query.
                    target = format!("{}?{form}", target.strip_suffix("/_search").unwrap());
                    head.push_str(&form);
                }
                heads.lock().unwrap().push(head);
                match script(&base, target.strip_prefix("/fhir").unwrap()) {
                    Reply::Raw(bytes) => drop(stream.write_all(&bytes).await),
                    Reply::Hang => std::future::pending().await,
                }
            });
        }
    });
    (base, seen)
}

/// The same server, with paging links that say nothing.
pub(crate) fn opaque(records: Vec<Value>) -> Arc<Script> {
    let honest = server(records);
    Arc::new(move |base, target| {
        let (front, token) = target.split_once("_page=").unwrap_or((target, ""));
        let back = token.chars().rev().collect::<String>();
        let Reply::Raw(bytes) = honest(base, &format!("{front}{back}")) else { return Reply::Hang };
        let text = String::from_utf8(bytes).unwrap();
        let Some((_, body)) = text.split_once("\r\n\r\n") else { return Reply::Raw(text.into()) };
        if !text.starts_with("HTTP/1.1 200") {
            return Reply::Raw(text.into());
        }
        // `_offset=12` becomes `_page=21=tesffo_`, which no number in it gives away.
        let mut value: Value = serde_json::from_str(body).unwrap();
        for link in value["link"].as_array_mut().into_iter().flatten() {
            let url = link["url"].as_str().unwrap().to_owned();
            if let Some((front, number)) = url.split_once("_offset=") {
                let token: String = format!("_offset={number}").chars().rev().collect();
                link["url"] = format!("{front}_page={token}").into();
            }
        }
        fhir(&value)
    })
}

/// A small honest FHIR server over these records: read, vread, search with `_count` and `_offset`.
pub(crate) fn server(records: Vec<Value>) -> Arc<Script> {
    Arc::new(move |base, target| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let of = |rtype: &str| -> std::vec::IntoIter<&Value> {
            let found: Vec<&Value> =
                records.iter().filter(|r| r["resourceType"] == rtype).collect();
            found.into_iter()
        };
        let version = |r: &Value| r["meta"]["versionId"].as_str().unwrap_or("1").to_owned();
        let none = reply(404, "application/fhir+json", r#"{"resourceType":"OperationOutcome"}"#);
        match segments.as_slice() {
            [rtype, id] => match of(rtype).rfind(|r| r["id"] == **id) {
                Some(record) if record["deleted"] == true => {
                    reply(410, "application/fhir+json", "{}")
                }
                Some(record) => fhir(record),
                None => none,
            },
            [rtype, id, "_history", vid] => {
                of(rtype).find(|r| r["id"] == **id && version(r) == **vid).map_or(none, fhir)
            }
            [rtype] => {
                let pairs: Vec<(String, String)> = query
                    .split('&')
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(k, v)| (k.to_owned(), v.replace("%2F", "/").replace("%2C", ",")))
                    .collect();
                let number = |name: &str, default: usize| {
                    pairs
                        .iter()
                        .find(|(k, _)| k == name)
                        .map_or(default, |(_, v)| v.parse().unwrap())
                };
                let (count, offset) = (number("_count", 10), number("_offset", 0));
                let mut found: Vec<&Value> = of(rtype).collect();
                for (name, value) in &pairs {
                    let values: Vec<&str> = value.split(',').collect();
                    match name.as_str() {
                        "_count" | "_offset" | "_sort" => {}
                        "performer" => found.retain(|r| {
                            r["performer"].as_array().into_iter().flatten().any(|p| {
                                p["reference"].as_str().is_some_and(|x| values.contains(&x))
                            })
                        }),
                        "_id" => found.retain(|r| values.contains(&r["id"].as_str().unwrap())),
                        "patient" | "subject" => found.retain(|r| {
                            r["subject"]["reference"].as_str().is_some_and(|x| values.contains(&x))
                        }),
                        _ => return reply(400, "application/fhir+json", "{}"),
                    }
                }
                let page: Vec<Value> = found
                    .iter()
                    .skip(offset)
                    .take(count)
                    .map(|r| json!({"fullUrl": format!("{base}/{rtype}/x"), "resource": r, "search": {"mode": "match"}}))
                    .collect();
                let mut link = vec![json!({"relation": "self", "url": format!("{base}{target}")})];
                if found.len() > offset + count {
                    let kept: Vec<&str> =
                        query.split('&').filter(|pair| !pair.starts_with("_offset=")).collect();
                    let url =
                        format!("{base}/{rtype}?{}&_offset={}", kept.join("&"), offset + count);
                    link.push(json!({"relation": "next", "url": url}));
                }
                fhir(&json!({"resourceType": "Bundle", "id": "b1", "type": "searchset",
                    "meta": {"lastUpdated": "2026-11-21T00:00:00Z"},
                    "total": found.len(), "link": link, "entry": page}))
            }
            _ => none,
        }
    })
}

pub(crate) fn observation(id: &str, patient: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "meta": {"versionId": "1"}, "status": "final",
           "code": {"text": "x"}, "subject": {"reference": format!("Patient/{patient}")}})
}
