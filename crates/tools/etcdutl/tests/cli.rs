//! The command line as a user meets it: what is printed, and what the process ends with.

use crate::support::{Sandbox, snapshot_file};

#[test]
fn a_real_snapshot_is_shown_in_each_format() {
    let file = snapshot_file();
    let shown = |format: &str| {
        let sandbox = Sandbox::new();
        sandbox.succeed(&["snapshot", "status", &file, "-w", format])
    };
    assert_eq!(shown("simple"), "f45a32c0, 256, 51, 94 kB, 3.7.0\n");
    assert_eq!(
        shown("json"),
        "{\"hash\":4099551936,\"revision\":256,\"totalKey\":51,\"totalSize\":94208,\"version\":\"3.7.0\"}\n"
    );
    assert_eq!(
        shown("fields"),
        "\"Hash\" : 4099551936\n\"Revision\" : 256\n\"Keys\" : 51\n\"Size\" : 94208\n\"Version\" : 3.7.0\n"
    );
    let table = "\
┌──────────┬──────────┬────────────┬────────────┬─────────┐
│   HASH   │ REVISION │ TOTAL KEYS │ TOTAL SIZE │ VERSION │
├──────────┼──────────┼────────────┼────────────┼─────────┤
│ f45a32c0 │      256 │         51 │      94 kB │   3.7.0 │
└──────────┴──────────┴────────────┴────────────┴─────────┘
";
    assert_eq!(shown("table"), table);
}

#[test]
fn the_hash_of_a_history_is_shown_in_each_format() {
    let (sandbox, file) = (Sandbox::new(), snapshot_file());
    let shown = |words: &[&str]| sandbox.succeed(&[&["hashkv", &file], words].concat());
    assert_eq!(shown(&[]), "555031657, 256, 186\n");
    assert_eq!(shown(&["--rev", "187"]), "3666894434, 187, 186\n");
    assert_eq!(
        shown(&["-wjson"]),
        "{\"hash\":555031657,\"hashRevision\":256,\"compactRevision\":186}\n"
    );
    assert_eq!(
        shown(&["--write-out=fields"]),
        "\"Hash\" : 555031657\n\"Hash revision\" : 256\n\"Compact revision\" : 186\n"
    );
    let before = std::fs::read(&file).expect("the file lies beside the tests");
    shown(&[]);
    assert!(before == std::fs::read(&file).expect("still there"), "reading changes nothing");
}

#[track_caller]
fn check_refused(words: &[&str], code: i32, expected: &str) {
    let sandbox = Sandbox::new();
    let (found, _, errors) = sandbox.run(words);
    assert_eq!((found, errors.as_str()), (code, expected), "{words:?}");
}

#[test]
fn errors_have_etcds_words_and_exit_codes() {
    let file = snapshot_file();
    let exactly_one = "Error: snapshot status requires exactly one argument\n";
    check_refused(&["snapshot", "status"], 128, exactly_one);
    check_refused(
        &["snapshot", "restore"],
        128,
        "Error: snapshot restore requires exactly one argument\n",
    );
    check_refused(
        &["snapshot", "status", "nofile"],
        1,
        "Error: stat nofile: no such file or directory\n",
    );
    check_refused(
        &["-w", "xml", "snapshot", "status", &file],
        4,
        "Error: unsupported output format\n",
    );
    check_refused(
        &["-w", "protobuf", "hashkv", &file],
        4,
        "Error: protobuf not supported as output format\n",
    );
    check_refused(
        &["hashkv", &file, "--rev", "3"],
        1,
        "Error: mvcc: required revision has been compacted\n",
    );
    check_refused(
        &["hashkv", &file, "--rev", "300"],
        1,
        "Error: mvcc: required revision is a future revision\n",
    );
    check_refused(
        &["snapshot", "restore", &file, "--mark-compacted"],
        128,
        "Error: --mark-compacted required if --revision-bump > 0\n",
    );
    check_refused(
        &["migrate", "--data-dir", "x", "--target-version", "3.4"],
        128,
        "Error: target version \"3.4\" not supported. Minimal \"3.5\"\n",
    );
    check_refused(
        &["defrag", "--data-dir", "x"],
        1,
        "Error: Failed to defragment etcd data[x] (stat x/member/snap/db: no such file or directory)\n",
    );
    check_refused(
        &["bad"],
        1,
        "Error: unknown command \"bad\" for \"etcdutl\"\nRun 'etcdutl --help' for usage.\n\
         Error: unknown command \"bad\" for \"etcdutl\"\n",
    );
    check_refused(
        &["versoin"],
        1,
        "Error: unknown command \"versoin\" for \"etcdutl\"\n\nDid you mean this?\n\tversion\n\n\
         Run 'etcdutl --help' for usage.\n\
         Error: unknown command \"versoin\" for \"etcdutl\"\n\nDid you mean this?\n\tversion\n\n",
    );
}

