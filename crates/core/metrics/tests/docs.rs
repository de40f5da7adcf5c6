//! The committed documentation is the one the table makes. `HOLDFAST_BLESS=1` writes it anew.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

use std::path::Path;

#[test]
fn the_documentation_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/metrics.md");
    let text = holdfast_metrics::documentation();
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(&path, &text).expect("writes");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/metrics.md is stale: run this test with HOLDFAST_BLESS=1");
}
