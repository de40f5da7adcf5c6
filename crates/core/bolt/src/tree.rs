//! Trees that grow from left to right, and the numbering of their pages.
//!
//! A page's number is settled when it is full: leaves go out one after another, and a branch goes
//! out right behind the last of its children. So a tree under construction is one open page per
//! level, however many rows it has.
//!
//! The same code plans and writes. Planning only needs lengths, so a cell is made of [`Measured`]
//! things: bytes when writing, lengths when planning.

use bytes::{Bytes, BytesMut};

use crate::fill::Filling;
use crate::page::{BUCKET_BYTES, ELEMENT_BYTES, FIRST_PAGE, HEADER_BYTES, PageHeader, kind};

/// Bytes, or how many there would be.
pub(crate) trait Measured: Clone {
    fn bytes(&self) -> usize;
}

impl Measured for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Measured for usize {
    fn bytes(&self) -> usize {
        *self
    }
}

/// One element of a page.
pub(crate) struct Cell<B> {
    pub key: B,
    pub content: Content<B>,
}

pub(crate) enum Content<B> {
    /// A row's value.
    Value(B),
    /// The first page of a bucket.
    Bucket(u64),
    /// A page one level below.
    Child(u64),
}

impl<B: Measured> Cell<B> {
    /// Bytes behind the table.
    fn payload_bytes(&self) -> usize {
        self.key.bytes()
            + match &self.content {
                Content::Value(value) => value.bytes(),
                Content::Bucket(_) => BUCKET_BYTES,
                Content::Child(_) => 0,
            }
    }
}

/// Takes pages as they are finished.
pub(crate) trait Output<B> {
    fn page(&mut self, header: PageHeader, cells: &[Cell<B>]);
}

/// The pages of a file in the order of their numbers.
pub(crate) struct Pages<O> {
    pub page_bytes: usize,
    /// The number of the page that goes out next.
    pub next: u64,
    pub output: O,
}

impl<O> Pages<O> {
    pub fn new(page_bytes: u32, output: O) -> Pages<O> {
        Pages { page_bytes: page_bytes as usize, next: FIRST_PAGE, output }
    }
}

/// One tree under construction.
pub(crate) struct Tree<B> {
    /// The open page of each level; leaves first.
    levels: Vec<Open<B>>,
}

struct Open<B> {
    filling: Filling,
    cells: Vec<Cell<B>>,
}

impl<B: Measured> Tree<B> {
    pub fn new<O>(pages: &Pages<O>) -> Tree<B> {
        let filling = Filling::leaf(pages.page_bytes);
        Tree { levels: vec![Open { filling, cells: Vec::new() }] }
    }

    /// Adds the element with the highest key so far.
    pub fn push<O: Output<B>>(&mut self, cell: Cell<B>, pages: &mut Pages<O>) {
        self.push_at(0, cell, pages);
    }

    fn push_at<O: Output<B>>(&mut self, level: usize, cell: Cell<B>, pages: &mut Pages<O>) {
        if level == self.levels.len() {
            let filling = Filling::branch(pages.page_bytes);
            self.levels.push(Open { filling, cells: Vec::new() });
        }
        let payload_bytes = cell.payload_bytes();
        if !self.levels[level].filling.takes(payload_bytes) {
            let full = self.close(level, pages);
            self.push_at(level + 1, full, pages);
        }
        let open = &mut self.levels[level];
        open.filling.add(payload_bytes);
        open.cells.push(cell);
    }

    /// Sends out what is still open and returns the number of the tree's first page.
    pub fn finish<O: Output<B>>(mut self, pages: &mut Pages<O>) -> u64 {
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.levels.len();
            if is_top && level == 0 && self.levels[0].cells.is_empty() {
                return self.close_empty(pages);
            }
            // A level above the leaves always has a cell: it was opened to take one.
            let full = self.close(level, pages);
            let Content::Child(root) = full.content else { unreachable!("close makes children") };
            if is_top {
                return root;
            }
            self.push_at(level + 1, full, pages);
            level += 1;
        }
    }

    /// Sends out a level's open page and returns the element that leads to it.
    fn close<O: Output<B>>(&mut self, level: usize, pages: &mut Pages<O>) -> Cell<B> {
        let empty = match level {
            0 => Filling::leaf(pages.page_bytes),
            _ => Filling::branch(pages.page_bytes),
        };
        let open = &mut self.levels[level];
        let filling = std::mem::replace(&mut open.filling, empty);
        let kind = if level == 0 { kind::LEAF } else { kind::BRANCH };
        let id = pages.emit(kind, &filling, &open.cells);
        let key = open.cells[0].key.clone();
        open.cells.clear();
        Cell { key, content: Content::Child(id) }
    }

    fn close_empty<O: Output<B>>(&mut self, pages: &mut Pages<O>) -> u64 {
        pages.emit(kind::LEAF, &self.levels[0].filling, &[])
    }
}

impl<O> Pages<O> {
    fn emit<B>(&mut self, kind: u16, filling: &Filling, cells: &[Cell<B>]) -> u64
    where
        O: Output<B>,
    {
        let id = self.next;
        let pages = filling.pages();
        let overflow = u32::try_from(pages - 1).expect("rows are bounded before they come here");
        let count = u16::try_from(cells.len()).expect("a page stops taking before");
        self.next += pages as u64;
        self.output.page(PageHeader { id, kind, count, overflow }, cells);
        id
    }
}

/// Planning needs the numbers only.
pub(crate) struct Nowhere;

impl Output<usize> for Nowhere {
    fn page(&mut self, _header: PageHeader, _cells: &[Cell<usize>]) {}
}

/// Writing puts the bytes behind those written before.
pub(crate) struct Buffer {
    pub page_bytes: usize,
    pub bytes: BytesMut,
}

impl Output<Bytes> for Buffer {
    fn page(&mut self, header: PageHeader, cells: &[Cell<Bytes>]) {
        let start = self.bytes.len();
        let run_bytes = (header.overflow as usize + 1) * self.page_bytes;
        self.bytes.reserve(run_bytes);
        header.encode(&mut self.bytes);
        let mut payload_at = HEADER_BYTES + ELEMENT_BYTES * cells.len();
        for (element, cell) in cells.iter().enumerate() {
            let pos = payload_at - (HEADER_BYTES + ELEMENT_BYTES * element);
            self.element(cell, as_u32(pos));
            payload_at += cell.payload_bytes();
        }
        for cell in cells {
            self.bytes.extend_from_slice(&cell.key);
            match &cell.content {
                Content::Value(value) => self.bytes.extend_from_slice(value),
                Content::Bucket(root) => {
                    self.bytes.extend_from_slice(&root.to_le_bytes());
                    // The bucket's sequence, which etcd never uses.
                    self.bytes.extend_from_slice(&0u64.to_le_bytes());
                }
                Content::Child(_) => {}
            }
        }
        assert!(self.bytes.len() - start <= run_bytes);
        self.bytes.resize(start + run_bytes, 0);
    }
}

impl Buffer {
    fn element(&mut self, cell: &Cell<Bytes>, pos: u32) {
        let key_bytes = as_u32(cell.key.len());
        let numbers = match &cell.content {
            Content::Value(value) => [0, pos, key_bytes, as_u32(value.len())],
            Content::Bucket(_) => [1, pos, key_bytes, BUCKET_BYTES as u32],
            Content::Child(id) => [pos, key_bytes, *id as u32, (*id >> 32) as u32],
        };
        for number in numbers {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn as_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("rows are bounded before they come here")
}
