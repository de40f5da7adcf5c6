//! A member as requests see it: propose, read, watch, ask.
//!
//! A [`Node`] may be cloned to any thread. Its asynchronous calls belong to a connection-serving thread:
//! they use that thread's lane, and must be made from a task of its local runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apply::{Answer, Asker, Member, ReadView, Request};
use auth::{Principal, Users, Why};
use bytes::Bytes;
use consensus::{Role, Scope, Standing};
use lease::{KeepAlive, TimeToLive};
use member::{ApplyingInput, Proposal, checkpoint_request, is_sure_to_lead};
use metrics::Metrics;
use mvcc::CompactionHashes;
use proto::etcdserverpb as pb;
use proto::raftpb;
use tokio::sync::{mpsc, oneshot};
use types::{Code, LeaseId, Limits, MemberId, Refusal};

use crate::Config;
use crate::engine::{EngineMessage, LEASE_PAGE};
use crate::lane::Lane;
use crate::shared::{ClusterView, Figures, Shared};
use crate::upkeep::hash_rows;

/// A member's handle.
#[derive(Clone)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
}

/// What is left of a lease.
#[derive(Debug)]
pub struct LeaseLeft {
    /// Remaining and granted time.
    pub time: TimeToLive,
    /// The keys that hang on it, if asked for.
    pub keys: Vec<bytes::Bytes>,
}

/// What became of a keep-alive.
pub type KeepAliveAnswer = KeepAlive;

/// One client's watch stream. Dropped, all its watches end.
pub struct WatchStream {
    node: Node,
    stream: watch::StreamId,
    responses: mpsc::UnboundedReceiver<Vec<watch::Response>>,
}

static STREAMS: AtomicU64 = AtomicU64::new(1);

impl Node {
    /// This member's id.
    pub fn member(&self) -> MemberId {
        self.shared.member
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id
    }

    /// The settings it was started with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Term, leader, role and commit index.
    pub fn standing(&self) -> Standing {
        self.shared.standing.load()
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.standing().role == Role::Leader
    }

    /// The last entry whose changes readers see.
    pub fn applied(&self) -> u64 {
        self.shared.applied.load(Ordering::SeqCst)
    }

    /// What readers see now.
    pub fn view(&self) -> Arc<ReadView> {
        self.shared.view.load_full()
    }

    /// The store's revision now.
    pub fn revision(&self) -> i64 {
        self.shared.figures.revision.load(Ordering::Acquire)
    }

    /// Proposals on their way.
    pub fn proposals_pending(&self) -> i64 {
        i64::try_from(self.shared.proposals.load(Ordering::Acquire)).unwrap_or(i64::MAX)
    }

    /// Bytes of them.
    pub fn proposal_bytes_pending(&self) -> i64 {
        i64::try_from(self.shared.proposal_bytes.load(Ordering::Acquire)).unwrap_or(i64::MAX)
    }

    /// The newest compaction of which nothing is left to forget; -1 for none.
    pub fn pruned(&self) -> i64 {
        self.shared.figures.pruned.load(Ordering::Acquire)
    }

    /// Members, version and alarms now.
    pub fn cluster(&self) -> Arc<ClusterView> {
        self.shared.cluster.load_full()
    }

    /// Sizes of the store.
    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// Hashes that compactions left behind.
    pub fn compaction_hashes(&self) -> CompactionHashes {
        self.shared.hashes.read().expect("no holder of the lock panics").clone()
    }

