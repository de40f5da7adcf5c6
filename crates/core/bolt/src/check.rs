//! The full check: every page that can be reached, once, and the list of free pages.
//!
//! Where a walk for rows stops at the first fault, this one notes it and goes on with the next page,
//! so that an operator sees how far the damage goes. Pages that nothing leads to are counted, not
//! blamed: a file without a stored list of free pages is full of them.

use std::collections::BTreeMap;

use crate::access::ReadAt;
use crate::error::{BoltError, Flaw};
use crate::node::{Holds, Node, place};
use crate::page::{FIRST_PAGE, HEADER_BYTES, LEVELS_MAX, NO_FREELIST, PageHeader, kind, number64};
use crate::reader::{Bolt, Root, Step, bucket_root};

/// Faults that are kept for listing; more are only counted.
pub const FAULTS_LISTED_MAX: usize = 100;

/// What a full check found.
#[derive(Debug, Default)]
pub struct Check {
    /// The first faults, in the order they were met.
    pub faults: Vec<BoltError>,
    /// All faults.
    pub faults_count: u64,
    /// Buckets whose entry is whole.
    pub buckets: u64,
    /// Rows in pages that are whole.
    pub rows: u64,
    /// Pages in use, without the two metas.
    pub pages_used: u64,
    /// Pages listed as free.
    pub pages_free: u64,
}

impl Check {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults_count == 0
    }

    fn note(&mut self, fault: BoltError) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_LISTED_MAX {
            self.faults.push(fault);
        }
    }
}

impl<R: ReadAt> Bolt<R> {
    /// Visits every page that can be reached.
    pub fn check(&self) -> Check {
        let mut walk = Walk { bolt: self, seen: PageSet::default(), check: Check::default() };
        walk.tree(&Root::Page(self.meta.root), Holds::Buckets);
        if self.meta.freelist != NO_FREELIST
            && let Err(fault) = walk.free_pages()
        {
            walk.check.note(fault);
        }
        walk.check
    }
}

struct Walk<'a, R> {
    bolt: &'a Bolt<R>,
    seen: PageSet,
    check: Check,
}

