//! The newest rows in memory: what was not flushed yet, and a bounded number of those that were, since what
//! was just written is what is read next.

use std::collections::VecDeque;

use types::{Revision, Row};

/// Room for so many rows is never given back.
const ROWS_KEPT: usize = 1 << 14;

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
        // A burst must not leave room for as many for good.
        if self.rows.capacity() > ROWS_KEPT.max(4 * self.rows.len()) {
            self.rows.shrink_to(2 * self.rows.len());
        }
    }

    /// Rows there is room for.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.rows.capacity()
    }

    pub(crate) fn get(&self, revision: Revision) -> Option<&Row> {
        if self.rows.front()?.revision > revision {
            return None;
        }
        let place = self.rows.binary_search_by_key(&revision, |row| row.revision).ok()?;
        self.rows.get(place)
    }
}

#[cfg(test)]
mod tests {
    use types::encode_tombstone;

    use super::*;

    #[test]
    fn a_burst_leaves_no_room_behind() {
        let mut recent = Recent::default();
        for sub in 0..1_000_000 {
            recent.push(&encode_tombstone(b"key", Revision { main: 2, sub }));
        }
        recent.flushed(1000);
        assert!(recent.capacity() <= ROWS_KEPT, "room for {} rows", recent.capacity());
        let last = Revision { main: 2, sub: 999_999 };
        assert_eq!(recent.get(last).map(|row| row.revision), Some(last));
    }
}
