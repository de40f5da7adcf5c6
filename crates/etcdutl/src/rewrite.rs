//! A database written anew, with some rows changed on the way.
//!
//! bbolt changes a file in place, page by page, and a crash in between is its own story. We read the
//! old file, write a new one beside it, and exchange them: the old one is whole until the new one is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bolt::{Backend, Layout, ReadAt, Rows, Source, SourceError, write_file};
use bytes::Bytes;
use vfs::{Disk, OsDisk, replace_durably};

use crate::cli::Failure;
use crate::files::BULK;

/// A bucket's name and a key in it.
type Place = (Bytes, Bytes);

/// A database, and what is to be different in its copy.
#[derive(Clone, Debug)]
pub struct Rewrite<R> {
    backend: Backend<R>,
    /// New values; `None` drops the row.
    changes: BTreeMap<Place, Option<Bytes>>,
    /// Buckets of whose rows only the new ones stay.
    emptied: BTreeSet<Bytes>,
    /// Buckets that are there even if the old file has none of the name.
    ensured: BTreeSet<Bytes>,
}

impl<R: ReadAt + Send + 'static> Rewrite<R> {
    pub fn new(backend: &Backend<R>) -> Rewrite<R> {
        let backend = backend.clone();
        Rewrite {
            backend,
            changes: BTreeMap::new(),
            emptied: BTreeSet::new(),
            ensured: BTreeSet::new(),
        }
    }

    pub fn set(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) {
        self.change(bucket, key, Some(Bytes::copy_from_slice(value)));
    }

    pub fn remove(&mut self, bucket: &[u8], key: &[u8]) {
        self.change(bucket, key, None);
    }

    pub fn empty(&mut self, bucket: &[u8]) {
        self.emptied.insert(Bytes::copy_from_slice(bucket));
    }

    pub fn ensure(&mut self, bucket: &[u8]) {
        self.ensured.insert(Bytes::copy_from_slice(bucket));
    }

    fn change(&mut self, bucket: &[u8], key: &[u8], value: Option<Bytes>) {
        let place = (Bytes::copy_from_slice(bucket), Bytes::copy_from_slice(key));
        self.changes.insert(place, value);
    }

    /// The changes to one bucket, by key.
    fn changes_to(&self, bucket: &Bytes) -> BTreeMap<Bytes, Option<Bytes>> {
        let of_bucket = self.changes.iter().filter(|((name, _), _)| name == bucket);
        of_bucket.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}

impl<R: ReadAt + Send + 'static> Source for Rewrite<R> {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        let mut names: BTreeSet<Bytes> =
            Source::buckets(self.backend.bolt())?.into_iter().collect();
        names.extend(self.changes.keys().map(|(bucket, _)| bucket.clone()));
        names.extend(self.ensured.iter().cloned());
        Ok(names.into_iter().collect())
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        let changes = self.changes_to(bucket);
        let old: Rows = if self.emptied.contains(bucket) {
            Box::new(std::iter::empty())
        } else {
            Source::rows(self.backend.bolt(), bucket)
        };
        let mut old = old.peekable();
        let mut changes = changes.into_iter().peekable();
        Box::new(std::iter::from_fn(move || {
            loop {
                let change_is_next = match (old.peek(), changes.peek()) {
                    (Some(Ok((key, _))), Some((changed, _))) => changed <= key,
                    (None, Some(_)) => true,
                    (Some(Err(_)) | None, _) | (Some(Ok(_)), None) => false,
                };
                if !change_is_next {
                    return old.next();
                }
                let (key, value) = changes.next()?;
                old.next_if(|row| row.as_ref().is_ok_and(|(old, _)| *old == key));
                if let Some(value) = value {
                    return Some(Ok((key, value)));
                }
            }
        }))
    }
}

/// Writes a new database; there must be no file of that name.
pub fn write(source: &dyn Source, path: &Path) -> Result<(), Failure> {
    let failure = |error: &dyn std::error::Error| {
        Failure::new(format!("{}: {}", path.display(), go::chain(error)))
    };
    let file = BULK.create(path).map_err(|error| failure(&error))?;
    write_file(&*file, source, Layout::default()).map_err(|error| failure(&error))?;
    Ok(())
}

/// Writes a database anew and puts it in the place of the old one.
pub fn replace(source: &dyn Source, path: &Path) -> Result<(), Failure> {
    // Go deletes leftovers of this name when it starts.
    let beside = path.with_file_name("db.tmp.etcdutl");
    let failure = |error| Failure::new(format!("{}: {}", path.display(), go::io_text(&error)));
    if OsDisk.exists(&beside).map_err(failure)? {
        OsDisk.remove(&beside).map_err(failure)?;
    }
    let written = write(source, &beside);
    if written.is_err() {
        let _ = OsDisk.remove(&beside);
    }
    written?;
    replace_durably(&OsDisk, &beside, path).map_err(failure)
}

/// What a file of a database is to everybody here.
pub type File = Arc<dyn vfs::File>;
