//! Which keys a request speaks of.

use bytes::Bytes;

/// A set of keys in byte order. Made from the wire's two strings once, at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// Exactly this key.
    One(Bytes),
    /// Every key at or after `start`.
    From {
        /// The first key that belongs to the range.
        start: Bytes,
    },
    /// Every key at or after `start` and before `end`; empty when `end <= start`.
    Between {
        /// The first key that belongs to the range.
        start: Bytes,
        /// The first key that does not.
        end: Bytes,
    },
}

/// A request named no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyKey;

impl KeyRange {
    /// Reads the wire's spelling: an empty `range_end` means one key, `"\0"` means to the end of
    /// the keyspace (`docs/etcd/api.md` 4.1).
    ///
    /// # Errors
    /// [`EmptyKey`] when `key` is empty.
    pub fn from_wire(key: &Bytes, range_end: &Bytes) -> Result<KeyRange, EmptyKey> {
        match (&key[..], &range_end[..]) {
            ([], _) => Err(EmptyKey),
            (_, []) => Ok(KeyRange::One(key.clone())),
            (_, [0]) => Ok(KeyRange::From { start: key.clone() }),
            _ => Ok(KeyRange::Between { start: key.clone(), end: range_end.clone() }),
        }
    }

    /// Every key there is.
    pub fn all() -> KeyRange {
        KeyRange::From { start: Bytes::new() }
    }

    /// The smallest key that can belong to the range.
    pub fn start(&self) -> &Bytes {
        match self {
            KeyRange::One(key) => key,
            KeyRange::From { start } | KeyRange::Between { start, .. } => start,
        }
    }

    /// Whether `key` belongs to the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => one == key,
            KeyRange::From { start } => &start[..] <= key,
            KeyRange::Between { start, end } => &start[..] <= key && key < &end[..],
        }
    }

    /// Whether `key` lies behind every key of the range: a walk in key order may stop here.
    pub fn ends_before(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => &one[..] < key,
            KeyRange::From { .. } => false,
            KeyRange::Between { end, .. } => &end[..] <= key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &'static str, range_end: &'static str, expected: Result<KeyRange, EmptyKey>) {
        let wire = (Bytes::from_static(key.as_bytes()), Bytes::from_static(range_end.as_bytes()));
        assert_eq!(KeyRange::from_wire(&wire.0, &wire.1), expected);
    }

    #[test]
    fn a_lone_zero_byte_as_range_end_means_to_the_end_of_the_keyspace() {
        check("a", "", Ok(KeyRange::One("a".into())));
        check("a", "\0", Ok(KeyRange::From { start: "a".into() }));
        check("a", "c", Ok(KeyRange::Between { start: "a".into(), end: "c".into() }));
        check("", "c", Err(EmptyKey));
    }

    #[test]
    fn an_inverted_range_is_empty_and_not_an_error() {
        let range = KeyRange::from_wire(&"c".into(), &"a".into()).expect("the key is not empty");
        for key in ["a", "b", "c", "d"] {
            assert!(!range.contains(key.as_bytes()));
        }
    }
}
