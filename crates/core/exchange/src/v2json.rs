//! The members as etcd's old v2 store spells them: 3.4 to 3.6 read them from the `.snap` file
//! (`docs/etcd/wal-and-snap.md` 3.1).

use apply::Member;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use types::MemberId;

/// What the v2 store of a Go member says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V2Json {
    /// The members, by id.
    pub members: Vec<Member>,
    /// Those that were removed.
    pub removed: Vec<MemberId>,
    /// The cluster's version, if it was decided.
    pub version: Option<String>,
    /// The path of something that clients of the v2 API have stored, if there is any.
    pub custom: Option<String>,
}

/// Reads the JSON of a Go member's `.snap` file; `None` if it is none.
pub fn read_members_json(json: &[u8]) -> Option<V2Json> {
    let store: Value = serde_json::from_slice(json).ok()?;
    let root = store.get("Root")?;
    let cluster = child(root, "0");
    let mut found = V2Json { custom: custom(root), ..V2Json::default() };
    let members = cluster.and_then(|cluster| child(cluster, "members"));
    for (id, node) in members.into_iter().flat_map(children) {
        found.members.push(member_of(MemberId::from_str_radix(id, 16).ok()?, node)?);
    }
    found.members.sort_by_key(|member| member.id);
    let removed = cluster.and_then(|cluster| child(cluster, "removed_members"));
    for (id, _) in removed.into_iter().flat_map(children) {
        found.removed.push(MemberId::from_str_radix(id, 16).ok()?);
    }
    let version = cluster.and_then(|cluster| child(cluster, "version"));
    found.version = version.and_then(|node| value(node)).map(str::to_owned);
    Some(found)
}

#[derive(Deserialize)]
struct RaftAttributes {
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default)]
    is_learner: bool,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
}

fn member_of(id: MemberId, node: &Value) -> Option<Member> {
    let raft = child(node, "raftAttributes").and_then(value)?;
    let raft: RaftAttributes = serde_json::from_str(raft).ok()?;
    let told = match child(node, "attributes").and_then(value) {
        Some(told) => serde_json::from_str(told).ok()?,
        None => Attributes::default(),
    };
    Some(Member {
        id,
        peer_urls: raft.peer_urls.unwrap_or_default(),
        is_learner: raft.is_learner,
        name: told.name,
        client_urls: told.client_urls.unwrap_or_default(),
    })
}

/// What etcd 3.6 refuses to start with: below the root only `/0` is etcd's own, and `/2`, as long as its
/// directories are empty, what the v2 API's auth left.
fn custom(root: &Value) -> Option<String> {
    for (name, node) in children(root).filter(|(name, _)| *name != "0") {
        let mut below = children(node);
        let full = match name {
            "2" => below.find(|(_, node)| children(node).next().is_some()),
            _ => below.next(),
        };
        if let Some((key, _)) = full {
            return Some(format!("/{name}/{key}"));
        }
    }
    None
}

fn children(node: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let children = node.get("Children").and_then(Value::as_object);
    children.into_iter().flatten().map(|(name, node)| (name.as_str(), node))
}

fn child<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    node.get("Children")?.get(name)
}

fn value(node: &Value) -> Option<&str> {
    node.get("Value")?.as_str()
}

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

/// The same store with one member in the place of all others; `None` if it is none.
pub fn with_lone_member(json: &[u8], member: &Member) -> Option<Vec<u8>> {
    let mut store: Value = serde_json::from_slice(json).ok()?;
    let root = store.get_mut("Root")?.get_mut("Children")?;
    let cluster = root.get_mut("0")?.get_mut("Children")?.as_object_mut()?;
    let mut members = Map::new();
    members.insert(format!("{:x}", member.id), node_of(member));
    cluster.insert("members".into(), directory("/0/members", members.into()));
    cluster.remove("removed_members");
    Some(store.to_string().into_bytes())
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

    #[test]
    fn what_is_written_is_read_back() {
        let member = |id, is_learner, name: &str, client: &[&str]| Member {
            id,
            peer_urls: vec!["http://h:2380".into()],
            is_learner,
            name: name.into(),
            client_urls: client.iter().map(|url| (*url).to_owned()).collect(),
        };
        let members =
            vec![member(0xab, true, "", &[]), member(0xcd, false, "n", &["http://h:2379"])];
        let json = members_json(&members, &["ef".into()], Some("3.5.0"));
        let version = Some("3.5.0".to_owned());
        let expected = V2Json { members, removed: vec![0xef], version, custom: None };
        assert_eq!(read_members_json(&json), Some(expected));
        assert_eq!(read_members_json(b"{}"), None);
        assert_eq!(read_members_json(b"no json"), None);
    }

    #[test]
    fn what_clients_of_the_v2_api_stored_is_noticed_as_etcd_3_6_does() {
        let check = |children: &str, expected: Option<&str>| {
            let json = format!(r#"{{"Root":{{"Children":{{{children}}}}}}}"#);
            let read = read_members_json(json.as_bytes()).expect("a store");
            assert_eq!(read.custom.as_deref(), expected, "{children}");
        };
        check(r#""0":{"Children":{"members":{"Children":{}}}},"1":{"Children":{}}"#, None);
        check(r#""1":{"Children":{"key":{"Value":"x"}}}"#, Some("/1/key"));
        check(r#""2":{"Children":{"users":{"Children":{}},"roles":{"Children":null}}}"#, None);
        check(r#""2":{"Children":{"users":{"Children":{"u":{"Value":"x"}}}}}"#, Some("/2/users"));
    }

    #[test]
    fn a_lone_member_takes_the_place_of_all_others() {
        let member = |id| Member { id, peer_urls: vec!["http://a:1".into()], ..Member::default() };
        let json = members_json(&[member(1), member(2)], &["3".to_owned()], Some("3.4.0"));
        let alone = with_lone_member(&json, &member(9)).expect("it is a store");
        let found = read_members_json(&alone).expect("it is one still");
        let version = Some("3.4.0".to_owned());
        let expected = V2Json { members: vec![member(9)], version, ..V2Json::default() };
        assert_eq!(found, expected);
        assert_eq!(with_lone_member(b"{}", &member(9)), None);
    }
}
