//! One gRPC call over HTTP/2, from its headers to its trailers.
//!
//! Circle: an answer is begun by the engine of its connection and reads requests from it, and so is a local call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http2::{Field, Head};
use net::{HttpHandler, LocalFuture, Phase, Phases, Remote};
use types::{Code, Refusal};

use crate::admission::{Admitted, Turned, admit, is_grpc};
use crate::budget::{Bodies, Budget, Streams};
use crate::call::Call;
use crate::engine::{Answer, RequestBody};
use crate::message::{Encoding, compressed};
use crate::reply::PREFIX_BYTES;
use crate::requests::Requests;
use crate::router::{Handler, Route};
use crate::server::Shared;
use crate::stream::{Gone, Inbound, Outlet, Sink};
use crate::{Ended, Method, Traced, over_http2, status};

/// What the calls of one connection share.
pub(crate) struct Hub {
    pub shared: Shared,
    remote: Arc<Remote>,
    phases: Phases,
    /// Who answers what is no gRPC; `None` where such requests are refused.
    http: Option<Arc<dyn HttpHandler>>,
    /// What is held for this connection.
    pub budget: Budget,
    /// Of that, streams that are open,
    pub streams: Streams,
    /// and bodies of requests, whoever is to read them.
    pub bodies: Bodies,
}

impl Hub {
    pub fn new(
        shared: Shared,
        remote: Arc<Remote>,
        phases: Phases,
        http: Option<Arc<dyn HttpHandler>>,
    ) -> Rc<Hub> {
        let budget = Budget::new(&shared.limits, &shared.total);
        let streams = Streams::new(&shared.total);
        let bodies = Bodies::new(&budget.requests);
        Rc::new(Hub { shared, remote, phases, http, budget, streams, bodies })
    }
}

/// Answers one call. Dropping it is how a call is canceled.
pub(crate) async fn answer(hub: Rc<Hub>, head: Rc<Head>, body: RequestBody, mut answer: Answer) {
    if let Some(http) = &hub.http
        && !is_grpc(&head)
    {
        let (remote, budget) = (hub.remote.clone(), hub.budget.clone());
        return Box::pin(over_http2::answer(http, remote, budget, &head, body, answer)).await;
    }
    let admitted = match admit(&head) {
        Ok(admitted) => admitted,
        Err(turned) => return turn_away(&mut answer, turned),
    };
    let deadline = admitted.deadline();
    if !hub.budget.answers.is_open() {
        // Whoever waits here is a call like any other: its client may take it back, and its time runs.
        let passed = async {
            hub.budget.answers.pass().await;
            Ok(())
        };
        match attend(pin!(passed), |cx| answer.poll_gone(cx), deadline, None).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => {
                let _ = end(&mut answer, Some(Opening::new(admitted)), &Err(refusal));
                return;
            }
            Err(Gone) => return,
        }
    }
    let path = String::from_utf8_lossy(&head.path);
    let Some(route) = hub.shared.router.route(&path) else {
        let Admitted { content_type, .. } = admitted;
        let refusal = hub.shared.router.unknown(&path);
        let turned = Turned { status: 200, content_type, refusal };
        return turn_away(&mut answer, turned);
    };
    let requests = Requests::new(&hub, body, admitted.encoding);
    let call = Call {
        method: route.method,
        metadata: head.fields.clone(),
        remote: hub.remote.clone(),
        deadline,
        budget: Some(hub.budget.clone()),
        parts_max: hub.shared.limits.message_parts_max,
    };
    let trace = hub.shared.observer.trace(&route.method, &head.fields, &hub.remote);
    let mut record = Record::new(&hub, &route.method, trace);
    // Nobody is left to be told when the answer cannot be sent.
    let _ = match &route.handler {
        Handler::Unary(_) => unary(&mut record, route, call, requests, answer, admitted).await,
        // In a box of its own, because most calls are no streams and would carry its size.
        _ => Box::pin(stream(&mut record, route, call, requests, answer, admitted)).await,
    };
    record.handled(Err(&canceled()));
}

/// How a call ends whose client has gone.
pub(crate) fn canceled() -> Refusal {
    Gone.into()
}

/// Tells the observer that a call began and, once, how it ended.
struct Record<'a> {
    hub: &'a Hub,
    method: &'a Method,
    began: Option<Instant>,
    /// Of a unary call.
    request: Option<Bytes>,
    response_bytes: usize,
    trace: Traced,
}

impl<'a> Record<'a> {
    fn new(hub: &'a Hub, method: &'a Method, trace: Traced) -> Record<'a> {
        Record { hub, method, began: None, request: None, response_bytes: 0, trace }
    }

    fn started(&mut self) {
        self.hub.shared.observer.started(self.method);
        self.began = Some(Instant::now());
    }

    fn handled(&mut self, outcome: Result<(), &Refusal>) {
        if let Some(trace) = self.trace.take() {
            trace.ended(outcome);
        }
        let Some(began) = self.began.take() else { return };
        let (observer, took) = (&self.hub.shared.observer, began.elapsed());
        observer.handled(self.method, outcome.err().map_or(Code::Ok, Refusal::code), took);
        if let Some(request) = &self.request.take() {
            let (method, remote) = (self.method, &*self.hub.remote);
            let response_bytes = self.response_bytes;
            observer.ended(&Ended { method, remote, request, response_bytes, took });
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.handled(Err(&canceled()));
    }
}

fn turn_away(answer: &mut Answer, turned: Turned) {
    let [code, message] = status::trailers(&Err(turned.refusal));
    let _ = answer.end_at_once(turned.status, &[content_type(turned.content_type), code, message]);
}

