//! Which files belong to the store. Exchanged as a whole, so that a cleaning either happened or did not.
//!
//! The newest log files are not listed: every log file from `tail` on belongs to the store, in the order
//! of their numbers. So beginning a new one needs no change here, and only slow objects on other threads
//! ever write the manifest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ends::FramesEnd;
use crate::files::{Dir, FileId, HEADER_BYTES, Header, Kind, NUMBER_MAX, u32_at, u64_at};
use crate::{Damage, OpenError, StoreError};

/// The file's name.
pub(crate) const MANIFEST: &str = "manifest";
/// The name it has until it is complete.
pub(crate) const MANIFEST_NEW: &str = "manifest.tmp";
const FIXED_BYTES: usize = 48;
const ENTRY_BYTES: usize = 40;

/// A sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: FileId,
    pub(crate) end: FramesEnd,
}

/// What belongs to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Counts the exchanges.
    pub(crate) number: u64,
    /// The first log file that belongs to the store without being listed.
    pub(crate) tail: u64,
    /// The next number for any file but a log.
    pub(crate) next: u64,
    /// The file of small state, if there is one.
    pub(crate) state: Option<u64>,
    /// The file of marks, if there is one.
    pub(crate) marks: Option<u64>,
    /// When these marks were taken, and after which revision they leave tombstones out. Not on disk.
    pub(crate) marks_taken: u64,
    pub(crate) marks_stay_after: i64,
    /// When the last cleaning was begun. Not on disk.
    pub(crate) cleaned: u64,
    /// The index image, if there is one.
    pub(crate) index: Option<u64>,
    /// When marks for it were or would have been taken, and which revision it covers. Not on disk.
    pub(crate) index_taken: u64,
    pub(crate) index_revision: i64,
    /// Whether the image has to wait for marks.
    pub(crate) index_waits: bool,
    /// Sealed segments, in revision order.
    pub(crate) segments: Vec<Listed>,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let id = FileId::new(Kind::Manifest, self.number);
        let header = Header { id, numbers: [self.segments.len() as u64, 0, 0], chain: 0 };
        let mut out = header.encode().to_vec();
        let optional = [self.state, self.marks, self.index].map(|number| number.unwrap_or(0));
        for number in [self.tail, self.next].into_iter().chain(optional) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&u64::from(self.index_waits).to_le_bytes());
        for listed in &self.segments {
            out.extend_from_slice(&(listed.id.kind as u32).to_le_bytes());
            out.extend_from_slice(&listed.end.chain.to_le_bytes());
            let end = listed.end;
            for number in [listed.id.number, end.offset, end.index, end.term] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, OpenError> {
        let damaged = |offset, what| {
            let file = MANIFEST.to_owned();
            OpenError::from(crate::Damage { file, offset, what })
        };
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(damaged(0, "the file ends too early"));
        };
        let header = Header::decode(header, Kind::Manifest, MANIFEST)?;
        let Some((body, checksum)) = bytes.split_last_chunk::<4>() else {
            return Err(damaged(0, "the file ends too early"));
        };
        let entries = body.len().checked_sub(HEADER_BYTES + FIXED_BYTES).map(|bytes| bytes as u64);
        let expected = header.numbers[0].checked_mul(ENTRY_BYTES as u64);
        // Too short for what is always there and too many to be counted are no match.
        if entries.is_none() || entries != expected {
            return Err(damaged(bytes.len() as u64, "the file does not have its length"));
        }
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(damaged(HEADER_BYTES as u64, "the checksum is wrong"));
        }
        let number = |place: usize| u64_at(body, HEADER_BYTES + 8 * place);
        if (0..5).any(|place| NUMBER_MAX < number(place)) {
            return Err(damaged(HEADER_BYTES as u64, "it names a number that no file comes to"));
        }
        let optional = |place| Some(number(place)).filter(|number| *number != 0);
        let (mut segments, start) = (Vec::new(), HEADER_BYTES + FIXED_BYTES);
        for (place, entry) in body[start..].chunks_exact(ENTRY_BYTES).enumerate() {
            let at = (start + place * ENTRY_BYTES) as u64;
            let Some(kind) = Kind::segment_from_number(u32_at(entry, 0)) else {
                return Err(damaged(at, "no such kind of file"));
            };
            if NUMBER_MAX < u64_at(entry, 8) {
                return Err(damaged(at, "it names a number that no file comes to"));
            }
            segments.push(Listed {
                id: FileId::new(kind, u64_at(entry, 8)),
                end: FramesEnd {
                    offset: u64_at(entry, 16),
                    chain: u32_at(entry, 4),
                    index: u64_at(entry, 24),
                    term: u64_at(entry, 32),
                },
            });
        }
        Ok(Manifest {
            number: header.id.number,
            tail: number(0),
            next: number(1),
            state: optional(2),
            marks: optional(3),
            index: optional(4),
            index_waits: number(5) != 0,
            segments,
            ..Manifest::default()
        })
    }

    /// To be called after marks were put in place. They serve the image if they were taken no earlier, leave
    /// no tombstone out that it covers, and no cleaning begun since has moved the rows they mark.
    pub(crate) fn index_may_stop_waiting(&mut self) {
        let later = self.index_taken <= self.marks_taken && self.cleaned <= self.marks_taken;
        self.index_waits &= !(later && self.index_revision <= self.marks_stay_after);
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        (HEADER_BYTES + FIXED_BYTES + ENTRY_BYTES * self.segments.len() + 4) as u64
    }
}

