//! `etcd gateway`: ours and the newest etcd's are started with the same words, and must say and do the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_robust::beside::{Beside, PATIENCE, output, wait_until};
use holdfast_robust::foreign::{Part, need, skip, subject};
use holdfast_robust::grpc::Connection;
use holdfast_robust::http;
use holdfast_robust::name_server::{NameServer, Srv, apart};
use holdfast_robust::process::{Home, free_ports};

use crate::tls::{Etcd, USUAL, certificates};

/// Our program and the newest etcd; `None` when a part is missing.
fn both(name: &str) -> Option<[PathBuf; 2]> {
    Some([subject(name)?, need(name, Part::EtcdNew)?])
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn a_free_address() -> String {
    format!("127.0.0.1:{}", free_ports().expect("loopback has free ports").0)
}

/// A gateway that is ready.
fn gateway(binary: &Path, folder: &Path, name: &str, flags: &str) -> (Beside, String) {
    let address = a_free_address();
    let line = format!("gateway start --listen-addr={address} {flags}");
    let gateway = Beside::start(binary, folder, name, &words(&line));
    gateway.wait_for("ready to proxy client requests", 1);
    (gateway, address)
}

fn is_healthy(address: &str) -> bool {
    http::get(address, "/health").is_ok_and(|answer| answer.status == 200)
}

/// What it said, but for lines of the log.
fn told(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split_inclusive('\n').filter(|line| !line.starts_with("{\"level\"")).collect()
}

#[test]
fn a_gateway_says_what_etcds_says() {
    let Some(programs) = both("a_gateway_says_what_etcds_says") else { return };
    for line in [
        "",
        "--help",
        "help",
        "start --help",
        "start -h",
        "start --nosuch",
        "start -x",
        "--nosuch",
        "start --listen-addr",
        "start --retry-delay=x",
        "start --insecure-discovery=maybe",
        "start --endpoints=",
        "start --endpoints=foo",
        "start --endpoints=http://127.0.0.1:1,::1:3",
        "start --endpoints=nosuch.invalid:1",
        "start --listen-addr=foo",
        "start --listen-addr=192.0.2.1:0",
        "start --listen-addr=127.0.0.1:99999",
        "start --listen-addr=127.0.0.1:7 --endpoints=127.0.0.1:8,http://127.0.0.1:7",
    ] {
        let line = words(&format!("gateway {line}"));
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let said = programs.each_ref().map(|program| {
            let said = output(program, &line);
            (said.status.code(), told(&said.stdout), told(&said.stderr))
        });
        assert_eq!(said[0], said[1], "{line:?}");
    }
}

/// Both gateways lead to the same two servers, one of which dies and comes back.
#[test]
fn a_server_that_dies_is_passed_over_and_found_again() {
    let name = "a_server_that_dies_is_passed_over_and_found_again";
    let Some(programs) = both(name) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let servers = [0, 1].map(|_| Home::new(&programs[0], &[]).start());
    let endpoints = servers.each_ref().map(|server| server.address()).join(",http://");
    let flags = format!("--endpoints={endpoints} --retry-delay=1s");
    let gateways =
        [0, 1].map(|of| gateway(&programs[of], folder.path(), &format!("gateway-{of}"), &flags));
    let [first, second] = servers;
    for (_, address) in &gateways {
        assert!((0..4).all(|_| is_healthy(address)));
    }
    let gone = first.kill();
    for (gateway, address) in &gateways {
        assert!((0..4).all(|_| is_healthy(address)), "the other one serves");
        gateway.wait_for("\"msg\":\"deactivated endpoint\"", 1);
        let again = "failed to activate endpoint (stay inactive for another interval)";
        gateway.wait_for(again, 1);
    }
    let _first = gone.start();
    drop(second);
    for (gateway, address) in &gateways {
        gateway.wait_for("\"msg\":\"activated\"", 1);
        wait_until("the one that came back serves", || is_healthy(address));
    }
}

#[test]
fn real_clients_work_through_a_gateway_with_certificates() {
    let name = "real_clients_work_through_a_gateway_with_certificates";
    let Some(program) = subject(name) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let folder = certificates();
    let server = Etcd::start(&program, folder.path(), "server", USUAL);
    let flags = format!("--endpoints=https://{} --trusted-ca-file=ca.pem", server.address);
    let (_gateway, address) = gateway(&program, folder.path(), "gateway", &flags);
    let control = |line: &str| {
        let files = "--cacert=ca.pem --cert=client.pem --key=client.key";
        let line = format!("--endpoints=https://{address} {files} {line}");
        let said = Command::new(&etcdctl).args(words(&line)).current_dir(&folder).output();
        String::from_utf8_lossy(&said.expect("it starts").stdout).into_owned()
    };
    assert_eq!(control("put a b"), "OK\n");
    assert_eq!(control("get a"), "a\nb\n");
}

const NAME_SERVER: &str = "127.0.53.9";
const DOMAIN: &str = "gateway.test";

/// Both lead to the server of the better priority, and to the other one when that is gone.
#[test]
fn srv_records_are_followed_by_priority() {
    use proto::etcdserverpb as pb;
    let name = "srv_records_are_followed_by_priority";
    let Some(programs) = both(name) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let servers = [0, 1].map(|_| Home::new(&programs[0], &[]).start());
    for (server, value) in servers.iter().zip(["first", "second"]) {
        let put = pb::PutRequest { key: "a".into(), value: value.into(), ..Default::default() };
        server.connect().unary("/etcdserverpb.KV/Put", &put).ok::<pb::PutResponse>();
    }
    let record = |(server, priority): (&holdfast_robust::process::Server, u16)| {
        let port = server.address().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.expect("an address has a port");
        Srv { service: "_etcd-client-blue._tcp", priority, weight: 1, port }
    };
    let records = servers.iter().zip([1, 2]).map(record).collect();
    let Some(_names) = NameServer::start(NAME_SERVER, DOMAIN, records) else {
        return skip(name, "no name server can listen on port 53 (remedy: be root)");
    };
    let Some(apart) = apart(folder.path(), NAME_SERVER) else {
        return skip(name, "no file system can be mounted apart (remedy: be root)");
    };
    let mut gateways = Vec::new();
    for (place, program) in programs.iter().enumerate() {
        let address = a_free_address();
        let line = format!(
            "gateway start --listen-addr={address} --discovery-srv={DOMAIN} \
             --discovery-srv-name=blue --insecure-discovery"
        );
        let mut under = apart[1..].to_vec();
        under.push(program.display().to_string());
        under.extend(words(&line));
        let unshare = Path::new(&apart[0]);
        let gateway = Beside::start(unshare, folder.path(), &format!("srv-{place}"), &under);
        gateway.wait_for("ready to proxy client requests", 1);
        gateway.wait_for("discovered cluster from SRV", 1);
        gateways.push((gateway, address));
        // Without the domain nobody knows where to go.
        under.retain(|word| word != "--discovery-srv-name=blue");
        let lost = Beside::start(unshare, folder.path(), &format!("lost-{place}"), &under);
        lost.wait_for("dns lookup errors: lookup _etcd-client-ssl._tcp.gateway.test", 1);
    }
    let read = |address: &str| {
        let range = pb::RangeRequest { key: "a".into(), ..Default::default() };
        let connection = Connection::open(address).expect("it listens");
        let answer: pb::RangeResponse = connection.unary("/etcdserverpb.KV/Range", &range).ok();
        String::from_utf8_lossy(&answer.kvs[0].value).into_owned()
    };
    for (_, address) in &gateways {
        assert!((0..5).all(|_| read(address) == "first"));
    }
    let [first, _second] = servers;
    let _gone = first.kill();
    for (_, address) in &gateways {
        assert!((0..5).all(|_| read(address) == "second"));
    }
}

/// Advisories GHSA-wr2v-9rpq-c35q, GHSA-j86v-2vjr-fg8f and GHSA-h8g9-6gvh-5mrc: whoever is asked to look at
/// certificates looks at those of every endpoint, by a whole handshake, for every connection.
#[test]
fn an_endpoint_without_a_good_certificate_gets_no_connection() {
    let name = "an_endpoint_without_a_good_certificate_gets_no_connection";
    let Some(program) = subject(name) else { return };
    let folder = certificates();
    let at = |address: &str| format!("--endpoints={address} --trusted-ca-file=ca.pem");
    let refused = |gateway: &Beside, address: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        // A server in the clear would answer this.
        let _ = stream.write_all(b"GET /health HTTP/1.0\r\nHost: a\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(String::from_utf8_lossy(&answer), "", "nothing comes through");
        gateway.wait_for("deactivated endpoint", 1);
        gateway.wait_for("failed to dial", 1);
    };

    let plain = Home::new(&program, &[]).start();
    let (in_the_clear, address) = gateway(&program, folder.path(), "clear", &at(&plain.address()));
    refused(&in_the_clear, &address);

    let stranger = "--cert-file=stranger.pem --key-file=stranger.key";
    let stranger = Etcd::start(&program, folder.path(), "stranger", stranger);
    let (strange, address) = gateway(&program, folder.path(), "strange", &at(&stranger.address));
    refused(&strange, &address);

    // It loses its certificate later: somebody else listens there now.
    let server = Etcd::start(&program, folder.path(), "server", USUAL);
    let (later, address) = gateway(&program, folder.path(), "later", &at(&server.address));
    let mut carried = TcpStream::connect(&address).expect("it listens");
    carried.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
    assert!(carried.read(&mut [0]).is_err(), "it stays open and silent");
    assert!(!later.log().contains("deactivated"));
    let place = server.address.clone();
    drop(server);
    drop(carried);
    let listener = std::net::TcpListener::bind(&place).expect("it is free again");
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nimpostor");
        }
    });
    refused(&later, &address);
    let http = output(
        &program,
        &[
            "gateway",
            "start",
            "--endpoints=http://127.0.0.1:1",
            &format!("--trusted-ca-file={}", folder.path().join("ca.pem").display()),
        ],
    );
    assert_eq!(told(&http.stdout), "\"http://127.0.0.1:1\" is insecure\n");
}

/// Finding of the audits: descriptors stay flat, and whoever says nothing keeps nobody from being served.
#[test]
fn silent_clients_of_a_gateway_keep_nobody_waiting() {
    let name = "silent_clients_of_a_gateway_keep_nobody_waiting";
    let Some(program) = subject(name) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Home::new(&program, &[]).start();
    let flags = format!("--endpoints={}", server.address());
    let (gateway, address) = gateway(&program, folder.path(), "gateway", &flags);
    let descriptors = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()));
        files.map_or(0, Iterator::count)
    };
    assert!(is_healthy(&address));
    let before = descriptors();
    let silent: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(&address).expect("it listens")).collect();
    wait_until("each silent one is carried", || before + 550 <= descriptors());
    assert!(is_healthy(&address), "others are served");
    drop(silent);
    wait_until("what they held is free", || descriptors() <= before + 2);
}
