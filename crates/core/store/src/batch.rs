//! What one applied entry changes: rows, and small state under etcd's bucket names.

use bytes::Bytes;
use types::Row;

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

/// One change of small state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what they are called")]
pub enum StateChange {
    /// Gives `key` this value.
    Set { bucket: Bucket, key: Bytes, value: Bytes },
    /// Forgets `key`; nothing happens when there is none.
    Delete { bucket: Bucket, key: Bytes },
}

/// Where small state lives: the buckets of etcd's backend except `key`
/// (`docs/etcd/bbolt-and-backend.md` 2) and one of ours, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are etcd's own")]
#[repr(u8)]
pub enum Bucket {
    Alarm = 0,
    Auth = 1,
    AuthRoles = 2,
    AuthUsers = 3,
    Cluster = 4,
    Lease = 5,
    Members = 6,
    MembersRemoved = 7,
    Meta = 8,
    /// None of etcd's backend: the tree of the API v2, which etcd keeps in its `.snap` files.
    V2 = 9,
}

impl Bucket {
    /// All buckets, in the order of their names and of their numbers on disk.
    pub const ALL: [Bucket; 10] = [
        Bucket::Alarm,
        Bucket::Auth,
        Bucket::AuthRoles,
        Bucket::AuthUsers,
        Bucket::Cluster,
        Bucket::Lease,
        Bucket::Members,
        Bucket::MembersRemoved,
        Bucket::Meta,
        Bucket::V2,
    ];

    /// The name in etcd's backend, and that of what only ours has there.
    pub fn name(self) -> &'static str {
        match self {
            Bucket::Alarm => "alarm",
            Bucket::Auth => "auth",
            Bucket::AuthRoles => "authRoles",
            Bucket::AuthUsers => "authUsers",
            Bucket::Cluster => "cluster",
            Bucket::Lease => "lease",
            Bucket::Members => "members",
            Bucket::MembersRemoved => "members_removed",
            Bucket::Meta => "meta",
            Bucket::V2 => "v2",
        }
    }

    /// The bucket of this name; `None` for `key` and for names that are not etcd's.
    pub fn from_name(name: &[u8]) -> Option<Bucket> {
        Bucket::ALL.into_iter().find(|bucket| bucket.name().as_bytes() == name)
    }

    /// Reads the number a file holds.
    pub(crate) fn from_number(number: u8) -> Option<Bucket> {
        Bucket::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use types::{Revision, encode_tombstone};

    use super::*;

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

    #[test]
    fn buckets_are_numbered_in_the_order_of_their_names() {
        for (number, bucket) in Bucket::ALL.into_iter().enumerate() {
            assert_eq!(bucket as usize, number);
            assert_eq!(Bucket::from_number(number as u8), Some(bucket));
            assert_eq!(Bucket::from_name(bucket.name().as_bytes()), Some(bucket));
        }
        assert!(Bucket::ALL.is_sorted_by_key(|bucket| bucket.name()));
        assert_eq!(Bucket::from_number(10), None);
        assert_eq!(Bucket::from_name(b"key"), None);
    }
}
