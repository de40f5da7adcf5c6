//! Members that find each other: by a cluster that runs already, ours or Go's, and by DNS.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need, skip};
use holdfast_robust::process::{Home, Server};
use proto::etcdserverpb as pb;

/// Says how many members there will be under a token.
fn announce(service: &Server, token: &str, size: &str) {
    let key = format!("/_etcd/registry/{token}/_config/size").into();
    let put = pb::PutRequest { key, value: size.to_owned().into(), ..Default::default() };
    service.connect().unary("/etcdserverpb.KV/Put", &put).ok::<pb::PutResponse>();
}

/// Only root may do anything from now on.
fn guard(service: &Server) {
    let connection = service.connect();
    let user = pb::AuthUserAddRequest {
        name: "root".to_owned(),
        password: "secret".to_owned(),
        ..Default::default()
    };
    let role = pb::AuthUserGrantRoleRequest { user: "root".to_owned(), role: "root".to_owned() };
    assert!(connection.unary("/etcdserverpb.Auth/UserAdd", &user).is_ok());
    assert!(connection.unary("/etcdserverpb.Auth/UserGrantRole", &role).is_ok());
    let enable = pb::AuthEnableRequest::default();
    assert!(connection.unary("/etcdserverpb.Auth/AuthEnable", &enable).is_ok());
}

/// Three that know a token and a service found one cluster.
fn three_by_service(service: &Server, token: &str, programs: [&Path; 3], flags: &[&str]) {
    let found = [
        format!("--discovery-token={token}"),
        format!("--discovery-endpoints=http://{}", service.address()),
    ];
    let found: Vec<&str> = found.iter().map(String::as_str).chain(flags.iter().copied()).collect();
    let mut cluster = Cluster::new(&programs, &found);
    cluster.forget_initial();
    (0..3).for_each(|seat| cluster.launch(seat));
    (0..3).for_each(|seat| cluster.wait_until_ready(seat));
    for seat in 0..3 {
        cluster.put(seat, &format!("k{seat}"), "v").expect("acknowledged");
    }
    cluster.wait_until_equal();
    let leader = cluster.leader();
    // What was found counts once: a restart needs nobody.
    cluster.kill(leader);
    cluster.launch(leader);
    cluster.wait_until_ready(leader);
}

#[test]
fn three_of_ours_find_each_other_by_a_service_of_ours() {
    let Some(ours) = foreign::subject("discovery-ours") else { return };
    let service = Home::new(&ours, &[]).start();
    announce(&service, "one", "3");
    three_by_service(&service, "one", [&ours, &ours, &ours], &[]);
    refused_by(&service, &ours);
}

#[test]
fn ours_and_gos_find_each_other_by_a_service_of_gos_and_ours_where_it_asks_for_a_password() {
    let name = "discovery-gos";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let service = Home::new(&theirs, &[]).start();
    announce(&service, "one", "3");
    announce(&service, "two", "3");
    three_by_service(&service, "one", [&ours, &theirs, &ours], &[]);
    guard(&service);
    let user = ["--discovery-user=root:secret"];
    three_by_service(&service, "two", [&ours, &ours, &ours], &user);
    let refused = tried(&service, &ours, &["--discovery-token=two", "--discovery-user=root:wrong"]);
    assert!(refused.contains("authentication failed, invalid user ID or password"), "{refused}");
}

/// What a member says that cannot join, which ends with code 1.
#[track_caller]
fn tried(service: &Server, ours: &Path, flags: &[&str]) -> String {
    let endpoints = format!("--discovery-endpoints=http://{}", service.address());
    let flags: Vec<&str> = flags.iter().copied().chain([endpoints.as_str()]).collect();
    let mut cluster = Cluster::new(&[ours], &flags);
    cluster.forget_initial();
    cluster.launch(0);
    let ended = cluster.wait_for_end(0);
    let log = cluster.log(0);
    assert_eq!(ended.code(), Some(1), "{log}");
    assert!(log.contains("do not reuse discovery token"), "{log}");
    log
}

#[track_caller]
fn refused_by(service: &Server, ours: &Path) {
    announce(service, "bad", "many");
    for (token, why) in [
        ("nobody-said", "discovery: size key not found"),
        ("bad", "discovery: size key is bad"),
        ("one", "discovery: cluster is full"),
    ] {
        let log = tried(service, ours, &[&format!("--discovery-token={token}")]);
        assert!(log.contains(&format!("failed to join discovery cluster ({why})")), "{log}");
    }
}

const NAME_SERVER: &str = "127.0.53.7";
const DOMAIN: &str = "members.test";

