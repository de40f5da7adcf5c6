//! `snapshot restore`: a new cluster from a snapshot (`docs/etcd/bbolt-and-backend.md` 9).
//!
//! Every member is restored from the same file with the same `--initial-cluster` and token: their ids,
//! their logs' first entries and so the cluster come out the same on each.
//!
//! Everything is built beside its place and gets its name at the end ([`Staging`]). What a failed attempt
//! has written is removed again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bolt::{Backend, Digest, digest, image_bytes, names};
use prost::Message;
use proto::{raftpb, v2pb};
use serde_json::{Value, json};
use types::{Entry, EntryKind, HardState, Revision};
use vfs::{Disk, OsDisk, replace_durably};
use wal::{Marker, Wal};

use crate::bootstrap::{Cluster, Said};
use crate::cli::{Failure, Matches};
use crate::progress::Progress;
use crate::reading::Reading;
use crate::rewrite::File;
use crate::staging::Staging;
use crate::target::{Content, TERM, TargetFormat};
use crate::{files, log};

/// Where everything goes.
struct Places {
    snapshot: PathBuf,
    data_dir: PathBuf,
    wal_dir: PathBuf,
}

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let [snapshot] = &matches.arguments[..] else {
        return Err(Failure::bad_arguments("snapshot restore requires exactly one argument"));
    };
    let (bump, mark) = (matches.unsigned("bump-revision"), matches.truth("mark-compacted"));
    if mark != (bump > 0) {
        return Err(Failure::bad_arguments("--mark-compacted required if --revision-bump > 0"));
    }
    let format = TargetFormat::parse(matches.text("target-format"))?;
    let said = Said {
        name: matches.text("name"),
        initial_cluster: matches.text("initial-cluster"),
        advertised: matches.text("initial-advertise-peer-urls"),
        token: matches.text("initial-cluster-token"),
    };
    let cluster = Cluster::new(said).map_err(Failure::new)?;
    let places = places(matches, snapshot);
    check_free(&places)?;
    log::info("restoring snapshot", &places.fields(matches));
    let bump = mark.then_some(bump);
    restore(&places, cluster, format, bump, matches.truth("skip-hash-check"))?;
    log::info("restored snapshot", &places.fields(matches));
    Ok(())
}

/// Compares the file with its digest and restores it, both at once: each takes a walk through gigabytes.
/// Nothing has its final name before both have ended well.
fn restore(
    places: &Places,
    cluster: Cluster,
    format: TargetFormat,
    bump: Option<u64>,
    skip_hash_check: bool,
) -> Result<(), Failure> {
    let file = open_snapshot(&places.snapshot)?;
    let file_bytes = file.len().map_err(|error| unreadable(&places.snapshot, &error))?;
    if !skip_hash_check && image_bytes(file_bytes) == file_bytes {
        return Err(Failure::new("snapshot missing hash but --skip-hash-check=false"));
    }
    let walks = if skip_hash_check { 1 } else { 2 };
    let progress = Arc::new(Progress::new("restoring", file_bytes * walks));
    let reading = || Reading::of(&file, &progress);
    let (staging, written) = std::thread::scope(|scope| {
        let checked = (!skip_hash_check).then(|| scope.spawn(|| check_digest(&reading(), places)));
        let staging = Staging::begin(&places.data_dir)?;
        let written = write(places, &staging, reading(), cluster, format, bump);
        // Whatever else may be wrong with a file that is not as it was saved, that comes first.
        if let Some(checked) = checked {
            checked.join().expect("it does not panic")?;
        }
        Ok::<_, Failure>((staging, written))
    })?;
    drop(progress);
    written?;
    if places.wal_dir != files::log_dir(&places.data_dir) {
        let beside = unfinished_log(places, &staging);
        let named = replace_durably(&OsDisk, &beside, &places.wal_dir);
        named.map_err(|error| {
            Failure::new(format!("rename {}: {}", places.wal_dir.display(), go::io_text(&error)))
        })?;
    }
    staging.finish()
}

impl Places {
    fn fields(&self, matches: &Matches) -> [(&'static str, Value); 5] {
        let text = |path: &Path| json!(path.display().to_string());
        [
            ("path", text(&self.snapshot)),
            ("wal-dir", text(&self.wal_dir)),
            ("data-dir", text(&self.data_dir)),
            ("snap-dir", text(&self.data_dir.join("member").join("snap"))),
            // Nothing is mapped into memory here; the flag is taken because scripts give it.
            ("initial-memory-map-size", json!(matches.unsigned("initial-memory-map-size"))),
        ]
    }
}

fn places(matches: &Matches, snapshot: &str) -> Places {
    let data_dir = match matches.text("data-dir") {
        "" => format!("{}.etcd", matches.text("name")),
        dir => dir.to_owned(),
    };
    let wal_dir = match matches.text("wal-dir") {
        "" => files::log_dir(&data_dir),
        dir => PathBuf::from(dir),
    };
    Places { snapshot: snapshot.into(), data_dir: data_dir.into(), wal_dir }
}

fn check_free(places: &Places) -> Result<(), Failure> {
    let quoted = |path: &Path| go::quote(path.display().to_string());
    if !Staging::is_free(&places.data_dir) {
        let dir = quoted(&places.data_dir);
        return Err(Failure::new(format!("data-dir {dir} not empty or could not be read")));
    }
    let exists = OsDisk.exists(&places.wal_dir);
    if exists.map_err(|error| {
        Failure::new(format!("stat {}: {}", places.wal_dir.display(), go::io_text(&error)))
    })? {
        return Err(Failure::new(format!("wal-dir {} exists", quoted(&places.wal_dir))));
    }
    Ok(())
}

fn open_snapshot(path: &Path) -> Result<File, Failure> {
    let opened = OsDisk.open_read(path);
    let file = opened.map_err(|error| {
        Failure::new(format!("open {}: {}", path.display(), go::io_text(&error)))
    })?;
    // A directory can be opened, and then not be read.
    file.read_at(&mut [0], 0).map_err(|error| unreadable(path, &error))?;
    Ok(file)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("read {}: {}", path.display(), go::io_text(error)))
}

