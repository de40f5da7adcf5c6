//! A call over a websocket: each frame in is a piece of the request's body, each line of the
//! answer's body is a frame out.
//!
//! It works for every path, streaming or not, because it only changes how the two bodies travel.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method as Verb, Request, Response};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use net::{HttpBody, Remote, whole};
use sha1::{Digest, Sha1};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::Gateway;
use crate::body::Input;

/// Frames that wait for the call to read them.
const FRAMES_MAX: usize = 4;

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
    let stream = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut frames_out, mut frames_in) = socket.split();
    let (pieces, received) = mpsc::channel(FRAMES_MAX);
    let incoming = async move {
        while let Ok(room) = pieces.reserve().await {
            match frames_in.next().await {
                Some(Ok(Message::Text(text))) => room.send(line(text.as_bytes())),
                Some(Ok(Message::Binary(bytes))) => room.send(line(&bytes)),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // Pings are answered by the library.
                Some(Ok(_)) => {}
            }
        }
        // The call reads no more, but the client must still be able to close.
        while let Some(Ok(_)) = frames_in.next().await {}
    };
    let (mut head, _) = request.into_parts();
    head.method = Verb::POST;
    let outgoing = async {
        let mut body = gateway.answer(&head, Input::Frames(received), remote).await.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(line) = frame.into_data() else { continue };
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            if frames_out.send(Message::Text(text.into())).await.is_err() {
                return;
            }
        }
        let _ = frames_out.close().await;
    };
    tokio::select! {
        () = incoming => {}
        () = outgoing => {}
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
