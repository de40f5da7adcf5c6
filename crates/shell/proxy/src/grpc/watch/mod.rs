//! Watch: many clients, one watch at the server for all who watch the same.
//!
//! A stream whose caller names a user is passed on as it is: what it may see is judged by the server, and nothing
//! of it is shared. Every other watch begins as one of its own at the server, which thereby says whether it may
//! be, and from which revision; then it joins those who watch the same range. A client that reads too slowly to
//! share goes on by a watch of its own, from where it was, as fast as it reads; nobody waits for it.

mod batch;
mod group;
mod hub;
mod join;
mod own;
mod queue;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use proto::etcdserverpb as pb;
use rpc::{Inbound, Sink};
use types::Refusal;

use batch::Wants;
pub use hub::Hub;
use hub::WATCHES_MAX;
use own::{Own, Running};
use queue::{Command, Group, Item, Queue, Reader, queue};
use source::Subject;

/// What etcd says to a number that is taken.
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// The number of no watch: in refusals, and where all of a stream's are meant.
const NO_WATCH: i64 = -1;

/// Numbers watches, over all streams.
static NEXT_WATCH: AtomicU64 = AtomicU64::new(1);

/// Whether a watch can be made, or the server asks who would like to.
pub async fn can_watch(client: client::Client, key: &'static str) -> bool {
    let key = bytes::Bytes::from_static(key.as_bytes());
    let subject = Subject { key, end: Default::default(), prev_kv: false, needs_leader: false };
    match source::Source::open(&client, &subject, 0).await {
        Ok(mut source) => source.next().await.is_ok(),
        Err(_) => false,
    }
}

/// One client's stream.
struct Stream {
    hub: Arc<Hub>,
    needs_leader: bool,
    queue: Queue,
    /// By the numbers of this process.
    watches: BTreeMap<u64, Watch>,
    /// From the client's numbers to ours.
    by_id: BTreeMap<i64, u64>,
    next_id: i64,
    last_header: pb::ResponseHeader,
    asked: Option<Asked>,
    /// The watch that the server has not answered for. One at a time: clients count on their order.
    creating: Option<u64>,
}

/// One watch of it.
struct Watch {
    id: i64,
    subject: Subject,
    wants: Wants,
    progress_notify: bool,
    place: Place,
}

