//! A source whose rows are counted as they pass, so that somebody who waits can be told how far it is.

use std::fmt;
use std::sync::Arc;

use bolt::{Rows, Sizes, Source, SourceError};
use bytes::Bytes;

/// Bytes of rows between two calls.
const EVERY_BYTES: u64 = 8 << 20;

/// Who is told of so many bytes of rows that have passed.
#[derive(Clone)]
pub struct Told(Arc<dyn Fn(u64) + Send + Sync>);

impl Told {
    /// Whoever this is.
    pub fn by(tell: impl Fn(u64) + Send + Sync + 'static) -> Told {
        Told(Arc::new(tell))
    }

    /// Nobody.
    pub fn nobody() -> Told {
        Told::by(|_| {})
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// A source that tells.
pub(crate) struct Watched<S> {
    pub source: S,
    pub told: Told,
}

impl<S: Source> Source for Watched<S> {
    fn buckets(&self) -> Result<Vec<Bytes>, SourceError> {
        self.source.buckets()
    }

    fn sizes(&self, bucket: &Bytes) -> Sizes {
        self.source.sizes(bucket)
    }

    fn rows(&self, bucket: &Bytes) -> Rows {
        let told = self.told.clone();
        let (mut passed, mut said) = (0u64, 0);
        Box::new(self.source.rows(bucket).inspect(move |row| {
            if let Ok((key, value)) = row {
                passed += (key.len() + value.len()) as u64;
            }
            if said + EVERY_BYTES <= passed {
                (told.0)(passed);
                said = passed;
            }
        }))
    }
}
