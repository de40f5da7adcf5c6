//! The one writer: committed entry in, change and answer out.
//!
//! Every member computes the same from the same entries (`docs/etcd/apply-semantics.md`), so nothing
//! here depends on a clock, on chance, on local settings or on whether somebody waits for the answer.
//!
//! Guarantee: the applied index and what the entry changed are one batch of the store. When etcd 3.5.0
//! saved them apart, a crash in between skipped an entry on one member for ever.

use std::collections::VecDeque;
use std::sync::Arc;

use auth::Users;
use bytes::Bytes;
use lease::Leases;
use mvcc::{CompactionHashes, Hasher, IndexView, Mvcc, ReadError, RowFault};
use planted::planted;
use prost::Message as _;
use proto::raftpb;
use store::{Batch, Bucket, LogView, StateChange, Store, StoreError};
use types::{ConfState, Entry, EntryKind, LeaseId, MemberId, Refusal, Revision, Version};

use crate::alarms::Alarms;
use crate::answer::Answer;
use crate::fact::Fact;
use crate::members::Members;
use crate::membership::Membership;
use crate::request::Asked;
use crate::source::{Flushed, Written};

/// What a member applies entries with.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub member: MemberId,
    /// Bytes the store may take before writes are answered with no-space; `None` for no bound.
    pub quota_bytes: Option<u64>,
    /// Learners the cluster takes; equal on all members.
    pub learners_max: usize,
    /// How leases are treated; minimum time to live equal on all members.
    pub leases: lease::Options,
    /// Whether remaining times of leases are stored.
    pub persist_checkpoints: bool,
    /// The largest store, in bytes, of which a compaction hashes the rows: that reads all of them.
    pub hashed_bytes_max: u64,
}

/// The member cannot go on and stops. Nothing acknowledged is lost.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A batch could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What an entry changes hangs on a row that cannot be read. Others may have applied it, and decided by the row:
    /// this member may neither guess nor pass over it, now or at any later start, until it has the row again.
    #[error("entry {index} of term {term} cannot be decided without a row that is lost")]
    Undecidable {
        /// The entry.
        index: u64,
        /// The term of the leader that made it.
        term: u64,
        /// The row.
        #[source]
        row: RowFault,
    },
    /// The members agreed on a version that this release is too old for.
    #[error(
        "invalid downgrade: this server is of version {}, and the cluster's version becomes {}",
        Version::OURS.short(),
        agreed.short()
    )]
    InvalidDowngrade {
        /// What they agreed on.
        agreed: Version,
    },
    /// An entry that this release cannot apply. Others may have applied it, so this member may not pass over it.
    #[error("entry {index} of term {term} holds {what}")]
    Unknown {
        /// The entry.
        index: u64,
        /// The term of the leader that made it.
        term: u64,
        /// What it holds, as far as that can be said.
        what: String,
    },
}

impl Fault {
    fn unknown(entry: &Entry, what: impl std::fmt::Display) -> Fault {
        Fault::Unknown { index: entry.index, term: entry.term, what: what.to_string() }
    }
}

/// What came of one entry.
#[derive(Debug)]
pub struct Applied {
    /// The entry.
    pub index: u64,
    /// The request's id, by which its proposer waits; 0 for an entry without one.
    pub request: u64,
    /// Name of the request for metrics, as etcd spells it.
    pub operation: &'static str,
    /// What the proposer is told.
    pub result: Result<Answer, Refusal>,
    /// What watchers must see; `None` when no revision was made.
    pub changes: Option<mvcc::Changes>,
    /// What else is true now, in the order in which it became so.
    pub facts: Vec<Fact>,
}

/// What the hash of a compaction needs: rows up to its revision, from the log as it was.
#[derive(Debug)]
pub struct HashJob {
    /// Takes the rows.
    pub hasher: Hasher,
    /// Where they are.
    pub log: LogView,
}

/// A snapshot of everything readers ask for.
#[derive(Clone, Debug)]
pub struct ReadView {
    /// The keyspace.
    pub index: IndexView,
    /// The rows.
    pub log: LogView,
    /// Who may do what.
    pub users: Arc<Users>,
    /// Everything up to this entry is in it.
    pub applied_index: u64,
    /// The term of that entry.
    pub applied_term: u64,
}

impl ReadView {
    /// Rows as mvcc reads them.
    pub fn rows(&self) -> Flushed<'_> {
        Flushed(&self.log)
    }
}

