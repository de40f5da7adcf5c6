//! Reading entries back from the log's files while it goes on being written: for members that lag.
//!
//! The writer remembers where every so many bytes of entries begin, and where one replaced an earlier one. Between
//! two such places entries follow one another in the file, each the one that counts; so a stretch of the log is
//! read without looking at the rest. Whoever reads may find that the file was let go, or used anew, meanwhile: then
//! the checksums do not fit, and there is no answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::Entry;
use vfs::Disk;

use crate::error::{Damage, OpenError};
use crate::frame::RecordKind;
use crate::name::SegmentName;
use crate::segment::{Next, SegmentReader};
use crate::wire;

/// Bytes of records between two places.
const STRIDE_BYTES: u64 = 64 * 1024;

/// Where an entry's record begins, and the checksum of everything before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub segment: SegmentName,
    pub offset: u64,
    pub checksum: u32,
}

/// Places by the index of the entry that begins there.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_index: BTreeMap<u64, Place>,
    /// The entry noted last, wherever it is.
    last: u64,
}

impl Places {
    /// An entry is written here. It replaces whatever had its index, and drops all behind that.
    pub fn note(&mut self, index: u64, place: Place) {
        let follows = index == self.last + 1;
        if !follows {
            self.by_index.split_off(&index);
        }
        let near = self.by_index.last_key_value().is_some_and(|(_, last)| {
            let same = last.segment.sequence == place.segment.sequence;
            same && place.offset < last.offset + STRIDE_BYTES
        });
        if !follows || !near {
            self.by_index.insert(index, place);
        }
        self.last = index;
    }

    /// A segment was let go.
    pub fn forget(&mut self, segment: SegmentName) {
        self.by_index.retain(|_, place| place.segment.sequence != segment.sequence);
    }

    /// The stretches that hold these entries, each with the index at which it ends to count; `None` if the first is
    /// not there.
    fn stretches(&self, first: u64, last: u64) -> Option<Vec<(Place, u64)>> {
        let (begin, _) = self.by_index.range(..=first).next_back()?;
        if self.last < first {
            return None;
        }
        let mut places = self.by_index.range(begin..=&last).peekable();
        let mut stretches = Vec::new();
        while let Some((_, place)) = places.next() {
            let end = places.peek().map_or(u64::MAX, |(next, _)| **next);
            stretches.push((*place, end));
        }
        Some(stretches)
    }
}

/// Entries to be read on another thread.
#[derive(Debug)]
pub struct LogReading {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    stretches: Vec<(Place, u64)>,
    first: u64,
    last: u64,
    bytes_max: u64,
}

impl LogReading {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        places: &Places,
        (first, last): (u64, u64),
        bytes_max: u64,
    ) -> Option<LogReading> {
        let stretches = places.stretches(first, last)?;
        Some(LogReading { disk, dir: dir.to_owned(), stretches, first, last, bytes_max })
    }

    /// The entries from the first on, in order: all of them, or as many as there are bytes enough, or as many as
    /// could be read.
    ///
    /// # Errors
    /// [`OpenError`] when not even the first can be read any more.
    pub fn run(self) -> Result<Vec<Entry>, OpenError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (place, end) in &self.stretches {
            match self.stretch(*place, *end, &mut entries, &mut bytes) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if entries.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(entries)
    }

    /// Whether more are wanted.
    fn stretch(
        &self,
        place: Place,
        end: u64,
        entries: &mut Vec<Entry>,
        bytes: &mut u64,
    ) -> Result<bool, OpenError> {
        let path = self.dir.join(place.segment.to_string());
        let opened = self.disk.open_read(&path);
        let file = opened.map_err(|source| OpenError::Io {
            attempt: "opening",
            path: path.clone(),
            offset: 0,
            source,
        })?;
        let mut reader = SegmentReader::starting_at(path, file, place.offset)?;
        let mut running = Some(place.checksum);
        loop {
            let offset = reader.position();
            let Next::Record(record) = reader.next(&mut running)? else { return Ok(true) };
            if record.kind != RecordKind::Entry {
                continue;
            }
            let content = Damage::Content { expected: "entry" };
            let entry = wire::entry(&record.data).ok_or_else(|| reader.damaged(offset, content))?;
            let wanted = self.first + entries.len() as u64;
            if end <= entry.index {
                return Ok(true);
            }
            if entry.index < wanted {
                continue;
            }
            if entry.index != wanted || self.last < wanted || self.bytes_max <= *bytes {
                return Ok(false);
            }
            *bytes += entry.data.len() as u64;
            entries.push(entry);
        }
    }
}
