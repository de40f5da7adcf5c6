//! The store's directory: names, the header every file starts with, and errors that name the file.
//!
//! All files start with the same 64 bytes, whose first 16 and last 4 never change their meaning, so that
//! a release can say of any later release's file that it is too new rather than broken.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use vfs::{Disk, File, Space, replace_durably};

use crate::{Damage, OpenError, StoreError};

/// Bytes of the header at the start of every file.
pub(crate) const HEADER_BYTES: usize = 64;
/// What is given to the disk at once.
const PIECE_BYTES: usize = 1 << 20;
/// What we write, and the newest we read.
pub(crate) const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"holdfast";

/// What a file is, as its header and the end of its name say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum Kind {
    /// Which files belong to the store.
    Manifest = 1,
    /// How far the log is durable.
    Synced = 2,
    /// A segment as the writer wrote it.
    Log = 3,
    /// A segment as a cleaning rewrote it.
    Segment = 4,
    /// Which rows of which segments are dead.
    Marks = 5,
    /// All small state at one position.
    State = 6,
    /// An index image.
    Index = 7,
    /// How far scrubbing has come.
    Scrub = 8,
}

impl Kind {
    const NUMBERED: [Kind; 5] = [Kind::Log, Kind::Segment, Kind::Marks, Kind::State, Kind::Index];

    fn suffix(self) -> &'static str {
        match self {
            Kind::Manifest => "manifest",
            Kind::Synced => "synced",
            Kind::Log => "log",
            Kind::Segment => "seg",
            Kind::Marks => "marks",
            Kind::State => "state",
            Kind::Index => "index",
            Kind::Scrub => "scrub",
        }
    }

    /// Reads the number a file holds, for the two kinds that a manifest lists.
    pub(crate) fn segment_from_number(number: u32) -> Option<Kind> {
        [Kind::Log, Kind::Segment].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// A numbered file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
}

/// No file comes to a larger number, so counting on from one that was read never overflows.
pub(crate) const NUMBER_MAX: u64 = i64::MAX as u64;

impl FileId {
    pub(crate) fn new(kind: Kind, number: u64) -> FileId {
        FileId { kind, number }
    }

    /// Reads a name; `None` if it is not one of ours.
    pub(crate) fn from_name(name: &str) -> Option<FileId> {
        let (digits, suffix) = name.split_once('.')?;
        let kind = Kind::NUMBERED.into_iter().find(|kind| kind.suffix() == suffix)?;
        let number = u64::from_str_radix(digits, 16).ok().filter(|number| *number <= NUMBER_MAX)?;
        let id = FileId { kind, number };
        (id.to_string() == name).then_some(id)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Manifest | Kind::Synced | Kind::Scrub => f.write_str(self.kind.suffix()),
            _ => write!(f, "{:016x}.{}", self.number, self.kind.suffix()),
        }
    }
}

/// The first 64 bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: FileId,
    /// What each kind needs to say first; see `docs/data-dir.md`.
    pub(crate) numbers: [u64; 3],
    /// A log's: the checksum its predecessor ended with.
    pub(crate) chain: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&(self.id.kind as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.id.number.to_le_bytes());
        for (place, number) in self.numbers.iter().enumerate() {
            out[24 + 8 * place..][..8].copy_from_slice(&number.to_le_bytes());
        }
        out[48..52].copy_from_slice(&self.chain.to_le_bytes());
        let checksum = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The checksum that the first frame of the file refers back to.
    pub(crate) fn checksum(&self) -> u32 {
        u32_at(&self.encode(), 60)
    }

    /// Reads a header that must be of this kind. The number of the file is left to the caller.
    pub(crate) fn decode(
        bytes: &[u8; HEADER_BYTES],
        kind: Kind,
        file: &str,
    ) -> Result<Header, OpenError> {
        let damaged = |what| OpenError::from(Damage { file: file.to_owned(), offset: 0, what });
        if bytes[..8] != MAGIC {
            return Err(damaged("it does not begin as a file of the store"));
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(damaged("the header's checksum is wrong"));
        }
        let found = u32_at(bytes, 8);
        if found > FORMAT_VERSION {
            let supported = FORMAT_VERSION;
            return Err(OpenError::NewerFormat { file: file.to_owned(), found, supported });
        }
        if u32_at(bytes, 12) != kind as u32 {
            return Err(damaged("the header is that of another kind of file"));
        }
        let number = u64_at(bytes, 16);
        if NUMBER_MAX < number {
            return Err(damaged("the header has a number that no file comes to"));
        }
        Ok(Header {
            id: FileId { kind, number },
            numbers: [u64_at(bytes, 24), u64_at(bytes, 32), u64_at(bytes, 40)],
            chain: u32_at(bytes, 48),
        })
    }
}

/// A little-endian number inside bytes whose length was checked.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}

/// A little-endian number inside bytes whose length was checked.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}

/// The directory, with errors that say which file.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    disk: Arc<dyn Disk>,
    path: Arc<Path>,
    /// The first file, or the directory, that could not be synced. Nothing is ever synced after that:
    /// the next try might succeed without the bytes being there.
    unsyncable: Arc<OnceLock<String>>,
}

