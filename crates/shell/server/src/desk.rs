//! The desk: all that services may ask of a member.
//!
//! A member's handle gives everything to whoever holds it. So services do not hold one: they hold a desk, which
//! gives facts to everybody, and everything that reads or changes the keyspace, users or members only for a
//! [`Permitted`] message. A service that forgets to ask does not compile.
//!
//! Not here: who is permitted what (see `auth`), who somebody is (see `gatekeeper`).
//!
//! Circle: services get a desk, and a desk decides by the gatekeeper, who asks for logins by the services' own words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apply::{Answer, Decidable, ReadView};
use auth::{Leases, Needs, Permitted, Principal, Rule, rule};
use consensus::{Progress, Standing};
use lease::KeepAlive;
use metrics::Metrics;
use mvcc::CompactionHashes;
use node::{ClusterView, Config, Figures, LeaseLeft, Node, WatchStream};
use proto::etcdserverpb as pb;
use proto::raftpb;
use rpc::{Call, Rpc, Turn, Wanted, aside};
use tokio::sync::watch as watch_channel;
use types::{LeaseId, Limits, MemberId, Refusal, Version};

use crate::cluster::Network;
use crate::gatekeeper::{AboutLeases, Gatekeeper};
use crate::leader::Outlook;
use crate::login::Password;
use crate::proposals::{Asked, ChangesMembers, IntoRaft};
use crate::services::room;

/// What services hold.
#[derive(Clone)]
pub(crate) struct Desk {
    node: Node,
    gatekeeper: Arc<Gatekeeper>,
    network: Arc<Network>,
    /// Whether clients are served; who watches the member's health is told.
    serves: Arc<watch_channel::Sender<bool>>,
}

/// Messages whose sender may see the keyspace at one moment.
pub(crate) trait Reads: Needs {}

impl Reads for pb::RangeRequest {}
impl Reads for pb::TxnRequest {}
impl Reads for pb::HashKvRequest {}
/// How long the answer of a deletion will be is read off the keys it deletes.
impl Reads for pb::DeleteRangeRequest {}
/// Whether a value that is to be kept is there.
impl Reads for pb::PutRequest {}

/// Messages whose sender may have everything.
pub(crate) trait ReadsAll: Needs {}

impl ReadsAll for pb::SnapshotRequest {}
impl ReadsAll for pb::HashRequest {}

impl Desk {
    pub(crate) fn new(node: Node, gatekeeper: Arc<Gatekeeper>, network: Arc<Network>) -> Desk {
        let serves = Arc::new(watch_channel::Sender::new(true));
        Desk { node, gatekeeper, network, serves }
    }

    /// Says that clients will not be served any more.
    pub(crate) fn stop_serving(&self) {
        self.serves.send_replace(false);
    }

    /// Whether clients are served, and when that changes.
    pub(crate) fn serves(&self) -> watch_channel::Receiver<bool> {
        self.serves.subscribe()
    }

    /// The way to the other members.
    pub(crate) fn network(&self) -> &Arc<Network> {
        &self.network
    }
}

/// Where messages become permitted.
impl Desk {
    /// Lets a message in.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn admit<M: Asked>(
        &self,
        rpc: Rpc,
        call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        self.gatekeeper.admit(&self.node, rule(rpc), call, message).await
    }

    /// Lets a question about leases in.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn admit_with_keys<M: AboutLeases>(
        &self,
        rpc: Rpc,
        call: &Call,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        self.gatekeeper.admit_with_keys(&self.node, rule(rpc), call, message).await
    }

    /// Lets a message in without asking who sends it.
    ///
    /// # Errors
    /// When it needs somebody.
    pub(crate) fn admit_anybody<M: Asked>(
        &self,
        rpc: Rpc,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        assert!(rule(rpc) == Rule::Open, "{rpc} asks who calls");
        message.check(self.node.limits())?;
        self.readmit(Principal::Nobody, message)
    }

    /// Lets a message in that is made of other requests; each of those will be asked about.
    ///
    /// # Errors
    /// When it has not its form.
    pub(crate) fn admit_outer<M: Asked>(
        &self,
        rpc: Rpc,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        assert!(rule(rpc) == Rule::Inner, "{rpc} asks for something itself");
        message.check(self.node.limits())?;
        self.readmit(Principal::Nobody, message)
    }

    /// Lets a message in that another member hands on for whoever holds this token.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn admit_for<M: Asked>(
        &self,
        rpc: Rpc,
        token: Option<String>,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        message.check(self.node.limits())?;
        let by = self.gatekeeper.principal_of(&self.node, token.as_deref()).await?;
        self.node.users(|users| users.admit(rule(rpc), by, message, Leases::DecidedAtApply))
    }

    /// Lets a message in that was changed here since its sender was asked for.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn readmit<M: Needs>(
        &self,
        by: Principal,
        message: M,
    ) -> Result<Permitted<M>, Refusal> {
        self.node.users(|users| users.admit(Rule::AsAsked, by, message, Leases::DecidedAtApply))
    }
}