fn check_digest(file: &File, places: &Places) -> Result<(), Failure> {
    match digest(file).map_err(|error| unreadable(&places.snapshot, &error))? {
        Digest::Matches => Ok(()),
        Digest::Missing => Err(Failure::new("snapshot missing hash but --skip-hash-check=false")),
        Digest::Differs { expected, found } => {
            let (expected, found) = (numbers(&expected), numbers(&found));
            Err(Failure::new(format!("expected sha256 {expected}, got {found}")))
        }
    }
}

/// Bytes as Go prints a list of them.
fn numbers(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

/// The revision that all earlier ones are to look compacted at.
fn bumped(backend: &Backend<File>, by: u64) -> Result<i64, Failure> {
    let failure = |error| Failure::new(go::chain(&error));
    let bucket = backend.bolt().bucket(names::KEY).map_err(failure)?;
    let last = bucket.map_or(Ok(None), |bucket| bucket.last()).map_err(failure)?;
    let latest = last.and_then(|(key, _)| Revision::from_bytes(&key));
    let latest = latest.map_or(0, |(revision, _)| revision.main);
    let bumped = i64::try_from(by).ok().and_then(|by| latest.checked_add(by));
    let bumped = bumped.ok_or_else(|| {
        Failure::new(format!("revision {latest} cannot be bumped by {by}: it has 63 bits"))
    })?;
    log::info(
        "bumping latest revision",
        &[
            ("latest-revision", json!(latest)),
            ("bump-amount", json!(by)),
            ("new-latest-revision", json!(bumped)),
        ],
    );
    log::info("marking revision compacted", &[("revision", json!(bumped))]);
    Ok(bumped)
}

fn write(
    places: &Places,
    staging: &Staging,
    file: File,
    cluster: Cluster,
    format: TargetFormat,
    bump: Option<u64>,
) -> Result<(), Failure> {
    let backend = Backend::open(file).map_err(|error| {
        Failure::new(format!("{}: {}", places.snapshot.display(), go::chain(&error)))
    })?;
    let bumped_to = bump.map(|bump| bumped(&backend, bump)).transpose()?;
    let content = Content { backend, cluster, bumped_to };
    log::info("Trimming membership information from the backend...", &[]);
    format.write_store(&content, &staging.dir())?;
    for member in &content.cluster.members {
        log::info(
            "added member",
            &[
                ("cluster-id", json!(format!("{:x}", content.cluster.id))),
                ("added-peer-id", json!(format!("{:x}", member.id))),
                ("added-peer-peer-urls", json!(member.peer_urls)),
            ],
        );
    }
    let log = unfinished_log(places, staging);
    let written = write_log(&content, &log);
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&log);
    }
    written
}

/// Where the log is built: with everything else, or beside its own place.
fn unfinished_log(places: &Places, staging: &Staging) -> PathBuf {
    if places.wal_dir == files::log_dir(&places.data_dir) {
        return staging.dir().join("wal");
    }
    let mut name = places.wal_dir.clone().into_os_string();
    name.push(".restoring");
    name.into()
}

/// Writes the log a new cluster begins with.
fn write_log(content: &Content, dir: &Path) -> Result<(), Failure> {
    let failure = |error: &dyn std::error::Error| Failure::new(go::chain(error));
    let metadata = v2pb::Metadata {
        node_id: Some(content.cluster.local),
        cluster_id: Some(content.cluster.id),
    };
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    disk.create_dir_all(vfs::parent(dir)).map_err(|error| failure(&error))?;
    let log = Wal::create(disk, dir, &metadata.encode_to_vec());
    let mut log = log.map_err(|error| failure(&error))?;
    let hard_state =
        HardState { term: TERM, vote: content.cluster.members[0].id, commit: content.index() };
    let marker =
        Marker { index: content.index(), term: TERM, conf_state: Some(content.conf_state()) };
    log.append(Some(&hard_state), &entries(&content.cluster))
        .and_then(|()| log.append_marker(&marker))
        .and_then(|()| log.sync())
        .map_err(|error| failure(&error))?;
    Ok(())
}

/// One entry for each member: that it was added.
fn entries(cluster: &Cluster) -> Vec<Entry> {
    let entry = |(index, member): (u64, &apply::Member)| {
        let context = serde_json::to_vec(member).expect("text and numbers always serialize");
        let change = raftpb::ConfChange {
            id: None,
            r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode as i32),
            node_id: Some(member.id),
            context: Some(context.into()),
        };
        let data = change.encode_to_vec().into();
        Entry { term: TERM, index, kind: EntryKind::ConfChange, data }
    };
    (1..).zip(&cluster.members).map(entry).collect()
}
