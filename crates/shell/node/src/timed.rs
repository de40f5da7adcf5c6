//! Durations by kind of request and success, with each histogram looked up once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use apply::Asked;
use metrics::Histogram;
use types::Entry;

/// Histograms already found. Belongs to one thread.
#[derive(Default)]
pub(crate) struct Timed {
    found: HashMap<(&'static str, bool), Arc<Histogram>>,
}

impl Timed {
    /// Takes a duration; `find` is asked the first time.
    pub(crate) fn observe(
        &mut self,
        kind: &'static str,
        success: bool,
        took: Duration,
        find: impl FnOnce(&'static str) -> Arc<Histogram>,
    ) {
        let told = if success { "true" } else { "false" };
        self.found.entry((kind, success)).or_insert_with(|| find(told)).observe_duration(took);
    }
}

/// A group of entries in a few words: the kinds of requests in it, and how many bytes.
pub(crate) fn describe(entries: &[Entry]) -> String {
    let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for entry in entries {
        let kind = Asked::decode(&entry.data).map_or("unknown", |asked| asked.request.name());
        *kinds.entry(kind).or_default() += 1;
    }
    let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind}:{count}")).collect();
    format!("entries:{} {} size:{bytes}", entries.len(), kinds.join(" "))
}
