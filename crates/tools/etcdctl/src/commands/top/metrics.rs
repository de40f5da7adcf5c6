//! Prometheus' text, as far as rates and quantiles need it.

use std::collections::BTreeMap;

/// Samples of one scrape, summed over their labels; buckets by their bound.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Metrics {
    /// Reads a scrape. What is not understood is not there.
    pub fn parse(text: &str) -> Metrics {
        let mut metrics = Metrics::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match (name.strip_suffix("_bucket"), bound(labels)) {
                (Some(name), Some(bound)) => {
                    let buckets = metrics.buckets.entry(name.to_owned()).or_default();
                    match buckets.iter_mut().find(|(known, _)| *known == bound) {
                        Some((_, count)) => *count += value,
                        None => buckets.push((bound, value)),
                    }
                }
                _ => *metrics.values.entry(name.to_owned()).or_default() += value,
            }
        }
        metrics
    }

    /// A value, if the member tells it.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    /// How much a counter grew since `before`.
    pub fn growth(&self, before: &Metrics, name: &str) -> Option<f64> {
        // A counter that fell was begun anew.
        Some((self.value(name)? - before.value(name)?).max(0.0))
    }

    /// What 99 of 100 observations since `before` did not exceed, in seconds.
    pub fn p99(&self, before: &Metrics, name: &str) -> Option<f64> {
        let (now, before) = (self.buckets.get(name)?, before.buckets.get(name)?);
        let old =
            |bound: f64| before.iter().find(|(known, _)| *known == bound).map_or(0.0, |b| b.1);
        let mut grown: Vec<(f64, f64)> =
            now.iter().map(|(bound, count)| (*bound, count - old(*bound))).collect();
        grown.sort_by(|one, other| one.0.total_cmp(&other.0));
        quantile(&grown, 0.99)
    }
}

/// The bound of a bucket.
fn bound(labels: &str) -> Option<f64> {
    let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
    if bound == "+Inf" { Some(f64::INFINITY) } else { bound.parse().ok() }
}

/// The quantile of cumulative buckets, taken for evenly filled.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let wanted = total * part;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted {
            let inside = (wanted - counted) / (count - counted).max(f64::EPSILON);
            let open = bound.is_infinite();
            return Some(if open { below } else { below + (bound - below) * inside });
        }
        (below, counted) = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP a\netcd_mvcc_put_total 10\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"0.2\"} 1\nh_bucket{le=\"+Inf\"} 1\n";
    const NOW: &str = "etcd_mvcc_put_total 40\nr{a=\"x y\"} 2\nr{a=\"z\"} 3\n\
                       h_bucket{op=\"a\",le=\"0.1\"} 51\nh_bucket{op=\"a\",le=\"0.2\"} 101\nh_bucket{op=\"a\",le=\"+Inf\"} 101\n";

    #[test]
    fn counters_are_summed_over_labels_and_grow_between_looks() {
        let (before, now) = (Metrics::parse(BEFORE), Metrics::parse(NOW));
        assert_eq!(now.growth(&before, "etcd_mvcc_put_total"), Some(30.0));
        assert_eq!(now.value("r"), Some(5.0));
        assert_eq!(now.growth(&before, "nothing"), None);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let (before, now) = (Metrics::parse(BEFORE), Metrics::parse(NOW));
        let p99 = now.p99(&before, "h").expect("there are observations");
        assert!((p99 - 0.198).abs() < 0.001, "{p99}");
        assert_eq!(now.p99(&now, "h"), None);
    }
}
