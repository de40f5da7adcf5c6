//! A disk in memory that fails where a test says so and remembers what a power cut would leave.
//!
//! Everything that changes the disk, and every sync, is an *operation* with a number from 1. A test
//! runs its workload once to learn how many there are, then again for each number with a fault there,
//! and after each run asks [`MemoryDisk::crash`] for the disk the next boot would find.
//!
//! Clones share one disk. After a crash the old disk and the new one have nothing in common.

mod chance;
mod content;
mod disk;
mod names;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chance::Chance;
pub use content::CrashPolicy;
use content::{Choice, Content, Piece};
use names::{Names, NodeId, ROOT};

use crate::{File, SECTOR_BYTES};

/// What a disk without a capacity says it has.
const UNBOUNDED_BYTES: u64 = 1 << 50;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device could not: nothing happened. A sync that fails so has lost its writes.
    Eio,
    /// No room: nothing happened.
    Enospc,
    /// About half of the bytes were written, up to a border of 512, then the device could not: kernels
    /// give up between pages. For other operations as `Eio`.
    ShortWrite,
}

/// What goes wrong on a disk, and when.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The operation of this number fails so; those after it work.
    pub fail_at: Option<(u64, FaultKind)>,
    /// The last operation that works: power is cut, and whatever is asked afterwards fails.
    pub stop_after: Option<u64>,
    /// What all files together may hold, in bytes.
    pub capacity_bytes: Option<u64>,
}

/// A disk in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    operations: u64,
    stopped: bool,
    names: Names,
    files: BTreeMap<NodeId, Content>,
    nodes: NodeId,
    locked: BTreeSet<NodeId>,
    /// Files of which a sync failed, and how many syncs of them were tried after.
    sync_failed: BTreeSet<NodeId>,
    syncs_after_failure: u64,
    /// How many open handles a file has: one without a name lives on while it has any.
    opened: BTreeMap<NodeId, usize>,
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    node: NodeId,
    writable: bool,
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    node: NodeId,
}

impl MemoryDisk {
    /// An empty disk without faults.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// An empty disk with faults.
    pub fn with_faults(faults: Faults) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.set_faults(faults);
        disk
    }

    /// Changes what goes wrong from now on. Operations keep their numbers.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// How many operations there were: changes and syncs, failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many pieces are not synced: sectors of writes, changes of length, changes of names. What
    /// [`CrashPolicy::First`], [`CrashPolicy::AllBut`] and [`CrashPolicy::Only`] choose from.
    pub fn unsynced(&self) -> usize {
        self.state().pieces().len()
    }

    /// How often a file was synced again after a sync of it had failed: never, in a program that may be
    /// trusted.
    pub fn syncs_after_failure(&self) -> u64 {
        self.state().syncs_after_failure
    }

    /// The disk the next boot would find if power were cut now. Without faults, operations from 0.
    pub fn crash(&self, policy: CrashPolicy) -> MemoryDisk {
        let state = self.state();
        if let Some(choice) = state.choice(policy) {
            return MemoryDisk(Arc::new(Mutex::new(state.after_choice(choice))));
        }
        let mut chance = match policy {
            CrashPolicy::Torn { seed } | CrashPolicy::Reordered { seed } => Chance::new(seed),
            _ => Chance::new(0),
        };
        let survive = chance.below(state.names.pending() as u64 + 1) as usize;
        let names = state.names.after_crash(|place| match policy {
            CrashPolicy::Torn { .. } => place < survive,
            CrashPolicy::Reordered { .. } => chance.below(2) == 0,
            policy => policy == CrashPolicy::KeepAll,
        });
        let named = names.named();
        let files = state.files.iter().filter(|(node, _)| named.contains(node));
        let files =
            files.map(|(node, file)| (*node, file.after_crash(policy, &mut chance))).collect();
        let next = State { names, files, nodes: state.nodes, ..State::default() };
        MemoryDisk(Arc::new(Mutex::new(next)))
    }

    /// Turns one bit of a file over, as rot does: no operation, no sync needed.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `InvalidInput` if it has no such bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.rot(path, bit / 8 + 1, |pages| {
            let mut byte = [0];
            pages.read(&mut byte, bit / 8);
            pages.write(&[byte[0] ^ (1 << (bit % 8))], bit / 8);
        })
    }

    /// Zeroes the sector that holds byte `offset`, as far as the file reaches.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `InvalidInput` if it ends before.
    pub fn zero_sector(&self, path: &Path, offset: u64) -> io::Result<()> {
        let start = offset - offset % SECTOR_BYTES;
        self.rot(path, offset + 1, |pages| {
            pages.zero(start, (start + SECTOR_BYTES).min(pages.len()));
        })
    }

    /// Cuts a file, as a careless copy does.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `InvalidInput` if it is shorter.
    pub fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.rot(path, bytes, |pages| pages.set_len(bytes))
    }

    fn rot(
        &self,
        path: &Path,
        bytes_min: u64,
        change: impl Fn(&mut pages::Pages),
    ) -> io::Result<()> {
        let mut state = self.state();
        let node = state.file_at(path)?;
        let file = state.file(node);
        if file.len() < bytes_min {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        file.rot(change);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, state: &mut State, node: NodeId, writable: bool) -> Arc<dyn File> {
        *state.opened.entry(node).or_default() += 1;
        Arc::new(MemoryFile { disk: self.clone(), node, writable })
    }

    fn open_as(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.alive()?;
        let node = state.file_at(path)?;
        Ok(self.handle(&mut state, node, writable))
    }
}

