//! What an entry leads to outside the keyspace: facts that whoever runs the member acts upon.

use auth::TokenChange;
use lease::Lease;
use proto::raftpb;
use types::{LeaseId, Version};

/// Something that became true with an entry. One entry may make several true.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A leader's term began: this is its first entry.
    TermStarted,
    /// A configuration change is over: raft waits to hear of it.
    Configuration(Change),
    /// History below this revision is gone.
    Compacted {
        /// The compact revision.
        revision: i64,
    },
    /// The write was applied, but the store is above its quota: raise the alarm.
    QuotaExceeded,
    /// A lease began.
    LeaseGranted(Lease),
    /// A lease ended.
    LeaseRevoked(LeaseId),
    /// What is left of a lease was noted.
    LeaseCheckpointed(Lease),
    /// A node of the API v2's tree changed.
    V2(v2::Passed),
    /// Alarms changed.
    Alarms,
    /// Users or roles may have changed, or somebody logged in: what that means for tokens.
    Users(TokenChange),
    /// Members, what they say of themselves, or a downgrade changed.
    Membership,
    /// This member was removed from the cluster: it has no business here any more.
    Removed,
    /// The members agreed on a version.
    Version {
        /// What they had agreed on before, if they had.
        before: Option<Version>,
        /// What they agreed on now. Below `before`, the log must be marked here: what lies before was written by a
        /// newer release than may read it.
        now: Version,
    },
}

/// What became of a configuration change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It counts from this entry on.
    Made(Box<raftpb::ConfChange>),
    /// It was refused: nothing is different.
    Refused,
}
