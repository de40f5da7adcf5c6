//! One page of a tree, checked when it is loaded, so that what is read from it later cannot fail.
//!
//! bbolt lays an element's key and value directly behind those of the element before, the first
//! ones directly behind the table. We insist on it: it bounds the memory a page can ask for by its
//! length, and almost every damaged header or table is noticed.

use std::io;

use bytes::Bytes;

use crate::access::ReadAt;
use crate::error::{BoltError, Flaw, Place};
use crate::page::{
    BUCKET_BYTES, ELEMENT_BYTES, FIRST_PAGE, HEADER_BYTES, KEY_BYTES_MAX, Meta, PageHeader,
    RUN_BYTES_MAX, kind, number32, number64,
};

/// What the leaves of a tree hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Keys and values.
    Rows,
    /// Names and roots of buckets.
    Buckets,
}

impl Holds {
    fn flags(self) -> u32 {
        match self {
            Holds::Rows => 0,
            Holds::Buckets => 1,
        }
    }
}

/// A branch or leaf page with all the pages it runs over.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    place: Place,
    header: PageHeader,
    /// From the header to the end of the last element.
    bytes: Bytes,
}

impl Node {
    /// Reads page `id`. Asks for no more memory than the page's table accounts for.
    pub fn load(file: &impl ReadAt, meta: &Meta, id: u64, holds: Holds) -> Result<Node, BoltError> {
        let place = place(meta, id);
        let damaged = |flaw| BoltError::Damaged { place, flaw };
        if !(FIRST_PAGE..meta.high_water).contains(&id) {
            return Err(damaged(Flaw::OutsideFile { high_water: meta.high_water }));
        }
        let page_bytes = meta.page_bytes as usize;
        let mut bytes = Vec::new();
        extend(file, place, &mut bytes, page_bytes)?;
        let header = PageHeader::decode(bytes.first_chunk().expect("a page was read"));
        if header.id != id {
            return Err(damaged(Flaw::WrongId { found: header.id }));
        }
        let run_bytes = run_bytes(meta, &header).map_err(damaged)?;
        let table_bytes = HEADER_BYTES + ELEMENT_BYTES * usize::from(header.count);
        if table_bytes as u64 > run_bytes {
            return Err(damaged(Flaw::ElementOutOfPlace { element: 0 }));
        }
        extend(file, place, &mut bytes, table_bytes)?;
        let end = extent(&header, &bytes, run_bytes, holds).map_err(damaged)?;
        extend(file, place, &mut bytes, end)?;
        bytes.truncate(end);
        let node = Node { place, header, bytes: bytes.into() };
        node.check_keys().map_err(damaged)?;
        Ok(node)
    }

    /// Reads the page that lies within a bucket's entry.
    pub fn inline(page: Bytes, place: Place) -> Result<Node, Flaw> {
        let first = page.first_chunk().ok_or(Flaw::ElementOutOfPlace { element: 0 })?;
        let header = PageHeader::decode(first);
        if header.kind != kind::LEAF {
            return Err(Flaw::WrongKind { found: header.kind });
        }
        let table_bytes = HEADER_BYTES + ELEMENT_BYTES * usize::from(header.count);
        if table_bytes > page.len() {
            return Err(Flaw::ElementOutOfPlace { element: 0 });
        }
        let end = extent(&header, &page, page.len() as u64, Holds::Rows)?;
        let node = Node { place, header, bytes: page.slice(..end) };
        node.check_keys()?;
        Ok(node)
    }

    pub fn place(&self) -> Place {
        self.place
    }

    pub fn is_leaf(&self) -> bool {
        self.header.kind == kind::LEAF
    }

    pub fn count(&self) -> usize {
        self.header.count.into()
    }

    /// All pages it runs over.
    pub fn pages(&self) -> std::ops::RangeInclusive<u64> {
        self.header.id..=self.header.id + u64::from(self.header.overflow)
    }

    pub fn key(&self, element: usize) -> &[u8] {
        let (start, key_bytes, _) = self.span(element);
        &self.bytes[start..start + key_bytes]
    }

    pub fn key_bytes(&self, element: usize) -> Bytes {
        let (start, key_bytes, _) = self.span(element);
        self.bytes.slice(start..start + key_bytes)
    }

    /// The value of a leaf's element, as a buffer that shares the page.
    pub fn value(&self, element: usize) -> Bytes {
        let (start, key_bytes, value_bytes) = self.span(element);
        self.bytes.slice(start + key_bytes..start + key_bytes + value_bytes)
    }

