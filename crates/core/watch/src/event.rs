//! Events, the changes they come from, and lists of them that many responses share.
//!
//! An event is encoded once however many watchers get it: the list is behind an `Arc` and keeps its
//! wire form after the first response that needed it.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use types::Row;

/// What a key was before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Previous {
    /// Nobody asked when the event was handed in ([`crate::Hub::wants_previous`]).
    Unloaded,
    /// The key did not exist at the revision before, or that revision is compacted.
    Absent,
    /// The key at the revision before (not the change before within the same transaction).
    Row(Row),
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The change.
    pub row: Row,
    /// The key before it.
    pub previous: Previous,
}

/// Everything one revision changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The revision; every event's `row.revision.main`.
    pub revision: i64,
    /// The changes in the order they were made; at least one.
    pub events: Vec<Event>,
}

impl Event {
    /// Whether this put created its key: such an event never has a previous row.
    pub fn creates(row: &Row) -> bool {
        !row.tombstone && row.create_revision == row.revision.main
    }

    /// Bytes the event keeps in memory.
    pub(crate) fn bytes(&self) -> usize {
        let previous = match &self.previous {
            Previous::Row(row) => row.encoded.len(),
            Previous::Unloaded | Previous::Absent => 0,
        };
        size_of::<Event>() + self.row.encoded.len() + previous
    }
}

/// Events of one response, in order, shared by all watchers that get the same.
#[derive(Debug)]
pub struct EventList {
    events: Vec<Event>,
    with_previous: bool,
    encoded_len: usize,
    encoded: OnceLock<Bytes>,
}

impl EventList {
    /// A list whose encoding has the previous rows if `with_previous`.
    pub(crate) fn new(events: Vec<Event>, with_previous: bool) -> EventList {
        let encoded_len = events.iter().map(|event| field_len(event, with_previous)).sum();
        EventList { events, with_previous, encoded_len, encoded: OnceLock::new() }
    }

    /// The events, by revision. `previous` counts only if [`EventList::with_previous`].
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether the watchers of this list asked for previous rows.
    pub fn with_previous(&self) -> bool {
        self.with_previous
    }

    /// Length of [`EventList::encoded`].
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The events as `WatchResponse` holds them: field 11, repeated. It is the message's last field,
    /// so a response is its other fields followed by these bytes.
    pub fn encoded(&self) -> &Bytes {
        self.encoded.get_or_init(|| {
            let mut out = BytesMut::with_capacity(self.encoded_len);
            for event in &self.events {
                put_field(&mut out, event, self.with_previous);
            }
            assert_eq!(out.len(), self.encoded_len, "lengths are computed as bytes are written");
            out.freeze()
        })
    }

    /// The same events in pieces that stay below `bytes_max` each; a piece holds one event at least.
    pub(crate) fn split(self: &Arc<EventList>, bytes_max: usize) -> Vec<Arc<EventList>> {
        if self.encoded_len < bytes_max || self.events.len() < 2 {
            return vec![Arc::clone(self)];
        }
        let mut pieces = Vec::new();
        let mut piece: Vec<Event> = Vec::new();
        let mut piece_bytes = 0;
        for event in &self.events {
            let bytes = field_len(event, self.with_previous);
            if !piece.is_empty() && bytes_max <= piece_bytes + bytes {
                let full = std::mem::take(&mut piece);
                pieces.push(Arc::new(EventList::new(full, self.with_previous)));
                piece_bytes = 0;
            }
            piece.push(event.clone());
            piece_bytes += bytes;
        }
        pieces.push(Arc::new(EventList::new(piece, self.with_previous)));
        pieces
    }
}

const EVENTS_TAG: u8 = 0x5a;
const TYPE_TAG: u8 = 0x08;
const KV_TAG: u8 = 0x12;
const PREVIOUS_TAG: u8 = 0x1a;
const MOD_REVISION_TAG: u8 = 0x18;
const DELETE: u8 = 1;

