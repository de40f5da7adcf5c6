//! Where the rows of a file to be written come from.

use bytes::Bytes;

use crate::access::ReadAt;
use crate::reader::Bolt;

/// Why a source could not give its rows.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Rows of one bucket, strictly ascending by key.
pub type Rows = Box<dyn Iterator<Item = Result<(Bytes, Bytes), SourceError>> + Send>;

/// The same rows' sizes, in the same order.
pub type Sizes = Box<dyn Iterator<Item = Result<RowSize, SourceError>> + Send>;

/// How much room a row needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSize {
    /// Bytes of its key.
    pub key_bytes: usize,
    /// Bytes of its value.
    pub value_bytes: usize,
}

/// An immutable state that can be walked more than once and is the same each time.
pub trait Source: Send {
    /// The names of all buckets, strictly ascending.
    ///
    /// # Errors
    /// When the source itself cannot be read.
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError>;

    /// The rows of one of them.
    fn rows(&self, bucket: &Bytes) -> Rows;

    /// Their sizes. A source that knows them without reading the values should say so here: it
    /// makes [`plan`](crate::plan) cheap.
    fn sizes(&self, bucket: &Bytes) -> Sizes {
        let size = |(key, value): (Bytes, Bytes)| RowSize {
            key_bytes: key.len(),
            value_bytes: value.len(),
        };
        Box::new(self.rows(bucket).map(move |row| row.map(size)))
    }
}

/// A file is a source: writing it anew leaves its holes behind.
impl<R: ReadAt + Send + 'static> Source for Bolt<R> {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        let buckets = Bolt::buckets(self)?;
        Ok(buckets.iter().map(|bucket| bucket.name().clone()).collect())
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        let found = self.bucket(bucket);
        match found.and_then(|bucket| bucket.map(|bucket| bucket.rows()).transpose()) {
            Ok(rows) => Box::new(rows.into_iter().flatten().map(|row| row.map_err(Into::into))),
            Err(error) => Box::new(std::iter::once(Err(error.into()))),
        }
    }
}

/// A bucket's name for messages: etcd's are text.
pub(crate) fn shown(name: &Bytes) -> String {
    String::from_utf8_lossy(name).into_owned()
}
