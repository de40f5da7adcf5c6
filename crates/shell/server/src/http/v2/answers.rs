//! Answers of the API v2, whole and line by line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use net::HttpBody;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use types::Refusal;
use v2::{Code, Error, json};

use super::{KEYS, V2};

/// JSON with this status.
pub(super) fn json(status: StatusCode, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Why a request for the tree was not carried out.
pub(super) fn refused(error: &Error) -> Response<HttpBody> {
    let mut text = String::new();
    json::error(error, KEYS, &mut text);
    let status = StatusCode::from_u16(error.code.status());
    let mut response = json(status.unwrap_or(StatusCode::BAD_REQUEST), net::whole(text));
    response.headers_mut().insert("X-Etcd-Index", HeaderValue::from(error.index));
    response
}

/// What the log, or this member, said instead of an answer.
pub(super) fn failed(refusal: &Refusal) -> Response<HttpBody> {
    refused(&Error::new(Code::RaftInternal, refusal.message(), 0))
}

/// `{"message":...}`, as the paths beside the keys say what is wrong.
pub(super) fn message(status: StatusCode, text: &str) -> Response<HttpBody> {
    let mut body = String::from("{\"message\":");
    json::string(text, &mut body);
    body.push('}');
    json(status, net::whole(body))
}

/// The index and where the log stands, as every good answer for a key tells them.
pub(super) fn add_indexes(v2: &V2, index: u64, response: &mut Response<HttpBody>) {
    let standing = v2.node().standing();
    let headers = response.headers_mut();
    headers.insert("X-Etcd-Index", HeaderValue::from(index));
    headers.insert("X-Raft-Index", HeaderValue::from(standing.committed));
    headers.insert("X-Raft-Term", HeaderValue::from(standing.term));
}

/// A body that counts until its client has read it.
///
/// # Errors
/// Clients leave too much unread.
pub(super) fn counted(v2: &V2, text: String) -> Result<HttpBody, Refusal> {
    let kib = u32::try_from(text.len() / 1024 + 1).unwrap_or(u32::MAX);
    let permit = v2.answers.clone().try_acquire_many_owned(kib);
    let permit = permit.map_err(|_| Refusal::RequestTooManyRequests)?;
    Ok(Box::pin(Counted { bytes: Some(text.into()), _permit: permit }))
}

struct Counted {
    bytes: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Events as they come, a line each. It ends with the watch, or after the first event that is not of a stream.
pub(super) fn lines(v2: &Arc<V2>, mut watch: node::V2Watch, stream: bool) -> HttpBody {
    let (sender, receiver) = mpsc::channel(1);
    // The member is held while somebody watches, as by every request.
    let held = v2.clone();
    tokio::task::spawn_local(async move {
        let _held = held;
        loop {
            let event = tokio::select! {
                event = watch.next() => event,
                () = sender.closed() => None,
            };
            let Some(event) = event else { return };
            let mut line = String::new();
            json::event(&event, KEYS, false, &mut line);
            if sender.send(Bytes::from(line)).await.is_err() || !stream {
                return;
            }
        }
    });
    Box::pin(Lines(receiver))
}

struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
