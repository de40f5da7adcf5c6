//! The half of a member that applies: entries in, answers, events and housekeeping out.
//!
//! It owns the replicated state (through [`Applier`]), the watch hub, and what follows from applied
//! entries: a leader begins to count the time of leases, an exceeded quota raises an alarm, a compaction is
//! hashed and pruned. A machine: slow things are effects whose results come back as calls.
//!
//! Guarantee (visible before answered): the view that holds a change is published before anybody is
//! told that the change is made.
//!
//! Not here: which entry comes next (see `front`), threads (see `node`), sockets (see `server`).

use std::sync::Arc;

use apply::{Applied, Applier, Asker, Change, Fact, Fault, HashJob, ReadView, Upkeep};
use auth::{Principal, TokenChange, Why};
use lease::{Checkpoint, KeepAlive, Primary, TimeToLive};
use mvcc::HashTriple;
use planted::planted;
use proto::etcdserverpb as pb;
use proto::membershippb;
use proto::raftpb::ConfChange;
use store::{SyncHandle, Synced};
use types::{ConfState, Entry, LeaseId, MemberId, Refusal, Version};
use watch::{Changes, Event, Hub, Previous};

use consensus::{Role, Scope, Standing};

/// Habits of the applying half.
#[derive(Clone, Debug)]
pub struct Options {
    /// This member.
    pub member: MemberId,
    /// How long leases are extended when this member becomes leader: the election timeout.
    pub election_ms: u64,
    /// The cluster version this member's release stands for.
    pub cluster_version: Version,
    /// Everything up to this entry was committed when this run began: nobody of this run waits for it. What comes
    /// later is answered by its id, which no other run gave.
    pub committed_before: u64,
}

/// Everything the engine can ask for.
#[derive(Debug)]
pub enum Effect {
    /// Readers may see this state from now on.
    Publish(Box<ReadView>),
    /// Tell a proposer what came of its request.
    Reply {
        /// The request's id.
        id: u64,
        /// The kind of request, as etcd's metrics spell it.
        operation: &'static str,
        /// What came of it.
        result: Result<apply::Answer, Refusal>,
    },
    /// Put a response into a watch stream's queue.
    Send {
        /// The stream.
        stream: watch::StreamId,
        /// What to send.
        response: watch::Response,
    },
    /// Read history on another thread; the result is due in [`Engine::watch`].
    ReadHistory(watch::HistoryRequest),
    /// Compute a compaction's hash on another thread; the result is due in [`Engine::hashed`].
    Hash(HashJob),
    /// Propose this; nobody waits for the answer.
    Propose {
        /// What.
        request: Box<pb::InternalRaftRequest>,
        /// On whose behalf: the member's own.
        asker: Asker,
        /// Who may take it. What is decided as a leader dies with the term.
        scope: Scope,
    },
    /// Tell the front.
    Applied {
        /// The last entry applied.
        index: u64,
        /// Configuration changes, in order; `None` for one that was refused.
        changes: Vec<Option<ConfChange>>,
    },
    /// Members, the cluster's version or alarms changed: whoever shows them looks again.
    Cluster,
    /// Sync the store and report it to the front, although it has not asked: the log is to be marked, so that no
    /// older release has to read what this one wrote before.
    SyncStore,
    /// This member was removed from its cluster. What it still has to say may leave; then it ends.
    Removed,
    /// Tell somebody who watches the API v2's tree.
    V2Told(v2::Told),
    /// Nothing will come any more for anybody who watches it: the tree is another one.
    V2Ended,
    /// A node of it ends at this moment: when that has come, propose to remove what has ended.
    V2Ends {
        /// When the first one does.
        first: v2::UnixNanos,
        /// Who may take it.
        scope: Scope,
    },
    /// What an entry means for the tokens this member remembers. Comes before the view that holds the entry: who
    /// sees it applied may use its token.
    Tokens(TokenChange),
}

/// What the store is known to hold, synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The last entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Who votes at that index.
    pub conf_state: ConfState,
}

/// A sync under way: what it will have made durable.
#[derive(Debug)]
pub struct Syncing {
    /// To be run on another thread.
    pub handle: SyncHandle,
    /// True once it has run.
    pub stored: Stored,
}

