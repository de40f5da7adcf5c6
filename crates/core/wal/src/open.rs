//! Start-up: making a log, finding out where one can be read from, opening it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::{Entry, HardState};
use vfs::{Disk, replace_durably};

use crate::error::{CreateError, OpenError};
use crate::frame::{RecordKind, put_record};
use crate::name::SegmentName;
use crate::reading::Places;
use crate::repair::open_tail;
use crate::replay::replay;
use crate::spare::{SPARE_NAME, Spare};
use crate::writer::{Start, Tail};
use crate::{Marker, Options, Recovered, Wal, wire};

impl Wal {
    /// Whether `dir` holds a log: whether a member was here before.
    ///
    /// # Errors
    /// The disk's.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        Ok(disk.exists(dir)? && !segments_in(disk, dir)?.is_empty())
    }

    /// Makes a log in `dir` that begins with a marker of the empty snapshot. It is there as a whole or
    /// not at all: it is built beside `dir` and renamed.
    ///
    /// # Errors
    /// [`CreateError`]; nothing that counts as a log is left behind.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, metadata: &[u8]) -> Result<Wal, CreateError> {
        Wal::create_with(disk, dir, metadata, Options::default())
    }

    /// [`Wal::create`] with other sizes.
    ///
    /// # Errors
    /// As [`Wal::create`].
    pub fn create_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        metadata: &[u8],
        options: Options,
    ) -> Result<Wal, CreateError> {
        Wal::create_begun(disk, dir, metadata, options, &HardState::default(), &[])
    }

    /// [`Wal::create_with`] for a log that holds something from its first moment on: entries, and the hard
    /// state that commits them. So whoever finds a log without entries knows that none were meant to be there.
    ///
    /// # Errors
    /// As [`Wal::create`].
    pub fn create_begun(
        disk: Arc<dyn Disk>,
        dir: &Path,
        metadata: &[u8],
        options: Options,
        hard_state: &HardState,
        entries: &[Entry],
    ) -> Result<Wal, CreateError> {
        let name = SegmentName { sequence: 0, index: 0 };
        let mut bytes = Vec::new();
        let mut checksum = 0;
        put_record(&mut bytes, &mut checksum, RecordKind::Crc, &[], &[]);
        put_record(&mut bytes, &mut checksum, RecordKind::Metadata, metadata, &[]);
        let mut marker = Vec::new();
        wire::put_marker(&mut marker, &Marker::default());
        put_record(&mut bytes, &mut checksum, RecordKind::Marker, &marker, &[]);
        put_beginning(&mut bytes, &mut checksum, hard_state, entries);

        build(&*disk, dir, name, &bytes)?;
        let path = dir.join(name.to_string());
        let fault = |attempt| move |path, source| CreateError::Io { attempt, path, source };
        let file = disk.open(&path).map_err(|source| fault("opening")(path.clone(), source))?;
        let lock = disk.lock(&path).map_err(|source| fault("locking")(path.clone(), source))?;
        let lock = lock.ok_or_else(|| CreateError::Locked { file: path.clone() })?;
        let position = bytes.len() as u64;
        Ok(Wal::start(Start {
            disk,
            dir: dir.to_owned(),
            options,
            metadata: metadata.to_vec().into(),
            hard_state: *hard_state,
            segments: vec![name],
            tail: Tail { path, file, _lock: lock, position, zeroed_to: position },
            checksum,
            last_index: entries.last().map_or(0, |entry| entry.index),
            // The first entries are applied at once, and never read back.
            places: Places::default(),
            markers: Vec::new(),
            spare: Spare::None,
        }))
    }

    /// The snapshots that the log in `dir` proves to be committed, oldest first: reading may begin
    /// behind any of them. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] when the log cannot be read.
    pub fn valid_markers(disk: &dyn Disk, dir: &Path) -> Result<Vec<Marker>, OpenError> {
        let segments = list(disk, dir)?;
        let read = replay(disk, dir, unbroken_end(&segments), None, false)?;
        Ok(read.valid_markers())
    }

    /// Reads the log in `dir` from a marker on. Changes nothing; a torn end is left out and not
    /// reported.
    ///
    /// # Errors
    /// [`OpenError`] when the log cannot be read from there.
    pub fn read(disk: &dyn Disk, dir: &Path, from: &Marker) -> Result<Recovered, OpenError> {
        let segments = list(disk, dir)?;
        let needed = segments_from(dir, &segments, from)?;
        let read = replay(disk, dir, needed, Some(from), false)?;
        let markers = read.valid_markers();
        Ok(Recovered {
            metadata: read.metadata.unwrap_or_default(),
            hard_state: read.hard_state,
            entries: read.entries,
            markers,
            repaired: None,
        })
    }

    /// Reads the log in `dir` from a marker on and makes it ready for appending. A torn end is cut off
    /// and reported.
    ///
    /// # Errors
    /// [`OpenError`] when the log cannot be read from there, or another process has it.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        from: &Marker,
    ) -> Result<(Wal, Recovered), OpenError> {
        Wal::open_with(disk, dir, from, Options::default())
    }

    /// [`Wal::open`] with other sizes.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        from: &Marker,
        options: Options,
    ) -> Result<(Wal, Recovered), OpenError> {
        let segments = list(&*disk, dir)?;
        let needed = segments_from(dir, &segments, from)?;
        let last = needed.last().expect("the segment that holds the marker is among them");
        let path = dir.join(last.to_string());
        // Before reading: the lock proves that nobody else is writing.
        let lock = disk.lock(&path).map_err(|source| fault("locking", &path, source))?;
        let lock = lock.ok_or_else(|| OpenError::Locked { file: path.clone() })?;
        let read = replay(&*disk, dir, needed, Some(from), options.commits_are_durable)?;
        let (file, repaired) = open_tail(&*disk, &path, &read)?;
        let spare = tidy(&*disk, dir)?;

        let markers = read.valid_markers();
        let metadata = read.metadata.unwrap_or_default();
        let wal = Wal::start(Start {
            disk,
            dir: dir.to_owned(),
            options,
            metadata: metadata.clone(),
            hard_state: read.hard_state,
            segments,
            tail: Tail { path, file, _lock: lock, position: read.end, zeroed_to: read.end },
            checksum: read.checksum,
            last_index: read.last_index,
            places: read.places,
            markers: read.markers.iter().map(|marker| marker.index).collect(),
            spare,
        });
        let hard_state = read.hard_state;
        let entries = read.entries;
        Ok((wal, Recovered { metadata, hard_state, entries, markers, repaired }))
    }
}

