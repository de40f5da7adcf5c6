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

/// The lints file of the pure floor, and what it has to forbid: who deletes a line of it has to delete it here, too.
const PURE: (&str, [&str; 5]) = (
    "crates/core",
    [
        "std::time::Instant::now",
        "std::thread::spawn",
        "std::net::TcpStream",
        "std::hash::RandomState",
        "std::fs::File",
    ],
);
/// Pure crates that have a lints file of their own, which forbids what the floor's does, but for entries whose path
/// begins so.
const PURE_BUT_FOR: [(&str, &[&str]); 5] = [
    ("crates/core/vfs", &["std::fs::"]),
    ("crates/core/metrics", &["std::fs::", "std::process::"]),
    ("crates/proof/history", &[]),
    ("crates/proof/sim", &[]),
    ("crates/proof/proof", &[]),
];
/// The floors where threads are, and what their lints files have to forbid.
const THREADED: ([&str; 3], &str) =
    (["crates/shell", "crates/tools", "crates/proof"], "tokio::task::spawn_blocking");

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

/// What lints files, which clippy finds by going up from a crate, do not forbid though they have to.
fn lints(complaints: &mut Vec<String>) {
    let (pure, forbidden) = PURE;
    lacks(pure, &forbidden, complaints);
    let (threaded, aside) = THREADED;
    threaded.iter().for_each(|floor| lacks(floor, &[aside], complaints));
    let text = read_lints(pure);
    let entries = text.lines().filter_map(|line| line.split('"').nth(1));
    for (folder, allowed) in PURE_BUT_FOR {
        let is_allowed = |path: &&str| allowed.iter().any(|start| path.starts_with(start));
        let forbidden: Vec<&str> = entries.clone().filter(|path| !is_allowed(path)).collect();
        lacks(folder, &forbidden, complaints);
    }
}

fn read_lints(folder: &str) -> String {
    std::fs::read_to_string(root().join(folder).join("clippy.toml")).unwrap_or_default()
}

fn lacks(folder: &str, forbidden: &[&str], complaints: &mut Vec<String>) {
    let text = read_lints(folder);
    for path in forbidden.iter().filter(|path| !text.contains(&format!("\"{path}\""))) {
        complaints.push(format!("{folder}/clippy.toml does not forbid {path}"));
    }
}

/// A crate's own lints file takes the place of its floor's, so only those of [`PURE_BUT_FOR`] may have one.
fn lints_of_its_own(package: &Value, complaints: &mut Vec<String>) {
    let folder = folder(package);
    let shown = folder.strip_prefix(root()).unwrap_or(&folder).display().to_string();
    let listed = PURE_BUT_FOR.iter().any(|(folder, _)| *folder == shown);
    let names = ["clippy.toml", ".clippy.toml"];
    if !listed && names.iter().any(|name| folder.join(name).exists()) {
        complaints.push(format!("{shown} has a clippy.toml of its own, which hides its floor's"));
    }
}
