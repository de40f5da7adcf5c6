//! Every method by everybody: our answers are a real etcd's, field by field.

use std::time::Duration;

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::grpc::{Answer, Call, Connection};
use holdfast_robust::{http, schema};
use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use proto::Rpc;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;

use super::asks::{asks, delete, put, range};
use super::world::{IDENTITIES, Identity, World, done};

/// How long a stream that says nothing is listened to.
const SILENCE: Duration = Duration::from_millis(400);

fn both(name: &str) -> Option<[World; 2]> {
    let subject = foreign::subject(name)?;
    let reference = foreign::need(name, Part::EtcdNew)?;
    // Cheap hashes: this is about who may, not about how long a password takes.
    let world = |binary| World::new(binary, &["--bcrypt-cost=4"]);
    Some([world(&subject), world(&reference)])
}

/// An answer as text. Tokens differ, and so does what a snapshot holds.
fn shown(rpc: Rpc, answer: &Answer) -> String {
    let (_, output) = schema::method(rpc.path()).expect("etcd's own");
    // How large a snapshot is depends on who writes it.
    let messages = if rpc == Rpc::MaintenanceSnapshot { &[][..] } else { &answer.messages[..] };
    let fields: Vec<_> = messages.iter().map(|message| schema::fields(&output, message)).collect();
    format!("{:?} {:?} {:?} {fields:?}", answer.status, answer.message, answer.broken)
}

fn ask(world: &World, rpc: Rpc, message: &[u8], token: Option<&str>) -> Answer {
    ask_on(&world.connection, rpc, message, token)
}

fn ask_on(connection: &Connection, rpc: Rpc, message: &[u8], token: Option<&str>) -> Answer {
    let mut call = Call::unary(rpc.path(), message);
    if let Some(token) = token {
        call = call.with_header("token", token);
    }
    match rpc {
        Rpc::Watch | Rpc::HealthWatch | Rpc::ElectionObserve => {
            connection.call_for(&call, SILENCE, 1)
        }
        _ => connection.call(&call),
    }
}

#[test]
fn every_method_answers_everybody_as_etcd_does() {
    let Some(worlds) = both("users: every method") else { return };
    let mut differ = Vec::new();
    for (number, identity) in IDENTITIES.into_iter().enumerate() {
        let tokens = [worlds[0].token(identity), worlds[1].token(identity)];
        for rpc in Rpc::ALL {
            // What root does with it is seen last: nobody is asked any more.
            if rpc == Rpc::AuthDisable && identity == Identity::User("root") {
                continue;
            }
            for message in asks(rpc, &number.to_string()) {
                let [ours, theirs] = [0, 1]
                    .map(|at| shown(rpc, &ask(&worlds[at], rpc, &message, tokens[at].as_deref())));
                if ours != theirs {
                    let (input, _) = schema::method(rpc.path()).expect("etcd's own");
                    let asked = schema::describe(&input, &message);
                    differ.push(format!(
                        "{identity:?} {rpc} {asked}\n  ours   {ours}\n  theirs {theirs}"
                    ));
                }
            }
        }
    }
    assert!(differ.is_empty(), "{} answers differ:\n{}", differ.len(), differ.join("\n"));
    for world in &worlds {
        let root = world.token(Identity::User("root"));
        done(&ask(world, Rpc::AuthDisable, &[], root.as_deref()));
        let put = put("z/open", 0, false).encode_to_vec();
        done(&ask(world, Rpc::KvPut, &put, Some("abc")));
    }
}

/// A certificate's name is a user; one that no user has is somebody without any right, and none is nobody.
#[test]
fn every_method_answers_every_certificate_as_etcd_does() {
    let name = "users: every certificate";
    let (Some(subject), Some(reference)) =
        (foreign::subject(name), foreign::need(name, Part::EtcdNew))
    else {
        return;
    };
    let world = |binary| World::with_certificates(binary, &["--bcrypt-cost=4"]);
    let worlds = [world(&subject), world(&reference)];
    let mut differ = Vec::new();
    let everybody = ["nameless", "peer", "norole", "reader", "writer", "root"];
    for (number, who) in everybody.into_iter().enumerate() {
        let connections = [worlds[0].connect_as(who), worlds[1].connect_as(who)];
        for rpc in Rpc::ALL.into_iter().filter(|rpc| *rpc != Rpc::AuthDisable || who != "root") {
            for message in asks(rpc, &number.to_string()) {
                let [ours, theirs] =
                    [0, 1].map(|at| shown(rpc, &ask_on(&connections[at], rpc, &message, None)));
                if ours != theirs {
                    let (input, _) = schema::method(rpc.path()).expect("etcd's own");
                    let asked = schema::describe(&input, &message);
                    differ.push(format!("{who} {rpc} {asked}\n  ours   {ours}\n  theirs {theirs}"));
                }
            }
        }
    }
    assert!(differ.is_empty(), "{} answers differ:\n{}", differ.len(), differ.join("\n"));
}

