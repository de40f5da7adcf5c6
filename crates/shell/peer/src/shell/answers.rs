//! The endpoints beside raft, whose paths and headers have been checked: bodies are read, the member is asked, and
//! what it says is written as etcd writes it.

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use prost::Message as _;
use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::parts::{Found, Sending};
use super::shared::Core;
use super::snapshot_in::next_piece;
use super::traits::{HashKv, LeaseRefusal, PromoteRefusal};
use super::{LocalBody, whole};
use crate::rules::{Refused, header, parse_id};

/// The longest body of such a request.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) type Answer = Result<Response<LocalBody>, Refused>;

/// An answer of this type.
pub(super) fn page(content_type: &'static str, body: impl Into<bytes::Bytes>) -> Answer {
    let answer = Response::builder().header(http::header::CONTENT_TYPE, content_type);
    Ok(answer.body(whole(body)).expect("a constant header is a header"))
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and texts always serialize")
}

async fn read_body(mut body: Incoming) -> Result<Vec<u8>, Refused> {
    let mut whole = Vec::new();
    loop {
        match next_piece(&mut body).await {
            Ok(None) => return Ok(whole),
            Ok(Some(piece)) if whole.len() + piece.len() <= BODY_BYTES_MAX => {
                whole.extend_from_slice(&piece);
            }
            Ok(Some(_)) => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return Err(Refused::new(status, "request body too large"));
            }
            Err(_) => {
                return Err(Refused::new(StatusCode::BAD_REQUEST, "error reading body"));
            }
        }
    }
}

fn unreadable() -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "error unmarshalling request")
}

pub(super) fn members(core: &Core) -> Answer {
    let mut members = core.facts.members();
    members.sort_by_key(|member| member.id);
    page(JSON, json(&members) + "\n")
}

pub(super) fn version(core: &Core) -> Answer {
    page(JSON, json(&core.facts.versions()))
}

pub(super) async fn promote(core: &Core, id: u64, headers: &HeaderMap) -> Answer {
    let token = headers.get(http::header::AUTHORIZATION).and_then(|token| token.to_str().ok());
    match core.facts.promote(id, token.map(str::to_string)).await {
        Ok(members) => page(JSON, json(&members) + "\n"),
        Err(refusal) => {
            let event = Event::warn("failed to promote a member", &format!("{id:x}"));
            core.report.event(event.with("error", refusal.to_string()));
            let status = match refusal {
                PromoteRefusal::NotFound => StatusCode::NOT_FOUND,
                PromoteRefusal::NotLearner | PromoteRefusal::NotReady => {
                    StatusCode::PRECONDITION_FAILED
                }
                PromoteRefusal::Other(_) => return internal_error(),
            };
            Err(Refused::new(status, refusal.to_string()))
        }
    }
}

/// What etcd says of all that it has no words for.
fn internal_error() -> Answer {
    let mut answer = page(JSON, "{\"message\":\"Internal Server Error\"}")?;
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    Ok(answer)
}

#[derive(Deserialize)]
struct HashRequest {
    #[serde(default)]
    revision: i64,
}