fn field_len(event: &Event, with_previous: bool) -> usize {
    delimited(event_len(event, with_previous))
}

fn event_len(event: &Event, with_previous: bool) -> usize {
    let kind = if event.row.tombstone { 2 } else { 0 };
    let previous = shown(event, with_previous).map_or(0, |row| delimited(row.encoded.len()));
    kind + delimited(kv_len(&event.row)) + previous
}

/// A deleted key is told with its mod revision, which a tombstone's stored bytes do not hold.
fn kv_len(row: &Row) -> usize {
    let mod_revision = if row.tombstone { 1 + varint_len(row.revision.main as u64) } else { 0 };
    row.encoded.len() + mod_revision
}

fn put_field(out: &mut BytesMut, event: &Event, with_previous: bool) {
    put_tag(out, EVENTS_TAG, event_len(event, with_previous));
    if event.row.tombstone {
        out.put_slice(&[TYPE_TAG, DELETE]);
    }
    put_tag(out, KV_TAG, kv_len(&event.row));
    out.put_slice(&event.row.encoded);
    if event.row.tombstone {
        out.put_u8(MOD_REVISION_TAG);
        put_varint(out, event.row.revision.main as u64);
    }
    if let Some(row) = shown(event, with_previous) {
        put_tag(out, PREVIOUS_TAG, row.encoded.len());
        out.put_slice(&row.encoded);
    }
}

fn shown(event: &Event, with_previous: bool) -> Option<&Row> {
    match &event.previous {
        Previous::Row(row) if with_previous => Some(row),
        Previous::Row(_) | Previous::Unloaded | Previous::Absent => None,
    }
}

fn delimited(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_tag(out: &mut BytesMut, tag: u8, len: usize) {
    out.put_u8(tag);
    put_varint(out, len as u64);
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{KeyValueRef, Revision, encode_row, encode_tombstone};

    fn put(key: &str, create_revision: i64, mod_revision: i64) -> Row {
        let kv = KeyValueRef {
            key: key.as_bytes(),
            create_revision,
            mod_revision,
            version: 1,
            value: b"v",
            lease: 0,
        };
        encode_row(kv, 0)
    }

    #[test]
    fn an_event_is_encoded_as_mvccpb_does() {
        let event = Event { row: put("k", 2, 3), previous: Previous::Row(put("k", 2, 2)) };
        let plain = EventList::new(vec![event.clone()], false);
        let kv = b"\x0a\x01k\x10\x02\x18\x03\x20\x01\x2a\x01v";
        assert_eq!(&plain.encoded()[..], [&b"\x5a\x0e\x12\x0c"[..], kv].concat());

        let full = EventList::new(vec![event], true);
        let previous = b"\x0a\x01k\x10\x02\x18\x02\x20\x01\x2a\x01v";
        let expected = [&b"\x5a\x1c\x12\x0c"[..], kv, b"\x1a\x0c", previous].concat();
        assert_eq!(&full.encoded()[..], expected);
    }

    #[test]
    fn a_delete_tells_the_key_and_its_mod_revision_only() {
        let row = encode_tombstone(b"k", Revision::first_of(300));
        let list = EventList::new(vec![Event { row, previous: Previous::Absent }], true);
        assert_eq!(&list.encoded()[..], b"\x5a\x0a\x08\x01\x12\x06\x0a\x01k\x18\xac\x02");
    }

    #[test]
    fn pieces_of_a_split_list_put_together_are_the_list() {
        let event = |n| Event { row: put(&format!("{n}"), n, n), previous: Previous::Absent };
        let list = Arc::new(EventList::new((2..40).map(event).collect(), false));
        let pieces = list.split(100);
        assert!(pieces.iter().all(|piece| piece.encoded_len() < 100));
        let joined: Vec<u8> = pieces.iter().flat_map(|p| p.encoded().to_vec()).collect();
        assert_eq!(joined, list.encoded().to_vec());
        assert_eq!(list.split(1).len(), 38, "one event is never split");
    }
}