/// Where its events come from.
enum Place {
    /// A watch at the server for it alone.
    Own(#[expect(dead_code, reason = "dropping it ends the watch")] Running),
    /// One that it shares.
    Shared(Group),
}

/// The client has asked how far all its watches are.
struct Asked {
    /// Those that have not said.
    waiting: std::collections::BTreeSet<u64>,
    /// The least of what was said.
    least: Option<pb::ResponseHeader>,
    /// Whether it has asked once more meanwhile.
    again: bool,
}

/// Serves a stream whose caller names no user, until the client goes.
pub async fn serve(
    hub: Arc<Hub>,
    needs_leader: bool,
    mut inbound: Inbound,
    mut sink: Sink,
) -> Result<(), Refusal> {
    let (queue, mut reader): (Queue, Reader) = queue();
    let mut stream = Stream {
        hub,
        needs_leader,
        queue,
        watches: BTreeMap::new(),
        by_id: BTreeMap::new(),
        next_id: 0,
        last_header: pb::ResponseHeader::default(),
        asked: None,
        creating: None,
    };
    let mut asking = true;
    loop {
        // While a response waits for the client, no request is read: nothing gathers for one that does not
        // listen.
        tokio::select! {
            request = inbound.next_of::<pb::WatchRequest>(), if asking && stream.creating.is_none() => match request? {
                Some(request) => stream.obey(request, &mut sink).await?,
                None => asking = false,
            },
            item = reader.next() => match item {
                Some(item) => stream.tell(item, &mut sink).await?,
                None => return Err(Refusal::Stopped),
            },
        }
    }
}

impl Stream {
    async fn obey(&mut self, request: pb::WatchRequest, sink: &mut Sink) -> Result<(), Refusal> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                if let Err(reason) = self.create(create) {
                    let refused = pb::WatchResponse {
                        header: Some(self.last_header),
                        watch_id: NO_WATCH,
                        created: true,
                        canceled: true,
                        cancel_reason: reason,
                        ..Default::default()
                    };
                    sink.send(&refused).await?;
                }
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                let Some(watch) = self.by_id.get(&cancel.watch_id).copied() else { return Ok(()) };
                self.forget(watch);
                let canceled = pb::WatchResponse {
                    header: Some(self.last_header),
                    watch_id: cancel.watch_id,
                    canceled: true,
                    ..Default::default()
                };
                sink.send(&canceled).await?;
                self.say_progress(sink).await?;
            }
            Some(RequestUnion::ProgressRequest(_)) => self.ask_for_progress(sink).await?,
            None => {}
        }
        Ok(())
    }

    fn create(&mut self, create: pb::WatchCreateRequest) -> Result<(), String> {
        let id = match create.watch_id {
            0 => {
                while self.by_id.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            id if self.by_id.contains_key(&id) => return Err(DUPLICATE.to_owned()),
            id => id,
        };
        if WATCHES_MAX <= self.hub.watches().fetch_add(1, Ordering::Relaxed) {
            self.hub.watches().fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::RequestTooManyRequests.message().to_owned());
        }
        let (mut key, mut end) = (create.key, create.range_end);
        self.hub.namespace().enter_watch(&mut key, &mut end);
        let subject =
            Subject { key, end, prev_kv: create.prev_kv, needs_leader: self.needs_leader };
        let wants_not = |kind: FilterType| create.filters.contains(&(kind as i32));
        let wants = Wants {
            no_put: wants_not(FilterType::Noput),
            no_delete: wants_not(FilterType::Nodelete),
            fragment: create.fragment,
        };
        let watch = NEXT_WATCH.fetch_add(1, Ordering::Relaxed);
        let place = self.alone(watch, &subject, create.start_revision, true);
        let progress_notify = create.progress_notify;
        self.watches.insert(watch, Watch { id, subject, wants, progress_notify, place });
        self.by_id.insert(id, watch);
        self.creating = Some(watch);
        Ok(())
    }

    /// A watch at the server for one alone.
    fn alone(&self, watch: u64, subject: &Subject, next: i64, is_new: bool) -> Place {
        let (hub, subject, queue) = (self.hub.clone(), subject.clone(), self.queue.clone());
        Place::Own(Own { hub, subject, watch, next, is_new, queue }.start())
    }

    fn forget(&mut self, watch: u64) {
        let Some(gone) = self.watches.remove(&watch) else { return };
        self.creating.take_if(|creating| *creating == watch);
        self.by_id.remove(&gone.id);
        self.hub.watches().fetch_sub(1, Ordering::Relaxed);
        if let Place::Shared(group) = gone.place {
            // It may have ended.
            let _ = group.send(Command::Leave { watch });
        }
        if let Some(asked) = &mut self.asked {
            asked.waiting.remove(&watch);
        }
    }

    async fn tell(&mut self, item: Item, sink: &mut Sink) -> Result<(), Refusal> {
        match item {
            Item::Created { watch, header } => {
                self.last_header = header;
                self.creating = None;
                let Some(Watch { id, .. }) = self.watches.get(&watch) else { return Ok(()) };
                let header = Some(header);
                let created = pb::WatchResponse {
                    header,
                    watch_id: *id,
                    created: true,
                    ..Default::default()
                };
                sink.send(&created).await?;
            }
            Item::Canceled { watch, mut response } => {
                let Some(Watch { id, .. }) = self.watches.get(&watch) else { return Ok(()) };
                // A watch that never was has no number.
                response.watch_id = if response.created { NO_WATCH } else { *id };
                response.header = response.header.or(Some(self.last_header));
                self.forget(watch);
                sink.send(&response).await?;
                self.say_progress(sink).await?;
            }
            Item::Events { watch, batch, from } => {
                let Some(Watch { id, wants, .. }) = self.watches.get(&watch) else { return Ok(()) };
                sink.send_all(&batch.responses(*id, from, *wants)).await?;
            }
            Item::Progress { watch, header, asked } => {
                self.progress(watch, header, asked, sink).await?;
            }
            Item::Joined { watch, group } => match self.watches.get_mut(&watch) {
                Some(joined) => {
                    if self.asked.as_ref().is_some_and(|asked| asked.waiting.contains(&watch)) {
                        let _ = group.send(Command::Progress { watch });
                    }
                    joined.place = Place::Shared(group);
                }
                None => drop(group.send(Command::Leave { watch })),
            },
            Item::Overrun { watch, next } => {
                let Some(lagging) = self.watches.get(&watch) else { return Ok(()) };
                let place = self.alone(watch, &lagging.subject, next, false);
                if let Some(lagging) = self.watches.get_mut(&watch) {
                    lagging.place = place;
                }
            }
            Item::Ended { refusal } => return Err(refusal),
        }
        Ok(())
    }

    async fn progress(
        &mut self,
        watch: u64,
        header: pb::ResponseHeader,
        asked: bool,
        sink: &mut Sink,
    ) -> Result<(), Refusal> {
        let Some(about) = self.watches.get(&watch) else { return Ok(()) };
        self.last_header = header;
        if about.progress_notify && !asked {
            let (header, watch_id) = (Some(header), about.id);
            let said = pb::WatchResponse { header, watch_id, ..Default::default() };
            sink.send(&said).await?;
        }
        if asked
            && let Some(waiting) = &mut self.asked
            && waiting.waiting.remove(&watch)
        {
            let least = waiting.least.filter(|least| least.revision <= header.revision);
            waiting.least = Some(least.unwrap_or(header));
            self.say_progress(sink).await?;
        }
        Ok(())
    }

    /// Asks wherever the stream's watches are; those of their own say it when they have joined others.
    async fn ask_for_progress(&mut self, sink: &mut Sink) -> Result<(), Refusal> {
        if let Some(asked) = &mut self.asked {
            asked.again = true;
            return Ok(());
        }
        for (watch, about) in &self.watches {
            if let Place::Shared(group) = &about.place {
                let _ = group.send(Command::Progress { watch: *watch });
            }
        }
        let waiting = self.watches.keys().copied().collect();
        self.asked = Some(Asked { waiting, least: None, again: false });
        self.say_progress(sink).await
    }

    /// Answers when all have said how far they are.
    async fn say_progress(&mut self, sink: &mut Sink) -> Result<(), Refusal> {
        while self.asked.as_ref().is_some_and(|asked| asked.waiting.is_empty()) {
            let Some(asked) = self.asked.take() else { return Ok(()) };
            let header = asked.least.unwrap_or(self.last_header);
            if header.revision != 0 {
                let header = Some(header);
                let said = pb::WatchResponse { header, watch_id: NO_WATCH, ..Default::default() };
                sink.send(&said).await?;
            }
            if asked.again && !self.watches.is_empty() {
                Box::pin(self.ask_for_progress(sink)).await?;
            }
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for watch in self.watches.keys().copied().collect::<Vec<_>>() {
            self.forget(watch);
        }
    }
}
