//! Transactions: decide, check, do.
//!
//! In this order (`docs/etcd/apply-semantics.md` 5): all conditions on the chosen path are evaluated on
//! the state before; all operations on that path are checked on the state before; then they run, each
//! seeing what the earlier ones did. So a refusal leaves nothing behind.

use mvcc::{IndexView, Mvcc, ReadError, Room, RowSource};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use types::{LeaseId, Refusal};

use crate::answer::{DeleteAnswer, OpAnswer, PutAnswer, RangeAnswer, TxnAnswer};
use crate::compat::Compat;
use crate::path::{Path, branch};
use crate::{lost, wire};

/// Answers a transaction that only reads, on one snapshot.
///
/// # Errors
/// Refusals of its ranges, faults of the store.
pub fn read(
    view: &IndexView,
    rows: &dyn RowSource,
    request: &pb::TxnRequest,
) -> Result<TxnAnswer, ReadError> {
    read_with_room(view, rows, request, &mut endless)
}

/// The same, as long as `room` says so, which is asked again and again with the bytes that are read next.
///
/// # Errors
/// As [`read`], and what `room` answers.
pub fn read_with_room(
    view: &IndexView,
    rows: &dyn RowSource,
    request: &pb::TxnRequest,
    room: &mut Room<'_>,
) -> Result<TxnAnswer, ReadError> {
    let succeeded = Path::decide(view, rows, request, room)?.take();
    let ranges: Vec<&pb::RangeRequest> = branch(request, succeeded)
        .iter()
        .filter_map(|op| match &op.request {
            Some(Request::RequestRange(range)) => Some(range),
            _ => None,
        })
        .collect();
    for range in &ranges {
        view.check_txn_range(range.revision)?;
    }
    let revision = view.current_revision();
    let mut responses = Vec::with_capacity(ranges.len());
    for range in ranges {
        room(0)?;
        let found = view.range_with_room(rows, &wire::range_query(range)?, room)?;
        responses.push(OpAnswer::Range(range_answer(revision, found)));
    }
    Ok(TxnAnswer { revision, succeeded, responses })
}

/// A range's answer on one snapshot, outside any transaction.
///
/// # Errors
/// Refusals of the range, faults of the store.
pub fn read_range(
    view: &IndexView,
    rows: &dyn RowSource,
    request: &pb::RangeRequest,
) -> Result<RangeAnswer, ReadError> {
    read_range_with_room(view, rows, request, &mut endless)
}

/// The same, as long as `room` says so, which is asked again and again with the bytes that are read next.
///
/// # Errors
/// As [`read_range`], and what `room` answers.
pub fn read_range_with_room(
    view: &IndexView,
    rows: &dyn RowSource,
    request: &pb::RangeRequest,
    room: &mut Room<'_>,
) -> Result<RangeAnswer, ReadError> {
    let found = view.range_with_room(rows, &wire::range_query(request)?, room)?;
    Ok(range_answer(view.current_revision(), found))
}

/// Room for whatever comes.
fn endless(_: u64) -> Result<(), Refusal> {
    Ok(())
}

/// The same, if its rows take no more than `bytes_max`; `None` when they take more, and then none of them
/// was read.
///
/// # Errors
/// As [`read_range`].
pub fn read_short_range(
    view: &IndexView,
    rows: &dyn RowSource,
    request: &pb::RangeRequest,
    bytes_max: u64,
) -> Result<Option<RangeAnswer>, ReadError> {
    let (mut long, mut taken) = (false, 0);
    let mut room = |bytes: u64| {
        taken += bytes;
        long = bytes_max < taken;
        if long { Err(Refusal::RequestTooLarge) } else { Ok(()) }
    };
    let found = view.range_with_room(rows, &wire::range_query(request)?, &mut room);
    match found {
        Err(_) if long => Ok(None),
        found => Ok(Some(range_answer(view.current_revision(), found?))),
    }
}

fn range_answer(revision: i64, found: mvcc::RangeResult) -> RangeAnswer {
    RangeAnswer { revision, rows: found.rows, more: found.more, count: found.count }
}

/// What came of a transaction that may write.
pub(crate) struct Done {
    pub answer: TxnAnswer,
    pub changes: mvcc::Changes,
    /// Why it has no answer, although its writes stand: one of its ranges has none ([`Compat::txn_ranges_checked`]), or
    /// needs a row that is lost.
    pub refusal: Option<Refusal>,
}

/// Runs a transaction that may write.
///
/// # Errors
/// A refusal, and then nothing was changed; or a fault of the store.
pub(crate) fn write(
    mvcc: &mut Mvcc,
    rows: &dyn RowSource,
    leases: &dyn Fn(LeaseId) -> bool,
    request: &pb::TxnRequest,
    compat: Compat,
) -> Result<Done, ReadError> {
    let mut path = Path::decide(mvcc.now(), rows, request, &mut endless)?;
    let ranges = if compat.txn_ranges_checked { Ranges::Checked } else { Ranges::ForTheAnswer };
    let needs = check(mvcc.now(), leases, request, &mut path, ranges)?;
    path.rewind();
    let mut txn = if needs.may_fail() { mvcc.begin_revocable() } else { mvcc.begin() };
    let mut run = Run { txn: &mut txn, rows, path: &mut path, refusal: None };
    match run.branch(request, ranges) {
        Ok(mut answer) => {
            let refusal = run.refusal;
            answer.revision = txn.revision();
            Ok(Done { answer, changes: txn.finish(), refusal })
        }
        Err(error) => {
            assert!(needs.may_fail() || matches!(error, ReadError::Fault(_)), "checked: {error}");
            if needs.may_fail() {
                txn.abandon();
            }
            Err(error)
        }
    }
}

