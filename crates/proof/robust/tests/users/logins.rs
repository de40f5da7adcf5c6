//! Logins and tokens: what is written down, how long they live, what they cost others, and that a token made by one
//! server is believed by the other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::grpc::{Call, Item};
use holdfast_robust::process::Home;
use holdfast_robust::secure::bash;
use prost::Message;
use proto::authpb::Permission;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;

use super::asks::{put, range};
use super::world::{Identity, PASSWORD, World, as_user, done, token};

const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const UNAUTHENTICATED: i32 = 16;

fn root_lists(world: &World, token: &str) -> Option<i32> {
    let list = pb::AuthUserListRequest {};
    world.connection.call(&as_user("/etcdserverpb.Auth/UserList", &list, token)).status
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// GHSA-528j-9r78-wffx, CVE-2021-28235: neither the data directory nor the log at its most talkative holds a password,
/// nor the log a token.
#[test]
fn no_file_holds_a_password_and_no_log_a_token() {
    let name = "users: no password is written down";
    let Some(subject) = foreign::subject(name) else { return };
    let world = World::new(&subject, &["--log-level=debug", "--bcrypt-cost=4"]);
    let root = world.token(Identity::User("root")).expect("a token");
    let wrong = pb::AuthenticateRequest { name: "root".into(), password: "wrong-secret".into() };
    let refused = world.connection.unary("/etcdserverpb.Auth/Authenticate", &wrong);
    assert_eq!(refused.status, Some(INVALID_ARGUMENT));
    assert_eq!(root_lists(&world, &root), Some(0));
    let log = world.server.log();
    let (home, _) = world.server.stop();
    let mut all = Vec::new();
    files(&home.data_dir(), &mut all);
    assert!(2 < all.len(), "{all:?}");
    let holds =
        |bytes: &[u8], secret: &str| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
    for file in all {
        let bytes = fs::read(&file).expect("a file");
        for secret in [PASSWORD, "another", "wrong-secret"] {
            assert!(!holds(&bytes, secret), "{} holds a password", file.display());
        }
    }
    for secret in [PASSWORD, "wrong-secret", &root] {
        assert!(!holds(log.as_bytes(), secret), "the log holds {secret}:\n{log}");
    }
}

#[test]
fn a_token_lives_as_long_as_it_is_used_and_not_beyond_a_restart() {
    let name = "users: tokens end";
    let Some(subject) = foreign::subject(name) else { return };
    let mut world = World::new(&subject, &["--auth-token-ttl=3", "--bcrypt-cost=4"]);
    let [used, left] = [0, 1].map(|_| world.token(Identity::User("root")).expect("a token"));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert_eq!(root_lists(&world, &used), Some(0));
        sleep(Duration::from_millis(300));
    }
    assert_eq!(root_lists(&world, &left), Some(UNAUTHENTICATED));
    world.server = world.server.kill_and_restart();
    world.connection = world.server.connect();
    assert_eq!(root_lists(&world, &used), Some(UNAUTHENTICATED));
    let again = world.token(Identity::User("root")).expect("a token");
    assert_eq!(root_lists(&world, &again), Some(0));
}

fn login() -> Call {
    let request = pb::AuthenticateRequest { name: "root".into(), password: PASSWORD.into() };
    Call::unary("/etcdserverpb.Auth/Authenticate", &request.encode_to_vec())
}

