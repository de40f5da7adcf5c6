//! What one client asked, when, and what it was told.

use std::fmt;

use bytes::Bytes;

/// When something happened. Only the order counts.
pub type Time = u64;

/// Some keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// The first key.
    pub first: Bytes,
    /// The key behind the last; `None` for the first key alone.
    pub end: Option<Bytes>,
}

impl Span {
    /// One key.
    pub fn one(key: &Bytes) -> Span {
        Span { first: key.clone(), end: None }
    }

    /// Whether a key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            None => self.first == key,
            Some(end) => self.first <= key && key < &end[..],
        }
    }
}

/// A key as a client sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision that created it.
    pub create_revision: i64,
    /// The revision that changed it last.
    pub mod_revision: i64,
    /// Changes since creation, from 1.
    pub version: i64,
    /// The lease it hangs on; 0 for none.
    pub lease: i64,
}

/// A condition of a transaction: the key's attribute is this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: Bytes,
    /// What must hold.
    pub target: Target,
}

/// What a condition looks at, and what it must find. A key that is not there has 0 and an empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The revision that changed it last.
    Mod(i64),
    /// Changes since creation.
    Version(i64),
    /// Its value.
    Value(Bytes),
}

/// Something done to keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give a key a value.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// The lease to hang it on; 0 for none.
        lease: i64,
        /// Whether to tell what was there before.
        previous: bool,
    },
    /// Delete keys.
    Delete {
        /// Which.
        span: Span,
        /// Whether to tell what was there before.
        previous: bool,
    },
    /// Read keys.
    Range {
        /// Which.
        span: Span,
        /// At which revision; 0 for now.
        revision: i64,
        /// How many at most; 0 for all.
        limit: usize,
    },
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One action: a put, a delete or a linearizable range.
    One(Action),
    /// A range on whatever state the member has.
    Serializable(Action),
    /// A transaction.
    Txn {
        /// All must hold for the first branch.
        conditions: Vec<Condition>,
        /// Done if they hold.
        then: Vec<Action>,
        /// Done if not.
        otherwise: Vec<Action>,
    },
    /// Forget what was before this revision.
    Compact {
        /// The oldest that can be read afterwards.
        revision: i64,
    },
}

/// What came of one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a put: what was there before, if asked for.
    Put(Option<KeyValue>),
    /// Of a delete: how many, and what they were, if asked for.
    Delete(i64, Vec<KeyValue>),
    /// Of a range: what was found, how much there is, and whether the limit left some out.
    Range(Vec<KeyValue>, i64, bool),
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, on the state that this revision names.
    Done {
        /// The header's revision.
        revision: i64,
        /// Of a transaction: whether its conditions held.
        held: bool,
        /// One for each action.
        answers: Vec<Answer>,
    },
    /// Refused, and nothing was changed.
    Refused(String),
    /// Nobody knows: it may have been done at any time until `returned`, or not.
    Unknown,
}

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: usize,
    /// When.
    pub invoked: Time,
    /// When the answer was there; of an unknown outcome, the last moment at which it may have been done.
    pub returned: Time,
    /// What was asked for.
    pub request: Request,
    /// What was told.
    pub outcome: Outcome,
}

impl Request {
    /// The actions of one branch.
    pub fn actions(&self, held: bool) -> &[Action] {
        match self {
            Request::One(action) | Request::Serializable(action) => std::slice::from_ref(action),
            Request::Txn { then, .. } if held => then,
            Request::Txn { otherwise, .. } => otherwise,
            Request::Compact { .. } => &[],
        }
    }
}

impl Operation {
    /// The revision told, if there is one.
    pub fn revision(&self) -> Option<i64> {
        match &self.outcome {
            Outcome::Done { revision, .. } => Some(*revision),
            Outcome::Refused(_) | Outcome::Unknown => None,
        }
    }

    /// Whether the answer says that something was changed.
    pub fn wrote(&self) -> bool {
        let Outcome::Done { answers, .. } = &self.outcome else { return false };
        answers.iter().any(|answer| match answer {
            Answer::Put(_) => true,
            Answer::Delete(count, _) => 0 < *count,
            Answer::Range(..) => false,
        })
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first.escape_ascii())?;
        match &self.end {
            Some(end) => write!(f, "..{}", end.escape_ascii()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = (self.key.escape_ascii(), self.value.escape_ascii());
        write!(f, "{key}={value}@{}", self.mod_revision)?;
        write!(f, "(created {} version {}", self.create_revision, self.version)?;
        if self.lease != 0 {
            write!(f, " lease {:x}", self.lease)?;
        }
        f.write_str(")")
    }
}
