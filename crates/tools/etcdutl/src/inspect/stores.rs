//! What the store of a data directory holds: our revision log, or the database of a Go member.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bolt::{Backend, names};
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use proto::snappb;
use serde::Serialize;
use store::{Bucket, Scan, Store};
use types::Revision;
use vfs::{Disk, OsDisk};

use super::Checks;
use super::rows::{Counting, Rows};
use crate::files;
use crate::overlay::Overlay;

/// Bytes of rows read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What a store says besides its rows.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The last entry whose changes are here.
    pub applied_index: u64,
    pub applied_term: u64,
    pub file_bytes: u64,
    pub storage_version: String,
    pub cluster_version: String,
    pub members: Vec<serde_json::Value>,
    pub removed_members: Vec<String>,
    pub leases: usize,
    pub users: Vec<String>,
    pub roles: Vec<String>,
    pub auth_enabled: bool,
    pub alarms: usize,
    /// When a scrub could last read all of it; of a store of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrubbed: Option<String>,
    #[serde(flatten)]
    pub rows: Rows,
}

/// Small state, as both kinds of store have it.
type Small = BTreeMap<(Bucket, Bytes), Bytes>;

/// Our own store, opened on a disk that lets nothing through.
pub fn ours(dir: &Path, checks: &mut Checks) -> Option<Kept> {
    let disk: Arc<dyn Disk> = Arc::new(Overlay::default());
    let opened = Store::open(disk, dir, store::Options::default());
    let (store, restored) = checks
        .note("store: manifest, segments, state", opened.map_err(|error| go::chain(&error)))?;
    for damage in &restored.ignored {
        checks.add("store", Err(format!("{damage}; it costs nothing but time")));
    }
    if let Some(repair) = &restored.repaired {
        let (file, offset, cut) = (&repair.file, repair.offset, repair.cut_bytes);
        let what = format!(
            "{file} has {cut} bytes behind byte {offset} that a crash left; the server cuts them off"
        );
        checks.add("store: end of the log", Ok(Some(what)));
    }
    let state = store.state();
    let small: Small = Bucket::ALL
        .into_iter()
        .flat_map(|bucket| state.iter(bucket).map(move |(key, value)| (bucket, key, value)))
        .map(|(bucket, key, value)| ((bucket, key.clone()), value.clone()))
        .collect();
    let mut counting = Counting::default();
    let walked = walk(store.view().scan(Revision::default()), &mut counting);
    checks.add("store: every row", walked.map(|()| None));
    Some(Kept {
        applied_index: restored.applied_index,
        applied_term: restored.applied_term,
        file_bytes: store.sizes().file_bytes,
        scrubbed: Some(scrubbed(&store)),
        rows: counting.finish(compacted(&small)),
        ..kept(&small)
    })
}

