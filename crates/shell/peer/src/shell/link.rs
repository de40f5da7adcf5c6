//! Connections that this member opens, and requests on them.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;

use super::peers::Peer;
use super::shared::Core;
use super::sockets::{Connector, dial};
use super::timed::{Busy, Patience, Timed};
use super::{LocalBody, whole};
use crate::rules::{Pace, PeerUrl, Version, header};

/// How long a connection between members may stand still.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A connection that was idle so long is not used again: a Go member closes one after 5 s.
const IDLE_MAX: Duration = Duration::from_millis(4500);
/// The most connections kept for the next request to one peer.
const IDLE_CONNECTIONS_MAX: usize = 2;
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

pub(super) const PATIENT: Patience = Patience { read: SILENCE_MAX, write: SILENCE_MAX };

/// A connection that takes one request at a time.
pub(super) type Connection = SendRequest<LocalBody>;

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub reason: String,
    /// Whether the other host closed or refused: then nobody is there, or it went away.
    pub by_host: bool,
}

impl NoAnswer {
    pub fn of(error: &(dyn Error + 'static)) -> NoAnswer {
        NoAnswer { reason: chain(error), by_host: by_host(error) }
    }

    pub fn because(reason: impl Into<String>) -> NoAnswer {
        NoAnswer { reason: reason.into(), by_host: false }
    }
}

/// An error and its causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

fn by_host(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind as Kind;
            let closed = [
                Kind::UnexpectedEof,
                Kind::ConnectionReset,
                Kind::ConnectionRefused,
                Kind::ConnectionAborted,
                Kind::BrokenPipe,
            ];
            return closed.contains(&error.kind());
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_closed())
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Opens a connection within the time given. It lives until it is dropped and its answer is read.
pub(super) async fn connect(
    url: &PeerUrl,
    connector: Option<&Arc<dyn Connector>>,
    timeout: Duration,
    patience: Patience,
) -> Result<Connection, NoAnswer> {
    let dialled = tokio::time::timeout(timeout, dial(url, connector)).await;
    let stream = dialled
        .map_err(|_| NoAnswer::because(format!("dial {}: i/o timeout", url.address)))?
        .map_err(|error| NoAnswer {
            reason: format!("dial {}: {error}", url.address),
            by_host: by_host(&error),
        })?;
    let timed = Timed::new(stream, patience, Busy::default());
    let made = hyper::client::conn::http1::handshake(TokioIo::new(timed)).await;
    let (sender, connection) = made.map_err(|error| NoAnswer::of(&error))?;
    tokio::task::spawn_local(async move {
        // What went wrong is told to whoever waits for the answer.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The beginning of a request that says who we are.
pub(super) fn begin(core: &Core, method: Method, url: &PeerUrl, path: &str) -> request::Builder {
    let identity = &core.identity;
    plain(method, url, path)
        .header(header::FROM, &core.own_label)
        .header(header::VERSION, identity.version.to_string())
        .header(header::MIN_VERSION, Version::MIN_CLUSTER.to_string())
        .header(header::CLUSTER, format!("{:x}", identity.cluster))
        .header(header::URLS, identity.peer_urls.join(","))
}

/// The beginning of a request that says nothing of us.
pub(super) fn plain(method: Method, url: &PeerUrl, path: &str) -> request::Builder {
    let host = if url.unix() { "localhost" } else { url.address.as_str() };
    Request::builder().method(method).uri(path).header(http::header::HOST, host)
}

/// Sends a request and awaits the beginning of its answer.
pub(super) async fn ask(
    connection: &mut Connection,
    request: Request<LocalBody>,
) -> Result<Response<Incoming>, NoAnswer> {
    connection.ready().await.map_err(|error| NoAnswer::of(&error))?;
    connection.send_request(request).await.map_err(|error| NoAnswer::of(&error))
}

/// The whole of a short answer.
pub(super) async fn read_answer(answer: Response<Incoming>) -> Result<bytes::Bytes, NoAnswer> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| NoAnswer { by_host: by_host(&*error), reason: chain(&*error) })
}

/// Connections for short requests to one peer, kept while they are used.
pub(super) struct Pool {
    core: Arc<Core>,
    peer: Arc<Peer>,
    idle: RefCell<Vec<(Connection, PeerUrl, Instant)>>,
    pace: RefCell<Pace>,
    heard: Cell<u64>,
}

impl Pool {
    pub fn new(core: &Arc<Core>, peer: &Arc<Peer>) -> Rc<Pool> {
        Rc::new(Pool {
            core: core.clone(),
            peer: peer.clone(),
            idle: RefCell::default(),
            pace: RefCell::default(),
            heard: Cell::default(),
        })
    }

    /// Sends a request to the peer and reads the answer; on a kept connection, or a fresh one. `make` is asked again
    /// if a kept connection turns out to be closed.
    pub async fn ask(
        &self,
        make: impl Fn(&PeerUrl) -> Request<LocalBody>,
    ) -> Result<(http::StatusCode, bytes::Bytes), NoAnswer> {
        let url = self.peer.urls().pick();
        let url = url.ok_or_else(|| NoAnswer::because("no peer URL can be dialled"))?;
        let outcome = self.ask_at(&url, make).await;
        if outcome.is_err() {
            self.core.url_failed(&self.peer, &url);
        }
        outcome
    }

    async fn ask_at(
        &self,
        url: &PeerUrl,
        make: impl Fn(&PeerUrl) -> Request<LocalBody>,
    ) -> Result<(http::StatusCode, bytes::Bytes), NoAnswer> {
        if let Some(mut kept) = self.kept(url) {
            match self.ask_on(&mut kept, make(url)).await {
                Err(error) if error.by_host => {}
                Err(error) => return Err(error),
                Ok(answer) => {
                    self.keep(kept, url);
                    return Ok(answer);
                }
            }
        }
        self.may_dial()?;
        let outcome = self.ask_anew(url, make(url)).await;
        // Not before there is an answer: a forwarder accepts for a member that is dead.
        match &outcome {
            Ok(_) => self.pace.borrow_mut().succeeded(),
            Err(_) => self.pace.borrow_mut().failed(),
        }
        outcome
    }

    async fn ask_on(
        &self,
        connection: &mut Connection,
        request: Request<LocalBody>,
    ) -> Result<(http::StatusCode, bytes::Bytes), NoAnswer> {
        let answer = ask(connection, request).await?;
        let status = answer.status();
        Ok((status, read_answer(answer).await?))
    }

    async fn ask_anew(
        &self,
        url: &PeerUrl,
        request: Request<LocalBody>,
    ) -> Result<(http::StatusCode, bytes::Bytes), NoAnswer> {
        let connector = self.core.connector.as_ref();
        let mut fresh =
            connect(url, connector, self.core.dial_timeout, self.core.patience()).await?;
        let answer = self.ask_on(&mut fresh, request).await?;
        self.keep(fresh, url);
        Ok(answer)
    }

    /// Whether a connection may be opened now.
    fn may_dial(&self) -> Result<(), NoAnswer> {
        let heard = self.peer.heard();
        if self.heard.replace(heard) != heard {
            self.pace.borrow_mut().succeeded();
        }
        let wait = self.pace.borrow().wait(Instant::now());
        // Messages are repeated anyway: a dial that may not be made yet is a failure, not a queue.
        if !wait.is_zero() && self.pace.borrow().failing() {
            return Err(NoAnswer::because("dialled too often lately"));
        }
        self.pace.borrow_mut().dialled(Instant::now());
        Ok(())
    }

    fn kept(&self, url: &PeerUrl) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(connection, _, since)| !connection.is_closed() && since.elapsed() < IDLE_MAX);
        let at = idle.iter().rposition(|(_, kept, _)| kept == url)?;
        Some(idle.remove(at).0)
    }

    fn keep(&self, connection: Connection, url: &PeerUrl) {
        let mut idle = self.idle.borrow_mut();
        if !connection.is_closed() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((connection, url.clone(), Instant::now()));
        }
    }
}

/// An empty body.
pub(super) fn nothing() -> LocalBody {
    whole(bytes::Bytes::new())
}
