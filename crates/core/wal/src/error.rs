//! What can go wrong with a log, by what was tried, always with the file and where in it.

use std::io;
use std::path::PathBuf;

/// A log could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one already.
    #[error("{dir} already holds a log", dir = dir.display())]
    Exists {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The disk refused.
    #[error("{attempt} {path} failed", path = path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody was faster.
    #[error("{file} is locked by another process", file = file.display())]
    Locked {
        /// The segment.
        file: PathBuf,
    },
}

/// A log could not be read or made ready for appending.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("{attempt} {path} failed at byte {offset}", path = path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Where; 0 when the file as a whole is meant.
        offset: u64,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Every segment begins behind the place where reading should begin.
    #[error("{dir} has no segment that begins at or before entry {index}", dir = dir.display())]
    NoSegment {
        /// The log's directory.
        dir: PathBuf,
        /// The start marker's index.
        index: u64,
    },
    /// A segment is missing between two others.
    #[error("{file} does not follow {before}", file = file.display())]
    MissingSegment {
        /// The segment after the hole.
        file: PathBuf,
        /// The name of the one before it.
        before: String,
    },
    /// The bytes are not what was written.
    #[error("{file} is damaged at byte {offset}: {damage}", file = file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The log knows no snapshot at the place where reading should begin.
    #[error("{dir} holds no marker of snapshot {index} in term {term}", dir = dir.display())]
    MarkerNotFound {
        /// The log's directory.
        dir: PathBuf,
        /// The start marker's index.
        index: u64,
        /// The start marker's term.
        term: u64,
    },
    /// The log knows a snapshot of another term there.
    #[error(
        "{file} has the marker of snapshot {index} in term {found} at byte {offset}, not in term {term}",
        file = file.display()
    )]
    MarkerMismatch {
        /// The segment.
        file: PathBuf,
        /// Where the marker begins.
        offset: u64,
        /// The start marker's index.
        index: u64,
        /// The start marker's term.
        term: u64,
        /// The term in the log.
        found: u64,
    },
    /// Another process uses the log.
    #[error("{file} is locked by another process", file = file.display())]
    Locked {
        /// The segment.
        file: PathBuf,
    },
}

/// How bytes differ from what a log holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A record's checksum does not continue the one before.
    #[error("checksum {found:08x}, not {expected:08x}")]
    Checksum {
        /// Computed from what was read.
        found: u32,
        /// As the record says.
        expected: u32,
    },
    /// A segment begins with another checksum than the one before it ended with.
    #[error(
        "it goes on from checksum {expected:08x}, but {before} ends at byte {end} with {found:08x}"
    )]
    Chain {
        /// The name of the segment before.
        before: String,
        /// Where that one ends, as read.
        end: u64,
        /// The checksum it ends with.
        found: u32,
        /// The one this segment begins with.
        expected: u32,
    },
    /// A length field that no writer makes, or not with this record.
    #[error("the length field {field:016x} does not fit the record")]
    Length {
        /// As read.
        field: u64,
    },
    /// The file ends within a record, and it is not the last file.
    #[error("the record is torn, which only the end of the last segment may be")]
    Torn,
    /// It looks like a write that was cut off, but entries that would go with it were committed: they were synced.
    #[error("the record cannot be read, and entry {commit}, which is not before it, was committed")]
    Committed {
        /// The commit index that stands behind it.
        commit: u64,
    },
    /// There are bytes where the log has ended.
    #[error("bytes follow the end of the log at byte {at}")]
    AfterEnd {
        /// Where the first of them is.
        at: u64,
    },
    /// A segment does not begin with checksum and metadata.
    #[error("a segment begins with checksum and metadata, not with record type {found}")]
    Beginning {
        /// The type found instead; 0 if there is no record.
        found: u64,
    },
    /// A record of a type nobody writes.
    #[error("unknown record type {found}")]
    UnknownType {
        /// The type.
        found: u64,
    },
    /// A record whose content is not what its type says.
    #[error("the content is no {expected}")]
    Content {
        /// What it should be.
        expected: &'static str,
    },
    /// Two segments name different members.
    #[error("the metadata differs from that of the first segment")]
    MetadataConflict,
    /// An entry is missing.
    #[error("entry {found} follows entry {before}")]
    Gap {
        /// The entry behind the hole.
        found: u64,
        /// The one before it, or the start marker's index.
        before: u64,
    },
}

/// The log could not be written to. The process must stop: see the crate's story.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Records could not be written.
    #[error("writing {bytes} bytes to {file} at byte {offset} failed", file = file.display())]
    Write {
        /// The segment.
        file: PathBuf,
        /// Where the group begins.
        offset: u64,
        /// How long it is.
        bytes: usize,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Records could not be made durable.
    #[error("syncing {file} up to byte {offset} failed", file = file.display())]
    Sync {
        /// The segment.
        file: PathBuf,
        /// Where the log ends.
        offset: u64,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The next segment could not be begun.
    #[error("{attempt} {file} failed while a segment was begun", file = file.display())]
    Cut {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        file: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The next segment is in another process's hands.
    #[error("{file} is locked by another process", file = file.display())]
    Locked {
        /// The segment.
        file: PathBuf,
    },
    /// A segment that is no longer needed could not be removed.
    #[error("releasing {file} failed", file = file.display())]
    Release {
        /// The segment.
        file: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Space ahead could not be zeroed. The one error after which the log goes on.
    #[error("zeroing {file} from byte {offset} failed", file = file.display())]
    Prepare {
        /// The segment or the spare file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An earlier error ended the log.
    #[error("the log ended with an earlier error")]
    Ended,
}
