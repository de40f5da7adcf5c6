//! The client: a call goes to an endpoint that is ready, carries the token, ends with its deadline, and
//! is repeated only where that is safe.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use prost::Message;
use proto::etcdserverpb as pb;
use tokio::time::{Instant, sleep, timeout_at};
use types::{Code, Refusal};

use crate::call::{Sending, Streaming, frame};
use crate::channel::Channel;
use crate::connection::Upkeep;
use crate::error::{Error, Status};
use crate::method::{Method, Retry, methods};
use crate::remark::{Peer, Remark, Remarks};
use crate::tls::TlsOptions;

/// The protocol we speak; servers count their clients by it.
const API_VERSION: &str = "3.7";
/// As clientv3: so often, with so long between rounds over the endpoints.
pub(crate) const ATTEMPTS_MAX: u32 = 100;
const BACKOFF: Duration = Duration::from_millis(25);
/// What the server may send ahead on one stream, and on all of them.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const REQUEST_BYTES_DEFAULT: usize = 2 << 20;
const RECEIVE_BYTES_DEFAULT: usize = i32::MAX as usize;

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// Whom the token names.
    Token(String),
    /// A user; the token is fetched, and fetched again when it has expired.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
}

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one.
    pub endpoints: Vec<String>,
    /// How long fetching the first token may take.
    pub dial_timeout: Duration,
    /// See [`Config::keepalive_timeout`].
    pub keepalive_time: Duration,
    /// How long the answer to a ping may take.
    pub keepalive_timeout: Duration,
    /// Whether pings are sent while no call is under way, too.
    pub pings_without_calls: bool,
    /// What the server may send ahead on one stream, and on all of a connection, in bytes.
    pub window_bytes: (u32, u32),
    /// The longest request; zero means 2 MiB.
    pub request_bytes_max: usize,
    /// The longest answer; zero means 2 GiB.
    pub receive_bytes_max: usize,
    /// Certificates.
    pub tls: TlsOptions,
    /// Who asks.
    pub credentials: Credentials,
    /// Who is told about failed attempts.
    pub remarks: Remarks,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            endpoints: vec!["127.0.0.1:2379".to_owned()],
            dial_timeout: Duration::from_secs(2),
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            pings_without_calls: false,
            window_bytes: (STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES),
            request_bytes_max: 0,
            receive_bytes_max: 0,
            tls: TlsOptions { insecure_transport: true, ..TlsOptions::default() },
            credentials: Credentials::None,
            remarks: Remarks::nowhere(),
        }
    }
}

/// A client; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) deadline: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) channel: Channel,
    credentials: Credentials,
    token: Mutex<String>,
    pub(crate) request_bytes_max: usize,
    pub(crate) receive_bytes_max: usize,
    remarks: Remarks,
}

impl Client {
    /// Prepares a client. With a user and password their token is fetched; otherwise nothing is sent
    /// before the first call.
    pub async fn connect(config: Config) -> Result<Client, Error> {
        let (request, receive) = (config.request_bytes_max, config.receive_bytes_max);
        if receive > 0 && request > receive {
            return Err(Error::Misuse(format!(
                "gRPC message recv limit ({receive} bytes) must be greater than send limit \
                 ({request} bytes)"
            )));
        }
        if config.endpoints.is_empty() {
            return Err(Error::Misuse("etcdclient: no available endpoints".to_owned()));
        }
        let upkeep = Upkeep {
            ping_interval: config.keepalive_time,
            ping_timeout: config.keepalive_timeout,
            without_calls: config.pings_without_calls,
            window_bytes: config.window_bytes,
        };
        let channel = Channel::new(&config.endpoints, &config.tls, upkeep)?;
        let token = match &config.credentials {
            Credentials::Token(token) => token.clone(),
            _ => String::new(),
        };
        let or = |given: usize, default| if given == 0 { default } else { given };
        let shared = Shared {
            channel,
            credentials: config.credentials,
            token: Mutex::new(token),
            request_bytes_max: or(request, REQUEST_BYTES_DEFAULT),
            receive_bytes_max: or(receive, RECEIVE_BYTES_DEFAULT),
            remarks: config.remarks,
        };
        let client = Client { shared: Arc::new(shared), deadline: None };
        let timeout = Some(config.dial_timeout).filter(|timeout| !timeout.is_zero());
        client.until(timeout.map(|timeout| Instant::now() + timeout)).fetch_token().await?;
        Ok(client)
    }

