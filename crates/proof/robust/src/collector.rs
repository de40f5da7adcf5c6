//! A collector of OpenTelemetry that keeps the spans it is sent, by whomever: the messages are those of OTLP 1.x, as far
//! as a span is shown here.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::{Message, Oneof};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Bytes in front of a message.
const PREFIX_BYTES: usize = 5;

/// A span, by whom it was made, and the part of it that made it.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The service.
    pub resource: Resource,
    /// The part of it.
    pub scope: String,
    /// What it made.
    pub span: Span,
}

/// Listens on a port of loopback for as long as it lives.
#[derive(Debug)]
pub struct Collector {
    /// Where.
    pub address: SocketAddr,
    spans: Spans,
    _alive: oneshot::Sender<()>,
}

type Spans = Arc<Mutex<Vec<Collected>>>;

impl Collector {
    /// A collector that takes everything.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn start() -> Collector {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("an event queue");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let spans = Spans::default();
        let keeping = spans.clone();
        let (alive, gone) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let serving = async {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(serve(socket, keeping.clone()));
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    () = serving => {}
                    _ = gone => {}
                }
            });
        });
        Collector { address, spans, _alive: alive }
    }

    /// All spans it has.
    pub fn spans(&self) -> Vec<Collected> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has so many spans, or until `patience` ends; those it has then.
    pub fn wait_for(&self, count: usize, patience: Duration) -> Vec<Collected> {
        let deadline = Instant::now() + patience;
        while self.spans().len() < count && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.spans()
    }
}

async fn serve(socket: TcpStream, spans: Spans) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let spans = spans.clone();
        tokio::spawn(async move {
            // Whoever goes before it is answered asks again.
            let _ = take(request, answer, &spans).await;
        });
    }
}

async fn take(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    spans: &Spans,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    let status = match ExportRequest::decode(bytes.get(PREFIX_BYTES..).unwrap_or_default()) {
        Ok(request) => {
            let all = request.resource_spans.into_iter().flat_map(spans_of);
            spans.lock().unwrap_or_else(PoisonError::into_inner).extend(all);
            "0"
        }
        Err(_) => "13",
    };
    let head = Response::builder().header("content-type", "application/grpc");
    let mut out = answer.send_response(head.body(()).expect("it is well-formed"), false)?;
    // An answer without fields.
    out.send_data(Bytes::from_static(&[0; PREFIX_BYTES]), false)?;
    out.send_trailers(HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )]))
}

fn spans_of(of: ResourceSpans) -> Vec<Collected> {
    let resource = of.resource.unwrap_or_default();
    let of_part = |part: ScopeSpans| {
        let (resource, scope) = (resource.clone(), part.scope.unwrap_or_default().name);
        let collected =
            move |span| Collected { resource: resource.clone(), scope: scope.clone(), span };
        part.spans.into_iter().map(collected).collect::<Vec<_>>()
    };
    of.scope_spans.into_iter().flat_map(of_part).collect()
}

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// Who made spans.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// Its name and instance.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

/// A piece of work.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// What other systems said of the trace.
    #[prost(string, tag = "3")]
    pub trace_state: String,
    /// The work it is a part of.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// What is done.
    #[prost(string, tag = "5")]
    pub name: String,
    /// 1: inside a program; 2: for somebody who called.
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub start_unix_nanos: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end_unix_nanos: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// How it ended.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
    /// The trace's, and whether the parent is elsewhere.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

/// How a piece of work ended.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// Why it failed.
    #[prost(string, tag = "2")]
    pub message: String,
    /// 2 if it failed.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// A name and a value.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// Of one kind.
    #[prost(oneof = "Value", tags = "1, 2, 3")]
    pub value: Option<Value>,
}

/// The kinds of values that etcd's spans have.
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Truth(bool),
    /// A number.
    #[prost(int64, tag = "3")]
    Number(i64),
}
