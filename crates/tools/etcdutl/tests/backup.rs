//! `backup` of stopped members, ours and Go's: a cluster of one begins with the copy, with what clients of API v2 have
//! stored and, if it is wanted, with that of API v3.

use std::path::Path;

use proto::etcdserverpb as pb;
use robust::foreign::{self, Part};
use robust::http;
use robust::process::{Home, Server};

use crate::support::Sandbox;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// The value of a key of API v2; nothing where there is no such key.
fn v2_value(server: &Server, key: &str) -> Option<String> {
    let answer = http::send(&server.address(), "GET", &format!("/v2/keys{key}"), "", "");
    let answer = answer.expect("it answers").text();
    let (_, value) = answer.split_once("\"value\":\"")?;
    value.split_once('"').map(|(value, _)| value.to_owned())
}

#[track_caller]
fn v2_put(server: &Server, key: &str, value: &str) {
    let (path, form) = (format!("/v2/keys{key}"), format!("value={value}"));
    let answer = http::send(&server.address(), "PUT", &path, FORM, &form).expect("it answers");
    assert!(answer.status < 300, "{}", answer.text());
}

fn v3_put(server: &Server, key: &'static str) {
    let put = pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() };
    server.connect().unary("/etcdserverpb.KV/Put", &put).ok::<pb::PutResponse>();
}

fn v3_count(server: &Server) -> i64 {
    let request =
        pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
    server.connect().unary("/etcdserverpb.KV/Range", &request).ok::<pb::RangeResponse>().count
}

/// Stops a member and puts a copy of its directory in that one's place, for the next start.
fn replace_by_copy(server: Server, with_v3: bool) -> Home {
    let (home, _) = server.stop();
    let (data, before) = (home.data_dir(), home.folder().join("before"));
    std::fs::rename(&data, &before).expect("it is there");
    let text = |path: &Path| path.display().to_string();
    let with_v3 = format!("--with-v3={with_v3}");
    let words = ["backup", "--data-dir", &text(&before), "--backup-dir", &text(&data), &with_v3];
    Sandbox::new().succeed(&words);
    // What is there already is nobody's to write over.
    let (code, _, errors) = Sandbox::new().run(&words);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("is not empty"), "{errors}");
    home
}

#[track_caller]
fn check(etcd: &Path) {
    for with_v3 in [true, false] {
        let server = Home::new(etcd, &["--enable-v2"]).start();
        v2_put(&server, "/foo", "bar");
        v2_put(&server, "/dir/x", "y");
        v3_put(&server, "k");
        let mut home = replace_by_copy(server, with_v3);
        home.set_flags(&["--enable-v2", "--force-new-cluster"]);
        let server = home.start();
        assert_eq!(v2_value(&server, "/foo").as_deref(), Some("bar"), "v3: {with_v3}");
        assert_eq!(v2_value(&server, "/dir/x").as_deref(), Some("y"), "v3: {with_v3}");
        assert_eq!(v3_count(&server), i64::from(with_v3));
        v2_put(&server, "/foo", "again");
        v3_put(&server, "l");
        // From then on it is a member as any other.
        let (mut home, _) = server.stop();
        home.set_flags(&["--enable-v2"]);
        let server = home.start();
        assert_eq!(v2_value(&server, "/foo").as_deref(), Some("again"), "v3: {with_v3}");
        assert_eq!(v3_count(&server), 1 + i64::from(with_v3));
    }
}

#[test]
fn a_directory_of_ours_is_backed_up_and_becomes_a_cluster() {
    if let Some(etcd) = foreign::subject("backup of ours") {
        check(&etcd);
    }
}

#[test]
fn a_directory_of_etcd_3_5_is_backed_up_and_becomes_a_cluster() {
    if let Some(etcd) = foreign::need("backup of etcd 3.5", Part::Etcd35) {
        check(&etcd);
    }
}

#[test]
fn the_directory_of_a_running_member_is_not_copied() {
    let name = "backup of a running member";
    for etcd in [foreign::subject(name), foreign::need(name, Part::Etcd35)].into_iter().flatten() {
        let server = Home::new(&etcd, &[]).start();
        let (data, copy) = (server.home().data_dir(), server.home().folder().join("copy"));
        let (data, copy) = (data.display().to_string(), copy.display().to_string());
        let words = ["--timeout", "200ms", "backup", "--data-dir", &data, "--backup-dir", &copy];
        let (code, _, errors) = Sandbox::new().run(&words);
        assert_eq!(code, 1, "{errors}");
        assert!(errors.contains("in use by another process"), "{errors}");
    }
}
