//! The names of segments: `SEQUENCE-INDEX.wal`, both as 16 lower-case hex digits.

use std::fmt;

/// A segment's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    /// Counts segments from 0; no number is left out.
    pub sequence: u64,
    /// The first entry that may stand in it, as known when it was begun.
    pub index: u64,
}

impl SegmentName {
    /// `None` for any other name: spare files, broken copies, what people leave behind.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
        Some(SegmentName { sequence: hex(sequence)?, index: hex(index)? })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.index)
    }
}

fn hex(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == 16 && plain).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_any_other_is_none() {
        let name = SegmentName { sequence: 0x1f, index: u64::MAX };
        assert_eq!(name.to_string(), "000000000000001f-ffffffffffffffff.wal");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in [
            "0.tmp",
            "spare.tmp",
            "000000000000001f-ffffffffffffffff.wal.broken",
            "000000000000001F-ffffffffffffffff.wal",
            "00000000000001f-ffffffffffffffff.wal",
            "+00000000000001f-ffffffffffffffff.wal",
            "000000000000001f_ffffffffffffffff.wal",
            ".wal",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
