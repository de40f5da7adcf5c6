//! A Go member's directory is taken over before the member starts, and while a Go member could come back, Go's form of
//! the directory is left beside ours when it stops.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use exchange::Image;
use member::BootError;
use takeover::{BackOptions, Dirs, Outcome, TakeOptions, TakeoverError, Told};
use vfs::{Disk, Lock};

use crate::report::{Level, Line, chain};
use crate::shared::Shared;
use crate::{Config, Report};

/// How often somebody who waits is told how far it is.
const SAY_SO_EVERY: Duration = Duration::from_secs(2);

/// Takes over what a Go member left in the directory, if it did. `lock` waits until nobody else has a file.
///
/// # Errors
/// [`BootError`]; Go's files are as they were.
pub(crate) fn take_over(
    config: &Config,
    disk: &Arc<dyn Disk>,
    member_dir: &Path,
    report: &Arc<dyn Report>,
    lock: impl FnOnce(&Path) -> Result<Box<dyn Lock>, BootError>,
) -> Result<(), BootError> {
    let dirs = Dirs::of(member_dir, config.wal_dir.as_deref());
    let database = dirs.database();
    let there = disk.exists(&database);
    let failed = |source| BootError::Io { action: "looking at", path: database.clone(), source };
    if !there.map_err(failed)? {
        return Ok(());
    }
    let _lock = lock(&database)?;
    let began = Instant::now();
    let options = TakeOptions {
        refuse: config.takeover_refused,
        store: store::Options { quota_bytes: config.limits.quota_bytes, ..Default::default() },
        told: progress(report, "taking over the data directory of a Go etcd"),
    };
    let mut begun = |file: &Path, index: u64, bytes: u64| {
        let fields = vec![
            ("path", file.display().to_string().into()),
            ("consistent-index", index.into()),
            ("bytes", bytes.into()),
        ];
        report.line(&info("taking over the data directory of a Go etcd", fields));
    };
    match takeover::take_over(disk, &dirs, &options, &mut begun)? {
        Outcome::NothingThere => {}
        Outcome::StoreIsCurrent { database: at, store } => {
            let fields = vec![
                ("path", database.display().to_string().into()),
                ("consistent-index", at.into()),
                ("store-index", store.into()),
            ];
            report.line(&info(
                "removed a Go etcd's database that is no further than the store",
                fields,
            ));
        }
        Outcome::Taken(taken) => {
            let fields = vec![
                ("local-member-id", format!("{:x}", taken.member).into()),
                ("cluster-id", format!("{:x}", taken.cluster).into()),
                ("consistent-index", taken.index.into()),
                ("term", taken.term.into()),
                ("revision", taken.revision.into()),
                ("kept", taken.kept.display().to_string().into()),
                ("took", format!("{:?}", began.elapsed()).into()),
            ];
            report.line(&info("took over the data directory of a Go etcd", fields));
        }
    }
    Ok(())
}

/// Leaves Go's form of the directory beside ours. Nothing depends on it: what goes wrong is only said.
pub(crate) fn hand_back(shared: &Shared, disk: &Arc<dyn Disk>, image: Image) {
    let Some(target) = image.cluster_version() else { return };
    let config = &shared.config;
    let dirs = Dirs::of(&config.data_dir.join("member"), config.wal_dir.as_deref());
    let text = "leaving the data directory in the form of a Go etcd as well";
    report_begin(&shared.report, text, &dirs);
    let options = BackOptions {
        target,
        force: false,
        wal: wal::Options::default(),
        told: progress(&shared.report, text),
    };
    let began = Instant::now();
    match takeover::hand_back(disk, &dirs, image, &options) {
        Ok(back) => {
            let fields = vec![
                ("path", back.database.display().to_string().into()),
                ("consistent-index", back.index.into()),
                ("revision", back.revision.into()),
                ("bytes", back.bytes.into()),
                ("etcd-version", target.short().into()),
                ("took", format!("{:?}", began.elapsed()).into()),
            ];
            let text = "left the data directory in the form of a Go etcd as well";
            shared.report.line(&info(text, fields));
        }
        Err(error) => shared.report.line(&warning(&error)),
    }
}

fn report_begin(report: &Arc<dyn Report>, text: &'static str, dirs: &Dirs) {
    report.line(&info(text, vec![("path", dirs.database().display().to_string().into())]));
}

fn warning(error: &TakeoverError) -> Line {
    let text = "the data directory has not got the form of a Go etcd; holdfast can go on with it";
    Line { level: Level::Warn, text, fields: vec![("error", chain(error).into())] }
}

fn info(text: &'static str, fields: Vec<(&'static str, go::Value)>) -> Line {
    Line { level: Level::Info, text, fields }
}

/// Says from time to time how many bytes of rows have passed.
fn progress(report: &Arc<dyn Report>, text: &'static str) -> Told {
    let (report, said) = (report.clone(), Mutex::new(Instant::now()));
    Told::by(move |bytes| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if SAY_SO_EVERY <= said.elapsed() {
            *said = Instant::now();
            report.line(&info(text, vec![("bytes-of-rows", bytes.into())]));
        }
    })
}
