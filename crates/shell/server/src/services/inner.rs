//! What Lock and Election ask for on behalf of their callers.
//!
//! Each inner request is admitted like one that the caller had sent (`docs/etcd/api.md` 10 and 11), as of the
//! moment it is made: a place in line may be waited for while users change.

use apply::{Answer, RangeAnswer, TxnAnswer};
use proto::etcdserverpb as pb;
use rpc::{Call, Rpc};
use types::{LeaseId, Refusal};

use crate::desk::{Desk, Watching};
use crate::services::kv::{revision_of, run_txn};
use crate::services::lease::grant_lease;
use crate::services::range::read_range;
use crate::services::watch::create_of;

/// A caller inside a service.
#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) desk: Desk,
    call: Call,
}

impl Inner {
    pub(crate) fn new(desk: Desk, call: Call) -> Inner {
        Inner { desk, call }
    }

    /// A lease whose id is chosen here.
    ///
    /// # Errors
    /// Why the caller may not, or it could not be.
    pub(crate) async fn grant(&self, ttl: i64) -> Result<LeaseId, Refusal> {
        let request = pb::LeaseGrantRequest { ttl, id: 0 };
        let permitted = self.desk.admit(Rpc::LeaseGrant, &self.call, request).await?;
        grant_lease(&self.desk, permitted).await.map(|(_, id, _)| id)
    }

    /// A range, linearizable.
    ///
    /// # Errors
    /// Why the caller may not, or it could not be.
    pub(crate) async fn range(&self, request: pb::RangeRequest) -> Result<RangeAnswer, Refusal> {
        let permitted = self.desk.admit(Rpc::KvRange, &self.call, request).await?;
        read_range(&self.desk, permitted, None).await
    }

    /// A transaction.
    ///
    /// # Errors
    /// Why the caller may not, or it could not be.
    pub(crate) async fn txn(&self, request: pb::TxnRequest) -> Result<TxnAnswer, Refusal> {
        let permitted = self.desk.admit(Rpc::KvTxn, &self.call, request).await?;
        run_txn(&self.desk, permitted).await
    }

    /// Deletes a key; answers with the revision afterwards.
    ///
    /// # Errors
    /// Why the caller may not, or it could not be.
    pub(crate) async fn delete(&self, key: bytes::Bytes) -> Result<i64, Refusal> {
        let request = pb::DeleteRangeRequest { key, ..Default::default() };
        let permitted = self.desk.admit(Rpc::KvDeleteRange, &self.call, request).await?;
        let answer: Answer = self.desk.propose(permitted).await?;
        Ok(revision_of(&answer))
    }

    /// One watch on a stream of its own.
    ///
    /// # Errors
    /// Why the caller may not.
    pub(crate) async fn watch(&self, request: pb::WatchCreateRequest) -> Result<Watching, Refusal> {
        let create = create_of(&request);
        let permitted = self.desk.admit(Rpc::Watch, &self.call, request).await?;
        let stream = self.desk.watch(0);
        stream.create(Ok(permitted), create);
        Ok(stream)
    }
}
