//! `docs/etcdutl.md` says what the program's table of commands says.

use std::path::Path;

#[test]
fn the_page_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/etcdutl.md");
    let wanted = etcdutl::page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/etcdutl.md is out of date; UPDATE=1 writes it anew");
}
