//! The long steps of taking a snapshot over, on a thread of their own: nobody waits for them but the state they bring.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use apply::Applier;
use member::{ApplyingInput as Do, InstallJob};

use crate::engine::EngineMessage;
use crate::shared::Shared;

/// What its thread is given.
pub(crate) enum InstallWork {
    /// To be run.
    Step(Box<InstallJob>),
    /// To be dropped: the index of a large state takes a while.
    LetGo(Box<Applier>),
}

/// Runs until nobody can ask any more. A member that is told to stop waits for no store to be built: the next start
/// builds it again.
pub(crate) fn run(inbox: &Receiver<InstallWork>, shared: &Arc<Shared>) {
    let wanted = || !shared.stopping.load(Ordering::Acquire);
    while let Ok(work) = inbox.recv() {
        match work {
            InstallWork::Step(job) => {
                let done = job.run(&mut || wanted());
                if wanted() {
                    let _ = shared.engine.send(EngineMessage::Do(Do::InstallStep(done)));
                }
            }
            InstallWork::LetGo(applier) => drop(applier),
        }
    }
}
