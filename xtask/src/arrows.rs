//! Which crate may depend on what.
//!
//! Our crates stand in one order (ARCHITECTURE.md); arrows point up this list, never down. The pure
//! crates know no async, socket, thread, clock or dice, and only `vfs` among them knows files: libraries that bring such
//! things are refused here, and what the standard library has of them by the `clippy.toml` of each floor.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{circles, root};

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

/// The lints file of a floor, which clippy finds by going up from a crate, and what it has to forbid: who deletes a line
/// of it has to delete it here, too.
const FLOORS: [(&str, &[&str]); 9] = [
    ("crates/core", &[CLOCK, THREAD, SOCKET, DICE, FILES]),
    ("crates/core/vfs", &[CLOCK, THREAD, SOCKET, DICE]),
    ("crates/core/metrics", &[CLOCK, THREAD, SOCKET, DICE]),
    ("crates/proof/history", &[CLOCK, THREAD, SOCKET, DICE, FILES]),
    ("crates/proof/sim", &[CLOCK, THREAD, SOCKET, DICE, FILES]),
    ("crates/proof/proof", &[CLOCK, THREAD, SOCKET, DICE, FILES]),
    ("crates/shell", &[ASIDE]),
    ("crates/tools", &[ASIDE]),
    ("crates/proof", &[ASIDE]),
];
const CLOCK: &str = "std::time::Instant::now";
const THREAD: &str = "std::thread::spawn";
const SOCKET: &str = "std::net::TcpStream";
const DICE: &str = "std::hash::RandomState";
const FILES: &str = "std::fs::File";
const ASIDE: &str = "tokio::task::spawn_blocking";

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
    lints(&mut complaints);
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
                lints_of_its_own(package, &mut complaints);
                floor(&name, layer, package, &mut complaints);
            }
        }
    }
    complaints.extend(circles::check());
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

/// Floors whose lints file is gone or lacks something, and lints files that stand in the way of a floor's.
fn lints(complaints: &mut Vec<String>) {
    for (floor, forbidden) in FLOORS {
        let file = format!("{floor}/clippy.toml");
        let text = std::fs::read_to_string(root().join(&file)).unwrap_or_default();
        for word in forbidden.iter().filter(|word| !text.contains(&format!("\"{word}\""))) {
            complaints.push(format!("{file} does not forbid {word}"));
        }
    }
}

/// A crate's own lints file takes the place of its floor's, so that only those of the list may have one.
fn lints_of_its_own(package: &Value, complaints: &mut Vec<String>) {
    let folder = folder(package);
    let shown = folder.strip_prefix(root()).unwrap_or(&folder).display().to_string();
    let listed = FLOORS.iter().any(|(floor, _)| *floor == shown);
    let names = ["clippy.toml", ".clippy.toml"];
    if !listed && names.iter().any(|name| folder.join(name).exists()) {
        complaints.push(format!("{shown} has a clippy.toml of its own, which hides its floor's"));
    }
}