/// Paths of the JSON gateway whose answers come at once.
const JSON: [(&str, Rpc); 41] = [
    ("kv/range", Rpc::KvRange),
    ("kv/put", Rpc::KvPut),
    ("kv/deleterange", Rpc::KvDeleteRange),
    ("kv/txn", Rpc::KvTxn),
    ("kv/compaction", Rpc::KvCompact),
    ("lease/grant", Rpc::LeaseGrant),
    ("lease/revoke", Rpc::LeaseRevoke),
    ("lease/timetolive", Rpc::LeaseTimeToLive),
    ("lease/leases", Rpc::LeaseLeases),
    ("kv/lease/leases", Rpc::LeaseLeases),
    ("lease/keepalive", Rpc::LeaseKeepAlive),
    ("cluster/member/add", Rpc::ClusterMemberAdd),
    ("cluster/member/remove", Rpc::ClusterMemberRemove),
    ("cluster/member/update", Rpc::ClusterMemberUpdate),
    ("cluster/member/list", Rpc::ClusterMemberList),
    ("cluster/member/promote", Rpc::ClusterMemberPromote),
    ("maintenance/alarm", Rpc::MaintenanceAlarm),
    ("maintenance/defragment", Rpc::MaintenanceDefragment),
    ("maintenance/hashkv", Rpc::MaintenanceHashKv),
    ("maintenance/transfer-leadership", Rpc::MaintenanceMoveLeader),
    ("maintenance/downgrade", Rpc::MaintenanceDowngrade),
    ("auth/enable", Rpc::AuthEnable),
    ("auth/status", Rpc::AuthStatus),
    ("auth/user/add", Rpc::AuthUserAdd),
    ("auth/user/get", Rpc::AuthUserGet),
    ("auth/user/list", Rpc::AuthUserList),
    ("auth/user/delete", Rpc::AuthUserDelete),
    ("auth/user/changepw", Rpc::AuthUserChangePassword),
    ("auth/user/grant", Rpc::AuthUserGrantRole),
    ("auth/user/revoke", Rpc::AuthUserRevokeRole),
    ("auth/role/add", Rpc::AuthRoleAdd),
    ("auth/role/get", Rpc::AuthRoleGet),
    ("auth/role/list", Rpc::AuthRoleList),
    ("auth/role/delete", Rpc::AuthRoleDelete),
    ("auth/role/grant", Rpc::AuthRoleGrantPermission),
    ("auth/role/revoke", Rpc::AuthRoleRevokePermission),
    ("lock/unlock", Rpc::LockUnlock),
    ("election/proclaim", Rpc::ElectionProclaim),
    ("election/leader", Rpc::ElectionLeader),
    ("election/resign", Rpc::ElectionResign),
    ("election/campaign", Rpc::ElectionCampaign),
];

fn json(rpc: Rpc, message: &[u8]) -> String {
    let (input, _) = schema::method(rpc.path()).expect("etcd's own");
    let message = DynamicMessage::decode(input, message).expect("it was just encoded");
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::new(&mut text);
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(&mut writer, &options).expect("a message is JSON");
    String::from_utf8(text).expect("JSON is text")
}