fn content_type(value: Bytes) -> Field {
    Field { name: Bytes::from_static(b"content-type"), value }
}

const GZIP: Field = Field::from_static("grpc-encoding", "gzip");

/// The headers of an answer that nothing was sent of.
struct Opening {
    content_type: Field,
    encoding: Encoding,
}

impl Opening {
    fn new(admitted: Admitted) -> Opening {
        Opening { content_type: content_type(admitted.content_type), encoding: admitted.encoding }
    }

    fn send(self, answer: &mut Answer) -> Result<(), Gone> {
        match self.encoding {
            Encoding::Identity => answer.start(200, &[self.content_type]),
            Encoding::Gzip => answer.start(200, &[self.content_type, GZIP]),
        }
    }
}

/// Ends a call. Without headers sent before, they and the trailers are one.
fn end(
    answer: &mut Answer,
    unsent: Option<Opening>,
    outcome: &Result<(), Refusal>,
) -> Result<(), Gone> {
    let [code, message] = status::trailers(outcome);
    match unsent {
        None => answer.end(&[code, message]),
        Some(Opening { content_type, encoding: Encoding::Identity }) => {
            answer.end_at_once(200, &[content_type, code, message])
        }
        Some(Opening { content_type, encoding: Encoding::Gzip }) => {
            answer.end_at_once(200, &[content_type, GZIP, code, message])
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
        if let Some(trace) = &record.trace {
            trace.received(&message);
        }
        record.request = Some(message.clone());
        handler(call, message).await
    };
    let outcome = attend(pin!(work), |cx| answer.poll_gone(cx), deadline, None).await?;
    let encoding = admitted.encoding;
    let opening = Opening::new(admitted);
    match outcome {
        Ok(frame) => {
            record.response_bytes = frame.len() - PREFIX_BYTES;
            record.hub.shared.observer.sent(&route.method, record.response_bytes);
            if let Some(trace) = &record.trace {
                trace.sent(&frame[PREFIX_BYTES..]);
            }
            record.handled(Ok(()));
            opening.send(&mut answer)?;
            let frame = match encoding {
                Encoding::Identity => frame,
                encoding => match hub.budget.unread().count(encoding.of(frame)) {
                    Ok(frame) => frame,
                    Err(refusal) => return end(&mut answer, None, &Err(refusal)),
                },
            };
            // What does not fit the client's window leaves as it opens; the frame counts meanwhile.
            answer.send(frame)?;
            end(&mut answer, None, &Ok(()))
        }
        Err(refusal) => {
            record.handled(Err(&refusal));
            end(&mut answer, Some(opening), &Err(refusal))
        }
    }
}

/// Works until the work is done, the deadline passes or the server stops. An error means that the
/// client has gone.
pub(crate) async fn attend<T>(
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
    let encoding = admitted.encoding;
    let unsent = Some(Opening::new(admitted));
    let outlet = Rc::new(RefCell::new(StreamOutlet { answer, encoding, unsent }));
    let observer = record.hub.shared.observer.clone();
    let (method, trace) = (route.method, record.trace.clone());
    let sink =
        Sink { outlet: outlet.clone(), method, observer: observer.clone(), trace: trace.clone() };
    let deadline = call.deadline;
    record.started();
    let work = async {
        match &route.handler {
            Handler::Bidi(handler) => {
                let source = Box::new(requests);
                handler(call, Inbound { source, method, observer, trace }, sink).await
            }
            Handler::ServerStream(handler) => {
                let first = requests.first(Code::Internal).await?;
                let message = first.ok_or_else(no_request)?;
                observer.received(&method, message.len());
                if let Some(trace) = &trace {
                    trace.received(&message);
                }
                handler(call, message, sink).await
            }
            Handler::Unary(_) => unreachable!("the caller looked"),
        }
    };
    let mut phases = record.hub.phases.clone();
    let stopped = Box::pin(async move { phases.reached(Phase::Draining).await });
    let poll_gone = |cx: &mut Context<'_>| outlet.borrow_mut().answer.poll_gone(cx);
    let outcome = attend(pin!(work), poll_gone, deadline, Some(stopped)).await?;
    record.handled(outcome.as_ref().copied());
    let mut outlet = outlet.borrow_mut();
    let unsent = outlet.unsent.take();
    end(&mut outlet.answer, unsent, &outcome)
}

/// Where a stream's [`Sink`] leads.
struct StreamOutlet {
    answer: Answer,
    encoding: Encoding,
    unsent: Option<Opening>,
}

impl Outlet for StreamOutlet {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if !self.answer.is_started() {
            return Poll::Ready(Ok(()));
        }
        self.answer.poll_window(cx)
    }

    fn push(&mut self, frame: Bytes) -> Result<(), Gone> {
        if let Some(opening) = self.unsent.take() {
            opening.send(&mut self.answer)?;
        }
        self.answer.send(self.encoding.of(frame))
    }

    /// What is compressed is compressed one by one.
    fn takes_several(&self) -> bool {
        self.encoding == Encoding::Identity
    }
}

/// The longest answer that is compressed, in bytes.
const COMPRESSED_BYTES_MAX: usize = 64 * 1024;

impl Encoding {
    /// A framed message as this encoding sends it.
    fn of(self, frame: Bytes) -> Bytes {
        match self {
            Encoding::Identity => frame,
            // A message says for itself whether it is compressed. A long one is not: that would take
            // seconds, on the thread of its connection.
            Encoding::Gzip if COMPRESSED_BYTES_MAX < frame.len() => frame,
            Encoding::Gzip => compressed(frame),
        }
    }
}
