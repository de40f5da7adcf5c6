//! What the client says, frame by frame (RFC 9113, sections 4 to 6).

use bytes::BytesMut;

use crate::connection::{Connection, Ending, Event, PING_DRAIN};
use crate::fault::{Fault, Reason};
use crate::frame::{self, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX, flag, kind};
use crate::settings::WINDOW_BYTES_MAX;
use crate::stream::{Line, Stream};

/// Streams that we reset whose trailers may still be on their way; more are not remembered.
const CUT_SHORT_MAX: usize = 128;

impl<T: Default> Connection<T> {
    /// Takes bytes that the client sent, in any pieces. If they are wrong the connection
    /// [is failed](Connection::is_failed) afterwards.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.turns += 1;
        if let Err(fault) = self.walk(bytes) {
            self.fail(fault);
        }
    }

    fn walk(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        if !self.preface.is_empty() {
            let common = self.preface.len().min(bytes.len());
            if bytes[..common] != self.preface[..common] {
                return Err(Fault::protocol("this is no HTTP/2"));
            }
            self.preface = &self.preface[common..];
            bytes = &bytes[common..];
        }
        while !bytes.is_empty() && self.ending != Ending::Failed {
            if self.partial.is_empty() {
                match whole_frame(bytes)? {
                    Some((header, payload)) => {
                        bytes = &bytes[HEADER_BYTES + header.len..];
                        self.frame(header, payload)?;
                    }
                    None => {
                        self.partial = bytes.to_vec();
                        return Ok(());
                    }
                }
                continue;
            }
            let wanted = match self.partial.first_chunk() {
                Some(header) => HEADER_BYTES + Header::parse(header).len,
                None => HEADER_BYTES,
            };
            let taken = bytes.len().min(wanted - self.partial.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let Some((header, _)) = whole_frame(&self.partial)? {
                let whole = std::mem::take(&mut self.partial);
                self.frame(header, &whole[HEADER_BYTES..])?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let continues = header.kind == kind::CONTINUATION;
        if self.block.is_some() != continues {
            return Err(Fault::protocol("a header block and its continuations come together"));
        }
        if !self.greeted && header.kind != kind::SETTINGS {
            return Err(Fault::protocol("the first frame is no SETTINGS"));
        }
        match header.kind {
            kind::DATA => self.data(header, payload),
            kind::HEADERS => self.headers(header, payload),
            kind::CONTINUATION => self.continuation(header, payload),
            kind::RST_STREAM => self.rst_stream(header, payload),
            kind::SETTINGS => self.settings(header, payload),
            kind::PING => self.pinged(header, payload),
            kind::WINDOW_UPDATE => self.window_update(header, payload),
            kind::PRIORITY => self.priority(header, payload),
            kind::PUSH_PROMISE => Err(Fault::protocol("a client cannot push")),
            kind::GOAWAY if header.stream != 0 => Err(Fault::protocol("GOAWAY on a stream")),
            kind::GOAWAY if header.len < 8 => Err(Fault::size("GOAWAY cut short")),
            // A client that leaves closes the socket when it is done.
            _ => self.guard.idle_frame(),
        }
    }

    fn data(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let content = padded(header, payload)?;
        let len = header.len as u32;
        if header.stream == 0 || self.is_idle(header.stream) {
            return Err(Fault::protocol("DATA on a stream that is not open"));
        }
        if len > self.receive_window {
            let text = "more DATA than the connection's window";
            return Err(Fault::new(Reason::FLOW_CONTROL_ERROR, text));
        }
        self.receive_window -= len;
        if content.is_empty() && !header.has(flag::END_STREAM) {
            self.guard.idle_frame()?;
        } else {
            self.guard.busy();
        }
        let Some(stream) = self.streams.get_mut(header.stream) else {
            self.release_connection(len);
            return self.is_closed(header.stream);
        };
        let missing = stream.missing.map(|missing| missing.checked_sub(content.len() as u64));
        let ends = header.has(flag::END_STREAM);
        let wrong = match missing {
            _ if stream.receive_ended => Some(Reason::STREAM_CLOSED),
            _ if len > stream.receive_window => Some(Reason::FLOW_CONTROL_ERROR),
            Some(None) => Some(Reason::PROTOCOL_ERROR),
            Some(Some(missing)) if ends && missing > 0 => Some(Reason::PROTOCOL_ERROR),
            _ => None,
        };
        if let Some(reason) = wrong {
            self.release_connection(len);
            return self.lose(header.stream, reason);
        }
        stream.receive_window -= len;
        stream.missing = missing.flatten();
        stream.receive_ended = ends;
        if stream.inbox.is_empty() {
            stream.inbox = BytesMut::from(content);
        } else {
            stream.inbox.extend_from_slice(content);
        }
        self.events.push_back(Event::Body(header.stream));
        self.release(header.stream, len - content.len() as u32);
        Ok(())
    }

    fn rst_stream(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(Fault::size("RST_STREAM is four bytes"));
        }
        if header.stream == 0 || self.is_idle(header.stream) {
            return Err(Fault::protocol("RST_STREAM on a stream that is not open"));
        }
        if let Some(stream) = self.forget(header.stream) {
            let counted = match stream.opened_in == self.turns {
                true => self.guard.reset_early(),
                false if !stream.started => self.guard.reset_unanswered(),
                false => Ok(()),
            };
            self.events.push_back(Event::Reset(header.stream, stream.tag));
            counted?;
        }
        Ok(())
    }

    fn settings(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        if header.stream != 0 {
            return Err(Fault::protocol("SETTINGS on a stream"));
        }
        if header.has(flag::ACK) {
            let is_empty = payload.is_empty();
            return if is_empty { Ok(()) } else { Err(Fault::size("an answer to SETTINGS")) };
        }
        self.greeted = true;
        self.guard.idle_frame()?;
        let before = i64::from(self.peer.stream_window_bytes);
        self.peer.update(payload)?;
        self.encoder.resize(self.peer.table_bytes);
        if before < i64::from(self.peer.stream_window_bytes) {
            // Whose window is closed all the same goes back, a few at a time (see `pump`).
            for id in std::mem::take(&mut self.blocked) {
                self.enqueue(id);
            }
        }
        self.acknowledge_settings();
        Ok(())
    }

    fn pinged(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        if header.stream != 0 {
            return Err(Fault::protocol("PING on a stream"));
        }
        if payload.len() != 8 {
            return Err(Fault::size("PING is eight bytes"));
        }
        if !header.has(flag::ACK) {
            frame::ping(&mut self.out, flag::ACK, payload);
            self.events.push_back(Event::Ping);
        } else if payload == PING_DRAIN {
            self.drain_answered();
        } else {
            self.events.push_back(Event::Pong);
        }
        Ok(())
    }

    fn window_update(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let bytes =
            <[u8; 4]>::try_from(payload).map_err(|_| Fault::size("WINDOW_UPDATE is four bytes"))?;
        let more = i64::from(u32::from_be_bytes(bytes) & 0x7fff_ffff);
        if header.stream == 0 {
            if more == 0 {
                return Err(Fault::protocol("WINDOW_UPDATE of nothing"));
            }
            self.send_window += more;
            if self.send_window > WINDOW_BYTES_MAX {
                let text = "the connection's window is larger than 2^31-1";
                return Err(Fault::new(Reason::FLOW_CONTROL_ERROR, text));
            }
            return Ok(());
        }
        if self.is_idle(header.stream) {
            return Err(Fault::protocol("WINDOW_UPDATE on a stream that is not open"));
        }
        let window = self.stream_window();
        let Some(stream) = self.streams.get_mut(header.stream) else { return Ok(()) };
        if more == 0 {
            return self.lose(header.stream, Reason::PROTOCOL_ERROR);
        }
        // A window that SETTINGS made too large is noticed here too, and not before.
        if window + stream.send_credit + more > WINDOW_BYTES_MAX {
            return self.lose(header.stream, Reason::FLOW_CONTROL_ERROR);
        }
        stream.send_credit += more;
        if stream.is_waiting() {
            self.line_up(header.stream);
        }
        Ok(())
    }

    fn priority(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        if header.stream == 0 {
            return Err(Fault::protocol("PRIORITY without a stream"));
        }
        if payload.len() != 5 {
            return Err(Fault::size("PRIORITY is five bytes"));
        }
        if depends_on(payload) == header.stream {
            return Err(Fault::protocol("a stream depends on itself"));
        }
        self.guard.idle_frame()
    }

    /// Whether the client has never opened this stream.
    pub(crate) fn is_idle(&self, id: u32) -> bool {
        id.is_multiple_of(2) || id > self.last_stream
    }

    /// The client goes on with a stream that has ended, maybe because it does not know yet.
    fn is_closed(&mut self, id: u32) -> Result<(), Fault> {
        self.guard.idle_frame()?;
        if !matches!(self.ending, Ending::After(last) if id > last) {
            frame::rst_stream(&mut self.out, id, Reason::STREAM_CLOSED);
        }
        Ok(())
    }

    /// Resets a stream for what the client did on it.
    pub(crate) fn lose(&mut self, id: u32, reason: Reason) -> Result<(), Fault> {
        if let Some(stream) = self.forget(id) {
            self.cut_short(id, reason);
            self.events.push_back(Event::Reset(id, stream.tag));
        }
        self.guard.lost()
    }

    /// Resets a stream of which the client may still say something.
    pub(crate) fn cut_short(&mut self, id: u32, reason: Reason) {
        frame::rst_stream(&mut self.out, id, reason);
        if self.cut_short.len() == CUT_SHORT_MAX {
            self.cut_short.pop_front();
        }
        self.cut_short.push_back(id);
    }

    /// Takes a stream away; what it held of the connection's window is free again.
    pub(crate) fn forget(&mut self, id: u32) -> Option<Stream<T>> {
        let stream = self.streams.remove(id)?;
        if stream.line == Line::Blocked {
            self.blocked.remove(&id);
        }
        self.release_connection(stream.inbox.len() as u32);
        Some(stream)
    }
}

/// The frame at the front of these bytes, if all of it is there.
fn whole_frame(bytes: &[u8]) -> Result<Option<(Header, &[u8])>, Fault> {
    let Some((header, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let header = Header::parse(header);
    if header.len > PAYLOAD_BYTES_MAX {
        return Err(Fault::size("a frame longer than 16,384 bytes"));
    }
    Ok(rest.get(..header.len).map(|payload| (header, payload)))
}

/// A payload without its padding.
pub(crate) fn padded(header: Header, payload: &[u8]) -> Result<&[u8], Fault> {
    if !header.has(flag::PADDED) {
        return Ok(payload);
    }
    let content = payload
        .split_first()
        .and_then(|(padding, rest)| rest.get(..rest.len().checked_sub(usize::from(*padding))?));
    content.ok_or(Fault::protocol("more padding than payload"))
}

/// The stream that a priority names.
pub(crate) fn depends_on(priority: &[u8]) -> u32 {
    let stream = priority.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    stream & 0x7fff_ffff
}
