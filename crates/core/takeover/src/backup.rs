//! `backup` of a member's directory: a copy that belongs to nobody, from which `etcd --force-new-cluster` makes a
//! cluster of one. That of a Go member has Go's form, that of ours has ours (`backup_own`).
//!
//! What clients of API v2 have stored in a Go member is in the `.snap` file and in the log behind it; what those of API v3
//! have stored is in the database, and comes along only when asked for. Member and cluster get new ids. Entries of the log
//! that speak of members become empty ones, so that all others keep their numbers, which the database counts by.

use std::path::PathBuf;
use std::sync::Arc;

use bolt::{Bolt, Layout, Rewrite, Rows, Source, SourceError, names, write_file};
use bytes::Bytes;
use exchange::{SnapFile, read_snap_file, snap_file, with_lone_member};
use types::ConfState;
use vfs::Disk;
use wal::{Marker, Wal};

use crate::backup_own::{self, Form, form};
use crate::copied_log::{BackupOptions, LeftOut, blank, lone_member, write_log};
use crate::found::io;
use crate::{Dirs, TakeoverError};

/// Copies `from` to `to`, whose directories hold nothing yet. Whoever calls holds the lock of the database when
/// [`BackupOptions::with_v3`] is set, that of the member when the directory is ours, and has seen to it that the
/// directory of `.snap` files is there when it is Go's.
///
/// # Errors
/// [`TakeoverError`]; what was written so far is no backup.
pub fn back_up(
    disk: &Arc<dyn Disk>,
    from: &Dirs,
    to: &Dirs,
    options: &BackupOptions,
    told: &mut dyn FnMut(LeftOut),
) -> Result<(), TakeoverError> {
    if form(disk, from)? == Form::Holdfast {
        return backup_own::back_up(disk, from, to, options, told);
    }
    let marker = copy_snap(&**disk, from, to, options.ids.0)?;
    let mut log = Wal::read(&**disk, &from.wal, &marker)?;
    blank(&mut log.entries, options.with_v3, told);
    write_database(&**disk, from, to, log.hard_state.commit, options.with_v3)?;
    write_log(disk, to, options, &marker, &log.hard_state, &log.entries)
}

/// Copies the newest `.snap` file that the log knows of, and gives its place in the log. In the copy the new member is
/// the only one: etcd 3.4 cannot remove all who are named there before it has added itself.
fn copy_snap(disk: &dyn Disk, from: &Dirs, to: &Dirs, id: u64) -> Result<Marker, TakeoverError> {
    let member = lone_member(id);
    let mut markers = Wal::valid_markers(disk, &from.wal)?;
    markers.sort_by_key(|marker| std::cmp::Reverse(marker.index));
    for marker in markers {
        let name = SnapFile::name(marker.index, marker.term);
        let Ok(snap) = read_snap_file(disk, &from.snap.join(&name)) else { continue };
        let Some(json) = with_lone_member(&snap.json, &member) else { continue };
        let conf_state = ConfState { voters: vec![id], learners: Vec::new() };
        let bytes =
            snap_file(&SnapFile { conf_state: conf_state.clone(), json: json.into(), ..snap });
        let target = to.snap.join(&name);
        let file = io("making", &target, disk.create(&target))?;
        io("writing", &target, file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()))?;
        io("syncing", &to.snap, disk.sync_dir(&to.snap))?;
        let conf_state = marker.conf_state.is_some().then_some(conf_state);
        return Ok(Marker { conf_state, ..marker });
    }
    Ok(Marker::default())
}

fn write_database(
    disk: &dyn Disk,
    from: &Dirs,
    to: &Dirs,
    commit: u64,
    with_v3: bool,
) -> Result<(), TakeoverError> {
    let source: Box<dyn Source> = if with_v3 {
        let path = from.database();
        let file = io("opening", &path, disk.open_read(&path))?;
        let bolt = Bolt::open(file);
        let bolt = bolt.map_err(|source| TakeoverError::Bolt { file: path, source })?;
        let mut rewrite = Rewrite::new(bolt);
        for bucket in [names::MEMBERS, names::MEMBERS_REMOVED, names::CLUSTER] {
            rewrite.empty(bucket);
        }
        Box::new(rewrite)
    } else {
        let mut rewrite = Rewrite::new(Nothing);
        rewrite.set(names::META, names::CONSISTENT_INDEX, &commit.to_be_bytes());
        Box::new(rewrite)
    };
    let path: PathBuf = to.database();
    let file = io("making", &path, disk.create(&path))?;
    let written = write_file(&*file, &*source, Layout::default());
    written.map_err(|source| TakeoverError::Write { file: path, source })?;
    io("syncing", &to.snap, disk.sync_dir(&to.snap))
}

/// A database without anything.
struct Nothing;

impl Source for Nothing {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        Ok(Vec::new())
    }

    fn rows(&self, _bucket: &Bytes) -> Rows {
        Box::new(std::iter::empty())
    }
}
