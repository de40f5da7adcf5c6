//! What this server says it is.

/// The etcd release whose behaviour this server matches.
pub const SERVER_VERSION: &str = "3.7.1";
/// The version of the cluster a lone member of this release makes.
pub const CLUSTER_VERSION: &str = "3.7.0";
/// What stands where etcd names its Go version.
pub const BUILT_WITH: &str = "rust";
/// What stands where etcd names its commit.
pub const COMMIT: &str = "Not provided";
/// This software's own name and version.
pub const OWN_VERSION: &str = concat!("holdfast ", env!("CARGO_PKG_VERSION"));

/// Operating system and processor, as Go names them.
pub fn platform() -> (&'static str, &'static str) {
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    (std::env::consts::OS, processor)
}

/// What `--version` prints: etcd's four lines and one of our own.
pub fn text() -> String {
    let (system, processor) = platform();
    format!(
        "etcd Version: {SERVER_VERSION}\nGit SHA: {COMMIT}\nGo Version: {BUILT_WITH}\n\
         Go OS/Arch: {system}/{processor}\nHoldfast Version: {}\n",
        env!("CARGO_PKG_VERSION")
    )
}
