//! What `inspect` tells of directories, whole and damaged, and that it leaves them alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use robust::foreign;
use robust::process::Home;

use crate::support::{Sandbox, snapshot_of};

fn restored(format: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let file = snapshot_of("3.5.1");
    sandbox.succeed(&["snapshot", "restore", &file, "--data-dir", "d", "--target-format", format]);
    sandbox
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn everything(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let read = |path: PathBuf| {
        let changed = path.metadata().and_then(|about| about.modified());
        let bytes = std::fs::read(&path).expect("it can be read");
        (path, (bytes, changed.expect("it has a time")))
    };
    files(dir).into_iter().map(read).collect()
}

#[test]
fn both_kinds_of_directory_are_shown_alike_and_left_as_they_are() {
    for format in ["go", "holdfast"] {
        let sandbox = restored(format);
        let before = everything(&sandbox.path("d"));
        let shown = sandbox.succeed(&["inspect", "d"]);
        for line in [
            format!("data directory     d ({format})"),
            "member             8e9e05c52164694d of cluster cdf818194e3a8c32".to_owned(),
            "applied            entry 1, term 1".to_owned(),
            "revision           256, compacted to 186".to_owned(),
            "keys               51 in 113 rows (10 deletions), 23 kB".to_owned(),
            "leases             1".to_owned(),
            "authentication     off, 1 users, 1 roles".to_owned(),
            "  ok   log and store belong together".to_owned(),
            "           1 term 1: add member 8e9e05c52164694d".to_owned(),
        ] {
            assert!(shown.contains(&format!("{line}\n")), "{line}\nin\n{shown}");
        }
        assert!(!shown.contains("BAD"), "{shown}");
        let json = sandbox.succeed(&["inspect", "d", "-w", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(json["healthy"], true);
        assert_eq!(json["store"]["revision"], 256);
        assert_eq!(json["log"]["lastIndex"], 1);
        assert!(everything(&sandbox.path("d")) == before, "nothing was written");
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_found_and_said() {
    for format in ["go", "holdfast"] {
        let sandbox = restored(format);
        let whole = everything(&sandbox.path("d"));
        for (path, (bytes, _)) in &whole {
            let at = match path.file_name().and_then(|name| name.to_str()) {
                // Pages that are in use: the second is a leaf.
                Some("db") => 2 * 4096 + 2,
                // Twice the same, in turns: one of them may be old.
                Some("synced") => continue,
                // Behind the first record; what follows the last one is empty room.
                _ => bytes.iter().position(|byte| *byte != 0).expect("it holds something") + 24,
            };
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(path, &damaged).expect("room");
            let (code, shown, errors) = sandbox.run(&["inspect", "d"]);
            assert_eq!(code, 1, "{}: {shown}", path.display());
            assert!(shown.contains("  BAD  "), "{}: {shown}", path.display());
            assert!(errors.contains("checks failed"), "{errors}");
            std::fs::write(path, bytes).expect("room");
        }
        sandbox.succeed(&["inspect", "d"]);
    }
}

#[test]
fn what_is_no_stopped_members_directory_is_refused() {
    let sandbox = Sandbox::new();
    let refused = |dir: &str| {
        let (code, shown, errors) = sandbox.run(&["inspect", dir]);
        assert_eq!((code, shown.as_str()), (1, ""));
        errors
    };
    assert_eq!(refused("d"), "Error: stat d: no such file or directory\n");
    std::fs::create_dir(sandbox.path("d")).expect("room");
    let nothing = "Error: d is no data directory: it has neither member/store nor member/snap/db\n";
    assert_eq!(refused("d"), nothing);

    let Some(subject) = foreign::subject("inspect of a running member") else { return };
    let server = Home::new(&subject, &[]).start();
    let dir = server.home().data_dir().display().to_string();
    let errors = refused(&dir);
    assert!(errors.contains("is in use: stop its member first"), "{errors}");
    let (home, _) = server.stop();
    let dir = home.data_dir().display().to_string();
    sandbox.succeed(&["inspect", &dir]);
}
