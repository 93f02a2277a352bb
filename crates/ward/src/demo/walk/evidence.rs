//! Evidence: the checkpoint, the proof, and what happens to a log that somebody changes.

use std::sync::Arc;

use serde_json::{Value, json};
use ward_audit::{Checkpoint, LogError, Reader, RealDisk, VerifierKey, leaf_hash, verify};
use ward_core::EventKind;

use super::{Carried, DemoError, Found, Hospital, doing, missing};
use crate::log_command::one_line;
use crate::ui::Ui;

pub(super) async fn proof(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let correlation = carried.first_read.clone().ok_or_else(|| missing("first read"))?;
    let note = h.house.log.checkpoint().await.map_err(doing("signing a checkpoint"))?;
    let key = VerifierKey::parse(&h.house.log.verifier_key()).map_err(doing("reading the key"))?;
    let checkpoint = Checkpoint::verify(&note, &key)
        .ok_or(DemoError { what: "checkpoint", why: "the signature does not verify".into() })?;
    let keys: Arc<dyn ward_core::KeyVault> = h.house.vault.clone();
    let reader = Reader::open_dir(&h.paths.log(), Some(keys)).map_err(doing("reading the log"))?;
    let read = |index: u64| reader.leaf(index).map_err(doing("reading the log"));
    let mut found = None;
    for index in 0..checkpoint.size {
        let leaf = read(index)?;
        if leaf.kind == EventKind::Access && leaf.correlation.to_string() == correlation {
            found = Some((index, leaf));
            break;
        }
    }
    let (index, leaf) =
        found.ok_or(DemoError { what: "log", why: "the first read is not in it".into() })?;
    let bytes = reader.leaf_bytes(index).map_err(doing("reading the log"))?;
    let proof =
        reader.prove_inclusion(index, checkpoint.size).map_err(doing("proving inclusion"))?;
    let included = proof.verify(&leaf_hash(&bytes), &checkpoint.root).is_ok();
    // Opening the body also checks its commitment in the leaf.
    let body = reader.body(index).await.map_err(doing("opening the body"))?;
    let view = ward_audit::fhir_view::audit_event(&leaf, Some(&body), index, &leaf.node);
    let typed = view.get("resourceType").and_then(Value::as_str) == Some("AuditEvent");
    let detail = format!(
        "{}\n{}\n{}",
        note.trim_end(),
        one_line(Ui::new(true), index, &leaf).trim(),
        audit_event_in_short(&view),
    );
    carried.checkpoint = Some(note);
    carried.proven = Some(index);
    Ok(Found::new(
        included && typed,
        format!(
            "entry {index} of {} proven by {} hashes; its AuditEvent names {} record",
            checkpoint.size,
            proof.hashes.len(),
            body.released.len()
        ),
    )
    .fact("entry", index)
    .fact("size", checkpoint.size)
    .fact("audit_event", view)
    .fact(
        "proof",
        json!(proof.hashes.iter().map(|h| ward_core::crypto::hex(h)).collect::<Vec<_>>()),
    )
    .detail(detail))
}

/// The AuditEvent on one line; `ward log prove` shows it whole.
fn audit_event_in_short(view: &Value) -> String {
    let text = |pointer: &str| view.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let entities: Vec<&str> = view
        .get("entity")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entity| entity.pointer("/what/reference").and_then(Value::as_str))
        .collect();
    format!(
        "AuditEvent {}: action {}, outcome {}, purpose {}, {}",
        text("/recorded"),
        text("/action"),
        text("/outcome"),
        text("/purposeOfEvent/0/coding/0/code"),
        entities.join(", "),
    )
}

pub(super) fn tampering(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let note = carried.checkpoint.as_deref().ok_or_else(|| missing("checkpoint"))?;
    let index = carried.proven.ok_or_else(|| missing("proof"))?;
    let key = h.house.log.verifier_key();
    let copy = h.paths.root().join("tampered-copy");
    copy_dir(&h.paths.log(), &copy).map_err(doing("copying the log"))?;
    let whole = verify(&RealDisk::new(&copy), &key, Some(note)).is_ok();
    let reader = Reader::open_dir(&copy, None).map_err(doing("reading the copy"))?;
    let leaf = reader.leaf_bytes(index).map_err(doing("reading the copy"))?;
    let changed = change_one_byte(&copy, &leaf).map_err(doing("changing the copy"))?;
    let verdict = verify(&RealDisk::new(&copy), &key, Some(note));
    std::fs::remove_dir_all(&copy).map_err(doing("removing the copy"))?;
    let (named, said) = match verdict {
        Ok(_) => (false, "not noticed".to_owned()),
        Err(LogError::Tampered(tampered)) => {
            (tampered.place == ward_audit::Place::Entry(index), tampered.to_string())
        }
        Err(other) => (false, other.to_string()),
    };
    Ok(Found::new(whole && changed && named, said).fact("entry", index))
}

/// Changes one byte of the file that holds `leaf`, within it.
fn change_one_byte(dir: &std::path::Path, leaf: &[u8]) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            // Tiles repeat the leaves; the segments are the truth.
            if path.file_name().is_some_and(|name| name == "tile") {
                continue;
            }
            if change_one_byte(&path, leaf)? {
                return Ok(true);
            }
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        let place = bytes.windows(leaf.len()).position(|window| window == leaf);
        if let Some(byte) = place.and_then(|at| bytes.get_mut(at + leaf.len() / 2)) {
            *byte ^= 1;
            std::fs::write(&path, bytes)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
