//! What one applied entry changes: rows, and small state under etcd's bucket names.

use types::Row;

use crate::change::StateChange;
use crate::record;

/// The unit of atomicity: after a crash a batch is there as a whole, with its index, or not at all. It may be of any
/// size: it goes to the file in frames of a few mebibytes, which count when the last of them is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The entry's index. Never below the batch before; equal while a snapshot is loaded in pieces.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
    /// New rows, ascending, all above every row before.
    pub rows: Vec<Row>,
    /// Changes of small state, applied in order.
    pub state: Vec<StateChange>,
}

/// The part of a batch that goes into one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) state: &'a [StateChange],
    /// Whether more of the batch follows.
    pub(crate) is_open: bool,
}

impl Batch {
    /// The batch in pieces of at most `bytes_max` bytes, or of one longer record; first the rows, then the changes.
    /// At least one piece.
    pub(crate) fn pieces(&self, bytes_max: usize) -> impl Iterator<Item = Piece<'_>> {
        let mut left = Some((&self.rows[..], &self.state[..]));
        std::iter::from_fn(move || {
            let (rows, state) = left.take()?;
            let mut room = bytes_max;
            let (rows, more_rows) = rows.split_at(fitting(rows, &mut room, true, record::bytes_of));
            let fits = match more_rows {
                [] => fitting(state, &mut room, rows.is_empty(), record::bytes_of_change),
                _ => 0,
            };
            let (state, more_state) = state.split_at(fits);
            let is_open = !more_rows.is_empty() || !more_state.is_empty();
            left = is_open.then_some((more_rows, more_state));
            Some(Piece { rows, state, is_open })
        })
    }
}

/// How many of these fit into the room, which shrinks by what they take. The first fits in any case if it must.
fn fitting<T>(items: &[T], room: &mut usize, must: bool, bytes: impl Fn(&T) -> usize) -> usize {
    let mut fits = |(place, item): &(usize, &T)| {
        let bytes = bytes(item);
        let fits = bytes <= *room || (must && *place == 0);
        *room = room.saturating_sub(bytes);
        fits
    };
    items.iter().enumerate().map_while(|each| fits(&each).then_some(())).count()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use types::{Revision, encode_tombstone};

    use super::*;
    use crate::change::Bucket;

    #[test]
    fn the_pieces_of_a_batch_are_the_batch_and_none_is_larger_than_it_must_be() {
        let row = |sub: i64| {
            let key = vec![b'k'; 1 + (sub as usize * 7) % 90];
            encode_tombstone(&key, Revision { main: 2, sub })
        };
        let change = |n: usize| {
            let (key, value) = (Bytes::from(vec![b'k'; n % 9]), Bytes::from(vec![1; n * 5 % 80]));
            StateChange::Set { bucket: Bucket::Lease, key, value }
        };
        for (rows, changes) in [(0, 0), (1, 0), (0, 1), (40, 0), (0, 40), (40, 40), (3, 2)] {
            let (rows, state) = ((0..rows).map(row).collect(), (0..changes).map(change).collect());
            let batch = Batch { index: 7, term: 1, rows, state };
            for bytes_max in [0, 1, 60, 100, 500, 1 << 20] {
                let pieces: Vec<_> = batch.pieces(bytes_max).collect();
                let rows: Vec<_> = pieces.iter().flat_map(|piece| piece.rows).cloned().collect();
                let state: Vec<_> = pieces.iter().flat_map(|piece| piece.state).cloned().collect();
                assert_eq!((rows, state), (batch.rows.clone(), batch.state.clone()));
                let (last, open) = pieces.split_last().expect("at least one");
                assert!(!last.is_open);
                assert!(open.iter().all(|piece| piece.is_open));
                for piece in &pieces {
                    let rows = piece.rows.iter().map(record::bytes_of);
                    let bytes: usize =
                        rows.chain(piece.state.iter().map(record::bytes_of_change)).sum();
                    assert!(bytes <= bytes_max || piece.rows.len() + piece.state.len() <= 1);
                }
            }
        }
    }
}