    /// The same client, whose calls all end at `deadline`.
    pub fn until(&self, deadline: Option<Instant>) -> Client {
        Client { shared: self.shared.clone(), deadline }
    }

    /// The connections.
    pub fn channel(&self) -> &Channel {
        &self.shared.channel
    }

    /// Waits until somebody is there to be called.
    pub async fn connected(&self) -> Result<(), Error> {
        let connecting = async {
            self.shared.channel.ready().await;
            Ok(())
        };
        self.in_time(connecting).await
    }

    /// Calls a unary method, again if that is safe.
    pub async fn call<Q, R>(&self, method: Method<Q, R>, request: &Q) -> Result<R, Error>
    where
        Q: Message,
        R: Message + Default,
    {
        let mut attempt = 0;
        loop {
            let mut peer = None;
            let trying = async {
                let opened = self.open(method.path, &mut peer, &[]).await?;
                let (mut sending, mut streaming) = opened;
                sending.send(frame(request, self.shared.request_bytes_max)?, true)?;
                Ok(streaming.only().await?)
            };
            let error = match self.in_time(trying).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            self.remark(method.path, attempt, peer.as_deref(), &error);
            attempt += 1;
            if !self.may_repeat(method.retry, &error).await? || attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            self.wait_before(attempt).await?;
        }
    }

    /// Opens a stream of messages both ways. Nothing is repeated.
    pub async fn stream(&self, path: &str) -> Result<Stream, Error> {
        let opening = async {
            let leader_wanted = [("hasleader", HeaderValue::from_static("true"))];
            let (sending, streaming) = self.open(path, &mut None, &leader_wanted).await?;
            let bytes_max = self.shared.request_bytes_max;
            Ok(Stream { sending, streaming, bytes_max })
        };
        self.in_time(opening).await
    }

    /// One request, many answers. Nothing is repeated.
    pub async fn server_stream(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<Streaming, Error> {
        let opening = async {
            let (mut sending, streaming) = self.open(path, &mut None, &[]).await?;
            sending.send(frame(request, self.shared.request_bytes_max)?, true)?;
            Ok(streaming)
        };
        self.in_time(opening).await
    }

    /// Waits for `work`, but not longer than the deadline.
    pub async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.deadline {
            None => work.await,
            Some(deadline) => {
                timeout_at(deadline, work).await.unwrap_or(Err(Error::DeadlineExceeded))
            }
        }
    }

