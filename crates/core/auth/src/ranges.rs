//! Sets of keys: what all permissions of a user come to, taken together.
//!
//! Ranges that overlap or touch are one, so a request may lie across two permissions, as it may in etcd
//! (`docs/etcd/api.md` 9.3).

use bytes::Bytes;
use types::KeyRange;

/// A set of keys, as ranges in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    spans: Vec<Span>,
}

/// The keys from `start` up to `end`, or to the end of the keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    start: Bytes,
    end: Option<Bytes>,
}

impl Span {
    /// `None` for a range that holds no key.
    fn of(range: KeyRange) -> Option<Span> {
        match range {
            KeyRange::One(key) => {
                let mut after = Vec::with_capacity(key.len() + 1);
                after.extend_from_slice(&key);
                after.push(0);
                Some(Span { start: key, end: Some(after.into()) })
            }
            KeyRange::From { start } => Some(Span { start, end: None }),
            KeyRange::Between { start, end } => {
                (start < end).then_some(Span { start, end: Some(end) })
            }
        }
    }

    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key <= &end[..])
    }

    fn contains(&self, key: &[u8]) -> bool {
        &self.start[..] <= key && self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

impl FromIterator<KeyRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = KeyRange>>(ranges: I) -> RangeSet {
        let mut parts: Vec<Span> = ranges.into_iter().filter_map(Span::of).collect();
        parts.sort_by(|a, b| a.start.cmp(&b.start));
        let mut spans: Vec<Span> = Vec::with_capacity(parts.len());
        for part in parts {
            match spans.last_mut() {
                Some(last) if last.reaches(&part.start) => {
                    last.end = match (last.end.take(), part.end) {
                        (Some(end), Some(other)) => Some(end.max(other)),
                        (None, _) | (_, None) => None,
                    };
                }
                _ => spans.push(part),
            }
        }
        RangeSet { spans }
    }
}

impl RangeSet {
    /// Whether every key of `range` is in the set. An inverted range holds no key; like etcd, it is asked
    /// about as if it were its first.
    pub fn covers(&self, range: &KeyRange) -> bool {
        let after = self.spans.partition_point(|span| span.start <= range.start());
        let Some(span) = after.checked_sub(1).map(|at| &self.spans[at]) else { return false };
        span.contains(range.start())
            && match range {
                KeyRange::One(_) => true,
                KeyRange::From { .. } => span.end.is_none(),
                KeyRange::Between { end, .. } => span.reaches(end),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(spelled: &str) -> KeyRange {
        let (key, end) = spelled.split_once("..").unwrap_or((spelled, ""));
        let end = if spelled.ends_with("..") { "\0" } else { end };
        let [key, end] = [key, end].map(|part| Bytes::copy_from_slice(part.as_bytes()));
        KeyRange::from_wire(&key, &end).expect("the key is not empty")
    }

    #[track_caller]
    fn check(set: &[&str], asked: &str, expected: bool) {
        let set: RangeSet = set.iter().map(|part| range(part)).collect();
        assert_eq!(set.covers(&range(asked)), expected, "{asked} in {set:?}");
    }

    #[test]
    fn a_request_may_lie_across_permissions_that_touch() {
        check(&["a..c", "c..e"], "b..d", true);
        check(&["a..c", "d..e"], "b..d", false);
        check(&["c..e", "a..d"], "a..e", true);
        check(&["a", "a\0..c"], "a..c", true);
        check(&["a..z", "b..c"], "d..y", true);
    }

    #[test]
    fn to_the_end_of_the_keyspace_needs_a_permission_to_its_end() {
        check(&["a..z"], "b..", false);
        check(&["b.."], "b..", true);
        check(&["b.."], "b..zz", true);
        check(&["b.."], "a..", false);
        check(&["a..c", "b.."], "a..", true);
    }

    #[test]
    fn one_key_is_that_key() {
        check(&["a"], "a", true);
        check(&["a"], "a\0", false);
        check(&["a"], "a..b", false);
        check(&["a..b"], "b", false);
        check(&[], "a", false);
    }

    #[test]
    fn an_inverted_range_is_asked_about_as_its_first_key() {
        check(&["b..d"], "c..a", true);
        check(&["b..d"], "e..a", false);
        check(&["d..b"], "c", false);
    }
}
