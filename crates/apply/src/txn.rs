//! Transactions: decide, check, do.
//!
//! In this order (`reference/apply-semantics.md` 5): all conditions on the chosen path are evaluated on
//! the state before; all operations on that path are checked on the state before; then they run, each
//! seeing what the earlier ones did. So a refusal leaves nothing behind.

use mvcc::{IndexView, Mvcc, ReadError, RowSource};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use types::{LeaseId, Refusal};

use crate::answer::{DeleteAnswer, OpAnswer, PutAnswer, RangeAnswer, TxnAnswer};
use crate::wire;

/// Which branch each transaction takes, the outermost first, nested ones in the order they run.
struct Path {
    branches: Vec<bool>,
    next: usize,
}

impl Path {
    fn decide(
        view: &IndexView,
        rows: &dyn RowSource,
        request: &pb::TxnRequest,
    ) -> Result<Path, ReadError> {
        let mut path = Path { branches: Vec::new(), next: 0 };
        path.follow(view, rows, request)?;
        Ok(path)
    }

    fn follow(
        &mut self,
        view: &IndexView,
        rows: &dyn RowSource,
        request: &pb::TxnRequest,
    ) -> Result<(), ReadError> {
        let mut holds = true;
        for compare in &request.compare {
            if !view.holds(rows, &wire::compare(compare)?)? {
                holds = false;
                break;
            }
        }
        self.branches.push(holds);
        for op in branch(request, holds) {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                self.follow(view, rows, nested)?;
            }
        }
        Ok(())
    }

    /// The branch of the next transaction on the way. Walks in the order of [`Path::follow`].
    fn take(&mut self) -> bool {
        let taken = self.branches[self.next];
        self.next += 1;
        taken
    }

    fn rewind(&mut self) {
        self.next = 0;
    }
}

fn branch(request: &pb::TxnRequest, holds: bool) -> &[pb::RequestOp] {
    if holds { &request.success } else { &request.failure }
}

/// Answers a transaction that only reads, on one snapshot.
///
/// # Errors
/// Refusals of its ranges, faults of the store.
pub fn read(
    view: &IndexView,
    rows: &dyn RowSource,
    request: &pb::TxnRequest,
) -> Result<TxnAnswer, ReadError> {
    let path = Path::decide(view, rows, request)?;
    let succeeded = path.branches[0];
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
        let found = view.range(rows, &wire::range_query(range)?)?;
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
    let found = view.range(rows, &wire::range_query(request)?)?;
    Ok(range_answer(view.current_revision(), found))
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
    let mut long = false;
    let mut room = |bytes: u64| {
        long = bytes_max < bytes;
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

/// Runs a transaction that may write.
///
/// # Errors
/// A refusal, and then nothing was changed; or a fault of the store.
pub(crate) fn write(
    mvcc: &mut Mvcc,
    rows: &dyn RowSource,
    leases: &dyn Fn(LeaseId) -> bool,
    request: &pb::TxnRequest,
) -> Result<(TxnAnswer, mvcc::Changes), ReadError> {
    let mut path = Path::decide(mvcc.now(), rows, request)?;
    let needs = check(mvcc.now(), leases, request, &mut path)?;
    path.rewind();
    let mut txn = if needs.may_fail() { mvcc.begin_revocable() } else { mvcc.begin() };
    match run(&mut txn, rows, request, &mut path) {
        Ok(mut answer) => {
            answer.revision = txn.revision();
            Ok((answer, txn.finish()))
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

/// What a transaction does that could make it fail half-way.
#[derive(Clone, Copy, Default)]
struct Needs {
    deletes: bool,
    keeps_something: bool,
}

impl Needs {
    /// A put that keeps a value or lease fails if the same transaction deleted its key before
    /// (`reference/observed.md` A 1); no check on the state before can see that.
    fn may_fail(self) -> bool {
        self.deletes && self.keeps_something
    }
}

fn check(
    view: &IndexView,
    leases: &dyn Fn(LeaseId) -> bool,
    request: &pb::TxnRequest,
    path: &mut Path,
) -> Result<Needs, Refusal> {
    let mut needs = Needs::default();
    for op in branch(request, path.take()) {
        match &op.request {
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
                let inner = check(view, leases, nested, path)?;
                needs.deletes |= inner.deletes;
                needs.keeps_something |= inner.keeps_something;
            }
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(needs)
}

/// A put's checks on the state before: its lease first, then its key (`reference/observed.md` B).
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

fn run(
    txn: &mut mvcc::Txn<'_>,
    rows: &dyn RowSource,
    request: &pb::TxnRequest,
    path: &mut Path,
) -> Result<TxnAnswer, ReadError> {
    let succeeded = path.take();
    let ops = branch(request, succeeded);
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        responses.push(match &op.request {
            Some(Request::RequestRange(range)) => {
                let found = txn.range(rows, &wire::range_query(range)?)?;
                OpAnswer::Range(range_answer(txn.revision(), found))
            }
            Some(Request::RequestPut(put)) => {
                let previous = txn.put(rows, &wire::put(put)?)?;
                OpAnswer::Put(PutAnswer { revision: txn.revision(), previous })
            }
            Some(Request::RequestDeleteRange(delete)) => {
                let deleted = txn.delete_range(rows, &wire::delete_range(delete)?)?;
                OpAnswer::DeleteRange(DeleteAnswer {
                    revision: txn.revision(),
                    deleted: deleted.count,
                    previous: deleted.previous,
                })
            }
            Some(Request::RequestTxn(nested)) => OpAnswer::Txn(run(txn, rows, nested, path)?),
            None => return Err(Refusal::KeyNotFound.into()),
        });
    }
    Ok(TxnAnswer { revision: 0, succeeded, responses })
}
