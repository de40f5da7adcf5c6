//! The committed documentation is the one the table makes. `HOLDFAST_BLESS=1` writes it anew.

use std::path::Path;
use std::process::Command;

#[test]
fn the_page_of_the_documentation_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/etcdctl.md");
    let made = Command::new(env!("CARGO_BIN_EXE_etcdctl")).arg("__markdown").output();
    let text = String::from_utf8(made.expect("it was built for this test").stdout).expect("text");
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(&path, &text).expect("writes");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/etcdctl.md is stale: run this test with HOLDFAST_BLESS=1");
}
