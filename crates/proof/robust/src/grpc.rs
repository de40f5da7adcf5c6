//! A gRPC client that knows no messages: bytes out, bytes in, straight on HTTP/2, blocking.
//!
//! It sends whatever body, method and headers a test wants, so a test can be wrong on purpose.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long one call may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One HTTP/2 connection with its own little runtime: it makes progress while a call is waited for.
#[derive(Debug)]
pub struct Connection {
    runtime: Arc<Runtime>,
    sender: SendRequest<Bytes>,
    authority: String,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Call {
    /// The path: `/etcdserverpb.KV/Range`.
    pub path: String,
    /// The HTTP method; POST unless a test wants to be wrong.
    pub method: String,
    /// Headers in order. A header given here replaces the usual one of that name.
    pub headers: Vec<(String, String)>,
    /// The whole body: framed messages, or nonsense.
    pub body: Bytes,
}

impl Call {
    /// An ordinary call with one message.
    pub fn unary(path: &str, message: &[u8]) -> Call {
        Call {
            path: path.to_string(),
            method: "POST".to_string(),
            headers: Vec::new(),
            body: frame(message),
        }
    }

    /// The call with one more header.
    pub fn with_header(mut self, name: &str, value: &str) -> Call {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }
}

/// One gRPC message with its five bytes in front.
pub fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("messages of tests are small");
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.freeze()
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub http_status: u16,
    /// The content type.
    pub content_type: String,
    /// The messages, unframed.
    pub messages: Vec<Bytes>,
    /// gRPC's status code, when there was one.
    pub status: Option<i32>,
    /// gRPC's status text, decoded.
    pub message: Option<String>,
    /// How the stream broke, when it broke: a reset, a lost connection, no answer in time.
    pub broken: Option<String>,
}

impl Answer {
    /// The only message of a call that succeeded, decoded.
    #[track_caller]
    pub fn ok<M: prost::Message + Default>(&self) -> M {
        assert_eq!(self.status, Some(0), "{:?} {:?}", self.message, self.broken);
        assert_eq!(self.messages.len(), 1, "one message");
        M::decode(self.messages[0].clone()).expect("the server sends well-formed messages")
    }

    /// True when the call succeeded.
    pub fn is_ok(&self) -> bool {
        self.status == Some(0) && self.broken.is_none()
    }

    fn read_head(&mut self, head: &http::response::Parts) {
        self.http_status = head.status.as_u16();
        self.content_type = header(&head.headers, "content-type").unwrap_or_default();
        self.read_status(&head.headers);
    }

    fn read_status(&mut self, headers: &HeaderMap) {
        if let Some(status) = header(headers, "grpc-status") {
            self.status = status.parse().ok();
            self.message =
                Some(percent_decode(&header(headers, "grpc-message").unwrap_or_default()));
        }
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn percent_decode(text: &str) -> String {
    let mut bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        let code = (*first == b'%').then(|| rest.get(..2)).flatten();
        let code = code.and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => (out.push(byte), bytes = &rest[2..]),
            None => (out.push(*first), bytes = rest),
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Connection {
    /// Opens a connection to `host:port`.
    pub fn open(address: &str) -> io::Result<Connection> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = runtime.block_on(Connection::handshake(address))?;
        Ok(Connection { runtime: Arc::new(runtime), sender, authority: address.to_string() })
    }

    /// Opens an encrypted connection to `host:port`, showing `who`'s certificate of a folder in which
    /// [`CERTIFICATES`](crate::secure::CERTIFICATES) were made.
    pub fn open_as(address: &str, folder: &Path, who: &str) -> io::Result<Connection> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = runtime.block_on(async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            Connection::speak(crate::secure::encrypt(tcp, folder, who).await?).await
        })?;
        Ok(Connection { runtime: Arc::new(runtime), sender, authority: address.to_string() })
    }

