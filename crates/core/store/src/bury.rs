//! Burying the dead: making marks durable, and with that the rows they mark invisible to a restart.
//!
//! Done by a cleaning before it drops tombstones (see [`crate::marks`]), and with every index image: the image
//! no longer knows the rows that were dead when it was begun, so nobody would ever mark them again. Until those
//! are buried, the image is not used.
//!
//! Marks only grow, and what is hidden must be hidden together: a tombstone never without the earlier rows of
//! its key. So of two burials the one that was taken last stays in place, and none is taken while a
//! cleaning copies rows that it does not know to be dead.

use std::ops::Range;
use std::sync::Arc;

use crate::files::{FileId, Kind};
use crate::manifest::Manifest;
use crate::marks::{self, Bitmap, Buried};
use crate::sealed::Dead;
use crate::segment::Extent;
use crate::shared::Shared;
use crate::{Store, StoreError};

impl Marks {
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }
}

impl Buried {
    /// The dead rows of a segment, without the tombstones that must stay visible.
    fn of(extent: &Extent, dead: &Dead, tombstones_stay_after: i64) -> Option<Buried> {
        let from = dead.bits.clone();
        let mut bits = from.clone();
        if dead.tombstone_bytes > 0 && extent.last.main > tombstones_stay_after {
            let mut fewer = Bitmap::default();
            let may = |position: &usize| !extent.span(*position).stays(tombstones_stay_after);
            for position in from.rows().filter(may) {
                fewer.set(position);
            }
            bits = Arc::new(fewer);
        }
        bits.rows().next()?;
        Some(Buried { id: extent.segment.id, rows: extent.rows, bits, from })
    }
}

/// Marks in a file of their own.
#[derive(Debug)]
pub(crate) struct Burial {
    pub(crate) number: u64,
    bytes: u64,
    marks: Marks,
    stay_after: i64,
    buried: Vec<Buried>,
}

/// All marks at one time.
#[derive(Debug)]
pub(crate) struct Marks {
    /// Counts the times.
    taken: u64,
    dead: Vec<(Extent, Dead)>,
}

impl Burial {
    /// Writes marks that [`Store::marks`] gave.
    pub(crate) fn write(
        shared: &Shared,
        marks: Marks,
        tombstones_stay_after: i64,
    ) -> Result<Burial, StoreError> {
        let number = shared.manifest.number();
        let buried = marks.dead.iter();
        let buried =
            buried.filter_map(|(extent, dead)| Buried::of(extent, dead, tombstones_stay_after));
        let buried: Vec<Buried> = buried.collect();
        let bytes = marks::write(&shared.dir, number, &buried)?;
        Ok(Burial { number, bytes, marks, stay_after: tombstones_stay_after, buried })
    }

    pub(crate) fn id(&self) -> FileId {
        FileId::new(Kind::Marks, self.number)
    }

    /// Puts the file into a manifest, unless that has later marks.
    pub(crate) fn install(&self, next: &mut Manifest) {
        if next.marks_taken < self.marks.taken {
            next.marks = Some(self.number);
            next.marks_taken = self.marks.taken;
            next.marks_stay_after = self.stay_after;
        }
    }
}

impl Store {
    /// All marks but those of some sealed segments.
    pub(crate) fn marks(&mut self, except: Range<usize>) -> Marks {
        let sealed = self.sealed.iter().enumerate();
        let sealed = sealed.filter(|(place, _)| !except.contains(place));
        let sealed =
            sealed.filter_map(|(_, sealed)| Some((sealed.extent.clone()?, sealed.dead.clone())));
        let active = self.active.extent.clone().map(|extent| (extent, self.active.dead.clone()));
        let dead = sealed.chain(active).filter(|(_, dead)| dead.bytes > 0).collect();
        Marks { taken: self.next_taken(), dead }
    }

    /// The time that marks taken now would have.
    pub(crate) fn next_taken(&mut self) -> u64 {
        self.marks_taken += 1;
        self.marks_taken
    }

    /// Takes note of marks that are durable now.
    pub(crate) fn buried(&mut self, burial: &Burial) {
        if self.marks_in_place < burial.marks.taken {
            self.marks_in_place = burial.marks.taken;
            self.other_files.marks = burial.bytes;
        }
        for buried in &burial.buried {
            let found = self.sealed.iter_mut().find(|sealed| sealed.segment.id == buried.id);
            let Some(sealed) = found else { continue };
            if Arc::ptr_eq(&buried.from, &sealed.dead.bits) {
                sealed.dead.unburied = false;
            }
            if let Some(extent) = &mut sealed.extent {
                extent.buried = Some(buried.bits.clone());
            }
        }
        self.renew_extents();
    }

    /// Makes views show what is in `sealed` now.
    pub(crate) fn renew_extents(&mut self) {
        let extents = self.sealed.iter().filter_map(|sealed| sealed.extent.clone());
        self.extents = Arc::new(extents.collect());
    }
}