/// Entries, then the hard state, as an append has them.
fn put_beginning(
    bytes: &mut Vec<u8>,
    checksum: &mut u32,
    hard_state: &HardState,
    entries: &[Entry],
) {
    for (entry, index) in entries.iter().zip(1..) {
        assert!(wire::is_sound(entry), "raft numbers entries from term 1 and index 1");
        assert!(entry.index == index, "a log begins with its first entry");
        let mut head = Vec::new();
        wire::put_entry_head(&mut head, entry);
        put_record(bytes, checksum, RecordKind::Entry, &head, &entry.data);
    }
    if *hard_state != HardState::default() {
        let mut state = Vec::new();
        wire::put_hard_state(&mut state, hard_state);
        put_record(bytes, checksum, RecordKind::State, &state, &[]);
    }
}

/// Puts the first segment into place. `dir` may exist, empty: somebody's mount point, which cannot be
/// renamed to.
fn build(disk: &dyn Disk, dir: &Path, name: SegmentName, bytes: &[u8]) -> Result<(), CreateError> {
    let fault = |attempt, path: &Path| {
        let path = path.to_owned();
        move |source| CreateError::Io { attempt, path, source }
    };
    let in_place = disk.exists(dir).map_err(fault("looking for", dir))?;
    if in_place && !segments_in(disk, dir).map_err(fault("listing", dir))?.is_empty() {
        return Err(CreateError::Exists { dir: dir.to_owned() });
    }
    let site = if in_place { dir.to_owned() } else { building_site(dir) };
    disk.create_dir_all(&site).map_err(fault("making", &site))?;
    for left in disk.list(&site).map_err(fault("listing", &site))? {
        if !in_place || left == SPARE_NAME {
            disk.remove(&site.join(&left)).map_err(fault("removing", &site.join(left)))?;
        }
    }
    let (temporary, path) = (site.join(SPARE_NAME), site.join(name.to_string()));
    let file = disk.create(&temporary).map_err(fault("making", &temporary))?;
    file.write_all_at(bytes, 0).map_err(fault("writing", &temporary))?;
    file.sync_data().map_err(fault("syncing", &temporary))?;
    replace_durably(disk, &temporary, &path).map_err(fault("renaming to", &path))?;
    if !in_place {
        replace_durably(disk, &site, dir).map_err(fault("renaming to", dir))?;
    }
    Ok(())
}

/// `member/wal.tmp` for `member/wal`.
fn building_site(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Keeps an earlier run's spare and removes what else was being prepared, by us or by a Go member.
fn tidy(disk: &dyn Disk, dir: &Path) -> Result<Spare, OpenError> {
    let mut spare = Spare::None;
    for name in disk.list(dir).map_err(|source| fault("listing", dir, source))? {
        let path = dir.join(&name);
        if name == SPARE_NAME {
            spare = Spare::adopt(disk, dir).map_err(|source| fault("opening", &path, source))?;
        } else if name.ends_with(".tmp") {
            disk.remove(&path).map_err(|source| fault("removing", &path, source))?;
        }
    }
    Ok(spare)
}

fn segments_in(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<SegmentName>> {
    // Names sort as sequence numbers do.
    Ok(disk.list(dir)?.iter().filter_map(|name| SegmentName::parse(name)).collect())
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentName>, OpenError> {
    segments_in(disk, dir).map_err(|source| fault("listing", dir, source))
}

/// The segments to read from a marker on: from the last that begins at or before it.
fn segments_from<'a>(
    dir: &Path,
    segments: &'a [SegmentName],
    from: &Marker,
) -> Result<&'a [SegmentName], OpenError> {
    let first = segments.iter().rposition(|name| name.index <= from.index);
    let first =
        first.ok_or_else(|| OpenError::NoSegment { dir: dir.to_owned(), index: from.index })?;
    let needed = &segments[first..];
    let hole = needed.windows(2).find(|pair| pair[1].sequence != pair[0].sequence + 1);
    match hole {
        None => Ok(needed),
        Some(pair) => Err(OpenError::MissingSegment {
            file: dir.join(pair[1].to_string()),
            before: pair[0].to_string(),
        }),
    }
}

/// The last segments without a hole. What lies before a hole cannot be read from.
fn unbroken_end(segments: &[SegmentName]) -> &[SegmentName] {
    let hole = segments.windows(2).rposition(|pair| pair[1].sequence != pair[0].sequence + 1);
    &segments[hole.map_or(0, |before| before + 1)..]
}

fn fault(attempt: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { attempt, path: path.to_owned(), offset: 0, source }
}