/// A name server that knows on which ports the members of a test are, and nothing else.
struct NameServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// `None` where this user may not listen.
    fn start(ports: Vec<u16>) -> Option<NameServer> {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes it");
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let serve = move || {
            let mut question = [0; 512];
            while !stopped.load(Ordering::SeqCst) {
                if let Ok((length, client)) = socket.recv_from(&mut question) {
                    let answer = answer(&question[..length], &ports);
                    socket.send_to(&answer, client).expect("an answer can be sent");
                }
            }
        };
        Some(NameServer { stop, thread: Some(std::thread::spawn(serve)) })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the name server had no trouble");
        }
    }
}

fn labels(text: &str) -> Vec<u8> {
    let label = |part: &str| [&[part.len() as u8], part.as_bytes()].concat();
    text.split('.').map(label).chain([vec![0]]).collect::<Vec<_>>().concat()
}

/// The members' records, where their host is, or that there is no such name.
fn answer(question: &[u8], ports: &[u16]) -> Vec<u8> {
    const A: [u8; 4] = [0, 1, 0, 1];
    const SRV: [u8; 4] = [0, 33, 0, 1];
    const NO_SUCH_NAME: u8 = 3;
    let end = question.iter().skip(12).position(|byte| *byte == 0).map_or(12, |at| 13 + at);
    let (name, kind) = (question[12..end].to_ascii_lowercase(), &question[end..end + 4]);
    let host = labels(&format!("host.{DOMAIN}"));
    let service = labels(&format!("_etcd-server-blue._tcp.{DOMAIN}"));
    let data: Option<Vec<Vec<u8>>> = match () {
        () if name == host && kind == A => Some(vec![vec![127, 0, 0, 1]]),
        () if name == host => Some(Vec::new()),
        () if name == service && kind == SRV => {
            let record = |port: &u16| [&[0, 1, 0, 1], &port.to_be_bytes()[..], &host].concat();
            Some(ports.iter().map(record).collect())
        }
        () => None,
    };
    // An answer, with recursion, and no records but what follows.
    let mut out = question[..end + 4].to_vec();
    out[2..4].copy_from_slice(&[0x81, 0x80]);
    out[6..12].fill(0);
    let Some(data) = data else {
        out[3] |= NO_SUCH_NAME;
        return out;
    };
    out[7] = data.len() as u8;
    for record in data {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(kind);
        out.extend_from_slice(&[0, 0, 0, 60, 0, record.len() as u8]);
        out.extend_from_slice(&record);
    }
    out
}

#[test]
fn ours_and_gos_find_each_other_by_dns() {
    let name = "discovery-srv";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let domain = format!("--discovery-srv={DOMAIN}");
    let mut cluster =
        Cluster::new(&[&ours, &theirs, &ours], &[&domain, "--discovery-srv-name=blue"]);
    cluster.forget_initial();
    let port = |seat| cluster.peer_url(seat).rsplit(':').next().and_then(|port| port.parse().ok());
    let ports: Vec<u16> = (0..3).filter_map(port).collect();
    let Some(_server) = NameServer::start(ports) else {
        return skip(name, "no name server can listen on port 53 (remedy: be root)");
    };
    let resolv = cluster.folder().join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {NAME_SERVER}\n")).expect("a file");
    // In a file system of its own, where the test's name server is the system's.
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let resolv = resolv.display().to_string();
    let apart = ["unshare", "--mount", "bash", "-c", script, &resolv];
    let allowed = Command::new(apart[0]).args(&apart[1..]).arg("true").status();
    if !allowed.is_ok_and(|status| status.success()) {
        return skip(name, "no file system can be mounted apart (remedy: be root)");
    }
    cluster.launch_under(&apart);
    (0..3).for_each(|seat| cluster.launch(seat));
    (0..3).for_each(|seat| cluster.wait_until_ready(seat));
    for seat in 0..3 {
        cluster.put(seat, &format!("k{seat}"), "v").expect("acknowledged");
    }
    cluster.wait_until_equal();
    // A domain without records, and one where this member is none of those named.
    let mut alone = Cluster::new(&[&ours], &["--discovery-srv=nowhere.test"]);
    alone.forget_initial();
    alone.launch_under(&apart);
    alone.launch(0);
    assert_eq!(alone.wait_for_end(0).code(), Some(1));
    let log = alone.log(0);
    assert!(log.contains("error querying DNS SRV records for _etcd-server lookup"), "{log}");
    alone.set_flags(&[&domain, "--discovery-srv-name=blue"]);
    alone.launch(0);
    assert_eq!(alone.wait_for_end(0).code(), Some(1));
    let log = alone.log(0);
    assert!(log.contains("cannot find local etcd member \\\"m1\\\" in SRV records"), "{log}");
}
