//! What the records of a log mean, read from its segments in order (`docs/etcd/wal-and-snap.md` 2.6).

use std::path::Path;

use bytes::Bytes;
use types::{Entry, HardState};
use vfs::Disk;

use crate::error::{Damage, OpenError};
use crate::frame::{Record, RecordKind};
use crate::name::SegmentName;
use crate::reading::{Place, Places};
use crate::segment::{Next, SegmentReader};
use crate::{Marker, wire};

/// Every segment begins with these.
const BEGINNING: [RecordKind; 2] = [RecordKind::Crc, RecordKind::Metadata];

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// From the first segment; there is none without.
    pub metadata: Option<Bytes>,
    pub hard_state: HardState,
    /// After the start marker; empty when there is none.
    pub entries: Vec<Entry>,
    /// All of them, in log order.
    pub markers: Vec<Marker>,
    /// The last entry's index, or the last marker's if that is higher.
    pub last_index: u64,
    /// The checksum so far.
    pub checksum: u32,
    /// Where the last whole record of the last segment ends.
    pub end: u64,
    /// Whether an unfinished write follows.
    pub torn: bool,
    /// Where entries begin.
    pub places: Places,
    start_found: bool,
    /// Markers above the commit index read so far.
    unsettled: Vec<Marker>,
    /// Term of the entry at the start marker's index, as far as it was read.
    term_at_start: Option<u64>,
}

/// Reads `segments`, which are the log's last ones, to the end. With `start`, keeps the entries after
/// it and insists on finding it; without, only markers and the hard state are wanted. With `commits_are_durable` a
/// torn end is believed only if no commit index behind it proves that it was synced.
pub(crate) fn replay(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[SegmentName],
    start: Option<&Marker>,
    commits_are_durable: bool,
) -> Result<Replay, OpenError> {
    let mut replay = Replay::default();
    let mut running = None;
    for (place, name) in segments.iter().enumerate() {
        let path = dir.join(name.to_string());
        let last = place + 1 == segments.len();
        let opened = disk.open_read(&path);
        let file = opened.map_err(|source| OpenError::Io {
            attempt: "opening",
            path: path.clone(),
            offset: 0,
            source,
        })?;
        let mut reader = SegmentReader::new(path, file, last)?;
        let read = replay.segment(*name, &mut reader, &mut running, start);
        read.map_err(|error| match place.checked_sub(1) {
            Some(before) => name_both(error, segments[before], replay.end),
            None => error,
        })?;
        if replay.torn && commits_are_durable {
            replay.is_not_committed(&mut reader)?;
        }
    }
    replay.checksum = running.unwrap_or(0);
    match start {
        Some(start) if !replay.start_found => Err(OpenError::MarkerNotFound {
            dir: dir.to_owned(),
            index: start.index,
            term: start.term,
        }),
        _ => Ok(replay),
    }
}

/// A segment that does not go on where the one before it ended: it is the other that may have lost its
/// end, so the error names both.
fn name_both(error: OpenError, before: SegmentName, end: u64) -> OpenError {
    match error {
        OpenError::Damaged { file, offset: 0, damage: Damage::Checksum { found, expected } } => {
            let damage = Damage::Chain { before: before.to_string(), end, found, expected };
            OpenError::Damaged { file, offset: 0, damage }
        }
        other => other,
    }
}

impl Replay {
    fn segment(
        &mut self,
        name: SegmentName,
        reader: &mut SegmentReader,
        running: &mut Option<u32>,
        start: Option<&Marker>,
    ) -> Result<(), OpenError> {
        let mut expected = BEGINNING.into_iter();
        loop {
            let offset = reader.position();
            let checksum = running.unwrap_or(0);
            let next = reader.next(running)?;
            let found = match &next {
                Next::Record(record) => record.kind as u64,
                Next::End | Next::Torn => 0,
            };
            if let Some(kind) = expected.next()
                && kind as u64 != found
            {
                return Err(reader.damaged(offset, Damage::Beginning { found }));
            }
            self.torn = matches!(next, Next::Torn);
            let Next::Record(record) = next else {
                self.end = offset;
                return Ok(());
            };
            self.record(reader, Place { segment: name, offset, checksum }, record, start)?;
        }
    }

