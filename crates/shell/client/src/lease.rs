//! Keeps a lease alive over one stream, which is opened again when it breaks.

use std::time::Duration;

use proto::etcdserverpb as pb;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use types::{Code, Refusal};

use crate::client::{Client, Stream};
use crate::error::{Error, Status};

const PATH: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const REOPEN_DELAY: Duration = Duration::from_millis(500);
/// How long the first answer may take.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Keeps one lease alive, answer by answer.
#[derive(Debug)]
pub struct Keeper {
    client: Client,
    lease: i64,
    stream: Option<Stream>,
    next: Instant,
    /// The server has answered once, so there was such a lease.
    answered: bool,
    /// Without an answer until then the lease must be taken for lost.
    lost_at: Instant,
}

impl Client {
    /// Starts to keep a lease alive.
    pub fn keep_alive(&self, lease: i64) -> Keeper {
        let now = Instant::now();
        let lost_at = now + FIRST_ANSWER;
        Keeper { client: self.clone(), lease, stream: None, next: now, answered: false, lost_at }
    }

    /// Renews a lease once.
    pub async fn keep_alive_once(&self, lease: i64) -> Result<pb::LeaseKeepAliveResponse, Error> {
        loop {
            let error = match self.in_time(self.renew(lease)).await {
                Ok(answer) if answer.ttl <= 0 => {
                    let gone = Refusal::LeaseNotFound;
                    return Err(Status::new(Code::NotFound, gone.message()).into());
                }
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if self.token_is_stale(&error) {
                self.refresh_token().await?;
            } else if error.ends_streams() {
                return Err(error);
            }
        }
    }

    async fn renew(&self, lease: i64) -> Result<pb::LeaseKeepAliveResponse, Error> {
        let mut stream = self.stream(PATH).await?;
        stream.send(&pb::LeaseKeepAliveRequest { id: lease })?;
        Ok(stream.message().await?)
    }
}

impl Keeper {
    /// Waits until it is time, renews, and gives the answer; `None` when the lease has ended or must be
    /// taken for lost. Where nobody has ever answered that is an error.
    pub async fn renewed(&mut self) -> Result<Option<pb::LeaseKeepAliveResponse>, Error> {
        sleep_until(self.next).await;
        loop {
            let answered = match timeout_at(self.lost_at, self.ask()).await {
                Ok(answered) => answered,
                Err(_) if self.answered => return Ok(None),
                // Nobody knows anything about the lease.
                Err(_) => return Err(Error::DeadlineExceeded),
            };
            self.answered |= answered.is_ok();
            let error = match answered {
                Ok(answer) if answer.ttl <= 0 => return Ok(None),
                Ok(answer) => {
                    let ttl = Duration::from_secs(answer.ttl.unsigned_abs());
                    let now = Instant::now();
                    (self.next, self.lost_at) = (now + ttl / 3, now + ttl);
                    return Ok(Some(answer));
                }
                Err(error) => error,
            };
            self.stream = None;
            if self.client.token_is_stale(&error) {
                self.client.refresh_token().await?;
            } else if error.ends_streams() {
                return Err(error);
            }
            sleep(REOPEN_DELAY).await;
        }
    }

    async fn ask(&mut self) -> Result<pb::LeaseKeepAliveResponse, Error> {
        if self.stream.is_none() {
            self.stream = Some(self.client.stream(PATH).await?);
        }
        let stream = self.stream.as_mut().expect("it was just opened");
        stream.send(&pb::LeaseKeepAliveRequest { id: self.lease })?;
        Ok(stream.message().await?)
    }
}
