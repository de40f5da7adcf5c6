//! The fixed parts of a file: page header, meta page, and the sizes everything is bounded by.

use bytes::{BufMut, BytesMut};

/// The longest key bbolt takes, in bytes.
pub const KEY_BYTES_MAX: usize = 32_768;
/// The longest run of pages that one page may be, in bytes; etcd's values stay far below.
pub const RUN_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Bytes of a page's header.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of one entry in a page's table of elements.
pub(crate) const ELEMENT_BYTES: usize = 16;
/// Bytes of a bucket's entry before an inline page.
pub(crate) const BUCKET_BYTES: usize = 16;
/// Levels a tree may have. Even with two children per page 2^48 bytes need fewer.
pub(crate) const LEVELS_MAX: usize = 48;
/// Where a freelist would be noted: none is stored.
pub(crate) const NO_FREELIST: u64 = u64::MAX;
/// The first page that can hold anything but a meta.
pub(crate) const FIRST_PAGE: u64 = 2;

const META_BYTES: usize = 64;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// Flags of a page's header.
pub(crate) mod kind {
    pub const BRANCH: u16 = 0x01;
    pub const LEAF: u16 = 0x02;
    pub const META: u16 = 0x04;
    pub const FREELIST: u16 = 0x10;
}

/// What each page begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageHeader {
    pub id: u64,
    pub kind: u16,
    pub count: u16,
    /// Further pages this one runs over.
    pub overflow: u32,
}

impl PageHeader {
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id);
        out.put_u16_le(self.kind);
        out.put_u16_le(self.count);
        out.put_u32_le(self.overflow);
    }

    pub fn decode(page: &[u8; HEADER_BYTES]) -> PageHeader {
        PageHeader {
            id: number64(page, 0),
            kind: u16::from_le_bytes([page[8], page[9]]),
            count: u16::from_le_bytes([page[10], page[11]]),
            overflow: number32(page, 12),
        }
    }
}

/// One of the two roots of all that is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub page_bytes: u32,
    /// The page with the names of the buckets.
    pub root: u64,
    /// The page that lists free pages, or [`NO_FREELIST`].
    pub freelist: u64,
    /// The first page number never used.
    pub high_water: u64,
    /// The transaction that wrote it; of two whole metas the higher one counts.
    pub txid: u64,
}

impl Meta {
    /// Bytes to read for [`Meta::decode`]: the header and the meta itself.
    pub const PREFIX_BYTES: usize = HEADER_BYTES + META_BYTES;

    /// Appends a whole meta page.
    pub fn encode(&self, page: u64, out: &mut BytesMut) {
        let start = out.len();
        PageHeader { id: page, kind: kind::META, count: 0, overflow: 0 }.encode(out);
        out.put_u32_le(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(self.page_bytes);
        out.put_u32_le(0);
        out.put_u64_le(self.root);
        out.put_u64_le(0);
        out.put_u64_le(self.freelist);
        out.put_u64_le(self.high_water);
        out.put_u64_le(self.txid);
        let checksum = fnv1a(&out[start + HEADER_BYTES..]);
        out.put_u64_le(checksum);
        out.resize(start + self.page_bytes as usize, 0);
    }

    /// `None` unless everything about it is right.
    pub fn decode(page: &[u8; Meta::PREFIX_BYTES]) -> Option<Meta> {
        let meta = &page[HEADER_BYTES..];
        let checksum = number64(meta, META_BYTES - 8);
        let whole = number32(meta, 0) == MAGIC
            && number32(meta, 4) == VERSION
            && checksum == fnv1a(&meta[..META_BYTES - 8]);
        let meta = Meta {
            page_bytes: number32(meta, 8),
            root: number64(meta, 16),
            freelist: number64(meta, 32),
            high_water: number64(meta, 40),
            txid: number64(meta, 48),
        };
        (whole && is_page_size(meta.page_bytes)).then_some(meta)
    }
}

/// Page sizes of operating systems, and so of bbolt.
pub(crate) const PAGE_SIZES: [u32; 7] = [1024, 2048, 4096, 8192, 16384, 32768, 65536];

pub(crate) fn is_page_size(bytes: u32) -> bool {
    PAGE_SIZES.contains(&bytes)
}

pub(crate) fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were cut out"))
}

pub(crate) fn number64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were cut out"))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta =
        Meta { page_bytes: 4096, root: 7, freelist: NO_FREELIST, high_water: 9, txid: 2 };

    fn encoded() -> [u8; Meta::PREFIX_BYTES] {
        let mut page = BytesMut::new();
        META.encode(0, &mut page);
        assert_eq!(page.len(), 4096);
        page[..Meta::PREFIX_BYTES].try_into().expect("the page is longer")
    }

    #[test]
    fn a_meta_page_is_read_back() {
        assert_eq!(Meta::decode(&encoded()), Some(META));
    }

    #[test]
    fn any_flipped_bit_of_a_meta_is_noticed() {
        for bit in HEADER_BYTES * 8..Meta::PREFIX_BYTES * 8 {
            let mut page = encoded();
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::decode(&page), None, "bit {bit}");
        }
    }
}
