//! `hashkv`: one number for the history of all keys, to compare with a server's.

use std::path::Path;

use bolt::hash_kv;
use serde::Serialize;

use crate::cli::{Failure, Matches};
use crate::files;
use crate::output::{Format, Shown};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    hash: u32,
    hash_revision: i64,
    compact_revision: i64,
}

impl Shown for Shape {
    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HASH", self.hash.to_string()),
            ("HASH REVISION", self.hash_revision.to_string()),
            ("COMPACT REVISION", self.compact_revision.to_string()),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Hash", self.hash.to_string()),
            ("Hash revision", self.hash_revision.to_string()),
            ("Compact revision", self.compact_revision.to_string()),
        ]
    }
}

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let format = Format::of(matches)?;
    let path = Path::new(&matches.arguments[0]);
    let locked = files::open_locked(path, matches.duration("timeout"))?;
    let found = hash_kv(&locked.backend, matches.signed("rev"));
    let found = found.map_err(|error| Failure::new(go::chain(&error)))?;
    let bolt::HashKv { hash, hash_revision, compact_revision } = found;
    format.show(&Shape { hash, hash_revision, compact_revision });
    Ok(())
}
