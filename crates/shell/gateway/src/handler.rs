//! Answers HTTP requests by calling the server's methods.
//!
//! Circle: a websocket's calls go into the gateway that took it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method as Verb, Request, Response, StatusCode};
use net::{HttpBody, Remote, whole};
use rpc::{Budget, Call, Caller, Kind, Turn, Unread, aside};
use types::{Code, Refusal};

use crate::body::{Input, Lines, Requests, error_line, result_line};
use crate::metadata::{deadline, metadata};
use crate::status::{http_status, print_error};
use crate::transcoder::{Target, Transcoder};
use crate::websocket;

/// Bytes of an answer from which on it is printed on a thread that serves nobody else.
const BYTES_INLINE_MAX: usize = 1 << 20;

/// The JSON gateway of one server. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    transcoder: Arc<Transcoder>,
    caller: Caller,
    message_bytes_max: usize,
}

impl Gateway {
    /// A gateway to the methods of `caller`, for requests of at most so many bytes of protobuf.
    pub fn new(caller: Caller, message_bytes_max: usize) -> Gateway {
        Gateway { transcoder: Arc::default(), caller, message_bytes_max }
    }

    /// Whether a path belongs to the gateway, known or not.
    pub fn serves(path: &str) -> bool {
        path.starts_with("/v3/") || path.starts_with("/v3beta/")
    }

    /// Answers a request to a path that [`Gateway::serves`].
    pub async fn handle(
        &self,
        request: Request<HttpBody>,
        remote: Arc<Remote>,
    ) -> Response<HttpBody> {
        if websocket::is_asked_for(&request) {
            return websocket::upgrade(self.clone(), request, remote);
        }
        let (head, body) = request.into_parts();
        self.answer(&head, Input::Http(body), remote).await
    }

    /// The longest piece of JSON a client may send, in bytes.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    /// What may be held for whoever sent this: over HTTP/2 for all that its connection asks, else for this alone.
    pub(crate) fn budget(&self, head: &Parts) -> Budget {
        head.extensions.get().cloned().unwrap_or_else(|| self.caller.budget())
    }

    pub(crate) async fn answer(
        &self,
        head: &Parts,
        input: Input,
        remote: Arc<Remote>,
    ) -> Response<HttpBody> {
        let Some(target) = self.transcoder.target(head.uri.path()) else {
            return refused(&Refusal::Other(Code::NotFound, "Not Found".into()));
        };
        if head.method != Verb::POST {
            return refused(&Refusal::Other(Code::Unimplemented, "Method Not Allowed".into()));
        }
        let deadline = match deadline(&head.headers) {
            Ok(deadline) => deadline,
            Err(refusal) => return refused(&refusal),
        };
        let Some(method) = self.caller.method(target.method.path()) else {
            let text = format!("{} is not served here", target.method);
            return refused(&Refusal::Other(Code::Unimplemented, text.into()));
        };
        let budget = self.budget(head);
        let call = Call::local(*method, metadata(&head.headers), remote, deadline);
        let call = call.within(budget.clone());
        let transcoder = self.transcoder.clone();
        let unfinished = budget.unfinished();
        let requests = Requests::new(transcoder, target, input, self.message_bytes_max, unfinished);
        match method.kind {
            Kind::Unary => self.unary(target, call, requests).await,
            Kind::ServerStream => self.server_stream(target, call, requests).await,
            Kind::Bidi => {
                let unread = call.unread();
                let answers = self.caller.stream(call, Box::new(requests));
                self.lines(target, answers, unread).await
            }
        }
    }

    async fn unary(
        &self,
        target: Target,
        call: Call,
        mut requests: Requests,
    ) -> Response<HttpBody> {
        let answered = async {
            // The JSON waits for the client, so it counts as the frame it comes from does.
            let unread = call.unread();
            let message = self.caller.unary(call, requests.only().await?).await?;
            if message.len() <= BYTES_INLINE_MAX {
                return unread.count(self.printed(target, &message)?);
            }
            let turn = Turn::take(None).await?;
            let reserved = unread.reserve(2 * message.len())?;
            let at = self.clone();
            let printed = aside(turn, move |_| {
                let printed = at.printed(target, &message)?;
                drop(reserved);
                unread.count(printed)
            });
            printed.await?
        };
        match answered.await {
            Ok(out) => served(whole(out)),
            Err(refusal) => refused(&refusal),
        }
    }

    /// An answer as JSON.
    fn printed(&self, target: Target, message: &[u8]) -> Result<Bytes, Refusal> {
        let mut out = String::with_capacity(2 * message.len());
        self.transcoder.answer(target, message, &mut out)?;
        Ok(out.into())
    }

    async fn server_stream(
        &self,
        target: Target,
        call: Call,
        mut requests: Requests,
    ) -> Response<HttpBody> {
        match requests.only().await {
            Ok(message) => {
                let unread = call.unread();
                let answers = self.caller.stream(call, Box::new(One(Some(message))));
                self.lines(target, answers, unread).await
            }
            Err(refusal) => refused(&refusal),
        }
    }

    /// A stream's status is that of its first answer, so it is waited for.
    async fn lines(
        &self,
        target: Target,
        mut answers: rpc::Answers,
        unread: Unread,
    ) -> Response<HttpBody> {
        let first = answers.next().await.and_then(|message| {
            message.map(|m| result_line(&self.transcoder, target, &m, &unread)).transpose()
        });
        match first {
            Ok(first) => {
                let answers = first.is_some().then_some(answers);
                let transcoder = self.transcoder.clone();
                served(Box::pin(Lines { transcoder, target, first, answers, unread }))
            }
            Err(refusal) => {
                let status = http_status(refusal.code());
                json(status, whole(error_line(&refusal)))
            }
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// The one request of a server stream.
struct One(Option<bytes::Bytes>);

impl rpc::Source for One {
    fn poll_next(
        &mut self,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Option<bytes::Bytes>, Refusal>> {
        std::task::Poll::Ready(Ok(self.0.take()))
    }
}

fn served(body: HttpBody) -> Response<HttpBody> {
    let mut response = json(StatusCode::OK, body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("grpc-metadata-content-type", grpc);
    response
}

fn refused(refusal: &Refusal) -> Response<HttpBody> {
    let mut body = String::new();
    print_error(refusal, &mut body);
    let mut response = json(http_status(refusal.code()), whole(body));
    if refusal.code() == Code::Unauthenticated
        && let Ok(said) = HeaderValue::from_str(refusal.message())
    {
        response.headers_mut().insert("www-authenticate", said);
    }
    response
}

fn json(status: StatusCode, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}
