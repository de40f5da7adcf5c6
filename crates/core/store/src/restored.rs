//! What opening a store finds: how far it had come, and the rows' keys to build an index from.

use std::collections::VecDeque;

use types::Revision;

use crate::footer::KeyColumn;
use crate::row_meta::RowMeta;
use crate::segment::{Extent, Span};
use crate::{Checkpoint, Damage, StoreError};

/// How many bytes of rows are read at once where there is no footer to read keys from.
const ROWS_BYTES: u64 = 1 << 20;

/// What was found on disk. The small state is in [`crate::Store::state`], the rows' keys come from
/// [`crate::Store::rows_after`].
#[derive(Debug)]
pub struct Restored {
    /// The last entry whose changes are here; 0 for a new store. Its successor is to be applied next.
    pub applied_index: u64,
    /// That entry's term.
    pub applied_term: u64,
    /// What is durable: all of it, since opening ends with a sync.
    pub synced_index: u64,
    /// A torn tail that was cut, as a crash leaves it: nothing that was ever confirmed as synced.
    pub repaired: Option<Repair>,
    /// Damage that cost nothing: a checkpoint that is ignored, a footer that was built again.
    pub ignored: Vec<Damage>,
    /// The newest index image, if there is an intact one.
    pub checkpoint: Option<Checkpoint>,
}

/// Where a torn tail was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The file's name within the store's directory.
    pub file: String,
    /// Its length now, in bytes.
    pub offset: u64,
    /// How much was cut off, in bytes, this file and later ones together.
    pub cut_bytes: u64,
}

/// Rows without their values, in revision order. Reads one segment's keys at a time.
///
/// Rows that compaction marked dead may be missing already, in any order, with one promise: a key whose
/// tombstone is missing has no earlier row here either, so a deleted key never comes back.
#[derive(Debug)]
pub struct RowMetas {
    waiting: VecDeque<Extent>,
    after: Revision,
    current: Option<Walk>,
}

/// The walk through one segment.
#[derive(Debug)]
struct Walk {
    extent: Extent,
    /// The next row to be fetched.
    position: usize,
    /// What is left of the footer's keys; `None` when the rows themselves have to be read.
    keys: Option<KeyColumn>,
    ready: VecDeque<(usize, RowMeta)>,
}

impl RowMetas {
    pub(crate) fn new(extents: impl Iterator<Item = Extent>, after: i64) -> RowMetas {
        let after = Revision { main: after, sub: i64::MAX };
        let waiting = extents.filter(|extent| extent.last > after).collect();
        RowMetas { waiting, after, current: None }
    }

    fn step(&mut self) -> Result<Option<RowMeta>, StoreError> {
        loop {
            let Some(walk) = &mut self.current else {
                let Some(extent) = self.waiting.pop_front() else { return Ok(None) };
                self.current = Some(Walk::begin(extent)?);
                continue;
            };
            let Some((position, meta)) = walk.ready.pop_front() else {
                if !walk.fetch()? {
                    self.current = None;
                }
                continue;
            };
            if meta.revision > self.after && !walk.extent.is_buried(position) {
                return Ok(Some(meta));
            }
        }
    }
}

impl Iterator for RowMetas {
    type Item = Result<RowMeta, StoreError>;

    fn next(&mut self) -> Option<Result<RowMeta, StoreError>> {
        self.step().transpose()
    }
}

impl Walk {
    fn begin(extent: Extent) -> Result<Walk, StoreError> {
        let keys = match extent.keys {
            Some(column) => column.read(&extent.segment.file)?.map(KeyColumn::new),
            None => None,
        };
        Ok(Walk { extent, position: 0, keys, ready: VecDeque::new() })
    }

    /// Makes some rows ready; false at the end.
    fn fetch(&mut self) -> Result<bool, StoreError> {
        let spans = self.extent.spans(self.position, usize::MAX);
        if spans.is_empty() {
            return Ok(false);
        }
        match self.metas_of(&spans) {
            Some(metas) => self.make_ready(metas),
            None => {
                self.keys = None;
                let rows = self.extent.read_spans(&spans, ROWS_BYTES)?;
                self.make_ready(rows.into_iter().map(RowMeta::from).collect());
            }
        }
        Ok(true)
    }

    /// The rows' keys from the footer, all of them or none.
    fn metas_of(&mut self, spans: &[Span]) -> Option<Vec<RowMeta>> {
        self.keys.as_mut()?.take(spans)
    }

    fn make_ready(&mut self, metas: Vec<RowMeta>) {
        let start = self.position;
        self.position += metas.len();
        self.ready = metas.into_iter().enumerate().map(|(at, meta)| (start + at, meta)).collect();
    }
}
