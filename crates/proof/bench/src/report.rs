//! The report: a table of ratios, written into `README.md` between two marks, and all figures as text.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::gates::{CLUSTER_ROWS, Gate, ROWS, Row, SECURED_ROWS};
use crate::results::{Results, Summary};
use crate::subject::Subject;

const BEGIN: &str = "<!-- measured: written by cargo xtask bench -->";
const END: &str = "<!-- end of what was measured -->";

/// Where a report goes, and what its rows are.
pub struct Page {
    /// The rows, in their order.
    pub rows: &'static [Row],
    /// The page, below `docs/bench/`.
    pub name: &'static str,
    /// All figures, beside it.
    pub table: &'static str,
}

/// One member.
pub const ALONE: Page = Page { rows: ROWS, name: "README.md", table: "results.tsv" };
/// One member that encrypts or asks for users.
pub const SECURED: Page = Page { rows: SECURED_ROWS, name: "secured.md", table: "secured.tsv" };
/// Three members.
pub const CLUSTER: Page = Page { rows: CLUSTER_ROWS, name: "cluster.md", table: "cluster.tsv" };

/// What a report is made of.
pub struct Report<'a> {
    /// Which report it is.
    pub page: &'static Page,
    /// The figures.
    pub results: &'a Results,
    /// Who was measured.
    pub subjects: &'a [Subject],
    /// How often.
    pub rounds: usize,
    /// How long it all took.
    pub took: Duration,
}

/// A figure with as many digits as it deserves.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => thousands(value),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn with_spread(summary: Option<Summary>) -> String {
    match summary {
        None => String::new(),
        Some(s) if s.least == s.most => figure(s.median),
        Some(s) => format!("{} ({}..{})", figure(s.median), figure(s.least), figure(s.most)),
    }
}

fn verdict(row: &Row, gate: Gate, results: &Results) -> String {
    let wanted = Row::wanted(gate, row.unit);
    match row.met(gate, results) {
        Some(true) => format!("{wanted} met"),
        Some(false) => format!("**{wanted} missed**"),
        None => wanted,
    }
}

impl Report<'_> {
    /// The measured part.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let minutes = self.took.as_secs_f64() / 60.0;
        writeln!(out, "{} rounds, {minutes:.0} minutes. {}\n", self.rounds, machine())
            .expect("text");
        for subject in self.subjects {
            writeln!(out, "- `{}`: {}", subject.name, subject.version).expect("text");
        }
        out.push_str("\nMedian of the rounds (least..most). The ratio is holdfast to etcd, taken round by round; `n` is how many\nrounds a row had when it had fewer.\n");
        let old = self.results.rounds("put 1000 rate", "etcd-3.4") > 0;
        let mut heading = None;
        for row in self.page.rows {
            if row.measure.is_empty() {
                heading = Some(row.label);
                continue;
            }
            if self.results.of(row.measure, "holdfast").is_none() {
                continue;
            }
            // A heading waits for the first of its rows that was measured.
            if let Some(heading) = heading.take() {
                let third = if old { " etcd 3.4 |" } else { "" };
                let line = if old { "---|" } else { "" };
                write!(
                    out,
                    "\n### {heading}\n\n\
                     | workload | unit | holdfast | etcd |{third} ratio | first gate | goal |\n\
                     |---|---|---|---|{line}---|---|---|\n"
                )
                .expect("text");
            }
            self.row(row, old, &mut out);
        }
        out
    }

    fn row(&self, row: &Row, old: bool, out: &mut String) {
        let own = with_spread(self.results.of(row.measure, "holdfast"));
        let etcd = with_spread(self.results.of(row.measure, "etcd"));
        let mut ratio = with_spread(self.results.ratio(row.measure, "holdfast", "etcd"));
        let rounds = self.results.rounds(row.measure, "holdfast");
        if rounds != self.rounds && !ratio.is_empty() {
            write!(ratio, " n={rounds}").expect("text");
        }
        let third = match self.results.of(row.measure, "etcd-3.4") {
            Some(found) if old => format!(" {} |", figure(found.median)),
            _ if old => " |".to_string(),
            _ => String::new(),
        };
        let gate = verdict(row, row.gate, self.results);
        let goal = verdict(row, row.goal, self.results);
        let (label, unit) = (row.label, row.unit);
        writeln!(out, "| {label} | {unit} | {own} | {etcd} |{third} {ratio} | {gate} | {goal} |")
            .expect("text");
    }

    /// Writes the report and the figures into a folder.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(self.page.name);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let (head, tail) = match (before.split_once(BEGIN), before.split_once(END)) {
            (Some((head, _)), Some((_, tail))) => (head.to_string(), tail.to_string()),
            _ => ("# Benchmark\n\n".to_string(), "\n".to_string()),
        };
        let text = format!("{head}{BEGIN}\n\n{}\n{END}{tail}", self.text());
        std::fs::write(path, text)?;
        std::fs::write(folder.join(self.page.table), self.results.table())
    }
}

/// The machine, in what of it matters.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |text| text.trim_start_matches(['\t', ' ', ':']));
    let release = read("/proc/sys/kernel/osrelease");
    let kernel: Vec<&str> = release.trim().split(['.', '-']).take(2).collect();
    let kib = read("/proc/meminfo");
    let kib = kib.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: f64 = kib.and_then(|t| t.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    let load = read("/proc/loadavg");
    let load = load.split(' ').nth(2).unwrap_or("?");
    format!(
        "{cores} cores ({model}), {:.0} GiB, Linux {}; servers and generators on the same cores; load of the last 15 minutes at the end: {load}.",
        kib / 1_048_576.0,
        kernel.join(".")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_or_their_thousands() {
        assert_eq!(figure(123_456.7), "123,457");
        assert_eq!(figure(999.4), "999");
        assert_eq!(figure(12.34), "12.3");
        assert_eq!(figure(0.256), "0.26");
    }
}
