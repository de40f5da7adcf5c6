//! Entries that need a row which this member has lost (its checksum is wrong, or the disk refuses it).
//!
//! Where only the answer needs it, the entry changes what it changes on every member, and the answer is refused at this
//! one. Where the change itself hangs on it (a condition on a value, a value that is to be kept), no member may decide
//! alone: [`Decidable`] refuses such a request before it is proposed, and one that another member proposed ends this
//! one with [`crate::Fault::Undecidable`], until it has the row again.

use mvcc::{DeleteRange, Deleted, IndexView, Put, ReadError, RowFault, RowSource, Txn};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::CompareTarget;
use proto::etcdserverpb::request_op::Request;
use types::{Code, Refusal, Row};

use crate::path::{Path, branch};

/// What a client is told whose answer needs a row that is lost; `None` for any other fault of the store.
pub(crate) fn answer_lost(fault: &RowFault) -> Option<Refusal> {
    let cause = fault.source.downcast_ref::<store::StoreError>()?;
    cause.is_damage().then(|| {
        let text = format!("etcdserver: done, but not to be answered in full: {fault}: {cause}");
        Refusal::Other(Code::DataLoss, text.into())
    })
}

/// Puts a key. Without the row before, where only the answer would show it, it is put all the same.
pub(crate) fn put(
    txn: &mut Txn<'_>,
    rows: &dyn RowSource,
    put: &Put,
) -> Result<(Option<Row>, Option<Refusal>), ReadError> {
    match txn.put(rows, put) {
        Err(ReadError::Fault(fault)) if put.prev_kv && !put.ignore_value => {
            let lost = answer_lost(&fault).ok_or(fault)?;
            txn.put(rows, &Put { prev_kv: false, ..put.clone() })?;
            Ok((None, Some(lost)))
        }
        done => Ok((done?, None)),
    }
}

/// Deletes keys. Without the rows before, which only the answer would show, they are deleted all the same.
pub(crate) fn delete_range(
    txn: &mut Txn<'_>,
    rows: &dyn RowSource,
    delete: &DeleteRange,
) -> Result<(Deleted, Option<Refusal>), ReadError> {
    match txn.delete_range(rows, delete) {
        Err(ReadError::Fault(fault)) if delete.prev_kv => {
            let lost = answer_lost(&fault).ok_or(fault)?;
            let deleted =
                txn.delete_range(rows, &DeleteRange { prev_kv: false, ..delete.clone() })?;
            Ok((deleted, Some(lost)))
        }
        done => Ok((done?, None)),
    }
}

/// Requests whose change may hang on stored values.
pub trait Decidable {
    /// Reads every row that the change hangs on, as of this view.
    ///
    /// # Errors
    /// The first that cannot be read: the request must not be proposed by this member.
    fn decidable(&self, view: &IndexView, rows: &dyn RowSource) -> Result<(), RowFault>;

    /// Whether that may read many rows.
    fn hangs_on_ranges(&self) -> bool;
}

impl Decidable for pb::PutRequest {
    fn decidable(&self, view: &IndexView, rows: &dyn RowSource) -> Result<(), RowFault> {
        let kept = if self.ignore_value { view.get(&self.key) } else { None };
        kept.map_or(Ok(()), |at| rows.row(at.revision).map(drop))
    }

    fn hangs_on_ranges(&self) -> bool {
        false
    }
}

impl Decidable for pb::TxnRequest {
    fn decidable(&self, view: &IndexView, rows: &dyn RowSource) -> Result<(), RowFault> {
        if !hangs_on_values(self) {
            return Ok(());
        }
        match Path::decide(view, rows, self, &mut |_| Ok(())) {
            Ok(mut path) => kept_values(view, rows, self, &mut path),
            Err(ReadError::Fault(fault)) => Err(fault),
            // It is refused once more when it is applied, with nothing changed.
            Err(ReadError::Refused(_)) => Ok(()),
        }
    }

    fn hangs_on_ranges(&self) -> bool {
        let by_values =
            |compare: &pb::Compare| is_by_value(compare) && !compare.range_end.is_empty();
        let nested = |op: &pb::RequestOp| match &op.request {
            Some(Request::RequestTxn(nested)) => nested.hangs_on_ranges(),
            _ => false,
        };
        self.compare.iter().any(by_values) || self.success.iter().chain(&self.failure).any(nested)
    }
}

fn is_by_value(compare: &pb::Compare) -> bool {
    compare.target() == CompareTarget::Value
}

fn hangs_on_values(request: &pb::TxnRequest) -> bool {
    let keeps = |op: &pb::RequestOp| match &op.request {
        Some(Request::RequestPut(put)) => put.ignore_value,
        Some(Request::RequestTxn(nested)) => hangs_on_values(nested),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => false,
    };
    request.compare.iter().any(is_by_value)
        || request.success.iter().chain(&request.failure).any(keeps)
}

/// Reads the values that the puts on this way keep.
fn kept_values(
    view: &IndexView,
    rows: &dyn RowSource,
    request: &pb::TxnRequest,
    path: &mut Path,
) -> Result<(), RowFault> {
    for op in branch(request, path.take()) {
        match &op.request {
            Some(Request::RequestPut(put)) => put.decidable(view, rows)?,
            Some(Request::RequestTxn(nested)) => kept_values(view, rows, nested, path)?,
            Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}
