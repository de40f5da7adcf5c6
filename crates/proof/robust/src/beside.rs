//! A program that runs beside a server (`etcd gateway`, `etcd grpc-proxy`): started, heard, killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program with its log. Gone with this.
#[derive(Debug)]
pub struct Beside {
    child: Child,
    log: PathBuf,
}

impl Beside {
    /// Starts `binary` with these words; its output goes to a file of that name in `folder`, where it also
    /// works.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn start(binary: &Path, folder: &Path, name: &str, words: &[String]) -> Beside {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).expect("the folder can be written");
        let mut command = Command::new(binary);
        command.args(words).current_dir(folder).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().expect("the program starts");
        Beside { child, log }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `text` so many times.
    ///
    /// # Panics
    /// It does not in time.
    #[track_caller]
    pub fn wait_for(&self, text: &str, times: usize) {
        wait_until(&format!("{text:?} in\n{}", self.log()), || {
            self.log().matches(text).count() >= times
        });
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("the last lines:\n{}", lines[lines.len().saturating_sub(12)..].join("\n"));
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
///
/// # Panics
/// It is not in time.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Runs a program to its end.
///
/// # Panics
/// It cannot be started.
#[track_caller]
pub fn output(binary: &Path, words: &[&str]) -> Output {
    Command::new("timeout").arg("20").arg(binary).args(words).output().expect("it starts")
}