/// Guarantee (logins, aside): who logs in delays nobody. Twenty puts are done while the first of many logins is still
/// being compared, and more logins than may wait are refused.
#[test]
fn logins_delay_nobody_and_are_bounded() {
    let name = "users: logins are aside";
    let Some(subject) = super::super::corners::holdfast(name) else { return };
    let world = World::new(&subject, &["--bcrypt-cost=13"]);
    let root = world.token(Identity::User("root")).expect("a token");
    let others = world.server.connect();
    let mut logins: Vec<_> = (0..700).filter_map(|_| world.connection.begin(&login())).collect();
    for stream in &mut logins {
        stream.close_send();
    }
    let began = Instant::now();
    for _ in 0..20 {
        done(&others.call(&as_user("/etcdserverpb.KV/Put", &put("a/1", 0, false), &root)));
    }
    let (mut waiting, mut refused) = (0, 0);
    for stream in &mut logins {
        match stream.next(Duration::from_millis(1)) {
            Item::Nothing => waiting += 1,
            Item::Message(_) => {}
            Item::End(answer) => {
                assert_eq!(answer.message.as_deref(), Some("etcdserver: too many requests"));
                refused += 1;
            }
        }
    }
    assert!(400 < waiting, "{waiting} logins still waited after {:?}", began.elapsed());
    assert!(100 < refused, "{refused} logins were refused");
}

/// A lease ends by itself also when somebody must be asked: the member proposes that in root's name.
#[test]
fn a_lease_ends_when_users_are_asked() {
    let name = "users: leases end";
    let Some(subject) = foreign::subject(name) else { return };
    let world = World::new(&subject, &["--bcrypt-cost=4"]);
    let writer = world.token(Identity::User("writer")).expect("a token");
    let call = |path: &str, message: &dyn Fn() -> Vec<u8>| {
        world.connection.call(&Call::unary(path, &message()).with_header("token", &writer))
    };
    let grant = pb::LeaseGrantRequest { id: 5, ttl: 2 };
    done(&call("/etcdserverpb.Lease/LeaseGrant", &|| grant.encode_to_vec()));
    done(&call("/etcdserverpb.KV/Put", &|| put("a/leased", 5, false).encode_to_vec()));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = call("/etcdserverpb.KV/Range", &|| range("a/leased", "").encode_to_vec());
        if found.ok::<pb::RangeResponse>().count == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "the lease does not end");
        sleep(Duration::from_millis(200));
    }
}

/// A watch goes on when its user loses the right to it, with us and with etcd.
#[test]
fn a_running_watch_outlives_its_users_role() {
    let name = "users: a running watch";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    for binary in [subject, reference] {
        let world = World::new(&binary, &["--bcrypt-cost=4"]);
        let (root, reader) = (
            world.token(Identity::User("root")).expect("a token"),
            world.token(Identity::User("reader")).expect("a token"),
        );
        let call =
            Call { body: Default::default(), ..Call::unary("/etcdserverpb.Watch/Watch", &[]) };
        let mut stream =
            world.connection.begin(&call.with_header("token", &reader)).expect("a stream");
        let create = || {
            let create = pb::WatchCreateRequest { key: "a/1".into(), ..Default::default() };
            pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
        };
        stream.send(&create());
        assert!(stream.expect::<pb::WatchResponse>().created);
        let revoke = pb::AuthUserRevokeRoleRequest { name: "reader".into(), role: "reads".into() };
        let path = "/etcdserverpb.Auth/UserRevokeRole";
        done(&world.connection.call(&as_user(path, &revoke, &root)));
        let root = world.token(Identity::User("root")).expect("a token");
        done(&world.connection.call(&as_user(
            "/etcdserverpb.KV/Put",
            &put("a/1", 0, false),
            &root,
        )));
        assert_eq!(stream.expect::<pb::WatchResponse>().events.len(), 1);
        stream.send(&create());
        let refused = stream.expect::<pb::WatchResponse>();
        assert!(refused.canceled, "{refused:?}");
        assert!(refused.cancel_reason.contains("permission denied"), "{refused:?}");
    }
}

/// Real etcd's members cannot go on after this one; it is refused before it is proposed.
#[test]
fn a_permission_that_is_not_there_is_not_granted() {
    let name = "users: no permission given";
    let Some(subject) = super::super::corners::holdfast(name) else { return };
    let world = World::new(&subject, &["--bcrypt-cost=4"]);
    let root = world.token(Identity::User("root")).expect("a token");
    for perm in [None, Some(Permission::default())] {
        let grant = pb::AuthRoleGrantPermissionRequest { name: "reads".into(), perm };
        let path = "/etcdserverpb.Auth/RoleGrantPermission";
        let answer = world.connection.call(&as_user(path, &grant, &root));
        assert_eq!(answer.status, Some(INVALID_ARGUMENT), "{answer:?}");
    }
}

