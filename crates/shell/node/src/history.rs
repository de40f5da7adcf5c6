//! The history thread: reads the log for watchers that are behind, so that nothing else waits for them.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use member::{ApplyingInput, HistoryRead};

use crate::Event;
use crate::engine::EngineMessage;
use crate::report::chain;
use crate::shared::Shared;

/// A stretch of history that the watch hub wants.
#[derive(Debug)]
pub(crate) struct HistoryJob(pub(crate) watch::HistoryRequest);

/// Runs until nobody can ask any more.
pub(crate) fn run(inbox: &Receiver<HistoryJob>, shared: &Arc<Shared>) {
    while let Ok(HistoryJob(request)) = inbox.recv() {
        match read(request, shared) {
            Ok(history) => {
                let read = watch::Input::HistoryRead(history);
                let _ = shared.engine.send(EngineMessage::Do(ApplyingInput::Watch(read)));
            }
            Err(error) => {
                let error = chain(&error);
                shared
                    .report
                    .report(Event::Fatal { what: "reading history from the store", error });
                return;
            }
        }
    }
}

fn read(
    request: watch::HistoryRequest,
    shared: &Arc<Shared>,
) -> Result<watch::History, store::StoreError> {
    let mut read = HistoryRead::new(request, shared.view.load().as_ref().clone());
    loop {
        if let Some(history) = read.step(|| shared.view.load().index.compact_revision())? {
            return Ok(history);
        }
    }
}
