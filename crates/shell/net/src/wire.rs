//! The bytes of an accepted socket, which may move from one thread's runtime to another's.

use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::Stream;
use crate::connections::Counted;
use crate::socket::Handed;

/// A socket as a [`Stream`]: accepted, or dialled by a peer.
pub struct Wire {
    state: State,
    /// Counts it until it is closed, also after an upgrade; `None` for one that was dialled.
    _counted: Option<Counted>,
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Wire {
        Wire { state: State::Tcp(stream), _counted: None }
    }
}

impl From<UnixStream> for Wire {
    fn from(stream: UnixStream) -> Wire {
        Wire { state: State::Unix(stream), _counted: None }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// Mostly a socket is at home in the runtime of a thread.
enum State {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// On its way from one thread to another.
    Away(Handed),
    /// The system refused to let it travel.
    Lost,
}

impl Wire {
    pub(crate) fn counting(self, counted: Counted) -> Wire {
        Wire { _counted: Some(counted), ..self }
    }
}

impl Stream for Wire {
    fn detach(&mut self) -> io::Result<()> {
        self.state = match mem::replace(&mut self.state, State::Lost) {
            State::Tcp(stream) => State::Away(Handed::Tcp(stream.into_std()?)),
            State::Unix(stream) => State::Away(Handed::Unix(stream.into_std()?)),
            other => other,
        };
        Ok(())
    }

    fn attach(&mut self) -> io::Result<()> {
        self.state = match mem::replace(&mut self.state, State::Lost) {
            State::Away(handed) => handed.adopt()?.state,
            other => other,
        };
        Ok(())
    }
}

fn nowhere<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            State::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            State::Away(_) | State::Lost => nowhere(),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().state {
            State::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            State::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            State::Away(_) | State::Lost => nowhere(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().state {
            State::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            State::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            State::Away(_) | State::Lost => nowhere(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            State::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            State::Away(_) | State::Lost => nowhere(),
        }
    }
}