/// What [`State::operation`] lets through.
#[derive(PartialEq, Eq)]
enum Verdict {
    Do,
    DoHalf,
}

impl State {
    /// What is not synced, in the order it was made.
    fn pieces(&self) -> Vec<Piece> {
        let reachable = self.names.reachable();
        let files = self.files.iter().filter(|(node, _)| reachable.contains(node));
        let pieces = files.flat_map(|(_, file)| file.pieces()).chain(self.names.pieces());
        let mut pieces: Vec<Piece> = pieces.collect();
        pieces.sort_unstable();
        pieces
    }

    fn choice(&self, policy: CrashPolicy) -> Option<Choice> {
        let piece = |place: usize| self.pieces().get(place).copied();
        match policy {
            CrashPolicy::First { pieces } => {
                Some(piece(pieces).map_or(Choice::Before((u64::MAX, 0)), Choice::Before))
            }
            CrashPolicy::AllBut { piece: lost } => {
                Some(piece(lost).map_or(Choice::Before((u64::MAX, 0)), Choice::AllBut))
            }
            CrashPolicy::Only { piece: kept } => {
                Some(piece(kept).map_or(Choice::Before((0, 0)), Choice::Only))
            }
            _ => None,
        }
    }

    fn after_choice(&self, choice: Choice) -> State {
        let names = self.names.after_choice(choice);
        let named = names.named();
        let files = self.files.iter().filter(|(node, _)| named.contains(node));
        let files = files.map(|(node, file)| (*node, file.after_choice(choice))).collect();
        State { names, files, nodes: self.nodes, ..State::default() }
    }

    /// Counts an operation and says whether it may happen.
    fn operation(&mut self) -> io::Result<Verdict> {
        self.alive()?;
        if self.faults.stop_after.is_some_and(|last| self.operations >= last) {
            self.stopped = true;
            self.alive()?;
        }
        self.operations += 1;
        self.names.during(self.operations);
        match self.faults.fail_at {
            Some((number, kind)) if number == self.operations => match kind {
                FaultKind::Eio => Err(io::Error::from_raw_os_error(EIO)),
                FaultKind::Enospc => Err(io::Error::from_raw_os_error(ENOSPC)),
                FaultKind::ShortWrite => Ok(Verdict::DoHalf),
            },
            _ => Ok(Verdict::Do),
        }
    }

    /// For operations that cannot be done by half.
    fn whole_operation(&mut self) -> io::Result<()> {
        match self.operation()? {
            Verdict::Do => Ok(()),
            Verdict::DoHalf => Err(io::Error::from_raw_os_error(EIO)),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn dir_at(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.names.find(path).ok_or(io::ErrorKind::NotFound)?;
        if self.files.contains_key(&node) {
            Err(io::ErrorKind::NotADirectory.into())
        } else {
            Ok(node)
        }
    }

    fn file_at(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.names.find(path).ok_or(io::ErrorKind::NotFound)?;
        if self.files.contains_key(&node) {
            Ok(node)
        } else {
            Err(io::ErrorKind::IsADirectory.into())
        }
    }

    fn file(&mut self, node: NodeId) -> &mut Content {
        let file = self.files.get_mut(&node).expect("a file lives while a handle is open");
        file.during(self.operations)
    }

    fn new_node(&mut self) -> NodeId {
        self.nodes += 1;
        assert!(self.nodes > ROOT);
        self.nodes
    }

    /// Frees files that neither a name, now or after a crash, nor a handle leads to.
    fn forget_unreachable(&mut self) {
        let reachable = self.names.reachable();
        let opened = &self.opened;
        self.files.retain(|node, _| reachable.contains(node) || opened.contains_key(node));
    }

    fn used_bytes(&self) -> u64 {
        self.names.named().iter().filter_map(|node| self.files.get(node)).map(Content::len).sum()
    }

    /// Refuses what would grow a file past the disk's capacity.
    fn room(&self, node: NodeId, bytes: u64) -> io::Result<()> {
        let Some(capacity) = self.faults.capacity_bytes else { return Ok(()) };
        let growth = bytes.saturating_sub(self.files.get(&node).map_or(0, Content::len));
        if growth == 0 || self.used_bytes() + growth <= capacity {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(ENOSPC))
        }
    }
}
