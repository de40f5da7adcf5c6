//! The path of a transaction: which of its branches are taken, all decided on the state before.

use mvcc::{IndexView, ReadError, Room, RowSource};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;

use crate::wire;

/// Which branch each transaction takes, the outermost first, nested ones in the order they run.
pub(crate) struct Path {
    branches: Vec<bool>,
    next: usize,
}

impl Path {
    pub(crate) fn decide(
        view: &IndexView,
        rows: &dyn RowSource,
        request: &pb::TxnRequest,
        room: &mut Room<'_>,
    ) -> Result<Path, ReadError> {
        let mut path = Path { branches: Vec::new(), next: 0 };
        path.follow(view, rows, request, room)?;
        Ok(path)
    }

    fn follow(
        &mut self,
        view: &IndexView,
        rows: &dyn RowSource,
        request: &pb::TxnRequest,
        room: &mut Room<'_>,
    ) -> Result<(), ReadError> {
        let mut holds = true;
        for compare in &request.compare {
            if !view.holds_with_room(rows, &wire::compare(compare)?, room)? {
                holds = false;
                break;
            }
        }
        self.branches.push(holds);
        for op in branch(request, holds) {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                self.follow(view, rows, nested, room)?;
            }
        }
        Ok(())
    }

    /// The branch of the next transaction on the way. Walks in the order of [`Path::follow`].
    pub(crate) fn take(&mut self) -> bool {
        let taken = self.branches[self.next];
        self.next += 1;
        taken
    }

    /// Goes back to the outermost transaction.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
    }
}

pub(crate) fn branch(request: &pb::TxnRequest, holds: bool) -> &[pb::RequestOp] {
    if holds { &request.success } else { &request.failure }
}
