//! One `raftpb.Message` as bytes.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use proto::raftpb::{Entry, Message};

use super::Segments;
use super::segments::SHARED_BYTES_MIN;

/// The most entries one message may hold. A member sends at most 1 MiB of entries at once, and none is shorter
/// than six bytes; the bound keeps a hostile message from growing tenfold while it is decoded.
pub const ENTRIES_MAX: usize = 256 * 1024;

/// What goes before an entry's data, at most.
const ENTRY_HEAD_BYTES: usize = 48;

/// Field numbers of `raftpb.Message`.
const ENTRIES: u32 = 7;
const RESPONSES: u32 = 14;
/// The field number of `raftpb.Entry.Data`.
const DATA: u32 = 4;

/// Bytes that are no message one member sends another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not protobuf, or not of this shape.
    #[error("not a raft message: {0}")]
    Malformed(String),
    /// More than [`ENTRIES_MAX`] entries.
    #[error("a raft message of more than {ENTRIES_MAX} entries")]
    TooManyEntries,
    /// A message inside a message: only a member's own storage speaks like that.
    #[error("a raft message that holds others")]
    Nested,
}

/// Appends the message, fields in the order of their numbers, as Go writes them. The data of entries is shared.
pub fn encode_message(message: &Message, out: &mut Segments) {
    let Message { entries, commit, snapshot, reject, reject_hint, context, vote, .. } = message;
    let tail = out.tail();
    let before = Message {
        r#type: message.r#type,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        ..Message::default()
    };
    before.encode_raw(tail);
    reserve(entries, out);
    for entry in entries {
        encode_key(ENTRIES, WireType::LengthDelimited, out.tail());
        encode_varint(entry.encoded_len() as u64, out.tail());
        encode_entry(entry, out);
    }
    let after = Message {
        commit: *commit,
        vote: *vote,
        snapshot: snapshot.clone(),
        reject: *reject,
        reject_hint: *reject_hint,
        context: context.clone(),
        ..Message::default()
    };
    after.encode_raw(out.tail());
}

/// Makes room for what of these entries is copied, so that it does not move again and again while it grows.
pub(super) fn reserve(entries: &[Entry], out: &mut Segments) {
    let len = |entry: &Entry| entry.data.as_ref().map_or(0, Bytes::len);
    let copied =
        |entry: &Entry| Some(len(entry)).filter(|len| *len < SHARED_BYTES_MIN).unwrap_or(0);
    out.tail().reserve(entries.iter().map(|entry| copied(entry) + ENTRY_HEAD_BYTES).sum());
}

/// Appends an entry; its data is shared.
pub(super) fn encode_entry(entry: &Entry, out: &mut Segments) {
    let Entry { r#type, term, index, data: _ } = entry;
    let head = Entry { r#type: *r#type, term: *term, index: *index, data: None };
    head.encode_raw(out.tail());
    if let Some(data) = &entry.data {
        encode_key(DATA, WireType::LengthDelimited, out.tail());
        encode_varint(data.len() as u64, out.tail());
        out.value(data);
    }
}

/// How many bytes [`encode_message`] appends.
pub(super) fn encoded_len(message: &Message) -> usize {
    assert!(message.responses.is_empty(), "answers of a member's own storage are never sent");
    message.encoded_len()
}

/// Reads a message; the data of its entries share `bytes`.
///
/// # Errors
/// [`Unreadable`].
pub fn decode_message(bytes: Bytes) -> Result<Message, Unreadable> {
    check_shape(&bytes)?;
    let message =
        Message::decode(bytes).map_err(|error| Unreadable::Malformed(error.to_string()))?;
    if message.r#type.is_some_and(|kind| proto::raftpb::MessageType::try_from(kind).is_err()) {
        return Err(Unreadable::Malformed("a type nobody has defined".into()));
    }
    Ok(message)
}

/// Walks over the outermost fields before anything is allocated for them.
fn check_shape(mut bytes: &[u8]) -> Result<(), Unreadable> {
    let malformed = |error: prost::DecodeError| Unreadable::Malformed(error.to_string());
    let mut entries = 0;
    while !bytes.is_empty() {
        let (field, kind) = prost::encoding::decode_key(&mut bytes).map_err(malformed)?;
        match field {
            ENTRIES => entries += 1,
            RESPONSES => return Err(Unreadable::Nested),
            _ => {}
        }
        if entries > ENTRIES_MAX {
            return Err(Unreadable::TooManyEntries);
        }
        prost::encoding::skip_field(kind, field, &mut bytes, Default::default())
            .map_err(malformed)?;
    }
    Ok(())
}

/// An upper bound of what the message takes in a queue and on the wire.
pub fn cost(message: &Message) -> usize {
    let entries: usize =
        message.entries.iter().map(|entry| entry.data.as_ref().map_or(0, Bytes::len) + 48).sum();
    let snapshot = message.snapshot.as_ref().and_then(|snapshot| snapshot.data.as_ref());
    let context = message.context.as_ref().map_or(0, Bytes::len);
    // Nine numbers of at most eleven bytes each.
    entries + snapshot.map_or(0, Bytes::len) + context + 99 + key_len(1) + encoded_len_varint(1)
}
