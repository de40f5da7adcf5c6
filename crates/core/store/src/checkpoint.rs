//! The index checkpoint: an image made by `mvcc`, opaque to us, so that a restart need not read every key.
//!
//! It may take minutes to write, so it is written on any thread, piece by piece, and put in place at the
//! end. Nothing depends on it: a damaged image is ignored, and the rows' keys are read instead.

use std::sync::Arc;

use bytes::Bytes;
use planted::planted;

use crate::bury::{Burial, Marks};
use crate::files::{FileId, HEADER_BYTES, Header, Kind, Named, u32_at, u64_at};
use crate::shared::Shared;
use crate::{Damage, OpenError, StoreError, SyncHandle, Synced};

/// Bytes before each piece: checksum and length.
const PIECE_HEADER_BYTES: usize = 8;
/// The longest piece in the file, so that reading one never takes much memory.
const PIECE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the file's end, where a piece's header would be: checksum, a length of 0, total, digest.
const END_BYTES: usize = 20;

/// An intact image found at start.
#[derive(Debug)]
pub struct Checkpoint {
    /// The revision it covers: rows after it are to be restored on top.
    pub revision: i64,
    /// The applied index at the time it was begun.
    pub index: u64,
    file: Named,
    pub(crate) file_bytes: u64,
}

impl Checkpoint {
    /// The image, in pieces of at most 1 MiB. The file was verified as a whole when the store was opened.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Bytes, StoreError>> + '_ {
        let mut pieces = Pieces::new(self.file.clone());
        std::iter::from_fn(move || pieces.next().transpose())
    }

    /// Opens and verifies image `number`.
    pub(crate) fn open(shared: &Shared, number: u64) -> Result<Checkpoint, OpenError> {
        let id = FileId::new(Kind::Index, number);
        let file = shared.dir.open(&id.to_string())?;
        let [index, revision, _] = file.header(id)?.numbers;
        let mut pieces = Pieces::new(file.clone());
        while pieces.next()?.is_some() {}
        let file_bytes = pieces.offset;
        let Ok(revision) = i64::try_from(revision) else {
            return Err(file.damage(24, "there is no such revision").into());
        };
        Ok(Checkpoint { revision, index, file, file_bytes })
    }
}

/// Reads an image piece by piece.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: Named,
    offset: u64,
    total: u64,
    digest: u32,
    ended: bool,
}

impl Pieces {
    pub(crate) fn new(file: Named) -> Pieces {
        Pieces { file, offset: HEADER_BYTES as u64, total: 0, digest: 0, ended: false }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let mut header = [0; PIECE_HEADER_BYTES];
        self.file.read(&mut header, self.offset)?;
        let length = u32_at(&header, 4) as usize;
        if length == 0 {
            return self.end();
        }
        if length > PIECE_BYTES_MAX {
            return Err(self.damage("a piece is too long"));
        }
        let mut piece = vec![0; length];
        self.file.read(&mut piece, self.offset + PIECE_HEADER_BYTES as u64)?;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), &piece);
        if checksum != u32_at(&header, 0) {
            return Err(self.damage("a piece's checksum is wrong"));
        }
        self.digest = crc32c::crc32c_append(self.digest, &checksum.to_le_bytes());
        self.total += length as u64;
        self.offset += (PIECE_HEADER_BYTES + length) as u64;
        Ok(Some(piece.into()))
    }

    fn end(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut end = [0; END_BYTES];
        self.file.read(&mut end, self.offset)?;
        let intact = u32_at(&end, 0) == crc32c::crc32c(&end[4..])
            && u64_at(&end, 8) == self.total
            && u32_at(&end, 16) == self.digest;
        if !intact {
            return Err(self.damage("the image is not whole"));
        }
        self.offset += END_BYTES as u64;
        self.ended = true;
        Ok(None)
    }

    fn damage(&self, what: &'static str) -> StoreError {
        Damage::into(self.file.damage(self.offset, what))
    }
}

/// Writes an image on any thread. Dropped without [`CheckpointWriter::commit`], it leaves the former
/// checkpoint in place.
#[derive(Debug)]
pub struct CheckpointWriter {
    shared: Arc<Shared>,
    sync: Option<SyncHandle>,
    /// The marks as they were when the image was begun, or when they would have been taken.
    marks: Result<Marks, u64>,
    number: u64,
    revision: i64,
    file: Named,
    offset: u64,
    written_out: u64,
    total: u64,
    digest: u32,
    committed: bool,
}

