//! How many connections a process has, over all its listeners, and how many files it may have open.
//!
//! Files and sockets are counted by the system against one limit, and a member that cannot open its next
//! log segment has to end. So the limit is raised as far as the system lets us, part of it is kept for
//! files, and connections get the rest: above it they wait in the kernel's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

/// Descriptors that connections leave for files: log segments, the store's, and what opens them.
const FILES_RESERVED: u64 = 512;

/// How many files this process may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The limit it was started with; `None` for no limit.
    pub before: Option<u64>,
    /// The limit now.
    pub now: Option<u64>,
}

impl Descriptors {
    /// Raises the soft limit to the hard one, as Go's runtime does. Where that is refused, it stays.
    pub fn raise() -> Descriptors {
        let Rlimit { current: before, maximum } = getrlimit(Resource::Nofile);
        if before != maximum {
            // A system that lies about its hard limit refuses; then what there is has to do.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        }
        Descriptors { before, now: getrlimit(Resource::Nofile).current }
    }

    /// How many of them connections may take, at most so many.
    pub fn for_connections(&self, connections_max: usize) -> usize {
        let Some(now) = self.now else { return connections_max };
        let left = now - FILES_RESERVED.min(now / 2);
        usize::try_from(left).map_or(connections_max, |left| left.min(connections_max))
    }
}

/// The connections of a process. Cheap to clone; servers that share one are bounded together.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Count>);

#[derive(Debug)]
struct Count {
    max: usize,
    open: AtomicUsize,
    fewer: Notify,
}

impl Connections {
    /// Room for so many.
    pub fn new(max: usize) -> Connections {
        Connections(Arc::new(Count { max, open: AtomicUsize::new(0), fewer: Notify::new() }))
    }

    /// How many there may be.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Waits until there is room for one more, whoever takes it then.
    pub(crate) async fn room(&self) {
        loop {
            let fewer = self.0.fewer.notified();
            if self.open() < self.0.max {
                return;
            }
            fewer.await;
        }
    }

    /// One more, until what is returned is dropped.
    pub(crate) fn count(&self) -> Counted {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Counted(self.0.clone())
    }
}

/// A connection that counts, wherever its socket is: also after it was upgraded.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Count>);

impl Drop for Counted {
    fn drop(&mut self) {
        let open = self.0.open.fetch_sub(1, Ordering::AcqRel);
        if self.0.max <= open {
            // Each acceptor that waits has a listener of its own.
            self.0.fewer.notify_waiters();
            self.0.fewer.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_part_of_the_limit() {
        let shared = |now| Descriptors { before: Some(1), now }.for_connections(100_000);
        assert_eq!(shared(None), 100_000);
        assert_eq!(shared(Some(1 << 20)), 100_000);
        assert_eq!(shared(Some(20_000)), 19_488);
        assert_eq!(shared(Some(256)), 128);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let raised = Descriptors::raise();
        assert_eq!(raised.now, getrlimit(Resource::Nofile).maximum);
        assert!(raised.before <= raised.now || raised.now.is_none());
    }
}