#[test]
fn an_error_of_usage_shows_the_usage_between_two_copies_of_itself() {
    let sandbox = Sandbox::new();
    let (code, _, errors) = sandbox.run(&["--timeout", "5", "hashkv"]);
    let refused = "Error: invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\"\n";
    let usage = "Usage:\n  etcdutl hashkv <filename> [flags]\n";
    assert_eq!(code, 1);
    assert!(errors.starts_with(&format!("{refused}{usage}")), "{errors}");
    assert!(errors.ends_with(&format!("\n\n{refused}")), "{errors}");
}

#[test]
fn help_is_made_from_the_table_and_laid_out_as_etcds() {
    let sandbox = Sandbox::new();
    let expected = "\
Usage:
  etcdutl hashkv <filename> [flags]

Flags:
  -h, --help      help for hashkv
      --rev int   maximum revision to hash (default: latest revision)

Global Flags:
      --timeout duration   time to wait to obtain a file lock on db file, 0 to block indefinitely (default 10s)
  -w, --write-out string   set the output format (fields, json, protobuf, simple, table) (default \"simple\")
";
    for words in [&["hashkv", "-h"][..], &["help", "hashkv"], &["hash", "--help", "x", "y"]] {
        assert_eq!(sandbox.succeed(words), expected);
    }
}

#[test]
fn completion_offers_commands_flags_and_values_from_the_same_table() {
    let sandbox = Sandbox::new();
    let offered = |words: &[&str]| sandbox.succeed(&[&["__completeNoDesc"], words].concat());
    assert_eq!(offered(&["s"]), "salvage\nsnapshot\n:4\n");
    assert_eq!(offered(&["snapshot", ""]), "restore\nstatus\n:4\n");
    assert_eq!(offered(&["snapshot", "status", ""]), ":0\n");
    assert_eq!(offered(&["-w", "t"]), "fields\njson\nprotobuf\nsimple\ntable\n:0\n");
    assert_eq!(offered(&["-w", "json", "snapshot", "restore", "--data"]), "--data-dir\n:4\n");
    assert_eq!(offered(&["snapshot", "restore", "--target-format="]), "holdfast\ngo\n:0\n");
    assert_eq!(offered(&["defrag", "--data-dir", ""]), ":16\n");
    let described = sandbox.succeed(&["__complete", "snapshot", "s"]);
    assert_eq!(described, "status\tGets backend snapshot status of a given file\n:4\n");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = sandbox.succeed(&["completion", shell]);
        assert!(script.contains("etcdutl __complete"), "{shell}");
    }
}

#[test]
fn a_damaged_snapshot_is_refused_with_page_and_offset_and_restores_to_nothing() {
    let sandbox = Sandbox::new();
    // Many pages are free and may hold anything; this one is the first that is in use.
    let whole = std::fs::read(snapshot_file()).expect("the file lies beside the tests");
    let damage = |page: usize| {
        let mut bytes = whole.clone();
        bytes[page * 4096] ^= 1;
        let damaged = sandbox.write("damaged", &bytes);
        let (code, _, errors) = sandbox.run(&["snapshot", "status", &damaged]);
        (code == 1).then_some((page, damaged, errors))
    };
    let (page, damaged, errors) = (2..).find_map(damage).expect("some page is in use");
    let first = "Error: snapshot file integrity check failed. 1 errors found.\npage ";
    assert!(errors.starts_with(first), "{errors}");
    assert!(
        errors.contains(&format!("page {page} at byte {} is damaged", page * 4096)),
        "{errors}"
    );

    let (code, _, errors) = sandbox.run(&["snapshot", "restore", &damaged, "--data-dir", "new"]);
    assert_eq!(code, 1);
    assert!(errors.contains("Error: expected sha256 ["), "{errors}");
    assert!(!sandbox.path("new").exists(), "a retry must not be refused");

    for format in ["go", "holdfast"] {
        let restore = ["snapshot", "restore", &damaged, "--skip-hash-check", "--data-dir", "new"];
        let (code, _, errors) = sandbox.run(&[&restore[..], &["--target-format", format]].concat());
        assert_eq!(code, 1);
        assert!(errors.contains(&format!("page {page} at byte")), "{errors}");
        let file = snapshot_file();
        sandbox.succeed(&["snapshot", "restore", &file, "--data-dir", "new"]);
        std::fs::remove_dir_all(sandbox.path("new")).expect("it was just made");
    }
    let image = &std::fs::read(snapshot_file()).expect("it lies there")[..94_208];
    let image = sandbox.write("image", image);
    let (code, _, errors) = sandbox.run(&["snapshot", "restore", &image, "--data-dir", "new"]);
    assert_eq!(code, 1);
    let missing = "Error: snapshot missing hash but --skip-hash-check=false\n";
    assert!(errors.ends_with(missing), "{errors}");
    sandbox.succeed(&["snapshot", "restore", &image, "--data-dir", "new", "--skip-hash-check"]);
}
