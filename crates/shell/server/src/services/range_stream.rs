//! RangeStream: a list in messages of bounded length.

use std::future::poll_fn;
use std::sync::Arc;

use apply::{RangeAnswer, ReadView, wire};
use auth::Permitted;
use mvcc::{Page, Pages, ReadError};
use proto::etcdserverpb as pb;
use rpc::{Call, Reserved, Sink, Turn, Unread, Wanted, aside, let_go};
use types::{Code, Refusal};

use crate::desk::Desk;
use crate::holding::Holding;
use crate::reply::{CountedFrame, RangeReply, RangeStreamReply};
use crate::services::range::{next_rows_max, refused, while_made};
use crate::services::size::{self, ROWS_INLINE_MAX};

pub(crate) async fn range_stream(
    desk: Desk,
    call: Call,
    permitted: Permitted<pb::RangeRequest>,
    mut sink: Sink,
) -> Result<(), Refusal> {
    let query = wire::range_query(permitted.message())?;
    refuse_unstreamable(&query)?;
    let holding = Holding::begin(&desk);
    let view = desk.settled(&permitted, permitted.message().serializable, None).await?;
    stream_pages(&desk, &holding, view, query, &call, &mut sink).await?;
    desk.still_as_it_was(&permitted)
}

/// Streams come in key order and whole; etcd has no better for those who want something else.
fn refuse_unstreamable(query: &mvcc::RangeQuery) -> Result<(), Refusal> {
    let refused = |what: &str| {
        let text = format!("RangeStream does not support {what}");
        Err(Refusal::Other(Code::Unimplemented, text.into()))
    };
    let by_key = query.target == mvcc::SortTarget::Key;
    match query.order {
        mvcc::SortOrder::Descend => return refused("custom sort orders"),
        mvcc::SortOrder::Ascend if !by_key => return refused("custom sort orders"),
        mvcc::SortOrder::Ascend | mvcc::SortOrder::None => {}
    }
    if query.filters.are_off() { Ok(()) } else { refused("revision filters") }
}

/// Sends a range page by page from one view: what is in memory is one page, however long the list.
async fn stream_pages(
    desk: &Desk,
    holding: &Holding,
    view: Arc<ReadView>,
    query: mvcc::RangeQuery,
    call: &Call,
    sink: &mut Sink,
) -> Result<(), Refusal> {
    const ROWS_FIRST: usize = 10;
    let bytes_max = desk.limits().request_bytes_max;
    let revision = view.index.current_revision();
    let mut rows_max = if query.limit < 0 { usize::MAX } else { ROWS_FIRST };
    let pages = if size::is_long_walk(&view, &query) {
        let at = view.clone();
        let turn = Turn::take(Some(call)).await?;
        aside(turn, move |_| at.index.pages(&at.rows(), query, &mut |_| Ok(()))).await?
    } else {
        view.index.pages(&view.rows(), query, &mut |_| Ok(()))
    };
    let pages = pages.map_err(|error| refused(desk, error))?;
    let (count, more) = (pages.count(), pages.more());
    let mut list = Elsewhere { list: Some(List { view, pages }), is_short: true };
    loop {
        let nobody_waits = || false;
        holding.wait(nobody_waits, call.room()).await?;
        holding.wait(nobody_waits, poll_fn(|cx| sink.poll_room(cx))).await??;
        let next = list.next(rows_max, call).await?;
        let (page, reserved) = next.map_err(|error| refused(desk, error))?;
        let bytes: usize = page.rows.iter().map(|row| row.encoded.len()).sum();
        let mut answer = RangeAnswer { revision, rows: page.rows, more: false, count: 0 };
        let mut header = None;
        if page.last {
            answer.more = more;
            answer.count = count;
            header = Some(desk.header(revision));
        }
        let reply = RangeStreamReply(RangeReply { header, answer });
        let frame = call.unread().count(rpc::frame(&reply))?;
        drop((reply, reserved));
        sink.send(&CountedFrame(frame)).await?;
        if page.last {
            return Ok(());
        }
        list.is_short = false;
        rows_max = next_rows_max(rows_max, bytes, bytes_max);
    }
}

/// A view, and what of a list is still to be read from it.
struct List {
    view: Arc<ReadView>,
    pages: Pages,
}

impl List {
    /// The next page, and what was reserved for it before it was read.
    fn next(
        &mut self,
        rows_max: usize,
        unread: &Unread,
        wanted: &Wanted,
    ) -> Result<(Page, Reserved), ReadError> {
        let mut reserved = unread.reserve(0)?;
        let mut room = |bytes: u64| {
            wanted.check()?;
            reserved.extend_by(while_made(bytes))
        };
        let page = self.pages.next_page(&self.view.rows(), rows_max, &mut room)?;
        Ok((page.expect("the last page says that it is"), reserved))
    }
}

/// A list that a client may take its time to read. Who lets go of an old view last frees what has changed in the
/// index since, up to all of it. That is done where nobody else waits, also when the client has gone.
struct Elsewhere {
    /// Here, unless a page is being read elsewhere.
    list: Option<List>,
    /// One page, so far: the view cannot be old.
    is_short: bool,
}

impl Elsewhere {
    /// The next page, read here if it is short, else when it is its turn among all long reads.
    async fn next(
        &mut self,
        rows_max: usize,
        call: &Call,
    ) -> Result<Result<(Page, Reserved), ReadError>, Refusal> {
        const HERE: &str = "it is here between two pages";
        let unread = call.unread();
        if rows_max as u64 <= ROWS_INLINE_MAX {
            let list = self.list.as_mut().expect(HERE);
            return Ok(list.next(rows_max, &unread, &Wanted::always()));
        }
        let turn = Turn::take(Some(call)).await?;
        let mut list = self.list.take().expect(HERE);
        let read = move |wanted: &Wanted| {
            let page = list.next(rows_max, &unread, wanted);
            (list, page)
        };
        let (list, page) = aside(turn, read).await?;
        self.list = Some(list);
        Ok(page)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(list) = self.list.take().filter(|_| !self.is_short) {
            let_go(list);
        }
    }
}
