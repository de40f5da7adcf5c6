//! Proposals: who may propose what, and where it goes.
//!
//! A leader appends and sends; a follower passes on what anybody may propose. What only the leader of one term may
//! decide is taken by that leader or by nobody: it is never passed on and never waits.

use bytes::Bytes;
use planted::planted;
use proto::raftpb::{Message, MessageType};
use types::{Entry, EntryKind};

use crate::durability::Ack;
use crate::guard::{INDEX_MAX, RefusedMessage};
use crate::io::{NotProposed, Role, Scope};
use crate::machine::Consensus;
use crate::wire::{change_from_wire, entry_to_wire, message};

impl Consensus {
    /// Proposes entries in order, as one group.
    ///
    /// # Errors
    /// [`NotProposed`]; then none of them was proposed.
    pub fn propose(
        &mut self,
        proposals: impl IntoIterator<Item = (EntryKind, Bytes)>,
        scope: Scope,
    ) -> Result<(), NotProposed> {
        let proposals: Vec<_> = proposals.into_iter().collect();
        if let Scope::LeaderOf(term) = scope
            && (self.role != Role::Leader || self.term != term)
        {
            return Err(NotProposed::NotLeaderOf(self.term));
        }
        let mut changes = 0;
        for (kind, data) in &proposals {
            match kind {
                EntryKind::Normal => {}
                EntryKind::ConfChange => {
                    let change = change_from_wire(data).ok_or(NotProposed::Malformed)?;
                    self.configuration.after(&change)?;
                    changes += 1;
                }
                EntryKind::ConfChangeV2 => return Err(NotProposed::Malformed),
            }
        }
        if proposals.is_empty() {
            return Ok(());
        }
        if self.role != Role::Leader {
            return self.forward(proposals);
        }
        self.may_lead_on()?;
        if 1 < changes || (changes == 1 && self.log.applied < self.pending_change) {
            return Err(NotProposed::ChangePending);
        }
        self.lead(proposals)
    }

    /// Gives a proposal to whoever leads.
    fn forward(&mut self, proposals: Vec<(EntryKind, Bytes)>) -> Result<(), NotProposed> {
        if self.role != Role::Follower || self.leader == 0 {
            return Err(NotProposed::NoLeader);
        }
        let mut forwarded = message(MessageType::MsgProp, self.leader);
        forwarded.from = Some(self.id);
        let entry = |(kind, data): (EntryKind, Bytes)| {
            entry_to_wire(&Entry { term: 0, index: 0, kind, data })
        };
        forwarded.entries = proposals.into_iter().map(entry).collect();
        self.messages.push(forwarded);
        Ok(())
    }

    /// A proposal that another member passed on. A change that cannot be made now becomes an empty entry, as it
    /// does under a Go leader: whoever proposed it hears nothing, and asks again.
    pub(crate) fn step_proposal(
        &mut self,
        message: Message,
        entries: Vec<Entry>,
    ) -> Result<(), RefusedMessage> {
        if self.role != Role::Leader {
            if self.role != Role::Follower || self.leader == 0 {
                return Err(NotProposed::NoLeader.into());
            }
            let entries = entries.iter().map(entry_to_wire).collect();
            let to = Some(self.leader);
            self.messages.push(Message { to, entries, ..message });
            return Ok(());
        }
        self.may_lead_on()?;
        let mut pending = self.log.applied < self.pending_change;
        let mut proposals = Vec::with_capacity(entries.len());
        for Entry { kind, data, .. } in entries {
            if kind == EntryKind::ConfChange {
                let change = change_from_wire(&data);
                let possible = change.is_some_and(|c| self.configuration.after(&c).is_ok());
                if pending || !possible {
                    proposals.push((EntryKind::Normal, Bytes::new()));
                    continue;
                }
                pending = true;
            }
            proposals.push((kind, data));
        }
        Ok(self.lead(proposals)?)
    }

    /// Whether a leader takes proposals at all.
    fn may_lead_on(&self) -> Result<(), NotProposed> {
        if self.transferee != 0 {
            return Err(NotProposed::Transferring);
        }
        Ok(())
    }

    /// Takes proposals as a leader: appends and sends them.
    fn lead(&mut self, proposals: Vec<(EntryKind, Bytes)>) -> Result<(), NotProposed> {
        let bytes: u64 = proposals.iter().map(|(_, data)| data.len() as u64).sum();
        let full = self.config.uncommitted_bytes_max < self.uncommitted_bytes.saturating_add(bytes);
        if 0 < self.uncommitted_bytes && 0 < bytes && full {
            return Err(NotProposed::TooMuchUncommitted);
        }
        self.uncommitted_bytes += bytes;
        let first = self.log.last() + 1;
        for (at, (kind, _)) in proposals.iter().enumerate() {
            if *kind == EntryKind::ConfChange {
                self.pending_change = first + at as u64;
            }
        }
        self.append_own(proposals);
        self.broadcast_appends();
        Ok(())
    }

    /// Appends to the leader's own log, which counts once it is persisted.
    pub(crate) fn append_own(&mut self, proposals: Vec<(EntryKind, Bytes)>) {
        let (term, first) = (self.term, self.log.last() + 1);
        let entry = |(at, (kind, data))| Entry { term, index: first + at as u64, kind, data };
        self.log.append(proposals.into_iter().enumerate().map(entry).collect());
        let last = self.log.last();
        assert!(last < INDEX_MAX, "2^62 writes do not fit in a lifetime");
        if planted!("a leader counts what it has not written") {
            return self.confirmed(self.id, last);
        }
        self.acks.push(Ack::Appended { term, index: last });
    }
}
