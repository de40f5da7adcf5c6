//! A point in the store's history.

use std::fmt;

/// A change's place in history: which request or transaction made it, and which of its changes it is.
///
/// `main` is what clients call *the revision*; all changes of one transaction share it and count
/// `sub` from 0. The empty store is at main 1, so the first change is at main 2
/// (`docs/etcd/apply-semantics.md` 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Counts transactions that changed something. At least 2 for every stored change.
    pub main: i64,
    /// Counts the changes within one transaction, from 0.
    pub sub: i64,
}

impl Revision {
    /// Bytes of an encoded revision: main, `_`, sub.
    pub const BYTES: usize = 17;

    /// The first change of transaction `main`.
    pub const fn first_of(main: i64) -> Revision {
        Revision { main, sub: 0 }
    }

    /// The key etcd's `key` bucket stores this revision under, without the tombstone mark
    /// (`docs/etcd/bbolt-and-backend.md` 3). Byte order is revision order.
    pub fn to_bytes(self) -> [u8; Revision::BYTES] {
        let mut out = [b'_'; Revision::BYTES];
        out[..8].copy_from_slice(&self.main.to_be_bytes());
        out[9..].copy_from_slice(&self.sub.to_be_bytes());
        out
    }

    /// Reads [`Revision::to_bytes`] back; an 18th byte `t` marks a tombstone. `None` for any other
    /// shape, because the bytes come from a file.
    pub fn from_bytes(bytes: &[u8]) -> Option<(Revision, bool)> {
        let tombstone = match bytes.len() {
            17 => false,
            18 if bytes[17] == b't' => true,
            _ => return None,
        };
        if bytes[8] != b'_' {
            return None;
        }
        let main = i64::from_be_bytes(bytes[..8].try_into().ok()?);
        let sub = i64::from_be_bytes(bytes[9..17].try_into().ok()?);
        Some((Revision { main, sub }, tombstone))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_revisions_sort_as_revisions_do() {
        let mut revisions: Vec<Revision> =
            [(1, 0), (2, 0), (2, 1), (255, 3), (256, 0), (1 << 40, 7)]
                .map(|(main, sub)| Revision { main, sub })
                .to_vec();
        let expected = revisions.clone();
        revisions.reverse();
        revisions.sort_by_key(|r| r.to_bytes());
        assert_eq!(revisions, expected);
    }

    #[test]
    fn a_revision_is_read_back_with_and_without_its_tombstone_mark() {
        let revision = Revision { main: 27, sub: 4 };
        let mut bytes = revision.to_bytes().to_vec();
        assert_eq!(Revision::from_bytes(&bytes), Some((revision, false)));
        bytes.push(b't');
        assert_eq!(Revision::from_bytes(&bytes), Some((revision, true)));
        bytes[17] = b'x';
        assert_eq!(Revision::from_bytes(&bytes), None);
        assert_eq!(Revision::from_bytes(&bytes[..9]), None);
    }
}
