//! What Go's files say, before anything is written: which of them holds the state, at which entry, and whether the log
//! goes with it (`docs/etcd/wal-and-snap.md` 4).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::Membership;
use bolt::{Backend, RowsError, names};
use exchange::{SnapFile, read_members_json, read_snap_file};
use prost::Message as _;
use proto::v2pb;
use types::{EntryKind, MemberId, Version};
use vfs::{Disk, File};
use wal::{Marker, Wal};

use crate::{Dirs, TakeoverError, members};

/// A database of etcd's, and the entry it is at.
pub(crate) struct Database {
    pub file: PathBuf,
    pub backend: Backend<Arc<dyn File>>,
    pub index: u64,
}

impl Database {
    pub fn open(disk: &dyn Disk, file: PathBuf) -> Result<Database, TakeoverError> {
        let opened = io("opening", &file, disk.open_read(&file))?;
        let backend = Backend::open(opened)
            .map_err(|source| TakeoverError::Bolt { file: file.clone(), source })?;
        let index = rows(&file, backend.consistent_index())?;
        Ok(Database { file, backend, index })
    }
}

/// The state that is to be taken over.
pub(crate) struct Found {
    pub database: Database,
    /// The term of its entry.
    pub term: u64,
    /// Member and cluster.
    pub of: (MemberId, u64),
    /// Who belongs to the cluster, where the database does not say it reliably.
    pub members: Option<Membership>,
}

/// The log's markers, which must be there where a database is.
pub(crate) fn markers(
    disk: &dyn Disk,
    dirs: &Dirs,
    database: &Path,
) -> Result<Vec<Marker>, TakeoverError> {
    if !io("looking at", &dirs.wal, Wal::exists(disk, &dirs.wal))? {
        let (path, wal) = (database.to_owned(), dirs.wal.clone());
        return Err(TakeoverError::NoLog { path, wal });
    }
    Ok(Wal::valid_markers(disk, &dirs.wal)?)
}

/// The database that holds the state at the end of what was applied: `snap/db`, or that of a snapshot that another
/// member sent and that had not taken its place yet.
pub(crate) fn newest(
    disk: &dyn Disk,
    dirs: &Dirs,
    database: Database,
    markers: &[Marker],
) -> Result<Database, TakeoverError> {
    let newest = markers.iter().map(|marker| marker.index).max().unwrap_or(0);
    if newest <= database.index {
        return Ok(database);
    }
    let received = dirs.snap.join(format!("{newest:016x}.snap.db"));
    let too_short = |database: Database| TakeoverError::DatabaseTooShort {
        file: database.file,
        index: database.index,
        wal: dirs.wal.clone(),
        first: newest,
    };
    if !io("looking at", &received, disk.exists(&received))? {
        return Err(too_short(database));
    }
    let received = Database::open(disk, received)?;
    if received.index < newest { Err(too_short(received)) } else { Ok(received) }
}

/// Finds out everything about a database that its log must say.
pub(crate) fn examine(
    disk: &dyn Disk,
    dirs: &Dirs,
    database: Database,
    markers: &[Marker],
) -> Result<Found, TakeoverError> {
    let start = start(disk, dirs, &database, markers)?;
    let marker = &start.marker;
    let log = Wal::read(disk, &dirs.wal, marker)?;
    let of = identity(dirs, &log.metadata)?;
    let (file, index) = (database.file.clone(), database.index);
    let log_last = marker.index + log.entries.len() as u64;
    if log_last < index {
        let wal = dirs.wal.clone();
        return Err(TakeoverError::LogTooShort { wal, log_last, file, index });
    }
    let (applied, rest) = log.entries.split_at((index - marker.index) as usize);
    let log_term = applied.last().map_or(marker.term, |entry| entry.term);
    let term = rows(&file, database.backend.term())?;
    // A committed entry has one term, so its index names it. The file's own term may be older: etcd 3.4 knows no such
    // row, and leaves the one that a newer member sent it with a snapshot as it was.
    if log_term < term {
        let wal = dirs.wal.clone();
        return Err(TakeoverError::OtherHistory { file, index, term, wal, log_term });
    }
    let mut members = start.json.as_ref().map(|json| members::seeded(of.0, json));
    if let Some(path) = start.json.and_then(|json| json.custom) {
        return Err(TakeoverError::V2Content { path });
    }
    if let Some(membership) = &mut members {
        applied.iter().try_for_each(|entry| members::follow(membership, entry))?;
    }
    // Better now than when the store is there and the first of them is applied.
    let normal = |entry: &&types::Entry| entry.kind == EntryKind::Normal && !entry.data.is_empty();
    for entry in rest.iter().filter(normal) {
        members::asked(entry)?;
    }
    let found = Found { database, term: log_term, of, members };
    match found.cluster_version()? {
        Some(cluster) if Version::OURS < cluster => Err(TakeoverError::TooNew { cluster }),
        _ => Ok(found),
    }
}

