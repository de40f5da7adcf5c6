//! Header blocks: how a stream begins, and how a request's body may end.

use std::rc::Rc;

use bytes::BytesMut;

use crate::connection::{Connection, Ending, Event};
use crate::fault::{Fault, Reason};
use crate::frame::{Header, flag};
use crate::head::{Field, Head, are_trailers};
use crate::receive::{depends_on, padded};
use crate::stream::{Line, Stream};

/// A header block on its way, from HEADERS to the CONTINUATION that ends it.
#[derive(Debug)]
pub(crate) struct Block {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
    continuations: usize,
}

impl Block {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// CONTINUATION frames of one block; more, or more bytes than four times the bound for what they
/// unpack to, are an attack.
const CONTINUATIONS_MAX: usize = 64;

/// Header blocks up to this are kept to be recognized when they come again: there is one a connection.
const REPEATED_BYTES_MAX: usize = 512;

/// The answer to headers above the bound, with no body.
const TOO_LARGE: u16 = 431;

impl<T: Default> Connection<T> {
    pub(crate) fn headers(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let mut block = padded(header, payload)?;
        if header.stream.is_multiple_of(2) {
            return Err(Fault::protocol("HEADERS on a stream that a client cannot open"));
        }
        if header.has(flag::PRIORITY) {
            let (priority, rest) =
                block.split_at_checked(5).ok_or(Fault::protocol("HEADERS cut short"))?;
            if depends_on(priority) == header.stream {
                return Err(Fault::protocol("a stream depends on itself"));
            }
            block = rest;
        }
        self.guard.busy();
        let ends_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.block(header.stream, ends_stream, block);
        }
        let bytes = block.to_vec();
        self.block = Some(Block { stream: header.stream, ends_stream, bytes, continuations: 0 });
        Ok(())
    }

    pub(crate) fn continuation(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let block = self.block.as_mut().expect("frame() has looked");
        if block.stream != header.stream {
            return Err(Fault::protocol("CONTINUATION on another stream"));
        }
        block.bytes.extend_from_slice(payload);
        block.continuations += 1;
        let bytes_max = 4 * self.config.header_list_bytes_max as usize;
        if block.continuations > CONTINUATIONS_MAX || block.bytes.len() > bytes_max {
            return Err(Fault::calm("a header block without end"));
        }
        if !header.has(flag::END_HEADERS) {
            return Ok(());
        }
        let block = self.block.take().expect("it was there");
        self.block(block.stream, block.ends_stream, &block.bytes)
    }

    /// A whole header block: a request, or the trailers of one.
    fn block(&mut self, id: u32, ends_stream: bool, block: &[u8]) -> Result<(), Fault> {
        if self.is_idle(id) {
            self.last_stream = id;
            return self.request(id, ends_stream, block);
        }
        let fields = self.decode(block)?.0;
        let Some(stream) = self.streams.get_mut(id) else {
            // They crossed our reset, or belong to what we said we would not serve.
            if self.cut_short.contains(&id)
                || matches!(self.ending, Ending::After(last) if id > last)
            {
                return self.guard.idle_frame();
            }
            let text = "HEADERS on a stream that has ended";
            return Err(Fault::new(Reason::STREAM_CLOSED, text));
        };
        if stream.receive_ended {
            return self.lose(id, Reason::STREAM_CLOSED);
        } else if !ends_stream || !are_trailers(&fields) || stream.missing.is_some_and(|n| n > 0) {
            return self.lose(id, Reason::PROTOCOL_ERROR);
        } else {
            stream.receive_ended = true;
            self.events.push_back(Event::Body(id));
        }
        Ok(())
    }

    fn decode(&mut self, block: &[u8]) -> Result<(Vec<Field>, bool, bool), Fault> {
        let decoded = self.decoder.decode(block, self.config.header_list_bytes_max as usize)?;
        if !decoded.repeatable {
            self.repeated = None;
        }
        Ok((decoded.fields, decoded.too_long, decoded.repeatable))
    }

    fn request(&mut self, id: u32, ends_stream: bool, block: &[u8]) -> Result<(), Fault> {
        let head = match &self.repeated {
            Some((bytes, head)) if **bytes == *block => head.clone(),
            _ => {
                let (fields, too_long, repeatable) = self.decode(block)?;
                let head = match Head::new(fields) {
                    _ if too_long => return self.too_large(id, ends_stream),
                    Some(head) => Rc::new(head),
                    None => {
                        self.cut_short(id, Reason::PROTOCOL_ERROR);
                        return self.guard.lost();
                    }
                };
                if repeatable && block.len() <= REPEATED_BYTES_MAX {
                    self.repeated = Some((block.into(), head.clone()));
                }
                head
            }
        };
        if let Ending::After(last) = self.ending
            && id > last
        {
            return Ok(());
        }
        if self.streams.len() >= self.config.streams_max {
            self.cut_short(id, Reason::REFUSED_STREAM);
            return Ok(());
        }
        if ends_stream && head.content_length.is_some_and(|length| length > 0) {
            self.cut_short(id, Reason::PROTOCOL_ERROR);
            return self.guard.lost();
        }
        self.open(id, ends_stream, head.content_length);
        self.events.push_back(Event::Request(id, head));
        Ok(())
    }

    fn open(&mut self, id: u32, ends_stream: bool, missing: Option<u64>) {
        self.streams.insert(Stream {
            id,
            opened_in: self.turns,
            tag: T::default(),
            receive_window: self.config.stream_window_bytes,
            released: 0,
            inbox: BytesMut::new(),
            missing,
            receive_ended: ends_stream,
            started: false,
            send_credit: 0,
            pending: std::collections::VecDeque::new(),
            trailers: None,
            wanted: false,
            line: Line::None,
        });
    }

    fn too_large(&mut self, id: u32, ends_stream: bool) -> Result<(), Fault> {
        self.open(id, ends_stream, None);
        self.refuse(id, TOO_LARGE);
        Ok(())
    }
}
