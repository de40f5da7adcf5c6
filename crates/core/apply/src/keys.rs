//! Requests about keys.

use mvcc::ReadError;
use planted::planted;
use proto::etcdserverpb as pb;

use crate::answer::{Answer, DeleteAnswer, PutAnswer};
use crate::applier::{Applier, Decided, HashJob, Outcome};
use crate::compat::Compat;
use crate::fact::Fact;
use crate::{lost, txn, wire};

impl Applier {
    /// A Range that came through the log, as old clients of old members sent it.
    pub(crate) fn range(&mut self, request: &pb::RangeRequest) -> Decided {
        match txn::read_range(self.mvcc.now(), &self.written(), request) {
            Err(ReadError::Fault(fault)) => {
                Err(lost::answer_lost(&fault).ok_or(ReadError::Fault(fault))?.into())
            }
            answer => Ok(Outcome::of(Answer::Range(answer?))),
        }
    }

    pub(crate) fn put(&mut self, request: &pb::PutRequest) -> Decided {
        txn::check_put(self.mvcc.now(), &self.lease_exists(), request)?;
        let put = wire::put(request)?;
        let store = crate::source::Written(&self.store);
        let mut txn = self.mvcc.begin();
        let (previous, refusal) = lost::put(&mut txn, &store, &put)?;
        let changes = txn.finish();
        let answer = Answer::Put(PutAnswer { revision: changes.revision, previous });
        Ok(Outcome { answer: Some(answer), refusal, changes: Some(changes), ..Outcome::default() })
    }

    pub(crate) fn delete_range(&mut self, request: &pb::DeleteRangeRequest) -> Decided {
        let delete = wire::delete_range(request)?;
        let store = crate::source::Written(&self.store);
        let mut txn = self.mvcc.begin();
        let (deleted, refusal) = lost::delete_range(&mut txn, &store, &delete)?;
        let changes = txn.finish();
        let answer = Answer::DeleteRange(DeleteAnswer {
            revision: changes.revision,
            deleted: deleted.count,
            previous: deleted.previous,
        });
        Ok(Outcome { answer: Some(answer), refusal, changes: Some(changes), ..Outcome::default() })
    }

    pub(crate) fn txn(&mut self, request: &pb::TxnRequest, compat: Compat) -> Decided {
        let store = crate::source::Written(&self.store);
        let leases = |id| self.leases.lease(id).is_some();
        let done = txn::write(&mut self.mvcc, &store, &leases, request, compat)?;
        Ok(Outcome {
            answer: Some(Answer::Txn(done.answer)),
            refusal: done.refusal,
            changes: Some(done.changes),
            ..Outcome::default()
        })
    }

    pub(crate) fn compaction(&mut self, revision: i64) -> Decided {
        // Taken before: the hash is over what the compaction is about to make unreadable.
        let before = self.mvcc.view();
        self.mvcc.compact(revision)?;
        // The hash is only comparable when the compaction before had finished
        // (`docs/etcd/bbolt-and-backend.md` 5.2). And only worth it while it is cheap, or somebody compares it.
        let is_cheap = self.store.sizes().file_bytes <= self.config.hashed_bytes_max;
        if !self.pruning && is_cheap {
            let hasher = before.compaction_hash(revision);
            self.hash_jobs.push_back(HashJob { hasher, log: self.store.view() });
            self.hashing += 1;
        }
        self.pruning = true;
        let mut state =
            vec![Applier::set_meta("scheduledCompactRev", Applier::meta_revision(revision))];
        if planted!("compaction not written down") {
            state.clear();
        }
        Ok(Outcome { state, facts: vec![Fact::Compacted { revision }], ..Outcome::default() })
    }
}
