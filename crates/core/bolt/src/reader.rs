//! An open file: which of its two metas counts, its buckets, and the way down to a key.
//!
//! Circle: a reader makes cursors, and a cursor reads pages through its reader; an error names the source that failed.

use bytes::Bytes;

use crate::access::ReadAt;
use crate::cursor::Cursor;
use crate::error::{BoltError, Flaw, Place};
use crate::node::{Holds, Node, place};
use crate::page::{BUCKET_BYTES, LEVELS_MAX, Meta, PAGE_SIZES, number64};

/// A bbolt file, read only. Bytes behind its last page (preallocated room, a digest) are ignored.
#[derive(Clone, Debug)]
pub struct Bolt<R> {
    pub(crate) file: R,
    pub(crate) meta: Meta,
}

/// One bucket: a name and a tree of rows.
#[derive(Clone, Debug)]
pub struct Bucket<R> {
    name: Bytes,
    bolt: Bolt<R>,
    root: Root,
}

/// Where a bucket's tree begins.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    Page(u64),
    /// A small bucket lies as one leaf within its own entry.
    Inline(Node),
}

/// A node and the first key that lies behind all of its keys, if there is one.
pub(crate) struct Step {
    pub node: Node,
    pub end: Option<Bytes>,
}

impl<R: ReadAt> Bolt<R> {
    /// Reads the metas and takes the newer one that is whole.
    ///
    /// # Errors
    /// When none is, or the file ends before its pages do.
    pub fn open(file: R) -> Result<Bolt<R>, BoltError> {
        let start = Place { page: 0, offset: 0 };
        let file_bytes =
            file.file_bytes().map_err(|source| BoltError::Read { place: start, source })?;
        let first = read_meta(&file, file_bytes, start)?;
        // If the first meta is gone nobody tells how long a page is, so each size is tried.
        let sizes = first.map_or(PAGE_SIZES.to_vec(), |meta| vec![meta.page_bytes]);
        let mut newest = first;
        for page_bytes in sizes {
            let second = Place { page: 1, offset: page_bytes.into() };
            let found = read_meta(&file, file_bytes, second)?;
            let found = found.filter(|meta| meta.page_bytes == page_bytes);
            newest = newest.into_iter().chain(found).max_by_key(|meta| meta.txid);
        }
        let bolt = Bolt { file, meta: newest.ok_or(BoltError::NoMeta)? };
        let needed_bytes = bolt.image_bytes();
        if needed_bytes > file_bytes {
            return Err(BoltError::CutShort { file_bytes, needed_bytes });
        }
        Ok(bolt)
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> u32 {
        self.meta.page_bytes
    }

    /// Bytes from the start of the file to the end of the last page ever used.
    pub fn image_bytes(&self) -> u64 {
        self.meta.high_water.saturating_mul(self.meta.page_bytes.into())
    }

    /// The number of the transaction that wrote the file last.
    pub fn transaction(&self) -> u64 {
        self.meta.txid
    }

    /// All buckets, in the order of their names. etcd has ten.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn buckets(&self) -> Result<Vec<Bucket<R>>, BoltError> {
        let entries = Cursor::new(self.clone(), &Root::Page(self.meta.root), Holds::Buckets)?;
        entries.map(|entry| entry.and_then(|entry| self.bucket_of(entry))).collect()
    }

