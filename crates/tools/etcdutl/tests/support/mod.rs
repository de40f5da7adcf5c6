//! Running the program in a folder of its own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::PathBuf;
use std::process::Command;

/// A folder that is gone afterwards, and the program run in it.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// A snapshot that etcd 3.7.3 made; what it says of it stands beside it in a `.txt`.
pub fn snapshot_file() -> String {
    snapshot_of("3.7.3")
}

/// The same for another version.
pub fn snapshot_of(version: &str) -> String {
    format!("{}/../../core/bolt/tests/files/etcd-{version}.snapshot", env!("CARGO_MANIFEST_DIR"))
}

impl Sandbox {
    pub fn new() -> Sandbox {
        Sandbox { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("room on the disk");
        self.path(name).display().to_string()
    }

    /// Exit code, output, errors.
    pub fn run(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcdutl"));
        let output = command.args(words).current_dir(self.dir.path()).output();
        let output = output.expect("the program was built for this test");
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        let code = output.status.code().expect("it ends by itself");
        (code, text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    pub fn succeed(&self, words: &[&str]) -> String {
        let (code, output, errors) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {errors}");
        output
    }
}
