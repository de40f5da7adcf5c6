//! `version`: which etcd this behaves as, and which holdfast it is.

use crate::cli::{Failure, Matches, print};

/// The etcd release whose behaviour we match.
const ETCD: &str = "3.7.1";
const API: &str = "3.7";

pub fn run(_: &Matches) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    print(&format!("etcdutl version: {ETCD}\nAPI version: {API}\nholdfast version: {own}\n"));
    Ok(())
}