/// A checkpoint that is in place, to be handed to [`crate::Store::finish_checkpoint`].
#[derive(Debug)]
#[must_use = "hand it to Store::finish_checkpoint"]
pub struct CheckpointDone {
    pub(crate) synced: Synced,
    pub(crate) file_bytes: u64,
    pub(crate) marks: Option<Burial>,
}

impl CheckpointWriter {
    pub(crate) fn begin(
        sync: SyncHandle,
        marks: Result<Marks, u64>,
        revision: i64,
    ) -> Result<CheckpointWriter, StoreError> {
        let shared = sync.shared.clone();
        let number = shared.manifest.number();
        let id = FileId::new(Kind::Index, number);
        let file = shared.dir.create(&id.to_string())?;
        let covered = u64::try_from(revision).expect("revisions are not negative");
        let header = Header { id, numbers: [sync.target.index, covered, 0], chain: 0 };
        file.write(&header.encode(), 0)?;
        shared.image_begun(number, revision);
        Ok(CheckpointWriter {
            shared,
            sync: Some(sync),
            marks,
            number,
            revision,
            file,
            offset: HEADER_BYTES as u64,
            written_out: 0,
            total: 0,
            digest: 0,
            committed: false,
        })
    }

    /// Writes the next piece.
    ///
    /// # Errors
    /// When the disk refuses; then drop the writer.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        for piece in chunk.chunks(PIECE_BYTES_MAX) {
            let mut out = vec![0; PIECE_HEADER_BYTES];
            out[4..].copy_from_slice(&(piece.len() as u32).to_le_bytes());
            out.extend_from_slice(piece);
            let checksum = crc32c::crc32c(&out[4..]);
            out[..4].copy_from_slice(&checksum.to_le_bytes());
            self.file.write(&out, self.offset)?;
            self.digest = crc32c::crc32c_append(self.digest, &checksum.to_le_bytes());
            self.total += piece.len() as u64;
            self.offset += out.len() as u64;
            if self.written_out + PIECE_BYTES_MAX as u64 <= self.offset {
                // In small pieces: the raft log's syncs wait behind this one.
                self.file.sync()?;
                self.written_out = self.offset;
            }
        }
        Ok(())
    }

    /// Syncs the log up to where the image was taken, then the image, and puts it in the place of the
    /// former one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn commit(mut self) -> Result<CheckpointDone, StoreError> {
        let mut end = [0; END_BYTES];
        end[8..16].copy_from_slice(&self.total.to_le_bytes());
        end[16..].copy_from_slice(&self.digest.to_le_bytes());
        let checksum = crc32c::crc32c(&end[4..]);
        end[..4].copy_from_slice(&checksum.to_le_bytes());
        self.file.write(&end, self.offset)?;
        self.file.sync()?;
        // The image must never be ahead of the log.
        let sync = self.sync.take().expect("only commit takes it, and only once");
        let synced =
            if planted!("checkpoint ahead of the log") { sync.target } else { sync.sync()? };
        let marks = std::mem::replace(&mut self.marks, Err(0));
        let taken = marks.as_ref().map_or_else(|taken| *taken, Marks::taken);
        let stay_after = self.shared.tombstones_stay_after(Some(self.revision));
        let marks = marks.ok().map(|marks| Burial::write(&self.shared, marks, stay_after));
        let marks = marks.transpose()?;
        let changed = self.shared.manifest.change(|next| {
            next.index = Some(self.number);
            (next.index_taken, next.index_revision) = (taken, self.revision);
            next.index_waits = true;
            if let Some(marks) = &marks {
                marks.install(next);
            }
            next.index_may_stop_waiting();
        })?;
        self.committed = true;
        self.shared.image_in_place(self.revision);
        self.shared.image_waits(changed.now.index_waits);
        let unused = marks.as_ref().map(Burial::id);
        let unused = unused.filter(|id| changed.now.marks != Some(id.number));
        for id in changed.useless().chain(unused) {
            // If this fails the next start removes the file.
            let _ = self.shared.dir.remove(&id.to_string());
        }
        Ok(CheckpointDone { synced, file_bytes: self.offset + END_BYTES as u64, marks })
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.shared.image_ended(self.number);
        if !self.committed {
            // If this fails the next start removes the file.
            let _ = self.shared.dir.remove(&FileId::new(Kind::Index, self.number).to_string());
        }
    }
}