/// The replicated state and its one writer.
pub struct Applier {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) mvcc: Mvcc,
    pub(crate) leases: Leases,
    pub(crate) alarms: Alarms,
    pub(crate) membership: Membership,
    pub(crate) users: Arc<Users>,
    pub(crate) v2: v2::Tree,
    pub(crate) hashes: CompactionHashes,
    pub(crate) hash_jobs: VecDeque<HashJob>,
    /// Jobs whose hash is not known yet. Pruning waits: it would take rows they need.
    pub(crate) hashing: usize,
    pub(crate) pruning: bool,
    pub(crate) applied: (u64, u64),
}

/// What one entry changes, gathered before it becomes one batch.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) answer: Option<Answer>,
    /// The client gets this error, but the change is kept.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) changes: Option<mvcc::Changes>,
    pub(crate) state: Vec<StateChange>,
    pub(crate) facts: Vec<Fact>,
}

impl Outcome {
    pub(crate) fn of(answer: Answer) -> Outcome {
        Outcome { answer: Some(answer), ..Outcome::default() }
    }
}

impl Applier {
    /// Applies one committed entry. Entries come in order, each once.
    ///
    /// # Errors
    /// [`Fault`]: the store failed and the member must stop.
    pub fn apply(&mut self, entry: &Entry) -> Result<Applied, Fault> {
        assert!(entry.index == self.applied.0 + 1, "entries are applied in order, each once");
        let (request, operation, outcome) = match entry.kind {
            EntryKind::Normal if entry.data.is_empty() => {
                let facts = vec![Fact::TermStarted];
                (0, "unknown", Ok(Outcome { facts, ..Outcome::default() }))
            }
            EntryKind::Normal => {
                let asked =
                    Asked::decode(&entry.data).map_err(|what| Fault::unknown(entry, what))?;
                (asked.id, asked.request.name(), self.decide(asked))
            }
            EntryKind::ConfChange => {
                let change = conf_change(entry)?;
                (change.id(), "ConfChange", self.configuration(change))
            }
            EntryKind::ConfChangeV2 => {
                let what = "a configuration change of the second kind, which no etcd proposes";
                return Err(Fault::unknown(entry, what));
            }
        };
        let (result, mut outcome) = match outcome {
            Ok(mut outcome) => {
                let revision = self.mvcc.current_revision();
                let answer = outcome.answer.take().unwrap_or(Answer::Done { revision });
                (outcome.refusal.take().map_or(Ok(answer), Err), outcome)
            }
            Err(Stopped::Refused(refusal, facts)) => {
                (Err(refusal), Outcome { facts, ..Outcome::default() })
            }
            Err(Stopped::Lost(row)) => {
                return Err(Fault::Undecidable { index: entry.index, term: entry.term, row });
            }
            Err(Stopped::Fault(fault)) => return Err(fault),
        };
        let mut changes = outcome.changes.take().filter(|changes| !changes.rows.is_empty());
        self.write(entry, changes.as_mut(), outcome.state)?;
        let facts = outcome.facts;
        Ok(Applied { index: entry.index, request, operation, result, changes, facts })
    }

    fn write(
        &mut self,
        entry: &Entry,
        mut changes: Option<&mut mvcc::Changes>,
        state: Vec<StateChange>,
    ) -> Result<(), Fault> {
        self.applied = (entry.index, entry.term);
        let lent = changes.as_mut().map(|changes| std::mem::take(&mut changes.rows));
        let rows = lent.unwrap_or_default();
        if planted!("index saved apart from its change") {
            let (index, term) = self.applied;
            self.store.append(&Batch { index, term, rows: Vec::new(), state: Vec::new() });
            // An index alone is written down when somebody wants to sync.
            drop(self.store.sync_handle()?);
        }
        let batch = Batch { index: entry.index, term: entry.term, rows, state };
        self.store.append(&batch);
        if let Some(changes) = changes {
            changes.rows = batch.rows;
            self.move_leases(&changes.lease_moves);
        }
        Ok(())
    }

    fn move_leases(&mut self, moves: &[mvcc::LeaseMove]) {
        for moved in moves {
            let forgotten = planted!("a lease attached on some members only")
                && self.config.member.is_multiple_of(2);
            if moved.to == 0 || forgotten {
                self.leases.detach(&moved.key);
            } else if self.leases.attach(moved.to, &moved.key).is_err() {
                // `ignore_lease` keeps a lease that was revoked in the same breath; etcd has then
                // nothing to attach to either.
                self.leases.detach(&moved.key);
            }
        }
    }

