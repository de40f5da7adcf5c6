//! The three kinds of metric: a counter, a gauge, a histogram.
//!
//! Each is a handful of atomics. Whoever counts holds the metric itself and touches no lock and no map:
//! one relaxed addition for a counter or gauge, three for a histogram. Relaxed is enough because a
//! metric orders nothing; a reader may see a histogram's count one observation ahead of its sum.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::text::Text;

/// What every metric can do: be made, and be written in the exposition format.
pub trait Metric: Send + Sync {
    /// The word after `# TYPE`.
    const TYPE: &'static str;
    /// What must be known to make one (a histogram's buckets).
    type Shape: Clone + Send + Sync;

    /// A metric that has seen nothing.
    fn new(shape: &Self::Shape) -> Self;
    /// Writes the sample lines; `labels` is the inside of the braces, or empty.
    fn write(&self, name: &str, labels: &str, out: &mut Text);
}

/// Something that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Counts several.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// What has been counted.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Counter {
    const TYPE: &'static str = "counter";
    type Shape = ();

    fn new((): &()) -> Counter {
        Counter::default()
    }

    fn write(&self, name: &str, labels: &str, out: &mut Text) {
        out.sample(name, labels, self.get() as f64);
    }
}

/// Something that moves both ways.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// It is now this.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// One fewer.
    pub fn dec(&self) {
        self.add(-1);
    }

    /// So many more; fewer, if negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Gauge {
    const TYPE: &'static str = "gauge";
    type Shape = ();

    fn new((): &()) -> Gauge {
        Gauge::default()
    }

    fn write(&self, name: &str, labels: &str, out: &mut Text) {
        out.sample(name, labels, self.get() as f64);
    }
}

/// The upper bounds of a histogram's buckets, ascending, without the last one (`+Inf`).
#[derive(Clone, Debug)]
pub struct Buckets(Vec<f64>);

impl Buckets {
    /// `count` bounds, the first one `start`, each twice the one before.
    pub fn doubling(start: f64, count: usize) -> Buckets {
        let next = |bound: &f64| Some(bound * 2.0);
        Buckets(std::iter::successors(Some(start), next).take(count).collect())
    }

    /// The bounds Prometheus libraries use unless told otherwise: 5 ms to 10 s.
    pub fn usual() -> Buckets {
        Buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
    }
}

/// How often values fell below each bound, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: Vec<f64>,
    /// How many fell into each bucket alone; one more than there are bounds. Summed up when written.
    counts: Vec<AtomicU64>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// Takes one value in, in the unit the metric's name ends in.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        // Nobody else's work depends on the sum, so a lost race is simply tried again.
        let _ = self
            .sum
            .fetch_update(Relaxed, Relaxed, |bits| Some((f64::from_bits(bits) + value).to_bits()));
    }

    /// Takes a duration in, for a metric in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl Metric for Histogram {
    const TYPE: &'static str = "histogram";
    type Shape = Buckets;

    fn new(shape: &Buckets) -> Histogram {
        assert!(shape.0.is_sorted(), "a histogram's bounds ascend");
        let counts = (0..=shape.0.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds: shape.0.clone(), counts, sum: AtomicU64::new(0f64.to_bits()) }
    }

    fn write(&self, name: &str, labels: &str, out: &mut Text) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let mut below = 0;
        for (bound, count) in bounds.zip(&self.counts) {
            below += count.load(Relaxed);
            let le = format!("{labels}{comma}le=\"{}\"", crate::text::go_float(bound));
            out.sample(&format!("{name}_bucket"), &le, below as f64);
        }
        let sum = f64::from_bits(self.sum.load(Relaxed));
        out.sample(&format!("{name}_sum"), labels, sum);
        out.sample(&format!("{name}_count"), labels, below as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(metric: &impl Metric) -> String {
        let mut out = Text::default();
        metric.write("m", "a=\"b\"", &mut out);
        out.finish()
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_that_bucket_and_counts_in_all_above() {
        let histogram = Histogram::new(&Buckets::doubling(1.0, 2));
        histogram.observe(1.0);
        histogram.observe(1.5);
        histogram.observe(9.0);
        assert_eq!(
            written(&histogram),
            "m_bucket{a=\"b\",le=\"1\"} 1\nm_bucket{a=\"b\",le=\"2\"} 2\n\
             m_bucket{a=\"b\",le=\"+Inf\"} 3\nm_sum{a=\"b\"} 11.5\nm_count{a=\"b\"} 3\n"
        );
    }

    #[test]
    fn a_gauge_goes_both_ways_and_a_counter_adds_up() {
        let gauge = Gauge::default();
        gauge.set(5);
        gauge.add(-7);
        gauge.inc();
        assert_eq!(written(&gauge), "m{a=\"b\"} -1\n");
        let counter = Counter::default();
        counter.inc();
        counter.add(2);
        assert_eq!(written(&counter), "m{a=\"b\"} 3\n");
    }
}
