//! `/v2/keys`: the tree's nodes, read, written and watched.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use net::HttpBody;
use node::unix_nanos;
use types::Refusal;
use v2::{Action, Code, Error, Event, json};

use super::answers::{self, add_indexes, counted, failed, refused};
use super::form::{Form, Wanted};
use super::{KEYS, V2, only};

/// A form may be so many times longer than the request it means: each byte can be written as `%41`.
const ESCAPED_LEN: usize = 3;
/// What a form may hold beside its value and key, in bytes.
const FORM_BYTES_BESIDE: usize = 64 << 10;
/// How long a form may take to arrive.
const FORM_DURATION_MAX: Duration = Duration::from_secs(30);

pub(super) async fn handle(
    v2: &Arc<V2>,
    key: &str,
    request: Request<HttpBody>,
) -> Response<HttpBody> {
    if let Some(refused) = only(request.method(), "HEAD,GET,PUT,POST,DELETE") {
        return refused;
    }
    let method = request.method().clone();
    let response = match wanted(v2, request).await {
        Ok(wanted) => answer(v2, key, &method, wanted).await,
        Err(error) => refused(&error),
    };
    v2.with_cluster(response)
}

async fn wanted(v2: &V2, request: Request<HttpBody>) -> Result<Wanted, Error> {
    let method = request.method().clone();
    let too_many = || Error::new(Code::RaftInternal, Refusal::RequestTooManyRequests.message(), 0);
    let _permit = v2.forms.clone().try_acquire_owned().map_err(|_| too_many())?;
    let longest = v2.node().limits().request_bytes_max.saturating_mul(ESCAPED_LEN);
    let form = Form::read(request, longest.saturating_add(FORM_BYTES_BESIDE));
    let form = tokio::time::timeout(FORM_DURATION_MAX, form).await;
    let late = |_| Error::new(Code::InvalidForm, "the form did not arrive in time", 0);
    Wanted::of(&form.map_err(late)??, &method)
}

async fn answer(v2: &Arc<V2>, key: &str, method: &Method, wanted: Wanted) -> Response<HttpBody> {
    let path = v2::joined(KEYS, key);
    if path != KEYS && !path.starts_with("/1/") {
        return refused(&Error::new(Code::InvalidForm, "incorrect key prefix", 0));
    }
    let (stream, bare) = (wanted.stream, wanted.bare);
    let asked = match wanted.into_asked(path, method) {
        Asked::Watch(request) => {
            return match v2.node().v2_watch(request).await {
                Ok(Ok(watch)) => watching(v2, watch, stream),
                Ok(Err(error)) => refused(&error),
                Err(refusal) => failed(&refusal),
            };
        }
        other => other,
    };
    match asked.ask(v2).await {
        Ok(Ok(event)) => shown(v2, &event, bare).unwrap_or_else(|refusal| failed(&refusal)),
        Ok(Err(error)) => refused(&error),
        Err(refusal) => failed(&refusal),
    }
}

/// What the member is asked.
enum Asked {
    /// This member's tree.
    Get { path: String, recursive: bool },
    /// The log.
    Propose(v2::Request),
    /// What comes.
    Watch(v2::WatchRequest),
}

impl Wanted {
    fn into_asked(self, path: String, method: &Method) -> Asked {
        let recursive = self.recursive;
        let method = match *method {
            Method::PUT => v2::Method::Put,
            Method::POST => v2::Method::Post,
            Method::DELETE => v2::Method::Delete,
            Method::GET if self.quorum => v2::Method::QGet,
            Method::GET if self.wait => {
                let (stream, since) = (self.stream, self.since);
                return Asked::Watch(v2::WatchRequest { path, recursive, stream, since });
            }
            _ => return Asked::Get { path, recursive },
        };
        let ends = self.ends(unix_nanos());
        Asked::Propose(v2::Request {
            method,
            path,
            value: self.value,
            dir: self.dir,
            previous_value: self.previous_value,
            previous_index: self.previous_index,
            previous_exists: self.previous_exists,
            ends,
            recursive,
            refresh: self.refresh,
            time: 0,
        })
    }
}

impl Asked {
    async fn ask(self, v2: &V2) -> Result<Result<Arc<Event>, Error>, Refusal> {
        match self {
            Asked::Get { path, recursive } => {
                let read = v2.node().v2_get(path, recursive).await?;
                Ok(read.map(Arc::new))
            }
            Asked::Propose(request) => {
                if let Err(cause) = v2.fellows.can_follow(&v2.desk).await {
                    return Ok(Err(Error::new(Code::RaftInternal, cause, 0)));
                }
                let answer = v2.node().v2_propose(request).await?;
                Ok(answer.map(|event| event.expect("a client's request has an event")))
            }
            Asked::Watch(_) => unreachable!("a watch is answered line by line"),
        }
    }
}

fn shown(v2: &V2, event: &Event, bare: bool) -> Result<Response<HttpBody>, Refusal> {
    let is_write = matches!(
        event.action,
        Action::Set | Action::Create | Action::Update | Action::CompareAndSwap
    );
    let mut text = String::new();
    json::event(event, KEYS, bare && is_write, &mut text);
    let status = if event.is_creation() { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = answers::json(status, counted(v2, text)?);
    add_indexes(v2, event.index, &mut response);
    Ok(response)
}

fn watching(v2: &Arc<V2>, watch: node::V2Watch, stream: bool) -> Response<HttpBody> {
    let index = watch.index;
    let mut response = answers::json(StatusCode::OK, answers::lines(v2, watch, stream));
    add_indexes(v2, index, &mut response);
    response
}
