//! `backup`: a copy of a member's directory from which `etcd --force-new-cluster` starts, with what clients of API v2
//! have stored. As `ETCDCTL_API=2 etcdctl backup`, but that what clients of API v3 have stored comes along by default.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use takeover::{BackupOptions, Dirs, Form, LeftOut, back_up, form};
use vfs::{Disk, Lock, OsDisk};

use crate::cli::{Failure, Matches};
use crate::files::{self, BULK};
use crate::log;

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let from = dirs(matches, "data-dir", "wal-dir");
    let to = dirs(matches, "backup-dir", "backup-wal-dir");
    let with_v3 = matches.truth("with-v3");
    let disk: Arc<dyn Disk> = Arc::new(BULK);
    let _locks = locks(matches, &from, with_v3)?;
    let form = form(&disk, &from).map_err(|error| Failure::new(go::chain(&error)))?;
    prepare(form, &from, &to)?;
    let options = BackupOptions { with_v3, ids: ids(), wal: wal::Options::default() };
    let backed_up = back_up(&disk, &from, &to, &options, &mut |left_out| say(&left_out));
    backed_up.map_err(|error| Failure::new(go::chain(&error)))
}

/// Keeps servers out where what they write is read in more than one look. A Go member's log and `.snap` files are only
/// ever added to.
fn locks(matches: &Matches, from: &Dirs, with_v3: bool) -> Result<Vec<Box<dyn Lock>>, Failure> {
    let is_ours = OsDisk.exists(&from.store).unwrap_or(false);
    let has_database = OsDisk.exists(&from.database()).unwrap_or(false);
    let member = is_ours.then(|| from.lock());
    let database = (has_database && (with_v3 || is_ours)).then(|| from.database());
    let mut locks = Vec::new();
    for path in member.into_iter().chain(database) {
        locks.extend(files::lock(&path, matches.duration("timeout"))?);
    }
    Ok(locks)
}

/// Looks whether there is something to copy and nothing in the way, and makes the copy's place.
fn prepare(form: Form, from: &Dirs, to: &Dirs) -> Result<(), Failure> {
    let failure = |path: &Path, error: &std::io::Error| {
        Failure::new(format!("{}: {}", path.display(), go::io_text(error)))
    };
    let (state, place) = match form {
        Form::Go => (&from.snap, &to.snap),
        Form::Holdfast => (&from.store, &to.store),
    };
    for dir in [state, &from.wal] {
        OsDisk.list(dir).map_err(|error| failure(dir, &error))?;
    }
    let held = OsDisk.create_dir_all(place).and_then(|()| OsDisk.list(place));
    if !held.map_err(|error| failure(place, &error))?.is_empty() {
        let place = place.display();
        return Err(Failure::new(format!("failed creating the backup: {place} is not empty")));
    }
    Ok(())
}

fn dirs(matches: &Matches, data_dir: &str, wal_dir: &str) -> Dirs {
    let member = Path::new(matches.text(data_dir)).join("member");
    let wal = Some(matches.text(wal_dir)).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    Dirs::of(&member, wal.as_deref())
}

/// Two ids that nobody has, because nobody made one at this very moment.
fn ids() -> (u64, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = u64::try_from(since.as_nanos()).unwrap_or(1);
    (id, id.wrapping_add(1))
}

fn say(left_out: &LeftOut) {
    match left_out {
        LeftOut::ConfChange => log::info("ignoring EntryConfChange raft entry", &[]),
        LeftOut::Attributes(path) => {
            log::info("ignoring member attribute update on", &[("v2Req.Path", json!(path))]);
        }
        LeftOut::MemberAttributes => log::info("ignoring cluster_member_attr_set", &[]),
        LeftOut::V3 => log::info("ignoring v3 raft entry", &[]),
    }
}