impl<R: ReadAt> Walk<'_, R> {
    fn tree(&mut self, root: &Root, holds: Holds) {
        match self.bolt.step_to_root(root, holds) {
            Ok(step) => {
                if matches!(root, Root::Inline(_)) || self.claim(&step.node) {
                    self.below(&step, 1, holds);
                }
            }
            Err(fault) => self.check.note(fault),
        }
    }

    /// Visits what hangs on one page. `depth` counts the levels down to and with that page, and
    /// `step_down` bounds it, so the recursion is bounded too.
    fn below(&mut self, step: &Step, depth: usize, holds: Holds) {
        assert!(depth <= LEVELS_MAX);
        for element in 0..step.node.count() {
            if step.node.is_leaf() {
                match holds {
                    Holds::Rows => self.check.rows += 1,
                    Holds::Buckets => self.bucket(&step.node, element),
                }
                continue;
            }
            match self.bolt.step_down(step, element, depth, holds) {
                Ok(child) => {
                    if self.claim(&child.node) {
                        self.below(&child, depth + 1, holds);
                    }
                }
                Err(fault) => self.check.note(fault),
            }
        }
    }

    fn bucket(&mut self, node: &Node, element: usize) {
        match bucket_root(&node.value(element), node.place()) {
            Ok(root) => {
                self.check.buckets += 1;
                self.tree(&root, Holds::Rows);
            }
            Err(_) => {
                let flaw = Flaw::BucketEntry { element };
                self.check.note(BoltError::Damaged { place: node.place(), flaw });
            }
        }
    }

    /// Notes that a page is in use; `false` if it was already.
    fn claim(&mut self, node: &Node) -> bool {
        let mut all_new = true;
        for page in node.pages() {
            if self.seen.insert(page) {
                self.check.pages_used += 1;
            } else {
                all_new = false;
            }
        }
        if !all_new {
            let flaw = Flaw::ReachedTwice;
            self.check.note(BoltError::Damaged { place: node.place(), flaw });
        }
        all_new
    }

    fn free_pages(&mut self) -> Result<(), BoltError> {
        let meta = &self.bolt.meta;
        let id = meta.freelist;
        let here = place(meta, id);
        let damaged = |flaw| BoltError::Damaged { place: here, flaw };
        if !(FIRST_PAGE..meta.high_water).contains(&id) {
            return Err(damaged(Flaw::OutsideFile { high_water: meta.high_water }));
        }
        let mut start = [0; HEADER_BYTES + 8];
        self.read(&mut start, here.offset)?;
        let header = PageHeader::decode(start.first_chunk().expect("the header was read"));
        let pages = u64::from(header.overflow) + 1;
        if header.id != id {
            return Err(damaged(Flaw::WrongId { found: header.id }));
        }
        if header.kind != kind::FREELIST {
            return Err(damaged(Flaw::WrongKind { found: header.kind }));
        }
        if pages > meta.high_water - id {
            return Err(damaged(Flaw::RunTooLong { overflow: header.overflow }));
        }
        for page in id..id + pages {
            if !self.seen.insert(page) {
                return Err(damaged(Flaw::ReachedTwice));
            }
        }
        self.check.pages_used += pages;
        // A count that does not fit its field stands in front of the list instead.
        let (count, first) = match header.count {
            u16::MAX => (number64(&start, HEADER_BYTES), HEADER_BYTES as u64 + 8),
            count => (u64::from(count), HEADER_BYTES as u64),
        };
        let room = (pages * u64::from(meta.page_bytes) - first) / 8;
        if count > room {
            return Err(damaged(Flaw::FreeList { entry: room }));
        }
        self.free_entries(here.offset + first, count).map_err(|fault| match fault {
            FreeFault::Entry(entry) => damaged(Flaw::FreeList { entry }),
            FreeFault::Read(fault) => fault,
        })
    }

    fn free_entries(&mut self, offset: u64, count: u64) -> Result<(), FreeFault> {
        const ENTRIES: u64 = 8192;
        let mut last = FIRST_PAGE - 1;
        for start in (0..count).step_by(ENTRIES as usize) {
            let entries = ENTRIES.min(count - start);
            let mut chunk = vec![0; entries as usize * 8];
            self.read(&mut chunk, offset + start * 8).map_err(FreeFault::Read)?;
            for (entry, id) in (start..).zip(chunk.chunks_exact(8).map(|id| number64(id, 0))) {
                if id <= last || id >= self.bolt.meta.high_water {
                    return Err(FreeFault::Entry(entry));
                }
                last = id;
                self.check.pages_free += 1;
                if self.seen.contains(id) {
                    let flaw = Flaw::UsedAndFree;
                    let place = place(&self.bolt.meta, id);
                    self.check.note(BoltError::Damaged { place, flaw });
                }
            }
        }
        Ok(())
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), BoltError> {
        let place = place(&self.bolt.meta, self.bolt.meta.freelist);
        let read = self.bolt.file.read_exact_at(buffer, offset);
        read.map_err(|source| BoltError::Read { place, source })
    }
}

enum FreeFault {
    Entry(u64),
    Read(BoltError),
}

/// A set of page numbers: a bit for each, in pieces that exist once one of theirs is in use.
#[derive(Default)]
struct PageSet {
    pieces: BTreeMap<u64, Box<[u64; 64]>>,
}

impl PageSet {
    const PIECE: u64 = 64 * 64;

    /// Whether `page` was not in the set before.
    fn insert(&mut self, page: u64) -> bool {
        let piece = self.pieces.entry(page / Self::PIECE).or_insert_with(|| Box::new([0; 64]));
        let (word, bit) = Self::bit(page);
        let new = piece[word] & bit == 0;
        piece[word] |= bit;
        new
    }

    fn contains(&self, page: u64) -> bool {
        let (word, bit) = Self::bit(page);
        self.pieces.get(&(page / Self::PIECE)).is_some_and(|piece| piece[word] & bit != 0)
    }

    fn bit(page: u64) -> (usize, u64) {
        ((page % Self::PIECE / 64) as usize, 1 << (page % 64))
    }
}
