//! Replication: what a leader sends to each follower, and makes of the answers.
//!
//! Guarantee (leader completeness): an entry counts as committed when a majority of voters has it durably and it
//! is of the leader's own term; earlier ones are committed with it. The leader's own copy counts like any other,
//! only once it is persisted.

use planted::planted;
use proto::raftpb::{self, Message, MessageType};
use types::{Entry, MemberId};

use crate::guard::RefusedMessage;
use crate::io::{LogRead, Replication, Role};
use crate::log::Found;
use crate::machine::Consensus;
use crate::progress::InflightLimits;
use crate::wire::{conf_state_to_wire, entry_to_wire, message, number};

impl Consensus {
    pub(crate) fn broadcast_appends(&mut self) {
        for id in self.others() {
            self.send_append(id, true);
        }
    }

    pub(crate) fn others(&self) -> Vec<MemberId> {
        self.progress.keys().copied().filter(|id| *id != self.id).collect()
    }

    fn limits(&self) -> InflightLimits {
        InflightLimits {
            messages_max: self.config.inflight_messages_max,
            bytes_max: self.config.inflight_bytes_max,
        }
    }

    /// Sends a follower what comes next, if it may be sent now: entries, a commit index, or a snapshot. Returns
    /// whether something was sent.
    pub(crate) fn send_append(&mut self, to: MemberId, even_if_empty: bool) -> bool {
        let limits = self.limits();
        let Some(progress) = self.progress.get(&to) else { return false };
        if progress.is_paused() {
            return false;
        }
        let next = progress.next;
        let Some(previous_term) = self.log.term(next - 1) else {
            return self.send_snapshot(to);
        };
        let full =
            progress.replication == Replication::Replicate && progress.inflight.is_full(limits);
        let mut entries = Vec::new();
        if !full && next <= self.log.last() {
            match self.log.entries(next, self.config.append_bytes_max) {
                Found::Here(found) => entries = found,
                Found::InFiles { last } => {
                    self.ask_files(to, next, last);
                    return false;
                }
                Found::Gone => return self.send_snapshot(to),
            }
        }
        if entries.is_empty() && !even_if_empty {
            return false;
        }
        self.send_entries(to, next, previous_term, &entries);
        true
    }

    fn send_entries(&mut self, to: MemberId, next: u64, previous_term: u64, entries: &[Entry]) {
        let limits = self.limits();
        let bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
        let mut append = message(MessageType::MsgApp, to);
        append.index = number(next - 1);
        append.log_term = number(previous_term);
        append.commit = number(self.log.committed);
        append.entries = entries.iter().map(entry_to_wire).collect();
        self.send(append);
        let progress = self.progress.get_mut(&to).expect("the caller found it");
        progress.sent(entries.len() as u64, bytes, limits);
        progress.sent_commit = self.log.committed;
    }

    /// Asks for entries that are in the log's files only. One question per follower is under way at a time.
    fn ask_files(&mut self, to: MemberId, first: u64, last: u64) {
        let progress = self.progress.get_mut(&to).expect("the caller found it");
        if progress.reading.is_some() {
            return;
        }
        self.tickets += 1;
        progress.reading = Some(self.tickets);
        let bytes_max = self.config.append_bytes_max;
        self.log_reads.push(LogRead { ticket: self.tickets, first, last, bytes_max });
    }

    /// Answers a [`LogRead`] with entries from its first on, in order; with none if the files do not hold them
    /// any more.
    pub fn log_read(&mut self, ticket: u64, mut entries: Vec<Entry>) {
        let asker = self.progress.iter().find(|(_, progress)| progress.reading == Some(ticket));
        let Some((&to, progress)) = asker else { return };
        let next = progress.next;
        let sendable = !progress.is_paused() && self.role == Role::Leader;
        self.progress.get_mut(&to).expect("found just above").reading = None;
        if !sendable {
            return;
        }
        let good = (next..).zip(&entries).take_while(|(index, entry)| {
            entry.index == *index && self.log.matches(entry.index, entry.term)
        });
        let good = good.count();
        entries.truncate(good);
        match self.log.term(next - 1) {
            Some(term) if !entries.is_empty() => self.send_entries(to, next, term, &entries),
            // Meanwhile it went on, and may be fed from memory, or the files have lost what it needs.
            _ if matches!(self.log.entries(next, 0), Found::Here(_)) => {}
            _ => {
                self.send_snapshot(to);
                return;
            }
        }
        while self.send_append(to, false) {}
    }

    /// Sends a snapshot of what is applied. A follower that is not heard of gets none.
    fn send_snapshot(&mut self, to: MemberId) -> bool {
        let (index, state) = (self.log.applied, self.configuration.conf_state());
        let Some(term) = self.log.term(index).filter(|_| index != 0) else { return false };
        let Some(progress) = self.progress.get_mut(&to) else { return false };
        if !progress.recently_active {
            return false;
        }
        progress.snapshot(index);
        let metadata = raftpb::SnapshotMetadata {
            conf_state: Some(conf_state_to_wire(&state)),
            index: Some(index),
            term: Some(term),
        };
        let mut snapshot = message(MessageType::MsgSnap, to);
        snapshot.snapshot = Some(raftpb::Snapshot { data: None, metadata: Some(metadata) });
        self.send(snapshot);
        true
    }

