//! What one applied entry changes: rows, and small state under etcd's bucket names.

use bytes::Bytes;
use types::Row;

/// The unit of atomicity: after a crash a batch is there as a whole, with its index, or not at all.
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
/// (`reference/bbolt-and-backend.md` 2), in the order of their names.
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
}

impl Bucket {
    /// All buckets, in the order of their names and of their numbers on disk.
    pub const ALL: [Bucket; 9] = [
        Bucket::Alarm,
        Bucket::Auth,
        Bucket::AuthRoles,
        Bucket::AuthUsers,
        Bucket::Cluster,
        Bucket::Lease,
        Bucket::Members,
        Bucket::MembersRemoved,
        Bucket::Meta,
    ];

    /// The name in etcd's backend.
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
    use super::*;

    #[test]
    fn buckets_are_numbered_in_the_order_of_their_names() {
        for (number, bucket) in Bucket::ALL.into_iter().enumerate() {
            assert_eq!(bucket as usize, number);
            assert_eq!(Bucket::from_number(number as u8), Some(bucket));
            assert_eq!(Bucket::from_name(bucket.name().as_bytes()), Some(bucket));
        }
        assert!(Bucket::ALL.is_sorted_by_key(|bucket| bucket.name()));
        assert_eq!(Bucket::from_number(9), None);
        assert_eq!(Bucket::from_name(b"key"), None);
    }
}
