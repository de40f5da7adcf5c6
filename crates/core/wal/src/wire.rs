//! The messages inside records: `raftpb.Entry`, `raftpb.HardState`, `walpb.Snapshot`.
//!
//! Written as 3.4 to 3.6 write them, zeros included, which every version reads; read as all versions
//! write them. A field that none of them knows is refused: the record's type is not under its
//! checksum, and this is what tells an entry from a hard state when a bit of the type has rotted.

use bytes::Bytes;
use types::{ConfState, Entry, EntryKind, HardState};

use crate::Marker;

/// The longest encoding of a `u64`.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number and moves `at` behind it. `None` if the bytes end or it has no end.
pub(crate) fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..VARINT_BYTES_MAX as u32 * 7).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Encodes all of an entry but its data, which follows it in the record.
pub(crate) fn put_entry_head(out: &mut Vec<u8>, entry: &Entry) {
    let kind = match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    };
    put_field(out, 0x08, kind);
    put_field(out, 0x10, entry.term);
    put_field(out, 0x18, entry.index);
    if !entry.data.is_empty() {
        put_field(out, 0x22, entry.data.len() as u64);
    }
}

pub(crate) fn put_hard_state(out: &mut Vec<u8>, state: &HardState) {
    put_field(out, 0x08, state.term);
    put_field(out, 0x10, state.vote);
    put_field(out, 0x18, state.commit);
}

pub(crate) fn put_marker(out: &mut Vec<u8>, marker: &Marker) {
    put_field(out, 0x08, marker.index);
    put_field(out, 0x10, marker.term);
    if let Some(members) = &marker.conf_state {
        let mut inner = Vec::new();
        for voter in &members.voters {
            put_field(&mut inner, 0x08, *voter);
        }
        for learner in &members.learners {
            put_field(&mut inner, 0x10, *learner);
        }
        // auto_leave, which Go always writes.
        put_field(&mut inner, 0x28, 0);
        put_field(out, 0x1a, inner.len() as u64);
        out.extend_from_slice(&inner);
    }
}

fn put_field(out: &mut Vec<u8>, tag: u8, number: u64) {
    out.push(tag);
    put_varint(out, number);
}

/// Reads an entry; its data shares `content`. An entry that no raft writes is none: index and term
/// count from 1, and a configuration change says what changes.
pub(crate) fn entry(content: &Bytes) -> Option<Entry> {
    let mut entry = Entry { term: 0, index: 0, kind: EntryKind::Normal, data: Bytes::new() };
    let mut at = 0;
    while at < content.len() {
        match varint(content, &mut at)? {
            0x08 => {
                entry.kind = match varint(content, &mut at)? {
                    0 => EntryKind::Normal,
                    1 => EntryKind::ConfChange,
                    2 => EntryKind::ConfChangeV2,
                    _ => return None,
                }
            }
            0x10 => entry.term = varint(content, &mut at)?,
            0x18 => entry.index = varint(content, &mut at)?,
            0x22 => entry.data = span(content, &mut at)?,
            _ => return None,
        }
    }
    is_sound(&entry).then_some(entry)
}

/// What every entry of a log has. Held on both sides: what we would not read we must not write.
pub(crate) fn is_sound(entry: &Entry) -> bool {
    let says_something = entry.kind == EntryKind::Normal || !entry.data.is_empty();
    entry.term > 0 && entry.index > 0 && says_something
}

/// Reads a hard state. Only the empty one has no term.
pub(crate) fn hard_state(content: &Bytes) -> Option<HardState> {
    let mut state = HardState::default();
    let mut at = 0;
    while at < content.len() {
        match varint(content, &mut at)? {
            0x08 => state.term = varint(content, &mut at)?,
            0x10 => state.vote = varint(content, &mut at)?,
            0x18 => state.commit = varint(content, &mut at)?,
            _ => return None,
        }
    }
    (state.term > 0 || state == HardState::default()).then_some(state)
}

