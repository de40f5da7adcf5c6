//! The members as etcd's old v2 store spells them: 3.4 to 3.6 read them from the `.snap` file
//! (`docs/etcd/wal-and-snap.md` 3.1).

use apply::Member;
use serde_json::{Map, Value, json};

/// The members, those that were removed (their ids in hexadecimal), and the cluster's version.
pub fn members_json(members: &[Member], removed: &[String], version: Option<&str>) -> Vec<u8> {
    let by_id: Map<String, Value> =
        members.iter().map(|member| (format!("{:x}", member.id), node_of(member))).collect();
    let mut root = Map::new();
    root.insert("members".into(), directory("/0/members", Value::Object(by_id)));
    if !removed.is_empty() {
        let gone = |id: &String| (id.clone(), leaf(&format!("/0/removed_members/{id}"), ""));
        let gone: Map<String, Value> = removed.iter().map(gone).collect();
        root.insert("removed_members".into(), directory("/0/removed_members", gone.into()));
    }
    if let Some(version) = version {
        root.insert("version".into(), leaf("/0/version", version));
    }
    let root = json!({
        "0": directory("/0", root.into()),
        "1": directory("/1", json!({})),
    });
    // Histories and counters must have their shape, and nobody reads them.
    let queue = json!({ "Events": [null], "Size": 0, "Front": 0, "Back": 0, "Capacity": 1 });
    let history = json!({ "Queue": queue, "StartIndex": 0, "LastIndex": 0 });
    let store = json!({
        "Root": directory("/", root),
        "WatcherHub": { "EventHistory": history },
        "CurrentIndex": 0,
        "Stats": counters(),
        "CurrentVersion": 2,
    });
    store.to_string().into_bytes()
}

/// A member's directory. One that has not started has told nobody its attributes.
fn node_of(member: &Member) -> Value {
    let path = format!("/0/members/{:x}", member.id);
    let mut raft = json!({ "peerURLs": member.peer_urls });
    if member.is_learner {
        raft["isLearner"] = true.into();
    }
    let mut children = Map::new();
    let raft = leaf(&format!("{path}/raftAttributes"), &raft.to_string());
    children.insert("raftAttributes".into(), raft);
    if !member.client_urls.is_empty() {
        let told = json!({ "name": member.name, "clientURLs": member.client_urls });
        let told = leaf(&format!("{path}/attributes"), &told.to_string());
        children.insert("attributes".into(), told);
    }
    directory(&path, children.into())
}

fn directory(path: &str, children: Value) -> Value {
    node(path, "", children)
}

fn leaf(path: &str, value: &str) -> Value {
    node(path, value, Value::Null)
}

fn node(path: &str, value: &str, children: Value) -> Value {
    json!({
        "Path": path,
        "CreatedIndex": 0,
        "ModifiedIndex": 0,
        "ExpireTime": "0001-01-01T00:00:00Z",
        "Value": value,
        "Children": children,
    })
}

fn counters() -> Value {
    const NAMES: [&str; 16] = [
        "getsSuccess",
        "getsFail",
        "setsSuccess",
        "setsFail",
        "deleteSuccess",
        "deleteFail",
        "updateSuccess",
        "updateFail",
        "createSuccess",
        "createFail",
        "compareAndSwapSuccess",
        "compareAndSwapFail",
        "compareAndDeleteSuccess",
        "compareAndDeleteFail",
        "expireCount",
        "watchers",
    ];
    NAMES.map(|name| (name.to_owned(), json!(0))).into_iter().collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_spelled_as_etcds_v2_store_spells_it() {
        let member = Member {
            id: 0xab,
            peer_urls: vec!["http://h:2380".into()],
            is_learner: true,
            name: "n".into(),
            client_urls: vec!["http://h:2379".into()],
        };
        let json = members_json(&[member], &["cd".into()], Some("3.5.0"));
        let json: Value = serde_json::from_slice(&json).expect("ours");
        let zero = &json["Root"]["Children"]["0"]["Children"];
        let member = &zero["members"]["Children"]["ab"]["Children"];
        let raft = &member["raftAttributes"];
        assert_eq!(raft["Value"], r#"{"isLearner":true,"peerURLs":["http://h:2380"]}"#);
        assert_eq!(raft["Path"], "/0/members/ab/raftAttributes");
        let told = &member["attributes"]["Value"];
        assert_eq!(told, r#"{"clientURLs":["http://h:2379"],"name":"n"}"#);
        assert_eq!(zero["removed_members"]["Children"]["cd"]["Value"], "");
        assert_eq!(zero["version"]["Value"], "3.5.0");
    }
}
