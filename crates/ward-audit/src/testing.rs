//! A disk in memory for tests of this and other rooms: it forgets at a crash what was not synced, fails or crashes
//! at a chosen operation, and fills up (house §6).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ward_core::{Rng as _, SeededRng};

use crate::disk::{Disk, DiskLock};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine dies in the middle of it; every later operation fails until [`MemoryDisk::crash`].
    Crash,
    /// Only this one fails, in the middle.
    Error,
}

/// What a crash leaves of changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Each file and the set of names: all, nothing, a part, or a part with a hole, by this seed.
    Some(u64),
    /// Everything, as when only the process is killed.
    Everything,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// A name's inode; `None` is a directory.
type Names = BTreeMap<String, Option<u64>>;

#[derive(Default)]
struct State {
    inodes: HashMap<u64, Inode>,
    next: u64,
    names: Names,
    durable: Names,
    operations: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    capacity: Option<usize>,
    locked: bool,
}

/// A disk in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// How much of the current operation happens before it fails.
enum Fate {
    Whole,
    Half,
}

fn broken(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

fn missing() -> io::Error {
    ErrorKind::NotFound.into()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(broken("crashed")) } else { Ok(()) }
    }

    fn begin(&mut self) -> io::Result<Fate> {
        self.alive()?;
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == self.operations => {
                self.dead = fault == Fault::Crash;
                Ok(Fate::Half)
            }
            _ => Ok(Fate::Whole),
        }
    }

    fn node(&mut self, path: &str) -> io::Result<&mut Inode> {
        let id = self.names.get(path).copied().flatten().ok_or_else(missing)?;
        self.inodes.get_mut(&id).ok_or_else(missing)
    }

    fn create(&mut self, path: &str) -> io::Result<()> {
        let dir = parent(path);
        if !dir.is_empty() && self.names.get(dir) != Some(&None) {
            return Err(missing());
        }
        self.next += 1;
        self.inodes.insert(self.next, Inode::default());
        self.names.insert(path.to_owned(), Some(self.next));
        Ok(())
    }

    fn free(&self) -> usize {
        let used: usize = self
            .names
            .values()
            .flatten()
            .filter_map(|id| self.inodes.get(id))
            .map(|node| node.now.len())
            .sum();
        self.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used))
    }

    /// Writes as much as the fate of the operation and the space allow.
    fn put(&mut self, path: &str, at: Option<usize>, bytes: &[u8], fate: &Fate) -> io::Result<()> {
        let wanted = if matches!(fate, Fate::Half) { bytes.len() / 2 } else { bytes.len() };
        let free = self.free();
        let node = self.node(path)?;
        let at = at.unwrap_or(node.now.len()).min(node.now.len());
        let room = free.saturating_add(node.now.len() - at);
        let written = bytes.get(..wanted.min(room)).unwrap_or(bytes);
        let end = (at + written.len()).min(node.now.len());
        node.now.splice(at..end, written.iter().copied());
        if matches!(fate, Fate::Half) {
            return Err(broken("I/O error"));
        }
        if written.len() < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `n`-th changing operation from now (1 is the next) goes wrong.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + n, fault));
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether it crashed at a chosen operation.
    pub fn crashed(&self) -> bool {
        self.state().dead
    }

    /// Bytes that all files together may have; `None` is no bound.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> usize {
        let state = self.state();
        state
            .names
            .values()
            .flatten()
            .filter_map(|id| state.inodes.get(id))
            .map(|n| n.now.len())
            .sum()
    }

    /// The machine dies now. Returns the disk as found after the restart; this one stays dead.
    #[must_use]
    pub fn crash(&self, survival: Survival) -> Self {
        let mut old = self.state();
        old.dead = true;
        let rng = SeededRng::new(if let Survival::Some(seed) = survival { seed } else { 0 });
        let mut coin = |sides: u64| rng.next_u64() % sides;
        let keep_names = match survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Some(_) => coin(2) == 1,
        };
        let names = if keep_names { &old.names } else { &old.durable };
        let kept: Names = names
            .iter()
            .filter(|(path, _)| {
                let mut dir = parent(path);
                while !dir.is_empty() {
                    if names.get(dir) != Some(&None) {
                        return false;
                    }
                    dir = parent(dir);
                }
                true
            })
            .map(|(path, id)| (path.clone(), *id))
            .collect();
        let mut inodes = HashMap::new();
        for id in kept.values().flatten() {
            let Some(node) = old.inodes.get(id) else { continue };
            let left = match survival {
                Survival::Nothing => node.durable.clone(),
                Survival::Everything => node.now.clone(),
                Survival::Some(_) => survivor(node, &mut coin),
            };
            inodes.insert(*id, Inode { now: left.clone(), durable: left });
        }
        let state = State {
            inodes,
            next: old.next,
            names: kept.clone(),
            durable: kept,
            capacity: old.capacity,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A disk of its own with the same content.
    #[must_use]
    pub fn copy(&self) -> Self {
        let old = self.state();
        Self(Arc::new(Mutex::new(State {
            inodes: old.inodes.clone(),
            next: old.next,
            names: old.names.clone(),
            durable: old.durable.clone(),
            ..State::default()
        })))
    }

    /// All files with their content.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let content = |id: &u64| state.inodes.get(id).map(|node| node.now.clone());
        state
            .names
            .iter()
            .filter_map(|(path, id)| Some((path.clone(), content(id.as_ref()?)?)))
            .collect()
    }

    /// Puts a file there, durably and outside of all counting, as an attacker would.
    pub fn plant(&self, path: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.inodes.insert(id, Inode { now: bytes.clone(), durable: bytes });
        state.names.insert(path.to_owned(), Some(id));
        state.durable.insert(path.to_owned(), Some(id));
    }

    /// Removes a file outside of all counting, as an attacker would.
    pub fn steal(&self, path: &str) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable.remove(path);
    }
}

