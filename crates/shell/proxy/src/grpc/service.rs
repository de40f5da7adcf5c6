//! Every method of the proxy: what is passed on, what is shared, what is answered here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::ProxyMetrics;
use pb::request_op::Request;
use prost::Message;
use proto::etcdserverpb as pb;
use rpc::{Call, Inbound, Router, Rpc, Sink};
use tokio::time::sleep;
use types::{Code, KeyRange, Refusal};

use super::cache::Cache;
use super::keep_alive::KeepAlives;
use super::members::Members;
use super::namespace::Namespace;
use super::streams::{Change, both_ways, one_way};
use super::upstream::{Passed, Upstream, is_anonymous};
use super::watch::{self, Hub};

/// How often a read is tried again whose answer is older than one given before, for each endpoint.
const ORDER_ATTEMPTS: usize = 5;
const ORDER_DELAY: Duration = Duration::from_millis(25);

/// What etcd says when no endpoint has what was seen before.
const NO_GREATER_REVISION: &str =
    "etcdclient: no cluster members have a revision higher than the previously received revision";

/// What every call knows.
#[derive(Debug)]
pub struct Proxy {
    /// The servers.
    pub upstream: Arc<Upstream>,
    /// Which keys clients see.
    pub namespace: Namespace,
    /// Answers that are given again.
    pub cache: Cache,
    /// The newest revision answered, where answers must not go back (`--experimental-serializable-ordering`).
    pub newest: Option<AtomicI64>,
    /// Shared watches.
    pub hub: Arc<Hub>,
    /// Shared keep-alives.
    pub keep_alives: Arc<KeepAlives>,
    /// What `MemberList` says.
    pub members: Members,
    /// What is counted.
    pub metrics: Arc<ProxyMetrics>,
}

/// What becomes of a method's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// There is no such method here.
    Nowhere,
    /// Passed on.
    On,
    /// Passed on; it may change what is stored, or who may read it.
    Write,
    /// Passed on, with many answers.
    Stream,
    /// Answered from the cache, or passed on.
    Range,
    /// Answered here, or passed on.
    MemberList,
    /// Shared, or passed on.
    Watch,
    /// Shared, or passed on.
    KeepAlive,
}

fn way(rpc: Rpc) -> Way {
    match rpc {
        // As etcd's proxy: whether a server is healthy is asked of the server.
        Rpc::HealthCheck | Rpc::HealthList | Rpc::HealthWatch => Way::Nowhere,
        Rpc::Watch => Way::Watch,
        Rpc::LeaseKeepAlive => Way::KeepAlive,
        Rpc::KvRange => Way::Range,
        Rpc::ClusterMemberList => Way::MemberList,
        Rpc::KvRangeStream | Rpc::MaintenanceSnapshot | Rpc::ElectionObserve => Way::Stream,
        Rpc::AuthRoleGet
        | Rpc::AuthRoleList
        | Rpc::AuthStatus
        | Rpc::AuthUserGet
        | Rpc::AuthUserList
        | Rpc::Authenticate
        | Rpc::ElectionLeader
        | Rpc::LeaseGrant
        | Rpc::LeaseLeases
        | Rpc::LeaseTimeToLive
        | Rpc::MaintenanceAlarm
        | Rpc::MaintenanceHash
        | Rpc::MaintenanceHashKv
        | Rpc::MaintenanceStatus => Way::On,
        Rpc::AuthDisable
        | Rpc::AuthEnable
        | Rpc::AuthRoleAdd
        | Rpc::AuthRoleDelete
        | Rpc::AuthRoleGrantPermission
        | Rpc::AuthRoleRevokePermission
        | Rpc::AuthUserAdd
        | Rpc::AuthUserChangePassword
        | Rpc::AuthUserDelete
        | Rpc::AuthUserGrantRole
        | Rpc::AuthUserRevokeRole
        | Rpc::ClusterMemberAdd
        | Rpc::ClusterMemberPromote
        | Rpc::ClusterMemberRemove
        | Rpc::ClusterMemberUpdate
        | Rpc::ElectionCampaign
        | Rpc::ElectionProclaim
        | Rpc::ElectionResign
        | Rpc::KvCompact
        | Rpc::KvDeleteRange
        | Rpc::KvPut
        | Rpc::KvTxn
        | Rpc::LeaseRevoke
        | Rpc::Lock
        | Rpc::LockUnlock
        | Rpc::MaintenanceDefragment
        | Rpc::MaintenanceDowngrade
        | Rpc::MaintenanceMoveLeader => Way::Write,
    }
}

