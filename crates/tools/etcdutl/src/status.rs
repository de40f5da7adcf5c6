//! `snapshot status`: what a snapshot holds, once all of it has been checked.

use std::path::Path;
use std::sync::Arc;

use bolt::{Backend, Status, StatusError};
use serde::Serialize;

use crate::cli::{Failure, Matches};
use crate::files;
use crate::output::{Format, Shown};
use crate::progress::Progress;
use crate::reading::Reading;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    hash: u32,
    revision: i64,
    total_key: u64,
    total_size: u64,
    version: String,
}

impl Shown for Shape {
    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HASH", format!("{:x}", self.hash)),
            ("REVISION", self.revision.to_string()),
            ("TOTAL KEYS", self.total_key.to_string()),
            ("TOTAL SIZE", go::size(self.total_size)),
            ("VERSION", self.version.clone()),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Hash", self.hash.to_string()),
            ("Revision", self.revision.to_string()),
            ("Keys", self.total_key.to_string()),
            ("Size", self.total_size.to_string()),
            ("Version", self.version.clone()),
        ]
    }
}

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let [path] = &matches.arguments[..] else {
        return Err(Failure::bad_arguments("snapshot status requires exactly one argument"));
    };
    let file = files::open(Path::new(path))?;
    let format = Format::of(matches)?;
    let file_bytes = file.len().unwrap_or(0);
    // Once through the pages, once through the rows.
    let progress = Arc::new(Progress::new("checking", file_bytes * 2));
    let status = Backend::open(Reading::of(&file, &progress))
        .map_err(|error| StatusError::Rows(error.into()));
    let status = status.and_then(|backend| bolt::status(&backend));
    let Status { hash, revision, total_key, total_size, version } = status.map_err(failure)?;
    drop(progress);
    format.show(&Shape { hash, revision, total_key, total_size, version });
    Ok(())
}

fn failure(error: StatusError) -> Failure {
    let mut message = go::chain(&error);
    if let StatusError::Integrity(check) = &error {
        for fault in &check.faults {
            message += &format!("\n{}", go::chain(fault));
        }
    }
    Failure::new(message)
}
