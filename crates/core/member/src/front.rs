//! The half of a member that faces the log: proposals in, committed entries out, reads confirmed.
//!
//! A machine: it is told what happened ([`Input`]) and asks for what must be done ([`Effect`]). The log
//! writer and the applying half run beside it and report back, so nothing here ever waits for a disk.
//!
//! Always true: an entry is handed to the applying half once, in order, and only when a majority has
//! it in its synced log; a read is released at an index that was committed after the read arrived; what only a
//! leader may propose is proposed in the leader's own term or never.
//!
//! In reading order: this file (what goes in and out), `proposals`, `reads`, `keeping` (how much of the log is
//! kept for members that lag), `office` (when a leader gives its office up), `faults` (when a log is not what it was).
//!
//! Not here: what entries do (see `engine`), who may propose what (see `server`).
//!
//! Circle: the files below `front` are blocks of its methods.

mod faults;
mod keeping;
mod office;
mod proposals;
mod reads;

use std::collections::{BTreeMap, VecDeque};

use consensus::{Consensus, Message, Progress, RefusedMessage, Role, Standing};
use planted::planted;
use proto::raftpb::{ConfChange, MessageType};
use types::{ConfState, Entry, EntryKind, MemberId, Refusal};

use crate::applying_input::Input as ApplyingInput;
use crate::engine::Stored;
use crate::identity::RequestIds;
use crate::log_writer::{Input as LogInput, LogWork};
use crate::proposal::Proposal;
use faults::Faults;
use keeping::Hold;
use office::Office;
pub use office::is_sure_to_lead;
use proposals::Waiting;
use reads::Reads;

/// Bounds and habits of the log-facing half.
#[derive(Clone, Debug)]
pub struct Options {
    /// Proposals that may wait for a leader or for the log, before more are refused.
    pub proposals_pending_max: usize,
    /// Entries committed and not applied, above which proposals are refused.
    pub committed_applied_gap_max: u64,
    /// Groups of reads that may wait for a leader. Above that the oldest are forgotten: whoever asked is told by
    /// its own clock.
    pub reads_waiting_max: usize,
    /// Ticks after which an unanswered read round is asked again.
    pub read_retry_ticks: u64,
    /// Ticks a proposal or a read waits for a leader before it is refused, or forgotten.
    pub leader_wait_ticks: u64,
    /// Ticks of an election timeout: a leader whose disk is silent for longer hands over its office.
    pub election_ticks: u64,
    /// Applied entries between two marks in the log (`--snapshot-count`).
    pub snapshot_count: u64,
    /// Entries kept behind a mark for members that lag (`--snapshot-catchup-entries`).
    pub catchup_entries: u64,
    /// Bytes of entries that may gather between two marks.
    pub log_bytes_max: usize,
    /// Bytes of entries kept in memory for members that lag. What goes beyond is read back from the log's files.
    pub lagging_bytes_max: usize,
    /// Bytes of entries kept in the log's files for them.
    pub log_file_bytes_max: u64,
    /// Ticks for which the log is kept behind a snapshot that has been sent.
    pub snapshot_hold_ticks: u64,
}

/// Everything that can happen to the front.
#[derive(Debug)]
pub enum Input {
    /// A tick of the raft clock (`--heartbeat-interval`).
    Ticked,
    /// Requests to be proposed, in order.
    Propose(Vec<Proposal>),
    /// A linearizable read wants to know what to wait for.
    Read {
        /// By which it is told.
        ticket: u64,
    },
    /// The log writer has written, and synced if asked, everything up to this group.
    Persisted {
        /// The group's number.
        number: u64,
    },
    /// The engine has applied everything up to here.
    Applied {
        /// The last entry applied.
        index: u64,
        /// Configuration changes among them, in order; `None` for one that was refused.
        changes: Vec<Option<ConfChange>>,
    },
    /// The store holds, synced, everything up to here: the log before it is not needed any more.
    Stored(Stored),
    /// The engine goes on with the snapshot it was told to install.
    Installed(Stored),
    /// Another member sent a message. A snapshot's database is in its file already.
    Received(Box<Message>),
    /// Entries that were asked for with [`LogInput::Read`].
    LogRead {
        /// Names the question.
        ticket: u64,
        /// From the first wanted on, in order; none if they are gone.
        entries: Vec<Entry>,
    },
    /// A message to this member was lost.
    Unreachable {
        /// The member.
        peer: MemberId,
    },
    /// A snapshot to this member arrived, or did not.
    SnapshotSent {
        /// The member.
        peer: MemberId,
        /// Whether it arrived.
        arrived: bool,
    },
    /// The host of this member closed its connections: the member is probably gone.
    HostGone {
        /// The member.
        peer: MemberId,
    },
    /// Leadership is to be handed over.
    Transfer {
        /// To this member; 0 for the one that is furthest.
        to: MemberId,
    },
}

