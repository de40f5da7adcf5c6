//! `inspect`: what a data directory holds, ours or that of a Go member, and whether all of it is whole.
//!
//! It reads everything and writes nothing: every checksum there is gets compared. A directory that a
//! member is using is refused, because it changes under the reader.

mod raft;
mod rows;
mod stores;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vfs::{Disk, Lock, OsDisk};

use crate::cli::{Failure, Matches, print};
use crate::files;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    data_dir: String,
    /// `holdfast` or `go`.
    format: &'static str,
    healthy: bool,
    log: Option<raft::Log>,
    store: Option<stores::Kept>,
    checks: Vec<Checked>,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Checked {
    what: String,
    ok: bool,
    detail: String,
}

/// Everything that was looked at.
#[derive(Default)]
struct Checks(Vec<Checked>);

impl Checks {
    /// Notes how a look went, with a remark if there is one.
    fn add(&mut self, what: &str, result: Result<Option<String>, String>) {
        let ok = result.is_ok();
        let detail = result.map_or_else(|wrong| wrong, |remark| remark.unwrap_or_default());
        self.0.push(Checked { what: what.to_owned(), ok, detail });
    }

    /// Notes whether it went well and gives on what it found.
    fn note<T>(&mut self, what: &str, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(found) => {
                self.add(what, Ok(None));
                Some(found)
            }
            Err(wrong) => {
                self.add(what, Err(wrong));
                None
            }
        }
    }
}

/// Whether to answer in JSON.
pub(crate) fn wants_json(matches: &Matches) -> Result<bool, Failure> {
    match matches.text("write-out") {
        "json" => Ok(true),
        "simple" => Ok(false),
        other => {
            let message = match other {
                "fields" | "table" | "protobuf" => {
                    format!("{other} not supported as output format")
                }
                _ => "unsupported output format".to_owned(),
            };
            Err(Failure { code: Failure::BAD_FORMAT, message })
        }
    }
}

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let json = wants_json(matches)?;
    let data_dir = &matches.arguments[0];
    let is_go = kind(data_dir)?;
    let _locks = lock(data_dir, is_go)?;
    let report = report(data_dir, wal_dir(matches), is_go);
    if json {
        let text = serde_json::to_string(&report).expect("numbers and text always serialize");
        print(&(text + "\n"));
    } else {
        print(&shown(&report));
    }
    if report.healthy {
        return Ok(());
    }
    let wrong = report.checks.iter().filter(|check| !check.ok).count();
    Err(Failure::new(format!("{wrong} of {} checks failed", report.checks.len())))
}

fn wal_dir(matches: &Matches) -> PathBuf {
    match matches.text("wal-dir") {
        "" => files::log_dir(&matches.arguments[0]),
        dir => dir.into(),
    }
}

/// Whether the directory is a Go member's.
fn kind(data_dir: &str) -> Result<bool, Failure> {
    let there = |path: &Path| OsDisk.exists(path);
    let found = there(Path::new(data_dir)).and_then(|found| {
        let (ours, go) = (there(&files::store_dir(data_dir))?, there(&files::database(data_dir))?);
        Ok((found, ours, go))
    });
    match found {
        // Of two forms the one that is further is current (see `takeover`).
        Ok((_, true, true)) => Ok(stores::is_behind(data_dir)),
        Ok((_, true, false)) => Ok(false),
        Ok((_, false, true)) => Ok(true),
        Ok((true, false, false)) => Err(Failure::new(format!(
            "{data_dir} is no data directory: it has neither member/store nor member/snap/db"
        ))),
        Ok((false, _, _)) => {
            Err(Failure::new(format!("stat {data_dir}: no such file or directory")))
        }
        Err(error) => Err(Failure::new(format!("stat {data_dir}: {}", go::io_text(&error)))),
    }
}

/// Keeps servers out. A file that is not there, or that may not be written, is not locked: nothing is
/// made here.
pub(crate) fn lock(data_dir: &str, is_go: bool) -> Result<Option<Box<dyn Lock>>, Failure> {
    let path = match is_go {
        true => files::database(data_dir),
        false => Path::new(data_dir).join("member").join("lock"),
    };
    if !OsDisk.exists(&path).unwrap_or(false) {
        return Ok(None);
    }
    match OsDisk.lock(&path) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(Failure::new(format!(
            "{data_dir} is in use: stop its member first, or take a snapshot of it and look at that"
        ))),
        Err(_) => Ok(None),
    }
}

