//! One gRPC call: framed messages out, framed messages in, a status at the end.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, StatusCode};
use prost::Message;
use types::Code;

use crate::error::Status;

/// A message's length and whether it is compressed stand before it.
const PREFIX_BYTES: usize = 5;

/// Our side of a call.
#[derive(Debug)]
pub struct Sending(SendStream<Bytes>);

/// A message and the five bytes before it, for [`Sending::send_paced`].
pub fn framed(message: &[u8]) -> Result<Bytes, Status> {
    let length = u32::try_from(message.len()).map_err(|_| too_long())?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed.freeze())
}

fn too_long() -> Status {
    Status::new(Code::ResourceExhausted, "a message is longer than gRPC allows")
}

/// That a message of so many bytes is too long to be sent, in grpc-go's words.
pub(crate) fn check_length(length: usize, bytes_max: usize) -> Result<(), Status> {
    if length <= bytes_max {
        return Ok(());
    }
    let text = format!("trying to send message larger than max ({length} vs. {bytes_max})");
    Err(Status::new(Code::ResourceExhausted, text))
}

impl Sending {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Sending {
        Sending(stream)
    }

    /// Queues a message; `last` ends our side.
    ///
    /// # Errors
    /// The call has ended.
    pub fn send(&mut self, framed: Bytes, last: bool) -> Result<(), Status> {
        self.0.send_data(framed, last).map_err(|error| lost(&error))
    }

    /// Sends a message as fast as the other side takes it: nothing gathers on this one. Given up half-way, the
    /// call is of no more use.
    ///
    /// # Errors
    /// The call has ended.
    pub async fn send_paced(&mut self, mut framed: Bytes) -> Result<(), Status> {
        while !framed.is_empty() {
            self.0.reserve_capacity(framed.len());
            let room = match self.0.capacity() {
                0 => poll_fn(|context| self.0.poll_capacity(context)).await.ok_or_else(ended)?,
                room => Ok(room),
            };
            let room = room.map_err(|error| lost(&error))?.min(framed.len());
            self.0.send_data(framed.split_to(room), false).map_err(|error| lost(&error))?;
        }
        Ok(())
    }

    /// Says that nothing more is sent.
    ///
    /// # Errors
    /// The call has ended.
    pub fn end(&mut self) -> Result<(), Status> {
        self.0.send_data(Bytes::new(), true).map_err(|error| lost(&error))
    }
}

fn ended() -> Status {
    Status::unavailable("the server ended the stream")
}

/// The message with its prefix.
pub(crate) fn frame(message: &impl Message, bytes_max: usize) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    check_length(length, bytes_max)?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.extend_from_slice(&[0]);
    let prefix = u32::try_from(length).map_err(|_| too_long())?;
    framed.extend_from_slice(&prefix.to_be_bytes());
    message.encode(&mut framed).expect("a BytesMut grows");
    Ok(framed.freeze())
}

/// The server's side of a call: messages, then the end.
#[derive(Debug)]
pub struct Streaming {
    head: Option<ResponseFuture>,
    body: Option<RecvStream>,
    buffer: BytesMut,
    bytes_max: usize,
    /// The message that is coming was admitted.
    admitted: bool,
    ended: Option<Result<(), Status>>,
    _in_use: Arc<()>,
}

impl Streaming {
    pub(crate) fn new(head: ResponseFuture, bytes_max: usize, in_use: Arc<()>) -> Streaming {
        let (body, ended) = (None, None);
        let buffer = BytesMut::new();
        let (head, admitted) = (Some(head), false);
        Streaming { head, body, buffer, bytes_max, admitted, ended, _in_use: in_use }
    }

