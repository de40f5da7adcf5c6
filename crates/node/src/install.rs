//! The engine goes on with a snapshot of another member's: its store is exchanged for the snapshot's.
//!
//! Long work on the old store (a sync, cleaning, a checkpoint, a hash) is under way on other threads and names files
//! of its directory, so nothing new is begun and what is under way is waited for. Meanwhile whatever needs the store
//! to be the new one is kept back, in order. The exchange itself is done on the engine's thread: watchers and leases
//! have nothing to wait for, and readers see the old state until the new one is there.

use std::collections::VecDeque;

use apply::Fault;
use member::{CHECKPOINT_ROWS_MIN, House, Installer, Stored};

use crate::Event;
use crate::engine::{EngineMessage, EngineThread};
use crate::front::FrontMessage;

/// Whether a snapshot is being taken over, and what waits for that.
pub(crate) struct Installing {
    installer: Installer,
    /// The snapshot to go on with.
    wanted: Option<Stored>,
    held: VecDeque<EngineMessage>,
    /// Syncs of the store under way.
    pub(crate) syncs: usize,
}

impl Installing {
    pub(crate) fn new(installer: Installer) -> Installing {
        Installing { installer, wanted: None, held: VecDeque::new(), syncs: 0 }
    }

    /// Whether the store is about to be another one.
    pub(crate) fn is_under_way(&self) -> bool {
        self.wanted.is_some()
    }

    /// Gives a message back that may be handled now.
    pub(crate) fn keep_back(&mut self, message: EngineMessage) -> Option<EngineMessage> {
        use EngineMessage as M;
        let waits = matches!(
            message,
            M::Apply(_)
                | M::SyncStore
                | M::Defragment { .. }
                | M::Snapshot { .. }
                | M::SendSnapshot(_)
                | M::Install(_)
        );
        if self.wanted.is_none() || !waits {
            return Some(message);
        }
        self.held.push_back(message);
        None
    }
}

impl EngineThread {
    /// Begins to take a snapshot over.
    pub(crate) fn install(&mut self, stored: Stored) -> Result<(), Fault> {
        self.shared.metrics.server.snapshot_apply_in_progress.set(1);
        self.installing.wanted = Some(stored);
        self.install_if_quiet()
    }

    /// Exchanges the stores, if nothing is under way on the old one.
    pub(crate) fn install_if_quiet(&mut self) -> Result<(), Fault> {
        let busy =
            0 < self.installing.syncs || self.house.is_busy() || self.engine.applier().is_hashing();
        let Some(stored) = self.installing.wanted.take_if(|_| !busy) else { return Ok(()) };
        let applier = match self.installing.installer.install(&stored) {
            Ok(applier) => applier,
            Err(error) => {
                self.stopped = true;
                self.fatal_at("taking a snapshot over", &error);
                return Ok(());
            }
        };
        self.house = House::new(CHECKPOINT_ROWS_MIN);
        let effects = self.engine.replace(applier);
        let applied = self.effects(effects);
        self.tell_front(applied);
        self.publish_hashes();
        let index = stored.index;
        self.shared.lanes.wake_reads(index);
        self.shared.metrics.server.snapshot_apply_in_progress.set(0);
        self.shared.report.report(Event::Installed { index });
        let _ = self.shared.front.send(FrontMessage::Installed(stored));
        for message in std::mem::take(&mut self.installing.held) {
            self.handle(message)?;
        }
        Ok(())
    }
}
