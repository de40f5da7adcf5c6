//! Members that find each other: by a cluster that runs already, ours or Go's, and by DNS.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need, skip};
use holdfast_robust::name_server::{NameServer, Srv, apart};
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
    three(&programs, &found);
}

fn three(programs: &[&Path; 3], flags: &[&str]) {
    let mut cluster = Cluster::new(programs, flags);
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

/// GHSA-9gp7-6833-wv89: a size that no cluster has ends the start in etcd's words, not the process in a panic.
#[test]
fn a_size_that_no_cluster_has_is_refused_in_etcds_words() {
    let name = "discovery-sizes";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let service = Home::new(&ours, &[]).start();
    let sizes = ["-1", "0", "-9223372036854775808", "9223372036854775808", "3.0", " 3", ""];
    for (token, size) in sizes.iter().enumerate() {
        let (token, flag) = (format!("t{token}"), format!("--discovery-token=t{token}"));
        announce(&service, &token, size);
        for binary in [&ours, &theirs] {
            let log = tried(&service, binary, &[&flag]);
            let why = "failed to join discovery cluster (discovery: size key is bad)";
            assert!(log.contains(why) && !log.contains("panic"), "{size:?}: {log}");
        }
    }
}

#[test]
fn ours_and_gos_find_each_other_by_a_service_that_encrypts() {
    let name = "discovery-tls";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let service = Home::new(&ours, &[]).start();
    announce(&service, "one", "3");
    announce(&service, "two", "3");
    let (home, _) = service.stop();
    let mut home = home.with_tls();
    home.set_flags(&["--client-cert-auth"]);
    let service = home.start();
    let file = |name: &str| service.home().folder().join(name).display().to_string();
    let endpoints = format!("--discovery-endpoints=https://{}", service.address());
    let authority = format!("--discovery-cacert={}", file("ca.pem"));
    let own = [
        "--discovery-insecure-transport=false".to_owned(),
        format!("--discovery-cert={}", file("root.pem")),
        format!("--discovery-key={}", file("root.key")),
    ];
    let flags = |token| {
        let all = [token, endpoints.as_str(), authority.as_str()].into_iter();
        all.chain(own.iter().map(String::as_str)).collect::<Vec<_>>()
    };
    three(&[&ours, &theirs, &ours], &flags("--discovery-token=one"));
    // Without a certificate of its own, and with no authority that signed the service's: as etcd it asks again and
    // again, and founds nothing.
    let insecure = "--discovery-insecure-transport=false";
    for refused in [
        vec!["--discovery-token=two", &endpoints, &authority, insecure],
        vec!["--discovery-token=two", &endpoints, insecure],
    ] {
        let mut cluster = Cluster::new(&[&ours], &refused);
        cluster.forget_initial();
        cluster.launch(0);
        let began = Instant::now();
        while !cluster.log(0).contains("retry connecting to discovery service") {
            assert!(began.elapsed() < Duration::from_secs(40), "{}", cluster.log(0));
            sleep(Duration::from_millis(50));
        }
        assert!(cluster.is_running(0) && cluster.status(0).is_none(), "{}", cluster.log(0));
        cluster.kill(0);
    }
    three(&[&ours, &ours, &ours], &flags("--discovery-token=two"));
}

const NAME_SERVER: &str = "127.0.53.7";
const DOMAIN: &str = "members.test";

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
    let record =
        |port: &u16| Srv { service: "_etcd-server-blue._tcp", priority: 1, weight: 1, port: *port };
    let records = ports.iter().map(record).collect();
    let Some(_server) = NameServer::start(NAME_SERVER, DOMAIN, records) else {
        return skip(name, "no name server can listen on port 53 (remedy: be root)");
    };
    let Some(apart) = apart(cluster.folder(), NAME_SERVER) else {
        return skip(name, "no file system can be mounted apart (remedy: be root)");
    };
    let apart: Vec<&str> = apart.iter().map(String::as_str).collect();
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