/// Everything the front can ask for. What one half of a member has to do is an input of that half already, so whoever
/// drives them only hands it on.
#[derive(Debug)]
pub enum Effect {
    /// For the log writer, in this order.
    Log(LogInput),
    /// For the applying half, in this order.
    Applying(ApplyingInput),
    /// For the peers, at once. No snapshot is among them.
    Send(Vec<Message>),
    /// The snapshot at this entry is not wanted: its file may go.
    SnapshotUnused {
        /// The entry.
        index: u64,
    },
    /// These reads may be served once everything up to `index` is applied.
    ReadReady {
        /// The reads.
        tickets: Vec<u64>,
        /// What to wait for.
        index: u64,
    },
    /// A proposal will not be made.
    Refuse {
        /// The proposal.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Term, leader, role or commit index changed.
    Standing(Standing),
    /// This member's log, or its leader's, is not what was acknowledged: the member must not go on.
    LogLost(RefusedMessage),
}

/// What came of inputs that were taken together.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What must be done, in order.
    pub effects: Vec<Effect>,
    /// Whether a tick was among them, with which figures may have changed.
    pub ticked: bool,
}

/// The front of one member.
pub struct Front {
    consensus: Consensus,
    options: Options,
    member: MemberId,
    ticks: u64,
    waiting: VecDeque<Waiting>,
    reads: Reads,
    office: Office,
    /// How far the log is kept for the sake of snapshots on their way.
    holds: BTreeMap<MemberId, Hold>,
    applied: u64,
    marked: u64,
    syncing: bool,
    /// Bytes of the log in memory when it was last let go.
    kept_bytes: usize,
    /// Bytes of entries handed to the log writer.
    written_bytes: u64,
    /// How many there were when the log was marked here or there.
    written: VecDeque<(u64, u64)>,
    /// The last entry that was let go because there were too many.
    let_go: u64,
    /// The group that begins the log anew, and the snapshot it begins with.
    arriving: Option<(u64, Stored)>,
    /// The snapshot that the engine was told to install and has not installed yet: its file is needed.
    installing: Option<u64>,
    faults: Faults,
    standing: Standing,
}

/// Whether the commit index that covers this entry is worth a sync of its own. Where one of two voters is removed, the
/// other goes on alone; if it started again with a commit index from before that, it would wait for the vote of a member
/// that is gone for good.
fn changes_who_votes(entry: &Entry) -> bool {
    entry.kind == EntryKind::ConfChange
}

impl Front {
    /// A front over a raft member that starts at `applied`, with the log marked at `marked`. Its questions go under
    /// `contexts`, which nobody else uses.
    pub fn new(
        consensus: Consensus,
        options: Options,
        (member, contexts): (MemberId, RequestIds),
        applied: u64,
        marked: u64,
    ) -> Front {
        Front {
            consensus,
            options,
            member,
            ticks: 0,
            waiting: VecDeque::new(),
            reads: Reads::new(contexts),
            office: Office::default(),
            holds: BTreeMap::new(),
            applied,
            marked,
            syncing: false,
            kept_bytes: 0,
            written_bytes: 0,
            written: VecDeque::new(),
            let_go: 0,
            arriving: None,
            installing: None,
            faults: Faults::default(),
            standing: Standing::default(),
        }
    }

    /// A lone voter elects itself now instead of waiting for its clock.
    pub fn start(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.consensus.campaign_if_alone();
        self.collect(&mut effects);
        effects
    }