    async fn handshake(address: &str) -> io::Result<SendRequest<Bytes>> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        Connection::speak(tcp).await
    }

    async fn speak<T>(io: T) -> io::Result<SendRequest<Bytes>>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(16 << 20).initial_connection_window_size(64 << 20);
        builder.max_header_list_size(1 << 20);
        let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its end is noticed by the calls on it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// As [`Connection::open`], for a host that may not answer at all.
    ///
    /// # Errors
    /// When it is not open in time, too.
    pub fn open_within(address: &str, patience: Duration) -> io::Result<Connection> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let opening = Connection::handshake(address);
        let opened = runtime.block_on(async { timeout(patience, opening).await });
        let sender = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Connection { runtime: Arc::new(runtime), sender, authority: address.to_string() })
    }

    /// One message out, all messages in.
    pub fn unary(&self, path: &str, message: &impl prost::Message) -> Answer {
        self.call(&Call::unary(path, &message.encode_to_vec()))
    }

    /// Sends a call with its whole body and reads the answer to its end.
    pub fn call(&self, call: &Call) -> Answer {
        self.call_for(call, PATIENCE, usize::MAX)
    }

    /// As [`Connection::call`], but ends early after so many messages or so much time.
    pub fn call_for(&self, call: &Call, patience: Duration, messages_max: usize) -> Answer {
        let mut stream = match self.open_stream(call, true) {
            Ok(stream) => stream,
            Err(error) => return Answer { broken: Some(error), ..Answer::default() },
        };
        let mut answer = Answer::default();
        while answer.messages.len() < messages_max {
            match stream.next(patience) {
                Item::Message(message) => answer.messages.push(message),
                Item::Nothing => {
                    answer.broken = Some("no answer in time".to_string());
                    break;
                }
                Item::End(end) => {
                    answer = Answer { messages: answer.messages, ..end };
                    break;
                }
            }
        }
        answer
    }

    /// Opens a stream on which messages go both ways.
    pub fn stream(&self, path: &str) -> Stream {
        let call = Call { body: Bytes::new(), ..Call::unary(path, &[]) };
        self.open_stream(&call, false).expect("a fresh stream on an open connection")
    }

    /// Begins a call whose body may go on; `None` when the server takes no more.
    pub fn begin(&self, call: &Call) -> Option<Stream> {
        self.open_stream(call, false).ok()
    }

    /// Begins a call with its whole body, and reads nothing of the answer yet; `None` when the server takes no more.
    pub fn begin_whole(&self, call: &Call) -> Option<Stream> {
        self.open_stream(call, true).ok()
    }

    fn open_stream(&self, call: &Call, ends: bool) -> Result<Stream, String> {
        let request = self.request(call)?;
        let bare = ends && call.body.is_empty();
        let opening = async {
            let mut ready = self.sender.clone().ready().await.map_err(broken)?;
            let (answer, mut body) = ready.send_request(request, bare).map_err(broken)?;
            if !call.body.is_empty() {
                body.send_data(call.body.clone(), ends).map_err(broken)?;
            }
            Ok::<_, String>((answer, body))
        };
        // The timer is made inside the runtime, which it needs.
        let opened = self.runtime.block_on(async { timeout(PATIENCE, opening).await });
        let (answer, body) = opened.map_err(|_| "no stream in time".to_string())??;
        Ok(Stream {
            runtime: self.runtime.clone(),
            out: body,
            head: Some(answer),
            body: None,
            buffer: BytesMut::new(),
            whole: VecDeque::new(),
            answer: Answer::default(),
            ended: false,
        })
    }

    fn request(&self, call: &Call) -> Result<Request<()>, String> {
        let uri = format!("http://{}{}", self.authority, call.path);
        let mut request = Request::builder().method(call.method.as_str()).uri(uri);
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            if !call.headers.iter().any(|(given, _)| given == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in call.headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        request.body(()).map_err(|error| format!("not sendable: {error}"))
    }
}

/// Something a stream gave.
#[derive(Debug)]
pub enum Item {
    /// A message.
    Message(Bytes),
    /// The end: an answer without messages.
    End(Answer),
    /// Nothing within the time given.
    Nothing,
}

/// A stream of messages both ways.
#[derive(Debug)]
pub struct Stream {
    runtime: Arc<Runtime>,
    out: SendStream<Bytes>,
    head: Option<ResponseFuture>,
    body: Option<RecvStream>,
    buffer: BytesMut,
    whole: VecDeque<Bytes>,
    answer: Answer,
    ended: bool,
}

impl Stream {
    /// Sends one message.
    pub fn send(&mut self, message: &impl prost::Message) {
        self.send_bytes(&message.encode_to_vec());
    }

    /// Sends one message given as bytes.
    pub fn send_bytes(&mut self, message: &[u8]) {
        // A stream the server has ended takes no more; the reader will see that end.
        let _ = self.out.send_data(frame(message), false);
        self.runtime.block_on(tokio::task::yield_now());
    }

    /// Says that nothing more will be sent.
    pub fn close_send(&mut self) {
        let _ = self.out.send_data(Bytes::new(), true);
        self.runtime.block_on(tokio::task::yield_now());
    }

    /// The next message, decoded; panics when there is none in time.
    #[track_caller]
    pub fn expect<M: prost::Message + Default>(&mut self) -> M {
        match self.next(PATIENCE) {
            Item::Message(message) => M::decode(message).expect("a well-formed message"),
            other => panic!("a message was expected, not {other:?}"),
        }
    }

    /// The next item.
    pub fn next(&mut self, patience: Duration) -> Item {
        let runtime = self.runtime.clone();
        let read = async {
            loop {
                if let Some(message) = self.whole.pop_front() {
                    return Item::Message(message);
                }
                if self.ended {
                    return Item::End(self.answer.clone());
                }
                if let Err(error) = read_some(
                    &mut self.head,
                    &mut self.body,
                    &mut self.answer,
                    &mut self.buffer,
                    &mut self.ended,
                )
                .await
                {
                    self.answer.broken = Some(error);
                    self.ended = true;
                }
                while let Some(message) = take_message(&mut self.buffer) {
                    self.whole.push_back(message);
                }
            }
        };
        runtime.block_on(async { timeout(patience, read).await }).unwrap_or(Item::Nothing)
    }
}

/// Reads the head, or the next piece of the body, or the trailers.
async fn read_some(
    head: &mut Option<ResponseFuture>,
    body: &mut Option<RecvStream>,
    answer: &mut Answer,
    buffer: &mut BytesMut,
    ended: &mut bool,
) -> Result<(), String> {
    if let Some(waiting) = head {
        let response = waiting.await.map_err(broken)?;
        *head = None;
        let (parts, stream) = response.into_parts();
        answer.read_head(&parts);
        *body = Some(stream);
    }
    let stream = body.as_mut().expect("a body follows the head");
    match poll_fn(|context| stream.poll_data(context)).await {
        Some(piece) => {
            let piece = piece.map_err(broken)?;
            stream.flow_control().release_capacity(piece.len()).map_err(broken)?;
            buffer.extend_from_slice(&piece);
        }
        None => {
            if let Some(trailers) =
                poll_fn(|context| stream.poll_trailers(context)).await.map_err(broken)?
            {
                answer.read_status(&trailers);
            }
            *ended = true;
        }
    }
    Ok(())
}

/// Takes a whole message off the front of the buffer. Compressed ones come as they are.
fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}

/// How a stream broke, in words that do not differ between two servers that break it alike.
fn broken(error: h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_go_away() => format!("GOAWAY {reason:?}"),
        Some(reason) => format!("RST_STREAM {reason:?}"),
        None => "connection lost".to_string(),
    }
}
