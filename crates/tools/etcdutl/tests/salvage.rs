//! What `salvage` makes of a damaged directory: a snapshot that etcd's and our tools take, and an account of the loss.

use std::path::PathBuf;

use crate::support::{Sandbox, snapshot_of};

fn restored() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.succeed(&["snapshot", "restore", &snapshot_of("3.5.1"), "--data-dir", "d"]);
    sandbox
}

fn store_file(sandbox: &Sandbox, ending: &str) -> PathBuf {
    let dir = sandbox.path("d/member/store");
    let entries = std::fs::read_dir(dir).expect("a store").map(|entry| entry.expect("it is there"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths.pop().expect("it is there")
}

fn status(sandbox: &Sandbox, file: &str) -> serde_json::Value {
    let status = sandbox.succeed(&["snapshot", "status", file, "-w", "json"]);
    serde_json::from_str(&status).expect("it is JSON")
}

#[test]
fn of_a_whole_directory_everything_is_in_the_snapshot() {
    let sandbox = restored();
    let shown = sandbox.succeed(&["salvage", "d", "--output", "s.db"]);
    assert!(shown.contains("lost               nothing\n"), "{shown}");
    let now = status(&sandbox, "s.db");
    assert_eq!((now["revision"].as_i64(), now["totalKey"].as_i64()), (Some(256), Some(51)));
    sandbox.succeed(&["snapshot", "restore", "s.db", "--data-dir", "e"]);
    let inspected = sandbox.succeed(&["inspect", "e"]);
    assert!(inspected.contains("keys               51 in "), "{inspected}");
    assert!(inspected.contains("leases             1\n"), "{inspected}");
    let (code, _, errors) = sandbox.run(&["salvage", "d", "--output", "s.db"]);
    assert_eq!((code, errors.contains("s.db is there already")), (1, true), "{errors}");
}

#[test]
fn what_cannot_be_read_is_told_and_everything_else_is_in_the_snapshot() {
    let sandbox = restored();
    let path = store_file(&sandbox, ".log");
    let mut bytes = std::fs::read(&path).expect("it is there");
    // Within the rows, which come first.
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("room");
    let (code, shown, _) = sandbox.run(&["inspect", "d"]);
    assert!(code == 1 && shown.contains("BAD"), "{shown}");

    let shown = sandbox.succeed(&["salvage", "d", "--output", "s.db"]);
    let name = path.file_name().and_then(|name| name.to_str()).expect("text");
    assert!(shown.contains("lost               1 places\n"), "{shown}");
    assert!(shown.contains(&format!("  {name} at byte ")), "{shown}");
    assert!(shown.contains("because history before it has holes"), "{shown}");
    let json = sandbox.succeed(&["salvage", "d", "--output", "t.db", "-w", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!((json["rows"].as_i64(), json["losses"].as_i64()), (Some(112), Some(1)));
    assert_eq!(status(&sandbox, "s.db")["revision"], 256);
    sandbox.succeed(&["snapshot", "restore", "s.db", "--data-dir", "e"]);
    let inspected = sandbox.succeed(&["inspect", "e"]);
    assert!(
        !inspected.contains("BAD") && inspected.contains("leases             1\n"),
        "{inspected}"
    );
    assert!(!sandbox.path("s.db.salvaging").exists() && !sandbox.path("s.db.part").exists());
}

#[test]
fn what_is_no_store_of_ours_is_refused() {
    let sandbox = Sandbox::new();
    let (code, _, errors) = sandbox.run(&["salvage", "nothing", "--output", "s.db"]);
    assert_eq!((code, errors.contains("there is no member/store")), (1, true), "{errors}");
}
