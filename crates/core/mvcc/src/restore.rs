//! The index rebuilt at start: from a checkpoint image, and from the rows after it.

use types::{LeaseId, Revision, Row};

use crate::index::{Record, Tree};
use crate::{IndexView, Mvcc};

/// What the index must know of a stored row.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as in types::Row")]
pub struct RowMeta<'a> {
    pub key: &'a [u8],
    pub revision: Revision,
    pub tombstone: bool,
    pub create_revision: i64,
    pub version: i64,
    pub lease: LeaseId,
}

impl<'a> From<&'a Row> for RowMeta<'a> {
    fn from(row: &'a Row) -> RowMeta<'a> {
        RowMeta {
            key: row.key(),
            revision: row.revision,
            tombstone: row.tombstone,
            create_revision: row.create_revision,
            version: row.version,
            lease: row.lease,
        }
    }
}

/// A keyspace being rebuilt.
#[derive(Debug)]
pub struct Restore {
    view: IndexView,
    /// The revision of the image it began with; 1 without one.
    covered: i64,
    /// The newest row taken.
    newest: Revision,
    /// Rows taken and not in the index yet.
    waiting: Waiting,
}

/// Rows on their way into the index. They come in the order of their revisions, which is no order for a
/// tree of keys: each would touch another node, all of them out of the cache. A few megabytes of them, sorted,
/// go from leaf to leaf.
#[derive(Debug, Default)]
struct Waiting {
    keys: Vec<u8>,
    rows: Vec<(usize, Record, LeaseId)>,
}

/// Bytes of keys that are sorted together.
const SORTED_BYTES: usize = 16 << 20;

impl Waiting {
    fn key(&self, place: usize) -> &[u8] {
        let end = self.rows.get(place + 1).map_or(self.keys.len(), |next| next.0);
        &self.keys[self.rows[place].0..end]
    }

    fn push(&mut self, key: &[u8], record: Record, lease: LeaseId) {
        self.rows.push((self.keys.len(), record, lease));
        self.keys.extend_from_slice(key);
    }

    /// Moves them into the index, key by key; those of one key in the order they came.
    fn flush(&mut self, tree: &mut Tree) {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|one, other| self.key(*one).cmp(self.key(*other)));
        for place in order {
            let (_, record, lease) = self.rows[place];
            tree.write(self.key(place), |_| (record, lease));
        }
        self.keys.clear();
        self.rows.clear();
    }
}

