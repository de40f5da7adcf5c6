//! `migrate --target-format`: a stopped member's directory becomes ours, or a Go etcd's (`docs/migration.md`).
//!
//! What the server does when it starts on a Go member's directory, and when it stops in a cluster whose version is
//! below its own, is done here by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use takeover::{BackOptions, Dirs, Outcome, TakeOptions, Told};
use types::Version;
use vfs::{Disk, Lock, OsDisk};

use crate::cli::{Failure, Matches};
use crate::files::{self, BULK};
use crate::log;
use crate::progress::Progress;

/// What a target version may be: those whose form is known.
const OLDEST: Version = Version::new(3, 4);

/// A member that does not run.
struct Stopped {
    dirs: Dirs,
    /// Keep servers out, ours and Go's.
    _locks: Vec<Box<dyn Lock>>,
}

impl Stopped {
    fn find(matches: &Matches) -> Result<Stopped, Failure> {
        let member = Path::new(matches.text("data-dir")).join("member");
        let wal = Some(matches.text("wal-dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dirs = Dirs::of(&member, wal.as_deref());
        if !OsDisk.exists(&member).unwrap_or(false) {
            let data_dir = matches.text("data-dir");
            return Err(Failure::new(format!("{data_dir} holds no member")));
        }
        let mut locks = Vec::new();
        let wanted = [member.join("lock"), dirs.database()];
        // The first is made if need be; a database only if there is one.
        for path in wanted.iter().filter(|path| path.ends_with("lock") || path.exists()) {
            let lock = files::lock(path, matches.duration("timeout"))?;
            locks.push(
                lock.ok_or_else(|| Failure::new(format!("{} cannot be locked", path.display())))?,
            );
        }
        Ok(Stopped { dirs, _locks: locks })
    }
}

fn failure(error: &dyn std::error::Error) -> Failure {
    Failure::new(go::chain(error))
}

/// `migrate --target-format=holdfast`.
pub fn take(matches: &Matches) -> Result<(), Failure> {
    let stopped = Stopped::find(matches)?;
    let disk: Arc<dyn Disk> = Arc::new(BULK);
    let database = stopped.dirs.database();
    let options = TakeOptions {
        refuse: false,
        store: store::Options::default(),
        told: told("taking over", OsDisk.open_read(&database).and_then(|file| file.len()).ok()),
    };
    let mut begun = |file: &Path, index: u64, bytes: u64| {
        let fields = [
            ("path", json!(file.display().to_string())),
            ("consistent-index", json!(index)),
            ("bytes", json!(bytes)),
        ];
        log::info("taking over the data directory of a Go etcd", &fields);
    };
    let outcome = takeover::take_over(&disk, &stopped.dirs, &options, &mut begun);
    match outcome.map_err(|error| failure(&error))? {
        Outcome::Taken(taken) => {
            let fields = [
                ("local-member-id", json!(format!("{:x}", taken.member))),
                ("cluster-id", json!(format!("{:x}", taken.cluster))),
                ("consistent-index", json!(taken.index)),
                ("revision", json!(taken.revision)),
                ("kept", json!(taken.kept.display().to_string())),
            ];
            log::info("took over the data directory of a Go etcd", &fields);
        }
        Outcome::StoreIsCurrent { database: at, store } => {
            let fields = [("consistent-index", json!(at)), ("store-index", json!(store))];
            log::info("removed a Go etcd's database that is no further than the store", &fields);
        }
        Outcome::NothingThere if OsDisk.exists(&stopped.dirs.store).unwrap_or(false) => {
            log::info("the data directory is holdfast's already", &[]);
        }
        Outcome::NothingThere => {
            return Err(Failure::new(format!(
                "stat {}: no such file or directory",
                database.display()
            )));
        }
    }
    Ok(())
}

/// `migrate --target-format=go`.
pub fn back(matches: &Matches) -> Result<(), Failure> {
    let target = target(matches.text("target-version")).map_err(Failure::bad_arguments)?;
    let stopped = Stopped::find(matches)?;
    let disk: Arc<dyn Disk> = Arc::new(BULK);
    let image = takeover::stored_image(&disk, &stopped.dirs, &store::Options::default());
    let image = image.map_err(|error| failure(&error))?;
    let options = BackOptions {
        target,
        force: matches.truth("force"),
        wal: wal::Options::default(),
        told: told("writing", None),
    };
    let back = takeover::hand_back(&disk, &stopped.dirs, image, &options);
    let back = back.map_err(|error| failure(&error))?;
    if let Some(from) = back.lowered_from {
        let fields = [("from", json!(from.short())), ("to", json!(target.short()))];
        log::warn("lowered the cluster's version", &fields);
    }
    let fields = [
        ("path", json!(back.database.display().to_string())),
        ("consistent-index", json!(back.index)),
        ("revision", json!(back.revision)),
        ("bytes", json!(back.bytes)),
        ("etcd-version", json!(target.short())),
        ("store", json!(stopped.dirs.store.display().to_string())),
    ];
    log::info(
        "gave the data directory the form of a Go etcd; the store is kept beside it",
        &fields,
    );
    Ok(())
}

fn target(typed: &str) -> Result<Version, String> {
    let wrong =
        || format!("wrong target version format, expected \"X.Y\", got {}", go::quote(typed));
    if typed.matches('.').count() != 1 {
        return Err(wrong());
    }
    let version: Version = typed.parse().map_err(|_| wrong())?;
    if (OLDEST..=Version::OURS).contains(&version) {
        return Ok(version);
    }
    let (short, oldest, ours) = (go::quote(version.short()), OLDEST.short(), Version::OURS.short());
    Err(format!("target version {short} not supported: it must be {oldest} to {ours}"))
}

/// Draws how far it is.
fn told(what: &'static str, total_bytes: Option<u64>) -> Told {
    let Some(total_bytes) = total_bytes else { return Told::nobody() };
    let (progress, before) = (Progress::new(what, total_bytes), std::sync::Mutex::new(0));
    Told::by(move |bytes| {
        let mut before = before.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        progress.add(bytes.saturating_sub(*before));
        *before = bytes;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_release_whose_form_is_known() {
        assert_eq!(target("3.4"), Ok(Version::new(3, 4)));
        assert_eq!(target("3.7"), Ok(Version::OURS));
        let refused = target("3.3").expect_err("nobody knows its form here");
        assert_eq!(refused, "target version \"3.3\" not supported: it must be 3.4 to 3.7");
        for typed in ["3", "3.6.0", "x", ""] {
            assert!(target(typed).is_err_and(|why| why.starts_with("wrong target version")));
        }
    }
}
