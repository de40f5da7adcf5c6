//! The history thread: reads the log for watchers that are behind, so that nothing else waits for them.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use apply::ReadView;
use types::{Revision, Row};

use crate::Event;
use crate::engine::EngineMessage;
use crate::report::chain;
use crate::shared::Shared;

/// A stretch of history that the watch hub wants.
#[derive(Debug)]
pub(crate) struct HistoryJob(pub(crate) watch::HistoryRequest);

/// Bytes of the log read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Runs until nobody can ask any more.
pub(crate) fn run(inbox: &Receiver<HistoryJob>, shared: &Arc<Shared>) {
    while let Ok(HistoryJob(request)) = inbox.recv() {
        match read(request, shared) {
            Ok(history) => {
                let read = watch::Input::HistoryRead(history);
                let _ = shared.engine.send(EngineMessage::Watch(read));
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
    let view = shared.view.load_full();
    let to = request.to;
    let mut scan = view.log.scan(Revision::first_of(request.from));
    let mut reader = request.reader();
    let mut ended = false;
    'reading: loop {
        let chunk = scan.next_chunk(CHUNK_BYTES)?;
        if chunk.is_empty() {
            ended = true;
            break;
        }
        for row in chunk {
            if to < row.revision.main {
                ended = true;
                break 'reading;
            }
            if !reader.offer(row, |row| previous(&view, row))? {
                break 'reading;
            }
        }
    }
    // Looked up after the rows were read: what was compacted meanwhile may have been missing.
    let compacted = shared.view.load().index.compact_revision();
    Ok(if ended { reader.ended(compacted) } else { reader.stopped(compacted) })
}

/// The key as it was just before a change; nothing if that is compacted.
fn previous(view: &ReadView, row: &Row) -> Result<Option<Row>, store::StoreError> {
    let before = row.revision.main - 1;
    match view.index.get_at(row.key(), before) {
        Ok(Some(at)) if 0 < before => view.log.read(at.revision).map(Some),
        Ok(_) | Err(_) => Ok(None),
    }
}
