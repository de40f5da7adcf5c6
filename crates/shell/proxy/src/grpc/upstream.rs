//! The servers behind the proxy, and calls passed on to them.
//!
//! There are two connections to each server. Over the *quick* one go calls whose answers are read as they
//! come. Over the *paced* one go streams that are read only as fast as a client of ours reads: each has a
//! small window of its own, so one that stands still holds up none of the others.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use client::{Client, Config, Error, Headers, Sending, Status, Streaming};
use http::HeaderValue;
use rpc::{Call, FRAME_PREFIX_BYTES, Reply, Reserved, Rpc, Unread};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use types::{Code, Refusal};

/// Windows of a stream and of a connection for streams that are read at a client's pace. The second is as
/// large as HTTP/2 allows, so that it is never what a stream waits for.
const PACED_WINDOW_BYTES: (u32, u32) = (32 * 1024, (1 << 31) - 1);

/// Streams at once that are passed on as they are; with what each may hold, half a gibibyte.
const PASSED_MAX: usize = 16_384;

/// Answers above this are counted with what clients leave unread while they are still coming.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// What of a caller's metadata is passed on: who it is, and what it asks of the server.
const PASSED_ON: [&str; 4] = ["token", "authorization", "hasleader", "client-api-version"];

/// How long the proxy's own questions may take.
pub const OWN_DURATION_MAX: Duration = Duration::from_secs(5);

/// Both kinds of connections to the same endpoints.
#[derive(Clone, Debug)]
pub struct Clients {
    /// For answers that are read at once.
    pub quick: Client,
    /// For streams that are read at a client's pace.
    pub paced: Client,
}

/// The servers behind the proxy.
#[derive(Debug)]
pub struct Upstream {
    config: Config,
    current: RwLock<(Arc<Vec<String>>, Clients)>,
    passed: Arc<Semaphore>,
}

/// A stream that is passed on. It counts as long as it is held.
#[derive(Debug)]
pub struct Opened {
    /// To the server.
    pub sending: Sending,
    /// From the server.
    pub streaming: Streaming,
    _counted: OwnedSemaphorePermit,
}

async fn clients(config: &Config) -> Result<Clients, Error> {
    let quick = Client::connect(config.clone()).await?;
    let paced = Config { window_bytes: PACED_WINDOW_BYTES, ..config.clone() };
    let paced = Client::connect(paced).await?;
    // Who first asks for a connection is whose runtime drives it: this one, which lives as long as the proxy.
    for client in [&quick, &paced] {
        let _ = timeout(Duration::ZERO, client.connected()).await;
    }
    Ok(Clients { quick, paced })
}

impl Upstream {
    /// Nothing is sent before the first call.
    ///
    /// # Errors
    /// Certificates that cannot be used, or no endpoint.
    pub async fn new(config: Config) -> Result<Upstream, Error> {
        let made = clients(&config).await?;
        let current = RwLock::new((Arc::new(config.endpoints.clone()), made));
        Ok(Upstream { config, current, passed: Arc::new(Semaphore::new(PASSED_MAX)) })
    }

    /// The connections there are now.
    pub fn clients(&self) -> Clients {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// The endpoints there are now.
    pub fn endpoints(&self) -> Arc<Vec<String>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// The certificates they are called with.
    pub fn tls(&self) -> &client::TlsOptions {
        &self.config.tls
    }

    /// Other endpoints from now on. Streams stay where they are until they end.
    ///
    /// # Errors
    /// As [`Upstream::new`]; the former ones stay then.
    pub async fn lead_to(&self, endpoints: Vec<String>) -> Result<(), Error> {
        let made = clients(&Config { endpoints: endpoints.clone(), ..self.config.clone() }).await?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = (Arc::new(endpoints), made);
        Ok(())
    }

    /// Passes a unary call on.
    ///
    /// # Errors
    /// What the server said, word for word; or that there is none.
    pub async fn pass(&self, call: &Call, rpc: Rpc, message: &[u8]) -> Result<Passed, Refusal> {
        let headers = headers_of(call)?;
        let unread = call.unread();
        let mut reserved = None;
        let client = self.clients().quick.until(call.deadline().map(Into::into));
        let admit = admit(&unread, &mut reserved);
        let frame = client.pass(rpc, &headers, message, admit).await.map_err(refusal)?;
        Ok(Passed { frame, _reserved: reserved })
    }

    /// Begins a call with streams.
    ///
    /// # Errors
    /// As [`Upstream::pass`]; ResourceExhausted, where there are too many.
    pub async fn open(&self, call: &Call, rpc: Rpc) -> Result<Opened, Refusal> {
        let counted = self.passed.clone().try_acquire_owned().map_err(|_| {
            Refusal::Other(Code::ResourceExhausted, "too many streams are passed on".into())
        })?;
        let client = self.clients().paced.until(call.deadline().map(Into::into));
        let opened = client.pass_stream(rpc, &headers_of(call)?).await;
        let (sending, streaming) = opened.map_err(refusal)?;
        Ok(Opened { sending, streaming, _counted: counted })
    }
}

/// Reserves room for what an answer's length says, if it is not small; what was reserved before is given back.
pub fn admit<'a>(
    unread: &'a Unread,
    reserved: &'a mut Option<Reserved>,
) -> impl FnMut(usize) -> Result<(), Status> + 'a {
    move |bytes| {
        *reserved = None;
        if SMALL_BYTES_MAX < bytes {
            *reserved = Some(unread.reserve(bytes).map_err(|refusal| status(&refusal))?);
        }
        Ok(())
    }
}

/// Whether the caller names no user. Only what such a caller gets is ever shared with others.
pub fn is_anonymous(call: &Call) -> bool {
    call.header("token").is_none() && call.header("authorization").is_none()
}

/// The metadata that goes with a call.
///
/// # Errors
/// It holds bytes that no token holds.
pub fn headers_of(call: &Call) -> Result<Headers, Refusal> {
    let mut headers = Headers::new();
    for name in PASSED_ON {
        if let Some(value) = call.header(name) {
            let value = HeaderValue::from_bytes(value).map_err(|_| Refusal::InvalidAuthToken)?;
            headers.push((name, value));
        }
    }
    Ok(headers)
}

/// An error as what our own client is told.
pub fn refusal(error: Error) -> Refusal {
    match error {
        Error::Status(status) => Refusal::Other(status.code, status.message.into()),
        Error::DeadlineExceeded => {
            Refusal::Other(Code::DeadlineExceeded, "context deadline exceeded".into())
        }
        other => Refusal::Other(Code::Unknown, other.to_string().into()),
    }
}

fn status(refusal: &Refusal) -> Status {
    Status::new(refusal.code(), refusal.message())
}

/// An answer as it came, in its frame.
#[derive(Debug)]
pub struct Passed {
    frame: Bytes,
    _reserved: Option<Reserved>,
}

impl Passed {
    /// Of a frame.
    pub fn of(frame: Bytes) -> Passed {
        Passed { frame, _reserved: None }
    }

    /// The message with the five bytes before it.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The message.
    pub fn message(&self) -> Bytes {
        self.frame.slice(FRAME_PREFIX_BYTES..)
    }

    /// The same with another message.
    pub fn with(self, frame: Bytes) -> Passed {
        Passed { frame, ..self }
    }
}

impl Reply for Passed {
    fn encoded_len(&self) -> usize {
        self.frame.len() - FRAME_PREFIX_BYTES
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.frame[FRAME_PREFIX_BYTES..]);
    }

    fn framed(&self) -> Option<Bytes> {
        Some(self.frame.clone())
    }
}