/// Users go to etcd and come back in a snapshot, with their passwords.
#[test]
fn users_travel_in_snapshots_both_ways() {
    let name = "users: snapshots";
    let Some(subject) = foreign::subject(name) else { return };
    let (Some(reference), Some(etcdctl), Some(etcdutl)) = (
        foreign::need(name, Part::EtcdNew),
        foreign::need(name, Part::EtcdctlNew),
        foreign::need(name, Part::EtcdutlNew),
    ) else {
        return;
    };
    let own = subject.with_file_name("etcdutl");
    if !own.exists() {
        return foreign::skip(name, "no etcdutl is built (remedy: cargo build --bin etcdutl)");
    }
    let mut world = World::new(&subject, &["--bcrypt-cost=4"]);
    for (binary, restorer) in [(&reference, &etcdutl), (&subject, &own)] {
        let file = world.server.home().folder().join("saved.db");
        let saved = Command::new(&etcdctl)
            .args(["--endpoints", &world.server.address(), "--user"])
            .arg(format!("root:{PASSWORD}"))
            .args(["snapshot", "save"])
            .arg(&file)
            .output()
            .expect("it runs");
        assert!(saved.status.success(), "{saved:?}");
        let home = Home::new(binary, &["--bcrypt-cost=4"]);
        let restored = Command::new(restorer)
            .args(["snapshot", "restore"])
            .arg(&file)
            .arg(format!("--data-dir={}", home.data_dir().display()))
            .args(["--name=robust", "--initial-cluster=robust=http://localhost:2380"])
            .arg("--initial-advertise-peer-urls=http://localhost:2380")
            .output()
            .expect("it runs");
        assert!(restored.status.success(), "{restored:?}");
        world.server = home.start();
        world.connection = world.server.connect();
        let reader = token(&world.connection, "reader", PASSWORD);
        let read = |key| {
            let call = as_user("/etcdserverpb.KV/Range", &range(key, ""), &reader);
            world.connection.call(&call).status
        };
        assert_eq!((read("a/1"), read("z/1")), (Some(0), Some(7)), "{}", binary.display());
        assert!(!token(&world.connection, "fickle", "another").is_empty());
    }
}

/// Keys for a way to sign, as openssl writes them: private, and public if there is one.
fn keys(folder: &Path, method: &str) -> Option<Vec<String>> {
    let private = folder.join("private.pem");
    let openssl = |words: &[&str]| {
        let made = Command::new("openssl").args(words).current_dir(folder).output();
        made.is_ok_and(|made| made.status.success())
    };
    let made = match &method[..2] {
        "HS" => fs::write(&private, "a shared secret of some length").is_ok(),
        "RS" | "PS" => openssl(&["genrsa", "-out", "private.pem", "2048"]),
        "ES" => {
            let curve = match method {
                "ES256" => "prime256v1",
                "ES384" => "secp384r1",
                _ => "secp521r1",
            };
            openssl(&["ecparam", "-name", curve, "-genkey", "-noout", "-out", "private.pem"])
        }
        _ => openssl(&["genpkey", "-algorithm", "ed25519", "-out", "private.pem"]),
    };
    let mut options = vec![format!("priv-key={}", private.display())];
    if !method.starts_with("HS") {
        if !openssl(&["pkey", "-in", "private.pem", "-pubout", "-out", "public.pem"]) {
            return None;
        }
        options.push(format!("pub-key={}", folder.join("public.pem").display()));
    }
    made.then_some(options)
}