/// As Go writes `HashKVResponse`: what is 0 is left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct HashPage {
    header: HashHeader,
    #[serde(skip_serializing_if = "is_zero")]
    hash: u32,
    #[serde(skip_serializing_if = "is_zero")]
    compact_revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    hash_revision: i64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct HashHeader {
    #[serde(skip_serializing_if = "is_zero")]
    revision: i64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

impl From<HashKv> for HashPage {
    fn from(hash: HashKv) -> HashPage {
        HashPage {
            header: HashHeader { revision: hash.revision },
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }
    }
}

impl From<HashPage> for HashKv {
    fn from(page: HashPage) -> HashKv {
        HashKv {
            revision: page.header.revision,
            hash: page.hash,
            compact_revision: page.compact_revision,
            hash_revision: page.hash_revision,
        }
    }
}

pub(super) async fn hash_kv(core: &Core, body: Incoming) -> Answer {
    let body = read_body(body).await?;
    let asked: HashRequest = serde_json::from_slice(&body).map_err(|_| unreadable())?;
    let answer = core.facts.hash_kv(asked.revision).await;
    let hash = answer.map_err(|why| Refused::new(StatusCode::BAD_REQUEST, why))?;
    let mut answer = page(JSON, json(&HashPage::from(hash)))?;
    if let Ok(id) = HeaderValue::from_str(&format!("{:x}", core.identity.cluster)) {
        answer.headers_mut().insert(header::CLUSTER, id);
    }
    Ok(answer)
}

pub(super) async fn keep_alive(core: &Core, body: Incoming) -> Answer {
    let body = read_body(body).await?;
    let asked = LeaseKeepAliveRequest::decode(&*body).map_err(|_| unreadable())?;
    let ttl = core.facts.keep_alive(asked.id).await.map_err(|refusal| match refusal {
        LeaseRefusal::NotFound => lease_refused(StatusCode::NOT_FOUND, &refusal),
        LeaseRefusal::TimedOut => lease_refused(StatusCode::REQUEST_TIMEOUT, &refusal),
        _ => lease_refused(StatusCode::BAD_REQUEST, &refusal),
    })?;
    let answer = LeaseKeepAliveResponse { id: asked.id, ttl, ..Default::default() };
    page(PROTOBUF, answer.encode_to_vec())
}

pub(super) async fn time_to_live(core: &Core, body: Incoming) -> Answer {
    let body = read_body(body).await?;
    let asked = LeaseInternalRequest::decode(&*body).map_err(|_| unreadable())?;
    // Go's member dies of a request without one.
    let asked = asked.lease_time_to_live_request.ok_or_else(unreadable)?;
    let answer = core.facts.time_to_live(asked).await.map_err(|refusal| match refusal {
        LeaseRefusal::NotFound => lease_refused(StatusCode::NOT_FOUND, &refusal),
        LeaseRefusal::TimedOut => lease_refused(StatusCode::REQUEST_TIMEOUT, &refusal),
        _ => lease_refused(StatusCode::INTERNAL_SERVER_ERROR, &refusal),
    })?;
    let answer = LeaseInternalResponse { lease_time_to_live_response: Some(answer) };
    page(PROTOBUF, answer.encode_to_vec())
}

fn lease_refused(status: StatusCode, refusal: &LeaseRefusal) -> Refused {
    Refused::new(status, refusal.to_string())
}

pub(super) async fn downgrade_enabled(core: &Core) -> Answer {
    match core.facts.downgrade_enabled().await {
        Ok(enabled) => page("text/plain", enabled.to_string()),
        Err(why) => {
            let text = format!("failed linearized read: {why}");
            Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

/// Which sending of a snapshot a request is about; nothing where it does not say, as Go members do not.
pub(super) fn sending(headers: &HeaderMap) -> Option<Sending> {
    let number = |name| headers.get(name).and_then(|id| id.to_str().ok()).and_then(parse_id);
    Some(Sending { from: number(header::FROM)?, number: number(header::SENDING)? })
}

/// How much is kept of a snapshot that broke off.
pub(super) fn snapshot_part(core: &Core, headers: &HeaderMap) -> Answer {
    let found = sending(headers).map_or(Found::Nothing, |sending| core.parts.find(sending));
    match found {
        Found::Kept(extent) => page("text/plain", extent.text()),
        Found::Comes => Err(Refused::new(StatusCode::CONFLICT, "it still comes in")),
        Found::Nothing => Err(Refused::new(StatusCode::NOT_FOUND, "nothing of it is kept")),
    }
}

/// Has a snapshot sent to the member that asks, which must be a peer of ours.
pub(super) async fn want_snapshot(core: &Core, headers: &HeaderMap) -> Result<(), Refused> {
    let from = headers.get(header::FROM).and_then(|id| id.to_str().ok()).and_then(parse_id);
    let from = from.filter(|id| core.peer(*id).is_some_and(|peer| !peer.remote));
    let from = from.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "error sender not found"))?;
    let sent = core.facts.send_snapshot(from).await;
    sent.map_err(|why| Refused::new(StatusCode::CONFLICT, why))
}
