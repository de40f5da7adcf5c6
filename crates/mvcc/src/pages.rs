//! A range's answer in pages, for streams of unbounded length in bounded memory.

use types::Row;

use crate::{ReadError, RowSource};

/// A range being answered page by page, from one view.
#[derive(Debug)]
pub struct Pages {}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The next rows; empty only when nothing was found at all.
    pub rows: Vec<Row>,
    /// Whether no page follows.
    pub last: bool,
}

impl Pages {
    /// How many keys lie in the range, whatever the limit says.
    pub fn count(&self) -> i64 {
        todo!()
    }

    /// Whether the limit leaves rows out.
    pub fn more(&self) -> bool {
        todo!()
    }

    /// The next page, of at most `rows_max` rows (at least one). `None` after the last one; the first
    /// call always gives a page.
    ///
    /// # Errors
    /// Only faults of `source`.
    pub fn next_page(
        &mut self,
        _source: &dyn RowSource,
        _rows_max: usize,
    ) -> Result<Option<Page>, ReadError> {
        todo!()
    }
}
