//! What follows from a member's turn, for everybody outside it.

use history::Violation;
use types::{Entry, EntryKind};

use crate::out::Out;
use crate::running::COMPARED_EVERY;
use crate::world::World;

impl World {
    /// What came out of a turn.
    pub(crate) fn out(&mut self, place: usize, out: Out) -> Result<(), Violation> {
        let member = self.machines[place].member;
        match out {
            Out::Decided { id, result } => {
                if self.operator.open == Some(id) {
                    let told =
                        result.as_ref().map_or_else(|r| r.message().to_owned(), |_| "done".into());
                    self.operator_hears(id, &told);
                }
                self.decided(place, id, result);
            }
            Out::ReadReady { tickets, index } => self.reads_may_run(place, &tickets, index),
            Out::Published => return self.published(place),
            Out::Committed(entries) => return self.committed(&entries),
            Out::Applied(index) => {
                self.note(&format!("m{place} applied up to {index}"));
                self.compare(place, index)?;
                return self.look_whether_caught_up(place);
            }
            Out::Installed(index) => {
                self.note(&format!("m{place} goes on with the snapshot at {index}"));
                return self.look_whether_caught_up(place);
            }
            Out::Response { stream, response } => {
                let found = self.watchers.iter_mut().find(|w| w.open && w.stream == stream);
                if let Some(watcher) = found {
                    watcher.sent(response);
                }
            }
            Out::Send(messages) => {
                let messages =
                    if self.machines[place].go { crate::go::sent(messages) } else { messages };
                for message in &messages {
                    self.judges.leaves(message)?;
                }
                let framed = messages.into_iter().map(crate::go::framed).collect();
                self.network.send(framed, self.now_ms, &mut self.chance);
            }
            Out::SendSnapshot { message, image } => self.send_snapshot(place, *message, *image),
            Out::Kept { client, asked, kept } => self.kept(client, asked, kept),
            Out::Written { before, entries } => {
                if self.is_cluster() {
                    self.judges.written(before, &entries)?;
                }
            }
            Out::Durable(groups) => {
                self.judges.durable(member, &groups);
                let terms = groups.iter().filter_map(|group| group.hard_state);
                let durable = &mut self.machines[place].term_durable;
                *durable = terms.map(|state| state.term).fold(*durable, u64::max);
            }
            Out::Standing(standing) => {
                self.note(&format!("m{place} stands {standing:?}"));
                let Some(running) = &self.machines[place].running else { return Ok(()) };
                let last = self.record.last_committed();
                self.judges.stands(member, standing, &running.front, last, self.steps)?;
            }
            Out::UpkeepFailed(why) => {
                self.note(&format!("m{place} upkeep failed: {why}"));
                if !self.machines[place].suspect {
                    return Err(Violation(format!("housekeeping failed on a good disk: {why}")));
                }
            }
            Out::Defragmented => self.note(&format!("m{place} is clean")),
            Out::Removed => return self.removed(place),
        }
        Ok(())
    }

    /// Reads that waited for this index may be answered once it is applied.
    fn reads_may_run(&mut self, place: usize, tickets: &[u64], index: u64) {
        for client in &mut self.clients {
            if let Some(waits) = &mut client.waits
                && waits.at == place
                && tickets.contains(&waits.id)
            {
                waits.read_index = Some(index);
            }
        }
    }

    fn committed(&mut self, entries: &[Entry]) -> Result<(), Violation> {
        self.record.entries(entries, self.now_ms, self.steps)?;
        if self.is_cluster() {
            self.judges.revokes(entries)?;
        }
        let changes = entries.iter().any(|entry| entry.kind != EntryKind::Normal);
        if changes
            && let Some(open) = self.operator.open
            && self.record.decided_at(open).is_some()
        {
            self.operator_hears(open, "committed");
        }
        Ok(())
    }

    /// Same log, same state.
    fn compare(&mut self, place: usize, index: u64) -> Result<(), Violation> {
        let machine = &self.machines[place];
        let Some(running) = &machine.running else { return Ok(()) };
        let well = machine.armed.is_none() && !machine.is_dark();
        if !self.is_cluster() || !well || !index.is_multiple_of(COMPARED_EVERY) {
            return Ok(());
        }
        if running.engine().applier().applied().0 != index {
            // One turn may apply several groups, as after a snapshot.
            return Ok(());
        }
        let state = crate::judges::State::take(running.engine())?;
        self.judges.applied(machine.member, index, state)
    }
}
