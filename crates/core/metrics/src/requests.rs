//! Requests by the API version their client names: a word of the client's own, so bounded in length and
//! number, and counted without making anything on the way.

use std::sync::{PoisonError, RwLock};

use crate::family::Family;
use crate::text::{Text, labels};
use crate::value::{Counter, Metric};

/// Versions that are counted apart. There are a dozen minor versions of etcd.
const VERSIONS_MAX: usize = 32;

/// The longest version that is counted by its name, in bytes.
const VERSION_BYTES_MAX: usize = 32;

/// What does not fit these bounds is counted as this.
const OTHER: &str = "other";

const LABELS: &[&str] = &["client_api_version", "type"];

/// Counts requests by version and by whether they are streams.
#[derive(Debug, Default)]
pub struct ClientRequests(RwLock<Vec<Version>>);

#[derive(Debug)]
struct Version {
    name: String,
    unary: Counter,
    stream: Counter,
}

impl Version {
    fn count(&self, is_unary: bool) {
        if is_unary { self.unary.inc() } else { self.stream.inc() }
    }
}

impl ClientRequests {
    /// Counts a request.
    pub fn count(&self, version: &str, is_unary: bool) {
        let fits = version.len() <= VERSION_BYTES_MAX;
        let name = if fits { version } else { OTHER };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = known.iter().find(|known| known.name == name) {
            return version.count(is_unary);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // The last place is for all others.
        let name = if known.len() + 1 < VERSIONS_MAX { name } else { OTHER };
        let place = known.iter().position(|known| known.name == name).unwrap_or_else(|| {
            let (unary, stream) = (Counter::default(), Counter::default());
            known.push(Version { name: name.to_owned(), unary, stream });
            known.len() - 1
        });
        known[place].count(is_unary);
    }
}

impl Family for ClientRequests {
    fn kind(&self) -> &'static str {
        Counter::TYPE
    }

    fn labels(&self) -> &'static [&'static str] {
        LABELS
    }

    fn write(&self, name: &str, out: &mut Text) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<&Version> = known.iter().collect();
        sorted.sort_by_key(|version| &version.name);
        for version in sorted {
            for (kind, counter) in [("stream", &version.stream), ("unary", &version.unary)] {
                if counter.get() > 0 {
                    let labels = labels(LABELS, &[version.name.as_str(), kind]);
                    Metric::write(counter, name, &labels, out);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(requests: &ClientRequests) -> String {
        let mut out = Text::default();
        requests.write("r", &mut out);
        out.finish()
    }

    #[test]
    fn requests_are_counted_by_version_and_kind() {
        let requests = ClientRequests::default();
        assert!(requests.is_empty());
        for is_unary in [true, true, false] {
            requests.count("3.6", is_unary);
        }
        let expected = "r{client_api_version=\"3.6\",type=\"stream\"} 1\n\
                        r{client_api_version=\"3.6\",type=\"unary\"} 2\n";
        assert_eq!(page(&requests), expected);
    }

    /// A client that names another version with each call makes no more than a page of them.
    #[test]
    fn versions_beyond_the_bound_are_counted_together() {
        let requests = ClientRequests::default();
        requests.count(&"9".repeat(16_000), true);
        for n in 0..1000 {
            requests.count(&format!("3.{n}"), true);
        }
        let page = page(&requests);
        assert_eq!(page.lines().count(), VERSIONS_MAX - 1);
        assert!(page.contains("client_api_version=\"other\",type=\"unary\"} 971\n"), "{page}");
        assert!(page.len() < 4096);
    }
}
