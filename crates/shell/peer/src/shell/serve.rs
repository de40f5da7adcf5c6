//! Who comes to our peer URLs: accepted, checked by the table, answered.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::{Protocols, RemoteAddress, Stream, Tls};

use super::answers::{self, Answer};
use super::body::StreamBody;
use super::event::Event;
use super::link::SILENCE_MAX;
use super::shared::Core;
use super::snapshot_in::{self, next_piece};
use super::snapshot_out::OnDrop;
use super::sockets::{Accepting, Pipe};
use super::timed::{Busy, Timed};
use super::{LocalBody, probe, whole};
use crate::rules::{Accepted, Endpoint, Head, Refused, header};
use crate::wire::{MESSAGE_BYTES_MAX, Pieces, decode_message};

/// What one connection may hold of a request's head, and of answers not taken yet.
const CONNECTION_BYTES_MAX: usize = 128 * 1024;

/// Accepts until the end.
pub(super) async fn accept(
    core: Arc<Core>,
    listening: Accepting,
    tls: Option<Arc<dyn Tls>>,
    open: Rc<()>,
) {
    loop {
        // Each connection holds one of these.
        if Rc::strong_count(&open) > core.limits.connections_max {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let Ok((stream, from)) = listening.accept().await else {
            // Out of descriptors, most likely: others must end before anybody can begin.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (core, tls, counted) = (core.clone(), tls.clone(), open.clone());
        tokio::task::spawn_local(async move {
            let _counted = counted;
            shake_hands_and_serve(&core, stream, from, tls).await;
        });
    }
}

async fn shake_hands_and_serve(
    core: &Arc<Core>,
    stream: Box<dyn Stream>,
    from: RemoteAddress,
    tls: Option<Arc<dyn Tls>>,
) {
    let Some(tls) = tls else { return serve(core, Box::new(stream), &from).await };
    let shaking = tls.accept(stream, &from, Protocols::Http);
    let refused = match tokio::time::timeout(SILENCE_MAX, shaking).await {
        Ok(Ok(hands)) => return serve(core, Box::new(hands.stream), &from).await,
        Ok(Err(error)) => error,
        Err(_) => io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"),
    };
    core.report.rejected(&from, &refused);
}

async fn serve(core: &Arc<Core>, pipe: Box<dyn Pipe>, from: &RemoteAddress) {
    let busy = Busy::default();
    let timed = Timed::new(pipe, core.patience(), busy.clone());
    let service = service_fn(|request| {
        let (core, busy) = (core.clone(), busy.clone());
        async move {
            busy.set(true);
            let _waits_again = OnDrop(|| busy.set(false));
            Result::<_, Infallible>::Ok(answer(&core, request, from).await)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(SILENCE_MAX);
    builder.max_buf_size(CONNECTION_BYTES_MAX);
    // Connections break; whoever had a stream on it says so.
    let _ = builder.serve_connection(TokioIo::new(timed), service).await;
}

async fn answer(
    core: &Arc<Core>,
    request: Request<Incoming>,
    from: &RemoteAddress,
) -> Response<LocalBody> {
    let (head, body) = request.into_parts();
    let asked = Head { method: &head.method, path: head.uri.path(), headers: &head.headers };
    let Accepted { outcome, remote, names_cluster, names_version } =
        core.checks.check(asked, &**core);
    if let Some(remote) = remote {
        core.add(remote.id, &remote.urls, true);
    }
    let answered = match outcome {
        Ok(endpoint) => handle(core, endpoint, &head.headers, body).await,
        Err(refused) => {
            said(core, &head, &refused, from);
            Err(refused)
        }
    };
    let mut response = answered.unwrap_or_else(|refused| refusal(&refused));
    let headers = response.headers_mut();
    if names_cluster && let Ok(id) = HeaderValue::from_str(&format!("{:x}", core.identity.cluster))
    {
        headers.insert(header::CLUSTER, id);
    }
    if names_version && let Ok(version) = HeaderValue::from_str(&core.identity.version.to_string())
    {
        headers.insert(header::VERSION, version);
    }
    response
}

/// Refusals that an operator should know of, once for each sender while they last.
fn said(core: &Core, head: &http::request::Parts, refused: &Refused, from: &RemoteAddress) {
    let text = match refused.status {
        StatusCode::PRECONDITION_FAILED => "request was ignored",
        StatusCode::GONE => "rejected stream from remote peer because it was removed",
        _ => return,
    };
    let sender = head.headers.get(header::FROM).and_then(|id| id.to_str().ok());
    let sender = sender.unwrap_or_default().chars().take(16).collect::<String>();
    if core.says_refused(&sender, &refused.text) {
        core.report.event(
            Event::warn(text, &sender)
                .with("remote-address", from.to_string())
                .with("local-member-id", &core.own_label)
                .with("error", &refused.text),
        );
    }
}

fn refusal(refused: &Refused) -> Response<LocalBody> {
    let mut response = Response::new(whole(format!("{}\n", refused.text)));
    *response.status_mut() = refused.status;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(http::header::CONTENT_TYPE, text);
    let plain = HeaderValue::from_static("nosniff");
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, plain);
    if let Some(allow) = refused.allow {
        headers.insert(http::header::ALLOW, HeaderValue::from_static(allow));
    }
    if refused.status.is_server_error() {
        // Bytes may be left that nobody will read.
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn handle(
    core: &Arc<Core>,
    endpoint: Endpoint,
    headers: &http::HeaderMap,
    body: Incoming,
) -> Answer {
    match endpoint {
        Endpoint::Raft => posted(core, body).await,
        Endpoint::Stream(kind, from) => {
            // It was a peer a moment ago.
            let peer = core
                .peer(from)
                .ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "error sender not found"))?;
            Ok(Response::new(Box::pin(StreamBody::attach(core, &peer, kind))))
        }
        Endpoint::Snapshot => {
            snapshot_in::receive(core, headers, body).await?;
            Ok(no_content())
        }
        Endpoint::SnapshotPart => answers::snapshot_part(core, headers),
        Endpoint::Probing => answers::page("application/json", probe::Health::page()),
        Endpoint::Members => answers::members(core),
        Endpoint::Promote(id) => answers::promote(core, id, headers).await,
        Endpoint::HashKv => answers::hash_kv(core, body).await,
        Endpoint::Leases => answers::keep_alive(core, body).await,
        Endpoint::LeasesInternal => answers::time_to_live(core, body).await,
        Endpoint::Version => answers::version(core),
        Endpoint::DowngradeEnabled => answers::downgrade_enabled(core).await,
        Endpoint::WantSnapshot => {
            answers::want_snapshot(core, headers).await?;
            Ok(no_content())
        }
        Endpoint::AppliesV2 => answers::page("text/plain", "true".to_owned()),
        Endpoint::Repairing => answers::page("text/plain", core.facts.is_repairing().to_string()),
    }
}

fn no_content() -> Response<LocalBody> {
    let mut response = Response::new(whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// One message. What does not fit among all that is being read is refused, whoever sends it.
async fn posted(core: &Arc<Core>, mut body: Incoming) -> Answer {
    let unread = || Refused::new(StatusCode::BAD_REQUEST, "error reading raft message");
    let mut pieces = Pieces::default();
    let mut unfinished = core.partial();
    while let Some(piece) = next_piece(&mut body).await.map_err(|_| unread())? {
        pieces.push(piece);
        if pieces.len() as u64 > MESSAGE_BYTES_MAX || !unfinished.set(pieces.len()) {
            return Err(unread());
        }
    }
    let bytes = pieces.len();
    let message = decode_message(pieces.take(bytes))
        .map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "error unmarshalling raft message"))?;
    let peer = core.peer(message.from());
    if let Some(peer) = &peer {
        peer.hear();
        peer.counters.received_bytes.add(bytes as u64);
    }
    if core.receive(message, peer.as_deref()) {
        return Ok(no_content());
    }
    let text = "error processing raft message";
    Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text))
}