/// A manifest that was exchanged.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) former: Manifest,
    pub(crate) now: Manifest,
}

impl Changed {
    /// The files besides segments that are of no use any more.
    pub(crate) fn useless(&self) -> impl Iterator<Item = FileId> {
        let (former, now) = (&self.former, &self.now);
        let state = former.state.filter(|_| former.state != now.state);
        let marks = former.marks.filter(|_| former.marks != now.marks);
        let index = former.index.filter(|_| former.index != now.index);
        let state = state.map(|number| FileId::new(Kind::State, number));
        let marks = marks.map(|number| FileId::new(Kind::Marks, number));
        let index = index.map(|number| FileId::new(Kind::Index, number));
        state.into_iter().chain(marks).chain(index)
    }
}

/// The manifest as it is on disk, and the one way to change it.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    dir: Dir,
    current: Mutex<Manifest>,
    /// [`Manifest::next`], to be had without waiting for a change that is under way.
    next: AtomicU64,
    /// Whether an exchange failed halfway, so that either manifest may be the one on disk.
    doubtful: AtomicBool,
}

impl ManifestFile {
    /// Makes the manifest of a new store, which comes into being with it.
    pub(crate) fn create(dir: &Dir, manifest: Manifest) -> Result<ManifestFile, StoreError> {
        write(dir, &manifest)?;
        dir.replace(MANIFEST_NEW, MANIFEST)?;
        Ok(ManifestFile::new(dir, manifest))
    }

    /// Reads the manifest.
    pub(crate) fn open(dir: &Dir) -> Result<ManifestFile, OpenError> {
        let file = dir.open(MANIFEST)?;
        let bytes = usize::try_from(file.len()?);
        let bytes = bytes.map_err(|_| file.damage(0, "the file does not have its length"))?;
        let mut content = vec![0; bytes];
        file.read(&mut content, 0)?;
        Ok(ManifestFile::new(dir, Manifest::decode(&content)?))
    }

