//! Watching clients at work.

use history::Violation;
use member::ApplyingInput as Do;

use crate::running::ToEngine;
use crate::world::World;

impl World {
    /// A watching client does something. In a cluster it turns to another member when the last one is gone, or now
    /// and then.
    pub(crate) fn watcher(&mut self, place: usize) -> Result<(), Violation> {
        if self.is_cluster() && !self.find_a_member(place) {
            return Ok(());
        }
        let at = self.watchers[place].at;
        let Some(running) = &mut self.machines[at].running else { return Ok(()) };
        let watcher = &mut self.watchers[place];
        if !watcher.open {
            self.numbers += 1;
            (watcher.stream, watcher.open) = (self.numbers, true);
            let stream = watcher.stream;
            let opened = watch::Input::StreamOpened { stream, progress_interval_ms: 1000 };
            running.to_engine.push_back(ToEngine::Do(Do::Watch(opened)));
        }
        let compacted = running.view.index.compact_revision();
        let chance = &mut self.chance;
        let stream = watcher.stream;
        let input = match chance.below(12) {
            0 if !self.settling => watcher.create(&self.knows, chance),
            1 if !self.settling && chance.one_in(4) => {
                let canceled = watcher.cancel(chance);
                canceled.map(|(input, watch)| {
                    self.record.watches.push(watch);
                    input
                })
            }
            2 if chance.one_in(3) => Some(watch::Input::ProgressRequested { stream }),
            _ if 0 < watcher.queued() => {
                let count = chance.pick(&[1, 2, 100]);
                let (input, ended) = watcher.read(count, compacted);
                self.record.watches.extend(ended);
                Some(input)
            }
            _ => None,
        };
        if let Some(input) = input {
            let text = format!("w{place} {input:?}");
            running.to_engine.push_back(ToEngine::Do(Do::Watch(input)));
            self.note(&text);
        }
        Ok(())
    }

    /// Whether this watching client has a member to talk to. One that moves begins again there, where it was.
    fn find_a_member(&mut self, place: usize) -> bool {
        let at = self.watchers[place].at;
        let runs = self.machines[at].running.is_some();
        let moves = !self.settling && self.chance.one_in(300);
        if runs && !moves {
            return !self.machines[at].is_paused(self.now_ms);
        }
        let stream = self.watchers[place].stream;
        if runs && self.watchers[place].open {
            let closed = watch::Input::StreamClosed { stream };
            if let Some(running) = &mut self.machines[at].running {
                running.to_engine.push_back(ToEngine::Do(Do::Watch(closed)));
            }
        }
        let lost = self.watchers[place].lost();
        self.record.watches.extend(lost.into_iter().filter(|w| !w.responses.is_empty()));
        let Some(next) = self.any_running() else { return false };
        self.watchers[place].at = next;
        self.note(&format!("w{place} turns to m{next}"));
        true
    }
}
