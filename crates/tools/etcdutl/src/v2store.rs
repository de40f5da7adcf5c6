//! `check v2store`: whether clients of the v2 API have stored something, which etcd 3.6 and we do not start on.

use std::path::{Path, PathBuf};

use serde_json::json;
use takeover::Dirs;
use vfs::OsDisk;

use crate::cli::{Failure, Matches, print};
use crate::log;

pub fn run(matches: &Matches) -> Result<(), Failure> {
    let member = Path::new(matches.text("data-dir")).join("member");
    let wal = Some(matches.text("wal-dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let found = takeover::v2_content(&OsDisk, &Dirs::of(&member, wal.as_deref()));
    match found.map_err(|error| Failure::new(go::chain(&error)))? {
        None => {
            print("No custom content found in both v2store and WAL records.\n");
            Ok(())
        }
        Some(path) => {
            log::warn("clients of the v2 API have stored something", &[("path", json!(path))]);
            Err(Failure::new("detected custom content in v2store"))
        }
    }
}