    /// The page below a branch's element.
    pub fn child(&self, element: usize) -> u64 {
        number64(&self.bytes, HEADER_BYTES + ELEMENT_BYTES * element + 8)
    }

    /// The first element whose key is not before `key`, and whether it is that key.
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Where an element's key starts, how long it is, and how long the value behind it is.
    fn span(&self, element: usize) -> (usize, usize, usize) {
        assert!(element < self.count());
        let at = HEADER_BYTES + ELEMENT_BYTES * element;
        let sizes = Element::decode(self.header.kind, &self.bytes, at);
        (at + sizes.pos as usize, sizes.key_bytes as usize, sizes.value_bytes as usize)
    }

    fn check_keys(&self) -> Result<(), Flaw> {
        for element in 1..self.count() {
            if self.key(element - 1) >= self.key(element) {
                return Err(Flaw::KeyOrder { element });
            }
        }
        Ok(())
    }
}

/// Where page `id` lies.
pub(crate) fn place(meta: &Meta, id: u64) -> Place {
    Place { page: id, offset: id.saturating_mul(meta.page_bytes.into()) }
}

/// One entry of a page's table, whichever kind the page is of.
struct Element {
    flags: u32,
    pos: u32,
    key_bytes: u32,
    value_bytes: u32,
}

impl Element {
    fn decode(kind: u16, page: &[u8], at: usize) -> Element {
        if kind == kind::LEAF {
            Element {
                flags: number32(page, at),
                pos: number32(page, at + 4),
                key_bytes: number32(page, at + 8),
                value_bytes: number32(page, at + 12),
            }
        } else {
            let (pos, key_bytes) = (number32(page, at), number32(page, at + 4));
            Element { flags: 0, pos, key_bytes, value_bytes: 0 }
        }
    }
}

fn run_bytes(meta: &Meta, header: &PageHeader) -> Result<u64, Flaw> {
    let pages = u64::from(header.overflow) + 1;
    let bytes = pages * u64::from(meta.page_bytes);
    // The page's own number is below the high water mark already, so the sum cannot overflow.
    if pages > meta.high_water - header.id || bytes > RUN_BYTES_MAX {
        return Err(Flaw::RunTooLong { overflow: header.overflow });
    }
    Ok(bytes)
}

/// Walks the table and returns where the last element ends.
fn extent(header: &PageHeader, page: &[u8], run_bytes: u64, holds: Holds) -> Result<usize, Flaw> {
    if header.kind != kind::LEAF && header.kind != kind::BRANCH {
        return Err(Flaw::WrongKind { found: header.kind });
    }
    let flags = if header.kind == kind::LEAF { holds.flags() } else { 0 };
    let mut end = HEADER_BYTES as u64 + ELEMENT_BYTES as u64 * u64::from(header.count);
    for element in 0..usize::from(header.count) {
        let at = HEADER_BYTES + ELEMENT_BYTES * element;
        let found = Element::decode(header.kind, page, at);
        let bytes = found.key_bytes as usize;
        if found.flags != flags {
            return Err(Flaw::WrongFlags { element, found: found.flags });
        }
        if !(1..=KEY_BYTES_MAX).contains(&bytes) {
            return Err(Flaw::KeySize { element, bytes });
        }
        if holds == Holds::Buckets
            && header.kind == kind::LEAF
            && (found.value_bytes as usize) < BUCKET_BYTES
        {
            return Err(Flaw::BucketEntry { element });
        }
        let in_place = at as u64 + u64::from(found.pos) == end;
        end += u64::from(found.key_bytes) + u64::from(found.value_bytes);
        if !in_place || end > run_bytes {
            return Err(Flaw::ElementOutOfPlace { element });
        }
    }
    Ok(usize::try_from(end).expect("a run is far shorter than memory"))
}

/// Reads on until `bytes` holds `end` bytes of the page at `place`.
fn extend(
    file: &impl ReadAt,
    place: Place,
    bytes: &mut Vec<u8>,
    end: usize,
) -> Result<(), BoltError> {
    let start = bytes.len();
    if start < end {
        bytes.resize(end, 0);
        let offset = place.offset + start as u64;
        let read = file.read_exact_at(&mut bytes[start..], offset);
        read.map_err(|source: io::Error| BoltError::Read { place, source })?;
    }
    Ok(())
}