fn report(data_dir: &str, wal_dir: PathBuf, is_go: bool) -> Report {
    let mut checks = Checks::default();
    let log = checks.note("log: every record", raft::read(&wal_dir));
    let store = match is_go {
        true => stores::go_etcd(data_dir, &mut checks),
        false => stores::ours(&files::store_dir(data_dir), &mut checks),
    };
    if let (Some(log), Some(store)) = (&log, &store) {
        let (last, applied, first) = (log.last_index, store.applied_index, log.snapshot_index);
        let together = if last < applied {
            Err(format!(
                "the store holds entries up to {applied}, the log ends at {last}: its end is lost"
            ))
        } else if applied < first && is_go {
            Err(format!("the log begins behind entry {first}, the database ends at {applied}"))
        } else {
            Ok(None)
        };
        checks.add("log and store belong together", together);
    }
    Report {
        data_dir: data_dir.to_owned(),
        format: if is_go { "go" } else { "holdfast" },
        healthy: checks.0.iter().all(|check| check.ok),
        log,
        store,
        checks: checks.0,
    }
}

fn shown(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<18} {value}");
    };
    line("data directory", &format!("{} ({})", report.data_dir, report.format));
    if let Some(log) = &report.log {
        line("member", &format!("{:x} of cluster {:x}", log.member_id, log.cluster_id));
        line("term, vote, commit", &format!("{}, {:x}, {}", log.term, log.vote, log.commit));
        let (index, term) = (log.snapshot_index, log.snapshot_term);
        line("log", &format!("entries {index} (term {term}) to {}", log.last_index));
        line("log files", &format!("{}, {}", log.segments, go::size(log.bytes)));
    }
    if let Some(store) = &report.store {
        let (index, term) = (store.applied_index, store.applied_term);
        line("applied", &format!("entry {index}, term {term}"));
        let compacted = store.rows.compact_revision;
        let revision = store.rows.revision;
        line("revision", &format!("{revision}, compacted to {compacted}"));
        let (keys, rows, dead) = (store.rows.keys, store.rows.rows, store.rows.tombstones);
        let bytes = go::size(store.rows.bytes);
        line("keys", &format!("{keys} in {rows} rows ({dead} deletions), {bytes}"));
        line("store files", &go::size(store.file_bytes));
        if let Some(scrubbed) = &store.scrubbed {
            line("last found whole", scrubbed);
        }
        line(
            "versions",
            &format!("storage {}, cluster {}", store.storage_version, store.cluster_version),
        );
        line("leases", &store.leases.to_string());
        line("alarms", &store.alarms.to_string());
        let enabled = if store.auth_enabled { "on" } else { "off" };
        let (users, roles) = (store.users.len(), store.roles.len());
        line("authentication", &format!("{enabled}, {users} users, {roles} roles"));
    }
    details(report, &mut out);
    out
}

fn details(report: &Report, out: &mut String) {
    if let Some(store) = &report.store {
        *out += "\nmembers\n";
        for member in &store.members {
            let _ = writeln!(out, "  {member}");
        }
        for id in &store.removed_members {
            let _ = writeln!(out, "  {id} (removed)");
        }
        *out += "\nlargest prefixes\n";
        for prefix in &store.rows.prefixes {
            let (rows, bytes) = (prefix.rows, go::size(prefix.bytes));
            let _ = writeln!(out, "  {bytes:>8} {rows:>10} rows  {}", go::quote(&prefix.prefix));
        }
    }
    if let Some(log) = &report.log {
        *out += "\nlast entries\n";
        for entry in &log.last_entries {
            let _ = writeln!(out, "  {:>10} term {}: {}", entry.index, entry.term, entry.what);
        }
    }
    *out += "\nchecks\n";
    for check in &report.checks {
        let mark = if check.ok { "ok" } else { "BAD" };
        let colon = if check.detail.is_empty() { "" } else { ": " };
        let _ = writeln!(out, "  {mark:<4} {}{colon}{}", check.what, check.detail);
    }
}
