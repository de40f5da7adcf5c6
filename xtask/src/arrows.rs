//! Which crate may depend on what.
//!
//! Our crates stand in one order (ARCHITECTURE.md); arrows point up this list, never down. The pure
//! crates know no async, socket, thread, clock or dice, and only `vfs` among them knows files.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::root;
use crate::source::{blanked, without_tests};

/// How far a crate is from the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// Inputs in, outputs out: no runtime, no system call.
    Pure,
    /// Pure, but for files: `vfs`, and `metrics`, which reads what the kernel counts for a process.
    Files,
    /// Where the world begins.
    Shell,
}

/// All our crates. A crate may use those above it.
const ORDER: &[(&str, Layer)] = &[
    ("planted", Layer::Pure),
    ("types", Layer::Pure),
    ("proto", Layer::Pure),
    ("vfs", Layer::Files),
    ("wal", Layer::Pure),
    ("store", Layer::Pure),
    ("bolt", Layer::Pure),
    ("mvcc", Layer::Pure),
    ("watch", Layer::Pure),
    ("lease", Layer::Pure),
    ("v2", Layer::Pure),
    ("consensus", Layer::Pure),
    ("auth", Layer::Pure),
    ("apply", Layer::Pure),
    ("exchange", Layer::Pure),
    ("takeover", Layer::Pure),
    ("member", Layer::Pure),
    ("http2", Layer::Pure),
    ("cobra", Layer::Pure),
    ("go", Layer::Shell),
    ("options", Layer::Shell),
    ("logging", Layer::Shell),
    ("metrics", Layer::Files),
    ("net", Layer::Shell),
    ("tls", Layer::Shell),
    ("peer", Layer::Shell),
    ("node", Layer::Shell),
    ("rpc", Layer::Shell),
    ("gateway", Layer::Shell),
    ("server", Layer::Shell),
    ("client", Layer::Shell),
    ("traces", Layer::Shell),
    ("proxy", Layer::Shell),
    ("etcd", Layer::Shell),
    ("etcdctl-v2", Layer::Shell),
    ("etcdctl", Layer::Shell),
    ("etcdutl", Layer::Shell),
    ("history", Layer::Pure),
    ("sim", Layer::Pure),
    ("proof", Layer::Pure),
    ("fuzz", Layer::Shell),
    ("robust", Layer::Shell),
    ("bench", Layer::Shell),
];

/// Libraries that bring a runtime, a socket, a thread or chance with them.
const WORLDLY: [&str; 17] = [
    "async-std",
    "crossbeam",
    "fastrand",
    "futures",
    "getrandom",
    "h2",
    "http",
    "hyper",
    "hyper-util",
    "mio",
    "rand",
    "rayon",
    "rustls",
    "smol",
    "tokio",
    "tokio-util",
    "tonic",
];

/// Libraries that make system calls: for `vfs` and the shells.
const SYSTEM: [&str; 4] = ["libc", "memmap2", "nix", "rustix"];

/// Words that a pure crate's source does not hold.
const WORLDLY_WORDS: [&str; 8] = [
    "std::net",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "thread_rng",
    "RandomState",
    "thread::spawn",
];

/// Who may hand work to a thread of tokio's pool: `rpc::aside`, which owns turn, reservation and cancellation; a
/// handshake that asks DNS, of which a few are under way at a time; and clients, which serve nobody.
const BLOCKING: [&str; 4] = [
    "crates/shell/rpc/src/aside.rs",
    "crates/shell/tls/src/server.rs",
    "crates/tools/etcdctl/src/commands/lock.rs",
    "crates/tools/etcdctl/src/commands/watch.rs",
];

/// Everything that breaks the rules.
pub fn check() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs, because it ran this");
    if !output.status.success() {
        return vec![format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr))];
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().expect("a list of packages") {
        let name = short(package["name"].as_str().unwrap_or_default()).to_string();
        if name == "xtask" {
            continue;
        }
        match place(&name) {
            None => {
                complaints.push(format!("{name} has no place in the order (xtask/src/arrows.rs)"))
            }
            Some((at, layer)) => {
                dependencies(&name, at, layer, package, &mut complaints);
                words(package, layer, &mut complaints);
                blocking(package, &mut complaints);
                floor(&name, layer, package, &mut complaints);
            }
        }
    }
    complaints
}

fn short(package: &str) -> &str {
    package.strip_prefix("holdfast-").unwrap_or(package)
}

fn place(name: &str) -> Option<(usize, Layer)> {
    let at = ORDER.iter().position(|(known, _)| *known == name)?;
    Some((at, ORDER[at].1))
}

/// Only what is linked into the product counts: tests may use what they need.
fn dependencies(
    name: &str,
    at: usize,
    layer: Layer,
    package: &Value,
    complaints: &mut Vec<String>,
) {
    for dependency in package["dependencies"].as_array().expect("a list of dependencies") {
        let used = dependency["name"].as_str().unwrap_or_default();
        let ours = dependency["path"].is_string();
        if dependency["kind"].is_string() {
            continue;
        }
        if ours {
            match place(short(used)) {
                Some((above, _)) if above < at => {}
                _ => complaints.push(format!("{name} may not use {used}, which is not above it")),
            }
        }
        let forbidden = (layer != Layer::Shell && WORLDLY.contains(&used))
            || (layer == Layer::Pure && SYSTEM.contains(&used));
        if forbidden {
            complaints.push(format!("{name} ({layer:?}) may not use the library {used}"));
        }
    }
}

/// Where a crate lies.
fn folder(package: &Value) -> PathBuf {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// A folder of `crates/` holds what its name says: pure crates in `core`, and nothing else there. (`proof` has both.)
fn floor(name: &str, layer: Layer, package: &Value, complaints: &mut Vec<String>) {
    let folder = folder(package);
    let floor = folder.parent().and_then(Path::file_name).unwrap_or_default();
    let pure = layer != Layer::Shell;
    if floor != "proof" && pure != (floor == "core") {
        complaints.push(format!("{name} ({layer:?}) does not belong into {}", floor.display()));
    }
}

/// The words of the sources, without their tests.
fn words(package: &Value, layer: Layer, complaints: &mut Vec<String>) {
    if layer == Layer::Shell {
        return;
    }
    for file in rust_files(&folder(package).join("src")) {
        let Ok(source) = std::fs::read_to_string(&file) else { continue };
        let blank = blanked(&source);
        let product = without_tests(&blank);
        let files = (layer == Layer::Pure).then_some("std::fs");
        for word in WORLDLY_WORDS.iter().copied().chain(files) {
            if let Some(start) = product.find(word) {
                let line = product[..start].matches('\n').count() + 1;
                let shown = file.strip_prefix(root()).unwrap_or(&file).display();
                complaints.push(format!("{shown}:{line}: {word} does not belong in a pure crate"));
            }
        }
    }
}

/// Work that leaves a connection's thread another way than by `rpc::aside`.
fn blocking(package: &Value, complaints: &mut Vec<String>) {
    for file in rust_files(&folder(package).join("src")) {
        let shown = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        let Ok(source) = std::fs::read_to_string(&file) else { continue };
        let blank = blanked(&source);
        let blocks = ["spawn_blocking", "block_in_place"];
        if blocks.iter().any(|word| without_tests(&blank).contains(word))
            && !BLOCKING.contains(&shown.as_str())
        {
            complaints.push(format!("{shown}: work leaves a connection's thread by rpc::aside"));
        }
    }
}

/// All Rust files below a folder, but not those that hold only tests.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return out };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                out.extend(rust_files(&path));
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            out.push(path);
        }
    }
    out.sort();
    out
}
