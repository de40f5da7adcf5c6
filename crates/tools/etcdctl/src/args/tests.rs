use super::*;

fn typed(line: &str) -> Outcome {
    parse(line.split_whitespace().map(OsString::from).collect())
}

#[track_caller]
fn run(line: &str) -> (Does, Call) {
    match typed(line) {
        Outcome::Run(does, call) => (does, call),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn first_complaint(line: &str) -> String {
    match typed(line) {
        Outcome::Say { stderr, .. } => stderr.lines().next().unwrap_or_default().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn flags_stand_anywhere_and_a_double_dash_ends_them() {
    let (does, call) = run("-w json --endpoints=a,b get --endpoints c k --limit 0x10 -- --rev");
    assert_eq!(does, Does::Get);
    assert_eq!(call.args, ["k", "--rev"]);
    assert_eq!(call.values.texts("endpoints"), ["a", "b", "c"]);
    assert_eq!((call.values.text("write-out"), call.values.int("limit")), ("json", 16));
}

#[test]
fn the_start_of_a_commands_name_is_enough_if_no_other_starts_like_it() {
    assert_eq!(run("compact 5").0, Does::Compaction);
    assert_eq!(first_complaint("comp 5"), "Error: unknown command \"comp\" for \"etcdctl\"");
}

#[test]
fn what_is_wrong_with_a_flag_is_said_in_pflags_words() {
    assert_eq!(first_complaint("get --rev"), "Error: flag needs an argument: --rev");
    assert_eq!(first_complaint("get -w"), "Error: flag needs an argument: 'w' in -w");
    assert_eq!(first_complaint("get -xw"), "Error: unknown shorthand flag: 'x' in -xw");
    assert_eq!(first_complaint("get --=x"), "Error: bad flag syntax: --=x");
    assert_eq!(
        first_complaint("get -w x --rev=y"),
        "Error: invalid argument \"y\" for \"--rev\" flag: strconv.ParseInt: parsing \"y\": invalid syntax"
    );
}

#[test]
fn what_is_etcdutls_now_is_handed_on_to_it() {
    let (does, call) = run("-w table snapshot status a.db");
    assert_eq!(does, Does::HandOn("snapshot status"));
    assert_eq!(call.raw, ["-w", "table", "snapshot", "status", "a.db"]);
    assert_eq!(run("snapshot restore a --data-dir b").0, Does::HandOn("snapshot restore"));
    assert_eq!(run("defrag --data-dir b").0, Does::HandOn("defrag"));
    assert_eq!(run("defrag").0, Does::Defrag);
}

#[test]
fn a_mistyped_flag_gets_the_nearest_right_one() {
    let Outcome::Say { stderr, .. } = typed("get --limti 5") else { panic!("refused") };
    assert!(stderr.starts_with("Error: unknown flag: --limti\n\nDid you mean this?\n\t--limit\n"));
}