/// Passwords.
impl Desk {
    /// Makes a token for whoever knows the password; answers with the revision too.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn login(
        &self,
        permitted: Permitted<pb::AuthenticateRequest>,
    ) -> Result<(i64, String), Refusal> {
        let mut request = permitted.into_message();
        let password = Password::take(&mut request.password);
        self.gatekeeper.login(&self.node, &request.name, password).await
    }

    /// Whether members of 3.4 are there, which know neither what [`Desk::hash`] makes nor an entry that asks for the
    /// state of users.
    pub(crate) fn is_among_3_4(&self) -> bool {
        let agreed = self.node.cluster().members.version();
        agreed.is_some_and(|version| version < Version::new(3, 5))
    }

    /// The store's revision, whether users are asked for, and their revision: read here, as of now.
    ///
    /// # Errors
    /// Those of [`Node::barrier`].
    pub(crate) async fn auth_status(&self) -> Result<(i64, bool, u64), Refusal> {
        self.node.barrier().await?;
        let view = self.node.view();
        Ok((view.index.current_revision(), view.users.is_enabled(), view.users.revision()))
    }

    /// What to propose for a password.
    ///
    /// # Errors
    /// When too many wait for theirs.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Refusal> {
        self.gatekeeper.hash(password).await
    }
}

/// What needs a permitted message.
impl Desk {
    /// Proposes a message and waits until it is applied, where it is decided about once more.
    ///
    /// # Errors
    /// What applying it said, and those of [`Node::propose`].
    pub(crate) fn propose<'a, M: IntoRaft>(
        &'a self,
        permitted: Permitted<M>,
    ) -> impl Future<Output = Result<Answer, Refusal>> + use<'a, M> {
        let asked = Instant::now();
        let (message, by) = permitted.split();
        let proposed = self.node.propose(message.into_raft(), &by);
        async move { proposed.await.map_err(|why| self.explained(why, asked)) }
    }

    /// Proposes a change of members.
    ///
    /// # Errors
    /// As [`Desk::propose`].
    pub(crate) async fn propose_change<M: ChangesMembers>(
        &self,
        _permitted: &Permitted<M>,
        change: raftpb::ConfChange,
    ) -> Result<Answer, Refusal> {
        let asked = Instant::now();
        self.node.propose_change(change).await.map_err(|why| self.explained(why, asked))
    }

    /// Says more of a request that was not decided in time.
    fn explained(&self, why: Refusal, asked: Instant) -> Refusal {
        if why != Refusal::Timeout {
            return why;
        }
        let members: Vec<MemberId> = self.cluster().members.members().map(|m| m.id).collect();
        let outlook = Outlook {
            own: self.member(),
            leader: self.standing().leader,
            led_since: self.node.led_since(),
            election_timeout: self.config().election_timeout(),
            members: &members,
            active_since: &|id| self.network.active_since(id),
        };
        outlook.why_late(asked)
    }

    /// Hands leadership to a member. What came of it shows in [`Desk::standing`].
    pub(crate) fn transfer(&self, permitted: &Permitted<pb::MoveLeaderRequest>) {
        self.node.transfer(permitted.message().target_id);
    }

    /// What this member knows of each, as its leader.
    pub(crate) fn progress(
        &self,
        _permitted: &Permitted<pb::MemberPromoteRequest>,
    ) -> Arc<Vec<Progress>> {
        self.node.progress()
    }

    /// What readers see from the moment on at which this may be read. Whoever waited is asked about again. For a
    /// `call` whose client reads too little it waits.
    ///
    /// # Errors
    /// Those of the wait; what changed meanwhile.
    pub(crate) async fn settled<M: Reads>(
        &self,
        permitted: &Permitted<M>,
        serializable: bool,
        call: Option<&Call>,
    ) -> Result<Arc<ReadView>, Refusal> {
        if !serializable {
            self.node.barrier().await?;
        }
        room(call).await;
        let view = self.node.view();
        permitted.still(&view.users)?;
        Ok(view)
    }

    /// Says whether this member can decide about a change, as far as can be seen now: whether the rows are there that
    /// it hangs on. Once it is in the log, a member without them has to stop.
    ///
    /// # Errors
    /// `DataLoss`, with what is lost.
    pub(crate) async fn decidable<M>(&self, permitted: &Permitted<M>) -> Result<(), Refusal>
    where
        M: Reads + Decidable + Clone + Send + 'static,
    {
        let view = self.node.view();
        let message = permitted.message();
        let read = if message.hangs_on_ranges() {
            let message = message.clone();
            let read = move |_: &Wanted| message.decidable(&view.index, &view.rows());
            aside(Turn::take(None).await?, read).await?
        } else {
            message.decidable(&view.index, &view.rows())
        };
        read.map_err(|fault| self.node.fault("nothing was changed", &fault))
    }

    /// What readers see now.
    pub(crate) fn view<M: Reads>(&self, _permitted: &Permitted<M>) -> Arc<ReadView> {
        self.node.view()
    }

    /// Says whether what was read may be shown: users and roles are as they were when its reader was known.
    ///
    /// # Errors
    /// `AuthOldRevision`.
    pub(crate) fn still_as_it_was<M>(&self, permitted: &Permitted<M>) -> Result<(), Refusal> {
        self.node.users(|users| permitted.unchanged(users))
    }

    /// Everything at one entry.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) async fn snapshot<M: ReadsAll>(
        &self,
        _permitted: &Permitted<M>,
    ) -> Result<(ReadView, store::State), Refusal> {
        self.node.snapshot().await
    }

    /// Cleans the store.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) async fn defragment(
        &self,
        _permitted: &Permitted<pb::DefragmentRequest>,
    ) -> Result<(), Refusal> {
        self.node.defragment().await
    }

    /// Starts a lease's time over.
    ///
    /// # Errors
    /// As [`Node::keep_alive`].
    pub(crate) async fn keep_alive(
        &self,
        permitted: &Permitted<pb::LeaseKeepAliveRequest>,
    ) -> Result<KeepAlive, Refusal> {
        self.node.keep_alive(permitted.message().id).await
    }

    /// What is left of a lease.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) async fn time_to_live(
        &self,
        permitted: &Permitted<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Option<LeaseLeft>, Refusal> {
        let request = permitted.message();
        self.node.time_to_live(request.id, request.keys).await
    }

    /// All leases, in no order, each behind a number by which the one that ends first comes first.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) async fn leases(
        &self,
        _permitted: &Permitted<pb::LeaseLeasesRequest>,
    ) -> Result<Vec<(u64, LeaseId)>, Refusal> {
        self.node.leases().await
    }

    /// Opens a stream of watches; each one is permitted for itself.
    pub(crate) fn watch(&self, jitter: u64) -> Watching {
        Watching(self.node.watch(jitter))
    }

    /// Waits until everything committed so far is applied; what is read afterwards is its reader's to be
    /// permitted.
    ///
    /// # Errors
    /// As [`Node::barrier`].
    pub(crate) async fn barrier(&self) -> Result<(), Refusal> {
        self.node.barrier().await
    }
}