    async fn open(
        &self,
        path: &str,
        peer: &mut Option<Arc<Peer>>,
        more: &[(&'static str, HeaderValue)],
    ) -> Result<(Sending, Streaming), Status> {
        let connection = self.shared.channel.ready().await;
        *peer = Some(connection.peer.clone());
        let mut headers = vec![("client-api-version", HeaderValue::from_static(API_VERSION))];
        headers.extend_from_slice(more);
        let token = self.token();
        if !token.is_empty() {
            let value = HeaderValue::from_str(&token).map_err(|_| {
                Status::new(Code::Internal, "the token holds bytes that no header may hold")
            })?;
            headers.push(("token", value));
        }
        headers.extend(self.time_left());
        connection.start(path, &headers, self.shared.receive_bytes_max).await
    }

    /// The header that says how long the caller waits.
    pub(crate) fn time_left(&self) -> Option<(&'static str, HeaderValue)> {
        let left = grpc_timeout(self.deadline?.saturating_duration_since(Instant::now()));
        Some(("grpc-timeout", HeaderValue::try_from(left).expect("it is ASCII")))
    }

    /// Whether to try again, after doing what it takes.
    pub(crate) async fn may_repeat(&self, retry: Retry, error: &Error) -> Result<bool, Error> {
        let Error::Status(status) = error else { return Ok(false) };
        if matches!(status.code, Code::DeadlineExceeded | Code::Canceled) {
            return Ok(true);
        }
        if self.token_is_stale(error) {
            self.refresh_token().await?;
            return Ok(true);
        }
        let other_endpoints = self.shared.channel.endpoint_count() > 1;
        if error.is(&Refusal::NotSupportedForLearner) && other_endpoints {
            return Ok(true);
        }
        Ok(status.code == Code::Unavailable && retry == Retry::Repeatable)
    }

    /// Whether another token may help.
    pub(crate) fn token_is_stale(&self, error: &Error) -> bool {
        let renewable = matches!(self.shared.credentials, Credentials::Password { .. });
        let stale = error.is(&Refusal::InvalidAuthToken) || error.is(&Refusal::UserEmpty);
        match self.shared.credentials {
            Credentials::Token(_) => false,
            // With certificates there is no token; asking again is enough.
            _ => error.is(&Refusal::AuthOldRevision) || (renewable && stale),
        }
    }

    /// Fetches a new token.
    pub(crate) fn refresh_token(
        &self,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(self.fetch_token())
    }

    async fn fetch_token(&self) -> Result<(), Error> {
        let Credentials::Password { user, password } = &self.shared.credentials else {
            return Ok(());
        };
        self.set_token(String::new());
        let request = pb::AuthenticateRequest { name: user.clone(), password: password.clone() };
        match self.call(methods::AUTHENTICATE, &request).await {
            Ok(answer) => self.set_token(answer.token),
            Err(error) if error.is(&Refusal::AuthNotEnabled) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn token(&self) -> String {
        self.shared.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_token(&self, token: String) {
        *self.shared.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Each endpoint has its turn before anybody waits.
    pub(crate) async fn wait_before(&self, attempt: u32) -> Result<(), Error> {
        let endpoints = u32::try_from(self.shared.channel.endpoint_count()).unwrap_or(u32::MAX);
        if attempt.is_multiple_of(endpoints.div_ceil(2).max(1)) {
            let waiting = async {
                sleep(BACKOFF).await;
                Ok(())
            };
            self.in_time(waiting).await?;
        }
        Ok(())
    }

    fn remark(&self, method: &str, attempt: u32, peer: Option<&Peer>, error: &Error) {
        let channel = &self.shared.channel;
        let deadline = || match (peer, channel.last_failure()) {
            (None, Some(failure)) => format!("latest balancer error: {failure}"),
            _ => "context deadline exceeded".to_owned(),
        };
        let error = match error {
            Error::Status(status) => status.text(),
            Error::DeadlineExceeded => Status::new(Code::DeadlineExceeded, deadline()).text(),
            other => other.to_string(),
        };
        let target = channel.target();
        self.shared.remarks.say(&Remark::AttemptFailed { target, peer, method, attempt, error });
    }
}

/// A length of time in at most eight digits: in the smallest unit in which it fits, rounded up, as grpc-go
/// writes it.
fn grpc_timeout(left: Duration) -> String {
    const COUNT_MAX: u128 = 99_999_999;
    const UNITS: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    let fitting = |(nanos, name): &(u128, char)| {
        let count = left.as_nanos().div_ceil(*nanos);
        (count <= COUNT_MAX).then(|| format!("{count}{name}"))
    };
    UNITS.iter().find_map(fitting).unwrap_or_else(|| format!("{COUNT_MAX}H"))
}

/// A call with messages both ways.
#[derive(Debug)]
pub struct Stream {
    sending: Sending,
    streaming: Streaming,
    bytes_max: usize,
}

impl Stream {
    /// Sends a message.
    pub fn send(&mut self, message: &impl Message) -> Result<(), Status> {
        self.sending.send(frame(message, self.bytes_max)?, false)
    }

    /// Waits for a message.
    pub async fn message<M: Message + Default>(&mut self) -> Result<M, Status> {
        let ended = || Status::unavailable("the server ended the stream");
        self.streaming.message().await?.ok_or_else(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_told_shorter_than_it_is() {
        for (left, told) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_001), "100001u"),
            (Duration::from_secs(5), "5000000u"),
            (Duration::from_secs(600), "600000m"),
            (Duration::from_secs(100_000_000), "1666667M"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(grpc_timeout(left), told);
        }
    }
}