    /// One bucket by its name.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<R>>, BoltError> {
        let found = self.find(&Root::Page(self.meta.root), Holds::Buckets, name)?;
        let Some((node, element)) = found else { return Ok(None) };
        let entry = (node.key_bytes(element), node.value(element));
        self.bucket_of_element(entry, node.place(), element).map(Some)
    }

    fn bucket_of(&self, (name, entry): (Bytes, Bytes)) -> Result<Bucket<R>, BoltError> {
        self.bucket_of_element((name, entry), place(&self.meta, self.meta.root), 0)
    }

    fn bucket_of_element(
        &self,
        (name, entry): (Bytes, Bytes),
        place: Place,
        element: usize,
    ) -> Result<Bucket<R>, BoltError> {
        let root = bucket_root(&entry, place)
            .map_err(|_| BoltError::Damaged { place, flaw: Flaw::BucketEntry { element } })?;
        Ok(Bucket { name, bolt: self.clone(), root })
    }

    pub(crate) fn step_to_root(&self, root: &Root, holds: Holds) -> Result<Step, BoltError> {
        let node = match root {
            Root::Inline(node) => node.clone(),
            Root::Page(id) => Node::load(&self.file, &self.meta, *id, holds)?,
        };
        if !node.is_leaf() && node.count() == 0 {
            return Err(BoltError::Damaged { place: node.place(), flaw: Flaw::Empty });
        }
        Ok(Step { node, end: None })
    }

    /// Goes from a branch to one of its children. `depth` counts the levels above the child.
    ///
    /// A child's keys must lie between its own separator and the next one. By induction all keys of
    /// a walk ascend, no page is met twice, and every walk ends.
    pub(crate) fn step_down(
        &self,
        from: &Step,
        element: usize,
        depth: usize,
        holds: Holds,
    ) -> Result<Step, BoltError> {
        let id = from.node.child(element);
        let damaged = |flaw| Err(BoltError::Damaged { place: place(&self.meta, id), flaw });
        if depth >= LEVELS_MAX {
            return damaged(Flaw::TooDeep);
        }
        let node = Node::load(&self.file, &self.meta, id, holds)?;
        let Some(last) = node.count().checked_sub(1) else { return damaged(Flaw::Empty) };
        let is_last = element + 1 == from.node.count();
        let end = if is_last { from.end.clone() } else { Some(from.node.key_bytes(element + 1)) };
        let starts_well = node.key(0) >= from.node.key(element);
        let ends_well = end.as_ref().is_none_or(|end| node.key(last) < &end[..]);
        if starts_well && ends_well { Ok(Step { node, end }) } else { damaged(Flaw::OutsideParent) }
    }

    fn find(
        &self,
        root: &Root,
        holds: Holds,
        key: &[u8],
    ) -> Result<Option<(Node, usize)>, BoltError> {
        let mut step = self.step_to_root(root, holds)?;
        for depth in 1.. {
            let found = step.node.find(key);
            if step.node.is_leaf() {
                return Ok(found.ok().map(|element| (step.node, element)));
            }
            // A key before the first separator belongs to the first child.
            let element = found.unwrap_or_else(|after| after.saturating_sub(1));
            step = self.step_down(&step, element, depth, holds)?;
        }
        unreachable!("step_down refuses to go deeper than LEVELS_MAX")
    }
}

impl<R: ReadAt> Bucket<R> {
    /// The bucket's name.
    pub fn name(&self) -> &Bytes {
        &self.name
    }

    /// The value of one key.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, BoltError> {
        let found = self.bolt.find(&self.root, Holds::Rows, key)?;
        Ok(found.map(|(node, element)| node.value(element)))
    }

    /// The row with the highest key.
    ///
    /// # Errors
    /// When a page on the way is damaged.
    pub fn last(&self) -> Result<Option<(Bytes, Bytes)>, BoltError> {
        let mut step = self.bolt.step_to_root(&self.root, Holds::Rows)?;
        for depth in 1.. {
            let last = step.node.count().checked_sub(1);
            if step.node.is_leaf() {
                return Ok(last.map(|last| (step.node.key_bytes(last), step.node.value(last))));
            }
            let last = last.expect("an empty branch is refused when it is loaded");
            step = self.bolt.step_down(&step, last, depth, Holds::Rows)?;
        }
        unreachable!("step_down refuses to go deeper than LEVELS_MAX")
    }

    /// All rows in key order. Holds one page per level of the tree.
    ///
    /// # Errors
    /// When the tree's first page is damaged; later ones are reported by the cursor.
    pub fn rows(&self) -> Result<Cursor<R>, BoltError> {
        Cursor::new(self.bolt.clone(), &self.root, Holds::Rows)
    }
}

/// Reads a bucket's entry: the number of its first page, or that page itself.
pub(crate) fn bucket_root(entry: &Bytes, place: Place) -> Result<Root, Flaw> {
    assert!(entry.len() >= BUCKET_BYTES, "the page was checked when it was loaded");
    match number64(entry, 0) {
        0 => Node::inline(entry.slice(BUCKET_BYTES..), place).map(Root::Inline),
        id => Ok(Root::Page(id)),
    }
}

fn read_meta(file: &impl ReadAt, file_bytes: u64, place: Place) -> Result<Option<Meta>, BoltError> {
    let mut prefix = [0; Meta::PREFIX_BYTES];
    if file_bytes < place.offset + prefix.len() as u64 {
        return Ok(None);
    }
    let read = file.read_exact_at(&mut prefix, place.offset);
    read.map_err(|source| BoltError::Read { place, source })?;
    Ok(Meta::decode(&prefix))
}