fn scrubbed(store: &Store) -> String {
    let at = match store.scrubbed().clean_s {
        0 => return "not by a scrub so far".to_owned(),
        seconds => i64::try_from(seconds).ok().and_then(|it| Timestamp::from_second(it).ok()),
    };
    at.map_or_else(String::new, |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Whether a Go member's database is further than the store beside it. One of the two that cannot be read is not.
pub fn is_behind(data_dir: &str) -> bool {
    let database = files::open(&files::database(data_dir)).ok();
    let database = database.and_then(|file| Backend::open(file).ok());
    let database = database.and_then(|backend| backend.consistent_index().ok()).unwrap_or(0);
    let disk: Arc<dyn Disk> = Arc::new(Overlay::default());
    let store = Store::open(disk, &files::store_dir(data_dir), store::Options::default());
    store.map_or(0, |(_, restored)| restored.applied_index) < database
}

fn walk(mut scan: Scan, counting: &mut Counting) -> Result<(), String> {
    loop {
        let chunk = scan.next_chunk(CHUNK_BYTES).map_err(|error| go::chain(&error))?;
        if chunk.is_empty() {
            return Ok(());
        }
        for row in &chunk {
            counting.take(row)?;
        }
    }
}

/// A Go member's database and its `.snap` files.
pub fn go_etcd(data_dir: &str, checks: &mut Checks) -> Option<Kept> {
    let dir = files::database(data_dir);
    for name in OsDisk.list(vfs::parent(&dir)).unwrap_or_default() {
        if name.ends_with(".snap") {
            checks.add(&name, snap_file(&vfs::parent(&dir).join(&name)).map(|()| None));
        }
    }
    let file = files::open(&dir).map_err(|failure| failure.message);
    let file = checks.note("db: the file", file)?;
    let file_bytes = file.len().unwrap_or(0);
    let backend = Backend::open(file).map_err(|error| go::chain(&error));
    let backend = checks.note("db: meta pages", backend)?;
    let check = backend.bolt().check();
    let pages = match check.faults.first() {
        None => Ok(Some(format!("{} pages in use", check.pages_used))),
        Some(fault) => {
            Err(format!("{} errors, the first: {}", check.faults_count, go::chain(fault)))
        }
    };
    checks.add("db: every page", pages);
    let mut small = Small::new();
    let mut counting = Counting::default();
    let read = database(&backend, &mut small, &mut counting);
    checks.add("db: every row", read.map(|()| None));
    let number = |name: &[u8]| -> u64 {
        let value = small.get(&(Bucket::Meta, Bytes::copy_from_slice(name)));
        value.and_then(|value| value[..].try_into().ok()).map_or(0, u64::from_be_bytes)
    };
    Some(Kept {
        applied_index: number(names::CONSISTENT_INDEX),
        applied_term: number(names::TERM),
        file_bytes,
        rows: counting.finish(compacted(&small)),
        ..kept(&small)
    })
}

fn database(
    backend: &Backend<Arc<dyn vfs::File>>,
    small: &mut Small,
    counting: &mut Counting,
) -> Result<(), String> {
    for bucket in Bucket::ALL {
        let entries = backend.entries(bucket.name().as_bytes());
        for entry in entries.map_err(|error| go::chain(&error))? {
            let (key, value) = entry.map_err(|error| go::chain(&error))?;
            small.insert((bucket, key), value);
        }
    }
    for row in backend.rows().map_err(|error| go::chain(&error))? {
        counting.take(&row.map_err(|error| go::chain(&error))?)?;
    }
    Ok(())
}

fn snap_file(path: &Path) -> Result<(), String> {
    let file = OsDisk.open_read(path).map_err(|error| go::io_text(&error))?;
    let mut bytes = vec![0; file.len().map_err(|error| go::io_text(&error))? as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|error| go::io_text(&error))?;
    let broken = || "it cannot be read; the member takes an older one".to_owned();
    let snapshot = snappb::Snapshot::decode(&bytes[..]).map_err(|_| broken())?;
    let found = crc32c::crc32c(snapshot.data());
    let expected = snapshot.crc();
    if found == expected {
        Ok(())
    } else {
        Err(format!("checksum {found:08x}, not {expected:08x}"))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn compacted(small: &Small) -> i64 {
    let revision = |name: &'static [u8]| {
        let value = small.get(&(Bucket::Meta, Bytes::from_static(name)));
        value
            .and_then(|value| Revision::from_bytes(value))
            .map_or(-1, |(revision, _)| revision.main)
    };
    revision(names::SCHEDULED_COMPACT).max(revision(names::FINISHED_COMPACT))
}

fn kept(small: &Small) -> Kept {
    let of = |wanted: Bucket| small.iter().filter(move |((bucket, _), _)| *bucket == wanted);
    let keys = |bucket: Bucket| of(bucket).map(|((_, key), _)| text(key)).collect::<Vec<_>>();
    let get = |bucket: Bucket, key: &'static [u8]| small.get(&(bucket, Bytes::from_static(key)));
    Kept {
        storage_version: get(Bucket::Meta, names::STORAGE_VERSION)
            .map_or(String::new(), |v| text(v)),
        cluster_version: get(Bucket::Cluster, names::CLUSTER_VERSION)
            .map_or(String::new(), |v| text(v)),
        members: of(Bucket::Members)
            .map(|(_, value)| serde_json::from_slice(value).unwrap_or_else(|_| text(value).into()))
            .collect(),
        removed_members: keys(Bucket::MembersRemoved),
        leases: of(Bucket::Lease).count(),
        users: keys(Bucket::AuthUsers),
        roles: keys(Bucket::AuthRoles),
        auth_enabled: get(Bucket::Auth, b"authEnabled").is_some_and(|value| value[..] != [0]),
        alarms: of(Bucket::Alarm).count(),
        ..Kept::default()
    }
}
