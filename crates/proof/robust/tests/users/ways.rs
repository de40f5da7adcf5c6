//! Tokens over websockets, and keys of signed tokens that are certificates.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::process::Home;
use holdfast_robust::secure::bash;
use proto::etcdserverpb as pb;

use super::asks::put;
use super::world::{IDENTITIES, Identity, World, as_user, done};

/// Opens a websocket as a browser does, which can set no header but one, sends a frame, and returns the first that
/// comes back.
fn websocket(address: &str, path: &str, token: Option<&str>, text: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("it serves");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("it is open");
    let protocol = token.map(|token| format!("Sec-WebSocket-Protocol: Bearer, {token}\r\n"));
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        protocol.unwrap_or_default()
    );
    socket.write_all(head.as_bytes()).expect("it is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("an answer to the upgrade");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert_eq!(answer.contains("sec-websocket-protocol: bearer"), token.is_some(), "{answer}");
    // Text, whole, masked with zeros.
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("it is short"), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    socket.write_all(&frame).expect("it is open");
    let mut head = [0; 2];
    socket.read_exact(&mut head).expect("a frame");
    let len = match head[1] {
        126 => {
            let mut long = [0; 2];
            socket.read_exact(&mut long).expect("a length");
            usize::from(u16::from_be_bytes(long))
        }
        short => usize::from(short),
    };
    let mut body = vec![0; len];
    socket.read_exact(&mut body).expect("the frame's body");
    format!("{} {}", head[0] & 15, String::from_utf8_lossy(&body))
}

/// Without what differs from one server to the next.
fn settled(frame: &str) -> String {
    let mut text = frame.to_owned();
    if let Some((before, rest)) = frame.split_once("\"raft_term\":\"") {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        text = format!("{before}{rest}");
    }
    text
}

#[test]
fn a_websockets_token_is_who_asks() {
    let name = "users: websockets";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let worlds = [subject, reference].map(|binary| World::new(&binary, &["--bcrypt-cost=4"]));
    let mut differ = Vec::new();
    for identity in IDENTITIES {
        let asks = [
            ("/v3/watch", r#"{"create_request":{"key":"YS8x","start_revision":1}}"#),
            ("/v3/watch", r#"{"create_request":{"key":"ei8x","start_revision":1}}"#),
            ("/v3/lease/keepalive", r#"{"ID":9}"#),
        ];
        for (path, text) in asks {
            let [ours, theirs] = [0, 1].map(|at| {
                let token = worlds[at].token(identity);
                settled(&websocket(&worlds[at].server.address(), path, token.as_deref(), text))
            });
            if ours != theirs {
                differ.push(format!(
                    "{identity:?} {path} {text}\n  ours   {ours}\n  theirs {theirs}"
                ));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// Whoever writes while users change is served, or told that they did and may try again; nobody is refused for another reason.
#[test]
fn whoever_writes_while_users_change_is_served_or_told_so() {
    let name = "users: they change";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    for binary in [subject, reference] {
        let world = World::new(&binary, &["--bcrypt-cost=4"]);
        let [root, writer] =
            ["root", "writer"].map(|who| world.token(Identity::User(who)).expect("a token"));
        let over = AtomicBool::new(false);
        let (over, server, writer) = (&over, &world.server, writer.as_str());
        let write = move || {
            let (connection, mut answers) = (server.connect(), BTreeMap::new());
            let call = as_user("/etcdserverpb.KV/Put", &put("a/1", 0, false), writer);
            while !over.load(Ordering::Relaxed) {
                let answer = connection.call(&call);
                *answers.entry((answer.status, answer.message)).or_insert(0) += 1;
            }
            answers
        };
        let answers = std::thread::scope(|threads| {
            let writers: Vec<_> = (0..4).map(|_| threads.spawn(write)).collect();
            for number in 0..60 {
                let role = pb::AuthRoleAddRequest { name: format!("role-{number}") };
                done(&world.connection.call(&as_user("/etcdserverpb.Auth/RoleAdd", &role, &root)));
            }
            over.store(true, Ordering::Relaxed);
            let ended = writers.into_iter().map(|writer| writer.join().expect("it ends well"));
            ended.collect::<Vec<_>>()
        });
        let old = "etcdserver: revision of auth store is old";
        let may = |status: Option<i32>, message: Option<&str>| {
            status == Some(0) || (status == Some(3) && message == Some(old))
        };
        for ((status, message), _) in answers.iter().flatten() {
            assert!(may(*status, message.as_deref()), "{}: {answers:?}", binary.display());
        }
        let served = |all: &BTreeMap<(Option<i32>, _), i32>| all.keys().any(|k| k.0 == Some(0));
        assert!(answers.iter().all(served), "{}: {answers:?}", binary.display());
    }
}

const KEYS: &str = "set -e
openssl ecparam -name prime256v1 -genkey -noout -out ec.key
openssl genrsa -traditional -out rsa.key 2048
openssl genpkey -algorithm ed25519 -out ed.key
for key in ec rsa ed; do openssl req -x509 -new -key $key.key -subj /CN=$key -days 2 -out $key.pub; done
openssl rsa -in rsa.key -RSAPublicKey_out -out pkcs1.pub
cp rsa.key pkcs1.key
";

fn lists(world: &World, token: &str) -> Option<i32> {
    let path = "/etcdserverpb.Auth/UserList";
    world.connection.call(&as_user(path, &pb::AuthUserListRequest {}, token)).status
}

fn option(folder: &Path, method: &str, key: &str, has_private: bool) -> String {
    let file = |kind: &str| folder.join(format!("{key}.{kind}")).display().to_string();
    let private = if has_private { format!(",priv-key={}", file("key")) } else { String::new() };
    format!("--auth-token=jwt,sign-method={method},pub-key={}{private}", file("pub"))
}

/// Who only believes tokens needs no more than the certificate of who makes them.
#[test]
fn a_signed_tokens_key_may_be_a_certificate() {
    let name = "users: certificates as keys";
    let Some(subject) = foreign::subject(name) else { return };
    let Some(reference) = foreign::need(name, Part::EtcdNew) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    bash(folder.path(), KEYS);
    for (method, key) in [("ES256", "ec"), ("RS256", "rsa"), ("PS512", "rsa"), ("RS384", "pkcs1")] {
        let flag = option(folder.path(), method, key, true);
        let [ours, theirs] =
            [&subject, &reference].map(|binary| World::new(binary, &[&flag, "--bcrypt-cost=4"]));
        for (maker, believer) in [(&ours, &theirs), (&theirs, &ours)] {
            let token = maker.token(Identity::User("root")).expect("a token");
            assert_eq!(lists(believer, &token), Some(0), "{method} {key}");
        }
    }
    // etcd takes a certificate for every key but this one, and one of another kind for none.
    for (method, key) in [("EdDSA", "ed"), ("ES256", "rsa"), ("RS256", "ec")] {
        let flag = option(folder.path(), method, key, false);
        for binary in [&subject, &reference] {
            let (status, log) = Home::new(binary, &[&flag]).start_and_fail(Duration::from_secs(20));
            assert!(status.is_some_and(|status| !status.success()), "{method} {key}: {log}");
        }
    }
}