impl Found {
    /// What the members agreed on.
    fn cluster_version(&self) -> Result<Option<Version>, TakeoverError> {
        if let Some(members) = &self.members {
            return Ok(members.version());
        }
        let Database { file, backend, .. } = &self.database;
        let text = backend.get(names::CLUSTER, names::CLUSTER_VERSION);
        let text = text.map_err(|source| TakeoverError::Bolt { file: file.clone(), source })?;
        Ok(text.and_then(|text| String::from_utf8_lossy(&text).parse().ok()))
    }
}

/// Where to begin to read the log.
struct Start {
    marker: Marker,
    /// The members there; nothing if the database says who they are.
    json: Option<exchange::V2Json>,
}

/// From 3.6 on the members of the database count; before, those of the `.snap` file at the newest marker it has not
/// left behind.
fn start(
    disk: &dyn Disk,
    dirs: &Dirs,
    database: &Database,
    markers: &[Marker],
) -> Result<Start, TakeoverError> {
    let mut reached: Vec<&Marker> =
        markers.iter().filter(|marker| marker.index <= database.index).collect();
    reached.sort_by_key(|marker| std::cmp::Reverse(marker.index));
    let Some(newest) = reached.first() else {
        return Err(TakeoverError::DatabaseTooShort {
            file: database.file.clone(),
            index: database.index,
            wal: dirs.wal.clone(),
            first: markers.first().map_or(0, |marker| marker.index),
        });
    };
    if rows(&database.file, database.backend.storage_version())?.is_some() {
        return Ok(Start { marker: (*newest).clone(), json: None });
    }
    let mut damaged = None;
    for marker in reached {
        if marker.index == 0 {
            let json = Some(exchange::V2Json::default());
            return Ok(Start { marker: marker.clone(), json });
        }
        let path = dirs.snap.join(SnapFile::name(marker.index, marker.term));
        if !io("looking at", &path, disk.exists(&path))? {
            continue;
        }
        let read = read_snap_file(disk, &path).ok();
        match read.and_then(|snap| read_members_json(&snap.json)) {
            Some(json) => return Ok(Start { marker: marker.clone(), json: Some(json) }),
            None => damaged = damaged.or(Some(path)),
        }
    }
    Err(TakeoverError::NoMembers { snap: dirs.snap.clone(), damaged })
}

/// The path of something that clients of the v2 API have stored, if there is any: in the newest `.snap` file, or in
/// the log behind it. Such a directory is not taken over, and etcd 3.6 does not start on it.
///
/// # Errors
/// [`TakeoverError`].
pub fn v2_content(disk: &dyn Disk, dirs: &Dirs) -> Result<Option<String>, TakeoverError> {
    let mut markers = markers(disk, dirs, &dirs.database())?;
    markers.sort_by_key(|marker| std::cmp::Reverse(marker.index));
    let mut start = Marker::default();
    for marker in markers {
        let path = dirs.snap.join(SnapFile::name(marker.index, marker.term));
        let snap = read_snap_file(disk, &path).ok();
        if let Some(json) = snap.and_then(|snap| read_members_json(&snap.json)) {
            if json.custom.is_some() {
                return Ok(json.custom);
            }
            start = marker;
            break;
        }
    }
    let log = Wal::read(disk, &dirs.wal, &start)?;
    let normal = log.entries.iter().filter(|entry| entry.kind == EntryKind::Normal);
    let unknown = normal.filter(|entry| !entry.data.is_empty() && members::asked(entry).is_err());
    let mut requests = unknown.filter_map(|entry| v2pb::Request::decode(&entry.data[..]).ok());
    let of_clients = requests.find(|request| !request.method().is_empty());
    Ok(of_clients.map(|request| request.path().to_owned()))
}

/// Whose log it is.
pub(crate) fn identity(dirs: &Dirs, metadata: &[u8]) -> Result<(MemberId, u64), TakeoverError> {
    let metadata = v2pb::Metadata::decode(metadata).ok();
    let of = metadata.and_then(|metadata| Some((metadata.node_id?, metadata.cluster_id?)));
    of.ok_or_else(|| TakeoverError::NoIdentity { wal: dirs.wal.clone() })
}

fn rows<T>(file: &Path, result: Result<T, RowsError>) -> Result<T, TakeoverError> {
    result.map_err(|source| TakeoverError::Rows { file: file.to_owned(), source })
}

pub(crate) fn io<T>(
    action: &'static str,
    path: &Path,
    result: io::Result<T>,
) -> Result<T, TakeoverError> {
    result.map_err(|source| TakeoverError::Io { action, path: path.to_owned(), source })
}
