//! One change of small state, and the buckets that it lies in.

use bytes::Bytes;

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
    use super::*;

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