/// Rows of one revision that are handed to watchers at once, and whose former rows are read for them while
/// everybody waits. Of a larger one (a deletion of a wide range) its watchers read history, on another thread and
/// in pieces.
const ROWS_HANDED_OVER_MAX: usize = 1000;

/// The applying half of one member.
pub struct Engine {
    applier: Applier,
    hub: Hub,
    v2: v2::Hub,
    /// When the API v2's ends were last looked at.
    v2_looked_ms: u64,
    options: Options,
    standing: Standing,
    /// There from the first entry of a term in which this member leads until it has lost that term.
    primary: Option<Primary>,
}

/// What a group of entries leads to, by when others hear of it.
#[derive(Default)]
struct Group {
    /// Before anybody sees the group's state.
    tokens: Vec<Effect>,
    /// With its last entry.
    changes: Vec<Option<ConfChange>>,
    /// In between, in order.
    told: Vec<Effect>,
}

/// How often the leader looks at what has ended in the API v2's tree.
const V2_LOOKS_EVERY_MS: u64 = 500;

/// Leases that get their first deadlines from a new leader in one go: a few milliseconds.
const LEASES_PER_STEP: usize = 10_000;

impl Engine {
    /// An engine over an applied state.
    pub fn new(applier: Applier, limits: watch::Limits, options: Options) -> Engine {
        let hub = Hub::new(limits, applier.revision(), applier.compact_revision());
        let v2 = v2::Hub::new(applier.v2().index());
        Engine {
            applier,
            hub,
            v2,
            v2_looked_ms: 0,
            options,
            standing: Standing::default(),
            primary: None,
        }
    }

    /// Applies committed entries, in order, as one group.
    ///
    /// # Errors
    /// [`Fault`]: the store failed, the member must stop, and none of the effects of this group may be
    /// acted on.
    pub fn apply(&mut self, entries: &[Entry], now_ms: u64) -> Result<Vec<Effect>, Fault> {
        let mut group = Group::default();
        group.told.reserve(entries.len() + 2);
        let mut index = 0;
        for entry in entries {
            let applied = self.applier.apply(entry)?;
            index = applied.index;
            self.after(applied, entry.term, now_ms, &mut group)?;
        }
        self.applier.flush()?;
        let Group { tokens, changes, mut told } = group;
        let mut effects = Vec::with_capacity(tokens.len() + told.len() + 2);
        effects.extend(tokens);
        effects.push(Effect::Publish(Box::new(self.applier.view())));
        effects.append(&mut told);
        effects.push(Effect::Applied { index, changes });
        Ok(effects)
    }

    fn after(
        &mut self,
        applied: Applied,
        term: u64,
        now_ms: u64,
        group: &mut Group,
    ) -> Result<(), Fault> {
        let effects = &mut group.told;
        let Applied { index, request, operation, result, changes: made, facts } = applied;
        if request != 0 && self.options.committed_before < index {
            effects.push(Effect::Reply { id: request, operation, result });
        }
        if let Some(made) = made {
            let input = if made.rows.len() <= ROWS_HANDED_OVER_MAX {
                watch::Input::Applied(Arc::new(self.events(made)?))
            } else {
                watch::Input::Passed { revision: made.revision, rows: made.rows }
            };
            self.hub_step(input, effects);
        }
        for fact in facts {
            match fact {
                Fact::TermStarted => self.term_started(term, now_ms, effects),
                Fact::Configuration(change) => {
                    group.changes.push(match change {
                        Change::Made(change) => Some(*change),
                        Change::Refused => None,
                    });
                    effects.push(Effect::Cluster);
                }
                Fact::Compacted { revision } => {
                    self.hub_step(watch::Input::Compacted { revision }, effects);
                    effects.extend(self.applier.take_hash_job().map(Effect::Hash));
                }
                Fact::Users(change) => group.tokens.push(Effect::Tokens(change)),
                Fact::V2(passed) => {
                    effects.extend(self.v2.pass(&passed).into_iter().map(Effect::V2Told));
                }
                Fact::QuotaExceeded => effects.extend(self.raise_no_space()),
                Fact::LeaseGranted(lease) => {
                    self.primary.iter_mut().for_each(|primary| primary.granted(&lease, now_ms));
                }
                Fact::LeaseRevoked(lease) => {
                    self.primary.iter_mut().for_each(|primary| primary.revoked(lease));
                }
                Fact::LeaseCheckpointed(lease) => {
                    self.primary
                        .iter_mut()
                        .for_each(|primary| primary.checkpointed(&lease, now_ms));
                }
                Fact::Alarms | Fact::Membership => effects.push(Effect::Cluster),
                Fact::Version { before, now } => {
                    let lowered = before.is_some_and(|before| now < before);
                    effects.extend(lowered.then_some(Effect::SyncStore));
                }
                Fact::Removed => effects.push(Effect::Removed),
            }
        }
        Ok(())
    }

