//! What a data directory holds before the member opens it.

use std::fs;
use std::path::{Path, PathBuf};

use logging::{Logger, warn};
use options::Config;

/// What a data directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or it is not there.
    Empty,
    /// A member's data.
    Member,
    /// What the v2 proxy left.
    Proxy,
    /// Both; nobody can say which is meant.
    Both,
}

impl Kind {
    /// As the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Empty => "empty",
            Kind::Member => "member",
            Kind::Proxy => "proxy",
            Kind::Both => "member and proxy",
        }
    }
}

/// Looks into the directory and remarks on what does not belong there.
pub fn look(dir: &Path, log: &Logger) -> Kind {
    let mut member = false;
    let mut proxy = false;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_name().to_string_lossy().as_ref() {
            "member" => member = true,
            "proxy" => proxy = true,
            // Certificates that a server makes for itself.
            "fixtures" => {}
            other => warn!(
                log,
                "found invalid file under data directory",
                "filename" => other,
                "data-dir" => dir
            ),
        }
    }
    match (member, proxy) {
        (false, false) => Kind::Empty,
        (true, false) => Kind::Member,
        (false, true) => Kind::Proxy,
        (true, true) => Kind::Both,
    }
}

/// Whether the member has a raft log already; then nothing said about bootstrapping matters.
pub fn has_log(config: &Config) -> bool {
    let files = fs::read_dir(log_dir(config)).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().ends_with(".wal"))
}

fn log_dir(config: &Config) -> PathBuf {
    config.wal_dir.clone().unwrap_or_else(|| config.data_dir.join("member").join("wal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_told_by_what_is_in_it() {
        let log = Logger::discard();
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str| fs::create_dir(folder.path().join(name)).expect("makes it");
        assert_eq!(look(&folder.path().join("absent"), &log), Kind::Empty);
        assert_eq!(look(folder.path(), &log), Kind::Empty);
        make("member");
        assert_eq!(look(folder.path(), &log), Kind::Member);
        make("proxy");
        assert_eq!(look(folder.path(), &log), Kind::Both);
    }
}