/// Every way to sign: a token made by us is believed by etcd and the other way round, until users change.
#[test]
fn signed_tokens_are_believed_by_both() {
    let name = "users: signed tokens";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let methods = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "ES512", "EdDSA",
    ];
    for method in methods {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(options) = keys(folder.path(), method) else {
            return foreign::skip(name, "openssl is missing (remedy: apt-get install openssl)");
        };
        let flag = format!("--auth-token=jwt,sign-method={method},ttl=1h,{}", options.join(","));
        let worlds =
            [&subject, &reference].map(|binary| World::new(binary, &[&flag, "--bcrypt-cost=4"]));
        for (maker, believer) in [(0, 1), (1, 0)] {
            let token = worlds[maker].token(Identity::User("root")).expect("a token");
            assert_eq!(root_lists(&worlds[believer], &token), Some(0), "{method} {maker}");
            let (rest, last) = token.split_at(token.len() - 6);
            let forged = format!("{rest}{}", if last == "AAAAAA" { "BBBBBB" } else { "AAAAAA" });
            assert_eq!(root_lists(&worlds[believer], &forged), Some(UNAUTHENTICATED), "{method}");
        }
        let root = worlds[0].token(Identity::User("root")).expect("a token");
        let role = pb::AuthRoleAddRequest { name: "another".into() };
        done(&worlds[0].connection.call(&as_user("/etcdserverpb.Auth/RoleAdd", &role, &root)));
        let old =
            worlds[0].connection.call(&as_user("/etcdserverpb.KV/Range", &range("a", ""), &root));
        assert_eq!(old.message.as_deref(), Some("etcdserver: revision of auth store is old"));
    }
}

/// Keys in two forms, the same cut off inside and before their end, and a text that is none.
const BAD_KEYS: &str = "set -e
openssl genrsa -out pkcs8.pem 2048
openssl rsa -traditional -in pkcs8.pem -out pkcs1.pem
openssl rsa -in pkcs8.pem -pubout -out rsa.pem
for key in pkcs8 pkcs1 private rsa public; do
  head -1 $key.pem > cut-$key.pem
  grep -v -e ----- $key.pem | openssl base64 -d | head -c 40 | openssl base64 >> cut-$key.pem
  tail -1 $key.pem >> cut-$key.pem
done
head -5 pkcs8.pem > no-end.pem
echo text > text
";

/// What a log tells of why there are no tokens, but for when and where in the source.
fn told_of_tokens(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    let told = lines.filter(|line: &serde_json::Value| {
        let text = line["msg"].as_str().unwrap_or_default();
        ["token", "JWT", "discovery failed"].iter().any(|word| text.contains(word))
    });
    let settled = told.map(|mut line| {
        let fields = line.as_object_mut().expect("a line is an object");
        for varies in ["ts", "caller", "stacktrace"] {
            fields.remove(varies);
        }
        line.to_string()
    });
    settled.collect()
}

