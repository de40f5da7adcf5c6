//! `backup` of a directory of ours: the state at the last applied entry, with the API v2's tree, and the log behind it.
//!
//! The copy has our form. As that of a Go member it belongs to nobody: new ids, one member, and entries that speak of
//! members are empty. Without [`BackupOptions::with_v3`] it has the tree of the API v2 and nothing else.

use std::sync::Arc;

use bolt::{Rewrite, Rows, Source, SourceError, names};
use bytes::Bytes;
use exchange::{Image, write_store};
use store::{Bucket, Store};
use types::HardState;
use vfs::Disk;
use wal::{Marker, Wal};

use crate::back::stored_image;
use crate::copied_log::{BackupOptions, LeftOut, blank, lone_member, write_log};
use crate::found::{Database, io};
use crate::take::has_store;
use crate::{Dirs, TakeoverError};

/// Whose state a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Go etcd's.
    Go,
    /// Ours.
    Holdfast,
}

/// Which form of a directory is current, by the rule of this crate: the one that is at the later entry, and the store
/// where both are at the same. Where there is a store, whoever calls holds the member's lock.
///
/// # Errors
/// [`TakeoverError`]: one of the two cannot be read.
pub fn form(disk: &Arc<dyn Disk>, dirs: &Dirs) -> Result<Form, TakeoverError> {
    if !has_store(disk, dirs)? {
        return Ok(Form::Go);
    }
    let path = dirs.database();
    if !io("looking at", &path, disk.exists(&path))? {
        return Ok(Form::Holdfast);
    }
    let opened = Store::open(disk.clone(), &dirs.store, store::Options::default());
    let (_, restored) =
        opened.map_err(|source| TakeoverError::OpenStore { store: dirs.store.clone(), source })?;
    let database = Database::open(&**disk, path)?;
    Ok(if restored.applied_index < database.index { Form::Go } else { Form::Holdfast })
}

pub(crate) fn back_up(
    disk: &Arc<dyn Disk>,
    from: &Dirs,
    to: &Dirs,
    options: &BackupOptions,
    told: &mut dyn FnMut(LeftOut),
) -> Result<(), TakeoverError> {
    let image = stored_image(disk, from, &store::Options::default())?.with_v2();
    let (index, term) = image.applied();
    let reached = Wal::valid_markers(&**disk, &from.wal)?.into_iter();
    let start = reached.filter(|marker| marker.index <= index).max_by_key(|marker| marker.index);
    let start = start.unwrap_or_default();
    let mut log = Wal::read(&**disk, &from.wal, &start)?;
    log.entries.retain(|entry| index < entry.index);
    blank(&mut log.entries, options.with_v3, told);
    let mut marker = Marker::default();
    if 0 < index {
        write(disk, to, image, options)?;
        let voters = vec![options.ids.0];
        let conf_state = Some(types::ConfState { voters, learners: Vec::new() });
        marker = Marker { index, term, conf_state };
    }
    // A marker counts once the commit index has reached it, and what was applied was committed.
    let commit = log.hard_state.commit.max(index);
    let hard_state = HardState { vote: 0, commit, ..log.hard_state };
    write_log(disk, to, options, &marker, &hard_state, &log.entries)
}

/// Writes the store of the copy.
fn write(
    disk: &Arc<dyn Disk>,
    to: &Dirs,
    image: Image,
    options: &BackupOptions,
) -> Result<(), TakeoverError> {
    let (at, member) = (image.applied(), lone_member(options.ids.0));
    let mut rewrite = Rewrite::new(Part { image, with_v3: options.with_v3 });
    for bucket in [names::MEMBERS, names::MEMBERS_REMOVED, names::CLUSTER] {
        rewrite.empty(bucket);
    }
    let json = serde_json::to_vec(&member).expect("text and numbers always serialize");
    rewrite.set(names::MEMBERS, format!("{:x}", member.id).as_bytes(), &json);
    let conf_state = format!("{{\"voters\":[{}],\"auto_leave\":false}}", member.id);
    rewrite.set(names::META, names::CONF_STATE, conf_state.as_bytes());
    rewrite.set(names::META, names::CONSISTENT_INDEX, &at.0.to_be_bytes());
    rewrite.set(names::META, names::TERM, &at.1.to_be_bytes());
    write_store(disk, &to.store, &rewrite, at, None)?;
    Ok(())
}

/// All of an image, or what the API v2 has of it.
struct Part {
    image: Image,
    with_v3: bool,
}

impl Source for Part {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        let mut buckets = self.image.buckets()?;
        buckets.retain(|bucket| self.with_v3 || bucket == Bucket::V2.name());
        Ok(buckets)
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        self.image.rows(bucket)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apply::Applier;
    use prost::Message as _;
    use proto::{etcdserverpb as pb, raftpb, v2pb};
    use types::{Entry, EntryKind};
    use vfs::MemoryDisk;

    use super::*;

