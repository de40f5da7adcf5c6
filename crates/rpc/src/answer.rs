//! One gRPC call over HTTP/2, from its headers to its trailers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, request};
use tokio::sync::watch;
use types::{Code, Refusal};

use crate::admission::{Admitted, Turned, admit};
use crate::call::Call;
use crate::engine::{Answer, RequestBody};
use crate::gate::{Gate, Held};
use crate::message::{Assembler, Encoding, compressed};
use crate::reply::PREFIX_BYTES;
use crate::router::{Handler, Route};
use crate::server::{Phase, Shared, reached};
use crate::stream::{Gone, Inbound, Outlet, Sink, Source};
use crate::wire::Wire;
use crate::{Ended, LocalFuture, Method, Peer, status};

/// What the calls of one connection share.
pub(crate) struct Hub {
    pub shared: Shared,
    pub wire: Wire,
    peer: Arc<Peer>,
    phase: watch::Receiver<Phase>,
    /// Answers that are made or wait for the client.
    unsent: Arc<Gate>,
    /// Requests that are not complete.
    partial: Arc<Gate>,
}

impl Hub {
    pub fn new(
        shared: Shared,
        peer: Arc<Peer>,
        phase: watch::Receiver<Phase>,
        wire: Wire,
    ) -> Rc<Hub> {
        let limits = &shared.limits;
        let unsent = Gate::new(limits.unsent_replies_bytes_max, shared.unsent.clone());
        let partial = Gate::new(limits.partial_messages_bytes_max, shared.partial.clone());
        Rc::new(Hub { shared, wire, peer, phase, unsent, partial })
    }
}

/// Answers one call. Dropping it is how a call is canceled.
pub(crate) async fn answer(
    hub: Rc<Hub>,
    mut head: request::Parts,
    body: RequestBody,
    mut answer: Answer,
) {
    let _open = Open::new(&hub.wire);
    let admitted = match admit(&head) {
        Ok(admitted) => admitted,
        Err(turned) => return turn_away(&hub, &mut answer, turned),
    };
    hub.unsent.pass().await;
    let Some(route) = hub.shared.router.route(head.uri.path()) else {
        let Admitted { content_type, .. } = admitted;
        let refusal = hub.shared.router.unknown(head.uri.path());
        let turned = Turned { status: StatusCode::OK, content_type, refusal };
        return turn_away(&hub, &mut answer, turned);
    };
    let requests = Requests::new(&hub, body, admitted.encoding);
    let call = Call {
        method: route.method,
        metadata: std::mem::take(&mut head.headers),
        peer: hub.peer.clone(),
        deadline: admitted.deadline(),
        unsent: Some(hub.unsent.clone()),
    };
    let mut record = Record::new(&hub, &route.method);
    // Nobody is left to be told when the answer cannot be sent.
    let _ = match &route.handler {
        Handler::Unary(_) => unary(&mut record, route, call, requests, answer, admitted).await,
        _ => stream(&mut record, route, call, requests, answer, admitted).await,
    };
    record.handled(Code::Canceled);
}

/// Counts an open call, however it ends.
struct Open(Wire);

impl Open {
    fn new(wire: &Wire) -> Open {
        wire.call_opened();
        Open(wire.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.call_closed();
    }
}

/// Tells the observer that a call began and, once, how it ended.
struct Record<'a> {
    hub: &'a Hub,
    method: &'a Method,
    began: Option<Instant>,
    /// Of a unary call.
    request: Option<Bytes>,
    response_bytes: usize,
}

impl<'a> Record<'a> {
    fn new(hub: &'a Hub, method: &'a Method) -> Record<'a> {
        Record { hub, method, began: None, request: None, response_bytes: 0 }
    }

    fn started(&mut self) {
        self.hub.shared.observer.started(self.method);
        self.began = Some(Instant::now());
    }

    fn handled(&mut self, code: Code) {
        let Some(began) = self.began.take() else { return };
        let (observer, took) = (&self.hub.shared.observer, began.elapsed());
        observer.handled(self.method, code, took);
        if let Some(request) = &self.request.take() {
            let (method, peer) = (self.method, &*self.hub.peer);
            let response_bytes = self.response_bytes;
            observer.ended(&Ended { method, peer, request, response_bytes, took });
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.handled(Code::Canceled);
    }
}

fn turn_away(hub: &Hub, answer: &mut Answer, turned: Turned) {
    hub.wire.answered();
    let mut response = headers(turned.content_type, Encoding::Identity);
    *response.status_mut() = turned.status;
    status::write_status(response.headers_mut(), &Err(turned.refusal));
    let _ = answer.end_at_once(response);
}

fn headers(content_type: HeaderValue, encoding: Encoding) -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", content_type);
    if encoding == Encoding::Gzip {
        response.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    response
}