/// All methods.
pub fn router(proxy: &Arc<Proxy>) -> Router {
    let mut router = Router::new();
    for rpc in Rpc::ALL {
        let (proxy, path, way) = (proxy.clone(), rpc.path(), way(rpc));
        match way {
            Way::Nowhere => {}
            Way::Watch => router
                .bidi(path, move |call, inbound, sink| proxy.clone().watch(call, inbound, sink)),
            Way::KeepAlive => router.bidi(path, move |call, inbound, sink| {
                proxy.clone().keep_alive(call, inbound, sink)
            }),
            Way::Stream => router.server_stream(path, move |call, message, sink| {
                let proxy = proxy.clone();
                async move {
                    let Proxy { upstream, namespace, .. } = &*proxy;
                    one_way(upstream, namespace, call, rpc, message, sink).await
                }
            }),
            Way::On | Way::Write | Way::Range | Way::MemberList => {
                router.unary(path, move |call, message| {
                    let proxy = proxy.clone();
                    async move {
                        match way {
                            Way::Range => proxy.range(&call, message).await,
                            Way::MemberList => proxy.member_list(&call, message).await,
                            Way::Write => proxy.write(&call, rpc, message).await,
                            _ => proxy.pass(&call, rpc, message).await,
                        }
                    }
                });
            }
        }
    }
    router
}

/// Drops what a write may have changed, when it was answered or given up.
struct Writing<'a> {
    cache: &'a Cache,
    ranges: Vec<KeyRange>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.ranges.iter().for_each(|range| self.cache.written(range));
    }
}

impl Proxy {
    /// Asks the server, in the namespace and back.
    async fn pass(&self, call: &Call, rpc: Rpc, message: Bytes) -> Result<Passed, Refusal> {
        let message = self.namespace.enter(rpc, message)?;
        let passed = self.upstream.pass(call, rpc, &message).await?;
        self.namespace.leave(rpc, passed)
    }

    async fn write(&self, call: &Call, rpc: Rpc, message: Bytes) -> Result<Passed, Refusal> {
        let _writing = Writing { cache: &self.cache, ranges: written(rpc, &message)? };
        let passed = self.pass(call, rpc, message).await?;
        self.saw(&passed);
        Ok(passed)
    }

    async fn range(&self, call: &Call, message: Bytes) -> Result<Passed, Refusal> {
        let mut asked: pb::RangeRequest = rpc::decode(message.clone())?;
        let range = KeyRange::from_wire(&asked.key, &asked.range_end);
        let serializable = std::mem::replace(&mut asked.serializable, true);
        let may_share = is_anonymous(call) && !call.requires_leader();
        let (Ok(range), true) = (range, may_share) else {
            return self.ordered(call, serializable, message).await;
        };
        let key = Bytes::from(asked.encode_to_vec());
        let counters = &self.metrics.proxy;
        if serializable {
            let kept = self.cache.get(&key, Instant::now()).map(Passed::of);
            if let Some(kept) = kept.filter(|kept| self.is_new_enough(kept)) {
                counters.cache_hits.inc();
                return Ok(kept);
            }
            counters.cache_misses.inc();
        }
        let reading = self.cache.begin(range);
        let passed = self.ordered(call, serializable, message).await?;
        reading.end(key, passed.frame(), Instant::now());
        counters.cache_keys.set(self.cache.len() as i64);
        Ok(passed)
    }

    /// A read that is asked again of others while its answer is older than one given before.
    async fn ordered(
        &self,
        call: &Call,
        serializable: bool,
        message: Bytes,
    ) -> Result<Passed, Refusal> {
        let attempts = ORDER_ATTEMPTS * self.upstream.endpoints().len().max(1);
        for _ in 0..attempts {
            let passed = self.pass(call, Rpc::KvRange, message.clone()).await?;
            if !serializable || self.is_new_enough(&passed) {
                self.saw(&passed);
                return Ok(passed);
            }
            sleep(ORDER_DELAY).await;
        }
        Err(Refusal::Other(Code::Unknown, NO_GREATER_REVISION.into()))
    }

    fn is_new_enough(&self, passed: &Passed) -> bool {
        let newest = self.newest.as_ref().map(|newest| newest.load(Ordering::Acquire));
        newest.is_none_or(|newest| newest <= revision(passed))
    }

