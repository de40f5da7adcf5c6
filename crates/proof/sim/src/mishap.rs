//! What goes wrong, and how the world goes on from it, to its end.

use history::Violation;
use member::{BootError, Notice};
use vfs::{CrashPolicy, FaultKind};

use crate::chance::Chance;
use crate::machine::{Armed, End};
use crate::out::{Death, causes};
use crate::world::World;

impl World {
    /// Something goes wrong somewhere.
    pub(crate) fn mishap(&mut self) -> Result<(), Violation> {
        let place = self.chance.below(self.machines.len());
        let disks = self.may.disks;
        let running = self.machines[place].running.is_some();
        let machine = &mut self.machines[place];
        if !running {
            return Ok(());
        }
        if machine.armed == Some(Armed::Full) {
            machine.disarm();
            self.note(&format!("m{place} has room again"));
            return Ok(());
        }
        let kind = self.chance.below(12);
        if (!disks && matches!(kind, 4..10)) || (!self.may.crashes && kind < 4) {
            return Ok(());
        }
        match kind {
            0 | 1 => {
                let policy = policy(&mut self.chance);
                self.end(place, End::Power(policy), "power goes")
            }
            2 => self.end(place, End::Killed, "killed"),
            3 => self.stop(place),
            4..7 => {
                let operations = self.chance.between(0, 60);
                machine.arm_power(operations);
                self.note(&format!("m{place} will lose power in {operations} operations"));
                Ok(())
            }
            7 | 8 => {
                let kinds = [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite];
                let (operations, kind) = (self.chance.between(1, 40), self.chance.pick(&kinds));
                machine.arm_failure(operations, kind);
                self.note(&format!("m{place} will see {kind:?} in {operations} operations"));
                Ok(())
            }
            9 => {
                let bytes = self.chance.between(0, 8000);
                machine.arm_full(bytes);
                self.note(&format!("m{place} has {bytes} bytes left"));
                Ok(())
            }
            _ if self.is_cluster() => Ok(()),
            _ => {
                let pause = self.chance.between(500, 9000);
                self.now_ms += pause;
                self.note(&format!("everybody was asleep for {pause} ms"));
                Ok(())
            }
        }
    }

    /// A process ended itself over a fault. That must have a reason.
    pub(crate) fn died(&mut self, place: usize, why: &str) -> Result<(), Violation> {
        let policy = policy(&mut self.chance);
        let end = match self.machines[place].armed {
            Some(Armed::Full) => End::Killed,
            // After a failed sync the kernel's pages are not what the disk has: only a reboot clears that up.
            Some(Armed::Power | Armed::Fails) => End::Power(policy),
            // What failed while the disk was ill may be told after it is well again.
            None if self.machines[place].suspect => End::Power(policy),
            None => return Err(Violation(format!("m{place} ended on a good disk: {why}"))),
        };
        self.end(place, end, why)
    }

    /// The process is gone.
    pub(crate) fn end(&mut self, place: usize, end: End, why: &str) -> Result<(), Violation> {
        self.note(&format!("m{place} ends, {end:?}: {why}"));
        self.ends += 1;
        self.forget_requests(place);
        if self.is_cluster() && end == End::Killed {
            self.tell_others_that_it_is_gone(place);
        }
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.at == place) {
            let lost = watcher.lost();
            self.record.watches.extend(lost.into_iter().filter(|w| !w.responses.is_empty()));
        }
        let pause = self.chance.pick(&[0, 50, 3000]);
        let machine = &mut self.machines[place];
        machine.end(end);
        if machine.boot_at != u64::MAX {
            machine.boot_at = self.now_ms + pause;
        }
        self.caught_up[place] = false;
        Ok(())
    }

    /// An orderly end: the store is left so that nothing need be replayed.
    fn stop(&mut self, place: usize) -> Result<(), Violation> {
        let Some(running) = &mut self.machines[place].running else { return Ok(()) };
        let stopped = running.stop();
        let policy = policy(&mut self.chance);
        let out = running.take_out();
        for out in out {
            self.out(place, out)?;
        }
        match stopped {
            Ok(()) => {
                let end =
                    if self.machines[place].suspect { End::Power(policy) } else { End::Killed };
                self.end(place, end, "told to stop")
            }
            Err(Death(why)) => self.died(place, &why),
        }
    }

    /// The process starts again, on a disk that may fail it during recovery too.
    pub(crate) fn boot(&mut self, place: usize) -> Result<(), Violation> {
        let armed = !self.settling && self.may.disks && self.chance.one_in(4);
        let machine = &mut self.machines[place];
        if armed && machine.boots < 40 {
            machine.arm_power(self.chance.between(0, 50));
        }
        let mut notices: Vec<String> = Vec::new();
        let mut notice = |notice: Notice| notices.push(format!("{notice:?}"));
        let (seed, now_ms) = (self.seed, self.now_ms);
        let clients = self.plan.clients;
        let booted = machine.boot(&self.plan, seed, clients, now_ms, &mut self.chance, &mut notice);
        for notice in notices {
            self.note(&format!("m{place} {notice}"));
        }
        let error = match booted {
            Ok(term) => return self.booted(place, term),
            Err(error) => error,
        };
        if matches!(error, BootError::Removed { .. }) {
            return self.removed(place);
        }
        let why = causes(&error);
        if self.machines[place].armed.is_none() {
            return Err(Violation(format!("m{place} does not start: {why}")));
        }
        let policy = policy(&mut self.chance);
        self.end(place, End::Power(policy), &format!("starting failed: {why}"))
    }

    /// The process has ended, and its machine still closes its connections.
    fn tell_others_that_it_is_gone(&mut self, place: usize) {
        let gone = self.machines[place].member;
        let others = self.machines.iter().map(|machine| machine.member);
        let others: Vec<u64> = others.filter(|other| *other != gone).collect();
        self.network.gone(gone, &others, self.now_ms);
    }

    fn booted(&mut self, place: usize, term: u64) -> Result<(), Violation> {
        let machine = &self.machines[place];
        let (durable, member) = (machine.term_durable, machine.member);
        let Some(running) = &machine.running else { return Ok(()) };
        let revision = running.view.index.current_revision();
        let applied = running.view.applied_index;
        self.record.published(&running.view, 0)?;
        self.judges.booted(member, &running.front);
        self.published[place] = revision;
        self.note(&format!(
            "m{place} ({member:x}) runs: applied {applied}, revision {revision}, term {term}"
        ));
        if term < durable {
            return Err(Violation(format!("the term went back from {durable} to {term}")));
        }
        self.publish_who_it_is(place);
        Ok(())
    }
}

pub(crate) fn policy(chance: &mut Chance) -> CrashPolicy {
    let seed = chance.next();
    match chance.below(5) {
        0 => CrashPolicy::KeepAll,
        1 => CrashPolicy::LoseUnsynced,
        2 => CrashPolicy::Torn { seed },
        _ => CrashPolicy::Reordered { seed },
    }
}
