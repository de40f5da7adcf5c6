//! What comes out of a member's turn: for clients, for other members, and for the judges.

use apply::{Answer, Asker};
use consensus::{Message, Standing};
use exchange::Image;
use lease::KeepAlive;
use member::LogWork;
use types::{Entry, HardState, Refusal};

/// What the world must know of.
pub(crate) enum Out {
    /// A proposal was decided.
    Decided { id: u64, result: Result<Answer, Refusal> },
    /// Reads may be served once this index is applied.
    ReadReady { tickets: Vec<u64>, index: u64 },
    /// Readers see another state now.
    Published,
    /// These entries are committed.
    Committed(Vec<Entry>),
    /// Everything up to this entry was applied and published.
    Applied(u64),
    /// For a watch stream.
    Response { stream: watch::StreamId, response: watch::Response },
    /// For other members.
    Send(Vec<Message>),
    /// A snapshot for another member.
    SendSnapshot { message: Box<Message>, image: Box<Image> },
    /// A keep-alive was answered.
    Kept { client: usize, asked: u64, kept: KeepAlive },
    /// Raft handed these entries to the log writer; the term of the one before them, if it is known.
    Written { before: Option<u64>, entries: Vec<Entry> },
    /// The log holds this, synced where that was asked for.
    Durable(Vec<Group>),
    /// Where the member stands.
    Standing(Standing),
    /// Housekeeping failed, and production would go on.
    UpkeepFailed(String),
    /// The store is clean.
    Defragmented,
    /// The member goes on with a snapshot at this entry.
    Installed(u64),
    /// The member was removed from its cluster.
    Removed,
}

/// What one group of raft's holds, in short.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<u64>,
    /// The last entry of it.
    pub(crate) last: Option<u64>,
}

impl Group {
    pub(crate) fn of(work: &LogWork) -> Option<Group> {
        let LogWork::Persist(persist) = work else { return None };
        Some(Group {
            hard_state: persist.hard_state,
            snapshot: persist.snapshot.as_ref().map(|point| point.index),
            last: persist.entries.last().map(|entry| entry.index),
        })
    }
}

/// Nobody in particular.
pub(crate) fn nobody() -> Asker {
    Asker::default()
}

/// The process must end, for this reason.
#[derive(Debug)]
pub(crate) struct Death(pub(crate) String);

/// A reason, with all its causes.
pub(crate) fn death(what: &str, error: &dyn std::error::Error) -> Death {
    Death(format!("{what}: {}", causes(error)))
}

/// An error with all its causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
