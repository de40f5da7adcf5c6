//! Etcd's published advisories that no other test holds: what a browser may be tricked into, and whose directory it is.
//! `THREAT_MODEL.md` lists all of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use holdfast_robust::foreign::{self, Part};
use holdfast_robust::http;
use holdfast_robust::process::{Home, Server};

/// Ours and the newest etcd, started with the same flags.
fn both(name: &str, flags: &[&str]) -> Option<[Server; 2]> {
    let (ours, theirs) = (foreign::subject(name)?, foreign::need(name, Part::EtcdNew)?);
    Some([ours, theirs].map(|binary| Home::new(&binary, flags).start()))
}

/// Status, body, and whom browsers are told they may hand it to.
fn asked(
    server: &Server,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, String, Option<String>) {
    let address = server.address();
    let body = r#"{"key":"YQ=="}"#;
    let host =
        if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = http::request(&address, &request).expect("an answer");
    let allowed = answer.header("access-control-allow-origin").map(str::to_owned);
    let text = answer.text();
    // A term is nobody's secret, and not the same twice.
    let shown = if text.contains("raft_term") { "a header".to_owned() } else { text };
    (answer.status, shown, allowed)
}

/// CVE-2018-1098: what a page of another origin asked for is not handed to it.
#[test]
fn a_page_of_another_origin_is_not_handed_the_answer() {
    let Some(servers) = both("CVE-2018-1098", &["--cors=http://good.example:8080"]) else { return };
    for (method, origin, allowed) in [
        ("POST", "http://good.example:8080", true),
        ("POST", "http://bad.example:8080", false),
        ("OPTIONS", "http://good.example:8080", true),
        ("OPTIONS", "http://bad.example:8080", false),
    ] {
        let headers = format!("Origin: {origin}\r\nContent-Type: text/plain\r\n");
        let [ours, theirs] =
            servers.each_ref().map(|it| asked(it, method, "/v3/kv/range", &headers));
        assert_eq!(ours, theirs, "{method} {origin}");
        assert_eq!(ours.2.as_deref() == Some(origin), allowed, "{method} {origin}: {ours:?}");
    }
}

/// CVE-2018-1099: a name that somebody made point to this machine is not one of ours.
#[test]
fn a_name_that_is_not_ours_is_not_served() {
    let Some(servers) = both("CVE-2018-1099", &["--host-whitelist=good.example,127.0.0.1"]) else {
        return;
    };
    for (host, served) in
        [("good.example", true), ("good.example:2379", true), ("bad.example", false)]
    {
        for path in ["/v3/kv/range", "/version", "/health"] {
            let method = if path.starts_with("/v3") { "POST" } else { "GET" };
            let headers = format!("Host: {host}\r\n");
            let [ours, theirs] = servers.each_ref().map(|it| asked(it, method, path, &headers));
            assert_eq!(ours.0, theirs.0, "{host} {path}");
            assert_eq!(ours.0 != 421, served, "{host} {path}: {ours:?}");
            if !served {
                assert_eq!(ours.1.trim_end(), theirs.1.trim_end(), "{host} {path}");
            }
        }
    }
}

/// CVE-2020-15113: a directory that others may open is said to be one.
#[test]
fn a_directory_that_others_may_open_is_remarked_upon() {
    let name = "CVE-2020-15113";
    let (Some(ours), Some(theirs)) = (foreign::subject(name), foreign::need(name, Part::EtcdNew))
    else {
        return;
    };
    let said = [ours, theirs].map(|binary| {
        let home = Home::new(&binary, &[]);
        fs::create_dir(home.data_dir()).expect("a folder");
        fs::set_permissions(home.data_dir(), Permissions::from_mode(0o777)).expect("it is ours");
        let folder = home.data_dir().display().to_string();
        let server = home.start();
        let log = server.log();
        let line = log.lines().find(|line| line.contains("check file permission"));
        let line: serde_json::Value =
            serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).expect("JSON");
        let error = line["error"].as_str().unwrap_or_default().replace(&folder, "FOLDER");
        // What is made below it is for its owner alone.
        let member = fs::metadata(server.home().data_dir().join("member")).expect("it is there");
        (error, member.permissions().mode() & 0o777)
    });
    assert_eq!(said[0], said[1]);
}
