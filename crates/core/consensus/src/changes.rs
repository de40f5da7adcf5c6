//! Configuration changes, once they are committed and applied.

use proto::raftpb::{ConfChange, ConfChangeType};
use types::ConfState;

use crate::configuration::{Configuration, ImpossibleChange};
use crate::io::Role;
use crate::machine::Consensus;
use crate::progress::Progress;

impl Consensus {
    /// Takes a committed configuration change into account and returns the new configuration. A change that
    /// membership refused is given as `None`. A leader that is no voter any more gives up its office.
    ///
    /// # Errors
    /// [`ImpossibleChange`]: the caller stored a membership that raft cannot follow, and must stop.
    pub fn apply_change(
        &mut self,
        change: Option<&ConfChange>,
    ) -> Result<ConfState, ImpossibleChange> {
        let Some(change) = change else { return Ok(self.conf_state()) };
        let next = self.configuration.after(change)?;
        let id = change.node_id();
        if id != 0 {
            match change.r#type() {
                ConfChangeType::ConfChangeRemoveNode => {
                    self.removed.insert(id);
                }
                ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
                    self.removed.remove(&id);
                }
                ConfChangeType::ConfChangeUpdateNode => {}
            }
        }
        self.switch_to(next);
        Ok(self.conf_state())
    }

    fn switch_to(&mut self, next: Configuration) {
        self.configuration = next;
        let configuration = &self.configuration;
        self.progress.retain(|id, _| configuration.is_voter(*id) || configuration.is_learner(*id));
        let (first_try, ticks) = (self.log.last().max(1), self.ticks);
        for id in configuration.members() {
            let learner = configuration.is_learner(id);
            let progress = self.progress.entry(id).or_insert_with(|| {
                let mut new = Progress::new(first_try, learner);
                // Counts as heard of, or a check of the quorum right now would end the leader.
                new.recently_active = true;
                new.heard_at = ticks;
                new
            });
            progress.learner = learner;
        }
        if self.role != Role::Leader {
            return;
        }
        if !self.configuration.is_voter(self.id) {
            self.become_follower(self.term, 0);
            return;
        }
        if self.advance_commit() {
            self.broadcast_appends();
        } else {
            for id in self.others() {
                self.send_append(id, false);
            }
        }
        if self.transferee != 0 && !self.configuration.is_voter(self.transferee) {
            self.transferee = 0;
        }
        if self.configuration.is_alone(self.id) {
            // Nobody is left whose answer could confirm them.
            self.answer_confirmed();
        }
    }
}