    fn events(&self, made: mvcc::Changes) -> Result<Changes, Fault> {
        let wanted: Vec<bool> = made.rows.iter().map(|row| self.hub.wants_previous(row)).collect();
        let mut wanted = wanted;
        let previous = match wanted.contains(&true).then(|| self.applier.previous(&made)) {
            None => vec![None; made.rows.len()],
            // Whoever wants it asks history, which knows what to do about it.
            Some(Err(Fault::Store(error))) if error.is_damage() => {
                wanted.fill(false);
                vec![None; made.rows.len()]
            }
            Some(previous) => previous?,
        };
        let events = made
            .rows
            .into_iter()
            .zip(previous)
            .zip(wanted)
            .map(|((row, previous), wanted)| {
                let previous = match previous {
                    _ if !wanted => Previous::Unloaded,
                    Some(previous) => Previous::Row(previous),
                    None => Previous::Absent,
                };
                Event { row, previous }
            })
            .collect();
        Ok(Changes { revision: made.revision, events })
    }

    fn hub_step(&mut self, input: watch::Input, effects: &mut Vec<Effect>) {
        for effect in self.hub.step(input) {
            effects.push(match effect {
                watch::Effect::Send { stream, response } => Effect::Send { stream, response },
                watch::Effect::ReadHistory(request) => Effect::ReadHistory(request),
            });
        }
    }

