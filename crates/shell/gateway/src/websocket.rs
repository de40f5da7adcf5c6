//! A call over a websocket: each frame in is a piece of the request's body, each line of the
//! answer's body is a frame out.
//!
//! It works for every path, streaming or not, because it only changes how the two bodies travel.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method as Verb, Request, Response};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use net::{HttpBody, Remote, whole};
use rpc::{Budget, Unfinished};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::Gateway;
use crate::body::{Input, Piece};

/// Frames that wait for the call to read them.
const FRAMES_MAX: usize = 1;

/// What RFC 6455 has a server append to the client's key.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the client wants to go on as a websocket.
pub(crate) fn is_asked_for(request: &Request<HttpBody>) -> bool {
    let lists = |name: &str, wanted: &str| {
        let values = request.headers().get_all(name);
        let mut words = values.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    request.method() == Verb::GET && lists("connection", "upgrade") && lists("upgrade", "websocket")
}

/// Answers the request to upgrade and serves what follows.
pub(crate) fn upgrade(
    gateway: Gateway,
    mut request: Request<HttpBody>,
    remote: Arc<Remote>,
) -> Response<HttpBody> {
    let key = request.headers().get("sec-websocket-key");
    let version = request.headers().get("sec-websocket-version");
    let (Some(key), true) = (key, version.is_some_and(|version| version == "13")) else {
        let mut response = Response::new(whole("Bad Request\n"));
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        return response;
    };
    let mut response = Response::new(whole(""));
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept(key));
    if let Some(token) = token(&request) {
        // A browser can set no header but this one.
        request.headers_mut().insert("authorization", token);
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("Bearer"));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        // A client that goes away before or after is none of our concern.
        if let Ok(upgraded) = upgraded.await {
            serve(gateway, request, remote, upgraded).await;
        }
    });
    response
}

fn accept(key: &HeaderValue) -> HeaderValue {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(MAGIC).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is a header value")
}

/// The token in `Sec-WebSocket-Protocol: Bearer, TOKEN`, as an `Authorization`.
fn token(request: &Request<HttpBody>) -> Option<HeaderValue> {
    let protocols = request.headers().get("sec-websocket-protocol")?.to_str().ok()?;
    let token = protocols.split_once("Bearer,")?.1.trim();
    HeaderValue::try_from(format!("Bearer {token}")).ok()
}

/// How a conversation ends.
enum Ending {
    /// The client said that it closes, or is gone.
    Client,
    /// It said what nobody may say.
    Wrong,
    /// The call has ended.
    Call,
}

/// How long a client may take to hear that the conversation ends.
const FAREWELL: Duration = Duration::from_secs(5);

async fn serve(
    gateway: Gateway,
    request: Request<HttpBody>,
    remote: Arc<Remote>,
    upgraded: Upgraded,
) {
    // Quotes, braces and base64 make JSON longer than what it means.
    let bytes_max = gateway.message_bytes_max().saturating_mul(2);
    let config = WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    let (mut head, _) = request.into_parts();
    let budget = gateway.budget(&head);
    // What is heard and answered later is this conversation's.
    head.extensions.insert(budget.clone());
    let counted = Rc::new(RefCell::new(budget.unfinished()));
    let stream = Counting { stream: TokioIo::new(upgraded), counted: counted.clone() };
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut frames_out, mut frames_in) = socket.split();
    let (pieces, received) = mpsc::channel(FRAMES_MAX);
    head.method = Verb::POST;
    let ending = {
        let incoming = hear(&budget, &mut frames_in, pieces, &counted);
        let outgoing = async {
            let mut body = gateway.answer(&head, Input::Frames(received), remote).await.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(line) = frame.into_data() else { continue };
                let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
                if frames_out.send(Message::Text(text.into())).await.is_err() {
                    return Ending::Client;
                }
            }
            Ending::Call
        };
        tokio::select! {
            ending = incoming => ending,
            ending = outgoing => ending,
        }
    };
    let farewell = async {
        match ending {
            // The library has its answer ready, and sends it as it is asked for more.
            Ending::Client => while let Some(Ok(_)) = frames_in.next().await {},
            Ending::Wrong => {
                let close = CloseFrame { code: CloseCode::Protocol, reason: "".into() };
                let _ = frames_out.send(Message::Close(Some(close))).await;
            }
            Ending::Call => {
                let _ = frames_out.close().await;
            }
        }
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// Hands frames to the call, until the client ends the conversation.
async fn hear(
    budget: &Budget,
    frames: &mut SplitStream<WebSocketStream<Counting>>,
    pieces: mpsc::Sender<Piece>,
    counted: &RefCell<Unfinished>,
) -> Ending {
    let mut is_read = true;
    loop {
        // When the call reads no more, the client must still be able to close.
        let room = if is_read { pieces.reserve().await.ok() } else { None };
        let frame = match frames.next().await {
            Some(Ok(Message::Text(text))) => line(text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => line(&bytes),
            Some(Ok(Message::Close(_))) | None => return Ending::Client,
            Some(Err(Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_))) => {
                return Ending::Wrong;
            }
            Some(Err(_)) => return Ending::Client,
            // Pings are answered by the library.
            Some(Ok(_)) => continue,
        };
        let mut piece = budget.unfinished();
        let fits = piece.set(frame.len()).is_ok() && counted.borrow_mut().set(0).is_ok();
        match room {
            Some(room) if fits => room.send(Piece { data: frame, _counted: Some(piece) }),
            Some(_) => return Ending::Wrong,
            None => is_read = false,
        }
    }
}

/// Counts what came of a frame that is not whole.
struct Counting {
    stream: TokioIo<Upgraded>,
    counted: Rc<RefCell<Unfinished>>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        let mut counted = self.counted.borrow_mut();
        let bytes = counted.bytes() + out.filled().len() - before;
        Poll::Ready(
            counted.set(bytes).map_err(|refusal| io::Error::other(refusal.message().to_owned())),
        )
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One frame as a line, so that a number in it cannot run into the next.
fn line(frame: &[u8]) -> Bytes {
    [frame, b"\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_the_standard_shows() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