    /// Makes everything applied so far visible to views taken from now on.
    ///
    /// # Errors
    /// [`Fault`]: the store failed and the member must stop.
    pub fn flush(&mut self) -> Result<(), Fault> {
        Ok(self.store.flush()?)
    }

    /// A snapshot of the flushed state.
    pub fn view(&self) -> ReadView {
        ReadView {
            index: self.mvcc.view(),
            log: self.store.view(),
            users: self.users.clone(),
            applied_index: self.applied.0,
            applied_term: self.applied.1,
        }
    }

    pub(crate) fn lease_exists(&self) -> impl Fn(LeaseId) -> bool + '_ {
        |id| self.leases.lease(id).is_some()
    }

    pub(crate) fn written(&self) -> Written<'_> {
        Written(&self.store)
    }

    pub(crate) fn set_meta(key: &'static str, value: impl Into<Bytes>) -> StateChange {
        let key = Bytes::from_static(key.as_bytes());
        StateChange::Set { bucket: Bucket::Meta, key, value: value.into() }
    }

    pub(crate) fn meta_revision(main: i64) -> Bytes {
        Bytes::copy_from_slice(&Revision::first_of(main).to_bytes())
    }
}

/// Questions.
impl Applier {
    /// Index and term of the last entry applied.
    pub fn applied(&self) -> (u64, u64) {
        self.applied
    }

    /// The store's present revision.
    pub fn revision(&self) -> i64 {
        self.mvcc.current_revision()
    }

    /// The revision below which nothing can be read; -1 if never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.mvcc.compact_revision()
    }

    /// Keys living now.
    pub fn live_keys(&self) -> u64 {
        self.mvcc.now().live_keys()
    }

    /// The cluster's members and version as of the last entry, to keep and to hand on.
    pub fn members(&self) -> Arc<Members> {
        self.membership.now().clone()
    }

    /// The cluster's members and version.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The raised alarms.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// The leases and what hangs on them.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// How leases are treated.
    pub fn lease_options(&self) -> &lease::Options {
        &self.config.leases
    }

    /// The store, for its figures.
    pub fn stored(&self) -> &Store {
        &self.store
    }

    /// The hashes that compactions left behind.
    pub fn hashes(&self) -> &CompactionHashes {
        &self.hashes
    }

    /// Who votes and who listens.
    pub fn conf_state(&self) -> ConfState {
        self.membership.conf_state()
    }

    /// The key before each change of a transaction, for watchers that want it.
    ///
    /// # Errors
    /// [`Fault`] when a row that must be there cannot be read.
    pub fn previous(&self, changes: &mvcc::Changes) -> Result<Vec<Option<types::Row>>, Fault> {
        let there: Vec<Revision> = changes.previous.iter().flatten().copied().collect();
        let mut rows = self.store.read_many(&there)?.into_iter();
        let previous = changes.previous.iter();
        Ok(previous.map(|revision| revision.and_then(|_| rows.next())).collect())
    }
}

/// What deciding about a request led to.
pub(crate) type Decided = Result<Outcome, Stopped>;

/// Why a request was not carried out.
pub(crate) enum Stopped {
    /// The client is told why; nothing was changed, but others may have to hear of it.
    Refused(Refusal, Vec<Fact>),
    /// It cannot be decided without this row: the member must stop.
    Lost(RowFault),
    /// The member must stop.
    Fault(Fault),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Stopped {
        Stopped::Refused(refusal, Vec::new())
    }
}

impl From<ReadError> for Stopped {
    fn from(error: ReadError) -> Stopped {
        match error {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Fault(fault) => Stopped::Lost(fault),
        }
    }
}

/// The configuration change an entry holds.
fn conf_change(entry: &Entry) -> Result<raftpb::ConfChange, Fault> {
    let change = raftpb::ConfChange::decode(entry.data.clone())
        .map_err(|error| Fault::unknown(entry, format!("no configuration change ({error})")))?;
    let kind = change.r#type.unwrap_or_default();
    if raftpb::ConfChangeType::try_from(kind).is_err() {
        return Err(Fault::unknown(entry, format!("a configuration change of kind {kind}")));
    }
    Ok(change)
}