pub(crate) fn marker(content: &Bytes) -> Option<Marker> {
    let mut marker = Marker::default();
    let mut at = 0;
    while at < content.len() {
        match varint(content, &mut at)? {
            0x08 => marker.index = varint(content, &mut at)?,
            0x10 => marker.term = varint(content, &mut at)?,
            0x1a => marker.conf_state = Some(conf_state(&span(content, &mut at)?)?),
            _ => return None,
        }
    }
    Some(marker)
}

/// A joint configuration is refused: etcd never makes one, and we could not act on it.
fn conf_state(content: &Bytes) -> Option<ConfState> {
    let mut members = ConfState::default();
    let mut at = 0;
    while at < content.len() {
        match varint(content, &mut at)? {
            0x08 => members.voters.push(varint(content, &mut at)?),
            0x0a => packed(&span(content, &mut at)?, &mut members.voters)?,
            0x10 => members.learners.push(varint(content, &mut at)?),
            0x12 => packed(&span(content, &mut at)?, &mut members.learners)?,
            0x28 if varint(content, &mut at)? == 0 => {}
            _ => return None,
        }
    }
    Some(members)
}

fn packed(content: &Bytes, out: &mut Vec<u64>) -> Option<()> {
    let mut at = 0;
    while at < content.len() {
        out.push(varint(content, &mut at)?);
    }
    Some(())
}

fn span(content: &Bytes, at: &mut usize) -> Option<Bytes> {
    let length = usize::try_from(varint(content, at)?).ok()?;
    let end = at.checked_add(length).filter(|end| *end <= content.len())?;
    let span = content.slice(*at..end);
    *at = end;
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(put: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let mut out = Vec::new();
        put(&mut out);
        out.into()
    }

    #[test]
    fn messages_are_read_back() {
        let data = Bytes::from_static(b"payload");
        for kind in [EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2] {
            let written = Entry { term: 3, index: u64::MAX, kind, data: data.clone() };
            let content = encoded(|out| {
                put_entry_head(out, &written);
                out.extend_from_slice(&data);
            });
            assert_eq!(entry(&content), Some(written));
        }
        let state = HardState { term: 300, vote: u64::MAX, commit: 0 };
        assert_eq!(hard_state(&encoded(|out| put_hard_state(out, &state))), Some(state));
        let members = ConfState { voters: vec![1, u64::MAX], learners: vec![7] };
        let written = Marker { index: 5, term: 2, conf_state: Some(members) };
        assert_eq!(marker(&encoded(|out| put_marker(out, &written))), Some(written));
    }

    #[test]
    fn a_message_is_never_taken_for_another() {
        // The type of a record can rot; its content must still be refused.
        let normal = Entry { term: 9, index: 4, kind: EntryKind::Normal, data: Bytes::new() };
        let content = encoded(|out| put_entry_head(out, &normal));
        assert_eq!(hard_state(&content), None, "an entry without data");
        for term in [1, 2, 3] {
            let state = HardState { term, vote: 8, commit: 9 };
            let content = encoded(|out| put_hard_state(out, &state));
            assert_eq!(entry(&content), None, "a hard state of term {term}");
        }
    }

    #[test]
    fn a_joint_configuration_is_refused() {
        let voters_outgoing = Bytes::from_static(b"\x08\x05\x10\x01\x1a\x04\x08\x01\x18\x02");
        assert_eq!(marker(&voters_outgoing), None);
    }

    #[test]
    fn no_bytes_make_the_readers_panic() {
        let mut seed = 0x5eed_u64;
        for _ in 0..200_000 {
            let mut bytes = Vec::new();
            for _ in 0..seed % 24 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let byte = (seed >> 56) as u8;
                bytes.push(if seed & 1 << 40 == 0 { byte } else { byte % 4 * 8 + 2 });
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let content = Bytes::from(bytes);
            let _ = (entry(&content), hard_state(&content), marker(&content));
        }
    }
}
