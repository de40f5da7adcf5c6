//! What came of a request: our words again, stored rows still encoded.
//!
//! The shell turns an answer into a response by adding the header's ids and splicing the rows in.

use std::fmt;
use std::sync::Arc;

use proto::authpb;
use proto::etcdserverpb as pb;
use types::{LeaseId, MemberId, Row};

/// The answer to an applied request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Nothing to say beyond that it is done.
    Done {
        /// The header's revision.
        revision: i64,
    },
    /// To a range.
    Range(RangeAnswer),
    /// To a put.
    Put(PutAnswer),
    /// To a delete.
    DeleteRange(DeleteAnswer),
    /// To a transaction.
    Txn(TxnAnswer),
    /// To a lease grant.
    LeaseGrant {
        /// The header's revision.
        revision: i64,
        /// The lease.
        id: LeaseId,
        /// Seconds it lives without a keep-alive: what was asked for, or the minimum.
        ttl: i64,
    },
    /// To an alarm request: the alarms it speaks of.
    Alarm {
        /// The header's revision.
        revision: i64,
        /// In the order of member and kind.
        alarms: Vec<pb::AlarmMember>,
    },
    /// To a request about users and roles.
    Auth {
        /// The header's revision.
        revision: i64,
        /// What it asked for.
        answer: AuthAnswer,
    },
    /// To a request of the API v2: what it read or did, or why it did not.
    V2(Box<V2Answer>),
    /// To a membership change.
    Members {
        /// All members afterwards, by id.
        members: Vec<pb::Member>,
        /// The member that was added or changed, if there is one.
        changed: MemberId,
    },
}

/// What came of a request of the API v2; nothing for a look at what has ended.
pub type V2Answer = Result<Option<Arc<v2::Event>>, v2::Error>;

/// To a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeAnswer {
    /// The header's revision.
    pub revision: i64,
    /// What was found, each with its wire form in `encoded`.
    pub rows: Vec<Row>,
    /// Whether the limit left rows out.
    pub more: bool,
    /// How many keys lie in the range.
    pub count: i64,
}

/// To a put.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutAnswer {
    /// The header's revision: the put's own.
    pub revision: i64,
    /// The key before, if asked for.
    pub previous: Option<Row>,
}

/// To a delete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteAnswer {
    /// The header's revision.
    pub revision: i64,
    /// How many keys are gone.
    pub deleted: i64,
    /// The keys before, if asked for.
    pub previous: Vec<Row>,
}

/// To a transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TxnAnswer {
    /// The header's revision; a nested transaction shows none.
    pub revision: i64,
    /// Whether all conditions held.
    pub succeeded: bool,
    /// One for each operation of the branch that ran.
    pub responses: Vec<OpAnswer>,
}

/// To one operation of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum OpAnswer {
    /// To a range.
    Range(RangeAnswer),
    /// To a put.
    Put(PutAnswer),
    /// To a delete.
    DeleteRange(DeleteAnswer),
    /// To a nested transaction.
    Txn(TxnAnswer),
}

/// To a request about users and roles.
#[derive(Clone, PartialEq)]
pub enum AuthAnswer {
    /// It is done.
    Done,
    /// Whether anybody is asked who he is, and the revision of users and roles.
    Status {
        /// Whether.
        enabled: bool,
        /// Counts the changes of users and roles.
        revision: u64,
    },
    /// Somebody is known.
    Authenticated {
        /// The simple token that stands for the user from now on.
        token: String,
        /// The revision of users and roles at which the user was known.
        auth_revision: u64,
    },
    /// Users, roles, or the roles of a user, in order.
    Names(Vec<String>),
    /// What a role allows.
    Permissions(Vec<authpb::Permission>),
}

impl fmt::Debug for AuthAnswer {
    /// Without the token: an answer that nobody expected ends up in an error's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthAnswer::Done => "Done",
            AuthAnswer::Status { .. } => "Status",
            AuthAnswer::Authenticated { .. } => "Authenticated",
            AuthAnswer::Names(_) => "Names",
            AuthAnswer::Permissions(_) => "Permissions",
        })
    }
}