/// What a range that cannot be answered does to its transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ranges {
    /// It is refused, and nothing is written.
    Checked,
    /// Only the answer is refused.
    ForTheAnswer,
}

/// What a transaction does that could make it fail half-way.
#[derive(Clone, Copy, Default)]
struct Needs {
    deletes: bool,
    keeps_something: bool,
}

impl Needs {
    /// A put that keeps a value or lease fails if the same transaction deleted its key before
    /// (`docs/etcd/observed.md` A 1); no check on the state before can see that.
    fn may_fail(self) -> bool {
        self.deletes && self.keeps_something
    }
}

fn check(
    view: &IndexView,
    leases: &dyn Fn(LeaseId) -> bool,
    request: &pb::TxnRequest,
    path: &mut Path,
    ranges: Ranges,
) -> Result<Needs, Refusal> {
    let mut needs = Needs::default();
    for op in branch(request, path.take()) {
        match &op.request {
            Some(Request::RequestRange(_)) if ranges == Ranges::ForTheAnswer => {}
            Some(Request::RequestRange(range)) => {
                wire::range_query(range)?;
                view.check_txn_range(range.revision)?;
            }
            Some(Request::RequestPut(put)) => {
                check_put(view, leases, put)?;
                needs.keeps_something |= put.ignore_value || put.ignore_lease;
            }
            Some(Request::RequestDeleteRange(delete)) => {
                wire::delete_range(delete)?;
                needs.deletes = true;
            }
            Some(Request::RequestTxn(nested)) => {
                let inner = check(view, leases, nested, path, Ranges::Checked)?;
                needs.deletes |= inner.deletes;
                needs.keeps_something |= inner.keeps_something;
            }
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(needs)
}

/// A put's checks on the state before: its lease first, then its key (`docs/etcd/observed.md` B).
pub(crate) fn check_put(
    view: &IndexView,
    leases: &dyn Fn(LeaseId) -> bool,
    request: &pb::PutRequest,
) -> Result<(), Refusal> {
    if request.lease != 0 && !leases(request.lease) {
        return Err(Refusal::LeaseNotFound);
    }
    view.check_put(&wire::put(request)?)
}

/// A transaction under way.
struct Run<'a, 'm> {
    txn: &'a mut mvcc::Txn<'m>,
    rows: &'a dyn RowSource,
    path: &'a mut Path,
    refusal: Option<Refusal>,
}

impl Run<'_, '_> {
    /// Runs the branch that was decided upon. Only the outermost one's ranges may be `ForTheAnswer`: members up
    /// to 3.6 take those out before they look at the rest, and leave those of nested transactions in.
    fn branch(&mut self, request: &pb::TxnRequest, ranges: Ranges) -> Result<TxnAnswer, ReadError> {
        let succeeded = self.path.take();
        let ops = branch(request, succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            match &op.request {
                Some(Request::RequestRange(range)) if ranges == Ranges::ForTheAnswer => {
                    match self.range(range) {
                        Ok(answer) => responses.push(answer),
                        Err(ReadError::Refused(refusal)) => self.unanswered(Some(refusal)),
                        Err(fault) => return Err(fault),
                    }
                }
                Some(op) => responses.push(self.operation(op)?),
                None => return Err(Refusal::KeyNotFound.into()),
            }
        }
        Ok(TxnAnswer { revision: 0, succeeded, responses })
    }

    fn range(&mut self, range: &pb::RangeRequest) -> Result<OpAnswer, ReadError> {
        let answer = match self.txn.range(self.rows, &wire::range_query(range)?) {
            Err(ReadError::Fault(fault)) => {
                self.unanswered(Some(lost::answer_lost(&fault).ok_or(fault)?));
                RangeAnswer::default()
            }
            found => range_answer(self.txn.revision(), found?),
        };
        Ok(OpAnswer::Range(answer))
    }

    /// The first reason why there is no answer is the one told.
    fn unanswered(&mut self, why: Option<Refusal>) {
        self.refusal = self.refusal.take().or(why);
    }

    fn operation(&mut self, op: &Request) -> Result<OpAnswer, ReadError> {
        Ok(match op {
            Request::RequestRange(range) => self.range(range)?,
            Request::RequestPut(put) => {
                let (previous, lost) = lost::put(self.txn, self.rows, &wire::put(put)?)?;
                self.unanswered(lost);
                OpAnswer::Put(PutAnswer { revision: self.txn.revision(), previous })
            }
            Request::RequestDeleteRange(delete) => {
                let delete = wire::delete_range(delete)?;
                let (deleted, lost) = lost::delete_range(self.txn, self.rows, &delete)?;
                self.unanswered(lost);
                OpAnswer::DeleteRange(DeleteAnswer {
                    revision: self.txn.revision(),
                    deleted: deleted.count,
                    previous: deleted.previous,
                })
            }
            Request::RequestTxn(nested) => OpAnswer::Txn(self.branch(nested, Ranges::Checked)?),
        })
    }
}
