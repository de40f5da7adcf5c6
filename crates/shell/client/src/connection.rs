//! One HTTP/2 connection: opened, kept alive by pings while calls are on it, and gone when it is gone.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::{HeaderValue, Method, Request};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::call::{Sending, Streaming};
use crate::dial::dial;
use crate::endpoint::Endpoint;
use crate::error::Status;
use crate::remark::Peer;

/// grpc-go does not ping more often, whatever it is told; servers take it amiss.
const PING_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// How a connection is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upkeep {
    /// After so long without a sign of life a ping is sent.
    pub ping_interval: Duration,
    /// After so long without its answer the connection is given up.
    pub ping_timeout: Duration,
    /// Whether pings are sent while no call is under way, too.
    pub without_calls: bool,
    /// What the server may send ahead on one stream, and on all of them, in bytes.
    pub window_bytes: (u32, u32),
}

/// An open connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    pub(crate) peer: Arc<Peer>,
    origin: String,
    /// Held by every call, so that their number is known.
    in_use: Arc<()>,
    closed: watch::Receiver<bool>,
}

impl Connection {
    pub(crate) async fn open(
        endpoint: &Endpoint,
        authority: &str,
        tls: Option<&(Arc<ClientConfig>, String)>,
        upkeep: Upkeep,
    ) -> Result<Connection, String> {
        let (wire, peer) = dial(endpoint, tls).await?;
        let heard = wire.heard();
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(upkeep.window_bytes.0)
            .initial_connection_window_size(upkeep.window_bytes.1)
            .enable_push(false);
        let silent = || {
            let why = heard.failure.get().map_or("EOF", String::as_str);
            format!("connection error: desc = \"error reading server preface: {why}\"")
        };
        let (sender, mut connection) = builder.handshake(wire).await.map_err(|_| silent())?;
        // A server may refuse our certificate after the handshake has ended for us. As grpc-go does, take
        // the connection for open when its first bytes are there.
        let preface = poll_fn(|context| match Pin::new(&mut connection).poll(context) {
            Poll::Ready(_) => Poll::Ready(Err(silent())),
            Poll::Pending if heard.anything.load(Ordering::Relaxed) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        });
        preface.await?;
        let (closing, closed) = watch::channel(false);
        let in_use = Arc::new(());
        let pings = connection.ping_pong().expect("it is asked for once");
        let pinging = ping(pings, upkeep, in_use.clone());
        tokio::spawn(async move {
            // Whichever ends first, dropping the connection ends its calls, which say so.
            tokio::select! {
                _ = connection => {}
                () = pinging => {}
            }
            closing.send_replace(true);
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{authority}");
        Ok(Connection { sender, peer: Arc::new(peer), origin, in_use, closed })
    }

    /// Waits until the connection is gone.
    pub(crate) async fn ended(&mut self) {
        // An error means the driver is gone, and the connection with it.
        let _ = self.closed.wait_for(|closed| *closed).await;
    }

    pub(crate) fn is_open(&self) -> bool {
        !*self.closed.borrow()
    }

    /// Starts a call.
    pub(crate) async fn start(
        &self,
        path: &str,
        headers: &[(&'static str, HeaderValue)],
        receive_bytes_max: usize,
    ) -> Result<(Sending, Streaming), Status> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.origin))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("holdfast/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(())
            .map_err(|error| Status::unavailable(format!("invalid request: {error}")))?;
        let lost = |error: h2::Error| Status::unavailable(format!("transport: {error}"));
        let mut sender = self.sender.clone().ready().await.map_err(lost)?;
        let (response, stream) = sender.send_request(request, false).map_err(lost)?;
        let sending = Sending::new(stream);
        let streaming = Streaming::new(response, receive_bytes_max, self.in_use.clone());
        Ok((sending, streaming))
    }
}

/// Returns when the other side is silent.
async fn ping(mut pings: PingPong, upkeep: Upkeep, in_use: Arc<()>) {
    /// Held by the connection, by its clone in the channel at least once, and here.
    const HOLDERS_WITHOUT_CALLS: usize = 2;
    let interval = upkeep.ping_interval.max(PING_INTERVAL_MIN);
    loop {
        sleep(interval).await;
        let in_use = HOLDERS_WITHOUT_CALLS < Arc::strong_count(&in_use);
        if !in_use && !upkeep.without_calls {
            continue;
        }
        match timeout(upkeep.ping_timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            _ => return,
        }
    }
}