    /// The next message, or `None` at the end of a call that succeeded. A caller may stop waiting at any
    /// time and ask again.
    pub async fn message<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let Some(framed) = self.framed(|_| Ok(())).await? else { return Ok(None) };
        let malformed = |error| {
            let text = format!("grpc: failed to unmarshal the received message: {error}");
            Status::new(Code::Internal, text)
        };
        M::decode(framed.slice(PREFIX_BYTES..)).map(Some).map_err(malformed)
    }

    /// As [`Streaming::message`], but as it came, with the five bytes before it. `admit` is asked once for each
    /// message, as soon as its length is known: what it refuses is not gathered.
    ///
    /// # Errors
    /// How the call ended, or what `admit` said.
    pub async fn framed(
        &mut self,
        mut admit: impl FnMut(usize) -> Result<(), Status>,
    ) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(framed) = self.take_whole(&mut admit)? {
                return Ok(Some(framed));
            }
            if let Some(end) = &self.ended {
                return end.clone().map(|()| None);
            }
            if let Err(status) = self.read_some().await {
                self.ended = Some(Err(status));
            }
        }
    }

    /// The only message of a call.
    pub(crate) async fn only<M: Message + Default>(&mut self) -> Result<M, Status> {
        let Some(message) = self.message().await? else {
            return Err(Status::new(Code::Internal, "the call ended without an answer"));
        };
        match self.message::<M>().await? {
            None => Ok(message),
            Some(_) => Err(Status::new(Code::Internal, "more than one answer to a unary call")),
        }
    }

    fn take_whole(
        &mut self,
        admit: &mut impl FnMut(usize) -> Result<(), Status>,
    ) -> Result<Option<Bytes>, Status> {
        let Some(prefix) = self.buffer.get(..PREFIX_BYTES) else { return Ok(None) };
        if prefix[0] != 0 {
            let text = "grpc: a compressed message was received, and none was asked for";
            return Err(Status::new(Code::Internal, text));
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > self.bytes_max {
            let max = self.bytes_max;
            let text = format!("grpc: received message larger than max ({length} vs. {max})");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        if !self.admitted {
            admit(length)?;
            self.admitted = true;
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.admitted = false;
        Ok(Some(self.buffer.split_to(PREFIX_BYTES + length).freeze()))
    }

    /// Reads the head, the next piece of the body, or the trailers.
    async fn read_some(&mut self) -> Result<(), Status> {
        if let Some(head) = &mut self.head {
            let response = head.await.map_err(|error| lost(&error))?;
            self.head = None;
            let (parts, body) = response.into_parts();
            if parts.headers.contains_key("grpc-status") {
                self.ended = Some(status_of(&parts.headers));
                return Ok(());
            }
            check_head(parts.status, &parts.headers)?;
            self.body = Some(body);
        }
        let body = self.body.as_mut().expect("a body follows the head");
        if let Some(piece) = poll_fn(|context| body.poll_data(context)).await {
            let piece = piece.map_err(|error| lost(&error))?;
            body.flow_control().release_capacity(piece.len()).map_err(|error| lost(&error))?;
            self.buffer.extend_from_slice(&piece);
            return Ok(());
        }
        let trailers = poll_fn(|context| body.poll_trailers(context)).await;
        self.ended = Some(match trailers.map_err(|error| lost(&error))? {
            Some(trailers) => status_of(&trailers),
            None => {
                let text = "server closed the stream without sending trailers";
                Err(Status::new(Code::Internal, text))
            }
        });
        Ok(())
    }
}

fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), Status> {
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default();
    if status == StatusCode::OK && content_type.starts_with("application/grpc") {
        return Ok(());
    }
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    let text = format!(
        "unexpected HTTP status code received from server: {} ({}); transport: received unexpected \
         content-type \"{content_type}\"",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    Err(Status::new(code, text))
}

/// What the trailers say.
fn status_of(headers: &HeaderMap) -> Result<(), Status> {
    let number = headers.get("grpc-status").and_then(|value| value.to_str().ok());
    let number = number.and_then(|text| text.parse::<usize>().ok());
    let code = number.and_then(|number| Code::ALL.get(number)).copied().unwrap_or(Code::Unknown);
    if code == Code::Ok {
        return Ok(());
    }
    let text = headers.get("grpc-message").map(|value| percent_decoded(value.as_bytes()));
    Err(Status::new(code, text.unwrap_or_default()))
}

fn percent_decoded(mut rest: &[u8]) -> String {
    let mut out = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let digits = (*first == b'%').then(|| after.get(..2)).flatten();
        let digits = digits.and_then(|two| std::str::from_utf8(two).ok());
        if let Some(byte) = digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            out.push(byte);
            rest = &after[2..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How a stream broke, as a status that may be tried again.
fn lost(error: &h2::Error) -> Status {
    if error.is_io() || error.is_go_away() {
        return Status::unavailable(format!("error reading from server: {error}"));
    }
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => Status::unavailable("the stream was refused"),
        Some(h2::Reason::CANCEL) => Status::new(Code::Canceled, format!("stream reset: {error}")),
        Some(h2::Reason::ENHANCE_YOUR_CALM) => {
            Status::new(Code::ResourceExhausted, format!("stream reset: {error}"))
        }
        Some(_) => Status::new(Code::Internal, format!("stream reset: {error}")),
        None => Status::unavailable(format!("error reading from server: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_text_is_percent_decoded_and_bad_escapes_stay() {
        assert_eq!(percent_decoded(b"a%20b%zz%C3%A4%4"), "a b%zz\u{e4}%4");
    }

    #[test]
    fn a_message_over_the_limit_is_not_sent() {
        let request = proto::etcdserverpb::PutRequest {
            value: Bytes::from(vec![0; 100]),
            ..Default::default()
        };
        let refused = frame(&request, 50).expect_err("too long");
        assert_eq!(refused.message, "trying to send message larger than max (102 vs. 50)");
        assert_eq!(frame(&request, 102).expect("fits").len(), 107);
    }
}