    fn saw(&self, passed: &Passed) {
        if let Some(newest) = &self.newest {
            newest.fetch_max(revision(passed), Ordering::AcqRel);
        }
    }

    async fn member_list(&self, call: &Call, message: Bytes) -> Result<Passed, Refusal> {
        match self.members.list() {
            Some(answer) => Ok(Passed::of(rpc::frame(&answer))),
            None => self.pass(call, Rpc::ClusterMemberList, message).await,
        }
    }

    async fn watch(
        self: Arc<Proxy>,
        call: Call,
        inbound: Inbound,
        sink: Sink,
    ) -> Result<(), Refusal> {
        if is_anonymous(&call) {
            return watch::serve(self.hub.clone(), call.requires_leader(), inbound, sink).await;
        }
        let enter = |message| enter_watch(&self.namespace, message);
        let leave = |passed| leave_watch(&self.namespace, passed);
        let change = Change { enter: &enter, leave: &leave };
        both_ways(&self.upstream, call, Rpc::Watch, inbound, sink, change).await
    }

    async fn keep_alive(
        self: Arc<Proxy>,
        call: Call,
        inbound: Inbound,
        sink: Sink,
    ) -> Result<(), Refusal> {
        if is_anonymous(&call) {
            let needs_leader = call.requires_leader();
            return self.keep_alives.clone().serve(needs_leader, inbound, sink).await;
        }
        let change = Change { enter: &Ok, leave: &Ok };
        both_ways(&self.upstream, call, Rpc::LeaseKeepAlive, inbound, sink, change).await
    }
}

fn enter_watch(namespace: &Namespace, message: Bytes) -> Result<Bytes, Refusal> {
    use pb::watch_request::RequestUnion;
    if namespace.is_everything() {
        return Ok(message);
    }
    let mut request: pb::WatchRequest = rpc::decode_streamed(message)?;
    if let Some(RequestUnion::CreateRequest(create)) = &mut request.request_union {
        namespace.enter_watch(&mut create.key, &mut create.range_end);
    }
    Ok(request.encode_to_vec().into())
}

fn leave_watch(namespace: &Namespace, passed: Passed) -> Result<Passed, Refusal> {
    if namespace.is_everything() {
        return Ok(passed);
    }
    let mut response: pb::WatchResponse = rpc::decode_streamed(passed.message())?;
    for event in &mut response.events {
        namespace.leave_row(&mut event.kv);
        namespace.leave_row(&mut event.prev_kv);
    }
    Ok(passed.with(rpc::frame(&response)))
}

/// The keys that a request may change, as the client calls them.
fn written(rpc: Rpc, message: &Bytes) -> Result<Vec<KeyRange>, Refusal> {
    let mut ranges = Vec::new();
    match rpc {
        Rpc::KvPut => {
            let put: pb::PutRequest = rpc::decode(message.clone())?;
            ranges.extend(KeyRange::from_wire(&put.key, &Bytes::new()));
        }
        Rpc::KvDeleteRange => {
            let delete: pb::DeleteRangeRequest = rpc::decode(message.clone())?;
            ranges.extend(KeyRange::from_wire(&delete.key, &delete.range_end));
        }
        Rpc::KvTxn => written_by(&rpc::decode(message.clone())?, &mut ranges),
        // Keys that hang on a lease, locks, old revisions, what somebody may read: anything.
        _ => ranges.push(KeyRange::all()),
    }
    Ok(ranges)
}

fn written_by(txn: &pb::TxnRequest, ranges: &mut Vec<KeyRange>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestPut(put)) => {
                ranges.extend(KeyRange::from_wire(&put.key, &Bytes::new()));
            }
            Some(Request::RequestDeleteRange(delete)) => {
                ranges.extend(KeyRange::from_wire(&delete.key, &delete.range_end));
            }
            Some(Request::RequestTxn(txn)) => written_by(txn, ranges),
            Some(Request::RequestRange(_)) | None => {}
        }
    }
}

/// Any answer, of which only the header is read.
#[derive(Clone, PartialEq, prost::Message)]
struct Headed {
    #[prost(message, optional, tag = "1")]
    header: Option<pb::ResponseHeader>,
}

fn revision(passed: &Passed) -> i64 {
    let read = Headed::decode(passed.message());
    read.ok().and_then(|read| read.header).map_or(0, |header| header.revision)
}
