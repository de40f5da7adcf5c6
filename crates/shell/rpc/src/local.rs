//! Calls made inside the process: the same handlers, observed alike, without a socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes};
use net::{LocalFuture, Phase, Phases};
use types::{Code, Refusal};

use crate::answer::{attend, canceled};
use crate::budget::{Budget, Total};
use crate::reply::PREFIX_BYTES;
use crate::router::Handler;
use crate::server::Shared;
use crate::stream::{Gone, Inbound, Outlet, Sink, Source};
use crate::{Call, Ended, Limits, Method, Observer, Router, Traced};

/// Calls the methods of a server from inside its process, on one of its own threads.
#[derive(Clone)]
pub struct Caller {
    router: Arc<Router>,
    observer: Arc<dyn Observer>,
    phases: Phases,
    limits: Arc<Limits>,
    total: Arc<Total>,
}

impl Caller {
    pub(crate) fn new(shared: &Shared, phases: Phases) -> Caller {
        Caller {
            router: shared.router.clone(),
            observer: shared.observer.clone(),
            phases,
            limits: shared.limits.clone(),
            total: shared.total.clone(),
        }
    }

    /// What is held for a client that has no budget yet, together with what is held for all connections.
    pub fn budget(&self) -> Budget {
        Budget::new(&self.limits, &self.total)
    }

    /// The call as it is made: counted, and bounded as those from outside are.
    fn bounded(&self, call: Call) -> Call {
        let budget = call.budget.clone().unwrap_or_else(|| self.budget());
        Call { budget: Some(budget), parts_max: self.limits.message_parts_max, ..call }
    }

    /// The method at a path, for [`Call::local`].
    pub fn method(&self, path: &str) -> Option<&Method> {
        self.router.method(path)
    }

    /// Calls a unary method. Dropping the future cancels the call.
    ///
    /// # Errors
    /// What the method refuses, or that the call's deadline passed.
    ///
    /// # Panics
    /// When the method is not unary.
    pub async fn unary(&self, call: Call, message: Bytes) -> Result<Bytes, Refusal> {
        let call = self.bounded(call);
        let method = call.method;
        let route = self.router.route(method.path).expect("a Method comes from a router");
        let Handler::Unary(handler) = &route.handler else { panic!("{} streams", method.path) };
        let trace = self.observer.trace(&method, &call.metadata, &call.remote);
        let mut record = Record::start(&self.observer, method, trace);
        self.observer.received(&method, message.len());
        if let Some(trace) = &record.trace {
            trace.received(&message);
        }
        let deadline = call.deadline;
        let (remote, request, began) = (call.remote.clone(), message.clone(), Instant::now());
        let work = handler(call, message);
        let outcome = attend(pin!(work), |_| Poll::Pending, deadline, None).await;
        let outcome = outcome.unwrap_or_else(|gone| Err(gone.into()));
        if let (Some(trace), Ok(frame)) = (&record.trace, &outcome) {
            trace.sent(&frame[PREFIX_BYTES..]);
        }
        record.handled(outcome.as_ref().map(|_| ()));
        let response_bytes = outcome.as_ref().map_or(0, |frame| frame.len() - PREFIX_BYTES);
        let (remote, request, took) = (&*remote, &request, began.elapsed());
        self.observer.ended(&Ended { method: &method, remote, request, response_bytes, took });
        let mut frame = outcome?;
        frame.advance(PREFIX_BYTES);
        self.observer.sent(&method, frame.len());
        Ok(frame)
    }

