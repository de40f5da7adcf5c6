//! Long runs of one server, built for release, that write down what was seen.

use std::process::ExitCode;

use crate::{root, test};

/// A test with a real process that runs for as long as it is told to, and the page it fills.
struct Long {
    test: &'static str,
    /// The variables in which it is told the seconds, and where to write what it saw.
    seconds: &'static str,
    report: &'static str,
    page: &'static str,
    head: &'static str,
}

const ATTACKED: Long = Long {
    test: "soak::all_attacks_at_once",
    seconds: "HOLDFAST_SOAK",
    report: "HOLDFAST_SOAK_REPORT",
    page: "docs/bench/soak.md",
    head: "\
# All attacks at once

What `cargo xtask soak` saw last: every attack of `crates/proof/robust/tests/soak.rs` again and again beside one client that
puts a key every 50 ms, before that the same client alone. Attackers, putter and server share the machine's cores.

",
};

const ENDURED: Long = Long {
    test: "endure::whatever_goes_on_for_long",
    seconds: "HOLDFAST_ENDURE",
    report: "HOLDFAST_ENDURE_REPORT",
    page: "docs/bench/endure.md",
    head: "\
# A member that goes on for long

What `cargo xtask endure` saw last. One member whose quota is three fifths full of what lives; clients that overwrite and
delete, lose races, hold leases, read; snapshots, lists and watches that nobody reads; a compaction in each beat; in the
first half the process is killed or stopped now and then (`crates/proof/robust/tests/endure/`). Whatever is larger in the last
third than in the first, by more than stands here, makes the run fail; so does a refusal, and a key that is not as it was
written.

",
};

/// Minutes below which a long run shows nothing.
const ENDURED_MINUTES_MIN: u64 = 10;

/// Lets a server be attacked for so many minutes; `None` when that is no number.
pub fn attacked(minutes: &str) -> Option<ExitCode> {
    Some(run(&ATTACKED, minutes.parse().ok()?))
}

/// Lets a server go on for so many minutes; `None` when that is no number, or too small a one.
pub fn endured(minutes: &str) -> Option<ExitCode> {
    let minutes = minutes.parse().ok().filter(|minutes| ENDURED_MINUTES_MIN <= *minutes)?;
    Some(run(&ENDURED, minutes))
}

fn run(long: &Long, minutes: u64) -> ExitCode {
    if test::cargo(&["build", "--release", "--package", "etcd"], &[]) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    let seen = root().join("target").join("long-run.md");
    // What an earlier run saw is not what this one did.
    let _ = std::fs::remove_file(&seen);
    let variables =
        [(long.seconds, (60 * minutes).to_string()), (long.report, seen.display().to_string())];
    let arguments =
        ["test", "--package", "holdfast-robust", "--test", "main", "--", long.test, "--nocapture"];
    let outcome = test::cargo(&arguments, &variables);
    // A run that fails is worth reading, too.
    if let Ok(seen) = std::fs::read_to_string(seen) {
        let page = format!("{}{seen}", long.head);
        std::fs::write(root().join(long.page), page).expect("the page can be written");
    }
    outcome
}
