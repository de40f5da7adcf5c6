//! Files that are not what they should be, and disks that have no room: etcd's words, its exit code, and
//! nothing left behind under a final name.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::support::{Sandbox, snapshot_file};

fn whole() -> Vec<u8> {
    std::fs::read(snapshot_file()).expect("it lies beside the tests")
}

#[track_caller]
fn check(bytes: &[u8], more: &[&str], expected: &str) {
    let sandbox = Sandbox::new();
    sandbox.write("bad", bytes);
    let words = [&["snapshot", "restore", "bad", "--data-dir", "new"], more].concat();
    let (code, shown, errors) = sandbox.run(&words);
    assert_eq!((code, shown.as_str()), (1, ""), "{errors}");
    assert!(errors.contains(&format!("\nError: {expected}")), "{errors}");
    assert!(!sandbox.path("new").exists(), "nothing is left");
    assert!(std::fs::read(sandbox.path("bad")).expect("it is there") == bytes, "nor changed");
}

#[test]
fn a_snapshot_that_is_not_as_it_was_saved_is_refused_and_leaves_nothing() {
    let missing = "snapshot missing hash but --skip-hash-check=false";
    let (whole, skip) = (whole(), ["--skip-hash-check"]);
    check(&whole[..60_000], &[], missing);
    check(&whole[..whole.len() - 32], &[], missing);
    check(b"", &[], missing);
    check(
        &whole[..60_000],
        &skip,
        "bad: the file is cut short: 60000 bytes, but its pages need 94208",
    );
    check(&whole[..40 * 512 + 32], &[], "expected sha256 [");
    check(b"", &skip, "bad: not a bbolt file, or both meta pages are damaged");
    check(&[7; 8192], &skip, "bad: not a bbolt file, or both meta pages are damaged");
    for at in [40, 8192, 50_000, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        check(&flipped, &[], "expected sha256 [");
    }
}

#[test]
fn what_cannot_be_read_or_lies_in_the_way_is_said_as_by_etcd() {
    let sandbox = Sandbox::new();
    let refused = |words: &[&str]| {
        let (code, _, errors) = sandbox.run(words);
        assert_eq!(code, 1, "{errors}");
        errors.lines().last().unwrap_or_default().to_owned()
    };
    std::fs::create_dir_all(sandbox.path("folder/full")).expect("room");
    let file = snapshot_file();
    let restore = |more: &[&'static str]| refused(&[&["snapshot", "restore"], more].concat());
    assert_eq!(restore(&["none"]), "Error: open none: no such file or directory");
    assert_eq!(restore(&["folder"]), "Error: read folder: is a directory");
    let refused_status = refused(&["snapshot", "status", "folder"]);
    assert_eq!(refused_status, "Error: read folder: is a directory");
    let in_the_way = refused(&["snapshot", "restore", &file, "--data-dir", "folder"]);
    assert_eq!(in_the_way, "Error: data-dir \"folder\" not empty or could not be read");
    assert!(sandbox.path("folder/full").exists(), "what was there stays");
    let in_the_way =
        refused(&["snapshot", "restore", &file, "--data-dir", "d", "--wal-dir", "folder"]);
    assert_eq!(in_the_way, "Error: wal-dir \"folder\" exists");
    let nowhere = refused(&["snapshot", "restore", &file, "--data-dir", "/proc/none"]);
    assert_eq!(nowhere, "Error: mkdir /proc/none: no such file or directory");
    assert!(!sandbox.path("d").exists());
}

#[test]
fn a_restore_that_was_killed_is_cleared_away_by_the_next() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("d/member.restoring/store")).expect("room");
    sandbox.write("d/member.restoring/store/half", b"of something");
    let file = snapshot_file();
    sandbox.succeed(&["snapshot", "restore", &file, "--data-dir", "d"]);
    let names = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(sandbox.path(dir)).expect("a directory");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("a name").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("d"), ["member"]);
    assert_eq!(names("d/member"), ["store", "wal"]);
    assert!(!sandbox.path("d/member/store/half").exists());
    sandbox.succeed(&["inspect", "d"]);

    sandbox.succeed(&[
        "snapshot",
        "restore",
        &file,
        "--data-dir",
        "two",
        "--wal-dir",
        "log/of/two",
    ]);
    assert_eq!(names("two/member"), ["store"]);
    assert_eq!(names("log/of"), ["two"]);
    sandbox.succeed(&["inspect", "two", "--wal-dir", "log/of/two"]);
}

/// Runs the program in namespaces of its own, on a disk in memory with room for so many bytes.
fn on_a_small_disk(bytes: u32, words: &str) -> Option<(i32, String, String)> {
    let (program, file) = (env!("CARGO_BIN_EXE_etcdutl"), snapshot_file());
    let script = format!(
        "mount -t tmpfs -o size={bytes} none /mnt && cd /mnt && cp {file} db && echo >&2 mounted && \
         {program} {words}; code=$?; ls -A /mnt; exit $code"
    );
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output();
    let output = output.expect("util-linux is everywhere");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !errors.contains("mounted") {
        robust::foreign::skip("a full disk", &format!("nothing can be mounted here: {errors}"));
        return None;
    }
    assert_eq!(output.status.signal(), None);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.code().expect("it ends by itself"), shown, errors))
}

#[test]
fn a_full_disk_is_said_and_what_was_begun_is_removed() {
    for format in ["go", "holdfast"] {
        // The snapshot itself takes 98,304 of them; a log that is all zeros but for its start takes little.
        for bytes in [99_000, 102_400, 120_000, 150_000] {
            let words = format!("snapshot restore db --data-dir new --target-format {format}");
            let Some((code, left, errors)) = on_a_small_disk(bytes, &words) else { return };
            if code == 0 && bytes > 110_000 {
                assert_eq!(left, "db\nnew\n", "{bytes} bytes are enough: {errors}");
                continue;
            }
            assert_eq!(code, 1, "{errors}");
            assert!(errors.to_lowercase().contains("no space left on device"), "{errors}");
            assert_eq!(left, "db\n", "only the snapshot is left");
        }
    }
}
