//! Ranges of the KV service: short ones where they were asked for, long ones page by page where nobody else waits.

use std::sync::Arc;
use std::time::Instant;

use apply::{RangeAnswer, ReadView, wire};
use auth::Permitted;
use mvcc::{Page, ReadError};
use proto::etcdserverpb as pb;
use rpc::{Call, Turn, Unread, Wanted, aside};
use types::Refusal;

use crate::desk::Desk;
use crate::observer::described_range;
use crate::reply::{LongRange, Out, RangeReply, rows_len};
use crate::services::size;

pub(crate) async fn range(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::RangeRequest>,
) -> Result<Out<RangeReply>, Refusal> {
    let view = settled(&desk, &permitted, Some(&call)).await?;
    if let Some(answer) = short_range(&desk, &view, permitted.message())? {
        desk.still_as_it_was(&permitted)?;
        return Ok(Out::Short(RangeReply { header: Some(desk.header(answer.revision)), answer }));
    }
    let turn = Turn::take(Some(&call)).await?;
    let request = permitted.message().clone();
    let answer = long_range(&desk, view, request, call.unread(), turn).await?;
    desk.still_as_it_was(&permitted)?;
    Ok(answer)
}

/// Rows of a long answer that are read and written first; then as many at a time as take about
/// [`STEP_BYTES`].
const ROWS_FIRST_STEP: usize = 64;
const STEP_BYTES: usize = 1 << 20;

/// A long answer, on a thread that serves nobody else. Its rows go into the frame page by page: what is in
/// memory is the answer, once, and one page. Room for a page is reserved once it is known what it takes,
/// before it is read.
async fn long_range(
    desk: &Desk,
    view: Arc<ReadView>,
    request: pb::RangeRequest,
    unread: Unread,
    turn: Turn,
) -> Result<Out<RangeReply>, Refusal> {
    let header = desk.header(view.index.current_revision());
    let at = desk.clone();
    let write = move |request: &pb::RangeRequest, wanted: &Wanted| {
        let (mut reserved, mut taken) = (unread.reserve(0)?, 0);
        let mut room = |bytes: u64| {
            wanted.check()?;
            taken += bytes;
            reserved.extend_to(while_made(taken))
        };
        let query = wire::range_query(request)?;
        let mut pages = view.index.pages(&view.rows(), query, &mut room)?;
        let mut frame = LongRange::begin(&header);
        let mut rows_max = ROWS_FIRST_STEP;
        while let Some(page) = pages.next_page(&view.rows(), rows_max, &mut room)? {
            wanted.check()?;
            let bytes = rows_len(&page.rows);
            frame.rows(&page.rows, bytes, bytes_left(&page, bytes, pages.left()));
            if rpc::ANSWER_BYTES_MAX < frame.len() {
                return Err(rpc::answer_too_large(frame.len()).into());
            }
            rows_max = next_rows_max(rows_max, bytes, STEP_BYTES);
        }
        let frame = frame.end(pages.more(), pages.count());
        Ok(Out::Framed { frame, _reserved: reserved })
    };
    let timed = move |wanted: &Wanted| {
        let began = Instant::now();
        let written = write(&request, wanted);
        count_range(&at, &request, began, written.is_ok());
        written
    };
    aside(turn, timed).await?.map_err(|error| refused(desk, error))
}

/// What so many rows more will take, if they are like these, with an eighth to spare.
fn bytes_left(page: &Page, bytes: usize, rows: u64) -> usize {
    let average = bytes as u64 / (page.rows.len() as u64).max(1) + 1;
    usize::try_from((average + average / 8).saturating_mul(rows)).unwrap_or(usize::MAX)
}

/// An answer that is short enough to be made here.
fn short_range(
    desk: &Desk,
    view: &ReadView,
    request: &pb::RangeRequest,
) -> Result<Option<RangeAnswer>, Refusal> {
    if size::has_many_rows(view, request) {
        return Ok(None);
    }
    let began = Instant::now();
    let rows = view.rows();
    let answer = apply::read_short_range(&view.index, &rows, request, size::BYTES_INLINE_MAX);
    if !matches!(answer, Ok(None)) {
        count_range(desk, request, began, answer.is_ok());
    }
    answer.map_err(|error| refused(desk, error))
}

/// What readers see now, or from the moment on at which a linearizable range may be read. For a `call` whose
/// client reads too little it waits.
async fn settled(
    desk: &Desk,
    permitted: &Permitted<pb::RangeRequest>,
    call: Option<&Call>,
) -> Result<Arc<ReadView>, Refusal> {
    desk.settled(permitted, permitted.message().serializable, call).await
}

/// Counts that a range was read and how long it took.
fn count_range(desk: &Desk, request: &pb::RangeRequest, began: Instant, succeeded: bool) {
    let success = if succeeded { "true" } else { "false" };
    let took = began.elapsed();
    desk.metrics().mvcc.ranges.inc();
    desk.metrics().server.range_duration.with(&[success]).observe_duration(took);
    desk.read_took("read-only range ", took, &|| described_range(request));
}

/// What an answer takes while it is made: its rows as they were read, and its frame.
pub(crate) fn while_made(rows_bytes: u64) -> usize {
    usize::try_from(rows_bytes.saturating_mul(2)).unwrap_or(usize::MAX)
}

/// A checked range, linearizable unless it says otherwise. For a `call` whose client reads too little it
/// waits.
pub(crate) async fn read_range(
    desk: &Desk,
    permitted: Permitted<pb::RangeRequest>,
    call: Option<&Call>,
) -> Result<RangeAnswer, Refusal> {
    let view = settled(desk, &permitted, call).await?;
    let request = permitted.into_message();
    if let Some(answer) = short_range(desk, &view, &request)? {
        return Ok(answer);
    }
    let turn = Turn::take(call).await?;
    let at = desk.clone();
    let read = move |wanted: &Wanted| {
        let began = Instant::now();
        let mut room = |_| wanted.check();
        let answer = apply::read_range_with_room(&view.index, &view.rows(), &request, &mut room);
        count_range(&at, &request, began, answer.is_ok());
        answer
    };
    aside(turn, read).await?.map_err(|error| refused(desk, error))
}

pub(crate) async fn room(call: Option<&Call>) {
    if let Some(call) = call {
        call.room().await;
    }
}

/// A refusal goes to the client. So does the loss of what was asked for; any other fault of the store ends the member:
/// rather none than a wrong answer.
pub(crate) fn refused(desk: &Desk, error: ReadError) -> Refusal {
    match error {
        ReadError::Refused(refusal) => refusal,
        ReadError::Fault(fault) => desk.fault("reading from the store", &fault),
    }
}

/// Twice as many rows as long as the messages stay short, half as many when they grow long.
pub(crate) fn next_rows_max(rows_max: usize, bytes: usize, bytes_max: usize) -> usize {
    if bytes < bytes_max / 2 {
        rows_max.saturating_mul(2)
    } else if bytes_max < bytes {
        (rows_max / 2).max(1)
    } else {
        rows_max
    }
}
