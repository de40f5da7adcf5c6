//! Requests over HTTP/2 that are no gRPC: health, metrics, JSON, as behind TLS etcd serves them too.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http2::{Field, Head};
use hyper::body::{Body, Frame};
use net::{HttpBody, HttpHandler, Remote};

use crate::Budget;
use crate::engine::{Answer, RequestBody};
use crate::stream::Gone;

/// Answers one request. Dropping it is how it is canceled.
pub(crate) async fn answer(
    http: &Arc<dyn HttpHandler>,
    remote: Arc<Remote>,
    budget: Budget,
    head: &Head,
    body: RequestBody,
    mut answer: Answer,
) {
    let Some(mut request) = request(head, body) else {
        let _ = answer.end_at_once(400, &[]);
        return;
    };
    request.extensions_mut().insert(budget);
    let has_body = request.method() != Method::HEAD;
    let mut work = http.handle(request, remote);
    let response = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Ok(response)),
        Poll::Pending => answer.poll_gone(cx).map(|()| Err(Gone)),
    });
    // Nobody is left to be told when the answer cannot be sent.
    if let Ok(response) = response.await {
        let _ = send(response, has_body, &mut answer).await;
    }
}

/// The request as a handler takes it; `None` if its path or its method is none.
fn request(head: &Head, body: RequestBody) -> Option<Request<HttpBody>> {
    let body: HttpBody = Box::pin(Received(body));
    let mut request = Request::new(body);
    *request.version_mut() = http::Version::HTTP_2;
    *request.method_mut() = Method::from_bytes(&head.method).ok()?;
    *request.uri_mut() = Uri::from_maybe_shared(head.path.clone()).ok()?;
    let headers = request.headers_mut();
    for Field { name, value } in head.fields.iter() {
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(value.clone()).ok()?);
    }
    if let Some(authority) = &head.authority {
        headers.insert(header::HOST, HeaderValue::from_maybe_shared(authority.clone()).ok()?);
    }
    Some(request)
}

/// A request's body as HTTP handlers read it.
struct Received(RequestBody);

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = ready!(self.0.poll_chunk(cx));
        let reset = |Gone| io::Error::from(io::ErrorKind::ConnectionReset);
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data).map_err(reset)))
    }
}

/// Headers that say how bytes travel by HTTP/1.1: here frames do (RFC 9113, 8.2.2).
const OF_THE_HOP: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE];

async fn send(
    response: Response<HttpBody>,
    has_body: bool,
    answer: &mut Answer,
) -> Result<(), Gone> {
    let (head, mut body) = response.into_parts();
    let kept = head.headers.iter().filter(|(name, _)| !OF_THE_HOP.contains(name));
    let mut fields: Vec<Field> = kept.map(|(name, value)| field(name, value.as_bytes())).collect();
    if let Some(len) = body.size_hint().exact() {
        fields.push(field(&header::CONTENT_LENGTH, len.to_string().as_bytes()));
    }
    if !head.headers.contains_key(header::DATE) {
        let now = httpdate::fmt_http_date(std::time::SystemTime::now());
        fields.push(field(&header::DATE, now.as_bytes()));
    }
    let status = head.status.as_u16();
    let is_empty = !has_body || body.is_end_stream();
    if is_empty && poll_fn(|cx| Poll::Ready(answer.poll_request(cx))).await == HEARD {
        return answer.end_at_once(status, &fields);
    }
    answer.start(status, &fields)?;
    while !is_empty && let Some(frame) = next(&mut body, answer).await? {
        // Trailers are nothing that our handlers send.
        let Ok(bytes) = frame.into_data() else { continue };
        poll_fn(|cx| answer.poll_window(cx)).await?;
        answer.send(bytes)?;
    }
    hear_out(answer).await;
    answer.end(&[])
}

/// The request has come to its end, or is gone.
const HEARD: Poll<Option<usize>> = Poll::Ready(None);
/// What a client may still say of a request that is answered already.
const HEARD_BYTES_MAX: usize = 64 * 1024;
const HEARD_DURATION_MAX: Duration = Duration::from_secs(1);

/// Lets a client that is answered before it has sent all of its request go on for a while. Ending the stream at once
/// is allowed, but there are clients that forget the answer over the reset that follows it (curl 7.88 does).
async fn hear_out(answer: &mut Answer) {
    let heard = async {
        let mut bytes = 0;
        while bytes < HEARD_BYTES_MAX
            && let Some(more) = poll_fn(|cx| answer.poll_request(cx)).await
        {
            bytes += more;
        }
    };
    // Whoever takes longer is reset.
    let _ = tokio::time::timeout(HEARD_DURATION_MAX, heard).await;
}

/// The next piece of an answer. A body that fails is cut off.
async fn next(body: &mut HttpBody, answer: &Answer) -> Result<Option<Frame<Bytes>>, Gone> {
    poll_fn(|cx| match body.as_mut().poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(frame.transpose().map_err(|_| Gone)),
        Poll::Pending => answer.poll_gone(cx).map(|()| Err(Gone)),
    })
    .await
}

fn field(name: &HeaderName, value: &[u8]) -> Field {
    let name = Bytes::copy_from_slice(name.as_str().as_bytes());
    Field { name, value: Bytes::copy_from_slice(value) }
}