/// Ends a call. Without headers sent before, they and the trailers are one.
fn end(
    answer: &mut Answer,
    unsent_headers: Option<Response<()>>,
    outcome: &Result<(), Refusal>,
) -> Result<(), Gone> {
    match unsent_headers {
        None => answer.end(status::trailers(outcome)),
        Some(mut response) => {
            status::write_status(response.headers_mut(), outcome);
            answer.end_at_once(response)
        }
    }
}

async fn unary(
    record: &mut Record<'_>,
    route: &Route,
    call: Call,
    mut requests: Requests,
    mut answer: Answer,
    admitted: Admitted,
) -> Result<(), Gone> {
    let Handler::Unary(handler) = &route.handler else { unreachable!("the caller looked") };
    let hub = record.hub;
    let deadline = call.deadline;
    let work = async {
        // One message is read; whatever a client sends after it is ignored, as Go ignores it.
        let message = match requests.first(Code::Unknown).await? {
            Some(message) => message,
            None => return Err(Refusal::unknown("EOF")),
        };
        record.started();
        record.hub.shared.observer.received(&route.method, message.len());
        record.request = Some(message.clone());
        handler(call, message).await
    };
    let outcome = attend(pin!(work), |cx| answer.poll_gone(cx), deadline, None).await?;
    hub.wire.answered();
    let headers = headers(admitted.content_type, admitted.encoding);
    match outcome {
        Ok(frame) => {
            record.response_bytes = frame.len() - PREFIX_BYTES;
            record.hub.shared.observer.sent(&route.method, record.response_bytes);
            record.handled(Code::Ok);
            answer.start(headers)?;
            let frame = match admitted.encoding {
                Encoding::Identity => frame,
                encoding => match hub.unsent.count(encoding.of(frame)) {
                    Ok(frame) => frame,
                    Err(refusal) => return end(&mut answer, None, &Err(refusal)),
                },
            };
            send_whole(hub, &mut answer, frame).await?;
            end(&mut answer, None, &Ok(()))
        }
        Err(refusal) => {
            record.handled(refusal.code());
            end(&mut answer, Some(headers), &Err(refusal))
        }
    }
}

/// Sends a frame as the client's window admits it, and keeps the rest meanwhile.
async fn send_whole(hub: &Hub, answer: &mut Answer, mut frame: Bytes) -> Result<(), Gone> {
    loop {
        // Go's client pings to measure what it receives, and Go's server forgives that with each write.
        hub.wire.answered();
        let window = answer.window(frame.len());
        if frame.len() <= window {
            return answer.send(frame);
        }
        if 0 < window {
            answer.send(frame.split_to(window))?;
        }
        if window == 0 {
            poll_fn(|cx| answer.poll_window(cx)).await?;
        }
    }
}

/// Works until the work is done, the deadline passes or the server stops. An error means that the
/// client has gone.
async fn attend<T>(
    mut work: std::pin::Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    mut poll_gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
    deadline: Option<Instant>,
    mut stopped: Option<LocalFuture<()>>,
) -> Result<Result<T, Refusal>, Gone> {
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Ok(Err(deadline_exceeded()));
    }
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        if poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Gone));
        }
        if let Some(deadline) = deadline {
            let timer =
                timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Err(deadline_exceeded())));
            }
        }
        let stopped = stopped.as_mut().map(|stopped| stopped.as_mut().poll(cx));
        if stopped.is_some_and(|stopped| stopped.is_ready()) {
            return Poll::Ready(Ok(Err(Refusal::Stopped)));
        }
        Poll::Pending
    })
    .await
}

/// What Go's context says when a client's own deadline has passed.
pub(crate) fn deadline_exceeded() -> Refusal {
    Refusal::Other(Code::DeadlineExceeded, "context deadline exceeded".into())
}

/// What Go says when a method that streams only its answers got no request.
pub(crate) fn no_request() -> Refusal {
    let text = "cardinality violation: received no request message from non-client-streaming RPC";
    Refusal::Other(Code::Internal, text.into())
}

async fn stream(
    record: &mut Record<'_>,
    route: &Route,
    call: Call,
    mut requests: Requests,
    answer: Answer,
    admitted: Admitted,
) -> Result<(), Gone> {
    let Admitted { content_type, encoding, .. } = admitted;
    let outlet = Rc::new(RefCell::new(StreamOutlet {
        wire: record.hub.wire.clone(),
        answer,
        encoding,
        unsent_headers: Some(headers(content_type, encoding)),
        waiting: None,
        driver: Waker::noop().clone(),
        driving: false,
    }));
    let observer = record.hub.shared.observer.clone();
    let sink = Sink { outlet: outlet.clone(), method: route.method, observer: observer.clone() };
    let deadline = call.deadline;
    record.started();
    let work = async {
        match &route.handler {
            Handler::Bidi(handler) => {
                let source = Box::new(requests);
                handler(call, Inbound { source, method: route.method, observer }, sink).await
            }
            Handler::ServerStream(handler) => {
                let first = requests.first(Code::Internal).await?;
                let message = first.ok_or_else(no_request)?;
                observer.received(&route.method, message.len());
                handler(call, message, sink).await
            }
            Handler::Unary(_) => unreachable!("the caller looked"),
        }
    };
    let mut phase = record.hub.phase.clone();
    let stopped = Box::pin(async move { reached(&mut phase, Phase::Draining).await });
    let mut work = pin!(work);
    let driven = poll_fn(|cx| {
        outlet.borrow_mut().driving = true;
        let progress = work.as_mut().poll(cx);
        outlet.borrow_mut().driving = false;
        progress
    });
    let poll_gone = |cx: &mut Context<'_>| outlet.borrow_mut().drive(cx);
    let outcome = attend(pin!(driven), poll_gone, deadline, Some(stopped)).await?;
    record.handled(outcome.as_ref().err().map_or(Code::Ok, Refusal::code));
    record.hub.wire.answered();
    let mut outlet = outlet.borrow_mut();
    let unsent_headers = outlet.unsent_headers.take();
    end(&mut outlet.answer, unsent_headers, &outcome)
}

