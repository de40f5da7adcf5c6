//! Entries and messages as they travel.
//!
//! A field that is zero is left out, as Go 3.7 does; every version reads both forms. The bytes of an entry are
//! never copied and never written anew: a configuration change leaves as it came.

use bytes::Bytes;
use prost::Message as _;
use proto::raftpb::{self, ConfChangeType, EntryType, Message, MessageType};
use types::{ConfState, Entry, EntryKind, MemberId};

/// A message to one member; `from` and `term` are set where it is sent.
pub(crate) fn message(kind: MessageType, to: MemberId) -> Message {
    Message { r#type: Some(kind as i32), to: Some(to), ..Message::default() }
}

/// A number as it travels.
pub(crate) fn number(n: u64) -> Option<u64> {
    (n != 0).then_some(n)
}

pub(crate) fn entry_to_wire(entry: &Entry) -> raftpb::Entry {
    let kind = match entry.kind {
        EntryKind::Normal => None,
        EntryKind::ConfChange => Some(EntryType::EntryConfChange as i32),
        EntryKind::ConfChangeV2 => Some(EntryType::EntryConfChangeV2 as i32),
    };
    raftpb::Entry {
        r#type: kind,
        term: number(entry.term),
        index: number(entry.index),
        data: (!entry.data.is_empty()).then(|| entry.data.clone()),
    }
}

/// The entry, or nothing if it is of a kind that does not exist.
pub(crate) fn entry_from_wire(entry: raftpb::Entry) -> Option<Entry> {
    let kind = match EntryType::try_from(entry.r#type.unwrap_or_default()).ok()? {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange => EntryKind::ConfChange,
        EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    let data = entry.data.clone().unwrap_or_default();
    Some(Entry { term: entry.term(), index: entry.index(), kind, data })
}

/// The bytes an entry takes on the wire, which is what the bound of an append counts.
pub(crate) fn entry_bytes(entry: &Entry) -> u64 {
    let kind = if entry.kind == EntryKind::Normal { 0 } else { 2 };
    let data = match entry.data.len() {
        0 => 0,
        len => 1 + varint_bytes(len as u64) + len as u64,
    };
    kind + data + 2 + varint_bytes(entry.term) + varint_bytes(entry.index)
}

fn varint_bytes(n: u64) -> u64 {
    u64::from((70 - (n | 1).leading_zeros()) / 7)
}

/// A configuration change of the first kind, if these bytes are one whose type exists.
pub(crate) fn change_from_wire(data: &Bytes) -> Option<raftpb::ConfChange> {
    let change = raftpb::ConfChange::decode(data.clone()).ok()?;
    let known = ConfChangeType::try_from(change.r#type.unwrap_or_default()).is_ok();
    known.then_some(change)
}

pub(crate) fn conf_state_to_wire(state: &ConfState) -> raftpb::ConfState {
    raftpb::ConfState {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        ..raftpb::ConfState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_entry_are_counted_as_they_are_written() {
        for (term, index, kind, len) in [
            (1, 1, EntryKind::Normal, 0),
            (127, 128, EntryKind::Normal, 127),
            (128, 1 << 40, EntryKind::ConfChange, 128),
            (u64::MAX >> 1, u64::MAX, EntryKind::Normal, 70_000),
        ] {
            let entry = Entry { term, index, kind, data: vec![7; len].into() };
            assert_eq!(entry_bytes(&entry), entry_to_wire(&entry).encoded_len() as u64);
            assert_eq!(entry_from_wire(entry_to_wire(&entry)), Some(entry));
        }
    }

    #[test]
    fn a_change_keeps_the_bytes_it_came_in() {
        // Zeros written out, as Go 3.4 does, and a context: not what we would write ourselves.
        let data = Bytes::from_static(b"\x08\x00\x10\x02\x18\x09\x22\x02{}");
        let change = change_from_wire(&data).expect("it is an update of member 9");
        assert_eq!(change.r#type(), ConfChangeType::ConfChangeUpdateNode);
        let entry = Entry { term: 1, index: 3, kind: EntryKind::ConfChange, data: data.clone() };
        assert_eq!(entry_to_wire(&entry).data, Some(data));
    }

    #[test]
    fn a_change_that_is_none_is_not_read_as_one() {
        assert_eq!(change_from_wire(&Bytes::from_static(b"\xff")), None);
        assert_eq!(change_from_wire(&Bytes::from_static(b"\x10\x09")), None, "no such type");
    }
}