    /// Refuses what looks like a torn write when a hard state behind it has committed an entry that would go with it:
    /// the entry was durable before, and everything ahead of it too.
    fn is_not_committed(&self, reader: &mut SegmentReader) -> Result<(), OpenError> {
        let offset = reader.position();
        let mut behind = reader.behind_torn();
        while let Some(record) = behind.next(reader)? {
            let state = match record.kind {
                RecordKind::State => wire::hard_state(&record.data),
                _ => None,
            };
            if let Some(state) = state.filter(|state| self.last_index < state.commit) {
                let damage = Damage::Committed { commit: state.commit };
                return Err(reader.damaged(offset, damage));
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        reader: &SegmentReader,
        place: Place,
        record: Record,
        start: Option<&Marker>,
    ) -> Result<(), OpenError> {
        let offset = place.offset;
        let damaged = |damage| reader.damaged(offset, damage);
        let no = |expected| damaged(Damage::Content { expected });
        match record.kind {
            RecordKind::Crc => Ok(()),
            RecordKind::Metadata => {
                let known = self.metadata.get_or_insert_with(|| record.data.clone());
                if *known == record.data { Ok(()) } else { Err(damaged(Damage::MetadataConflict)) }
            }
            RecordKind::Entry => {
                let entry = wire::entry(&record.data).ok_or_else(|| no("entry"))?;
                self.places.note(entry.index, place);
                self.entry(entry, start).map_err(damaged)
            }
            RecordKind::State => {
                self.hard_state = wire::hard_state(&record.data).ok_or_else(|| no("hard state"))?;
                self.settle(start);
                Ok(())
            }
            RecordKind::Marker => {
                let marker = wire::marker(&record.data).ok_or_else(|| no("marker"))?;
                self.marker(reader, offset, marker, start)
            }
        }
    }

    fn entry(&mut self, entry: Entry, start: Option<&Marker>) -> Result<(), Damage> {
        self.last_index = entry.index;
        let Some(start) = start else { return Ok(()) };
        let Some(place) = entry.index.checked_sub(start.index.saturating_add(1)) else {
            // It replaces what lies under the marker, so what followed there is gone too. Go etcd
            // keeps that: started from a snapshot, it may find an entry again that was replaced.
            self.entries.clear();
            self.term_at_start = (entry.index == start.index).then_some(entry.term);
            return Ok(());
        };
        if place > self.entries.len() as u64 {
            let before = entry.index - 1 - (place - self.entries.len() as u64);
            return Err(Damage::Gap { found: entry.index, before });
        }
        self.entries.truncate(place as usize);
        self.entries.push(entry);
        Ok(())
    }

    fn marker(
        &mut self,
        reader: &SegmentReader,
        offset: u64,
        marker: Marker,
        start: Option<&Marker>,
    ) -> Result<(), OpenError> {
        let mut again = false;
        if let Some(start) = start.filter(|start| start.index == marker.index) {
            again = self.start_found;
            if start.term != marker.term {
                return Err(OpenError::MarkerMismatch {
                    file: reader.path().clone(),
                    offset,
                    index: start.index,
                    term: start.term,
                    found: marker.term,
                });
            }
            self.start_found = true;
        }
        // A log that is marked twice at one entry went on from the first mark: nothing of it is of another way.
        match start.filter(|_| !again) {
            // What the log is read from was agreed on.
            Some(start) if start.index == marker.index => self.drop_divergent(start, &marker),
            Some(_) => {
                self.unsettled.push(marker.clone());
                self.settle(start);
            }
            None => {}
        }
        self.last_index = self.last_index.max(marker.index);
        self.markers.push(marker);
        Ok(())
    }

    /// Markers that the commit index has reached by now are known to be of snapshots that were agreed on. One that it
    /// never reaches was written by a process that ended before it could go on, and means nothing.
    fn settle(&mut self, start: Option<&Marker>) {
        let commit = self.hard_state.commit;
        let settled: Vec<Marker> =
            self.unsettled.extract_if(.., |marker| marker.index <= commit).collect();
        if let Some(start) = start {
            settled.iter().for_each(|marker| self.drop_divergent(start, marker));
        }
    }

    /// A snapshot that was installed replaces a log that went another way: unless the entry it ends with was
    /// read just so, everything read before it is of that other way. (Two logs that agree on an entry agree on
    /// all before it; and what follows an entry that was not replaced may go on from there.)
    fn drop_divergent(&mut self, start: &Marker, marker: &Marker) {
        let known = match marker.index.checked_sub(start.index) {
            None => return,
            Some(0) => self.term_at_start,
            Some(behind) => self.entries.get(behind as usize - 1).map(|entry| entry.term),
        };
        if known != Some(marker.term) {
            self.entries.clear();
        }
    }

    /// The markers of snapshots that the log proves to be committed. A marker is written before the
    /// hard state that covers it, so after a crash the last may be ahead of what was agreed.
    pub fn valid_markers(&self) -> Vec<Marker> {
        let committed = |marker: &&Marker| marker.index <= self.hard_state.commit;
        self.markers.iter().filter(committed).cloned().collect()
    }
}
