//! The requests of a call, wherever their JSON comes from, and its answers as lines.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use net::HttpBody;
use rpc::{Answers, Source};
use tokio::sync::mpsc;
use types::{Code, Refusal};

use crate::scan::{NoValue, Values};
use crate::status::print_error;
use crate::transcoder::{Target, Transcoder};

/// Where the JSON comes from.
pub(crate) enum Input {
    /// The body of a request.
    Http(HttpBody),
    /// The frames of a websocket.
    Frames(mpsc::Receiver<Bytes>),
}

impl Input {
    /// The next piece; `None` at the end, however it came.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Input::Frames(frames) => frames.poll_recv(cx),
            Input::Http(body) => loop {
                match ready!(body.as_mut().poll_frame(cx)) {
                    // What is no data is trailers, of which nobody knows any.
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(data));
                        }
                    }
                    Some(Err(_)) | None => return Poll::Ready(None),
                }
            },
        }
    }
}

/// The requests in an input, as protobuf.
pub(crate) struct Requests {
    transcoder: Arc<Transcoder>,
    target: Target,
    input: Input,
    values: Values,
    message_bytes_max: usize,
    /// How a stream ends that has been given up: with what is wrong, or silently.
    ended: bool,
}

/// JSON may be this much longer than what it means: every letter may be written as `\u0061`.
const ESCAPED_LEN: usize = 6;

impl Requests {
    pub fn new(
        transcoder: Arc<Transcoder>,
        target: Target,
        input: Input,
        message_bytes_max: usize,
    ) -> Requests {
        let values = Values::new(message_bytes_max.saturating_mul(ESCAPED_LEN));
        Requests { transcoder, target, input, values, message_bytes_max, ended: false }
    }

    /// The only request of a call: an empty message if there is none. What follows it is ignored.
    pub async fn only(&mut self) -> Result<Bytes, Refusal> {
        let value = poll_fn(|cx| self.poll_value(cx)).await.map_err(|no_value| match no_value {
            NoValue::Malformed(text) => Refusal::invalid(text),
            NoValue::TooLong(max) => too_long(max + 1, max),
        })?;
        self.transcoded(value.unwrap_or_else(|| Bytes::from_static(b"{}")))
    }

    fn transcoded(&self, json: Bytes) -> Result<Bytes, Refusal> {
        let message = self.transcoder.request(self.target, &json)?;
        let (len, max) = (message.len(), self.message_bytes_max);
        if max < len { Err(too_long(len, max)) } else { Ok(message.into()) }
    }

    fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, NoValue>> {
        loop {
            if let Some(value) = self.values.next_value()? {
                return Poll::Ready(Ok(Some(value)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.input.poll_piece(cx)) {
                Some(piece) => self.values.push(&piece),
                None => {
                    self.ended = true;
                    return Poll::Ready(self.values.finish());
                }
            }
        }
    }
}

fn too_long(len: usize, max: usize) -> Refusal {
    let text = format!("grpc: received message larger than max ({len} vs. {max})");
    Refusal::Other(Code::ResourceExhausted, text.into())
}

impl Source for Requests {
    /// As in Go's gateway, what cannot be understood ends the requests like a client that has no
    /// more of them: the call goes on and is told nothing.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        if self.ended && self.values.is_spent() {
            return Poll::Ready(Ok(None));
        }
        let value = ready!(self.poll_value(cx));
        let request = value.ok().flatten().and_then(|value| self.transcoded(value).ok());
        if request.is_none() {
            self.ended = true;
            self.values.discard();
        }
        Poll::Ready(Ok(request))
    }
}

/// Prints one answer of a stream.
pub(crate) fn result_line(
    transcoder: &Transcoder,
    target: Target,
    message: &[u8],
) -> Result<Bytes, Refusal> {
    let mut line = String::from("{\"result\":");
    transcoder.answer(target, message, &mut line)?;
    line.push_str("}\n");
    Ok(line.into())
}

/// Prints how a stream ended badly.
pub(crate) fn error_line(refusal: &Refusal) -> Bytes {
    let mut line = String::from("{\"error\":");
    print_error(refusal, &mut line);
    line.push_str("}\n");
    line.into()
}

/// The answers of a stream, one line a frame. The call makes progress while this is read.
pub(crate) struct Lines {
    pub transcoder: Arc<Transcoder>,
    pub target: Target,
    pub first: Option<Bytes>,
    /// `None` when the call has ended.
    pub answers: Option<Answers>,
}

impl Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(answers) = &mut self.answers else { return Poll::Ready(None) };
        let line = match ready!(answers.poll_next(cx)) {
            Ok(Some(message)) => result_line(&self.transcoder, self.target, &message),
            Ok(None) => {
                self.answers = None;
                return Poll::Ready(None);
            }
            Err(refusal) => Err(refusal),
        };
        let line = line.unwrap_or_else(|refusal| {
            self.answers = None;
            error_line(&refusal)
        });
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}