    /// The header every answer carries, at this revision.
    pub fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.shared.cluster_id,
            member_id: self.shared.member,
            revision,
            raft_term: self.standing().term,
        }
    }

    /// Whom a simple token stands for. Asking lengthens its life.
    pub fn token_owner(&self, token: &str) -> Option<Arc<str>> {
        self.shared.tokens(|tokens, now_ms| tokens.owner(token, now_ms))
    }

    /// Forgets all tokens: those of logins that an earlier run served come back while its log is replayed, and end
    /// with it.
    pub fn forget_tokens(&self) {
        self.shared.tokens(|tokens, _| tokens.drop_all());
    }

    /// Looks at users and roles as they are now.
    pub fn users<T>(&self, look: impl FnOnce(&Users) -> T) -> T {
        look(&self.shared.view.load().users)
    }

    /// Proposes a request in somebody's name and waits until it is applied.
    ///
    /// # Errors
    /// What applying it said; `RequestTooLarge`, `RequestTooManyRequests`, `Timeout`, `Stopped`.
    pub fn propose<'a>(
        &'a self,
        request: pb::InternalRaftRequest,
        by: &Principal,
    ) -> impl Future<Output = Result<Answer, Refusal>> + use<'a> {
        self.propose_scoped(request, by, Scope::Anyone)
    }

    fn propose_scoped<'a>(
        &'a self,
        request: pb::InternalRaftRequest,
        by: &Principal,
        scope: Scope,
    ) -> impl Future<Output = Result<Answer, Refusal>> + use<'a> {
        // The request is large and most of it empty. Encoded here, it is no part of what waits.
        let lane = Lane::here(&self.shared);
        let encoded = self.encoded(&lane, request, by, scope);
        async move {
            let (proposal, kind) = encoded?;
            let began = Instant::now();
            let outcome = self.decide(&lane, proposal).await;
            lane.took(kind, outcome.is_ok(), began.elapsed());
            outcome
        }
    }

    fn encoded(
        &self,
        lane: &Lane,
        request: pb::InternalRaftRequest,
        by: &Principal,
        scope: Scope,
    ) -> Result<(Proposal, &'static str), Refusal> {
        let kind = Request::name_in_message(&request);
        let asker = self.users(|users| {
            let caller = by.proposed_by(users);
            Asker { user: caller.name.to_owned(), auth_revision: caller.revision }
        });
        let proposal = Proposal::of(request, lane.next_id(), scope, asker);
        if self.shared.config.limits.request_bytes_max < proposal.data.len() {
            return Err(Refusal::RequestTooLarge);
        }
        Ok((proposal, kind))
    }

    /// Proposes what a member of 3.4 understands instead of [`Node::propose`], and waits until it is applied.
    ///
    /// # Errors
    /// As [`Node::propose`].
    pub async fn propose_v2_put(&self, path: String, value: String) -> Result<Answer, Refusal> {
        let lane = Lane::here(&self.shared);
        let proposal = Proposal::of_v2_put(path, value, lane.next_id());
        self.decide(&lane, proposal).await
    }

    /// Proposes a configuration change and waits until it is applied. Its id is set here.
    ///
    /// # Errors
    /// As [`Node::propose`].
    pub async fn propose_change(&self, change: raftpb::ConfChange) -> Result<Answer, Refusal> {
        let lane = Lane::here(&self.shared);
        let proposal = Proposal::of_change(change, lane.next_id());
        self.decide(&lane, proposal).await
    }

    pub(crate) async fn decide(
        &self,
        lane: &std::rc::Rc<Lane>,
        proposal: Proposal,
    ) -> Result<Answer, Refusal> {
        let _counted = Counted::enter(&self.shared, proposal.data.len())?;
        lane.propose(proposal).outcome().await
    }

    /// Waits until everything that was committed before this call can be read: what a linearizable
    /// read must do before it looks at [`Node::view`].
    ///
    /// # Errors
    /// `Timeout` and `Stopped`.
    pub async fn barrier(&self) -> Result<(), Refusal> {
        let lane = Lane::here(&self.shared);
        lane.barrier().await.unwrap_or(Err(Refusal::Stopped))
    }

    /// An id that no other member and no other call gets, with the highest bit clear: for leases.
    pub fn next_lease_id(&self) -> LeaseId {
        let id = Lane::here(&self.shared).next_id() & (u64::MAX >> 1);
        i64::try_from(id).expect("the highest bit is clear")
    }

    /// Starts a lease's time over. Where the lease has a checkpoint this waits until that is cleared, on
    /// whoever leads next too.
    ///
    /// Guarantee (leases end once): what was said before the wait is not the answer. The lease may have
    /// ended meanwhile, or may end sooner than its holder would believe; so it is kept alive once more.
    ///
    /// # Errors
    /// As [`Node::propose`].
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<KeepAliveAnswer, Refusal> {
        Lane::not_alone();
        loop {
            self.make_sure_to_lead().await?;
            let led_in = self.standing().term;
            let kept = self.renew(lease, led_in).await?;
            let KeepAlive::Renewed { clear: Some(checkpoint), .. } = kept else { return Ok(kept) };
            let cleared = checkpoint_request(vec![checkpoint]);
            let by = Principal::Internal(Why::Leases);
            self.propose_scoped(cleared, &by, Scope::LeaderOf(led_in)).await?;
        }
    }

    /// A leader that was stopped for a while may have been replaced without knowing. It asks the others when it has
    /// not heard of a majority for half an election timeout; all that ask in one turn share the question.
    async fn make_sure_to_lead(&self) -> Result<(), Refusal> {
        if self.shared.is_alone() || !self.is_leader() {
            return Ok(());
        }
        let heard = self.shared.quorum_heard_ms.load(Ordering::Acquire);
        let election_ms = millis(self.shared.config.election_timeout());
        if is_sure_to_lead(heard, self.shared.now_ms(), election_ms) {
            return Ok(());
        }
        let term = self.standing().term;
        self.barrier().await?;
        let standing = self.standing();
        let leads = standing.role == Role::Leader && standing.term == term;
        if leads { Ok(()) } else { Err(Refusal::LeaderChanged) }
    }

    async fn renew(&self, lease: LeaseId, led_in: u64) -> Result<KeepAliveAnswer, Refusal> {
        let here = self.shared.engine_here.get().and_then(std::sync::Weak::upgrade);
        // On this thread if the engine is idle, which saves waking its own.
        let now =
            here.as_ref().and_then(|engine| engine.now()).map(|mut e| e.keep_alive(lease, led_in));
        match now {
            Some(kept) => Ok(kept),
            None => self.ask(|answer| EngineMessage::KeepAlive { lease, led_in, answer }).await,
        }
    }

    /// What is left of a lease; `None` if there is none.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> Result<Option<LeaseLeft>, Refusal> {
        let time = self.ask(|answer| EngineMessage::TimeToLive { lease, answer }).await?;
        let Some(time) = time else { return Ok(None) };
        let keys = if keys { self.lease_keys(lease).await? } else { Vec::new() };
        Ok(Some(LeaseLeft { time, keys }))
    }

    async fn lease_keys(&self, lease: LeaseId) -> Result<Vec<Bytes>, Refusal> {
        let mut keys: Vec<Bytes> = Vec::new();
        loop {
            let after = keys.last().cloned();
            let page = self.ask(|answer| EngineMessage::LeaseKeys { lease, after, answer }).await?;
            let is_last = page.len() < LEASE_PAGE;
            keys.extend(page);
            if is_last {
                return Ok(keys);
            }
        }
    }

    /// All leases by id, each with a number by which the one that ends first comes first. They are listed while others
    /// are granted and end: each was there at some moment of the call.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn leases(&self) -> Result<Vec<(u64, LeaseId)>, Refusal> {
        let mut leases: Vec<(u64, LeaseId)> = Vec::new();
        loop {
            let after = leases.last().map(|(_, id)| *id);
            let page = self.ask(|answer| EngineMessage::Leases { after, answer }).await?;
            let is_last = page.len() < LEASE_PAGE;
            leases.extend(page);
            if is_last {
                return Ok(leases);
            }
        }
    }

    /// Cleans the store completely. Others are served meanwhile.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn defragment(&self) -> Result<(), Refusal> {
        self.ask(|answer| EngineMessage::Defragment { answer }).await
    }

    /// The whole replicated state at one entry, for a snapshot file.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn snapshot(&self) -> Result<(ReadView, store::State), Refusal> {
        self.ask(|answer| EngineMessage::Snapshot { answer }).await
    }

    pub(crate) async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> EngineMessage,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        self.shared.engine.send(question(sender)).map_err(|_| Refusal::Stopped)?;
        receiver.await.map_err(|_| Refusal::Stopped)
    }

    /// Feeds a hasher from a view's log. Takes as long as reading the log does: not for a thread that
    /// serves others.
    ///
    /// # Errors
    /// What the store could not read.
    pub fn hash(
        view: &ReadView,
        hasher: mvcc::Hasher,
    ) -> Result<mvcc::HashTriple, store::StoreError> {
        let triple = Node::hash_while(view, hasher, &mut || true)?;
        Ok(triple.expect("it was not told to stop"))
    }

    /// The same, as long as it is `wanted`, which is asked now and then; `None` when it was not.
    ///
    /// # Errors
    /// As [`Node::hash`].
    pub fn hash_while(
        view: &ReadView,
        hasher: mvcc::Hasher,
        wanted: &mut dyn FnMut() -> bool,
    ) -> Result<Option<mvcc::HashTriple>, store::StoreError> {
        hash_rows(hasher, &view.log, wanted)
    }

    /// Opens a watch stream. `jitter` in 0..=99 spreads the periodic progress of many streams.
    pub fn watch(&self, jitter: u64) -> WatchStream {
        let (sender, responses) = mpsc::unbounded_channel();
        let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
        let interval = self.shared.config.watch_progress;
        let interval = interval + interval / 10 * u32::try_from(jitter % 100).unwrap_or(0) / 100;
        let _ = self.shared.engine.send(EngineMessage::StreamOpened {
            stream,
            progress_interval_ms: millis(interval),
            responses: sender,
        });
        WatchStream { node: self.clone(), stream, responses }
    }

    /// This member, as the cluster knows it.
    pub fn own_member(&self) -> Option<Member> {
        self.cluster().members.own_member().cloned()
    }

    /// Whether this member has no vote.
    pub fn is_learner(&self) -> bool {
        let cluster = self.shared.cluster.load();
        cluster.members.own_member().is_some_and(|member| member.is_learner)
    }

    /// When this member last heard of a new leader.
    pub fn led_since(&self) -> Option<Instant> {
        match self.shared.led_since_ms.load(Ordering::Acquire) {
            0 => None,
            ms => Some(self.shared.started + Duration::from_millis(ms)),
        }
    }

    /// Milliseconds on the member's clock, which only moves forward.
    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    /// Whether the member is on its way down.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Notes how long a read took, for those that take too long.
    pub fn read_took(&self, prefix: &'static str, took: Duration, what: &dyn Fn() -> String) {
        if self.shared.report.took(prefix, took, what) {
            self.shared.metrics.server.slow_applies.inc();
        }
    }

    /// What a reader is told for whom the store has no answer. Where something cannot be read, that alone is
    /// refused; any other fault ends the process.
    pub fn fault(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) -> Refusal {
        let text = crate::report::chain(error);
        if crate::report::is_damage(error) {
            return Refusal::Other(Code::DataLoss, format!("etcdserver: {what}: {text}").into());
        }
        self.shared.report.report(crate::Event::Fatal { what, error: text });
        Refusal::Stopped
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl WatchStream {
    /// Asks for a watch.
    pub fn create(&self, create: watch::Create) {
        self.step(watch::Input::Create { stream: self.stream, create });
    }

    /// Asks to end a watch.
    pub fn cancel(&self, watch: watch::WatchId) {
        self.step(watch::Input::Cancel { stream: self.stream, watch });
    }

    /// Asks how far the stream has come.
    pub fn request_progress(&self) {
        self.step(watch::Input::ProgressRequested { stream: self.stream });
    }

    /// The next responses, in order; `None` when the member stops.
    pub async fn next(&mut self) -> Option<Vec<watch::Response>> {
        self.responses.recv().await
    }

    /// Says that responses have left, which makes room for more.
    pub fn sent(&self, responses: usize, bytes: usize) {
        self.step(watch::Input::Sent { stream: self.stream, responses, bytes });
    }

    fn step(&self, input: watch::Input) {
        Lane::not_alone();
        let _ = self.node.shared.engine.send(EngineMessage::Do(ApplyingInput::Watch(input)));
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.step(watch::Input::StreamClosed { stream: self.stream });
    }
}

/// A proposal under way, for the bounds on them.
struct Counted<'a> {
    shared: &'a Shared,
    bytes: usize,
}

impl Counted<'_> {
    fn enter(shared: &Shared, bytes: usize) -> Result<Counted<'_>, Refusal> {
        let limits = &shared.config.limits;
        let proposals = shared.proposals.fetch_add(1, Ordering::AcqRel);
        let bytes_before = shared.proposal_bytes.fetch_add(bytes, Ordering::AcqRel);
        let counted = Counted { shared, bytes };
        let room = proposals < limits.proposals_pending_max
            && bytes_before + bytes <= limits.proposals_pending_bytes_max;
        if room { Ok(counted) } else { Err(Refusal::RequestTooManyRequests) }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.shared.proposals.fetch_sub(1, Ordering::AcqRel);
        self.shared.proposal_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
