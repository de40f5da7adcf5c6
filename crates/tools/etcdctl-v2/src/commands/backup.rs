//! `backup`: a copy of a member's directory, Go's or ours, from which `etcd --force-new-cluster` starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Zoned;
use takeover::{BackupOptions, Dirs, Form, LeftOut, TakeoverError, back_up, form};
use vfs::{Disk, Lock, OsDisk};
use wal::CreateError;

use crate::exit::{BAD_ARGS, Failure, complain};
use crate::parse::Call;

pub fn backup(call: &Call) -> Result<(), Failure> {
    let from = dirs(call, "data-dir", "wal-dir");
    let to = dirs(call, "backup-dir", "backup-wal-dir");
    let with_v3 = call.own.is_on("with-v3");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let is_ours = OsDisk.exists(&from.store).unwrap_or(false);
    let _member = if is_ours { Some(locked(&from.lock())?) } else { None };
    let form = form(&disk, &from).map_err(|error| fatal(&go::chain(&error)))?;
    prepare(form, &from, &to).map_err(|why| fatal(&why))?;
    let database = (with_v3 && form == Form::Go).then(|| from.database());
    let _database = database.map(|path| in_place(&path)).transpose()?;
    let options = BackupOptions { with_v3, ids: ids(), wal: wal::Options::default() };
    let mut told = |left_out: LeftOut| log(&words(&left_out));
    match back_up(&disk, &from, &to, &options, &mut told) {
        Ok(()) => Ok(()),
        Err(TakeoverError::CreateLog(CreateError::Exists { .. })) => {
            Err(fatal("file already exists"))
        }
        Err(error) => Err(fatal(&go::chain(&error))),
    }
}

fn dirs(call: &Call, data_dir: &str, wal_dir: &str) -> Dirs {
    let member = Path::new(call.own.text(data_dir)).join("member");
    let wal = Some(call.own.text(wal_dir)).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    Dirs::of(&member, wal.as_deref())
}

/// Makes the place of the copy and looks whether there is something to copy, in the order and the words of etcdctl.
fn prepare(form: Form, from: &Dirs, to: &Dirs) -> Result<(), String> {
    let (state, place) = match form {
        Form::Go => (&from.snap, &to.snap),
        Form::Holdfast => (&from.store, &to.store),
    };
    let kind = if form == Form::Go { "snapshot" } else { "store" };
    let named = place.display();
    let refused = |why: String| format!("failed creating backup {kind} dir {named}: {why}");
    let made = OsDisk.create_dir_all(place).and_then(|()| OsDisk.list(place));
    let held = made.map_err(|error| refused(format!("mkdir {named}: {}", go::io_text(&error))))?;
    if !held.is_empty() {
        let held: Vec<String> = held.iter().map(go::quote).collect();
        let (place, held) = (go::quote(named.to_string()), held.join(" "));
        return Err(refused(format!("expected {place} to be empty, got [{held}]")));
    }
    for dir in [state, &from.wal] {
        let listed = OsDisk.list(dir);
        listed.map_err(|error| format!("open {}: {}", dir.display(), go::io_text(&error)))?;
    }
    Ok(())
}

/// The lock of a database, which must be there.
fn in_place(path: &Path) -> Result<Box<dyn Lock>, Failure> {
    let opened = OsDisk.open_read(path);
    opened.map_err(|error| fatal(&format!("open {}: {}", path.display(), go::io_text(&error))))?;
    locked(path)
}

/// Waits until no server has the directory.
fn locked(path: &Path) -> Result<Box<dyn Lock>, Failure> {
    const TRY_EVERY: Duration = Duration::from_millis(50);
    const SAID_AFTER: Duration = Duration::from_secs(1);
    let failed = |error| fatal(&format!("open {}: {}", path.display(), go::io_text(&error)));
    let (began, mut said) = (Instant::now(), false);
    loop {
        if let Some(lock) = OsDisk.lock(path).map_err(failed)? {
            return Ok(lock);
        }
        if !said && began.elapsed() > SAID_AFTER {
            log(&format!("waiting to acquire lock on {}", path.display()));
            said = true;
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// Two ids that nobody has, because nobody made one at this very moment.
fn ids() -> (u64, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = u64::try_from(since.as_nanos()).unwrap_or(1);
    (id, id.wrapping_add(1))
}

fn words(left_out: &LeftOut) -> String {
    match left_out {
        LeftOut::ConfChange => "ignoring EntryConfChange raft entry".to_owned(),
        LeftOut::Attributes(path) => format!("ignoring member attribute update on {path}"),
        LeftOut::MemberAttributes => "ignoring cluster_member_attr_set".to_owned(),
        LeftOut::V3 => "ignoring v3 raft entry".to_owned(),
    }
}

fn log(text: &str) {
    complain(&line(text));
}

fn line(text: &str) -> String {
    format!("{} I | {text}\n", Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.6f"))
}

fn fatal(text: &str) -> Failure {
    Failure { code: BAD_ARGS, stderr: line(text) }
}
