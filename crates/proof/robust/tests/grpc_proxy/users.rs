//! Users: what one may see is judged by the server, for each of them, whatever is shared.

use super::*;

const READER: &str = "reader";
const STRANGER: &str = "stranger";

/// Users are asked for from here on: `root`, one who may read `a`, and one who may do nothing.
fn enable(connection: &Connection) {
    let auth = |name: &str| format!("/etcdserverpb.Auth/{name}");
    let add = |name: &str| {
        let user = pb::AuthUserAddRequest {
            name: name.to_owned(),
            password: "p".to_owned(),
            ..Default::default()
        };
        let _: pb::AuthUserAddResponse = connection.unary(&auth("UserAdd"), &user).ok();
    };
    ["root", READER, STRANGER].iter().for_each(|name| add(name));
    let role = pb::AuthRoleAddRequest { name: READER.to_owned() };
    let _: pb::AuthRoleAddResponse = connection.unary(&auth("RoleAdd"), &role).ok();
    let permission =
        proto::authpb::Permission { perm_type: 0, key: "a".into(), range_end: Default::default() };
    let grant =
        pb::AuthRoleGrantPermissionRequest { name: READER.to_owned(), perm: Some(permission) };
    let path = auth("RoleGrantPermission");
    let _: pb::AuthRoleGrantPermissionResponse = connection.unary(&path, &grant).ok();
    for (user, role) in [("root", "root"), (READER, READER)] {
        let grant = pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
        let path = auth("UserGrantRole");
        let _: pb::AuthUserGrantRoleResponse = connection.unary(&path, &grant).ok();
    }
    let _: pb::AuthEnableResponse =
        connection.unary(&auth("AuthEnable"), &pb::AuthEnableRequest {}).ok();
}

fn token(connection: &Connection, name: &str) -> String {
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: "p".to_owned() };
    let answer: pb::AuthenticateResponse =
        connection.unary("/etcdserverpb.Auth/Authenticate", &request).ok();
    answer.token
}

fn read(connection: &Connection, serializable: bool, token: &str) -> Result<i64, String> {
    let answer = call(connection, "/etcdserverpb.KV/Range", &range("a", serializable), token);
    match answer.status {
        Some(0) => Ok(answer.ok::<pb::RangeResponse>().count),
        _ => Err(answer.message.unwrap_or_default()),
    }
}

/// What a watch says first: whether it was made, or why not.
fn watch(connection: &Connection, token: &str) -> Result<(), String> {
    let call = Call { body: Default::default(), ..Call::unary("/etcdserverpb.Watch/Watch", &[]) };
    let call = if token.is_empty() { call } else { call.with_header("token", token) };
    let mut stream = connection.begin(&call).expect("a stream");
    stream.send(&asked(create("a", "", 0)));
    match stream.next(PATIENCE) {
        Item::Message(said) => {
            let said = pb::WatchResponse::decode(said).expect("well formed");
            if said.canceled { Err(said.cancel_reason) } else { Ok(()) }
        }
        Item::End(answer) => Err(answer.message.unwrap_or_default()),
        Item::Nothing => panic!("no answer"),
    }
}

/// Before and behind the proxy each must get the same, also while others share what it asks for.
#[test]
fn nobody_sees_through_the_proxy_what_the_server_would_not_show() {
    let name = "nobody_sees_through_the_proxy_what_the_server_would_not_show";
    let Some(program) = subject(name) else { return };
    let (server, proxy) = pair(&program, "");
    let (through, direct) = (proxy.connect(), server.connect());
    put(&through, "a", "secret");
    // Somebody watches, and the cache is warm.
    let mut watching = watching(&through, create("a", "", 0));
    assert_eq!(read(&through, true, ""), Ok(1));
    enable(&through);
    let tokens = ["", "nonsense"].map(str::to_owned).into_iter();
    let tokens = tokens.chain(["root", READER, STRANGER].map(|name| token(&through, name)));
    for token in tokens {
        for serializable in [false, true, true] {
            let expected = read(&direct, serializable, &token);
            assert_eq!(read(&through, serializable, &token), expected, "{token:?}");
        }
        let expected = watch(&direct, &token);
        assert_eq!(watch(&through, &token), expected, "{token:?}");
    }
    assert_eq!(read(&direct, true, ""), Err("etcdserver: user name is empty".to_owned()));
    // Who watched before goes on, as at the server itself.
    let root = token(&through, "root");
    let change = pb::PutRequest { key: "a".into(), value: "2".into(), ..Default::default() };
    let _: pb::PutResponse = call(&through, "/etcdserverpb.KV/Put", &change, &root).ok();
    assert_eq!(events(&mut watching, 1), [("a".to_owned(), "2".to_owned())]);
}

/// A token's owner keeps leases alive, and watches, by streams that nobody shares.
#[test]
fn streams_in_the_name_of_a_user_are_passed_on() {
    let name = "streams_in_the_name_of_a_user_are_passed_on";
    let Some(program) = subject(name) else { return };
    let (_server, proxy) = pair(&program, "--namespace=n/");
    let connection = proxy.connect();
    enable(&connection);
    let root = token(&connection, "root");
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 7 };
    let _: pb::LeaseGrantResponse =
        call(&connection, "/etcdserverpb.Lease/LeaseGrant", &grant, &root).ok();
    let open = |path: &str| {
        let call = Call { body: Default::default(), ..Call::unary(path, &[]) };
        connection.begin(&call.with_header("token", &root)).expect("a stream")
    };
    let mut keeping = open("/etcdserverpb.Lease/LeaseKeepAlive");
    keeping.send(&pb::LeaseKeepAliveRequest { id: 7 });
    let kept: pb::LeaseKeepAliveResponse = keeping.expect();
    assert_eq!((kept.id, kept.ttl), (7, 60));
    let mut watching = open("/etcdserverpb.Watch/Watch");
    watching.send(&asked(create("a", "", 0)));
    let made: pb::WatchResponse = watching.expect();
    assert!(made.created && !made.canceled, "{made:?}");
    let change = pb::PutRequest { key: "a".into(), value: "2".into(), ..Default::default() };
    let _: pb::PutResponse = call(&connection, "/etcdserverpb.KV/Put", &change, &root).ok();
    assert_eq!(events(&mut watching, 1), [("a".to_owned(), "2".to_owned())]);
}