/// A stream of watches.
pub(crate) struct Watching(WatchStream);

impl Watching {
    /// Asks for a watch, or has it refused on the stream.
    pub(crate) fn create(
        &self,
        asked: Result<Permitted<pb::WatchCreateRequest>, Refusal>,
        create: watch::Create,
    ) {
        self.0.create(watch::Create { permission: asked.map(drop), ..create });
    }

    pub(crate) fn cancel(&self, watch: watch::WatchId) {
        self.0.cancel(watch);
    }

    pub(crate) fn request_progress(&self) {
        self.0.request_progress();
    }

    pub(crate) async fn next(&mut self) -> Option<Vec<watch::Response>> {
        self.0.next().await
    }

    pub(crate) fn sent(&self, responses: usize, bytes: usize) {
        self.0.sent(responses, bytes);
    }
}

/// Facts, for everybody who was let in.
impl Desk {
    pub(crate) fn member(&self) -> MemberId {
        self.node.member()
    }

    pub(crate) fn config(&self) -> &Config {
        self.node.config()
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.node.limits()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.node.metrics()
    }

    pub(crate) fn standing(&self) -> Standing {
        self.node.standing()
    }

    pub(crate) fn applied(&self) -> u64 {
        self.node.applied()
    }

    pub(crate) fn revision(&self) -> i64 {
        self.node.revision()
    }

    pub(crate) fn pruned(&self) -> i64 {
        self.node.pruned()
    }

    pub(crate) fn cluster(&self) -> Arc<ClusterView> {
        self.node.cluster()
    }

    pub(crate) fn figures(&self) -> &Figures {
        self.node.figures()
    }

    pub(crate) fn compaction_hashes(&self) -> CompactionHashes {
        self.node.compaction_hashes()
    }

    pub(crate) fn header(&self, revision: i64) -> pb::ResponseHeader {
        self.node.header(revision)
    }

    pub(crate) fn next_lease_id(&self) -> LeaseId {
        self.node.next_lease_id()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.node.is_stopping()
    }

    pub(crate) fn read_took(
        &self,
        prefix: &'static str,
        took: Duration,
        what: &dyn Fn() -> String,
    ) {
        self.node.read_took(prefix, took, what);
    }

    pub(crate) fn fault(
        &self,
        what: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> Refusal {
        self.node.fault(what, error)
    }

    /// Milliseconds on the member's clock, which only moves forward.
    pub(crate) fn now_ms(&self) -> u64 {
        self.node.now_ms()
    }

    /// For the door itself, which works before anybody is permitted anything.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }
}
