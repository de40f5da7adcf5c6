//! What all rows together come to: how many, how large, and below which prefixes.

use std::collections::BTreeMap;

use mvcc::{Restore, RowMeta};
use serde::Serialize;
use types::Row;

/// Prefixes that are told apart; the rows of further ones count as [`OTHERS`].
const PREFIXES_MAX: usize = 10_000;
/// Prefixes that are shown.
const SHOWN_MAX: usize = 20;
const OTHERS: &str = "(others)";

/// The sum of all rows.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rows {
    pub revision: i64,
    /// -1 if never.
    pub compact_revision: i64,
    /// Keys that exist.
    pub keys: u64,
    /// Changes that are stored, deletions included.
    pub rows: u64,
    pub tombstones: u64,
    pub bytes: u64,
    /// The largest first.
    pub prefixes: Vec<Prefix>,
}

/// Everything below one prefix.
#[derive(Clone, Debug, Serialize)]
pub struct Prefix {
    pub prefix: String,
    pub rows: u64,
    pub bytes: u64,
}

/// Rows being summed up.
#[derive(Default)]
pub struct Counting {
    index: Restore,
    sum: Rows,
    prefixes: BTreeMap<Vec<u8>, (u64, u64)>,
}

impl Counting {
    /// Takes the next row. Says what is wrong with one that cannot follow.
    pub fn take(&mut self, row: &Row) -> Result<(), String> {
        let bytes = row.encoded.len() as u64;
        self.sum.rows += 1;
        self.sum.tombstones += u64::from(row.tombstone);
        self.sum.bytes += bytes;
        let prefix = prefix(row.key());
        let known = self.prefixes.contains_key(prefix) || self.prefixes.len() < PREFIXES_MAX;
        let prefix = if known { prefix } else { OTHERS.as_bytes() };
        let place = self.prefixes.entry(prefix.to_vec()).or_default();
        *place = (place.0 + 1, place.1 + bytes);
        self.index.row(RowMeta::from(row)).map_err(|error| error.to_string())
    }

    pub fn finish(self, compact_revision: i64) -> Rows {
        let index = self.index.finish(compact_revision);
        let mut prefixes: Vec<Prefix> = self
            .prefixes
            .into_iter()
            .map(|(prefix, (rows, bytes))| {
                let prefix = String::from_utf8_lossy(&prefix).into_owned();
                Prefix { prefix, rows, bytes }
            })
            .collect();
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.bytes));
        prefixes.truncate(SHOWN_MAX);
        Rows {
            revision: index.current_revision(),
            compact_revision: index.compact_revision(),
            keys: index.view().live_keys(),
            prefixes,
            ..self.sum
        }
    }
}

/// The first two parts of a key that is a path, so `/registry/pods/`; the first of any other.
fn prefix(key: &[u8]) -> &[u8] {
    let slashes = if key.first() == Some(&b'/') { 3 } else { 1 };
    let places = key.iter().enumerate().filter(|(_, letter)| **letter == b'/');
    let found: Vec<usize> = places.map(|(place, _)| place).take(slashes).collect();
    found.last().map_or(&[], |last| &key[..last + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_keys_of_one_kind_share() {
        for (key, expected) in [
            ("/registry/pods/default/web", "/registry/pods/"),
            ("/registry/pods", "/registry/"),
            ("/", "/"),
            ("jobs/7/state", "jobs/"),
            ("plain", ""),
            ("", ""),
        ] {
            assert_eq!(prefix(key.as_bytes()), expected.as_bytes(), "{key}");
        }
    }
}
