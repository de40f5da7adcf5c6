//! `salvage`: a snapshot of what is whole of a data directory of ours that does not start any more, or of which parts
//! cannot be read; and an account of what is not.
//!
//! The directory is only read. The rows that can be had go into a store beside the output, and the snapshot is made of
//! that, as the server makes it. Where rows were lost, history before the last of them is closed by a compaction: nobody
//! can read it and take it for whole.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::{Applier, Config};
use bolt::{Layout, SnapshotStream, names};
use bytes::Bytes;
use exchange::Image;
use serde::Serialize;
use store::{Batch, Bucket, Salvaged, StateChange, Store, StoreError};
use types::{Revision, Row};
use vfs::{Disk, OsDisk, replace_durably};

use crate::cli::{Failure, Matches, print};
use crate::files::{self, BULK};
use crate::inspect;

/// Bytes of rows that go into the store at a time.
const BATCH_BYTES: usize = 1 << 20;
/// After so many the store is synced, which lets it forget what it keeps for the next sync.
const SYNC_BYTES: usize = 64 << 20;
/// Bytes of the snapshot written at a time.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    output: String,
    revision: i64,
    rows: u64,
    losses: u64,
    compacted_to: i64,
    lost: Vec<Lost>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lost {
    file: String,
    offset: u64,
    what: &'static str,
    revision: Option<String>,
    key: Option<String>,
}

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let json = inspect::wants_json(matches)?;
    let data_dir = &matches.arguments[0];
    let output = Path::new(matches.text("output"));
    let store_dir = files::store_dir(data_dir);
    if !OsDisk.exists(&store_dir).unwrap_or(false) {
        let text =
            format!("{data_dir} holds no store of this project's server: there is no member/store");
        return Err(Failure::new(text));
    }
    let _lock = inspect::lock(data_dir, false)?;
    if OsDisk.exists(output).unwrap_or(false) {
        return Err(Failure::new(format!("{} is there already", output.display())));
    }
    let report = salvage(&store_dir, output)?;
    if json {
        let text = serde_json::to_string(&report).expect("numbers and text always serialize");
        print(&(text + "\n"));
    } else {
        print(&shown(&report));
    }
    Ok(())
}

fn salvage(store_dir: &Path, output: &Path) -> Result<Report, Failure> {
    let workshop = Workshop::begin(output)?;
    let disk: Arc<dyn Disk> = Arc::new(BULK);
    let failure = |error: &dyn std::error::Error| Failure::new(go::chain(error));
    let options = store::Options { recent_bytes_max: 0, ..store::Options::default() };
    let (store, mut restored) =
        Store::open(disk, &workshop.0, options).map_err(|error| failure(&error))?;
    let mut filling =
        Filling { store, batch: Batch { term: 1, ..Batch::default() }, bytes: 0, unsynced: 0 };
    let found = store::salvage(Arc::new(OsDisk), store_dir, &mut |row| filling.row(row));
    let salvaged = found.map_err(|error| failure(&error))?;
    let (store, compacted) = filling.finish(&salvaged).map_err(|error| failure(&error))?;
    restored.applied_index = salvaged.applied_index;
    restored.applied_term = salvaged.applied_term;
    let state = store.state().clone();
    let applier = Applier::open(nobody(), store, &restored).map_err(|error| failure(&error))?;
    let revision = applier.revision();
    write(Image::new(applier.view(), state), output)?;
    let lost = salvaged.losses.iter().map(|loss| Lost {
        file: loss.damage.file.clone(),
        offset: loss.damage.offset,
        what: loss.damage.what,
        revision: loss.revision.map(|revision| revision.to_string()),
        key: loss.key.as_ref().map(go::quote),
    });
    Ok(Report {
        output: output.display().to_string(),
        revision,
        rows: salvaged.rows,
        losses: salvaged.losses_count,
        compacted_to: compacted,
        lost: lost.collect(),
    })
}

/// Whoever only reads is no member.
fn nobody() -> Config {
    Config {
        member: 0,
        quota_bytes: None,
        learners_max: 1,
        leases: lease::Options::new(1),
        persist_checkpoints: true,
        hashed_bytes_max: 0,
    }
}

/// Where the rows are gathered: a directory beside the output, gone in the end.
struct Workshop(PathBuf);