    pub(crate) fn broadcast_heartbeats(&mut self) {
        let context = self.reads.position();
        for id in self.others() {
            let progress = self.progress.get_mut(&id).expect("it is among the others");
            // Never more than it has confirmed: a follower could not know what it lacks.
            let most = if planted!("a heartbeat's commit index not bounded by what was confirmed") {
                u64::MAX
            } else {
                progress.matched
            };
            let commit = most.min(self.log.committed);
            progress.sent_commit = commit;
            let mut heartbeat = message(MessageType::MsgHeartbeat, id);
            heartbeat.commit = number(commit);
            heartbeat.context = context.clone();
            self.send(heartbeat);
        }
    }

    /// A follower answered an append, or this member persisted one.
    pub(crate) fn step_appended(
        &mut self,
        from: MemberId,
        message: &Message,
    ) -> Result<(), RefusedMessage> {
        let last = self.log.last();
        if !message.reject() && last < message.index() {
            return Err(RefusedMessage::BeyondLog { from, index: message.index(), last });
        }
        if message.reject() {
            self.refused(from, message);
        } else {
            self.confirmed(from, message.index());
        }
        Ok(())
    }

    fn refused(&mut self, from: MemberId, message: &Message) {
        let ticks = self.ticks;
        let hint = message.reject_hint();
        let probe = match message.log_term() {
            0 => hint,
            term => self.log.conflict_by_term(hint, term).0,
        };
        let Some(progress) = self.progress.get_mut(&from) else { return };
        progress.recently_active = true;
        progress.heard_at = ticks;
        if progress.refused(message.index(), probe) {
            if progress.replication == Replication::Replicate {
                progress.probe();
            }
            self.send_append(from, true);
        }
    }

    /// The member holds everything up to `index` durably.
    pub(crate) fn confirmed(&mut self, from: MemberId, index: u64) {
        let (ticks, first) = (self.ticks, self.log.first());
        let Some(progress) = self.progress.get_mut(&from) else { return };
        progress.recently_active = true;
        progress.heard_at = ticks;
        let probed = progress.matched == index && progress.replication == Replication::Probe;
        if !progress.confirmed(index) && !probed {
            return;
        }
        match progress.replication {
            Replication::Probe => progress.replicate(),
            Replication::Snapshot if first <= progress.matched + 1 => progress.replicate(),
            Replication::Snapshot => {}
            Replication::Replicate => progress.inflight.arrived(index),
        }
        let behind = progress.can_learn_commit(self.log.committed);
        let other = from != self.id;
        if self.advance_commit() {
            self.ask_early_reads();
            self.broadcast_appends();
        } else if other && behind {
            self.send_append(from, true);
        }
        while other && self.send_append(from, false) {}
        if from == self.transferee && self.has_everything(from) {
            self.send_timeout_now(from);
        }
    }

    fn has_everything(&self, id: MemberId) -> bool {
        self.progress.get(&id).is_some_and(|progress| progress.matched == self.log.last())
    }

    /// Commits what a majority of voters has persisted, if the last of it is of this term.
    pub(crate) fn advance_commit(&mut self) -> bool {
        let matched = |id| self.progress.get(&id).map_or(0, |progress| progress.matched);
        let reached = self.configuration.majority_reached(matched);
        if reached <= self.log.committed || !self.log.matches(reached, self.term) {
            return false;
        }
        self.log.commit_to(reached);
        true
    }

    /// Whether the leader knows the commit index: it has committed an entry of its own term.
    pub(crate) fn has_committed_in_term(&self) -> bool {
        self.log.matches(self.log.committed, self.term)
    }

    pub(crate) fn step_heartbeat_answer(&mut self, from: MemberId, message: &Message) {
        let ticks = self.ticks;
        let Some(progress) = self.progress.get_mut(&from) else { return };
        progress.recently_active = true;
        progress.heard_at = ticks;
        progress.paused = false;
        if progress.matched < self.log.last() || progress.replication == Replication::Probe {
            self.send_append(from, true);
        }
        if let Some(context) = message.context.as_deref().filter(|context| !context.is_empty()) {
            self.confirm_reads(from, context);
        }
    }

    /// Nothing reaches this member at present: what is on its way to it is probably lost.
    pub fn unreachable(&mut self, peer: MemberId) {
        if self.role == Role::Leader
            && let Some(progress) = self.progress.get_mut(&peer)
            && progress.replication == Replication::Replicate
        {
            progress.probe();
        }
    }

    /// A snapshot arrived at this member, or did not.
    pub fn snapshot_sent(&mut self, peer: MemberId, ok: bool) {
        if self.role == Role::Leader
            && let Some(progress) = self.progress.get_mut(&peer)
            && progress.replication == Replication::Snapshot
        {
            if ok {
                progress.probe();
            } else {
                progress.snapshot_failed();
            }
            // Its answer to the snapshot, or a heartbeat's, tells where to go on.
            progress.paused = true;
        }
    }

    /// Hands leadership to this member, which must have a vote; nothing is proposed meanwhile. If it has not taken
    /// over within an election timeout, this member goes on leading.
    pub fn transfer(&mut self, to: MemberId) {
        if self.role != Role::Leader || to == self.transferee || !self.configuration.is_voter(to) {
            return;
        }
        self.transferee = 0;
        if to == self.id {
            return;
        }
        self.election_elapsed = 0;
        self.transferee = to;
        if self.has_everything(to) {
            self.send_timeout_now(to);
        } else {
            self.send_append(to, true);
        }
    }

    fn send_timeout_now(&mut self, to: MemberId) {
        self.send(message(MessageType::MsgTimeoutNow, to));
    }
}
