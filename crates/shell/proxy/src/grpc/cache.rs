//! Answers of ranges, kept for a moment: for serializable reads of callers who name no user.
//!
//! A serializable read may be answered from what a member knew a while ago. An entry here is at most
//! [`AGE_MAX`] old, so it is no older than what a member that lags a second would say, in what is stored as
//! in who may read. What a token's owner may see is never kept: rights are the server's to judge, each time.
//!
//! Always true: after a write through this proxy was answered, no entry holds what was there before it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use types::KeyRange;

/// How old an answer may be that is given again.
pub const AGE_MAX: Duration = Duration::from_secs(1);

/// Entries, as in etcd.
const ENTRIES_MAX: usize = 2048;

/// The longest answer that is kept, and all together, in bytes.
const ENTRY_BYTES_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 64 << 20;

/// The answers.
#[derive(Debug, Default)]
pub struct Cache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Bytes, Entry>,
    /// In the order of their making.
    order: VecDeque<(Bytes, u64)>,
    bytes: usize,
    /// Reads that were begun and will bring an answer.
    underway: HashMap<u64, Underway>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    range: KeyRange,
    frame: Bytes,
    made: Instant,
}

#[derive(Debug)]
struct Underway {
    range: KeyRange,
    /// Something in the range was written meanwhile.
    is_stale: bool,
}

/// A read whose answer may be kept.
#[derive(Debug)]
pub struct Reading<'a> {
    cache: &'a Cache,
    number: u64,
}

impl Cache {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nobody panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was answered to the same request, if that is not too old.
    pub fn get(&self, request: &Bytes, now: Instant) -> Option<Bytes> {
        let mut inner = self.inner();
        inner.drop_old(now);
        inner.entries.get(request).map(|entry| entry.frame.clone())
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.inner().entries.len()
    }

    /// A read of the range begins.
    pub fn begin(&self, range: KeyRange) -> Reading<'_> {
        let mut inner = self.inner();
        let number = inner.number();
        inner.underway.insert(number, Underway { range, is_stale: false });
        Reading { cache: self, number }
    }

    /// Something in the range was written, or may have been.
    pub fn written(&self, range: &KeyRange) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        for reading in inner.underway.values_mut() {
            reading.is_stale |= overlap(&reading.range, range);
        }
        let bytes = &mut inner.bytes;
        inner.entries.retain(|request, entry| {
            let stays = !overlap(&entry.range, range);
            if !stays {
                *bytes -= request.len() + entry.frame.len();
            }
            stays
        });
    }
}

impl Reading<'_> {
    /// The read was answered.
    pub fn end(self, request: Bytes, frame: &Bytes, now: Instant) {
        let mut inner = self.cache.inner();
        let Some(Underway { range, is_stale: false }) = inner.underway.remove(&self.number) else {
            return;
        };
        let bytes = request.len() + frame.len();
        if ENTRY_BYTES_MAX < bytes {
            return;
        }
        inner.remove(&request);
        inner.make_room(bytes, now);
        let number = inner.number();
        inner.bytes += bytes;
        inner.order.push_back((request.clone(), number));
        // A frame may be a slice of a much larger buffer.
        let (frame, request) = (Bytes::copy_from_slice(frame), Bytes::copy_from_slice(&request));
        inner.entries.insert(request, Entry { number, range, frame, made: now });
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.cache.inner().underway.remove(&self.number);
    }
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn remove(&mut self, request: &Bytes) {
        if let Some(entry) = self.entries.remove(request) {
            self.bytes -= request.len() + entry.frame.len();
        }
    }

    fn drop_first(&mut self) {
        let Some((request, number)) = self.order.pop_front() else { return };
        if self.entries.get(&request).is_some_and(|entry| entry.number == number) {
            self.remove(&request);
        }
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some((request, number)) = self.order.front() {
            let entry = self.entries.get(request).filter(|entry| entry.number == *number);
            if entry.is_some_and(|entry| now.saturating_duration_since(entry.made) < AGE_MAX) {
                return;
            }
            self.drop_first();
        }
    }

    fn make_room(&mut self, bytes: usize, now: Instant) {
        self.drop_old(now);
        while ENTRIES_MAX <= self.order.len() || BYTES_MAX < self.bytes + bytes {
            self.drop_first();
        }
    }
}

/// Whether a key can belong to both ranges. Says yes of an empty range that lies within the other.
pub fn overlap(one: &KeyRange, other: &KeyRange) -> bool {
    let reaches = |range: &KeyRange, key: &Bytes| !range.ends_before(key);
    reaches(one, other.start()) && reaches(other, one.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::from_wire(&key.into(), &end.into()).expect("a key")
    }

    fn keep(cache: &Cache, request: &'static str, range: KeyRange, now: Instant) {
        cache.begin(range).end(request.into(), &Bytes::from_static(b"answer"), now);
    }

    #[test]
    fn ranges_overlap_where_they_share_a_key() {
        for (other, expected) in [
            (range("b", ""), true),
            (range("a", ""), false),
            (range("d", ""), false),
            (range("a", "b"), false),
            (range("a", "c"), true),
            (range("c", "x"), true),
            (range("d", "\0"), false),
            (range("a", "\0"), true),
        ] {
            assert_eq!(overlap(&range("b", "d"), &other), expected, "{other:?}");
            assert_eq!(overlap(&other, &range("b", "d")), expected, "{other:?}");
        }
    }

    #[test]
    fn an_answer_is_given_again_until_it_is_too_old() {
        let (cache, now) = (Cache::default(), Instant::now());
        keep(&cache, "request", range("a", ""), now);
        let young = now + AGE_MAX - Duration::from_millis(1);
        assert!(cache.get(&"request".into(), young).is_some());
        assert!(cache.get(&"another".into(), young).is_none());
        assert!(cache.get(&"request".into(), now + AGE_MAX).is_none());
        assert_eq!((cache.len(), cache.inner().bytes), (0, 0));
    }

    #[test]
    fn a_write_drops_what_it_may_have_changed_also_what_is_still_coming() {
        let (cache, now) = (Cache::default(), Instant::now());
        keep(&cache, "one", range("a", ""), now);
        keep(&cache, "other", range("c", ""), now);
        let coming = cache.begin(range("a", "b"));
        cache.written(&range("a", ""));
        assert!(cache.get(&"one".into(), now).is_none());
        assert!(cache.get(&"other".into(), now).is_some());
        coming.end("coming".into(), &Bytes::from_static(b"old"), now);
        assert!(cache.get(&"coming".into(), now).is_none());
        drop(cache.begin(range("a", "")));
        assert!(cache.inner().underway.is_empty());
    }

    #[test]
    fn entries_and_bytes_are_bounded() {
        let (cache, now) = (Cache::default(), Instant::now());
        for number in 0..3000 {
            let frame = Bytes::from(vec![0; 60_000]);
            cache.begin(range("a", "")).end(format!("request {number}").into(), &frame, now);
        }
        assert!(cache.len() < ENTRIES_MAX && cache.inner().bytes <= BYTES_MAX);
        let large = Bytes::from(vec![0; ENTRY_BYTES_MAX]);
        cache.begin(range("a", "")).end("large".into(), &large, now);
        assert!(cache.get(&"large".into(), now).is_none());
    }
}
