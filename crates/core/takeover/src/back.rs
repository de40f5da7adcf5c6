//! From our store to Go's files: the database, and where the log goes on from it.
//!
//! Three things make them, in this order: the `.snap` file, which counts for nothing without a marker; the database;
//! the log's marker. A Go etcd goes on from there once the last of them is there. The store stays as it is: while the
//! database is no further, it is the current one.

use std::path::PathBuf;
use std::sync::Arc;

use apply::{Applier, Asked, AuthRequest, Request};
use bolt::{Layout, Rewrite, Source, names};
use exchange::{Image, SnapFile, snap_file};
use prost::Message as _;
use proto::{etcdserverpb as pb, v2pb};
use store::Store;
use types::{Entry, EntryKind, HardState, Version};
use vfs::{Disk, replace_durably};
use wal::{Marker, Wal};

use crate::found::{identity, io};
use crate::take::has_store;
use crate::watched::{Told, Watched};
use crate::{Dirs, TakeoverError};

/// What is free on the disk afterwards, at least.
const SPARE_BYTES: u64 = 64 << 20;

/// `.snap` files that stay: `--max-snapshots` of a Go etcd.
const SNAP_FILES_KEPT: usize = 5;

/// What is wanted of the files.
#[derive(Clone, Debug)]
pub struct BackOptions {
    /// The release of etcd that is to start from them, 3.4 or later.
    pub target: Version,
    /// Lower the cluster's version to that release, though others have agreed on it. A lone member's is lowered
    /// without asking.
    pub force: bool,
    /// Sizes of the raft log.
    pub wal: wal::Options,
    /// Who is told how many bytes of rows have passed.
    pub told: Told,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// The database.
    pub database: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The entry it is at.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The newest revision.
    pub revision: i64,
    /// The version the cluster had, where it was lowered.
    pub lowered_from: Option<Version>,
}

/// The state of the store of a member that does not run. Whoever calls holds the member's lock.
///
/// # Errors
/// [`TakeoverError`].
pub fn stored_image(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    options: &store::Options,
) -> Result<Image, TakeoverError> {
    let store_dir = dirs.store.clone();
    if !has_store(disk, dirs)? {
        return Err(TakeoverError::NoStore { store: store_dir });
    }
    let (path, wal) = (store_dir.clone(), dirs.wal.clone());
    if !io("looking at", &wal, Wal::exists(&**disk, &wal))? {
        return Err(TakeoverError::NoLog { path, wal });
    }
    let opened = Store::open(disk.clone(), &dirs.store, options.clone());
    let (store, restored) =
        opened.map_err(|source| TakeoverError::OpenStore { store: store_dir.clone(), source })?;
    let markers = Wal::valid_markers(&**disk, &wal)?;
    if markers.iter().any(|marker| restored.applied_index < marker.index) {
        return Err(TakeoverError::StoreBehind { wal, store: store_dir });
    }
    // Nothing is applied: of all this only the members' rows are looked at.
    let config = apply::Config {
        member: 0,
        quota_bytes: None,
        learners_max: usize::MAX,
        leases: lease::Options::new(1),
        persist_checkpoints: false,
        hashed_bytes_max: 0,
    };
    let applier = Applier::open(config, store, &restored)?;
    Ok(Image::new(applier.view(), applier.stored().state().clone()))
}

/// Writes the files a Go etcd of a release starts from, in this member's place. The store must be `image`, and nobody
/// may write to it or to the log.
///
/// # Errors
/// [`TakeoverError`]; then the store is as it was, and so is the log.
pub fn hand_back(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    image: Image,
    options: &BackOptions,
) -> Result<Back, TakeoverError> {
    let (index, term) = image.applied();
    if image.has_v2() {
        return Err(TakeoverError::V2Stored { target: options.target });
    }
    let lowered_from = lowered(&image, options)?;
    let log = Log::read(&**disk, dirs, (index, term))?;
    log.behind(index).try_for_each(|entry| has_form(entry, options.target))?;
    let version = lowered_from.map_or(image.cluster_version(), |_| Some(options.target));
    let snap = SnapFile {
        index,
        term,
        conf_state: image.conf_state(),
        json: image.members_json_at(version.map(|version| version.to_string()).as_deref()).into(),
    };
    let revision = image.revision();
    let storage = image.storage_version().parse().ok();
    let mut rewrite = Rewrite::new(image);
    fit(&mut rewrite, options.target, lowered_from.is_some(), storage);
    let source = Watched { source: rewrite, told: options.told.clone() };

    io("making", &dirs.snap, disk.create_dir_all(&dirs.snap))?;
    let bytes = write_database(disk, dirs, &source, |half| {
        write_snap(&**disk, dirs, &snap)?;
        let database = dirs.database();
        io("renaming to", &database, replace_durably(&**disk, half, &database))
    })?;
    log.mark(disk, dirs, options, &snap)?;
    remove_old_snaps(&**disk, dirs)?;
    let database = dirs.database();
    Ok(Back { database, bytes, index, term, revision, lowered_from })
}