impl Workshop {
    fn begin(output: &Path) -> Result<Workshop, Failure> {
        let mut name = output.as_os_str().to_owned();
        name.push(".salvaging");
        let workshop = Workshop(name.into());
        let left = std::fs::remove_dir_all(&workshop.0);
        let there = left.is_ok() || !OsDisk.exists(&workshop.0).unwrap_or(true);
        let made = if there { OsDisk.create_dir_all(&workshop.0) } else { left };
        made.map_err(|error| {
            Failure::new(format!("mkdir {}: {}", workshop.0.display(), go::io_text(&error)))
        })?;
        Ok(workshop)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The store that takes what was found.
struct Filling {
    store: Store,
    batch: Batch,
    bytes: usize,
    unsynced: usize,
}

impl Filling {
    fn row(&mut self, row: Row) -> Result<(), StoreError> {
        self.bytes += row.encoded.len();
        self.batch.rows.push(row);
        if BATCH_BYTES <= self.bytes { self.put() } else { Ok(()) }
    }

    fn put(&mut self) -> Result<(), StoreError> {
        self.batch.index += 1;
        self.store.append(&self.batch);
        self.store.flush()?;
        self.batch.rows.clear();
        self.batch.state.clear();
        self.unsynced += std::mem::take(&mut self.bytes);
        if SYNC_BYTES <= self.unsynced {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.unsynced = 0;
        let synced = self.store.sync_handle()?.sync()?;
        self.store.synced(synced);
        Ok(())
    }

    /// Adds the small state, and the compaction that closes what has holes; says to which revision, or -1.
    fn finish(mut self, salvaged: &Salvaged) -> Result<(Store, i64), StoreError> {
        let compacted = match salvaged.newest_lost {
            0 => -1,
            lost => lost.max(known_compaction(salvaged)),
        };
        for bucket in Bucket::ALL {
            for (key, value) in salvaged.state.iter(bucket) {
                let (key, value) = (key.clone(), value.clone());
                self.batch.state.push(StateChange::Set { bucket, key, value });
            }
        }
        if 0 < compacted {
            let revision = Bytes::copy_from_slice(&Revision::first_of(compacted).to_bytes());
            for name in [names::SCHEDULED_COMPACT, names::FINISHED_COMPACT] {
                let (key, value) = (Bytes::from_static(name), revision.clone());
                self.batch.state.push(StateChange::Set { bucket: Bucket::Meta, key, value });
            }
        }
        self.put()?;
        self.sync()?;
        Ok((self.store, compacted))
    }
}

fn known_compaction(salvaged: &Salvaged) -> i64 {
    let revision = |name: &[u8]| {
        salvaged.state.get(Bucket::Meta, name).and_then(|value| Revision::from_bytes(value))
    };
    let known =
        [names::SCHEDULED_COMPACT, names::FINISHED_COMPACT].into_iter().filter_map(revision);
    known.map(|(revision, _)| revision.main).max().unwrap_or(-1)
}

/// Writes the snapshot, its digest behind it; it has its name when it is whole and on the disk.
fn write(image: Image, output: &Path) -> Result<(), Failure> {
    let mut unfinished = output.as_os_str().to_owned();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let written = write_to(image, &unfinished).and_then(|()| {
        let named = replace_durably(&OsDisk, &unfinished, output);
        named.map_err(|error| {
            Failure::new(format!("rename {}: {}", output.display(), go::io_text(&error)))
        })
    });
    written.inspect_err(|_| drop(OsDisk.remove(&unfinished)))
}

fn write_to(image: Image, path: &Path) -> Result<(), Failure> {
    let making = |error: bolt::WriteError| Failure::new(go::chain(&error));
    let writing = |error: std::io::Error| {
        Failure::new(format!("write {}: {}", path.display(), go::io_text(&error)))
    };
    let plan = bolt::plan(&image, Layout::default()).map_err(making)?;
    let mut stream = SnapshotStream::new(Box::new(image), plan).map_err(making)?;
    if OsDisk.exists(path).map_err(writing)? {
        OsDisk.remove(path).map_err(writing)?;
    }
    let file = OsDisk.create(path).map_err(writing)?;
    let mut offset = 0;
    while let Some(chunk) = stream.next_chunk(CHUNK_BYTES).map_err(making)? {
        file.write_all_at(&chunk, offset).map_err(writing)?;
        offset += chunk.len() as u64;
    }
    file.sync_data().map_err(writing)
}

fn shown(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<18} {value}");
    };
    line("snapshot", &report.output);
    line("revision", &report.revision.to_string());
    line("whole", &format!("{} rows", report.rows));
    if report.losses == 0 {
        line("lost", "nothing");
        return out;
    }
    line("lost", &format!("{} places", report.losses));
    if 0 < report.compacted_to {
        line(
            "compacted to",
            &format!("{}, because history before it has holes", report.compacted_to),
        );
    }
    out += "\nlost\n";
    for lost in &report.lost {
        let _ = write!(out, "  {} at byte {}: {}", lost.file, lost.offset, lost.what);
        if let Some(revision) = &lost.revision {
            let _ = write!(out, ", revision {revision}");
        }
        match &lost.key {
            Some(key) => drop(writeln!(out, ", key {key}: deleted in the snapshot")),
            None => out.push('\n'),
        }
    }
    let untold = report.losses - report.lost.len() as u64;
    if 0 < untold {
        let _ = writeln!(out, "  and {untold} more");
    }
    out
}
