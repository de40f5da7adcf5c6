//! `migrate`: a database of Go etcd made fit for another minor version.
//!
//! Between versions only the field `storageVersion` differs: 3.6 brought it, later ones change its
//! text (`docs/etcd/bbolt-and-backend.md` 7). Going down is refused when the log holds what the older
//! version cannot read.

use std::fmt;

use bolt::{Backend, names};
use prost::Message;
use proto::etcdserverpb::InternalRaftRequest;
use serde_json::json;
use types::EntryKind;
use vfs::{Disk, OsDisk};
use wal::{Marker, Wal};

use crate::cli::{Failure, Matches};
use crate::rewrite::{File, Rewrite};
use crate::{files, handover, log, rewrite};

/// A minor release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: i64,
    minor: i64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}

const V3_5: Version = Version { major: 3, minor: 5 };
const V3_6: Version = Version { major: 3, minor: 6 };
/// The newest schema that is known.
const NEWEST: Version = Version { major: 3, minor: 7 };

impl Version {
    fn short(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Reads what the user typed.
    fn target(typed: &str) -> Result<Version, String> {
        let wrong =
            || format!("wrong target version format, expected \"X.Y\", got {}", go::quote(typed));
        let (major, minor) = typed.split_once('.').ok_or_else(wrong)?;
        if minor.contains('.') {
            return Err(wrong());
        }
        let number = |part| {
            go::number::parse_int(part, 10)
                .map_err(|why| format!("failed to parse target version: {why}"))
        };
        let version = Version { major: number(major)?, minor: number(minor)? };
        if version < V3_5 {
            let short = go::quote(version.short());
            return Err(format!("target version {short} not supported. Minimal \"3.5\""));
        }
        Ok(version)
    }

    /// Reads the text in a database or in the log.
    fn stored(text: &str) -> Option<Version> {
        let mut parts = text.split('.');
        let version =
            Version { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? };
        Some(version)
    }
}

pub fn run(matches: &Matches) -> Result<(), Failure> {
    match matches.text("target-format") {
        "" => storage_version(matches),
        "holdfast" => handover::take(matches),
        "go" => handover::back(matches),
        other => {
            let other = go::quote(other);
            Err(Failure::bad_arguments(format!(
                "invalid --target-format {other}: must be holdfast or go"
            )))
        }
    }
}

/// What etcd's own `migrate` does.
fn storage_version(matches: &Matches) -> Result<(), Failure> {
    let target = Version::target(matches.text("target-version")).map_err(Failure::bad_arguments)?;
    let data_dir = matches.text("data-dir");
    let path = files::database(data_dir);
    if !OsDisk.exists(&path).unwrap_or(false)
        && OsDisk.exists(&files::store_dir(data_dir)).unwrap_or(false)
    {
        return Err(Failure::new(format!(
            "{data_dir} is a holdfast data directory: its server sets the storage version itself \
             (--target-format=go makes a Go etcd's of it)"
        )));
    }
    let locked = files::open_locked(&path, matches.duration("timeout"))?;
    let current = detect(&locked.backend)?;
    if current == target {
        let version = json!(current.short());
        log::info("storage version up-to-date", &[("storage-version", version)]);
        return Ok(());
    }
    let needed = needed_by_log(data_dir)?;
    let mut rewrite = rewrite::copy(&locked.backend);
    match steps(current, target, needed) {
        Ok(steps) => {
            set(&mut rewrite, target);
            rewrite::replace(&rewrite, &path)?;
            for step in steps {
                let version = json!(step.to_string());
                log::info("updated storage version", &[("new-storage-version", version)]);
            }
        }
        Err(why) if matches.truth("force") => {
            log::info("normal migrate failed, trying with force", &[("error", json!(why))]);
            set(&mut rewrite, target);
            rewrite::replace(&rewrite, &path)?;
            if target < V3_6 {
                log::warn("forcefully cleared storage version", &[]);
            } else {
                let version = json!(target.short());
                log::warn("forcefully set storage version", &[("storage-version", version)]);
            }
        }
        Err(why) => return Err(Failure::new(why)),
    }
    Ok(())
}

fn set(rewrite: &mut Rewrite, target: Version) {
    if target < V3_6 {
        rewrite.remove(names::META, names::STORAGE_VERSION);
    } else {
        rewrite.set(names::META, names::STORAGE_VERSION, target.to_string().as_bytes());
    }
}

fn detect(backend: &Backend<File>) -> Result<Version, Failure> {
    let failure = |error| Failure::new(go::chain(&error));
    if let Some(text) = backend.storage_version().map_err(failure)? {
        return Version::stored(&text).ok_or_else(|| {
            Failure::new(format!("storage version {} cannot be read", go::quote(&text)))
        });
    }
    match backend.term().map_err(failure)? {
        0 => Err(Failure::new("missing term information")),
        _ => Ok(V3_5),
    }
}

/// The versions to go through, or why they cannot be.
fn steps(
    current: Version,
    target: Version,
    needed: Option<Version>,
) -> Result<Vec<Version>, String> {
    if current.major != target.major {
        return Err(
            "cannot create migration plan: changing major storage version is not supported".into(),
        );
    }
    let highest = current.max(target);
    if NEWEST < highest {
        let unknown =
            if current < target { Version { minor: NEWEST.minor + 1, ..NEWEST } } else { highest };
        return Err(format!(
            "cannot create migration plan: version \"{unknown}\" is not supported"
        ));
    }
    if let Some(needed) = needed
        && target < current
        && target < needed
    {
        return Err(format!(
            "cannot downgrade storage, WAL contains newer entries, as the target version ({target}) is lower \
             than the version ({needed}) detected from WAL logs"
        ));
    }
    let up = current.minor + 1..=target.minor;
    let down = target.minor..=current.minor - 1;
    let major = current.major;
    Ok(up.chain(down.rev()).map(|minor| Version { major, minor }).collect())
}

/// The version the log's entries after its last snapshot ask for, as far as it is above 3.5.
///
/// Of all fields of a request only one is younger than 3.5, and it names a version itself.
fn needed_by_log(data_dir: &str) -> Result<Option<Version>, Failure> {
    let dir = files::log_dir(data_dir);
    let failure =
        |what: &str, error: wal::OpenError| Failure::new(format!("{what}: {}", go::chain(&error)));
    let markers = Wal::valid_markers(&OsDisk, &dir);
    // The misspelling is etcd's; scripts look for it.
    let markers = markers.map_err(|error| failure("failed to get the lastest snapshot", error))?;
    let last = markers.last().cloned().unwrap_or(Marker::default());
    let read = Wal::read(&OsDisk, &dir, &last);
    let read = read.map_err(|error| failure("failed to read wal", error))?;
    let normal = read.entries.iter().filter(|entry| entry.kind == EntryKind::Normal);
    let requests = normal.filter_map(|entry| InternalRaftRequest::decode(entry.data.clone()).ok());
    let tests = requests.filter_map(|request| request.downgrade_version_test);
    Ok(tests.map(|test| Version::stored(&test.ver).unwrap_or(V3_6).max(V3_6)).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn v(minor: i64) -> Version {
        Version { major: 3, minor }
    }

    #[test]
    fn a_target_that_is_no_version_is_refused_in_etcds_words() {
        for (typed, expected) in [
            ("3", "wrong target version format, expected \"X.Y\", got \"3\""),
            ("3.6.0", "wrong target version format, expected \"X.Y\", got \"3.6.0\""),
            ("3.4", "target version \"3.4\" not supported. Minimal \"3.5\""),
            (
                "a.b",
                "failed to parse target version: strconv.ParseInt: parsing \"a\": invalid syntax",
            ),
        ] {
            assert_eq!(Version::target(typed), Err(expected.to_owned()));
        }
    }

    #[test]
    fn versions_are_gone_through_one_by_one_and_no_further_than_known() {
        assert_eq!(steps(v(5), v(7), None), Ok(vec![v(6), v(7)]));
        assert_eq!(steps(v(7), v(5), None), Ok(vec![v(6), v(5)]));
        let refused = steps(v(6), v(8), None).expect_err("3.8 is unknown");
        assert!(refused.ends_with("version \"3.8.0\" is not supported"), "{refused}");
    }

    #[test]
    fn a_log_that_an_older_version_cannot_read_keeps_the_database_up() {
        assert!(steps(v(7), v(6), Some(v(7))).is_err());
        assert!(steps(v(7), v(6), Some(v(6))).is_ok());
        assert!(steps(v(6), v(7), Some(v(7))).is_ok());
    }
}