    /// The first entry of a term reached this member. If it leads, leases begin to run, and the cluster's version is
    /// proposed when nobody has done so.
    fn term_started(&mut self, term: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        // An empty entry may come twice in a term: raft puts one in place of a change it does not take.
        let leads = self.standing.role == Role::Leader && self.standing.term == term;
        if !leads || self.primary.as_ref().is_some_and(|primary| primary.term() == term) {
            return;
        }
        let options = self.applier.lease_options().clone();
        self.primary = Some(Primary::new(options, term, self.options.election_ms, now_ms));
        self.look_at_leases(now_ms);
        let lone = self.applier.conf_state().voters == [self.options.member];
        if lone && self.applier.membership().version() != Some(self.options.cluster_version) {
            let set = membershippb::ClusterVersionSetRequest {
                ver: self.options.cluster_version.to_string(),
            };
            let request =
                pb::InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() };
            effects.push(self.propose(Why::Membership, request, Scope::LeaderOf(term)));
        }
    }

    /// Gives some leases their first deadlines; says whether others wait for theirs.
    fn look_at_leases(&mut self, now_ms: u64) -> bool {
        let Some(primary) = &mut self.primary else { return false };
        primary.step(self.applier.leases(), LEASES_PER_STEP, now_ms)
    }

    fn raise_no_space(&self) -> Option<Effect> {
        let member_id = self.options.member;
        if self.applier.alarms().has(member_id, apply::NOSPACE) {
            return None;
        }
        let alarm = pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Activate as i32,
            member_id,
            alarm: apply::NOSPACE,
        };
        let request = pb::InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        Some(self.propose(Why::Alarm, request, Scope::Anyone))
    }

    /// Proposes something of the member's own accord: nobody may refuse it for want of a name.
    fn propose(&self, why: Why, request: pb::InternalRaftRequest, scope: Scope) -> Effect {
        let by = Principal::Internal(why);
        let caller = by.proposed_by(self.applier.users());
        let asker = Asker { user: caller.name.to_owned(), auth_revision: caller.revision };
        Effect::Propose { request: Box::new(request), asker, scope }
    }

    /// Term, leader or role changed.
    ///
    /// Guarantee (leases end once): with its term a leader loses its book of deadlines, so a deposed one neither
    /// ends a lease nor says that it was renewed.
    pub fn stands(&mut self, standing: Standing) {
        self.standing = standing;
        let leads_in = |term| standing.role == Role::Leader && standing.term == term;
        if !planted!("a deposed leader's book of leases kept") {
            self.primary.take_if(|primary| !leads_in(primary.term()));
        }
    }

    /// Goes on with the state of a snapshot. Watchers hear that changes in between were never seen here, and are
    /// caught up from the new state, or told that it is compacted. Whose tokens stand is not known any more, so none
    /// does: whoever has one asks for another. Also returned is the state that was replaced.
    pub fn replace(&mut self, applier: Applier) -> (Vec<Effect>, Applier) {
        let replaced = std::mem::replace(&mut self.applier, applier);
        self.primary = None;
        let (revision, compacted) = (self.applier.revision(), self.applier.compact_revision());
        let mut effects = vec![Effect::Publish(Box::new(self.applier.view()))];
        if !planted!("watchers not told of a snapshot") {
            self.hub_step(watch::Input::Restored { revision, compacted }, &mut effects);
        }
        self.v2 = v2::Hub::new(self.applier.v2().index());
        effects.push(Effect::V2Ended);
        effects.push(Effect::Tokens(TokenChange::DropAll));
        effects.push(Effect::Cluster);
        (effects, replaced)
    }

    /// Something happened to a watch stream.
    pub fn watch(&mut self, input: watch::Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.hub_step(input, &mut effects);
        effects
    }

    /// Time passed. Any clock that only moves forward, in milliseconds; every 100 ms or so is fine.
    pub fn ticked(&mut self, now_ms: u64) -> Vec<Effect> {
        let mut effects = self.watch(watch::Input::Ticked { now_ms });
        self.look_at_leases(now_ms);
        let Some(primary) = &mut self.primary else { return effects };
        let scope = if planted!("a revoke that outlives its leader's term") {
            Scope::Anyone
        } else {
            Scope::LeaderOf(primary.term())
        };
        let due = primary.tick(self.applier.leases(), now_ms);
        if let Some(first) = self.applier.v2().first_end()
            && V2_LOOKS_EVERY_MS <= now_ms.saturating_sub(self.v2_looked_ms)
        {
            self.v2_looked_ms = now_ms;
            effects.push(Effect::V2Ends { first, scope });
        }
        for due in due {
            let request = match due {
                lease::Effect::ProposeRevoke { lease } => pb::InternalRaftRequest {
                    lease_revoke: Some(pb::LeaseRevokeRequest { id: lease }),
                    ..Default::default()
                },
                lease::Effect::ProposeCheckpoints(checkpoints) => checkpoint_request(checkpoints),
            };
            effects.push(self.propose(Why::Leases, request, scope));
        }
        effects
    }

    /// Starts a lease's time over, if this member counts it in `led_in`: the term in which its caller knows it to
    /// lead.
    ///
    /// Guarantee (leases never end early): when the answer has a checkpoint to clear, the client is told
    /// only after that was applied ([`checkpoint_request`]), and by what this says then. Otherwise a crash
    /// in between would leave the old checkpoint, and the next leader would let the lease end by it.
    pub fn keep_alive(&mut self, lease: LeaseId, led_in: u64, now_ms: u64) -> KeepAlive {
        match &mut self.primary {
            Some(primary)
                if primary.term() == led_in
                    || planted!("a deposed leader's book of leases kept") =>
            {
                primary.keep_alive(self.applier.leases(), lease, now_ms)
            }
            Some(_) | None => KeepAlive::NotPrimary,
        }
    }

    /// What is left of a lease; `None` if there is none. Only the leader knows: elsewhere the whole time to live is
    /// told.
    pub fn time_to_live(&self, lease: LeaseId, now_ms: u64) -> Option<TimeToLive> {
        let leases = self.applier.leases();
        match &self.primary {
            Some(primary) => primary.time_to_live(leases, lease, now_ms),
            None => leases.lease(lease).map(|lease| TimeToLive::whole(&lease)),
        }
    }

    /// Keys that hang on a lease, in byte order from the first one behind `after`: at most `keys_max`, so that whoever
    /// wants all of a million asks often and keeps nobody waiting.
    pub fn lease_keys(
        &self,
        lease: LeaseId,
        after: Option<&[u8]>,
        keys_max: usize,
    ) -> Vec<bytes::Bytes> {
        self.applier.leases().keys_after(lease, after).take(keys_max).cloned().collect()
    }

    /// The leases behind an id, by id, at most so many, each with when it ends; 0 where no deadlines are known.
    pub fn leases_after(&self, after: Option<LeaseId>, leases_max: usize) -> Vec<(u64, LeaseId)> {
        let ends = |lease: &_| self.primary.as_ref().map_or(0, |primary| primary.end_of(lease));
        let leases = self.applier.leases().after(after).take(leases_max);
        leases.map(|lease| (ends(&lease), lease.id)).collect()
    }

    /// All leases, soonest end first; by id where no deadlines are known.
    pub fn leases(&self) -> Vec<LeaseId> {
        let leases = self.applier.leases();
        match &self.primary {
            Some(primary) => primary.by_remaining_time(leases),
            None => leases.iter().map(|lease| lease.id).collect(),
        }
    }

    /// A compaction's hash is known, or could not be computed.
    pub fn hashed(&mut self, triple: Option<HashTriple>) {
        self.applier.hashed(triple);
    }

    /// Begins a sync of the store.
    ///
    /// # Errors
    /// [`Fault`]: the store failed and the member must stop.
    pub fn begin_sync(&mut self) -> Result<Syncing, Fault> {
        let (index, term) = self.applier.applied();
        let stored = Stored { index, term, conf_state: self.applier.conf_state() };
        let handle = self.applier.upkeep().sync_handle()?;
        Ok(Syncing { handle, stored })
    }

    /// A sync has run.
    pub fn synced(&mut self, done: Synced) {
        self.applier.upkeep().synced(done);
    }

    /// Forgets a little of what compactions left behind; says whether there is more to do right now.
    pub fn prune(&mut self, budget: usize) -> bool {
        self.applier.prune(budget)
    }

    /// The applied state, for questions.
    pub fn applier(&self) -> &Applier {
        &self.applier
    }

    /// The store's own upkeep.
    pub fn upkeep(&mut self) -> Upkeep<'_> {
        self.applier.upkeep()
    }

    /// Makes everything applied so far visible to views taken from now on.
    ///
    /// # Errors
    /// [`Fault`]: the store failed and the member must stop.
    pub fn flush(&mut self) -> Result<(), Fault> {
        self.applier.flush()
    }

    /// Figures of the watch hub.
    pub fn watch_sizes(&self) -> watch::Sizes {
        self.hub.sizes()
    }

    /// Where this member stands, as far as the engine was told.
    pub fn standing(&self) -> Standing {
        self.standing
    }
}

