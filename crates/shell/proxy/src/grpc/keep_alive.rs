//! Keep-alives of leases: many clients' over few streams, and those of one lease that come together as one.
//!
//! A renewal that is under way answers for whoever asks for the same lease until its answer is there. Callers
//! who name a user are passed on by themselves.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use client::{Headers, Sending, Streaming, framed};
use http::HeaderValue;
use metrics::ProxyMetrics;
use prost::Message;
use proto::{Rpc, etcdserverpb as pb};
use rpc::{Inbound, Sink};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use types::{Code, Refusal};

use super::upstream::{OWN_DURATION_MAX, Upstream, refusal};

/// Streams to the server for callers of each kind: a server answers one renewal after the other.
const STREAMS: usize = 8;

/// Renews leases.
#[derive(Debug)]
pub struct KeepAlives {
    /// Those that do not ask for a leader, then those that do.
    streams: Vec<mpsc::UnboundedSender<Renew>>,
}

type Answer = Result<pb::LeaseKeepAliveResponse, Refusal>;

/// One client waits for one of these at a time.
#[derive(Debug)]
struct Renew {
    lease: i64,
    reply: oneshot::Sender<Answer>,
}

/// One stream and who waits on it.
struct Renewing {
    upstream: Arc<Upstream>,
    metrics: Arc<ProxyMetrics>,
    headers: Headers,
    stream: Option<(Sending, Streaming)>,
    waiting: HashMap<i64, Vec<oneshot::Sender<Answer>>>,
}

impl KeepAlives {
    /// Nothing is sent before the first renewal.
    pub fn new(core: &Handle, upstream: &Arc<Upstream>, metrics: &Arc<ProxyMetrics>) -> KeepAlives {
        let start = |number: usize| {
            let (sender, renewals) = mpsc::unbounded_channel();
            let mut headers = Headers::new();
            if STREAMS <= number {
                headers.push(("hasleader", HeaderValue::from_static("true")));
            }
            let renewing = Renewing {
                upstream: upstream.clone(),
                metrics: metrics.clone(),
                headers,
                stream: None,
                waiting: HashMap::new(),
            };
            core.spawn(renewing.run(renewals));
            sender
        };
        KeepAlives { streams: (0..2 * STREAMS).map(start).collect() }
    }

    /// Serves a stream whose caller names no user: one renewal after the other, as a server does.
    pub async fn serve(
        self: Arc<KeepAlives>,
        needs_leader: bool,
        mut inbound: Inbound,
        mut sink: Sink,
    ) -> Result<(), Refusal> {
        while let Some(asked) = inbound.next_of::<pb::LeaseKeepAliveRequest>().await? {
            let place = asked.id.unsigned_abs() as usize % STREAMS;
            let place = place + if needs_leader { STREAMS } else { 0 };
            let (reply, answer) = oneshot::channel();
            let renew = Renew { lease: asked.id, reply };
            self.streams[place].send(renew).map_err(|_| Refusal::Stopped)?;
            sink.send(&answer.await.map_err(|_| Refusal::Stopped)??).await?;
        }
        Ok(())
    }
}

impl Renewing {
    async fn run(mut self, mut renewals: mpsc::UnboundedReceiver<Renew>) {
        loop {
            tokio::select! {
                renew = renewals.recv() => match renew {
                    Some(renew) => self.renew(renew).await,
                    None => return,
                },
                said = next(&mut self.stream) => match said {
                    Ok(answer) => self.tell(answer),
                    Err(refusal) => self.fail(&refusal),
                },
            }
        }
    }

    async fn renew(&mut self, Renew { lease, reply }: Renew) {
        let waiting = self.waiting.entry(lease).or_default();
        waiting.push(reply);
        if waiting.len() > 1 {
            self.metrics.proxy.keep_alives_coalesced.inc();
            return;
        }
        if let Err(refusal) = self.ask(lease).await {
            self.fail(&refusal);
        }
    }

    async fn ask(&mut self, lease: i64) -> Result<(), Refusal> {
        if self.stream.is_none() {
            let client = self.upstream.clients().quick;
            let opening = client.pass_stream(Rpc::LeaseKeepAlive, &self.headers);
            let opened = timeout(OWN_DURATION_MAX, opening).await;
            let none = |_| Refusal::Other(Code::Unavailable, "no server can be reached".into());
            self.stream = Some(opened.map_err(none)?.map_err(refusal)?);
        }
        let Some((sending, _)) = &mut self.stream else { return Err(Refusal::Stopped) };
        let message = pb::LeaseKeepAliveRequest { id: lease }.encode_to_vec();
        let sent = framed(&message).and_then(|framed: Bytes| sending.send(framed, false));
        sent.map_err(|status| Refusal::Other(status.code, status.message.into()))
    }

    fn tell(&mut self, answer: pb::LeaseKeepAliveResponse) {
        for waiting in self.waiting.remove(&answer.id).unwrap_or_default() {
            // Who waited may have gone.
            let _ = waiting.send(Ok(answer));
        }
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.stream = None;
        for waiting in self.waiting.drain().flat_map(|(_, waiting)| waiting) {
            let _ = waiting.send(Err(refusal.clone()));
        }
    }
}

/// The next answer; waits for ever where there is no stream.
async fn next(stream: &mut Option<(Sending, Streaming)>) -> Answer {
    let Some((_, streaming)) = stream else { return std::future::pending().await };
    match streaming.message().await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Refusal::Other(Code::Unavailable, "the server ended the stream".into())),
        Err(status) => Err(Refusal::Other(status.code, status.message.into())),
    }
}
