//! The members as etcd's old v2 store spells them: 3.4 to 3.6 read them from the `.snap` file
//! (`reference/wal-and-snap.md` 3.1).

use apply::Member;
use serde_json::{Map, Value, json};

/// What a `.snap` file holds for a cluster of these members.
pub fn members(members: &[Member]) -> Vec<u8> {
    let by_id: Map<String, Value> = members
        .iter()
        .map(|member| {
            let path = format!("/0/members/{:x}", member.id);
            let attributes = json!({ "peerURLs": member.peer_urls }).to_string();
            let attributes = leaf(&format!("{path}/raftAttributes"), &attributes);
            let node = directory(&path, json!({ "raftAttributes": attributes }));
            (format!("{:x}", member.id), node)
        })
        .collect();
    let all = directory("/0/members", Value::Object(by_id));
    let root = json!({
        "0": directory("/0", json!({ "members": all })),
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
