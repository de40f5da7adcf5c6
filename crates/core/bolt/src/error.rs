//! What can be wrong with a file that is read, and with rows that are to be written.

use std::fmt;
use std::io;

use crate::source::SourceError;

/// Where in the file: the page and the byte it starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The page's number; its place in the file divided by the page size.
    pub page: u64,
    /// The page's first byte in the file.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} at byte {}", self.page, self.offset)
    }
}

/// A file that cannot be read, or holds what no bbolt would have written.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// The file's own error.
    #[error("{place} cannot be read")]
    Read {
        /// Where.
        place: Place,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither of the two meta pages is whole.
    #[error("not a bbolt file, or both meta pages are damaged")]
    NoMeta,
    /// The file ends before its last page does.
    #[error("the file is cut short: {file_bytes} bytes, but its pages need {needed_bytes}")]
    CutShort {
        /// The file's length.
        file_bytes: u64,
        /// What its meta page says it holds.
        needed_bytes: u64,
    },
    /// A page that cannot be right.
    #[error("{place} is damaged: {flaw}")]
    Damaged {
        /// Where.
        place: Place,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The number lies outside of the pages in use.
    #[error("page number outside of 2..{high_water}")]
    OutsideFile {
        /// The first page number never used.
        high_water: u64,
    },
    /// The page carries another page's number.
    #[error("it says it is page {found}")]
    WrongId {
        /// The number it carries.
        found: u64,
    },
    /// The page is of another kind than its place asks for.
    #[error("kind {found:#06x} does not belong here")]
    WrongKind {
        /// The flags it carries.
        found: u16,
    },
    /// The page runs on past the pages in use, or further than any page can.
    #[error("it runs over {overflow} further pages")]
    RunTooLong {
        /// Further pages it claims.
        overflow: u32,
    },
    /// A page without elements where there must be some.
    #[error("it is empty")]
    Empty,
    /// An element does not lie where it must: directly behind the one before, inside the page.
    #[error("element {element} is out of place")]
    ElementOutOfPlace {
        /// Which, from 0.
        element: usize,
    },
    /// An element's flags are none that bbolt knows, or are wrong here.
    #[error("element {element} has flags {found:#x}")]
    WrongFlags {
        /// Which, from 0.
        element: usize,
        /// The flags.
        found: u32,
    },
    /// A key is empty or too long.
    #[error("the key of element {element} has {bytes} bytes")]
    KeySize {
        /// Which, from 0.
        element: usize,
        /// The key's length.
        bytes: usize,
    },
    /// Keys are not strictly ascending.
    #[error("the key of element {element} does not come after the one before")]
    KeyOrder {
        /// Which, from 0.
        element: usize,
    },
    /// The page's keys do not lie between those its parent promises.
    #[error("its keys lie outside of what the page above says")]
    OutsideParent,
    /// More levels than any tree can have: the pages form a circle.
    #[error("it lies deeper than a tree can be")]
    TooDeep,
    /// Two ways lead to one page.
    #[error("it belongs to two places")]
    ReachedTwice,
    /// The page belongs to a tree and to the list of free pages.
    #[error("it is in use and yet listed as free")]
    UsedAndFree,
    /// The list of free pages is not sorted, or names pages that are not there.
    #[error("entry {entry} of the free page list is wrong")]
    FreeList {
        /// Which, from 0.
        entry: u64,
    },
    /// A bucket's entry is too short, or its inline page is not whole.
    #[error("the bucket in element {element} is not whole")]
    BucketEntry {
        /// Which, from 0.
        element: usize,
    },
}

/// Rows that cannot be written, or nowhere to write them.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The source could not say which buckets it has.
    #[error("the names of the buckets cannot be read")]
    Buckets(#[source] SourceError),
    /// The source of the rows failed.
    #[error("the rows of bucket {bucket} cannot be read")]
    Source {
        /// Which bucket.
        bucket: String,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// Rows, or buckets, must come strictly ascending.
    #[error("row {row} of bucket {bucket} does not come after the one before")]
    Order {
        /// Which bucket.
        bucket: String,
        /// Which row of it, from 0.
        row: u64,
    },
    /// The format has no place for such a row.
    #[error("row {row} of bucket {bucket} has {key_bytes} bytes of key and {value_bytes} of value")]
    RowSize {
        /// Which bucket.
        bucket: String,
        /// Which row of it, from 0.
        row: u64,
        /// 1 to 32768.
        key_bytes: usize,
        /// Under 512 MiB.
        value_bytes: usize,
    },
    /// The second walk over the rows met others than the first.
    #[error("the rows changed between planning and writing")]
    Changed,
    /// The file's own error.
    #[error("the file cannot be written at byte {offset}")]
    Write {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}
