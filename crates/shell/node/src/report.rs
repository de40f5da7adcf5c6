//! What a member has to tell its operator. The shell words it.

use std::path::PathBuf;
use std::time::Duration;

use consensus::Standing;
use types::{MemberId, Version};

/// Something an operator may want to read in the log.
#[derive(Debug)]
pub enum Event {
    /// A new data directory was begun.
    Bootstrapped {
        /// The member's id.
        member: MemberId,
        /// The cluster's id.
        cluster: u64,
    },
    /// An existing data directory was opened.
    Recovered {
        /// The member's id.
        member: MemberId,
        /// The cluster's id.
        cluster: u64,
        /// The last entry in the log.
        log_index: u64,
        /// The last entry whose changes the store holds.
        applied_index: u64,
        /// The store's revision.
        revision: i64,
    },
    /// A torn end of a file, never confirmed as synced, was cut off.
    Repaired {
        /// The file.
        file: PathBuf,
        /// Its length now.
        offset: u64,
    },
    /// Damage that cost nothing but time.
    Ignored {
        /// What was found where.
        what: String,
    },
    /// Another process holds the data directory; this one waits for it.
    Locked {
        /// The file that is locked.
        file: PathBuf,
    },
    /// Term, leader or role changed.
    Standing(Standing),
    /// The member's name and client URLs are known to the cluster.
    Published,
    /// The cluster's version changed.
    ClusterVersion(Version),
    /// An alarm was raised or cleared.
    Alarms(usize),
    /// A snapshot point was marked in the log.
    Marked {
        /// The last entry it covers.
        index: u64,
    },
    /// The state of another member's snapshot took the place of this one's.
    Installed {
        /// The last entry in it.
        index: u64,
    },
    /// This member was removed from its cluster. Whoever hears this stops it, a second later.
    Removed,
    /// A compaction's rows are all forgotten.
    Compacted {
        /// The compact revision.
        revision: i64,
    },
    /// Something in the store cannot be read. All else is served.
    Damaged {
        /// What was found where.
        what: String,
    },
    /// Housekeeping failed without harm to data; it is tried again.
    UpkeepFailed {
        /// What was tried.
        what: &'static str,
        /// What went wrong, with its causes.
        error: String,
    },
    /// The member cannot go on. Whoever hears this ends the process: a failed sync is never retried.
    Fatal {
        /// What was tried.
        what: &'static str,
        /// What went wrong, with its causes.
        error: String,
    },
}

/// A unary call and what it took.
#[derive(Clone, Debug)]
pub struct SlowCall {
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// Where it came from.
    pub remote: String,
    /// What was asked, without values.
    pub request: String,
    /// From the whole request to the answer.
    pub took: Duration,
    /// Bytes of the request.
    pub request_bytes: usize,
    /// Bytes of the answer; 0 for a refusal.
    pub response_bytes: usize,
}

/// How much a [`Line`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For finding a fault; look at [`Report::wants_debug`] before making one for each call.
    Debug,
    /// Good to know.
    Info,
    /// Something does not work.
    Warn,
    /// Something must be done by somebody.
    Error,
}

/// A line of the log that is worded where it arises: about certificates, connections and peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What happened: etcd's words, where etcd has some.
    pub text: &'static str,
    /// With whom, and why, under etcd's names.
    pub fields: Vec<(&'static str, go::Value)>,
}

/// Whoever listens. [`Event::Fatal`] must not return.
pub trait Report: Send + Sync + 'static {
    /// Takes an event.
    fn report(&self, event: Event);

    /// Something was applied or read, in this time. True when that is too long, and was said: `what`
    /// is asked only then.
    fn took(&self, _prefix: &'static str, _took: Duration, _what: &dyn Fn() -> String) -> bool {
        false
    }

    /// This member took its NOSPACE back: the store's size is well below the quota again.
    fn has_space_again(&self, _file_bytes: u64, _quota_bytes: u64) {}

    /// Something that is worded already.
    fn line(&self, _line: &Line) {}

    /// Whether lines of [`Level::Debug`] are kept.
    fn wants_debug(&self) -> bool {
        false
    }

    /// A call took longer than an operator wants.
    fn slow_call(&self, _call: &SlowCall) {}
}

/// Whether the cause of an error is that something in the store cannot be read.
pub(crate) fn is_damage(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| cause.downcast_ref().is_some_and(store::StoreError::is_damage))
}

/// An error and all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
