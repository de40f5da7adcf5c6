//! What was seen, as a page for people.

use std::fmt::Write as _;

use super::samples::Sample;
use super::verdict::Verdict;
use super::{Done, LIVE_PERCENT, Plan};

/// Rows of the table by time.
const ROWS: usize = 30;

/// The machine's load over the last one, five and fifteen minutes.
pub(super) fn load_of_machine() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(", ")
}

/// The whole page but its head.
pub(super) fn page(
    plan: Plan,
    samples: &[Sample],
    verdicts: &[Verdict],
    done: &Done,
    loads_before: &str,
) -> String {
    let lives = samples.last().map_or(0, |sample| sample.life) + 1;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut page = format!(
        "{} s, a beat of {:.0} s, a quota of {} MiB of which {LIVE_PERCENT} % live; {lives} processes, of which the last lived \
         for the second half. {cores} cores for server and clients together; load of the machine over 1, 5 and 15 minutes: \
         {loads_before} before, {} afterwards.\n\n",
        plan.duration.as_secs(),
        plan.beat.as_secs_f64(),
        plan.quota_bytes >> 20,
        load_of_machine(),
    );
    let counts: Vec<String> =
        done.counts.iter().map(|(what, how_many)| format!("{how_many} {what}")).collect();
    let _ = writeln!(page, "{}.\n", counts.join(", "));
    for is_one_life in [false, true] {
        page += if is_one_life {
            "## Within the last process\n\n"
        } else {
            "## Over the whole run\n\n"
        };
        page += "| | first third | last third | at most | |\n|---|--:|--:|--:|---|\n";
        for verdict in verdicts.iter().filter(|verdict| verdict.is_one_life == is_one_life) {
            let Verdict { name, first, last, last_max, .. } = verdict;
            let word = if verdict.holds() { "holds" } else { "**has risen**" };
            let _ = writeln!(page, "| {name} | {first:.1} | {last:.1} | {last_max:.1} | {word} |");
        }
        page += "\n";
    }
    page += "## By time\n\nMedians of the samples of each row; of the waits the median of medians, and the longest 95 %.\n\n";
    page += "| from s | process | disk MiB | store | in use | held | memory | files | threads | put ms | 95 % | get ms | 95 % |\n";
    page += "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for part in samples.chunks(samples.len().div_ceil(ROWS).max(1)) {
        page += &row(part);
    }
    page
}

fn row(samples: &[Sample]) -> String {
    let sorted = |of: &dyn Fn(&Sample) -> Option<f64>| {
        let mut values: Vec<f64> = samples.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |of: &dyn Fn(&Sample) -> Option<f64>| {
        let values = sorted(of);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let most = |of: &dyn Fn(&Sample) -> Option<f64>| sorted(of).last().copied().unwrap_or(f64::NAN);
    format!(
        "| {:.0} | {} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} |\n",
        samples[0].at.as_secs_f64(),
        samples[0].life + 1,
        median(&|s| Some(s.disk_mib)),
        median(&|s| Some(s.store_mib)),
        median(&|s| Some(s.in_use_mib)),
        median(&|s| Some(s.held_mib)),
        median(&|s| Some(s.memory_mib)),
        median(&|s| Some(s.files)),
        median(&|s| Some(s.threads)),
        median(&|s| s.put_median_ms),
        most(&|s| s.put_most_ms),
        median(&|s| s.get_median_ms),
        most(&|s| s.get_most_ms),
    )
}
