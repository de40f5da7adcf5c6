//! One file's bytes, twice: as the running system sees them and as the disk has them, with the
//! changes in between in the order they were made.

use std::collections::BTreeMap;

use super::chance::Chance;
use super::pages::Pages;
use crate::SECTOR_BYTES;

/// A change not yet synced.
#[derive(Clone, Debug)]
enum Change {
    Write { bytes: Vec<u8>, offset: u64 },
    Zero { from: u64, to: u64 },
    SetLen(u64),
}

/// What a power cut leaves of the changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPolicy {
    /// All of them.
    KeepAll,
    /// None of them.
    LoseUnsynced,
    /// Those up to some point, the last of them only up to a border of 512 bytes.
    Torn {
        /// Picks the points.
        seed: u64,
    },
    /// Each sector, and each name, survives or not by itself, at any of its unsynced versions.
    Reordered {
        /// Picks which.
        seed: u64,
    },
    /// The first so many pieces, in the order they were written: a tear at each border of 512 bytes.
    First {
        /// How many, from 0 to [`MemoryDisk::unsynced`](crate::MemoryDisk::unsynced).
        pieces: usize,
    },
    /// All pieces but one, and what cannot be there without it.
    AllBut {
        /// Which, from 0.
        piece: usize,
    },
    /// One piece, and what it cannot be there without.
    Only {
        /// Which, from 0.
        piece: usize,
    },
}

/// Part of what was not synced, by the operation that made it and its place within: a sector of a
/// write, a change of length, a change of names.
pub(super) type Piece = (u64, usize);

/// Which pieces survive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    /// Those before this one.
    Before(Piece),
    /// All but this one.
    AllBut(Piece),
    /// This one.
    Only(Piece),
}

/// A file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    current: Pages,
    durable: Pages,
    /// With the operation that made each.
    pending: Vec<(u64, Change)>,
    /// The operation under way.
    at: u64,
}

impl Content {
    /// Notes which operation what follows belongs to.
    pub(super) fn during(&mut self, operation: u64) -> &mut Content {
        self.at = operation;
        self
    }

    pub(super) fn len(&self) -> u64 {
        self.current.len()
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.current.read(buffer, offset)
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.change(Change::Write { bytes: bytes.to_vec(), offset });
    }

    pub(super) fn zero(&mut self, from: u64, to: u64) {
        self.change(Change::Zero { from, to });
    }

    pub(super) fn set_len(&mut self, bytes: u64) {
        self.change(Change::SetLen(bytes));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.pending.push((self.at, change));
    }

    pub(super) fn sync(&mut self) {
        for (_, change) in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync that failed: the kernel has marked the pages clean, so no later sync writes them.
    pub(super) fn fail_sync(&mut self) {
        self.pending.clear();
    }

    /// Changes the bytes behind the file system's back, synced or not.
    pub(super) fn rot(&mut self, change: impl Fn(&mut Pages)) {
        change(&mut self.current);
        change(&mut self.durable);
    }

    /// What the next boot finds.
    pub(super) fn after_crash(&self, policy: CrashPolicy, chance: &mut Chance) -> Content {
        let pages = match policy {
            CrashPolicy::KeepAll => self.current.clone(),
            CrashPolicy::LoseUnsynced => self.durable.clone(),
            CrashPolicy::Torn { .. } => self.torn(chance),
            CrashPolicy::Reordered { .. } => self.reordered(chance),
            CrashPolicy::First { .. } | CrashPolicy::AllBut { .. } | CrashPolicy::Only { .. } => {
                unreachable!("the disk makes a choice of them")
            }
        };
        Content::found(pages)
    }

    /// What the next boot finds if these pieces survive.
    pub(super) fn after_choice(&self, choice: Choice) -> Content {
        let mut pieces_of: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
        for (piece, sector) in self.sectors() {
            pieces_of.entry(sector.number()).or_default().push(piece);
        }
        let survive = |pieces: Vec<Piece>| {
            let place = |wanted: Piece| pieces.iter().position(|piece| *piece == wanted);
            let count = match choice {
                Choice::Before(end) => pieces.iter().filter(|piece| **piece < end).count(),
                Choice::AllBut(lost) => place(lost).unwrap_or(pieces.len()),
                Choice::Only(kept) => place(kept).map_or(0, |place| place + 1),
            };
            count as u64
        };
        let survive_of =
            pieces_of.into_iter().map(|(sector, pieces)| (sector, survive(pieces))).collect();
        Content::found(self.with_so_many(survive_of))
    }

    fn found(pages: Pages) -> Content {
        Content { current: pages.clone(), durable: pages, ..Content::default() }
    }

    /// What was not synced, in the order it was written.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.sectors().map(|(piece, _)| piece)
    }