impl Dir {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: &Path) -> Dir {
        Dir { disk, path: path.into(), unsyncable: Arc::default() }
    }

    /// Refuses to go on after a failed sync, whoever it failed for.
    pub(crate) fn check_going_on(&self) -> Result<(), StoreError> {
        match self.unsyncable.get() {
            None => Ok(()),
            Some(file) => Err(StoreError::Stopped { action: "sync", file: file.clone() }),
        }
    }

    /// Syncs a file that the store cannot do without.
    pub(crate) fn sync_file(&self, file: &Named) -> Result<(), StoreError> {
        self.check_going_on()?;
        file.sync().inspect_err(|_| self.note_unsyncable(file.name()))
    }

    fn note_unsyncable(&self, file: &str) {
        // The first is the one to be told.
        let _ = self.unsyncable.set(file.to_owned());
    }

    /// How much room there is; `None` where that cannot be told.
    pub(crate) fn space(&self) -> Option<Space> {
        self.disk.space(&self.path).ok()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn make(&self) -> Result<(), StoreError> {
        let done = self.disk.create_dir_all(&self.path);
        done.map_err(|source| StoreError::io("make", &self.path.display().to_string(), source))
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, StoreError> {
        let names = self.disk.list(&self.path);
        names.map_err(|source| StoreError::io("list", &self.path.display().to_string(), source))
    }

    /// Makes a file, in the place of a leftover of the same name.
    pub(crate) fn create(&self, name: &str) -> Result<Named, StoreError> {
        let path = self.at(name);
        let made = match self.disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&path).and_then(|()| self.disk.create(&path))
            }
            other => other,
        };
        let file = made.map_err(|source| StoreError::io("create", name, source))?;
        Ok(Named { name: name.into(), file })
    }

    pub(crate) fn open(&self, name: &str) -> Result<Named, OpenError> {
        match self.disk.open(&self.at(name)) {
            Ok(file) => Ok(Named { name: name.into(), file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(OpenError::MissingFile { file: name.to_owned() })
            }
            Err(source) => Err(StoreError::io("open", name, source).into()),
        }
    }

    /// Removes a file; it is no error if that was done before.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.disk.remove(&self.at(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", name, error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.check_going_on()?;
        let name = self.path.display().to_string();
        let done = self.disk.sync_dir(&self.path).inspect_err(|_| self.note_unsyncable(&name));
        done.map_err(|source| StoreError::io("sync", &name, source))
    }

    pub(crate) fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.check_going_on()?;
        let done = replace_durably(&*self.disk, &self.at(from), &self.at(to));
        // Nobody knows which of the two is there now.
        let done = done.inspect_err(|_| self.note_unsyncable(to));
        done.map_err(|source| StoreError::io("replace", to, source))
    }
}

/// An open file that knows its name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    name: Arc<str>,
    file: Arc<dyn File>,
}

impl Named {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn damage(&self, offset: u64, what: &'static str) -> Damage {
        Damage { file: self.name.to_string(), offset, what }
    }

    /// Fills `buffer`; a file that ends before is damaged, not a failure of the disk.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damage(offset, "the file ends too early").into())
            }
            Err(source) => Err(StoreError::io("read", &self.name, source)),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        let done = self.file.write_all_at(bytes, offset);
        done.map_err(|source| StoreError::io("write", &self.name, source))
    }

    /// Writes much in pieces, each but the last synced: the raft log's syncs wait behind what the disk was
    /// given before, so it is never given much.
    pub(crate) fn write_in_pieces(
        &self,
        bytes: &[u8],
        offset: u64,
        sync: impl Fn(&Named) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut at = offset;
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            if 0 < number {
                sync(self)?;
            }
            self.write(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|source| StoreError::io("sync", &self.name, source))
    }

    /// Nothing is going to be written to it any more.
    pub(crate) fn finished(&self) -> Result<(), StoreError> {
        self.file.finished().map_err(|source| StoreError::io("write", &self.name, source))
    }

    pub(crate) fn len(&self) -> Result<u64, StoreError> {
        self.file.len().map_err(|source| StoreError::io("read", &self.name, source))
    }

    /// Whether the file has a name somewhere, in this directory or in another.
    pub(crate) fn has_name(&self) -> bool {
        self.file.links().is_ok_and(|links| links > 0)
    }

    pub(crate) fn cut(&self, bytes: u64) -> Result<(), StoreError> {
        self.file.set_len(bytes).map_err(|source| StoreError::io("cut", &self.name, source))
    }

    /// Reads the header, which must name the very file it is found in.
    pub(crate) fn header(&self, id: FileId) -> Result<Header, OpenError> {
        let mut bytes = [0; HEADER_BYTES];
        self.read(&mut bytes, 0)?;
        let header = Header::decode(&bytes, id.kind, &self.name)?;
        if header.id != id {
            return Err(self.damage(16, "the header is that of another file").into());
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: FileId = FileId { kind: Kind::Log, number: 0x1f };

    fn header() -> Header {
        Header { id: ID, numbers: [7, 8, 9], chain: 10 }
    }

    #[test]
    fn names_are_read_back_and_foreign_names_are_not_ours() {
        assert_eq!(ID.to_string(), "000000000000001f.log");
        assert_eq!(FileId::from_name("000000000000001f.log"), Some(ID));
        for name in ["manifest", "1f.log", "000000000000001F.log", "000000000000001f.tmp", "x.log"]
        {
            assert_eq!(FileId::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_header_is_read_back_and_no_flipped_bit_goes_unnoticed() {
        let bytes = header().encode();
        let read = Header::decode(&bytes, Kind::Log, "f").expect("it is intact");
        assert_eq!(read, header());
        for bit in 0..HEADER_BYTES * 8 {
            let mut rotten = bytes;
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&rotten, Kind::Log, "f").is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        let error = Header::decode(&bytes, Kind::Log, "f.log").expect_err("it is too new");
        assert_eq!(
            error.to_string(),
            "f.log has format version 2; this release reads up to version 1"
        );
    }
}
