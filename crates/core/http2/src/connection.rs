//! One connection: what it knows, and how it ends.
//!
//! Circle: `receive` and `request` are blocks of the connection's methods.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use crate::fault::{Fault, Reason};
use crate::frame::{self, kind};
use crate::guard::Guard;
use crate::head::Head;
use crate::hpack::{Decoder, Encoder};
use crate::request::Block;
use crate::settings::{ClientSettings, Config, WINDOW_BYTES_DEFAULT};
use crate::stream::Streams;

/// Bytes waiting to be sent at which no more data is added. Frames that carry no data may come on top, as
/// many as were caused by what one call of [`Connection::receive`] brought and by calls that were open.
pub const OUT_BYTES_MAX: usize = 64 * 1024;

/// What happened on a connection. `T` is what the caller keeps for each stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// A request began.
    Request(u32, Rc<Head>),
    /// More of a request's body has come, or its end.
    Body(u32),
    /// The client has reset a stream, which is forgotten.
    Reset(u32, T),
    /// There is room to send for a stream that waited for it.
    Room(u32),
    /// The client pinged; it has its answer.
    Ping,
    /// The client answered our ping.
    Pong,
}

/// The server's side of an HTTP/2 connection. `T` is what the caller keeps for each stream.
#[derive(Debug)]
pub struct Connection<T> {
    pub(crate) config: Config,
    pub(crate) peer: ClientSettings,
    pub(crate) streams: Streams<T>,
    pub(crate) events: VecDeque<Event<T>>,
    pub(crate) guard: Guard,

    pub(crate) decoder: Decoder,
    /// What of the client's preface has not come.
    pub(crate) preface: &'static [u8],
    /// Whether its first SETTINGS have come.
    pub(crate) greeted: bool,
    /// A frame that has not come whole.
    pub(crate) partial: Vec<u8>,
    /// A header block that has not come whole.
    pub(crate) block: Option<Block>,
    /// The last request's block and what it said, while it means the same.
    pub(crate) repeated: Option<(Box<[u8]>, Rc<Head>)>,
    /// The highest stream that the client has opened.
    pub(crate) last_stream: u32,
    /// Bytes that the client may still send on all streams.
    pub(crate) receive_window: u32,
    /// Bytes released that the client has not been told of.
    pub(crate) released: u32,
    /// Calls of `receive` so far.
    pub(crate) turns: u64,

    pub(crate) encoder: Encoder,
    pub(crate) out: Vec<u8>,
    /// Bytes at the front of `out` that are gone.
    pub(crate) sent: usize,
    /// Bytes that we may still send on all streams.
    pub(crate) send_window: i64,
    /// Streams that wait for the connection's window or for room in `out`.
    pub(crate) queue: VecDeque<u32>,
    /// Streams that have something to send and whose own window is closed.
    pub(crate) blocked: BTreeSet<u32>,
    /// Streams that ended before the client had said all, and may not know it; the oldest is forgotten.
    pub(crate) cut_short: VecDeque<u32>,
    pub(crate) ending: Ending,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Not,
    /// The client is asked to open no more streams, and pinged to know when it has read that.
    Asked,
    /// Streams above this one are not served.
    After(u32),
    /// A fault was said; nothing more is read.
    Failed,
}

/// What our pings carry: one to see whether the client is there, one to know that it has read.
const PING_ALIVE: [u8; 8] = *b"holdfast";
pub(crate) const PING_DRAIN: [u8; 8] = *b"last one";