/// etcd starts with a key of another curve, and then nobody can log in; so do we.
#[test]
fn a_key_of_another_curve_signs_nothing_as_at_etcd() {
    let name = "users: another curve";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(options) = keys(folder.path(), "ES256") else {
        return foreign::skip(name, "openssl is missing (remedy: apt-get install openssl)");
    };
    let both = options.join(",");
    for (method, key, said) in [
        ("ES384", both.as_str(), "key is invalid"),
        ("ES512", &options[0], "key is invalid"),
        ("ES512", &options[1], "auth: token signing attempted with verify-only key"),
    ] {
        for binary in [&subject, &reference] {
            let flag = format!("--auth-token=jwt,sign-method={method},{key}");
            let server = Home::new(binary, &[&flag, "--bcrypt-cost=4"]).start();
            let connection = server.connect();
            let user = pb::AuthUserAddRequest {
                name: "root".into(),
                password: PASSWORD.into(),
                ..Default::default()
            };
            done(&connection.unary("/etcdserverpb.Auth/UserAdd", &user));
            let role = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
            done(&connection.unary(
                "/etcdserverpb.Auth/RoleAdd",
                &pb::AuthRoleAddRequest { name: "root".into() },
            ));
            done(&connection.unary("/etcdserverpb.Auth/UserGrantRole", &role));
            done(&connection.unary("/etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {}));
            let answer = connection.call(&login());
            assert_eq!(
                (answer.status, answer.message.as_deref()),
                (Some(UNKNOWN), Some(said)),
                "{} {method} {key}",
                binary.display()
            );
        }
    }
}

/// What is wrong with signed tokens' options ends both at their start, with the same words.
#[test]
fn unusable_keys_end_the_start_with_etcds_words() {
    let name = "users: unusable keys";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    for sub in [&one, &two] {
        fs::create_dir(sub).expect("a folder");
        if keys(sub, "ES256").is_none() {
            return foreign::skip(name, "openssl is missing (remedy: apt-get install openssl)");
        }
    }
    let path = |folder: &Path, file: &str| folder.join(file).display().to_string();
    let (private, other) = (path(&one, "private.pem"), path(&two, "public.pem"));
    let (pkcs1, text) = (path(&one, "pkcs1.pem"), path(&one, "text"));
    bash(&one, BAD_KEYS);
    let pkcs8 = path(&one, "pkcs8.pem");
    let bad = |file: &str| path(&one, file);
    for options in [
        String::new(),
        "sign-method".to_owned(),
        "sign-method=".to_owned(),
        "sign-method=HS256".to_owned(),
        format!("sign-method=ES256,priv-key={private},priv-key={private}"),
        format!("sign-method=ES256,priv-key={private},ttl=5"),
        format!("sign-method=ES256,priv-key={text}"),
        format!("sign-method=EdDSA,pub-key={text}"),
        format!("sign-method=RS256,priv-key={private}"),
        format!("sign-method=PS512,priv-key={private}"),
        format!("sign-method=EdDSA,priv-key={private}"),
        format!("sign-method=ES256,priv-key={pkcs1}"),
        format!("sign-method=EdDSA,priv-key={pkcs1}"),
        format!("sign-method=ES256,priv-key={pkcs8}"),
        format!("sign-method=EdDSA,priv-key={pkcs8}"),
        format!("sign-method=RS256,priv-key={pkcs1},pub-key={other}"),
        "sign-method=none".to_owned(),
        "sign-method=ES256".to_owned(),
        "sign-method=ES256,ttl=x".to_owned(),
        "sign-method=ES256,priv-key=/nowhere/key".to_owned(),
        format!("sign-method=ES256,priv-key={private},pub-key={other}"),
        format!("sign-method=EdDSA,pub-key={other}"),
        "sign-method=HS256,pub-key=/dev/null".to_owned(),
        "sign-method=HS256,priv-key=/".to_owned(),
        format!("sign-method=RS256,priv-key={}", bad("cut-pkcs8.pem")),
        format!("sign-method=RS256,priv-key={}", bad("cut-pkcs1.pem")),
        format!("sign-method=ES256,priv-key={}", bad("cut-private.pem")),
        format!("sign-method=RS256,pub-key={}", bad("cut-rsa.pem")),
        format!("sign-method=ES256,pub-key={}", bad("cut-public.pem")),
        format!("sign-method=RS256,priv-key={}", bad("no-end.pem")),
        format!("sign-method=ES384,priv-key={private},pub-key={other}"),
    ] {
        let flag = format!("--auth-token=jwt,{options}");
        let flag = flag.strip_suffix(',').unwrap_or(&flag);
        let said = [&subject, &reference].map(|binary| {
            let (status, log) = Home::new(binary, &[flag]).start_and_fail(Duration::from_secs(20));
            assert!(status.is_some_and(|status| !status.success()), "{options}: {log}");
            told_of_tokens(&log)
        });
        assert_eq!(said[0], said[1], "{options}");
        assert!(1 < said[1].len(), "{options}: {said:?}");
    }
}
