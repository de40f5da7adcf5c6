//! `/v2/stats`: what this member, its leader and its tree have to tell of themselves.

use consensus::Role;
use go::GoDuration;
use http::{Method, Response, StatusCode};
use net::HttpBody;
use v2::json;

use super::answers::{self, failed, message};
use super::{V2, only};

pub(super) fn own(v2: &V2, method: &Method) -> Response<HttpBody> {
    if let Some(refused) = only(method, "GET") {
        return refused;
    }
    let (node, mut text) = (v2.node(), String::from("{\"name\":"));
    json::string(&node.config().name, &mut text);
    let standing = node.standing();
    let state = if standing.role == Role::Leader { "StateLeader" } else { "StateFollower" };
    let led_for = node.led_since().map(|since| since.elapsed()).unwrap_or_default();
    let nanos = i64::try_from(led_for.as_nanos()).unwrap_or(i64::MAX);
    let leader = match standing.leader {
        0 => String::new(),
        leader => format!("{leader:x}"),
    };
    text.push_str(&format!(
        ",\"id\":\"{:x}\",\"state\":\"{state}\",\"startTime\":\"{}\",\"leaderInfo\":{{\"leader\":\"{leader}\",\
         \"uptime\":\"{}\",\"startTime\":\"{}\"}},\"recvAppendRequestCnt\":0,\"sendAppendRequestCnt\":0}}",
        node.member(),
        json::time(v2.started),
        GoDuration::from_nanos(nanos),
        json::time(node::unix_nanos().saturating_sub(nanos)),
    ));
    answers::json(StatusCode::OK, net::whole(text))
}

pub(super) fn leader(v2: &V2, method: &Method) -> Response<HttpBody> {
    if let Some(refused) = only(method, "GET") {
        return refused;
    }
    let node = v2.node();
    if !node.is_leader() {
        return message(StatusCode::FORBIDDEN, "not current leader");
    }
    let mut text = format!("{{\"leader\":\"{:x}\",\"followers\":{{", node.member());
    let cluster = node.cluster();
    let others = cluster.members.members().filter(|member| member.id != node.member());
    for (place, member) in others.enumerate() {
        text.push_str(if place == 0 { "" } else { "," });
        text.push_str(&format!(
            "\"{:x}\":{{\"latency\":{{\"current\":0,\"average\":0,\"standardDeviation\":0,\"minimum\":0,\
             \"maximum\":0}},\"counts\":{{\"fail\":0,\"success\":0}}}}",
            member.id
        ));
    }
    text.push_str("}}");
    answers::json(StatusCode::OK, net::whole(text))
}

pub(super) async fn store(v2: &V2, method: &Method) -> Response<HttpBody> {
    if let Some(refused) = only(method, "GET") {
        return refused;
    }
    match v2.node().v2_stats().await {
        Ok((stats, watchers)) => {
            let mut text = String::new();
            json::stats(&stats, watchers, &mut text);
            answers::json(StatusCode::OK, net::whole(text))
        }
        Err(refusal) => failed(&refusal),
    }
}
