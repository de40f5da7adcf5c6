//! A request's body, and letting the client send more of it.

use bytes::Bytes;

use crate::connection::Connection;
use crate::frame;
use crate::request::Block;
use crate::settings::WINDOW_BYTES_DEFAULT;

/// What came of a request's body.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// The next piece.
    Piece(Bytes),
    /// All has come.
    End,
    /// There will be more.
    Later,
    /// The stream has ended.
    Gone,
}

impl<T: Default> Connection<T> {
    /// The next of a request's body. A piece counts against the client's windows until it is
    /// [released](Connection::release).
    pub fn take_body(&mut self, id: u32) -> Body {
        match self.streams.get_mut(id) {
            None => Body::Gone,
            Some(stream) if !stream.inbox.is_empty() => {
                Body::Piece(std::mem::take(&mut stream.inbox).freeze())
            }
            Some(stream) if stream.receive_ended => Body::End,
            Some(_) => Body::Later,
        }
    }

    /// Lets the client send so many bytes more, of a stream that may have ended.
    pub fn release(&mut self, id: u32, bytes: u32) {
        self.release_connection(bytes);
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.released += bytes;
        if stream.released >= self.config.stream_window_bytes / 2 && !stream.receive_ended {
            let bytes = std::mem::take(&mut stream.released);
            stream.receive_window += bytes;
            frame::window_update(&mut self.out, id, bytes);
        }
    }

    /// Bytes that the client sent and that are not [released](Connection::release), with those of a frame or a
    /// header block that has not come whole.
    pub fn held_bytes(&self) -> usize {
        let all = self.config.connection_window_bytes.max(WINDOW_BYTES_DEFAULT);
        let bodies = all.saturating_sub(self.receive_window).saturating_sub(self.released);
        bodies as usize + self.partial.len() + self.block.as_ref().map_or(0, Block::len)
    }

    /// Streams of which something has come that nobody takes. Looks at all of them.
    pub fn unread(&mut self) -> Vec<u32> {
        let ids = self.streams.ids();
        let has_body = |id: &u32| self.streams.get_mut(*id).is_some_and(|s| !s.inbox.is_empty());
        ids.into_iter().filter(has_body).collect()
    }

    pub(crate) fn release_connection(&mut self, bytes: u32) {
        self.released += bytes;
        if self.released >= self.config.connection_window_bytes / 2 {
            let bytes = std::mem::take(&mut self.released);
            self.receive_window += bytes;
            frame::window_update(&mut self.out, 0, bytes);
        }
    }
}
