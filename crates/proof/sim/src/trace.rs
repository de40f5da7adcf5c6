//! What happened, line by line: the last lines to read, all of them as one number to compare.

use std::collections::VecDeque;

/// Lines kept for a reader.
const LINES_KEPT: usize = 400;

/// A run's trace.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    count: u64,
    /// Whether to print each line as it comes.
    pub(crate) shown: bool,
}

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), count: 0, shown: false }
    }

    /// Notes a line. Nothing in it may differ between two runs of one seed.
    pub(crate) fn note(&mut self, step: u64, now_ms: u64, text: &str) {
        let line = format!("{step:6} {:3}.{:03}s {text}", now_ms / 1000, now_ms % 1000);
        // FNV-1a.
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.shown {
            println!("{line}");
        }
        self.count += 1;
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let skipped = self.lines.len().saturating_sub(lines);
        let tail: Vec<&str> = self.lines.iter().skip(skipped).map(String::as_str).collect();
        format!("... {} lines before\n{}", self.count - tail.len() as u64, tail.join("\n"))
    }
}