    /// Calls a method that streams its answers. Dropping what is returned cancels the call.
    ///
    /// # Panics
    /// When the method is unary.
    pub fn stream(&self, call: Call, mut requests: Box<dyn Source>) -> Answers {
        let call = self.bounded(call);
        let (method, deadline) = (call.method, call.deadline);
        let outlet = Rc::new(RefCell::new(Queue::default()));
        let observer = self.observer.clone();
        let trace = observer.trace(&method, &call.metadata, &call.remote);
        let record = Record::start(&observer, method, trace.clone());
        let sink = Sink {
            outlet: outlet.clone(),
            method,
            observer: observer.clone(),
            trace: trace.clone(),
        };
        let router = self.router.clone();
        let mut phases = self.phases.clone();
        let work = async move {
            let route = router.route(method.path).expect("a Method comes from a router");
            match &route.handler {
                Handler::Bidi(handler) => {
                    let inbound = Inbound { source: requests, method, observer, trace };
                    handler(call, inbound, sink).await
                }
                Handler::ServerStream(handler) => {
                    let message = poll_fn(|cx| requests.poll_next(cx)).await?;
                    let message = message.ok_or_else(crate::answer::no_request)?;
                    observer.received(&method, message.len());
                    if let Some(trace) = &trace {
                        trace.received(&message);
                    }
                    handler(call, message, sink).await
                }
                Handler::Unary(_) => panic!("{} does not stream", method.path),
            }
        };
        let work = async move {
            let stopped = Box::pin(async move { phases.reached(Phase::Draining).await });
            let outcome = attend(pin!(work), |_| Poll::Pending, deadline, Some(stopped)).await;
            outcome.unwrap_or_else(|gone| Err(gone.into()))
        };
        Answers { work: Some(Box::pin(work)), outlet, record, outcome: None }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// The answers of a stream called inside the process. The call makes progress while it is asked.
pub struct Answers {
    work: Option<LocalFuture<Result<(), Refusal>>>,
    outlet: Rc<RefCell<Queue>>,
    record: Record,
    outcome: Option<Result<(), Refusal>>,
}

impl Answers {
    /// The next message; `None` after the last one of a call that ended well.
    ///
    /// # Errors
    /// How the call ended, if not well; `None` follows.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Answers::next`] for hand-written futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        if let Some(work) = &mut self.work
            && let Poll::Ready(outcome) = work.as_mut().poll(cx)
        {
            self.record.handled(outcome.as_ref().copied());
            self.outcome = Some(outcome);
            self.work = None;
        }
        let mut queue = self.outlet.borrow_mut();
        if let Some(message) = queue.messages.pop_front() {
            queue.sender.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(Some(message)));
        }
        if self.work.is_none() {
            return Poll::Ready(self.outcome.take().unwrap_or(Ok(())).map(|()| None));
        }
        queue.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("ended", &self.work.is_none()).finish_non_exhaustive()
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.outlet.borrow_mut().closed = true;
    }
}

/// One message between a handler and whoever called it.
#[derive(Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    sender: Option<Waker>,
    receiver: Option<Waker>,
    closed: bool,
}

impl Outlet for Queue {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.closed {
            return Poll::Ready(Err(Gone));
        }
        if self.messages.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    fn push(&mut self, mut frame: Bytes) -> Result<(), Gone> {
        if self.closed {
            return Err(Gone);
        }
        frame.advance(PREFIX_BYTES);
        self.messages.push_back(frame);
        self.receiver.take().into_iter().for_each(Waker::wake);
        Ok(())
    }
}

/// Tells the observer that a call began and, once, how it ended.
struct Record {
    observer: Arc<dyn Observer>,
    method: Method,
    began: Option<Instant>,
    trace: Traced,
}

impl Record {
    fn start(observer: &Arc<dyn Observer>, method: Method, trace: Traced) -> Record {
        observer.started(&method);
        Record { observer: observer.clone(), method, began: Some(Instant::now()), trace }
    }

    fn handled(&mut self, outcome: Result<(), &Refusal>) {
        if let Some(trace) = self.trace.take() {
            trace.ended(outcome);
        }
        if let Some(began) = self.began.take() {
            let code = outcome.err().map_or(Code::Ok, Refusal::code);
            self.observer.handled(&self.method, code, began.elapsed());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.handled(Err(&canceled()));
    }
}
