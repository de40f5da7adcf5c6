//! Long work beside the machines, in steps: whoever drives it decides what happens in between.

use apply::{HashJob, ReadView};
use mvcc::{HashTriple, Hasher, ImageWriter};
use planted::planted;
use store::{CheckpointDone, CheckpointWriter, LogView, Scan, StoreError};
use types::{Revision, Row};
use watch::{History, HistoryReader, HistoryRequest};

/// Bytes of the log that one step reads.
const CHUNK_BYTES: usize = 256 * 1024;

/// An index image on its way to the disk.
#[derive(Debug)]
pub struct CheckpointJob {
    image: ImageWriter,
    writer: Option<CheckpointWriter>,
}

impl CheckpointJob {
    /// Writes `image` with `writer`.
    pub fn new(image: ImageWriter, writer: CheckpointWriter) -> CheckpointJob {
        CheckpointJob { image, writer: Some(writer) }
    }

    /// Writes the next piece; the last step syncs and puts the image in place.
    ///
    /// # Errors
    /// When the disk refuses: the job is over.
    pub fn step(&mut self) -> Result<Option<CheckpointDone>, StoreError> {
        let mut writer = self.writer.take().expect("a job that has ended is not stepped");
        match self.image.next() {
            Some(chunk) => {
                writer.write(&chunk)?;
                self.writer = Some(writer);
                Ok(None)
            }
            None => writer.commit().map(Some),
        }
    }
}

/// A stretch of history being read for watchers that are behind.
pub struct HistoryRead {
    view: ReadView,
    scan: Scan,
    to: i64,
    reader: Option<HistoryReader>,
}

impl HistoryRead {
    /// Reads from a view that was published after the request was made.
    pub fn new(request: HistoryRequest, view: ReadView) -> HistoryRead {
        let scan = view.log.scan(Revision::first_of(request.from));
        let to = request.to;
        HistoryRead { view, scan, to, reader: Some(request.reader()) }
    }

    /// Reads a little more. `compacted` is asked for the published compact revision after the rows were
    /// read, because what was compacted meanwhile may have been missing.
    ///
    /// A row that cannot be read ends the history of those who need it: they are told that it is compacted. All
    /// others go on.
    ///
    /// # Errors
    /// When the log is not what the index says: the member must stop.
    pub fn step(&mut self, compacted: impl FnOnce() -> i64) -> Result<Option<History>, StoreError> {
        let mut reader = self.reader.take().expect("a read that has ended is not stepped");
        let chunk = match self.scan.next_chunk(CHUNK_BYTES) {
            Err(error) if error.is_damage() => {
                let lost = self.scan.pass().ok_or(error)?;
                return Ok(Some(reader.lost(lost.main, compacted())));
            }
            chunk => chunk?,
        };
        let at_end = chunk.is_empty();
        for row in chunk {
            if self.to < row.revision.main {
                return Ok(Some(reader.ended(compacted())));
            }
            if !reader.offer(row, |row| previous(&self.view, row))? {
                return Ok(Some(reader.stopped(compacted())));
            }
        }
        if at_end {
            return Ok(Some(reader.ended(compacted())));
        }
        self.reader = Some(reader);
        Ok(None)
    }
}

/// The key as it was just before a change; nothing if that is compacted, or cannot be read.
fn previous(view: &ReadView, row: &Row) -> Result<Option<Row>, StoreError> {
    let mut before = row.revision.main - 1;
    if planted!("previous value too old after a compaction") && 0 < view.index.compact_revision() {
        before -= 1;
    }
    match view.index.get_at(row.key(), before) {
        Ok(Some(at)) if 0 < before => match view.log.read(at.revision) {
            Err(error) if error.is_damage() => Ok(None),
            row => row.map(Some),
        },
        Ok(_) | Err(_) => Ok(None),
    }
}

/// A hash over stored rows.
pub struct HashRead {
    scan: Scan,
    hasher: Option<Hasher>,
}

impl HashRead {
    /// Feeds `hasher` from `log`.
    pub fn new(hasher: Hasher, log: &LogView) -> HashRead {
        HashRead { scan: log.scan(Revision::default()), hasher: Some(hasher) }
    }

    /// Takes about `bytes` of rows more; the hash when there are no more.
    ///
    /// # Errors
    /// When the log cannot be read: the hash is over.
    pub fn step(&mut self, bytes: usize) -> Result<Option<HashTriple>, StoreError> {
        let mut hasher = self.hasher.take().expect("a hash that has ended is not stepped");
        let rows = self.scan.next_chunk(bytes)?;
        let last = hasher.revision();
        let past = rows.last().is_none_or(|row| last < row.revision.main);
        for row in rows.iter().filter(|row| row.revision.main <= last) {
            hasher.row(row);
        }
        if past {
            return Ok(Some(hasher.finish()));
        }
        self.hasher = Some(hasher);
        Ok(None)
    }
}

impl From<HashJob> for HashRead {
    fn from(job: HashJob) -> HashRead {
        HashRead::new(job.hasher, &job.log)
    }
}