/// The cluster's version, if it has to be lowered and may be.
fn lowered(image: &Image, options: &BackOptions) -> Result<Option<Version>, TakeoverError> {
    let target = options.target;
    let Some(cluster) = image.cluster_version().filter(|cluster| target < *cluster) else {
        return Ok(None);
    };
    if options.force || image.members().len() == 1 {
        return Ok(Some(cluster));
    }
    let remedy = "lower it while the cluster runs (etcdctl downgrade enable); or stop all members, and migrate each of \
                  them with --force";
    Err(TakeoverError::VersionTooHigh { cluster, target, remedy })
}

/// What the release does not know goes, and what it must find is there.
fn fit<S: Source>(
    rewrite: &mut Rewrite<S>,
    target: Version,
    is_lowered: bool,
    storage: Option<Version>,
) {
    if is_lowered {
        rewrite.set(names::CLUSTER, names::CLUSTER_VERSION, target.to_string().as_bytes());
        rewrite.remove(names::CLUSTER, b"downgrade");
    }
    if target < Version::new(3, 5) {
        rewrite.remove(names::META, names::TERM);
        rewrite.remove(names::META, names::CONF_STATE);
        rewrite.remove(names::CLUSTER, b"downgrade");
    }
    if target < Version::new(3, 6) {
        rewrite.remove(names::META, names::STORAGE_VERSION);
    } else if storage.is_some_and(|storage| target < storage) {
        rewrite.set(names::META, names::STORAGE_VERSION, target.to_string().as_bytes());
    }
}

/// Writes the database under another name; `place` gives it its own.
fn write_database(
    disk: &Arc<dyn Disk>,
    dirs: &Dirs,
    source: &dyn Source,
    place: impl FnOnce(&std::path::Path) -> Result<(), TakeoverError>,
) -> Result<u64, TakeoverError> {
    // A Go etcd removes what begins so when it starts.
    let half = dirs.snap.join("db.tmp.holdfast");
    let failed = |source| TakeoverError::Write { file: half.clone(), source };
    let bytes = bolt::plan(source, Layout::default()).map_err(failed)?.image_bytes();
    let (at, needed_bytes) = (dirs.snap.clone(), bytes + SPARE_BYTES);
    let available_bytes = io("measuring", &at, disk.space(&at))?.available_bytes;
    if available_bytes < needed_bytes {
        return Err(TakeoverError::NoRoom { what: "database", at, needed_bytes, available_bytes });
    }
    if io("looking at", &half, disk.exists(&half))? {
        io("removing", &half, disk.remove(&half))?;
    }
    let file = io("making", &half, disk.create(&half))?;
    let written = bolt::write_file(&*file, source, Layout::default()).map_err(failed);
    if written.is_err() {
        // The next attempt removes it if this does not.
        let _ = disk.remove(&half);
    }
    written?;
    place(&half)?;
    Ok(bytes)
}

fn write_snap(disk: &dyn Disk, dirs: &Dirs, snap: &SnapFile) -> Result<(), TakeoverError> {
    let half = dirs.snap.join("tmp.holdfast");
    let path = dirs.snap.join(SnapFile::name(snap.index, snap.term));
    if io("looking at", &half, disk.exists(&half))? {
        io("removing", &half, disk.remove(&half))?;
    }
    let file = io("making", &half, disk.create(&half))?;
    io("writing", &half, file.write_all_at(&snap_file(snap), 0))?;
    io("syncing", &half, file.sync_data())?;
    io("renaming to", &path, replace_durably(disk, &half, &path))
}

/// As a Go etcd, keeps the newest few `.snap` files.
fn remove_old_snaps(disk: &dyn Disk, dirs: &Dirs) -> Result<(), TakeoverError> {
    let mut names = io("listing", &dirs.snap, disk.list(&dirs.snap))?;
    names.retain(|name| name.ends_with(".snap"));
    names.sort_unstable();
    let surplus = names.len().saturating_sub(SNAP_FILES_KEPT);
    for name in &names[..surplus] {
        let path = dirs.snap.join(name);
        io("removing", &path, disk.remove(&path))?;
    }
    Ok(())
}

