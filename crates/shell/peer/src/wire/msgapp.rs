//! The stream for entries, "msgapp v2": what a leader repeats in each MsgApp is left out.
//!
//! Both ends keep a context (term and index) that begins at 0 with each connection. A frame begins with its kind:
//! 0 is a link heartbeat; 1 is entries that follow the context, and a commit index; 2 is a whole message, which
//! sets the context.

use bytes::{BufMut, Bytes};
use prost::Message as _;
use proto::raftpb::{Entry, Message, MessageType};

use super::message::{decode_message, encode_entry, encode_message, encoded_len, reserve};
use super::{ENTRIES_MAX, MESSAGE_BYTES_MAX, Pieces, Segments, StreamDamage, Unreadable};

const HEARTBEAT: u8 = 0;
const ENTRIES: u8 = 1;
const WHOLE: u8 = 2;

/// What both ends of a stream remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Context {
    term: u64,
    index: u64,
}

impl Context {
    fn after(message: &Message) -> Context {
        let last = message.entries.last().map_or(message.index(), Entry::index);
        Context { term: message.term(), index: last }
    }
}

/// Writes such a stream.
#[derive(Debug, Default)]
pub struct MsgAppEncoder {
    context: Context,
}

impl MsgAppEncoder {
    /// Appends one MsgApp.
    pub fn encode(&mut self, message: &Message, out: &mut Segments) {
        if self.follows(message) {
            reserve(&message.entries, out);
            out.tail().put_u8(ENTRIES);
            out.tail().put_u64(message.entries.len() as u64);
            for entry in &message.entries {
                out.tail().put_u64(entry.encoded_len() as u64);
                encode_entry(entry, out);
            }
            out.tail().put_u64(message.commit());
            self.context.index += message.entries.len() as u64;
        } else {
            out.tail().put_u8(WHOLE);
            out.tail().put_u64(encoded_len(message) as u64);
            encode_message(message, out);
            self.context = Context::after(message);
        }
    }

    /// What says on an idle stream that the link lives.
    pub fn link_heartbeat() -> Bytes {
        Bytes::from_static(&[HEARTBEAT])
    }

    /// Whether the short form says all of it.
    fn follows(&self, message: &Message) -> bool {
        let plain = message.r#type() == MessageType::MsgApp
            && !message.reject()
            && message.reject_hint() == 0
            && message.vote() == 0
            && message.context.as_ref().is_none_or(Bytes::is_empty)
            && message.snapshot.is_none();
        plain
            && message.index() == self.context.index
            && message.log_term() == self.context.term
            && message.log_term() == message.term()
    }
}

/// Reads such a stream.
#[derive(Debug)]
pub struct MsgAppDecoder {
    arrived: Pieces,
    context: Context,
    /// Who writes, and who reads: the short form leaves both out.
    from: u64,
    to: u64,
    /// Entries of a frame whose end has not come.
    begun: Option<Begun>,
}

/// A frame of entries of which some have been read.
#[derive(Debug)]
struct Begun {
    entries_left: u64,
    entries: Vec<Entry>,
    bytes: usize,
}

impl MsgAppDecoder {
    /// A stream that `from` writes and `to` reads.
    pub fn new(from: u64, to: u64) -> MsgAppDecoder {
        MsgAppDecoder {
            arrived: Pieces::default(),
            context: Context::default(),
            from,
            to,
            begun: None,
        }
    }

    /// More has come.
    pub fn push(&mut self, piece: Bytes) {
        self.arrived.push(piece);
    }

    /// How many bytes wait for the rest of their frame.
    pub fn waiting_bytes(&self) -> usize {
        self.arrived.len() + self.begun.as_ref().map_or(0, |begun| begun.bytes)
    }

    /// The next message, with the bytes of its frame; `None` until more has come. A link heartbeat comes out as
    /// the message stream's.
    ///
    /// # Errors
    /// [`StreamDamage`]; the stream cannot be read on.
    pub fn next_message(&mut self) -> Result<Option<(Message, usize)>, StreamDamage> {
        if self.begun.is_some() {
            return self.entries();
        }
        match self.arrived.byte(0) {
            None => Ok(None),
            Some(HEARTBEAT) => {
                self.arrived.skip(1);
                let mut heartbeat = Message::default();
                heartbeat.set_type(MessageType::MsgHeartbeat);
                Ok(Some((heartbeat, 1)))
            }
            Some(ENTRIES) => {
                let Some(count) = self.arrived.number(1) else { return Ok(None) };
                if count > ENTRIES_MAX as u64 {
                    return Err(Unreadable::TooManyEntries.into());
                }
                self.arrived.skip(9);
                self.begun = Some(Begun { entries_left: count, entries: Vec::new(), bytes: 9 });
                self.entries()
            }
            Some(WHOLE) => self.whole(),
            Some(kind) => Err(StreamDamage::UnknownKind { kind }),
        }
    }

    fn whole(&mut self) -> Result<Option<(Message, usize)>, StreamDamage> {
        let Some(claimed) = self.arrived.number(1) else { return Ok(None) };
        let len = bounded(claimed, 0)?;
        if self.arrived.len() - 9 < len {
            return Ok(None);
        }
        self.arrived.skip(9);
        let message = decode_message(self.arrived.take(len))?;
        self.context = Context::after(&message);
        Ok(Some((message, 9 + len)))
    }

    fn entries(&mut self) -> Result<Option<(Message, usize)>, StreamDamage> {
        let Some(begun) = &mut self.begun else { return Ok(None) };
        while begun.entries_left > 0 {
            let Some(claimed) = self.arrived.number(0) else { return Ok(None) };
            let len = bounded(claimed, begun.bytes)?;
            if self.arrived.len() - 8 < len {
                return Ok(None);
            }
            self.arrived.skip(8);
            let entry = Entry::decode(self.arrived.take(len))
                .map_err(|error| Unreadable::Malformed(error.to_string()))?;
            begun.entries.push(entry);
            begun.entries_left -= 1;
            begun.bytes += 8 + len;
        }
        let Some(commit) = self.arrived.number(0) else { return Ok(None) };
        self.arrived.skip(8);
        let Begun { entries, bytes, .. } = self.begun.take().expect("it was there above");
        let Context { term, index } = self.context;
        // A stream that counts past the end of numbers says nothing any member could follow.
        self.context.index = index.wrapping_add(entries.len() as u64);
        let mut message = Message {
            to: Some(self.to),
            from: Some(self.from),
            term: Some(term),
            log_term: Some(term),
            index: Some(index),
            entries,
            commit: Some(commit),
            ..Message::default()
        };
        message.set_type(MessageType::MsgApp);
        Ok(Some((message, bytes + 8)))
    }
}

/// The length as a number of bytes in memory, when all of the frame may be so long.
fn bounded(claimed: u64, before: usize) -> Result<usize, StreamDamage> {
    let total = claimed.saturating_add(before as u64);
    if total > MESSAGE_BYTES_MAX {
        return Err(StreamDamage::TooLong { claimed });
    }
    Ok(usize::try_from(claimed).expect("the bound is far below"))
}