/// The API v2, for which nothing here waits in the log.
impl Engine {
    /// Reads a node as it is here.
    ///
    /// # Errors
    /// No node is at this path.
    pub fn v2_get(
        &mut self,
        path: &str,
        recursive: bool,
        now: v2::UnixNanos,
    ) -> Result<v2::Event, v2::Error> {
        self.applier.v2_get(path, recursive, now)
    }

    /// Begins a watch under an id that nobody else has.
    ///
    /// # Errors
    /// History does not reach back so far, or too many watch.
    pub fn v2_watch(
        &mut self,
        id: v2::WatchId,
        request: &v2::WatchRequest,
    ) -> Result<v2::WatchAnswer, v2::Error> {
        self.v2.watch(id, request, self.applier.v2().index())
    }

    /// Ends a watch.
    pub fn v2_unwatch(&mut self, id: v2::WatchId) {
        self.v2.unwatch(id);
    }

    /// What the tree has done, and how many watch it.
    pub fn v2_stats(&self) -> (v2::Stats, usize) {
        (self.applier.v2().stats(), self.v2.watchers())
    }
}

/// What is proposed to note remaining times of leases.
pub fn checkpoint_request(checkpoints: Vec<Checkpoint>) -> pb::InternalRaftRequest {
    let checkpoints = checkpoints
        .into_iter()
        .map(|c| pb::LeaseCheckpoint { id: c.id, remaining_ttl: c.remaining_seconds })
        .collect();
    pb::InternalRaftRequest {
        lease_checkpoint: Some(pb::LeaseCheckpointRequest { checkpoints }),
        ..Default::default()
    }
}
