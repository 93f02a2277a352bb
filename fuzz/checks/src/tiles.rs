//! The log on disk (rules 3, 4; `ward_audit::format`): whatever somebody does to its files, what verifies
//! against a checkpoint kept elsewhere is what was written.
//!
//! Input: the first octet `f` is followed by a frame, leaf, note or verifier key to be read as each of
//! them; anything else by operations on the files of a small log, whose checksums are made to fit.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use ward_audit::format::{Frame, SEGMENT_HEAD, segment_head, segment_path};
use ward_audit::testing::MemoryDisk;
use ward_audit::{Checkpoint, Leaf, Log, LogOptions, Reader, VerifierKey, verify};
use ward_core::crypto::SigningKey;
use ward_core::{
    BoxFuture, Bus, CorrelationId, DataKey, Event, EventKind, EventSink as _, KeyId, KeyPurpose,
    KeyVault, Limits, ManualClock, Message, Secret, SeededRng, Subscription, TenantId, VaultError,
};

use crate::{number, octet};

/// Entries of the log; more than one tile holds.
const ENTRIES: usize = 270;
/// Where the second segment begins.
const SECOND: usize = 200;

struct Vault;

impl KeyVault for Vault {
    fn current<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async { Ok(DataKey { id: KeyId(1), key: Secret::new([9; 32]) }) })
    }

    fn by_id<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
        _: KeyId,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        self.current(tenant, purpose)
    }

    fn destroy<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async { Ok(()) })
    }
}

struct Deaf;

impl Subscription for Deaf {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Message, ward_core::Lagged>>> {
        Box::pin(async { None })
    }
}

impl Bus for Deaf {
    fn publish(&self, _: Message) {}

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Self)
    }
}

/// A log as it was written, and what is kept of it elsewhere.
struct Original {
    files: BTreeMap<String, Vec<u8>>,
    key: String,
    checkpoint: String,
    /// Leaf and sealed body of each entry.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    let disk = MemoryDisk::new();
    let clock = Arc::new(ManualClock::at_unix_seconds(1_795_306_500));
    let rng = Arc::new(SeededRng::new(3));
    let (key, checkpoint) = runtime.block_on(async {
        let log = Log::open(LogOptions {
            disk: Arc::new(disk.clone()),
            origin: "ward/log/fuzz".into(),
            signing_key: SigningKey::from_seed(&Secret::new([5; 32])).expect("a key"),
            vault: Arc::new(Vault),
            bus: Arc::new(Deaf),
            clock: clock.clone(),
            rng: rng.clone(),
            limits: Arc::new(Limits::default()),
        })
        .expect("a log");
        let event = || {
            let correlation = CorrelationId::new(&*clock, &*rng);
            let at = ward_core::Clock::now(&*clock);
            Event::new(EventKind::Access, "released", TenantId::default_tenant(), at, correlation)
        };
        for n in 0..ENTRIES {
            log.record(vec![event()]).await.expect("recorded");
            if n % 100 == 50 {
                log.checkpoint().await.expect("signed");
            }
        }
        let kept = log.checkpoint().await.expect("signed");
        let key = log.verifier_key();
        log.close().await;
        (key, kept)
    });
    let mut files = disk.files();
    let first = segment_path(0);
    let bytes = files.remove(&first).expect("a segment");
    let frames = frames(&bytes);
    assert_eq!(frames.len(), ENTRIES);
    let entries = frames.iter().map(|f| (f.leaf.to_vec(), f.sealed.to_vec())).collect();
    for (from, part) in [(0, &frames[..SECOND]), (SECOND, &frames[SECOND..])] {
        files.insert(segment_path(from as u64), segment(from as u64, part));
    }
    Original { files, key, checkpoint, entries }
});

fn frames(segment: &[u8]) -> Vec<Frame<'_>> {
    let (mut at, mut found) = (SEGMENT_HEAD, vec![]);
    while let Some(Ok(frame)) = segment.get(at..).map(Frame::parse) {
        at += frame.octets();
        found.push(frame);
    }
    found
}

fn segment(first: u64, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = segment_head(first).to_vec();
    frames.iter().for_each(|frame| frame.write(&mut out));
    out
}

