//! One request to one member, and its answer.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::api::Fault;
use crate::url::Url;

/// The longest answer that is read: a whole tree of keys.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is done.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// What is sent, and what kind of thing it is.
    pub body: Option<(&'static str, String)>,
    /// It is answered when something happens, which may take for ever.
    pub waits: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP's.
    pub status: StatusCode,
    /// `X-Etcd-Index`.
    pub index: Option<u64>,
    /// Where to go instead.
    pub location: Option<String>,
    /// The rest.
    pub body: Bytes,
}

/// Both directions of a connection.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Asks and reads the whole answer.
///
/// # Errors
/// [`Fault`].
pub async fn round(
    ask: &Ask,
    tls: &Arc<ClientConfig>,
    credentials: Option<&Credentials>,
    head_duration_max: Option<Duration>,
    endpoint: &Url,
) -> Result<Answer, Fault> {
    let late = || Fault::Said(format!("client: endpoint {endpoint} exceeded header timeout"));
    let head = head(ask, tls, credentials);
    let response = match head_duration_max.filter(|_| !ask.waits) {
        None => head.await?,
        // The clock counts milliseconds: what is shorter is over before it begins.
        Some(patience) if patience < Duration::from_millis(1) => return Err(late()),
        Some(patience) => timeout(patience, head).await.map_err(|_| late())??,
    };
    let text = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (status, location) = (response.status(), text("location"));
    let index = text("x-etcd-index").and_then(|index| index.parse().ok());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|_| Fault::Said("unexpected EOF".to_owned()))?.to_bytes();
    Ok(Answer { status, index, location, body })
}

/// Connects, asks, and awaits the beginning of the answer.
async fn head(
    ask: &Ask,
    tls: &Arc<ClientConfig>,
    credentials: Option<&Credentials>,
) -> Result<Response<Incoming>, Fault> {
    let request = request(ask, credentials)?;
    let wire = dial(&ask.url, tls).await?;
    let opened = hyper::client::conn::http1::handshake(TokioIo::new(wire)).await;
    let (mut sender, connection) = opened.map_err(|error| broken(&error))?;
    tokio::spawn(async move {
        // What went wrong is told to whoever waits for the answer.
        let _ = connection.await;
    });
    sender.send_request(request).await.map_err(|error| broken(&error))
}

fn request(ask: &Ask, credentials: Option<&Credentials>) -> Result<Request<Full<Bytes>>, Fault> {
    let host = ask.url.host.rsplit_once('@').map_or(ask.url.host.as_str(), |(_, host)| host);
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(ask.url.target())
        .header(header::HOST, host)
        .header(header::USER_AGENT, "Go-http-client/1.1");
    if let Some((kind, _)) = &ask.body {
        request = request.header(header::CONTENT_TYPE, *kind);
    }
    if let Some(Credentials { user, password }) = credentials {
        let both = STANDARD.encode(format!("{user}:{password}"));
        request = request.header(header::AUTHORIZATION, format!("Basic {both}"));
    }
    let body = ask.body.as_ref().map_or(Bytes::new(), |(_, body)| body.clone().into());
    request.body(Full::new(body)).map_err(|error| Fault::Said(error.to_string()))
}

async fn dial(url: &Url, tls: &Arc<ClientConfig>) -> Result<Box<dyn Wire>, Fault> {
    let address = url.address();
    match url.scheme.as_str() {
        "http" | "https" => {
            let tcp = client::connect_tcp(&address).await;
            let tcp = tcp.map_err(|why| Fault::Lost(format!("dial {why}")))?;
            // A request that is sent a little later is sent all the same.
            let _ = tcp.set_nodelay(true);
            if url.scheme == "http" { Ok(Box::new(tcp)) } else { encrypt(url, tls, tcp).await }
        }
        "unix" | "unixs" => {
            let unix = UnixStream::connect(&address).await.map_err(|error| {
                Fault::Lost(format!("dial unix {address}: connect: {}", go::io_text(&error)))
            })?;
            if url.scheme == "unix" { Ok(Box::new(unix)) } else { encrypt(url, tls, unix).await }
        }
        other => Err(Fault::Said(format!("unsupported protocol scheme {}", go::quote(other)))),
    }
}

async fn encrypt<S: Wire + 'static>(
    url: &Url,
    tls: &Arc<ClientConfig>,
    stream: S,
) -> Result<Box<dyn Wire>, Fault> {
    let said = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Fault::Said("EOF".to_owned()),
        _ => Fault::Said(tls::go_text(&error)),
    };
    let name = url.host_name();
    let name = rustls::pki_types::ServerName::try_from(name)
        .map_err(|error| Fault::Said(error.to_string()))?;
    let encrypted = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    Ok(Box::new(encrypted.map_err(said)?))
}

/// A connection that was there and is not any more.
fn broken(error: &hyper::Error) -> Fault {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return Fault::Lost(go::io_text(error));
        }
        source = cause.source();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Fault::Said("EOF".to_owned());
    }
    Fault::Said(error.to_string())
}
