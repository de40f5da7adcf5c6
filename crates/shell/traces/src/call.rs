//! A call that is followed: the span it becomes, as `otelgrpc` makes it, and those below it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use net::Remote;
use rpc::{Method, Trace};
use types::{Code, Refusal};

use crate::context::{Context, new_id};
use crate::inner::{Child, Inner};
use crate::otlp::{KIND_INTERNAL, KIND_SERVER, STATUS_ERROR, Span, Status, number, text};
use crate::queue::{Queue, Scope};

/// The bits of a span's flags that say where its parent is: whether that is known, and whether it is elsewhere.
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// Follows one call.
pub(crate) struct Followed {
    context: Context,
    path: &'static str,
    reached: Option<SocketAddr>,
    began: u64,
    is_ended: Cell<bool>,
    inner: RefCell<Inner>,
    queue: Arc<Queue>,
}

impl Followed {
    pub fn new(context: Context, method: &Method, remote: &Remote, queue: Arc<Queue>) -> Followed {
        Followed {
            context,
            path: method.path,
            reached: remote.reached,
            began: now(),
            is_ended: Cell::new(false),
            inner: RefCell::new(Inner::new(method.rpc)),
            queue,
        }
    }

    fn push_child(&self, child: Child) {
        let span = Span {
            trace_id: self.context.trace_id.into(),
            span_id: new_id().into(),
            trace_state: self.context.state.clone(),
            parent_span_id: self.context.span_id.into(),
            name: child.name.to_owned(),
            kind: KIND_INTERNAL,
            start_unix_nanos: child.began,
            end_unix_nanos: now(),
            attributes: child.attributes,
            status: Some(Status::default()),
            flags: u32::from(self.context.flags) | PARENT_IS_KNOWN,
        };
        self.queue.push(Scope::Inner, span);
    }

    fn own(&self, outcome: Result<(), &Refusal>) -> Span {
        let name = self.path.trim_start_matches('/');
        let mut attributes = vec![text("rpc.method", name), text("rpc.system.name", "grpc")];
        if let Some(reached) = self.reached {
            attributes.push(text("server.address", reached.ip().to_string()));
            attributes.push(number("server.port", reached.port().into()));
        }
        let code = outcome.err().map_or(Code::Ok, Refusal::code);
        attributes.push(text("rpc.response.status_code", code_name(code)));
        let status = match outcome {
            Err(refusal) if is_failure(code) => {
                Status { message: refusal.message().to_owned(), code: STATUS_ERROR }
            }
            _ => Status::default(),
        };
        let remote = if self.context.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
        Span {
            trace_id: self.context.trace_id.into(),
            span_id: self.context.span_id.into(),
            trace_state: self.context.state.clone(),
            parent_span_id: self.context.parent.map(Vec::from).unwrap_or_default(),
            name: name.to_owned(),
            kind: KIND_SERVER,
            start_unix_nanos: self.began,
            end_unix_nanos: now(),
            attributes,
            status: Some(status),
            flags: u32::from(self.context.flags) | PARENT_IS_KNOWN | remote,
        }
    }
}

impl Trace for Followed {
    fn received(&self, message: &[u8]) {
        let ended = self.inner.borrow_mut().received(message, now());
        ended.into_iter().for_each(|child| self.push_child(child));
    }

    fn sent(&self, message: &[u8]) {
        let ended = self.inner.borrow_mut().sent(message);
        ended.into_iter().for_each(|child| self.push_child(child));
    }

    fn ended(&self, outcome: Result<(), &Refusal>) {
        if self.is_ended.replace(true) {
            return;
        }
        let (left, lost) = self.inner.borrow_mut().ended(outcome);
        left.into_iter().for_each(|child| self.push_child(child));
        self.queue.dropped(lost);
        self.queue.push(Scope::Call, self.own(outcome));
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a server says of a call that ends so that it failed: the others are its caller's.
fn is_failure(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Canceled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// The code as gRPC's specification spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Canceled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
