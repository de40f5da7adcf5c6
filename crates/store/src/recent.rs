//! The newest rows in memory: what was not flushed yet, and a bounded number of those that were, since what
//! was just written is what is read next.

use std::collections::VecDeque;

use types::{Revision, Row};

/// Rows in revision order.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    rows: VecDeque<Row>,
    bytes: usize,
}

fn cost(row: &Row) -> usize {
    row.encoded.len() + size_of::<Row>()
}

impl Recent {
    pub(crate) fn push(&mut self, row: &Row) {
        self.bytes += cost(row);
        self.rows.push_back(row.clone());
    }

    /// All rows are in the file now: only `bytes_max` of them need to stay.
    pub(crate) fn flushed(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(row) = self.rows.pop_front()
        {
            self.bytes -= cost(&row);
        }
    }

    pub(crate) fn get(&self, revision: Revision) -> Option<&Row> {
        if self.rows.front()?.revision > revision {
            return None;
        }
        let place = self.rows.binary_search_by_key(&revision, |row| row.revision).ok()?;
        self.rows.get(place)
    }
}