    /// Takes one input and returns what must be done about it.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Ticked => self.ticked(&mut effects),
            Input::Propose(proposals) => self.propose(proposals, &mut effects),
            Input::Read { ticket } => self.read(ticket),
            Input::Persisted { number } => self.persisted(number, &mut effects),
            Input::Applied { index, changes } => self.applied(index, &changes, &mut effects),
            Input::Stored(stored) => self.stored(stored, &mut effects),
            Input::Installed(stored) => self.installed(&stored, &mut effects),
            Input::Received(message) => self.received(*message, &mut effects),
            Input::LogRead { ticket, entries } => self.consensus.log_read(ticket, entries),
            Input::Unreachable { peer } => self.consensus.unreachable(peer),
            Input::SnapshotSent { peer, arrived } => self.snapshot_sent(peer, arrived),
            Input::HostGone { peer } => self.consensus.leader_gone(peer),
            Input::Transfer { to } => self.transfer(to),
        }
        self.ask_round();
        self.collect(&mut effects);
        effects
    }

    /// Takes inputs that have gathered: each in its turn, and all proposals behind them as one, so that they become
    /// one group.
    pub fn step_all(&mut self, inputs: impl IntoIterator<Item = Input>) -> Gathered {
        let mut proposals = Vec::new();
        let mut gathered = Gathered::default();
        for input in inputs {
            if let Input::Propose(more) = input {
                proposals.extend(more);
                continue;
            }
            gathered.ticked |= matches!(input, Input::Ticked);
            gathered.effects.extend(self.step(input));
        }
        if !proposals.is_empty() {
            gathered.effects.extend(self.step(Input::Propose(proposals)));
        }
        gathered
    }

    /// Term, leader, role and commit index.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Bytes of entries held in memory.
    pub fn log_bytes(&self) -> usize {
        self.consensus.log_bytes()
    }

    /// The term of an entry of the log; nothing if the log does not know it, or not any more.
    pub fn entry_term(&self, index: u64) -> Option<u64> {
        self.consensus.entry_term(index)
    }

    /// The last entry of the log, durable or not.
    pub fn last_index(&self) -> u64 {
        self.consensus.last_index()
    }

    /// Who votes, as far as changes are applied.
    pub fn conf_state(&self) -> ConfState {
        self.consensus.conf_state()
    }

    /// Whether nobody else takes part, with a vote or without: nobody waits for this member's heart to beat.
    pub fn is_alone(&self) -> bool {
        let ConfState { voters, learners } = self.consensus.conf_state();
        voters.len() + learners.len() <= 1
    }

    /// Ticks since a majority was last heard of; nothing if this member does not lead.
    pub fn quorum_silence(&self) -> Option<u64> {
        self.consensus.quorum_silence()
    }

    /// What a leader knows of each member; nothing if this one does not lead.
    pub fn progress(&self) -> Vec<Progress> {
        self.consensus.progress()
    }

    fn ticked(&mut self, effects: &mut Vec<Effect>) {
        self.ticks += 1;
        self.look_after_the_disk();
        if !self.office.is_silent() {
            self.consensus.tick();
        }
        self.retry_reads();
        self.retry_waiting(effects);
        self.let_go_of_holds();
    }

    fn received(&mut self, message: Message, effects: &mut Vec<Effect>) {
        let snapshot = (message.r#type() == MessageType::MsgSnap).then(|| {
            let metadata = message.snapshot.as_ref().and_then(|s| s.metadata.as_ref());
            metadata.map_or(0, |metadata| metadata.index())
        });
        let stepped = self.consensus.step(message);
        if let Err(refused) = stepped {
            // Most of what raft refuses is another member's mistake, and it changed nothing.
            effects.extend(self.refused(refused));
        }
        let Some(index) = snapshot else { return };
        self.collect(effects);
        // While a file is there no other gets its name, so this message is the only one that wants it. Or the same
        // snapshot was brought again after its first file was installed, and before that was heard of here.
        let arriving = self.arriving.as_ref().map(|(_, stored)| stored.index);
        let needed = [arriving, self.installing].contains(&Some(index));
        if !needed || planted!("the file of a snapshot thrown away too early") {
            effects.push(Effect::SnapshotUnused { index });
        }
    }

    fn persisted(&mut self, number: u64, effects: &mut Vec<Effect>) {
        if let Some((_, stored)) = self.arriving.take_if(|(group, _)| *group <= number) {
            self.installing = Some(stored.index);
            // Ahead of whatever raft hands out behind it.
            if !planted!("a snapshot installed before its marker") {
                effects.push(Effect::Applying(ApplyingInput::Install(stored)));
            }
        }
        self.consensus.persisted(number);
    }

    /// The store is another one now, synced up to the snapshot's entry, and the log begins there.
    fn installed(&mut self, stored: &Stored, effects: &mut Vec<Effect>) {
        self.installing.take_if(|index| *index <= stored.index);
        // Its file is gone, but it may have been brought once more since.
        effects.push(Effect::SnapshotUnused { index: stored.index });
        self.applied = self.applied.max(stored.index);
        self.marked = self.marked.max(stored.index);
        // A sync of the store before is never heard of.
        self.syncing = false;
    }

    fn applied(&mut self, index: u64, changes: &[Option<ConfChange>], effects: &mut Vec<Effect>) {
        for change in changes {
            self.consensus
                .apply_change(change.as_ref())
                .expect("membership has refused what leaves nobody to vote");
        }
        self.applied = index;
        self.consensus.applied(index);
        if !changes.is_empty() {
            // The configuration may make this member the only voter: at the very first start it does.
            self.collect(effects);
            if self.standing.role == Role::Follower && self.standing.leader == 0 {
                self.consensus.campaign_if_alone();
            }
        }
        self.sync_store_if_due(effects);
    }

    fn collect(&mut self, effects: &mut Vec<Effect>) {
        while let Some(output) = self.consensus.output() {
            if let Some(mut persist) = output.persist {
                persist.must_sync |= output.committed.iter().any(changes_who_votes);
                if let Some(point) = persist.snapshot.clone() {
                    let stored = Stored {
                        index: point.index,
                        term: point.term,
                        conf_state: point.conf_state,
                    };
                    if planted!("a snapshot installed before its marker") {
                        effects.push(Effect::Applying(ApplyingInput::Install(stored.clone())));
                    }
                    self.arriving = Some((persist.number, stored));
                }
                self.written_bytes +=
                    persist.entries.iter().map(|e| e.data.len() as u64).sum::<u64>();
                effects.push(Effect::Log(LogInput::Work(LogWork::Persist(persist))));
            }
            self.send(output.messages, effects);
            if !output.committed.is_empty() {
                effects.push(Effect::Applying(ApplyingInput::Apply(output.committed)));
            }
            let reads = output.log_reads.into_iter();
            effects.extend(reads.map(|read| Effect::Log(LogInput::Read(read))));
            for read in output.reads {
                effects.extend(self.reads.confirmed(read));
            }
        }
        let standing = self.consensus.standing();
        if standing != self.standing {
            let before = self.standing;
            self.standing = standing;
            effects.push(Effect::Standing(standing));
            let office = |it: Standing| (it.term, it.leader, it.role);
            if office(before) != office(standing) {
                effects.push(Effect::Applying(ApplyingInput::Standing(standing)));
            }
            if (standing.term, standing.leader) != (before.term, before.leader) {
                // Raft has forgotten the question; the reads join the next one.
                self.reads.ask_again();
                self.retry_waiting(effects);
                self.ask_round();
                self.collect(effects);
            }
        }
    }

    /// Messages leave in order; a snapshot's takes its own way.
    fn send(&mut self, messages: Vec<Message>, effects: &mut Vec<Effect>) {
        let is_snapshot = |message: &Message| message.r#type() == MessageType::MsgSnap;
        if !messages.iter().any(is_snapshot) {
            if !messages.is_empty() {
                effects.push(Effect::Send(messages));
            }
            return;
        }
        let (snapshots, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_snapshot);
        if !others.is_empty() {
            effects.push(Effect::Send(others));
        }
        for message in snapshots {
            self.hold_for(message.to());
            effects.push(Effect::Applying(ApplyingInput::SendSnapshot(Box::new(message))));
        }
    }
}