/// What is left of one file's unsynced changes.
fn survivor(node: &Inode, coin: &mut impl FnMut(u64) -> u64) -> Vec<u8> {
    // Octets that were written over or appended; before them nothing changed.
    let old = node.durable.iter().chain(std::iter::repeat(&0)).take(node.now.len());
    let old: Vec<u8> = old.copied().collect();
    let differ = |at: &usize| node.now.get(*at) != old.get(*at);
    let from = (0..old.len()).find(differ).unwrap_or(node.durable.len());
    let upto = (from..old.len()).rfind(differ).map_or(from, |last| last + 1);
    match coin(4) {
        0 => node.durable.clone(),
        1 => node.now.clone(),
        kind if node.now.len() >= node.durable.len() && upto >= from => {
            let cut = from + usize::try_from(coin((upto - from) as u64 + 1)).unwrap_or(0);
            let (mut left, new) = if kind == 3 {
                // Later blocks reached the disk before an earlier one: a hole of what was there, or of zeros.
                (old, cut..upto)
            } else {
                (node.durable.clone(), from..cut)
            };
            let longest = left.len().max(new.end);
            left.resize(longest, 0);
            left.splice(new.clone(), node.now.get(new).unwrap_or_default().iter().copied());
            left
        }
        _ => node.durable.clone(),
    }
}

impl Disk for MemoryDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        let names: BTreeSet<_> = state
            .names
            .keys()
            .filter(|path| parent(path) == dir && !path.is_empty())
            .filter_map(|path| path.rsplit('/').next().map(str::to_owned))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn len(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(self.read(path)?.map(|bytes| bytes.len() as u64))
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.state();
        state.alive()?;
        Ok(state.node(path).ok().map(|node| node.now.clone()))
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        if dir.is_empty() || state.names.contains_key(dir) {
            return state.alive();
        }
        if matches!(state.begin()?, Fate::Half) {
            return Err(broken("I/O error"));
        }
        let mut path = dir;
        while !path.is_empty() {
            state.names.entry(path.to_owned()).or_insert(None);
            path = parent(path);
        }
        Ok(())
    }

    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.begin()?;
        if !state.names.contains_key(path) {
            state.create(path)?;
        }
        state.put(path, None, bytes, &fate)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.begin()?;
        state.put(path, Some(usize::try_from(offset).unwrap_or(usize::MAX)), bytes, &fate)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.begin()?;
        if !state.names.contains_key(path) {
            state.create(path)?;
        }
        state.node(path)?.now.clear();
        state.put(path, Some(0), bytes, &fate)
    }

    fn truncate(&self, path: &str, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if matches!(state.begin()?, Fate::Half) {
            return Err(broken("I/O error"));
        }
        state.node(path)?.now.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        if matches!(state.begin()?, Fate::Half) {
            return Err(broken("I/O error"));
        }
        let node = state.node(path)?;
        node.durable.clone_from(&node.now);
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        if matches!(state.begin()?, Fate::Half) {
            return Err(broken("I/O error"));
        }
        let State { names, durable, .. } = &mut *state;
        durable.retain(|path, _| parent(path) != dir);
        for (path, id) in names.iter().filter(|(path, _)| parent(path) == dir) {
            durable.insert(path.clone(), *id);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if matches!(state.begin()?, Fate::Half) {
            return Err(broken("I/O error"));
        }
        let id = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        if matches!(state.begin()?, Fate::Half) {
            return Err(broken("I/O error"));
        }
        state.names.remove(path);
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        let mut state = self.state();
        state.alive()?;
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Held(self.clone()))))
    }
}

/// The lock of a [`MemoryDisk`].
struct Held(MemoryDisk);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}
