//! Users and roles as a story: `tests/scenarios/*.txt`, requests and what comes of them together.
//!
//! `HOLDFAST_BLESS=1` writes the files anew.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod play;

use std::path::Path;

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is part of the crate")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let written = std::fs::read_to_string(&file).expect("a text");
        let played = play::play(&written);
        if std::env::var_os("HOLDFAST_BLESS").is_some() {
            std::fs::write(&file, &played).expect("the file can be written");
            continue;
        }
        assert!(played == written, "{}:\n{played}", file.display());
    }
}
