//! A request's body, and letting the client send more of it.

use bytes::Bytes;

use crate::connection::Connection;
use crate::frame;

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

    pub(crate) fn release_connection(&mut self, bytes: u32) {
        self.released += bytes;
        if self.released >= self.config.connection_window_bytes / 2 {
            let bytes = std::mem::take(&mut self.released);
            self.receive_window += bytes;
            frame::window_update(&mut self.out, 0, bytes);
        }
    }
}
