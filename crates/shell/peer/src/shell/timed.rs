//! A connection that ends when nothing moves.
//!
//! Somebody may accept for a dead member and never answer, or take bytes for a second and lose them. Neither
//! reports an error, so time has to.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::sockets::Pipe;

/// How long a connection may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// While bytes are awaited. Bytes that go out count as life as well.
    pub read: Duration,
    /// While bytes cannot be handed to the kernel.
    pub write: Duration,
}

/// Reading waits without limit while this is set: the other side awaits our answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Rc<Cell<bool>>);

impl Busy {
    pub fn set(&self, busy: bool) {
        self.0.set(busy);
    }
}

/// A stream with limits on silence.
pub(super) struct Timed {
    stream: Box<dyn Pipe>,
    patience: Patience,
    busy: Busy,
    moved: Instant,
    reading: Alarm,
    writing: Alarm,
    write_stalled: Option<Instant>,
}

/// A timer that is set anew only when it rings.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether the deadline is over; otherwise the task is woken then, or before.
    fn over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        if deadline <= Instant::now() {
            return true;
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

impl Timed {
    pub fn new(stream: Box<dyn Pipe>, patience: Patience, busy: Busy) -> Timed {
        Timed {
            stream,
            patience,
            busy,
            moved: Instant::now(),
            reading: Alarm::default(),
            writing: Alarm::default(),
            write_stalled: None,
        }
    }

    fn written<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.moved = Instant::now();
            self.write_stalled = None;
            return outcome;
        }
        let since = *self.write_stalled.get_or_insert_with(Instant::now);
        match self.writing.over(since + self.patience.write, cx) {
            true => Poll::Ready(Err(timed_out("write"))),
            false => Poll::Pending,
        }
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what}: i/o timeout"))
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.stream).poll_read(cx, out);
        if outcome.is_ready() {
            this.moved = Instant::now();
            return outcome;
        }
        let over = !this.busy.0.get() && this.reading.over(this.moved + this.patience.read, cx);
        if over { Poll::Ready(Err(timed_out("read"))) } else { Poll::Pending }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Patience =
        Patience { read: Duration::from_millis(60), write: Duration::from_millis(60) };

    fn local(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime").block_on(test);
    }

    #[test]
    fn silence_ends_a_read_unless_we_owe_an_answer() {
        local(async {
            let (near, _far) = duplex(64);
            let mut timed = Timed::new(Box::new(near), PATIENCE, Busy::default());
            let error = timed.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let (near, _far) = duplex(64);
            let busy = Busy::default();
            busy.set(true);
            let mut timed = Timed::new(Box::new(near), PATIENCE, busy);
            let waited = tokio::time::timeout(Duration::from_millis(200), timed.read_u8()).await;
            assert!(waited.is_err(), "it still waits");
        });
    }

    #[test]
    fn a_reader_that_takes_nothing_ends_the_write() {
        local(async {
            let (near, _far) = duplex(64);
            let mut timed = Timed::new(Box::new(near), PATIENCE, Busy::default());
            let error = timed.write_all(&[0; 1000]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn bytes_in_either_direction_are_life() {
        local(async {
            let (near, mut far) = duplex(64);
            // Long enough that a busy machine does not pass for silence, and shorter than the talk is.
            let patience = Patience { read: Duration::from_secs(1), ..PATIENCE };
            let mut timed = Timed::new(Box::new(near), patience, Busy::default());
            let talk = async {
                for _ in 0..6 {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    far.write_all(&[1]).await.unwrap();
                }
            };
            let listen = async {
                for _ in 0..6 {
                    timed.read_u8().await.unwrap();
                }
            };
            tokio::join!(talk, listen);
        });
    }
}
