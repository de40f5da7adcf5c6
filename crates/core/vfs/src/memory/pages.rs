//! A file's content in memory: pages, shared between copies until one of them changes.
//!
//! A page that holds only zeros is absent, so a segment zero-filled ahead of use costs nothing, and a
//! copy of a disk costs a pointer per page.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_BYTES: u64 = 4096;

type Page = [u8; PAGE_BYTES as usize];

/// Bytes by offset; what was never written is zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    bytes: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// Copies what there is from `offset` on and says how much.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let left = self.bytes.saturating_sub(offset);
        let count = left.min(buffer.len() as u64) as usize;
        for piece in pieces(offset, offset + count as u64) {
            let out = &mut buffer[(piece.at - offset) as usize..][..piece.count];
            match self.pages.get(&piece.page) {
                Some(page) => out.copy_from_slice(&page[piece.start..][..piece.count]),
                None => out.fill(0),
            }
        }
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let end = offset + bytes.len() as u64;
        for piece in pieces(offset, end) {
            let page = self.pages.entry(piece.page).or_insert_with(|| Arc::new([0; _]));
            let from = &bytes[(piece.at - offset) as usize..][..piece.count];
            Arc::make_mut(page)[piece.start..][..piece.count].copy_from_slice(from);
        }
        if !bytes.is_empty() {
            self.bytes = self.bytes.max(end);
        }
    }

    pub(super) fn zero(&mut self, from: u64, to: u64) {
        for piece in pieces(from, to) {
            if piece.count == PAGE_BYTES as usize {
                self.pages.remove(&piece.page);
            } else if let Some(page) = self.pages.get_mut(&piece.page) {
                Arc::make_mut(page)[piece.start..][..piece.count].fill(0);
            }
        }
        if from < to {
            self.bytes = self.bytes.max(to);
        }
    }

    pub(super) fn set_len(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.zero(bytes, bytes.next_multiple_of(PAGE_BYTES));
            self.pages.split_off(&bytes.div_ceil(PAGE_BYTES));
        }
        self.bytes = bytes;
    }
}

/// The part of one page that a range of the file touches.
struct Piece {
    page: u64,
    /// Offset in the file.
    at: u64,
    /// Offset in the page.
    start: usize,
    count: usize,
}

fn pieces(from: u64, to: u64) -> impl Iterator<Item = Piece> {
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let start = at % PAGE_BYTES;
        let count = (PAGE_BYTES - start).min(to - at);
        let piece =
            Piece { page: at / PAGE_BYTES, at, start: start as usize, count: count as usize };
        at += count;
        Some(piece)
    })
}
