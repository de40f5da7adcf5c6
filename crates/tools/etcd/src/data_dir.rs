//! What a data directory holds before the member opens it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
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
///
/// # Errors
/// What is there is no directory, or cannot be read. The text is etcd's.
pub fn look(dir: &Path, log: &Logger) -> Result<Kind, String> {
    let mut member = false;
    let mut proxy = false;
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Kind::Empty),
        Err(fault) => return Err(format!("open {}: {}", dir.display(), go::io_text(&fault))),
    };
    for entry in entries.flatten() {
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
    Ok(match (member, proxy) {
        (false, false) => Kind::Empty,
        (true, false) => Kind::Member,
        (false, true) => Kind::Proxy,
        (true, true) => Kind::Both,
    })
}

/// Remarks on directories that others than the owner may enter: they hold every key and password.
pub fn remark_on_permissions(config: &Config, log: &Logger) {
    const OWNER_ONLY: u32 = 0o700;
    for dir in [config.data_dir.clone(), config.data_dir.join("member")] {
        let Ok(about) = fs::metadata(&dir) else { continue };
        let mode = about.permissions().mode() & 0o777;
        if mode == OWNER_ONLY {
            continue;
        }
        let kind = if about.is_dir() { 'd' } else { '-' };
        let shown: String = (0..9)
            .map(|bit| if mode >> (8 - bit) & 1 == 1 { ['r', 'w', 'x'][bit % 3] } else { '-' })
            .collect();
        let error = format!(
            "directory {} exist, but the permission is \"{kind}{shown}\". The recommended \
             permission is \"-rwx------\" to prevent possible unprivileged access to the data",
            go::quote(dir.display().to_string())
        );
        warn!(log, "check file permission", "error" => error);
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
        assert_eq!(look(&folder.path().join("absent"), &log), Ok(Kind::Empty));
        assert_eq!(look(folder.path(), &log), Ok(Kind::Empty));
        make("member");
        assert_eq!(look(folder.path(), &log), Ok(Kind::Member));
        make("proxy");
        assert_eq!(look(folder.path(), &log), Ok(Kind::Both));
        let file = folder.path().join("file");
        fs::write(&file, "").expect("makes it");
        let why = format!("open {}: not a directory", file.display());
        assert_eq!(look(&file, &log), Err(why));
    }
}
