//! What is answered, and in which order it leaves.

use bytes::{Buf, Bytes};

use crate::connection::{Connection, Event, OUT_BYTES_MAX};
use crate::fault::Reason;
use crate::frame::{self, flag, kind};
use crate::head::Field;
use crate::stream::Line;

/// The longest DATA we send, even to a client that takes longer ones: others wait meanwhile.
const DATA_BYTES_MAX: usize = 16_384;

/// Streams looked at by one [`Connection::pump`].
const LOOKED_AT_MAX: usize = 1024;

/// The buffer that a connection without streams keeps.
const OUT_BYTES_KEPT: usize = 1024;

impl<T: Default> Connection<T> {
    /// Bytes that wait to be sent.
    pub fn out(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// Bytes of memory that what waits takes, with what was sent and is not let go of.
    pub fn buffered(&self) -> usize {
        self.out.capacity()
    }

    /// So many of them were sent.
    pub fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.out.len());
        if self.sent < self.out.len() {
            // A socket that never takes all would else keep everything that was ever sent.
            if self.sent >= OUT_BYTES_MAX {
                self.out.drain(..self.sent);
                self.sent = 0;
            }
            return;
        }
        self.sent = 0;
        self.out.clear();
        // A connection at rest keeps a small buffer at most: there may be many.
        let kept = if self.streams.len() == 0 { OUT_BYTES_KEPT } else { 2 * OUT_BYTES_MAX };
        if kept < self.out.capacity() {
            self.out = Vec::new();
        }
    }

    /// Whether more data may be added to what waits.
    pub fn has_room(&self) -> bool {
        self.out().len() < OUT_BYTES_MAX
    }

    /// Begins an answer. Nothing happens to a stream that has ended.
    pub fn start(&mut self, id: u32, status: u16, fields: &[Field]) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.started = true;
            self.header_block(id, Some(status), fields, flag::END_HEADERS);
        }
    }

    /// Begins an answer and ends it: headers that are all.
    pub fn respond(&mut self, id: u32, status: u16, fields: &[Field]) {
        if self.streams.contains(id) {
            self.header_block(id, Some(status), fields, flag::END_HEADERS | flag::END_STREAM);
            self.close(id);
        }
    }

    /// How many bytes could leave at once; `None` for a stream that has ended.
    pub fn capacity(&mut self, id: u32) -> Option<usize> {
        let (has_room, window) = (self.has_room(), self.stream_window());
        let stream = self.streams.get_mut(id)?;
        if !has_room || !stream.pending.is_empty() {
            return Some(0);
        }
        let window = (window + stream.send_credit).min(self.send_window).max(0);
        Some((window as usize).min(OUT_BYTES_MAX))
    }

    /// [`Event::Room`] tells when the capacity is no longer nothing.
    pub fn want(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.wanted = true;
        self.line_up(id);
    }

    /// Sends bytes of an answer that was started; what exceeds the capacity is held until it fits.
    pub fn send(&mut self, id: u32, mut bytes: Bytes) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.pending.is_empty() {
            while self.write_data(id, &mut bytes) {}
        }
        if bytes.is_empty() {
            return;
        }
        let stream = self.streams.get_mut(id).expect("it was just there");
        stream.pending.push_back(bytes);
        self.line_up(id);
    }

    /// Ends an answer, after all that is held for it. Without trailers its end is a frame without data.
    pub fn finish(&mut self, id: u32, trailers: &[Field]) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if !stream.pending.is_empty() {
            stream.trailers = Some(trailers.into());
            return;
        }
        if trailers.is_empty() {
            frame::begin(&mut self.out, 0, kind::DATA, flag::END_STREAM, id);
        } else {
            self.header_block(id, None, trailers, flag::END_HEADERS | flag::END_STREAM);
        }
        self.close(id);
    }

    /// Ends a stream without an answer.
    pub fn reset(&mut self, id: u32, reason: Reason) {
        if self.forget(id).is_some() {
            self.cut_short(id, reason);
        }
    }

    /// Sends what is held and fits, and tells those who wait that there is room, as far as it
    /// reaches. Call it when [`Connection::has_room`] again and after [`Connection::receive`]. Returns
    /// whether somebody is left for whom there is room.
    pub fn pump(&mut self) -> bool {
        let mut promised = 0;
        let window = self.stream_window();
        for looked_at in 0.. {
            let Some(&id) = self.queue.front() else { break };
            if looked_at == LOOKED_AT_MAX {
                return true;
            }
            if self.send_window <= 0 || self.out().len() + promised >= OUT_BYTES_MAX {
                return self.send_window > 0 && self.has_room();
            }
            self.queue.pop_front();
            let Some(stream) = self.streams.get_mut(id) else { continue };
            stream.line = Line::None;
            if window + stream.send_credit <= 0 {
                if stream.is_waiting() {
                    self.line_up(id);
                }
                continue;
            }
            if let Some(mut bytes) = stream.pending.pop_front() {
                self.write_data(id, &mut bytes);
                self.held(id, bytes);
            } else if std::mem::take(&mut stream.wanted) {
                promised += DATA_BYTES_MAX;
                self.events.push_back(Event::Room(id));
            }
        }
        false
    }

    /// Streams with data that their client does not take. Looks at all of them.
    pub fn stalled(&mut self) -> Vec<u32> {
        let ids = self.streams.ids();
        let has_data = |id: &u32| self.streams.get_mut(*id).is_some_and(|s| !s.pending.is_empty());
        ids.into_iter().filter(has_data).collect()
    }

    /// Whether [`Connection::pump`] would do something now.
    pub fn holds_more(&self) -> bool {
        !self.queue.is_empty() && self.send_window > 0 && self.has_room()
    }

    /// What is left of a piece that was held goes back to where it was, and the stream into the queue.
    fn held(&mut self, id: u32, rest: Bytes) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if !rest.is_empty() {
            stream.pending.push_front(rest);
        }
        if stream.pending.is_empty()
            && let Some(trailers) = stream.trailers.take()
        {
            return self.finish(id, &trailers);
        }
        if stream.is_waiting() {
            self.line_up(id);
        }
    }

    /// Bytes that the client takes on every stream before it lets us send more.
    pub(crate) fn stream_window(&self) -> i64 {
        i64::from(self.peer.stream_window_bytes)
    }

    /// Lets a stream wait for whatever keeps it from sending: the connection, or its own window.
    pub(crate) fn line_up(&mut self, id: u32) {
        let window = self.stream_window();
        let Some(stream) = self.streams.get_mut(id) else { return };
        if window + stream.send_credit > 0 {
            if stream.line == Line::Blocked {
                self.blocked.remove(&id);
            }
            self.enqueue(id);
        } else if stream.line == Line::None {
            stream.line = Line::Blocked;
            self.blocked.insert(id);
        }
    }

    /// Puts a stream into the queue of those who wait for the connection.
    pub(crate) fn enqueue(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(id)
            && std::mem::replace(&mut stream.line, Line::Queued) != Line::Queued
        {
            self.queue.push_back(id);
        }
    }

    /// Writes one frame of these bytes, as far as windows and room allow. Whether more might follow.
    fn write_data(&mut self, id: u32, bytes: &mut Bytes) -> bool {
        let (has_room, window) = (self.has_room(), self.stream_window());
        let Some(stream) = self.streams.get_mut(id) else { return false };
        let window = (window + stream.send_credit).min(self.send_window);
        if bytes.is_empty() || window <= 0 || !has_room {
            return false;
        }
        let len = bytes.len().min(window as usize).min(DATA_BYTES_MAX);
        stream.send_credit -= len as i64;
        self.send_window -= len as i64;
        frame::begin(&mut self.out, len, kind::DATA, 0, id);
        self.out.extend_from_slice(&bytes[..len]);
        bytes.advance(len);
        true
    }

    /// Writes headers or trailers, in more than one frame if the client wants it so.
    fn header_block(&mut self, id: u32, status: Option<u16>, fields: &[Field], flags: u8) {
        let at = self.out.len();
        frame::begin(&mut self.out, 0, kind::HEADERS, flags, id);
        let from = self.out.len();
        self.encoder.encode(&mut self.out, status, fields);
        let len = self.out.len() - from;
        let len_max = self.peer.payload_bytes_max;
        if len <= len_max {
            self.out[at..at + 3].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
            return;
        }
        let block = self.out.split_off(from);
        self.out.truncate(at);
        let pieces = block.chunks(len_max);
        let last = pieces.len() - 1;
        for (number, piece) in pieces.enumerate() {
            let kind = if number == 0 { kind::HEADERS } else { kind::CONTINUATION };
            let ends_stream = if number == 0 { flags & flag::END_STREAM } else { 0 };
            let ends_headers = if number == last { flag::END_HEADERS } else { 0 };
            frame::begin(&mut self.out, piece.len(), kind, ends_stream | ends_headers, id);
            self.out.extend_from_slice(piece);
        }
    }

    /// The answer is whole. A client that has not sent all of its request need not go on.
    fn close(&mut self, id: u32) {
        self.guard.answered();
        self.end(id);
    }

    /// Answers with a status alone what cost the client less than us: it makes good for no reset.
    pub(crate) fn refuse(&mut self, id: u32, status: u16) {
        self.header_block(id, Some(status), &[], flag::END_HEADERS | flag::END_STREAM);
        self.end(id);
    }

    fn end(&mut self, id: u32) {
        if let Some(stream) = self.forget(id)
            && !stream.receive_ended
        {
            self.cut_short(id, Reason::NO_ERROR);
        }
    }
}
