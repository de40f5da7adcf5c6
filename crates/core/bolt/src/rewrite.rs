//! Another source's rows, some of them changed on the way: how a database is written anew with other members, say.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::source::{RowSize, Rows, Sizes, Source, SourceError};

/// A bucket's name and a key in it.
type Place = (Bytes, Bytes);

/// A source, and what is to be different in its copy.
#[derive(Clone, Debug)]
pub struct Rewrite<S> {
    source: S,
    /// New values; `None` drops the row.
    changes: BTreeMap<Place, Option<Bytes>>,
    /// Buckets of whose rows only the new ones stay.
    emptied: BTreeSet<Bytes>,
    /// Buckets that are there even if the source has none of the name.
    ensured: BTreeSet<Bytes>,
}

impl<S: Source> Rewrite<S> {
    /// A copy without a difference yet.
    pub fn new(source: S) -> Rewrite<S> {
        Rewrite {
            source,
            changes: BTreeMap::new(),
            emptied: BTreeSet::new(),
            ensured: BTreeSet::new(),
        }
    }

    /// The copy has this value here.
    pub fn set(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) {
        self.change(bucket, key, Some(Bytes::copy_from_slice(value)));
    }

    /// The copy does not have this row.
    pub fn remove(&mut self, bucket: &[u8], key: &[u8]) {
        self.change(bucket, key, None);
    }

    /// Of this bucket the copy has only what is set here.
    pub fn empty(&mut self, bucket: &[u8]) {
        self.emptied.insert(Bytes::copy_from_slice(bucket));
    }

    /// The copy has this bucket, be it without rows.
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

impl<S: Source> Source for Rewrite<S> {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        let mut names: BTreeSet<Bytes> = self.source.buckets()?.into_iter().collect();
        names.extend(self.changes.keys().map(|(bucket, _)| bucket.clone()));
        names.extend(self.ensured.iter().cloned());
        Ok(names.into_iter().collect())
    }

    fn sizes(&self, bucket: &Bytes) -> Sizes {
        let is_changed = self.changes.keys().any(|(changed, _)| changed == bucket);
        if !is_changed && !self.emptied.contains(bucket) && !self.ensured.contains(bucket) {
            return self.source.sizes(bucket);
        }
        let size = |(key, value): (Bytes, Bytes)| RowSize {
            key_bytes: key.len(),
            value_bytes: value.len(),
        };
        Box::new(self.rows(bucket).map(move |row| row.map(size)))
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        let changes = self.changes_to(bucket);
        let old: Rows = if self.emptied.contains(bucket) {
            Box::new(std::iter::empty())
        } else {
            self.source.rows(bucket)
        };
        if changes.is_empty() {
            return old;
        }
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
