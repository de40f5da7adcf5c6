//! `/v2/members`: who belongs to the cluster, and changes of that.

use http::{Method, Request, Response, StatusCode, header};
use net::HttpBody;
use proto::etcdserverpb as pb;
use rpc::Rpc;
use serde::Deserialize;
use types::{MemberId, Refusal};
use v2::json;

use super::answers::{self, message};
use super::form::read_body;
use super::{V2, only};
use crate::http::answer;
use crate::services::{member_added, member_removed, member_updated};

/// A request about members, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What is said of a member that is to come or to move.
#[derive(Deserialize)]
struct Urls {
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
}

pub(super) async fn handle(v2: &V2, id: &str, request: Request<HttpBody>) -> Response<HttpBody> {
    if let Some(refused) = only(request.method(), "GET,POST,DELETE,PUT") {
        return refused;
    }
    let id = id.trim_start_matches('/').to_owned();
    let concerns_one = matches!(*request.method(), Method::DELETE | Method::PUT);
    if concerns_one && id.is_empty() {
        let refused = answer::error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        return v2.with_cluster(refused);
    }
    let response = match *request.method() {
        Method::GET => shown(v2, &id),
        Method::POST => answered(add(v2, request).await),
        Method::DELETE => answered(remove(v2, &id).await),
        _ => answered(update(v2, &id, request).await),
    };
    v2.with_cluster(response)
}

/// Why a change was not made: a status, and what `message` says.
type Refused = (StatusCode, String);

fn answered(answer: Answer) -> Response<HttpBody> {
    answer.unwrap_or_else(|(status, text)| message(status, &text))
}

fn shown(v2: &V2, what: &str) -> Response<HttpBody> {
    let cluster = v2.node().cluster();
    let mut text = String::new();
    match what {
        "" => {
            text.push_str("{\"members\":[");
            for (place, member) in cluster.members.to_wire().iter().enumerate() {
                text.push_str(if place == 0 { "" } else { "," });
                write(member, &mut text);
            }
            text.push_str("]}\n");
        }
        "leader" => {
            let leader = v2.node().standing().leader;
            let members = cluster.members.to_wire();
            let Some(leader) = members.iter().find(|member| member.id == leader) else {
                return message(StatusCode::SERVICE_UNAVAILABLE, "During election");
            };
            write(leader, &mut text);
            text.push('\n');
        }
        _ => return message(StatusCode::NOT_FOUND, "Not found"),
    }
    answers::json(StatusCode::OK, net::whole(text))
}

fn write(member: &pb::Member, out: &mut String) {
    let list = |name: &str, urls: &[String], out: &mut String| {
        out.push_str(&format!(",\"{name}\":["));
        for (place, url) in urls.iter().enumerate() {
            out.push_str(if place == 0 { "" } else { "," });
            json::string(url, out);
        }
        out.push(']');
    };
    out.push_str(&format!("{{\"id\":\"{:x}\",\"name\":", member.id));
    json::string(&member.name, out);
    list("peerURLs", &member.peer_ur_ls, out);
    list("clientURLs", &member.client_ur_ls, out);
    out.push('}');
}

type Answer = Result<Response<HttpBody>, Refused>;

async fn add(v2: &V2, request: Request<HttpBody>) -> Answer {
    let peer_ur_ls = urls(request).await?;
    let add = pb::MemberAddRequest { peer_ur_ls, is_learner: false };
    let permitted = v2.desk.admit_for(Rpc::ClusterMemberAdd, None, add).await.map_err(fault)?;
    let added = member_added(&v2.desk, &permitted).await.map_err(|refusal| match refusal {
        Refusal::MemberExist | Refusal::PeerURLExist => {
            (StatusCode::CONFLICT, conflict(&refusal).to_owned())
        }
        refusal => fault(refusal),
    })?;
    let mut text = String::new();
    write(&added.member.unwrap_or_default(), &mut text);
    text.push('\n');
    Ok(answers::json(StatusCode::CREATED, net::whole(text)))
}

async fn remove(v2: &V2, id: &str) -> Answer {
    let remove = pb::MemberRemoveRequest { id: parsed(id)? };
    let rpc = Rpc::ClusterMemberRemove;
    let permitted = v2.desk.admit_for(rpc, None, remove).await.map_err(fault)?;
    let was_removed = v2.desk.cluster().members.was_removed(permitted.message().id);
    match member_removed(&v2.desk, &permitted).await {
        Ok(_) => Ok(answer::empty(StatusCode::NO_CONTENT)),
        Err(Refusal::MemberNotFound) if was_removed => {
            Err((StatusCode::GONE, format!("Member permanently removed: {id}")))
        }
        Err(refusal) => Err(not_changed(id, refusal)),
    }
}

async fn update(v2: &V2, id: &str, request: Request<HttpBody>) -> Answer {
    let id_number = parsed(id)?;
    let peer_ur_ls = urls(request).await?;
    let update = pb::MemberUpdateRequest { id: id_number, peer_ur_ls };
    let rpc = Rpc::ClusterMemberUpdate;
    let permitted = v2.desk.admit_for(rpc, None, update).await.map_err(fault)?;
    match member_updated(&v2.desk, &permitted).await {
        Ok(_) => Ok(answer::empty(StatusCode::NO_CONTENT)),
        Err(refusal) => Err(not_changed(id, refusal)),
    }
}

fn not_changed(id: &str, refusal: Refusal) -> Refused {
    match refusal {
        Refusal::MemberNotFound => (StatusCode::NOT_FOUND, format!("No such member: {id}")),
        Refusal::PeerURLExist => (StatusCode::CONFLICT, conflict(&refusal).to_owned()),
        refusal => fault(refusal),
    }
}

/// As etcd's own words for it are on this path.
fn conflict(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::MemberExist => "membership: ID exists",
        _ => "membership: peerURL exists",
    }
}

fn parsed(id: &str) -> Result<MemberId, Refused> {
    let unknown = |_| (StatusCode::NOT_FOUND, format!("No such member: {id}"));
    go::number::parse_uint(id, 16).map_err(unknown)
}

/// What is the matter is nobody's business here, as in etcd.
fn fault(_refusal: Refusal) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error".to_owned())
}

/// The peer URLs in a body, checked and sorted as etcd's.
async fn urls(request: Request<HttpBody>) -> Result<Vec<String>, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    if kind != "application/json" {
        let text = format!("Bad Content-Type {kind}, accept application/json");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let wrong = |text: &str| (StatusCode::BAD_REQUEST, text.to_owned());
    let body = read_body(request.into_body(), BODY_BYTES_MAX).await;
    let body = body.map_err(|error| wrong(&error.cause))?;
    let read: Urls = serde_json::from_slice(&body).map_err(|error| match error.is_eof() {
        true => wrong("unexpected end of JSON input"),
        false => wrong(&error.to_string()),
    })?;
    let mut urls = read.peer_urls.unwrap_or_default();
    if urls.is_empty() {
        return Err(wrong("no valid URLs given"));
    }
    for url in &urls {
        let schemes = ["http://", "https://", "unix://", "unixs://"];
        if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            let text = format!("URL scheme must be http, https, unix, or unixs: {url}");
            return Err(wrong(&text));
        }
    }
    urls.sort_unstable();
    Ok(urls)
}
