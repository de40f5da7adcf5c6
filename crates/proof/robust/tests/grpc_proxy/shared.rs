//! What many clients share: cache and keep-alives; and connections with certificates on both sides.

use std::process::Command;

use super::*;
use crate::tls::{Etcd, USUAL, certificates};

#[test]
fn serializable_reads_come_from_the_cache_until_somebody_writes_or_a_second_passes() {
    let name = "serializable_reads_come_from_the_cache_until_somebody_writes_or_a_second_passes";
    let Some(program) = subject(name) else { return };
    let (server, proxy) = pair(&program, "");
    let connection = proxy.connect();
    put(&connection, "a", "1");
    let hits = || figure(&proxy.address, "/proxy/metrics", "etcd_grpc_proxy_cache_hits_total");
    // A loaded machine may take a second between two reads; then the first of them is repeated.
    wait_until("a read is answered from the cache", || {
        assert_eq!(get(&connection, &range("a", true)).as_deref(), Some("1"));
        hits() > Some(0.0)
    });
    for round in 2..30 {
        put(&connection, "a", &round.to_string());
        assert_eq!(get(&connection, &range("a", true)), Some(round.to_string()));
        assert_eq!(get(&connection, &range("a", true)), Some(round.to_string()));
    }
    // Somebody writes past the proxy: what is kept is a second old at most.
    put(&server.connect(), "a", "elsewhere");
    wait_until("it is seen", || {
        get(&connection, &range("a", true)).as_deref() == Some("elsewhere")
    });
}

#[test]
fn keep_alives_of_many_clients_go_over_few_streams() {
    let name = "keep_alives_of_many_clients_go_over_few_streams";
    let Some(program) = subject(name) else { return };
    let (server, proxy) = pair(&program, "");
    let connection = proxy.connect();
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 7 };
    let _: pb::LeaseGrantResponse = connection.unary("/etcdserverpb.Lease/LeaseGrant", &grant).ok();
    let path = "/etcdserverpb.Lease/LeaseKeepAlive";
    let mut streams: Vec<Stream> = (0..50).map(|_| connection.stream(path)).collect();
    for _ in 0..3 {
        for stream in &mut streams {
            stream.send(&pb::LeaseKeepAliveRequest { id: 7 });
        }
        for stream in &mut streams {
            let kept: pb::LeaseKeepAliveResponse = stream.expect();
            assert_eq!((kept.id, kept.ttl), (7, 60));
        }
    }
    let started = "grpc_server_started_total{grpc_method=\"LeaseKeepAlive\",\
                   grpc_service=\"etcdserverpb.Lease\",grpc_type=\"bidi_stream\"}";
    assert_eq!(figure(&server.address(), "/metrics", started), Some(1.0), "one stream for all");
    let mut gone = connection.stream(path);
    gone.send(&pb::LeaseKeepAliveRequest { id: 8 });
    let answer: pb::LeaseKeepAliveResponse = gone.expect();
    assert_eq!((answer.id, answer.ttl), (8, 0), "no such lease");
}

#[test]
fn real_clients_work_through_a_proxy_with_certificates_on_both_sides() {
    let name = "real_clients_work_through_a_proxy_with_certificates_on_both_sides";
    let Some([program, theirs]) = both(name) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let folder = certificates();
    let server = Etcd::start(&program, folder.path(), "server", USUAL);
    let file = |name: &str| folder.path().join(name).display().to_string();
    // One whose certificate has a name would lend it to everybody: both refuse it.
    let named = ["client.pem", "client.key", "ca.pem"].map(file);
    let [cert, key, ca] = &named;
    let upstream = format!("--cert={cert} --key={key} --cacert={ca}");
    let line = format!("grpc-proxy start --listen-addr=127.0.0.1:0 {upstream}");
    let line = words(&line);
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    for program in [&program, &theirs] {
        let said = holdfast_robust::beside::output(program, &line);
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(
            said.contains(&format!("cert has non empty Common Name (client): {cert}")),
            "{said}"
        );
    }
    let made = Command::new("bash").args(["-c", NAMELESS]).current_dir(&folder).output();
    assert!(made.expect("bash is there").status.success());
    let upstream =
        format!("--cert={} --key={} --cacert={ca}", file("proxy.pem"), file("proxy.key"));
    let listener = ["server.pem", "server.key"].map(file);
    let listener =
        format!("--cert-file={} --key-file={} --trusted-ca-file={ca}", listener[0], listener[1]);
    let endpoint = format!("https://{}", server.address);
    let proxy = Proxy::start(&program, &endpoint, &format!("{upstream} {listener}"));
    let control = |flags: &str, line: &str| {
        let line = format!("--endpoints=https://{} {flags} {line}", proxy.address);
        let said = Command::new(&etcdctl).args(words(&line)).current_dir(&folder).output();
        let said = said.expect("it starts");
        (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
    };
    let good = "--cacert=ca.pem --cert=client.pem --key=client.key";
    assert_eq!(control(good, "put a b"), (true, "OK\n".to_owned()));
    assert_eq!(control(good, "get a"), (true, "a\nb\n".to_owned()));
    assert!(!control("--cacert=ca.pem --command-timeout=2s", "get a").0, "no certificate");
    let stranger = "--cacert=ca.pem --cert=stranger.pem --key=stranger.key --command-timeout=2s";
    assert!(!control(stranger, "get a").0, "one that nobody knows");

    let plain = Home::new(&program, &[]).start();
    let made = Proxy::start(&program, &plain.address(), "--auto-tls");
    let line = format!(
        "--endpoints=https://{} --insecure-skip-tls-verify --insecure-transport=false put a b",
        made.address
    );
    let said = Command::new(&etcdctl).args(words(&line)).output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "OK\n");
    assert!(made.folder.path().join("default.proxy/fixtures/proxy/cert.pem").exists());
}

/// A certificate for clients without a name.
const NAMELESS: &str = "set -e
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -new -subj /O=proxy -keyout proxy.key -out proxy.csr
printf 'extendedKeyUsage=clientAuth\\n' > proxy.ext
openssl x509 -req -in proxy.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile proxy.ext -out proxy.pem
";

#[test]
fn the_official_go_client_works_through_a_proxy_across_a_restart_of_the_server() {
    let name = "the_official_go_client_works_through_a_proxy_across_a_restart_of_the_server";
    let Some(program) = subject(name) else { return };
    let Some(client) = need(name, Part::GoClient) else { return };
    let server = Home::new(&program, &[]).start();
    let proxy = Proxy::start(&program, &server.address(), "");
    crate::clients::work_through(name, &client, &proxy.address, server);
}