impl<T: Default> Connection<T> {
    /// A connection on which nothing was received; our settings wait to be sent.
    pub fn new(config: Config) -> Connection<T> {
        let mut out = Vec::with_capacity(64);
        config.announce(&mut out);
        Connection {
            peer: ClientSettings::default(),
            streams: Streams::new(),
            events: VecDeque::new(),
            guard: Guard::new(config.early_resets_max),
            decoder: Decoder::new(),
            preface: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            greeted: false,
            partial: Vec::new(),
            block: None,
            repeated: None,
            last_stream: 0,
            receive_window: config.connection_window_bytes.max(WINDOW_BYTES_DEFAULT),
            released: 0,
            turns: 0,
            encoder: Encoder::new(),
            out,
            sent: 0,
            send_window: i64::from(WINDOW_BYTES_DEFAULT),
            queue: VecDeque::new(),
            blocked: BTreeSet::new(),
            cut_short: VecDeque::new(),
            ending: Ending::Not,
            config,
        }
    }

    /// What happened, in order. Ask until there is nothing more after each [`Connection::receive`] and
    /// [`Connection::pump`].
    pub fn poll_event(&mut self) -> Option<Event<T>> {
        loop {
            let event = self.events.pop_front()?;
            match event {
                // It was reset in the same breath: nobody needs to know.
                Event::Request(id, _) if !self.streams.contains(id) => {}
                event => return Some(event),
            }
        }
    }

    /// The next of what happened, unless it is a request: whoever has answered enough for now asks for the
    /// others alone. They come up to the next request.
    pub fn poll_event_but_requests(&mut self) -> Option<Event<T>> {
        match self.events.front() {
            Some(Event::Request(..)) => None,
            _ => self.events.pop_front(),
        }
    }

    /// Whether something happened that nobody has asked for.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether the client has said what HTTP/2 clients say first.
    pub fn is_established(&self) -> bool {
        self.greeted
    }

    /// Streams that are open.
    pub fn streams_open(&self) -> usize {
        self.streams.len()
    }

    /// What the caller keeps for a stream; `None` when the stream has ended.
    pub fn tag(&mut self, id: u32) -> Option<&mut T> {
        self.streams.get_mut(id).map(|stream| &mut stream.tag)
    }

    /// Forgets all streams, as the end of the socket does. Returns what the caller kept for them.
    pub fn abandon(&mut self) -> Vec<T> {
        let ids = self.streams.ids();
        let streams = ids.into_iter().filter_map(|id| self.streams.remove(id));
        streams.map(|stream| stream.tag).collect()
    }

    /// Asks the client whether it is there; [`Event::Pong`] says that it is.
    pub fn ping(&mut self) {
        frame::ping(&mut self.out, 0, &PING_ALIVE);
    }

    /// Asks the client to open no more streams. Those it opens before it has read that are served.
    pub fn drain(&mut self) {
        if self.ending == Ending::Not {
            self.ending = Ending::Asked;
            frame::goaway(&mut self.out, 0x7fff_ffff, Reason::NO_ERROR, "");
            frame::ping(&mut self.out, 0, &PING_DRAIN);
        }
    }

    /// Whether the client was asked to leave, knows it, and has nothing open.
    pub fn is_drained(&self) -> bool {
        matches!(self.ending, Ending::After(_)) && self.streams.len() == 0
    }

    /// Ends the connection for a fault. What waits to be sent should be; nothing is received any more.
    pub fn fail(&mut self, fault: Fault) {
        if self.ending != Ending::Failed {
            self.ending = Ending::Failed;
            frame::goaway(&mut self.out, self.last_stream, fault.reason, fault.text);
        }
    }

    /// Whether the connection has ended for a fault.
    pub fn is_failed(&self) -> bool {
        self.ending == Ending::Failed
    }

    /// Takes the client to know that it should leave, though it has not said so.
    pub fn drain_answered(&mut self) {
        if self.ending == Ending::Asked {
            self.ending = Ending::After(self.last_stream);
            frame::goaway(&mut self.out, self.last_stream, Reason::NO_ERROR, "");
        }
    }

    /// Answers SETTINGS.
    pub(crate) fn acknowledge_settings(&mut self) {
        frame::begin(&mut self.out, 0, kind::SETTINGS, frame::flag::ACK, 0);
    }
}