    fn sectors(&self) -> impl Iterator<Item = (Piece, Change)> {
        self.pending.iter().flat_map(|(at, change)| {
            let sectors = change.sectors().into_iter().enumerate();
            sectors.map(|(within, sector)| ((*at, within), sector))
        })
    }

    fn torn(&self, chance: &mut Chance) -> Pages {
        let mut pages = self.durable.clone();
        let whole = chance.below(self.pending.len() as u64 + 1) as usize;
        for (_, change) in &self.pending[..whole] {
            apply(&mut pages, change);
        }
        if let Some((_, change)) = self.pending.get(whole) {
            let sectors = change.sectors();
            let survive = chance.below(sectors.len() as u64 + 1) as usize;
            for sector in &sectors[..survive] {
                apply(&mut pages, sector);
            }
        }
        pages
    }

    /// A device writes a sector as the cache has it at that moment: of several changes to one sector
    /// the first few survive, never a later one without the earlier.
    fn reordered(&self, chance: &mut Chance) -> Pages {
        let mut changes_of: BTreeMap<u64, u64> = BTreeMap::new();
        for (_, sector) in self.sectors() {
            *changes_of.entry(sector.number()).or_default() += 1;
        }
        let mut survive_of = changes_of;
        for survive in survive_of.values_mut() {
            *survive = chance.below(*survive + 1);
        }
        self.with_so_many(survive_of)
    }

    /// The durable pages with the first so many changes of each sector.
    fn with_so_many(&self, mut survive_of: BTreeMap<u64, u64>) -> Pages {
        let mut pages = self.durable.clone();
        for (_, sector) in self.sectors() {
            let survive = survive_of.get_mut(&sector.number()).expect("counted above");
            if *survive > 0 {
                *survive -= 1;
                apply(&mut pages, &sector);
            }
        }
        pages
    }
}

/// Where changes of length are counted, which belong to no sector.
const LENGTH: u64 = u64::MAX;

impl Change {
    /// The sector it lies in, for a piece of [`Change::sectors`].
    fn number(&self) -> u64 {
        match self {
            Change::Write { offset: from, .. } | Change::Zero { from, .. } => from / SECTOR_BYTES,
            Change::SetLen(_) => LENGTH,
        }
    }

    /// The change as a disk sees it: sector by sector.
    fn sectors(&self) -> Vec<Change> {
        match self {
            Change::Write { bytes, offset } => borders(*offset, *offset + bytes.len() as u64)
                .map(|(from, to)| {
                    let bytes = bytes[(from - offset) as usize..(to - offset) as usize].to_vec();
                    Change::Write { bytes, offset: from }
                })
                .collect(),
            Change::Zero { from, to } => {
                borders(*from, *to).map(|(from, to)| Change::Zero { from, to }).collect()
            }
            Change::SetLen(bytes) => vec![Change::SetLen(*bytes)],
        }
    }
}

fn borders(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let sector = (at, end.min(to));
        at = end;
        (sector.0 < to).then_some(sector)
    })
}

fn apply(pages: &mut Pages, change: &Change) {
    match change {
        Change::Write { bytes, offset } => pages.write(bytes, *offset),
        Change::Zero { from, to } => pages.zero(*from, *to),
        Change::SetLen(bytes) => pages.set_len(*bytes),
    }
}
