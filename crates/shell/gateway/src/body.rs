//! The requests of a call, wherever their JSON comes from, and its answers as lines.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use net::HttpBody;
use rpc::{Answers, Source, Turn, Unfinished, Unread, aside};
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
    Frames(mpsc::Receiver<Piece>),
}

/// A piece of JSON, and its part of what unfinished requests may take.
pub(crate) struct Piece {
    pub data: Bytes,
    pub _counted: Option<Unfinished>,
}

impl Input {
    /// The next piece; `None` at the end. A body that breaks off has not ended: what came of it is not what
    /// its client wanted to say.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, io::Error>>> {
        match self {
            Input::Frames(frames) => frames.poll_recv(cx).map(|piece| piece.map(Ok)),
            Input::Http(body) => loop {
                match ready!(body.as_mut().poll_frame(cx)) {
                    // What is no data is trailers, of which nobody knows any.
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(Ok(Piece { data, _counted: None })));
                        }
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                }
            },
        }
    }
}

/// The requests in an input, as protobuf.
pub(crate) struct Requests {
    reader: Reader,
    input: Input,
    values: Values,
    /// What `values` holds, counted with the unfinished requests of all connections.
    unfinished: Unfinished,
    /// How a stream ends that has been given up.
    ended: bool,
}

/// From JSON to protobuf.
#[derive(Clone)]
struct Reader {
    transcoder: Arc<Transcoder>,
    target: Target,
    message_bytes_max: usize,
}

/// JSON may be this much longer than what it means: every letter may be written as `\u0061`.
const ESCAPED_LEN: usize = 6;

/// The longest JSON, in bytes, that is read on its connection's thread.
const JSON_INLINE_MAX: usize = 64 * 1024;

impl Reader {
    fn read(&self, json: &[u8]) -> Result<Bytes, Refusal> {
        let message = self.transcoder.request(self.target, json)?;
        let (len, max) = (message.len(), self.message_bytes_max);
        if max < len { Err(too_long(len, max)) } else { Ok(message.into()) }
    }
}

impl Requests {
    pub fn new(
        transcoder: Arc<Transcoder>,
        target: Target,
        input: Input,
        message_bytes_max: usize,
        unfinished: Unfinished,
    ) -> Requests {
        let values = Values::new(message_bytes_max.saturating_mul(ESCAPED_LEN));
        let reader = Reader { transcoder, target, message_bytes_max };
        Requests { reader, input, values, unfinished, ended: false }
    }

    /// The only request of a call: an empty message if there is none. What follows it is ignored.
    pub async fn only(&mut self) -> Result<Bytes, Refusal> {
        let value = poll_fn(|cx| self.poll_value(cx)).await?;
        let json = value.unwrap_or_else(|| Bytes::from_static(b"{}"));
        if json.len() <= JSON_INLINE_MAX {
            return self.reader.read(&json);
        }
        let reader = self.reader.clone();
        aside(Turn::take(None).await?, move |_| reader.read(&json)).await?
    }

    fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        loop {
            let value = self.values.next_value().map_err(no_value);
            if self.unfinished.bytes() != self.values.held_bytes() {
                self.unfinished.set(self.values.held_bytes())?;
            }
            if let Some(value) = value? {
                return Poll::Ready(Ok(Some(value)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            let Poll::Ready(piece) = self.input.poll_piece(cx) else {
                let refusal = ready!(self.unfinished.poll_overstayed(cx));
                self.ended = true;
                return Poll::Ready(Err(refusal));
            };
            match piece {
                Some(Ok(piece)) => self.values.push(&piece.data),
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Err(Refusal::invalid(broken_off(&error))));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(self.values.finish().map_err(no_value));
                }
            }
        }
    }
}

/// Why a body broke off, in Go's words where it has some; what read it keeps its own words at the end of the chain.
fn broken_off(error: &io::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    let mut is_cut = false;
    loop {
        let io = cause.downcast_ref::<io::Error>();
        is_cut |= io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof);
        let inner = io.and_then(|io| io.get_ref()).map(|inner| inner as &(dyn Error + 'static));
        match inner.or_else(|| cause.source()) {
            Some(next) => cause = next,
            None => break,
        }
    }
    let said = cause.to_string();
    let words = [
        ("overflow", "http chunk length too large"),
        ("missing size digit", "empty hex number for chunk length"),
        ("Invalid Size", "invalid byte in chunk length"),
    ];
    match words.into_iter().find(|(theirs, _)| said.contains(theirs)) {
        Some((_, ours)) => ours.to_owned(),
        None if is_cut => "unexpected EOF".to_owned(),
        None => said,
    }
}

/// Why a body holds no request.
fn no_value(no_value: NoValue) -> Refusal {
    match no_value {
        NoValue::Malformed(text) => Refusal::invalid(text),
        NoValue::TooLong(max) => too_long(max + 1, max),
    }
}

fn too_long(len: usize, max: usize) -> Refusal {
    let text = format!("grpc: received message larger than max ({len} vs. {max})");
    Refusal::Other(Code::ResourceExhausted, text.into())
}

impl Source for Requests {
    /// What cannot be understood ends the call with a reason. Go's gateway ends the requests there, as if
    /// the client had no more of them, and says nothing.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        if self.ended && self.values.is_spent() {
            return Poll::Ready(Ok(None));
        }
        let request = match ready!(self.poll_value(cx)) {
            Ok(Some(json)) => self.reader.read(&json).map(Some),
            Ok(None) => Ok(None),
            Err(refusal) => Err(refusal),
        };
        if !matches!(request, Ok(Some(_))) {
            self.ended = true;
            self.values.discard();
        }
        Poll::Ready(request)
    }
}

/// Prints one answer of a stream; it counts until it was written.
pub(crate) fn result_line(
    transcoder: &Transcoder,
    target: Target,
    message: &[u8],
    unread: &Unread,
) -> Result<Bytes, Refusal> {
    let mut line = String::from("{\"result\":");
    transcoder.answer(target, message, &mut line)?;
    line.push_str("}\n");
    unread.count(line.into())
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
    /// Where lines are counted.
    pub unread: Unread,
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
            Ok(Some(message)) => result_line(&self.transcoder, self.target, &message, &self.unread),
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