    fn new(dir: &Dir, manifest: Manifest) -> ManifestFile {
        let next = AtomicU64::new(manifest.next);
        ManifestFile {
            dir: dir.clone(),
            current: Mutex::new(manifest),
            next,
            doubtful: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Manifest> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> Manifest {
        self.lock().clone()
    }

    /// Reads the file again, and writes it anew if it is not what it was.
    pub(crate) fn verify(&self) -> Result<Option<Damage>, StoreError> {
        let current = self.lock();
        let damage = match ManifestFile::open(&self.dir) {
            Ok(found) if found.lock().number == current.number => return Ok(None),
            Ok(_) | Err(OpenError::MissingFile { .. } | OpenError::NewerFormat { .. }) => {
                let what = "it is not the one that was written";
                Damage { file: MANIFEST.to_owned(), offset: 0, what }
            }
            Err(OpenError::Store(StoreError::Damaged(damage))) => damage,
            Err(OpenError::Store(error)) if !error.is_damage() => return Err(error),
            Err(OpenError::Store(_)) => {
                Damage { file: MANIFEST.to_owned(), offset: 0, what: "it cannot be read" }
            }
        };
        drop(current);
        self.change(|_| {})?;
        Ok(Some(damage))
    }

    /// Whether files that a failed change names must be left alone.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// Takes a number for a new file.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets an index image that turned out to be damaged; written with the next change.
    pub(crate) fn forget_index(&self) {
        let mut current = self.lock();
        current.index = None;
        current.index_waits = false;
    }

    /// Changes the manifest durably; everything it names must be durable before.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Manifest)) -> Result<Changed, StoreError> {
        let mut current = self.lock();
        let mut next = current.clone();
        change(&mut next);
        next.number += 1;
        next.next = self.next.load(Ordering::Relaxed);
        write(&self.dir, &next)?;
        let done = self.dir.replace(MANIFEST_NEW, MANIFEST);
        done.inspect_err(|_| self.doubtful.store(true, Ordering::Relaxed))?;
        let former = std::mem::replace(&mut *current, next);
        Ok(Changed { former, now: current.clone() })
    }
}

/// Writes what is to become the manifest.
fn write(dir: &Dir, manifest: &Manifest) -> Result<(), StoreError> {
    let file = dir.create(MANIFEST_NEW)?;
    file.write(&manifest.encode(), 0)?;
    file.sync()?;
    // The names of the files it lists must be durable before it is.
    dir.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let end = FramesEnd { offset: 700, chain: 8, index: 9, term: 10 };
        let listed = |kind, number| Listed { id: FileId::new(kind, number), end };
        Manifest {
            number: 1,
            tail: 2,
            next: 3,
            state: Some(4),
            index: Some(5),
            index_waits: true,
            segments: vec![listed(Kind::Segment, 11), listed(Kind::Log, 12)],
            ..Manifest::default()
        }
    }

    #[test]
    fn numbers_that_cannot_be_counted_on_from_are_damage() {
        let spoilt: [fn(&mut Manifest); 5] = [
            |it| it.number = u64::MAX,
            |it| it.tail = u64::MAX,
            |it| it.next = NUMBER_MAX + 1,
            |it| it.marks = Some(u64::MAX),
            |it| it.segments[1].id.number = u64::MAX,
        ];
        for (which, spoil) in spoilt.into_iter().enumerate() {
            let mut manifest = manifest();
            spoil(&mut manifest);
            assert!(Manifest::decode(&manifest.encode()).is_err(), "{which}");
        }
    }

    #[test]
    fn a_manifest_that_is_too_short_for_its_countless_segments_is_damaged() {
        for count in [0, 1, u64::MAX / 40 + 1, u64::MAX] {
            let id = FileId::new(Kind::Manifest, 1);
            let mut bytes = Header { id, numbers: [count, 0, 0], chain: 0 }.encode().to_vec();
            bytes.extend_from_slice(&[0; 20]);
            bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
            assert!(Manifest::decode(&bytes).is_err(), "{count} segments");
        }
    }

    #[test]
    fn a_manifest_is_read_back_and_no_change_of_its_bytes_goes_unnoticed() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes).expect("it is intact"), manifest());
        assert_eq!(manifest().file_bytes(), bytes.len() as u64);
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&rotten).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..length]).is_err(), "cut to {length}");
        }
    }
}
