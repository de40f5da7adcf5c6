//! Calls made for somebody else: bytes in, bytes out, with the caller's own metadata and none of ours.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use proto::Rpc;
use tokio::time::{Instant, timeout};

use crate::call::{Sending, Streaming, check_length, framed};
use crate::client::{ATTEMPTS_MAX, Client};
use crate::error::{Error, Status};
use crate::method::retry;

/// How long a call waits for a server to be there.
const READY_DURATION_MAX: Duration = Duration::from_secs(5);

/// After so long a call is not begun again.
const REPEAT_DURATION_MAX: Duration = Duration::from_secs(10);

/// Metadata by its names.
pub type Headers = Vec<(&'static str, HeaderValue)>;

impl Client {
    /// Calls a unary method with a message that nobody looks into, again where clientv3 would. The answer comes
    /// with the five bytes before it; `admit` is asked for room as soon as its length is known.
    ///
    /// # Errors
    /// The server's refusal, or why there is no answer.
    pub async fn pass(
        &self,
        rpc: Rpc,
        headers: &Headers,
        message: &[u8],
        mut admit: impl FnMut(usize) -> Result<(), Status>,
    ) -> Result<Bytes, Error> {
        check_length(message.len(), self.shared.request_bytes_max)?;
        let request = framed(message)?;
        let mut attempt = 0;
        let began = Instant::now();
        loop {
            let trying = async {
                let (mut sending, mut streaming) = self.pass_stream(rpc, headers).await?;
                sending.send(request.clone(), true)?;
                let answer = streaming.framed(&mut admit).await?;
                let answer = answer
                    .ok_or_else(|| Status::unavailable("the call ended without an answer"))?;
                // What follows after the answer is how the call ended.
                match streaming.framed(|_| Ok(())).await? {
                    None => Ok(answer),
                    Some(_) => {
                        Err(Status::unavailable("more than one answer to a unary call").into())
                    }
                }
            };
            let error = match self.in_time(trying).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempt += 1;
            // The caller decides whether to go on after its own call was taken back.
            let ours = !matches!(&error, Error::Status(status) if is_callers(status));
            let ours = ours && began.elapsed() < REPEAT_DURATION_MAX;
            if !ours || attempt == ATTEMPTS_MAX || !self.may_repeat(retry(rpc), &error).await? {
                return Err(error);
            }
            self.wait_before(attempt).await?;
        }
    }

    /// Opens a call of any kind. Nothing is repeated.
    ///
    /// # Errors
    /// The call could not be begun.
    pub async fn pass_stream(
        &self,
        rpc: Rpc,
        headers: &Headers,
    ) -> Result<(Sending, Streaming), Error> {
        let opening = async {
            let channel = &self.shared.channel;
            let nobody = |_| {
                let why =
                    channel.last_failure().unwrap_or_else(|| "no server can be reached".to_owned());
                Status::unavailable(why)
            };
            let connection = timeout(READY_DURATION_MAX, channel.ready()).await.map_err(nobody)?;
            let mut headers = headers.clone();
            headers.extend(self.time_left());
            let bytes_max = self.shared.receive_bytes_max;
            Ok(connection.start(rpc.path(), &headers, bytes_max).await?)
        };
        self.in_time(opening).await
    }
}

/// Whether a status speaks of the caller's own deadline or its going away.
fn is_callers(status: &Status) -> bool {
    matches!(status.code, types::Code::DeadlineExceeded | types::Code::Canceled)
}