/// The raft log around the entry that is handed back.
struct Log {
    start: Marker,
    hard_state: HardState,
    entries: Vec<Entry>,
    is_marked: bool,
}

impl Log {
    fn read(disk: &dyn Disk, dirs: &Dirs, (index, term): (u64, u64)) -> Result<Log, TakeoverError> {
        let markers = Wal::valid_markers(disk, &dirs.wal)?;
        let start = markers.iter().filter(|marker| marker.index <= index);
        let too_short = |log_last| TakeoverError::LogTooShort {
            wal: dirs.wal.clone(),
            log_last,
            file: dirs.store.clone(),
            index,
        };
        let start = start.max_by_key(|marker| marker.index).cloned().ok_or_else(|| too_short(0))?;
        let read = Wal::read(disk, &dirs.wal, &start)?;
        identity(dirs, &read.metadata)?;
        let log_last = start.index + read.entries.len() as u64;
        if log_last < index {
            return Err(too_short(log_last));
        }
        let is_marked = markers.iter().any(|marker| (marker.index, marker.term) == (index, term));
        Ok(Log { start, hard_state: read.hard_state, entries: read.entries, is_marked })
    }

    fn behind(&self, index: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| index < entry.index)
    }

    /// Says in the log that reading may begin behind the state that was written.
    fn mark(
        &self,
        disk: &Arc<dyn Disk>,
        dirs: &Dirs,
        options: &BackOptions,
        snap: &SnapFile,
    ) -> Result<(), TakeoverError> {
        if self.is_marked {
            return Ok(());
        }
        let SnapFile { index, term, conf_state, .. } = snap;
        let (mut wal, _) = Wal::open_with(disk.clone(), &dirs.wal, &self.start, options.wal)?;
        // A marker counts once the commit index has reached it, and what was applied was committed.
        let commit = self.hard_state.commit.max(*index);
        wal.append(Some(&HardState { commit, ..self.hard_state }), &[])?;
        let conf_state = Some(conf_state.clone());
        wal.append_marker(&Marker { index: *index, term: *term, conf_state })?;
        Ok(wal.sync()?)
    }
}

/// Whether a release can apply an entry that is still to be applied.
fn has_form(entry: &Entry, target: Version) -> Result<(), TakeoverError> {
    if entry.kind != EntryKind::Normal || entry.data.is_empty() {
        return Ok(());
    }
    let no_form = |what: String| Err(TakeoverError::NoForm { index: entry.index, what, target });
    let in_v2 = is_v2(entry);
    if in_v2 && Version::new(3, 7) <= target {
        return no_form("a request in the form of etcd 3.5".to_owned());
    }
    let request = match Asked::decode(&entry.data) {
        Ok(asked) => asked.request,
        Err(unknown) => return no_form(unknown.to_string()),
    };
    let since = match &request {
        // What a Go leader proposes while nothing of its clients has an end.
        Request::V2(request) if request.method == v2::Method::Sync => Version::new(3, 0),
        Request::V2(_) => return no_form("a request of the API v2".to_owned()),
        Request::ClusterVersionSet(set) => {
            if set.ver.parse::<Version>().is_ok_and(|version| target < version) {
                return no_form(format!("which raises the cluster's version to {}", set.ver));
            }
            Version::new(3, if in_v2 { 0 } else { 5 })
        }
        Request::ClusterMemberAttrSet(_) => Version::new(3, if in_v2 { 0 } else { 5 }),
        Request::DowngradeInfoSet(_) | Request::Auth(AuthRequest::Status(_)) => Version::new(3, 5),
        Request::DowngradeVersionTest(_) => Version::new(3, 6),
        Request::Range(_)
        | Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Txn(_)
        | Request::Compaction(_)
        | Request::LeaseGrant(_)
        | Request::LeaseRevoke(_)
        | Request::LeaseCheckpoint(_)
        | Request::Alarm(_)
        | Request::Auth(_)
        | Request::NotText => Version::new(3, 0),
    };
    if since <= target {
        return Ok(());
    }
    no_form(format!("a request that came with etcd {}", since.short()))
}

/// Whether an entry holds a request as the v2 API's store has them.
fn is_v2(entry: &Entry) -> bool {
    let message = pb::InternalRaftRequest::decode(entry.data.clone());
    let of_today = message.is_ok_and(|message| Request::name_in_message(&message) != "unknown");
    !of_today
        && v2pb::Request::decode(entry.data.clone())
            .is_ok_and(|request| !request.method().is_empty())
}
