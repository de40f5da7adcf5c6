//! A client of ours, small and quick, for what `h2load` cannot do: several requests that differ,
//! streams both ways, waits measured one by one.
//!
//! Straight on HTTP/2, one thread, no retries: an error is the end of the run.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::Request;
use prost::Message;
use proto::etcdserverpb as pb;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::access::Access;

/// How long a call may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// One HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Bytes>,
    /// Who asks: a token of a user, with each request.
    token: Option<String>,
}

/// One gRPC message with its five bytes in front.
pub fn frame(message: &impl Message) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.encoded_len());
    framed.extend_from_slice(&[0]);
    let length = u32::try_from(message.encoded_len()).expect("messages of a bench are small");
    framed.extend_from_slice(&length.to_be_bytes());
    message.encode(&mut framed).expect("there is room");
    framed.freeze()
}

/// Begins HTTP/2 on a connection.
async fn speak<T>(io: T) -> Result<SendRequest<Bytes>, String>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(64 << 20).initial_connection_window_size(128 << 20);
    builder.max_frame_size(1 << 20);
    let (sender, connection) = builder.handshake(io).await.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        // Its end is noticed by the calls on it.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Runs work to its end on a runtime of its own, on this thread.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    runtime.expect("a runtime starts").block_on(local.run_until(work))
}

impl Client {
    /// Opens a connection in the clear, to `host:port`, as nobody.
    pub async fn open(address: &str) -> Result<Client, String> {
        Client::enter(&Access::in_the_clear(address)).await
    }

    /// Opens a connection with whatever the server wants to see.
    pub async fn enter(access: &Access) -> Result<Client, String> {
        let tcp = TcpStream::connect(&access.address).await.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let sender = match &access.tls {
            None => speak(tcp).await?,
            Some(tls) => speak(tls.shake_hands(tcp).await.map_err(|e| e.to_string())?).await?,
        };
        Ok(Client { sender, token: access.token.clone() })
    }

    /// Opens so many connections in the clear.
    pub async fn open_many(address: &str, count: usize) -> Vec<Client> {
        Client::enter_many(&Access::in_the_clear(address), count).await
    }

    /// Opens so many connections.
    pub async fn enter_many(access: &Access, count: usize) -> Vec<Client> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Client::enter(access).await.expect("the server accepts connections"));
        }
        clients
    }

    /// Whether a server there answers a linearizable read.
    pub fn answers(access: &Access) -> bool {
        if std::net::TcpStream::connect(&access.address).is_err() {
            return false;
        }
        let read = pb::RangeRequest { key: Bytes::from_static(b"a"), ..Default::default() };
        run(async {
            let asked = async {
                let client = Client::enter(access).await?;
                client.call("/etcdserverpb.KV/Range", frame(&read)).await
            };
            matches!(timeout(Duration::from_secs(2), asked).await, Ok(Ok(_)))
        })
    }

    /// One message out, the bytes of one message back.
    pub async fn call(&self, path: &str, framed: Bytes) -> Result<Bytes, String> {
        let mut answers = self.stream(path, Some(framed)).await?.1;
        let message = answers.next().await?.ok_or("no answer")?;
        match answers.next().await? {
            None => Ok(message),
            Some(_) => Err("two answers".into()),
        }
    }

    /// As [`Client::call`], decoded; the run ends when it fails.
    pub async fn ask<M: Message + Default>(&self, path: &str, request: &impl Message) -> M {
        let answer = timeout(PATIENCE, self.call(path, frame(request))).await;
        let answer = answer.unwrap_or_else(|_| panic!("{path}: no answer in time"));
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        M::decode(answer).expect("a server sends well-formed messages")
    }

    /// Opens a stream; with a message it is the only one.
    pub async fn stream(
        &self,
        path: &str,
        only: Option<Bytes>,
    ) -> Result<(Requests, Answers), String> {
        let mut request = Request::post(format!("http://bench{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let request = request.body(()).expect("these headers are valid");
        let mut ready = self.sender.clone().ready().await.map_err(|error| error.to_string())?;
        let (answer, mut out) =
            ready.send_request(request, false).map_err(|error| error.to_string())?;
        if let Some(framed) = only {
            out.send_data(framed, true).map_err(|error| error.to_string())?;
        }
        Ok((Requests(out), Answers { head: Some(answer), body: None, buffer: BytesMut::new() }))
    }
}

/// The sending half of a stream.
pub struct Requests(SendStream<Bytes>);

impl Requests {
    /// Sends one framed message.
    pub fn send(&mut self, framed: Bytes) {
        self.0.send_data(framed, false).expect("the stream is open");
    }
}

/// The receiving half of a stream.
pub struct Answers {
    head: Option<h2::client::ResponseFuture>,
    body: Option<RecvStream>,
    buffer: BytesMut,
}

impl Answers {
    /// The next message; `None` at the end of a stream that went well.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        if let Some(head) = self.head.take() {
            let response = head.await.map_err(|error| error.to_string())?;
            if let Some(status) = response.headers().get("grpc-status") {
                return Err(format!("gRPC status {status:?}"));
            }
            self.body = Some(response.into_body());
        }
        let body = self.body.as_mut().expect("the head came");
        loop {
            if let Some(message) = take_message(&mut self.buffer) {
                return Ok(Some(message));
            }
            match body.data().await {
                Some(Ok(piece)) => {
                    // A server that sends more than the window is not slowed down by us.
                    let _ = body.flow_control().release_capacity(piece.len());
                    if self.buffer.is_empty() && is_whole(&piece) {
                        return Ok(Some(piece.slice(5..)));
                    }
                    self.buffer.extend_from_slice(&piece);
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => break,
            }
        }
        let trailers = body.trailers().await.map_err(|error| error.to_string())?;
        match trailers.as_ref().and_then(|t| t.get("grpc-status")) {
            Some(status) if status == "0" => Ok(None),
            status => Err(format!("gRPC status {status:?}")),
        }
    }
}

fn length_of(buffer: &[u8]) -> Option<usize> {
    Some(u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?) as usize)
}

fn is_whole(piece: &Bytes) -> bool {
    length_of(piece).is_some_and(|length| piece.len() == 5 + length)
}

fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = length_of(buffer)?;
    if buffer.len() < 5 + length {
        buffer.reserve(5 + length - buffer.len());
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}
