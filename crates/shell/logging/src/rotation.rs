//! A log file that makes room: when it is full it is set aside under the time's name and a new one begins.
//!
//! `etcd.log` becomes `etcd-2026-11-21T11-20-54.358.log`, perhaps with `.gz`; old ones are removed by
//! number and age. Compressing and removing happen on a thread of their own, never under a log line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use options::Rotation;

use crate::clock::{Now, file_stamp};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The file being written.
pub(crate) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    now: Now,
    file: File,
    bytes: u64,
    tidying: Tidying,
}

/// One tidying at a time: two at once might compress one file into one file.
#[derive(Clone, Default)]
struct Tidying(Arc<Mutex<Wanted>>);

#[derive(Default)]
struct Wanted {
    running: bool,
    again: bool,
}

impl Tidying {
    /// Whether whoever asks shall begin; else whoever is at it goes over it again.
    fn begin(&self) -> bool {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = !wanted.running;
        wanted.again = !idle;
        wanted.running = true;
        idle
    }

    /// Whether it has to be gone over again.
    fn again(&self) -> bool {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.running = std::mem::take(&mut wanted.again);
        wanted.running
    }
}

impl RotatingFile {
    /// Opens the file to go on where it ended.
    pub fn open(path: &Path, rotation: Rotation, now: Now) -> io::Result<RotatingFile> {
        let file = open_file(path)?;
        let bytes = file.metadata()?.len();
        let tidying = Tidying::default();
        let opened = RotatingFile { path: path.to_owned(), rotation, now, file, bytes, tidying };
        opened.tidy_in_background();
        Ok(opened)
    }

    /// Appends a line, to a new file if it would not fit into this one.
    pub fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.rotation.file_bytes_max {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let aside = self.free_name();
        fs::rename(&self.path, aside)?;
        self.file = open_file(&self.path)?;
        self.bytes = 0;
        self.tidy_in_background();
        Ok(())
    }

    /// The first name by the time that is not taken, since two files may fill within a millisecond.
    fn free_name(&self) -> PathBuf {
        let mut time = (self.now)();
        loop {
            let stamp = file_stamp(time, self.rotation.local_time);
            let (stem, extension) = split_name(&self.path);
            let name = self.path.with_file_name(format!("{stem}-{stamp}{extension}"));
            if !name.exists() {
                return name;
            }
            time += Duration::from_millis(1);
        }
    }

    fn tidy_in_background(&self) {
        if !self.tidying.begin() {
            return;
        }
        let (path, rotation, now) = (self.path.clone(), self.rotation.clone(), self.now);
        let tidying = self.tidying.clone();
        let work = move || {
            loop {
                // What cannot be tidied now is looked at the next time.
                tidy(&path, &rotation, now()).unwrap_or_default();
                if !tidying.again() {
                    return;
                }
            }
        };
        // Without a thread the old files stay until the next time; the log itself goes on.
        if std::thread::Builder::new().name("log-rotation".into()).spawn(work).is_err() {
            self.tidying.again();
        }
    }
}

/// `etcd` and `.log` of `etcd.log`.
fn split_name(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|text| format!(".{}", text.to_string_lossy()));
    (stem, extension.unwrap_or_default())
}

/// Removes files that are too many or too old, and compresses the others if asked to.
fn tidy(path: &Path, rotation: &Rotation, now: SystemTime) -> io::Result<()> {
    let mut backups = backups(path)?;
    // Names hold the time, so the youngest come first.
    backups.sort_by(|left, right| right.cmp(left));
    let mut kept = Vec::new();
    for (place, backup) in backups.into_iter().enumerate() {
        let too_many = rotation.backups_max.is_some_and(|max| place >= max);
        if too_many || is_too_old(&backup, rotation, now) {
            fs::remove_file(backup)?;
        } else {
            kept.push(backup);
        }
    }
    if rotation.compress {
        for backup in kept.iter().filter(|path| path.extension().is_none_or(|end| end != "gz")) {
            compress(backup)?;
        }
    }
    Ok(())
}

fn backups(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (stem, extension) = split_name(path);
    let is_backup = |name: &str| {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let stamp =
            name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
        stamp.is_some_and(|stamp| stamp.len() == "2026-11-21T11-20-54.358".len())
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_backup(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn is_too_old(backup: &Path, rotation: &Rotation, now: SystemTime) -> bool {
    let Some(days) = rotation.days_max else { return false };
    let modified = fs::metadata(backup).and_then(|about| about.modified());
    let age = modified.ok().and_then(|time| now.duration_since(time).ok());
    age.is_some_and(|age| age > DAY * days)
}

fn compress(backup: &Path) -> io::Result<()> {
    let mut name = backup.as_os_str().to_owned();
    name.push(".gz");
    let compressed = PathBuf::from(name);
    let mut encoder = GzEncoder::new(File::create(&compressed)?, Compression::default());
    io::copy(&mut File::open(backup)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(backup)
}

/// Opens a log file to append to, readable by its owner's group as etcd leaves it.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400)
    }

    fn rotation(backups_max: Option<usize>, compress: bool) -> Rotation {
        Rotation { file_bytes_max: 10, days_max: None, backups_max, local_time: false, compress }
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder)
            .expect("it exists")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_set_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("etcd.log");
        let mut file = RotatingFile::open(&path, rotation(None, false), at_noon).expect("opens");
        for line in ["first\n", "second\n", "third\n", "x\n"] {
            file.write_all(line.as_bytes()).expect("writes");
        }
        assert_eq!(
            names(folder.path()),
            ["etcd-2026-11-21T12-00-00.000.log", "etcd-2026-11-21T12-00-00.001.log", "etcd.log"]
        );
        assert_eq!(fs::read_to_string(&path).expect("readable"), "third\nx\n");
        tidy(&path, &rotation(Some(1), false), at_noon()).expect("tidies");
        assert_eq!(names(folder.path()), ["etcd-2026-11-21T12-00-00.001.log", "etcd.log"]);
    }

    #[test]
    fn old_files_are_tidied_by_one_at_a_time_who_goes_over_them_again() {
        let tidying = Tidying::default();
        assert!(tidying.begin());
        assert!(!tidying.begin(), "somebody is at it");
        assert!(!tidying.begin());
        assert!(tidying.again(), "but looks again");
        assert!(!tidying.again(), "once");
        assert!(tidying.begin());
    }

    #[test]
    fn old_files_are_compressed_if_asked_and_other_files_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("etcd.log");
        fs::write(folder.path().join("etcd-2026-11-21T12-00-00.000.log"), "old").expect("writes");
        fs::write(folder.path().join("etcd-notes.log"), "mine").expect("writes");
        tidy(&path, &rotation(None, true), at_noon()).expect("tidies");
        assert_eq!(names(folder.path()), ["etcd-2026-11-21T12-00-00.000.log.gz", "etcd-notes.log"]);
    }
}
