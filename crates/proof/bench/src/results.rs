//! What was measured: for each measure and subject, one figure a round; and what is made of them.

use std::collections::BTreeMap;

/// All figures.
#[derive(Debug, Default)]
pub struct Results {
    figures: BTreeMap<(String, String), Vec<f64>>,
}

/// The middle of several rounds, and how far they lay apart.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// The middle of some figures.
pub fn summary(figures: &[f64]) -> Option<Summary> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    };
    Some(Summary { median, least, most })
}

/// The wait that so much of all waits (0..=1) did not exceed; they are in order.
pub fn percentile(sorted: &[u32], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).ceil() as usize;
    sorted.get(at).copied().unwrap_or(0).into()
}

impl Results {
    /// One more figure.
    pub fn add(&mut self, measure: &str, subject: &str, figure: f64) {
        eprintln!("  {subject:9} {measure:40} {figure:12.3}");
        self.figures.entry((measure.into(), subject.into())).or_default().push(figure);
    }

    /// The middle of a subject's rounds.
    pub fn of(&self, measure: &str, subject: &str) -> Option<Summary> {
        summary(self.figures.get(&(measure.to_string(), subject.to_string()))?)
    }

    /// How often the one has what the other has, round by round.
    pub fn ratio(&self, measure: &str, one: &str, other: &str) -> Option<Summary> {
        let rounds = |subject: &str| self.figures.get(&(measure.to_string(), subject.to_string()));
        let pairs = rounds(one)?.iter().zip(rounds(other)?);
        // A tick of the clock is the least that can be told from nothing.
        let ratios: Vec<f64> = pairs.map(|(one, other)| one / other.max(1e-9)).collect();
        summary(&ratios)
    }

    /// Rounds of a measure.
    pub fn rounds(&self, measure: &str, subject: &str) -> usize {
        self.figures.get(&(measure.to_string(), subject.to_string())).map_or(0, Vec::len)
    }

    /// Takes what [`Results::table`] wrote; lines that say something else are passed over.
    pub fn take(&mut self, table: &str) {
        for line in table.lines() {
            let mut columns = line.split('\t');
            let (Some(measure), Some(subject)) = (columns.next(), columns.next()) else { continue };
            let figures = columns.next().unwrap_or_default().split(' ');
            let figures: Vec<f64> = figures.filter_map(|word| word.parse().ok()).collect();
            if !figures.is_empty() {
                self.figures.entry((measure.into(), subject.into())).or_default().extend(figures);
            }
        }
    }

    /// Everything, one line a measure and subject: for other programs.
    pub fn table(&self) -> String {
        let mut out = String::from("measure\tsubject\tfigures of the rounds\n");
        for ((measure, subject), figures) in &self.figures {
            let figures: Vec<String> =
                figures.iter().map(|figure| format!("{figure:.4}")).collect();
            out.push_str(&format!("{measure}\t{subject}\t{}\n", figures.join(" ")));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_of_rounds_lies_between_the_two_in_the_middle() {
        let found = summary(&[4.0, 1.0, 3.0, 2.0]).expect("there are figures");
        assert_eq!((found.median, found.least, found.most), (2.5, 1.0, 4.0));
        assert!(summary(&[]).is_none());
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let mut results = Results::default();
        for (ours, theirs) in [(1.0, 2.0), (3.0, 3.0), (1.0, 4.0)] {
            results.add("cost", "us", ours);
            results.add("cost", "them", theirs);
        }
        let ratio = results.ratio("cost", "us", "them").expect("both were measured");
        assert_eq!((ratio.median, ratio.least, ratio.most), (0.5, 0.25, 1.0));
    }

    #[test]
    fn what_was_written_down_is_taken_up_again() {
        let mut before = Results::default();
        before.add("cost", "us", 1.5);
        let mut after = Results::default();
        after.take(&before.table());
        after.add("cost", "us", 2.5);
        assert_eq!(
            after.table(),
            "measure\tsubject\tfigures of the rounds\ncost\tus\t1.5000 2.5000\n"
        );
    }

    #[test]
    fn the_last_percentile_is_the_longest_wait() {
        let waits: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&waits, 1.0), 100.0);
        assert_eq!(percentile(&waits, 0.5), 51.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