/// See the module.
pub fn check(mut data: &[u8]) -> bool {
    if let Some(rest) = data.strip_prefix(b"f") {
        return formats(rest);
    }
    let original = &*ORIGINAL;
    let mut files = original.files.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    while !data.is_empty() {
        let name = &names[usize::from(octet(&mut data)) % names.len()];
        operate(&mut data, name, &names, &mut files);
    }
    let disk = MemoryDisk::new();
    for (name, bytes) in files {
        disk.plant(&name, bytes);
    }
    if let Ok(report) = verify(&disk, &original.key, None) {
        assert!(report.signed <= report.size);
    }
    let Ok(report) = verify(&disk, &original.key, Some(&original.checkpoint)) else {
        return false;
    };
    assert!(report.size >= original.entries.len() as u64, "entries are missing");
    let reader = Reader::open(Arc::new(disk.clone()), None).expect("readable");
    assert_eq!(reader.size(), report.size);
    for (index, (leaf, _)) in original.entries.iter().enumerate() {
        let found = reader.leaf_bytes(index as u64).expect("readable");
        assert_eq!(&found, leaf, "entry {index} is another");
    }
    let files = disk.files();
    let sealed: Vec<_> = files
        .iter()
        .filter(|(name, _)| name.starts_with("segments/"))
        .flat_map(|(_, bytes)| frames(bytes))
        .filter(|frame| {
            usize::try_from(frame.index)
                .ok()
                .and_then(|index| original.entries.get(index))
                .is_some_and(|(leaf, sealed)| leaf == frame.leaf && sealed == frame.sealed)
        })
        .map(|frame| frame.index)
        .collect();
    assert!(
        (0..original.entries.len() as u64).all(|index| sealed.contains(&index)),
        "a body is another"
    );
    true
}

/// One thing that somebody does to a file.
fn operate(data: &mut &[u8], name: &str, names: &[String], files: &mut BTreeMap<String, Vec<u8>>) {
    let kind = octet(data);
    let Some(mut bytes) = files.get(name).cloned() else { return };
    match kind % 8 {
        0 => {
            let at = number(data) % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= octet(data).max(1);
            }
        }
        1 => bytes.truncate(number(data)),
        2 => {
            let take = usize::from(octet(data)).min(data.len());
            let (more, rest) = data.split_at(take);
            bytes.extend_from_slice(more);
            *data = rest;
        }
        3 => drop(files.remove(name)),
        4 => {
            let other = &names[usize::from(octet(data)) % names.len()];
            bytes.clone_from(files.get(other).unwrap_or(&vec![]));
        }
        // An entry altered, removed, doubled or moved, by someone who knows the format.
        kind => {
            let first: u64 =
                name.trim_start_matches("segments/").trim_end_matches(".seg").parse().unwrap_or(0);
            let copy = bytes.clone();
            let mut all = frames(&copy);
            let (at, to) = (number(data) % all.len().max(1), number(data) % all.len().max(1));
            let Some(frame) = all.get(at).copied() else { return };
            let (mut leaf, mut sealed) = (frame.leaf.to_vec(), frame.sealed.to_vec());
            match kind {
                5 => {
                    let part = if octet(data).is_multiple_of(2) { &mut leaf } else { &mut sealed };
                    let place = number(data) % part.len().max(1);
                    if let Some(byte) = part.get_mut(place) {
                        *byte ^= octet(data).max(1);
                    }
                    all[at] = Frame { leaf: &leaf, sealed: &sealed, ..frame };
                }
                6 => all.swap(at, to),
                _ if octet(data).is_multiple_of(2) => drop(all.remove(at)),
                _ => {
                    let durable = number(data) as u64;
                    all.insert(to, Frame { durable, ..frame });
                }
            }
            if octet(data).is_multiple_of(2) {
                for (index, frame) in (first..).zip(&mut all) {
                    frame.index = index;
                }
            }
            bytes = segment(first, &all);
        }
    }
    if kind % 8 != 3 {
        files.insert(name.to_owned(), bytes);
    }
}

fn formats(data: &[u8]) -> bool {
    let mut believed = false;
    if let Ok(frame) = Frame::parse(data) {
        believed = true;
        let mut again = vec![];
        frame.write(&mut again);
        assert_eq!(again, data[..frame.octets()]);
    }
    if let Some(leaf) = Leaf::parse(data) {
        believed = true;
        let again = serde_json::to_vec(&leaf).expect("JSON");
        assert_eq!(Leaf::parse(&again), Some(leaf));
    }
    let Ok(text) = std::str::from_utf8(data) else { return believed };
    if let Ok(key) = VerifierKey::parse(text) {
        believed = true;
        assert_eq!(VerifierKey::parse(&key.to_string()).ok(), Some(key));
    }
    let key = VerifierKey::parse(&ORIGINAL.key).expect("a key");
    if let Some(said) = Checkpoint::verify(text, &key) {
        believed = true;
        assert_eq!(Checkpoint::parse_unverified(text), Some(said.clone()));
        let known = ORIGINAL.files.get("checkpoints").map(|all| String::from_utf8_lossy(all));
        let line = format!("{}\n{}\n", said.origin, said.size);
        assert!(known.is_some_and(|all| all.contains(&line)), "a forgery");
    }
    believed
}

/// What the corpus has of the log: a frame, a leaf, the key and a note.
pub fn seeds() -> Vec<Vec<u8>> {
    let original = &*ORIGINAL;
    let mut frame = vec![];
    let bytes = &original.files[&segment_path(0)];
    let written = frames(bytes)[3];
    written.write(&mut frame);
    [
        frame,
        written.leaf.to_vec(),
        original.key.clone().into_bytes(),
        original.checkpoint.clone().into_bytes(),
    ]
    .into_iter()
    .map(|seed| [b"f".to_vec(), seed].concat())
    .collect()
}
