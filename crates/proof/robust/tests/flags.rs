//! Flags that operators tune: each has its effect, or the log says that it has none.

use holdfast_robust::foreign;
use holdfast_robust::http;
use holdfast_robust::process::{Home, Server};
use proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};

fn put_and_get(server: &Server) {
    let connection = server.connect();
    let put = PutRequest { key: "a".into(), value: "secret".into(), ..Default::default() };
    connection.unary("/etcdserverpb.KV/Put", &put).ok::<PutResponse>();
    let range = RangeRequest { key: "a".into(), ..Default::default() };
    connection.unary("/etcdserverpb.KV/Range", &range).ok::<RangeResponse>();
}

/// The lines of the log with this message.
fn lines(server: &Server, message: &str) -> Vec<serde_json::Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(|line: &serde_json::Value| line["msg"] == message).collect()
}

#[test]
fn what_takes_longer_than_the_flags_allow_is_warned_of_in_etcds_lines() {
    let Some(subject) = foreign::subject("slow") else { return };
    let flags = ["--warning-unary-request-duration=1ns", "--warning-apply-duration=1ns"];
    let server = Home::new(&subject, &flags).start();
    put_and_get(&server);
    let calls = lines(&server, "request stats");
    for (method, content) in [("Put", "value_size:6"), ("Range", "")] {
        let path = format!("/etcdserverpb.KV/{method}");
        let line = calls.iter().find(|line| line["response type"] == path);
        let line = line.unwrap_or_else(|| panic!("no line about {path}: {calls:?}"));
        assert_eq!(line["level"], "warn");
        assert!(line["remote"].as_str().is_some_and(|it| it.starts_with("127.0.0.1:")), "{line}");
        for field in ["start time", "time spent", "request size", "response size"] {
            assert!(!line[field].is_null(), "{field} of {line}");
        }
        let said = line["request content"].as_str().unwrap_or_default();
        assert!(said.contains(content) && !said.contains("secret"), "{line}");
    }
    let applied = lines(&server, "apply request took too long");
    assert!(applied.iter().any(|line| line["prefix"] == "read-only range "), "{applied:?}");
    let entry = applied.iter().find(|line| line["prefix"] == "").expect("an entry was applied");
    assert_eq!(entry["expected-duration"], "1ns");
    assert!(!entry["took"].is_null() && !entry["request"].is_null(), "{entry}");
    let metrics = http::get(&server.address(), "/metrics").expect("it serves").text();
    let slow = metrics.lines().find_map(|line| line.strip_prefix("etcd_server_slow_apply_total "));
    assert!(slow.is_some_and(|count| count != "0"), "{slow:?}");
}

#[test]
fn who_asks_for_no_warnings_and_who_is_quick_gets_none() {
    let Some(subject) = foreign::subject("quick") else { return };
    let flags = ["--warning-unary-request-duration=1h", "--warning-apply-duration=1h"];
    let server = Home::new(&subject, &flags).start();
    put_and_get(&server);
    assert_eq!(lines(&server, "request stats").len(), 0);
    assert_eq!(lines(&server, "apply request took too long").len(), 0);
}

/// Never silently ignored: one line each, at the start, with the reason.
#[test]
fn a_flag_without_effect_says_so() {
    let Some(subject) = crate::corners::holdfast("idle") else { return };
    let idle = [
        ("backend-batch-interval", "20ms"),
        ("backend-batch-limit", "500"),
        ("compaction-sleep-interval", "5ms"),
        ("memory-mlock", "true"),
    ];
    let flags: Vec<String> = idle.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.push("--feature-gates=StopGRPCServiceOnDefrag=true");
    flags.push("--socket-reuse-address");
    let server = Home::new(&subject, &flags).start();
    let said = lines(&server, "flag has no effect");
    for (name, _) in idle {
        let line = said.iter().filter(|line| line["flag-name"] == name).collect::<Vec<_>>();
        assert_eq!(line.len(), 1, "{name} in {said:?}");
        assert!(line[0]["reason"].as_str().is_some_and(|why| why.len() > 20), "{line:?}");
    }
    assert_eq!(said.len(), idle.len(), "{said:?}");
    assert_eq!(lines(&server, "feature gate has no effect").len(), 1);
}

/// Two processes with `--socket-reuse-port` listen on one port; without it the second is refused.
#[test]
fn a_port_is_shared_only_by_those_who_asked_for_it() {
    let Some(subject) = foreign::subject("reuse-port") else { return };
    let shared = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let url = format!("http://{}", shared.local_addr().expect("it is bound"));
    drop(shared);
    let metrics = format!("--listen-metrics-urls={url}");
    let _first = Home::new(&subject, &[&metrics, "--socket-reuse-port"]).start();
    let _second = Home::new(&subject, &[&metrics, "--socket-reuse-port"]).start();
    let third = Home::new(&subject, &[&metrics]);
    let (status, log) = third.start_and_fail(std::time::Duration::from_secs(20));
    assert!(status.is_some_and(|status| !status.success()), "{log}");
    assert!(log.contains("address already in use"), "{log}");
}