    const IDS: (u64, u64) = (0xa1, 0xc1);

    fn applier(disk: &Arc<dyn Disk>, dir: &Path, member: u64) -> Applier {
        let opened = Store::open(disk.clone(), dir, store::Options::default());
        let (store, restored) = opened.expect("the disk works");
        let config = apply::Config {
            member,
            quota_bytes: None,
            learners_max: 1,
            leases: lease::Options::new(2),
            persist_checkpoints: false,
            hashed_bytes_max: 0,
        };
        Applier::open(config, store, &restored).expect("its rows are in order")
    }

    fn entry(index: u64, data: Vec<u8>) -> Entry {
        Entry { term: 1, index, kind: EntryKind::Normal, data: data.into() }
    }

    fn v2_put(path: &str) -> Vec<u8> {
        let (method, path) = (Some("PUT".to_owned()), Some(path.to_owned()));
        let (val, time) = (Some("x".to_owned()), Some(1));
        v2pb::Request { id: Some(7), method, path, val, time, ..Default::default() }.encode_to_vec()
    }

    fn v3_put(key: &'static str) -> Vec<u8> {
        let header = Some(pb::RequestHeader { id: 7, ..Default::default() });
        let put = Some(pb::PutRequest { key: key.into(), ..Default::default() });
        pb::InternalRaftRequest { header, put, ..Default::default() }.encode_to_vec()
    }

    fn joined(id: u64) -> Entry {
        let context = serde_json::to_vec(&lone_member(id)).expect("it serializes");
        let change = raftpb::ConfChange {
            id: Some(1),
            r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode as i32),
            node_id: Some(id),
            context: Some(context.into()),
        };
        Entry { kind: EntryKind::ConfChange, ..entry(1, change.encode_to_vec()) }
    }

    /// A member that has applied three of the five entries of its log.
    fn member(disk: &Arc<dyn Disk>) -> Dirs {
        let dirs = Dirs::of(Path::new("/from/member"), None);
        let entries = [
            joined(7),
            entry(2, v2_put("/1/a")),
            entry(3, v3_put("k")),
            entry(4, v2_put("/1/late")),
            entry(5, v3_put("l")),
        ];
        disk.create_dir_all(&dirs.store).expect("the disk works");
        let mut applier = applier(disk, &dirs.store, 7);
        for entry in &entries[..3] {
            applier.apply(entry).expect("it can be applied");
        }
        applier.flush().expect("the disk works");
        let metadata = v2pb::Metadata { node_id: Some(7), cluster_id: Some(8) }.encode_to_vec();
        let hard_state = HardState { term: 1, vote: 7, commit: 5 };
        let options = wal::Options::default();
        Wal::create_begun(disk.clone(), &dirs.wal, &metadata, options, &hard_state, &entries)
            .expect("the disk works");
        dirs
    }

    fn copied(with_v3: bool) -> (Applier, Vec<LeftOut>, Vec<u8>) {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let from = member(&disk);
        let to = Dirs::of(Path::new("/to/member"), None);
        disk.create_dir_all(&to.store).expect("the disk works");
        let options = BackupOptions { with_v3, ids: IDS, wal: wal::Options::default() };
        let mut left_out = Vec::new();
        crate::back_up(&disk, &from, &to, &options, &mut |what| left_out.push(what))
            .expect("all is there");
        let marker = Wal::valid_markers(&*disk, &to.wal).expect("a log").pop().expect("a marker");
        let log = Wal::read(&*disk, &to.wal, &marker).expect("a log");
        assert_eq!((marker.index, log.hard_state.commit), (3, 5));
        let mut applier = applier(&disk, &to.store, IDS.0);
        for entry in &log.entries {
            applier.apply(entry).expect("it can be applied");
        }
        (applier, left_out, log.metadata.to_vec())
    }

    fn has(applier: &mut Applier, key: &str) -> bool {
        applier.v2_get(key, false, 1).is_ok()
    }

    #[test]
    fn a_copy_of_ours_has_what_clients_of_api_v2_stored_and_belongs_to_nobody() {
        let (mut copy, left_out, metadata) = copied(false);
        assert!(has(&mut copy, "/1/a"));
        assert!(has(&mut copy, "/1/late"));
        assert_eq!((copy.revision(), left_out), (1, vec![LeftOut::V3]));
        assert_eq!(copy.conf_state().voters, [IDS.0]);
        let metadata = v2pb::Metadata::decode(&metadata[..]).expect("it is there");
        assert_eq!((metadata.node_id(), metadata.cluster_id()), IDS);
    }

    #[test]
    fn what_clients_of_api_v3_stored_comes_along_when_it_is_wanted() {
        let (mut copy, left_out, _) = copied(true);
        assert!(has(&mut copy, "/1/a"));
        assert!(has(&mut copy, "/1/late"));
        assert_eq!((copy.revision(), left_out), (3, vec![]));
    }
}