/// Rows that no store of ours could hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Rows come in revision order.
    #[error("row {found} follows row {newest}")]
    OutOfOrder {
        /// The row that came too late.
        found: Revision,
        /// The newest before it.
        newest: Revision,
    },
    /// The row's own fields contradict each other, or the image.
    #[error("row {revision} cannot be: {what}")]
    Impossible {
        /// Which row.
        revision: Revision,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Default for Restore {
    fn default() -> Restore {
        Restore::new()
    }
}

impl Restore {
    /// Starts from nothing: all rows follow.
    pub fn new() -> Restore {
        Restore::from_image(IndexView { tree: Tree::new(), current: 1, compacted: -1 })
    }

    pub(crate) fn from_image(view: IndexView) -> Restore {
        let waiting = Waiting::default();
        Restore { covered: view.current, newest: Revision::default(), view, waiting }
    }

    /// The newest revision known so far; rows at or below it are already in. 1 when there is none.
    pub fn revision(&self) -> i64 {
        self.view.current
    }

    /// The compacted revision the image was made under; -1 without one.
    pub fn compact_revision(&self) -> i64 {
        self.view.compacted
    }

    /// Takes the next row. Rows that a compaction has let go may be missing, so nothing is concluded
    /// from gaps; each row says itself who created its key and how often it changed.
    ///
    /// # Errors
    /// [`RestoreError`] when the row cannot follow what came before.
    pub fn row(&mut self, row: RowMeta<'_>) -> Result<(), RestoreError> {
        if row.revision <= self.newest {
            return Err(RestoreError::OutOfOrder { found: row.revision, newest: self.newest });
        }
        let record = self.record(&row);
        let record =
            record.map_err(|what| RestoreError::Impossible { revision: row.revision, what })?;
        let lease = if row.tombstone { 0 } else { row.lease };
        self.waiting.push(row.key, record, lease);
        if SORTED_BYTES < self.waiting.keys.len() {
            self.waiting.flush(&mut self.view.tree);
        }
        self.view.current = record.main;
        self.newest = row.revision;
        Ok(())
    }

    fn record(&self, row: &RowMeta<'_>) -> Result<Record, &'static str> {
        let main = row.revision.main;
        if main <= self.covered {
            return Err("the index image, or the empty store, covers it already");
        }
        let sub =
            u32::try_from(row.revision.sub).map_err(|_| "its sub revision is out of range")?;
        if row.key.is_empty() {
            return if is_bump(row) {
                Ok(Record { main, created: main, version: 1, sub })
            } else {
                Err("it has no key")
            };
        }
        if row.tombstone {
            return Ok(Record { main, created: 0, version: 0, sub });
        }
        let (created, version) = (row.create_revision, row.version);
        if version < 1 || created < 1 || main < created {
            return Err("its creation and version contradict its revision");
        }
        Ok(Record { main, created, version, sub })
    }

    /// Done. `compact_revision` is the last compaction that was begun, -1 for none (an older one than
    /// the image's is ignored); the store is never at a lower revision than that. Pruning for it
    /// starts over, so [`Mvcc::compact_step`] names again what is dead in this index.
    pub fn finish(self, compact_revision: i64) -> Mvcc {
        let Restore { mut view, mut waiting, .. } = self;
        waiting.flush(&mut view.tree);
        view.compacted = view.compacted.max(compact_revision);
        view.current = view.current.max(view.compacted);
        Mvcc::from_view(view)
    }
}

/// Whether a row is the empty one with which `snapshot restore --bump-revision` raises the revision.
/// No request reaches the empty key, but the row counts in hashes, and Go etcd keeps it: so do we.
fn is_bump(row: &RowMeta<'_>) -> bool {
    let RowMeta { tombstone, create_revision, version, lease, .. } = *row;
    (tombstone, create_revision, version, lease) == (false, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(main: i64, sub: i64) -> RowMeta<'static> {
        let revision = Revision { main, sub };
        let (key, create_revision, version) = (&b"a"[..], 2, main - 1);
        RowMeta { key, revision, tombstone: false, create_revision, version, lease: 0 }
    }

    #[track_caller]
    fn check(row: RowMeta<'_>, expected: Option<&str>) {
        let mut restore = Restore::new();
        restore.row(meta(5, 3)).expect("a first row");
        let error = restore.row(row).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
    }

    #[test]
    fn rows_that_cannot_be_are_refused_by_name() {
        check(meta(6, 0), None);
        check(meta(5, 4), None);
        check(meta(5, 3), Some("row 5.3 follows row 5.3"));
        check(meta(4, 9), Some("row 4.9 follows row 5.3"));
        let contradiction = "row 6.0 cannot be: its creation and version contradict its revision";
        check(RowMeta { version: 0, ..meta(6, 0) }, Some(contradiction));
        check(RowMeta { create_revision: 7, ..meta(6, 0) }, Some(contradiction));
        check(RowMeta { key: b"", ..meta(6, 0) }, Some("row 6.0 cannot be: it has no key"));
        let sub = "row 6.4294967296 cannot be: its sub revision is out of range";
        check(meta(6, 1 << 32), Some(sub));
    }

    #[test]
    fn the_empty_row_of_a_bumped_restore_raises_the_revision_and_nothing_else() {
        let mut restore = Restore::new();
        restore.row(meta(5, 0)).expect("a first row");
        let bump = RowMeta { key: b"", create_revision: 0, version: 0, ..meta(1005, 0) };
        restore.row(bump).expect("an empty row");
        let mvcc = restore.finish(1005);
        assert_eq!((mvcc.current_revision(), mvcc.compact_revision()), (1005, 1005));
        assert!(mvcc.view().keeps(b"", Revision { main: 1005, sub: 0 }));
    }

    #[test]
    fn the_revision_never_falls_below_a_compaction() {
        // After the last tombstone was compacted away no row holds the newest revision any more.
        let mut restore = Restore::new();
        restore.row(meta(5, 0)).expect("a first row");
        let mvcc = restore.finish(9);
        assert_eq!((mvcc.current_revision(), mvcc.compact_revision()), (9, 9));
    }
}