/// Without what Go's printer varies, what depends on the clock, and the order of lists that etcd
/// takes from a map.
fn body(answer: &http::Answer) -> String {
    let mut text: String = answer.text().split_whitespace().collect();
    for list in ["\"keys\":[", "\"leases\":[", "\"alarms\":["] {
        if let Some((before, rest)) = text.split_once(list)
            && let Some((items, after)) = rest.split_once(']')
        {
            let mut items: Vec<_> = items.split(',').collect();
            items.sort_unstable();
            text = format!("{before}{list}{}]{after}", items.join(","));
        }
    }
    for clock in ["\"raft_term\":\"", "\"TTL\":\""] {
        if let Some(at) = text.find(clock) {
            let (before, after) = text.split_at(at + clock.len());
            text = before.to_owned() + after.trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    text
}

#[test]
fn every_method_answers_everybody_as_etcd_does_over_json() {
    let Some(worlds) = both("users: JSON") else { return };
    let mut differ = Vec::new();
    for (number, identity) in IDENTITIES.into_iter().enumerate() {
        let tokens = [worlds[0].token(identity), worlds[1].token(identity)];
        for (path, rpc) in JSON {
            for message in asks(rpc, &number.to_string()) {
                let asked = json(rpc, &message);
                let [ours, theirs] = [0, 1].map(|at| {
                    let header = tokens[at].as_ref().map_or_else(String::new, |token| {
                        // Both spellings are used.
                        let bearer = if number % 2 == 0 { "Bearer " } else { "" };
                        format!("Authorization: {bearer}{token}\r\n")
                    });
                    let address = worlds[at].server.address();
                    let path = format!("/v3/{path}");
                    let answer = http::send(&address, "POST", &path, &header, &asked);
                    answer.map_or_else(|e| e.to_string(), |a| format!("{} {}", a.status, body(&a)))
                });
                if ours != theirs {
                    differ.push(format!(
                        "{identity:?} {path} {asked}\n  ours   {ours}\n  theirs {theirs}"
                    ));
                }
            }
        }
    }
    assert!(differ.is_empty(), "{} answers differ:\n{}", differ.len(), differ.join("\n"));
}

fn operations() -> Vec<Request> {
    vec![
        Request::RequestRange(range("a/1", "")),
        Request::RequestRange(range("z/1", "")),
        Request::RequestRange(range("a/", "\0")),
        Request::RequestPut(put("a/3", 0, false)),
        Request::RequestPut(put("a/3", 0, true)),
        Request::RequestPut(put("z/3", 0, false)),
        Request::RequestPut(put("a/3", 7, false)),
        Request::RequestPut(put("a/3", 8, false)),
        Request::RequestDeleteRange(delete("a/none", "", false)),
        Request::RequestDeleteRange(delete("a/none", "", true)),
        Request::RequestDeleteRange(delete("a/none", "b", false)),
        Request::RequestDeleteRange(delete("z/none", "", true)),
    ]
}

/// Every operation in both branches, at three depths, and as a condition.
fn transactions() -> Vec<pb::TxnRequest> {
    let mut all = Vec::new();
    for operation in operations() {
        let ops = vec![pb::RequestOp { request: Some(operation) }];
        for in_success in [true, false] {
            let branches = |ops| match in_success {
                true => pb::TxnRequest { success: ops, ..Default::default() },
                false => pb::TxnRequest { failure: ops, ..Default::default() },
            };
            let mut txn = branches(ops.clone());
            all.push(txn.clone());
            for _ in 0..2 {
                txn = branches(vec![pb::RequestOp { request: Some(Request::RequestTxn(txn)) }]);
                all.push(txn.clone());
            }
        }
    }
    for (key, range_end) in [("a/1", ""), ("z/1", ""), ("a/", "b"), ("a/", "\0")] {
        let compare =
            pb::Compare { key: key.into(), range_end: range_end.into(), ..Default::default() };
        let txn = pb::TxnRequest { compare: vec![compare], ..Default::default() };
        let nested = pb::RequestOp { request: Some(Request::RequestTxn(txn.clone())) };
        all.push(txn);
        all.push(pb::TxnRequest { failure: vec![nested], ..Default::default() });
    }
    all
}

/// CVE-2026-33343, CVE-2026-44283: an operation in a transaction is asked about like one outside, at every depth,
/// in the branch that does not run too.
#[test]
fn no_transaction_hides_an_operation_from_the_check() {
    let Some(worlds) = both("users: transactions") else { return };
    let mut differ = Vec::new();
    for identity in IDENTITIES {
        let tokens = [worlds[0].token(identity), worlds[1].token(identity)];
        for txn in transactions() {
            let message = txn.encode_to_vec();
            let [ours, theirs] = [0, 1].map(|at| {
                shown(Rpc::KvTxn, &ask(&worlds[at], Rpc::KvTxn, &message, tokens[at].as_deref()))
            });
            if ours != theirs {
                differ.push(format!("{identity:?} {txn:?}\n  ours   {ours}\n  theirs {theirs}"));
            }
        }
    }
    assert!(differ.is_empty(), "{} answers differ:\n{}", differ.len(), differ.join("\n"));
}
