//! Requests about keys.

use planted::planted;
use proto::etcdserverpb as pb;
use types::Refusal;

use crate::alarms::{CORRUPT, NOSPACE};
use crate::answer::{Answer, DeleteAnswer, PutAnswer};
use crate::applier::{Applier, Consequence, Decided, HashJob, Outcome};
use crate::{check, txn, wire};

impl Applier {
    /// A Range that came through the log, as old clients of old members sent it.
    pub(crate) fn range(&mut self, request: &pb::RangeRequest) -> Decided {
        self.refuse_if_corrupt()?;
        let answer = txn::read_range(self.mvcc.now(), &self.written(), request)?;
        Ok(Outcome::of(Answer::Range(answer)))
    }

    pub(crate) fn put(&mut self, request: &pb::PutRequest) -> Decided {
        self.refuse_if_corrupt()?;
        self.refuse_if_full()?;
        txn::check_put(self.mvcc.now(), &self.lease_exists(), request)?;
        let put = wire::put(request)?;
        let store = crate::source::Written(&self.store);
        let mut txn = self.mvcc.begin();
        let previous = txn.put(&store, &put)?;
        let changes = txn.finish();
        let answer = Answer::Put(PutAnswer { revision: changes.revision, previous });
        self.within_quota(check::put_cost(request), answer, Some(changes))
    }

    pub(crate) fn delete_range(&mut self, request: &pb::DeleteRangeRequest) -> Decided {
        self.refuse_if_corrupt()?;
        let delete = wire::delete_range(request)?;
        let store = crate::source::Written(&self.store);
        let mut txn = self.mvcc.begin();
        let deleted = txn.delete_range(&store, &delete)?;
        let changes = txn.finish();
        let answer = Answer::DeleteRange(DeleteAnswer {
            revision: changes.revision,
            deleted: deleted.count,
            previous: deleted.previous,
        });
        Ok(Outcome { answer: Some(answer), changes: Some(changes), ..Outcome::default() })
    }

    pub(crate) fn txn(&mut self, request: &pb::TxnRequest) -> Decided {
        self.refuse_if_corrupt()?;
        let cost = check::txn_cost(request);
        if 0 < cost {
            self.refuse_if_full()?;
        }
        let store = crate::source::Written(&self.store);
        let leases = |id| self.leases.lease(id).is_some();
        let (answer, changes) = txn::write(&mut self.mvcc, &store, &leases, request)?;
        if cost == 0 {
            let answer = Some(Answer::Txn(answer));
            return Ok(Outcome { answer, changes: Some(changes), ..Outcome::default() });
        }
        self.within_quota(cost, Answer::Txn(answer), Some(changes))
    }

    pub(crate) fn compaction(&mut self, revision: i64) -> Decided {
        self.refuse_if_corrupt()?;
        // Taken before: the hash is over what the compaction is about to make unreadable.
        let before = self.mvcc.view();
        self.mvcc.compact(revision)?;
        // The hash is only comparable when the compaction before had finished
        // (`reference/bbolt-and-backend.md` 5.2).
        if !self.pruning {
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
        Ok(Outcome {
            state,
            consequence: Consequence::Compacted { revision },
            ..Outcome::default()
        })
    }

    pub(crate) fn refuse_if_corrupt(&self) -> Result<(), Refusal> {
        if self.alarms.any(CORRUPT) { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    pub(crate) fn refuse_if_full(&self) -> Result<(), Refusal> {
        if self.alarms.any(NOSPACE) { Err(Refusal::NoSpace) } else { Ok(()) }
    }

    /// The quota speaks after the deed: the write stands on every member, whatever its size here, and
    /// only the answer and the alarm tell (`reference/apply-semantics.md` 9).
    pub(crate) fn within_quota(
        &self,
        cost: u64,
        answer: Answer,
        changes: Option<mvcc::Changes>,
    ) -> Decided {
        let size = self.store.sizes().file_bytes;
        let exceeded = self.config.quota_bytes.is_some_and(|quota| quota <= size + cost);
        let mut outcome = Outcome { answer: Some(answer), changes, ..Outcome::default() };
        if exceeded {
            outcome.refusal = Some(Refusal::NoSpace);
            outcome.consequence = Consequence::QuotaExceeded;
        }
        Ok(outcome)
    }
}