/// Where a stream's [`Sink`] leads.
///
/// The engine wakes one task per stream, and that is the one that drives the call. A sink that was
/// handed to another task leaves its waker here, and the driver passes the wake on.
struct StreamOutlet {
    wire: Wire,
    answer: Answer,
    encoding: Encoding,
    unsent_headers: Option<Response<()>>,
    waiting: Option<Waker>,
    driver: Waker,
    driving: bool,
}

impl StreamOutlet {
    /// Wakes a sink that waits for room. Ready when the client has gone.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.driver.clone_from(cx.waker());
        if self.waiting.is_some() && self.answer.is_started() {
            while let Poll::Ready(room) = self.answer.poll_window(cx) {
                if room.is_err() || 0 < self.answer.window(1) {
                    self.waiting.take().into_iter().for_each(Waker::wake);
                    break;
                }
            }
        }
        self.answer.poll_gone(cx)
    }
}

impl Outlet for StreamOutlet {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if !self.answer.is_started() || 0 < self.answer.window(1) {
            return Poll::Ready(Ok(()));
        }
        self.waiting = Some(cx.waker().clone());
        if !self.driving {
            self.driver.wake_by_ref();
        }
        Poll::Pending
    }

    fn push(&mut self, frame: Bytes) -> Result<(), Gone> {
        self.wire.answered();
        if let Some(headers) = self.unsent_headers.take() {
            self.answer.start(headers)?;
        }
        self.answer.send(self.encoding.of(frame))
    }

    /// What is compressed is compressed one by one.
    fn takes_several(&self) -> bool {
        self.encoding == Encoding::Identity
    }
}

impl Encoding {
    /// A framed message as this encoding sends it.
    fn of(self, frame: Bytes) -> Bytes {
        match self {
            Encoding::Identity => frame,
            Encoding::Gzip => compressed(frame),
        }
    }
}

/// The messages of a request.
struct Requests {
    body: RequestBody,
    assembler: Assembler,
    partial: Held,
    bytes_max: usize,
    ended: bool,
}

impl Requests {
    fn new(hub: &Hub, body: RequestBody, encoding: Encoding) -> Requests {
        let limits = &hub.shared.limits;
        Requests {
            body,
            assembler: Assembler::new(limits.message_bytes_max, encoding),
            partial: hub.partial.hold(0),
            bytes_max: limits.partial_messages_bytes_max,
            ended: false,
        }
    }

    /// The only message of a call whose requests are no stream. `cut` is the code for one that
    /// ends too early.
    async fn first(&mut self, cut: Code) -> Result<Option<Bytes>, Refusal> {
        poll_fn(|cx| self.poll_message(cx, cut)).await
    }

    fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        cut: Code,
    ) -> Poll<Result<Option<Bytes>, Refusal>> {
        while !self.ended {
            match self.assembler.next() {
                Ok(None) => {}
                message => {
                    self.ended = message.is_err();
                    return Poll::Ready(message);
                }
            }
            self.partial.set(self.assembler.partial_bytes());
            if self.partial.is_too_much() {
                self.ended = true;
                let text = format!("grpc: unfinished messages larger than max {}", self.bytes_max);
                return Poll::Ready(Err(Refusal::Other(Code::ResourceExhausted, text.into())));
            }
            match std::task::ready!(self.body.poll_chunk(cx)) {
                Some(Ok(chunk)) => self.assembler.push(chunk),
                Some(Err(gone)) => {
                    self.ended = true;
                    return Poll::Ready(Err(gone.into()));
                }
                None => {
                    self.ended = true;
                    if !self.assembler.is_between_messages() {
                        // Go reads a prefix that is cut short as none at all.
                        let cut_prefix = self.assembler.partial_bytes() < PREFIX_BYTES;
                        let text = if cut_prefix { "EOF" } else { "unexpected EOF" }.into();
                        return Poll::Ready(Err(Refusal::Other(cut, text)));
                    }
                }
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl Source for Requests {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        self.poll_message(cx, Code::Internal)
    }
}
