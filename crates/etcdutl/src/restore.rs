//! `snapshot restore`: a new cluster from a snapshot (`reference/bbolt-and-backend.md` 9).
//!
//! Every member is restored from the same file with the same `--initial-cluster` and token: their ids,
//! their logs' first entries and so the cluster come out the same on each.
//!
//! The snapshot is checked before anything is written, the log is written last and appears at once:
//! a directory without one counts as new. What a failed attempt has written is removed again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bolt::{Backend, Digest, digest, names};
use prost::Message;
use proto::{raftpb, v2pb};
use serde_json::{Value, json};
use types::{Entry, EntryKind, HardState, Revision};
use vfs::{Disk, OsDisk, replace_durably};
use wal::{Marker, Wal};

use crate::bootstrap::{Cluster, Said};
use crate::cli::{Failure, Matches};
use crate::target::{Content, TERM, TargetFormat};
use crate::{files, go, log};

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
    let backend = open_snapshot(&places.snapshot, matches.truth("skip-hash-check"))?;
    let bumped_to = if mark { Some(bumped(&backend, bump)?) } else { None };
    let content = Content { backend, cluster, bumped_to };
    let written = write(&content, format, &places);
    if written.is_err() {
        remove_leftovers(&places.data_dir.join("member"));
        remove_leftovers(&places.wal_dir.with_extension("restoring"));
    }
    written?;
    log::info("restored snapshot", &places.fields(matches));
    Ok(())
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
    let exists = |path: &Path| {
        let failure = |error| Failure::new(format!("{}: {}", path.display(), go::system(&error)));
        OsDisk.exists(path).map_err(failure)
    };
    let quoted = |path: &Path| go::quoted(&path.display().to_string());
    if exists(&places.data_dir)? && !is_empty(&places.data_dir) {
        let dir = quoted(&places.data_dir);
        return Err(Failure::new(format!("data-dir {dir} not empty or could not be read")));
    }
    if exists(&places.wal_dir)? {
        return Err(Failure::new(format!("wal-dir {} exists", quoted(&places.wal_dir))));
    }
    Ok(())
}

/// Opens the snapshot and compares it with its digest.
fn open_snapshot(
    path: &Path,
    skip_hash_check: bool,
) -> Result<Backend<Arc<dyn vfs::File>>, Failure> {
    let shown = path.display();
    let opened = OsDisk.open_read(path);
    let file =
        opened.map_err(|error| Failure::new(format!("open {shown}: {}", go::system(&error))))?;
    if !skip_hash_check {
        let found = digest(&file);
        let found =
            found.map_err(|error| Failure::new(format!("read {shown}: {}", go::system(&error))))?;
        match found {
            Digest::Matches => {}
            Digest::Missing => {
                return Err(Failure::new("snapshot missing hash but --skip-hash-check=false"));
            }
            Digest::Differs { expected, found } => {
                let (expected, found) = (numbers(&expected), numbers(&found));
                return Err(Failure::new(format!("expected sha256 {expected}, got {found}")));
            }
        }
    }
    Backend::open(file).map_err(|error| Failure::new(format!("{shown}: {}", go::chain(&error))))
}

/// Bytes as Go prints a list of them.
fn numbers(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

/// The revision that all earlier ones are to look compacted at.
fn bumped(backend: &Backend<Arc<dyn vfs::File>>, by: u64) -> Result<i64, Failure> {
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

fn write(content: &Content, format: TargetFormat, places: &Places) -> Result<(), Failure> {
    let member_dir = places.data_dir.join("member");
    let failure =
        |error| Failure::new(format!("{}: {}", places.data_dir.display(), go::system(&error)));
    OsDisk.create_dir_all(&member_dir).map_err(failure)?;
    format.write_store(content, &member_dir)?;
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
    write_log(content, &places.wal_dir)
}

/// Writes the log a new cluster begins with, beside its place, and moves it there.
fn write_log(content: &Content, dir: &Path) -> Result<(), Failure> {
    let failure = |error: &dyn std::error::Error| Failure::new(go::chain(error));
    let beside = dir.with_extension("restoring");
    let metadata = v2pb::Metadata {
        node_id: Some(content.cluster.local),
        cluster_id: Some(content.cluster.id),
    };
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    disk.create_dir_all(vfs::parent(dir)).map_err(|error| failure(&error))?;
    let log = Wal::create(disk, &beside, &metadata.encode_to_vec());
    let mut log = log.map_err(|error| failure(&error))?;
    let hard_state =
        HardState { term: TERM, vote: content.cluster.members[0].id, commit: content.index() };
    let marker =
        Marker { index: content.index(), term: TERM, conf_state: Some(content.conf_state()) };
    log.append(Some(&hard_state), &entries(&content.cluster))
        .and_then(|()| log.append_marker(&marker))
        .and_then(|()| log.sync())
        .map_err(|error| failure(&error))?;
    drop(log);
    replace_durably(&OsDisk, &beside, dir).map_err(|error| failure(&error))
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

/// Whether a directory holds nothing, or only directories that hold nothing: what a failed attempt
/// leaves behind.
fn is_empty(dir: &Path) -> bool {
    OsDisk.list(dir).is_ok_and(|names| names.iter().all(|name| is_empty(&dir.join(name))))
}

/// Removes the files a failed attempt wrote. The directory was empty before, so all of it is ours.
fn remove_leftovers(dir: &Path) {
    for name in OsDisk.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        if OsDisk.remove(&path).is_err() {
            remove_leftovers(&path);
        }
    }
}
