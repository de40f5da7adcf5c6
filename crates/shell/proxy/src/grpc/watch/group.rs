//! A watch at the server that any number of clients share.
//!
//! Its task reads what the server says as it comes and hands it to each member's queue; it never waits for one
//! of them. What was said lately is kept for those who join a little late.
//!
//! Always true: a member is told every event of its range from its own next revision on, in order, once; or
//! is told that it was overrun, and from where to go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use types::Refusal;

use super::batch::Batch;
use super::hub::Hub;
use super::queue::{Command, Group, Item, Member, NotTaken};
use super::source::{Source, Subject, is_passing};

/// What a group keeps of what was said lately, and all of them together, in bytes.
const RECENT_BYTES_MAX: usize = 256 * 1024;
const RECENT_TOTAL_BYTES_MAX: usize = 64 << 20;

/// The wait before a stream is opened again, and how long that may take.
const REOPEN_DELAY: Duration = Duration::from_millis(100);
const REOPEN_DURATION_MAX: Duration = Duration::from_secs(5);

/// What progress counts for in a queue.
const PROGRESS_BYTES: usize = 128;

/// The task's own.
struct Shared {
    hub: Arc<Hub>,
    subject: Subject,
    own: Group,
    commands: mpsc::UnboundedReceiver<Command>,
    source: Option<Source>,
    /// The revision of the first event that the server has not said.
    next: i64,
    members: BTreeMap<u64, Member>,
    recent: VecDeque<Arc<Batch>>,
    recent_bytes: usize,
    /// The first revision of which `recent` still knows all.
    oldest: i64,
    asking: BTreeSet<u64>,
}

/// Begins a group with its first member, whose own stream it takes over.
pub fn start(
    hub: Arc<Hub>,
    subject: Subject,
    (own, commands): (Group, mpsc::UnboundedReceiver<Command>),
    source: Source,
    first: Member,
) {
    let next = first.next;
    let core = hub.core().clone();
    let mut shared = Shared {
        hub,
        subject,
        own,
        commands,
        source: Some(source),
        next,
        members: BTreeMap::new(),
        recent: VecDeque::new(),
        recent_bytes: 0,
        oldest: next,
        asking: BTreeSet::new(),
    };
    shared.take_in(first);
    core.spawn(async move { shared.run().await });
}

enum Step {
    Said(pb::WatchResponse),
    Opened(Source),
    Broken(Refusal),
}

impl Shared {
    async fn run(mut self) {
        loop {
            if self.members.is_empty()
                && self.hub.end_if_unused(&self.subject, &self.own, || {
                    // Whoever was given the group's address before it is forgotten is heard first.
                    self.commands.is_empty()
                })
            {
                self.forget_recent(0);
                return;
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                step = step(&mut self.source, &self.hub, &self.subject, self.next) => match step {
                    Step::Said(response) => self.take(response),
                    Step::Opened(source) => {
                        self.source = Some(source);
                        self.ask_again().await;
                    }
                    Step::Broken(refusal) => self.broken(refusal),
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Join { member, reply } => {
                let answer = if self.oldest <= member.next { Ok(()) } else { Err(self.oldest) };
                if answer.is_ok() {
                    self.take_in(member);
                }
                // Whoever asked may have gone; the member is told in its queue.
                let _ = reply.send(answer);
            }
            Command::Leave { watch } => self.leave(watch),
            Command::Progress { watch } => {
                let was_asked = !self.asking.is_empty();
                self.asking.insert(watch);
                if !was_asked {
                    self.ask_again().await;
                }
            }
        }
    }

    /// Asks the server for progress, if anybody asked us. A stream that is broken is asked when it is there.
    async fn ask_again(&mut self) {
        if !self.asking.is_empty()
            && let Some(source) = &mut self.source
        {
            let _ = timeout(REOPEN_DURATION_MAX, source.ask_for_progress()).await;
        }
    }

    fn take_in(&mut self, member: Member) {
        let joined = Item::Joined { watch: member.watch, group: self.own.clone() };
        if member.queue.note(joined).is_err() {
            return;
        }
        let watch = member.watch;
        self.members.insert(watch, member);
        self.hub.count_members(1);
        let missed: Vec<Arc<Batch>> = self.recent.iter().cloned().collect();
        for batch in missed {
            self.tell(watch, &batch);
        }
    }

    fn leave(&mut self, watch: u64) {
        self.asking.remove(&watch);
        if self.members.remove(&watch).is_some() {
            self.hub.count_members(-1);
        }
    }

    /// Tells a member of what it was not told before; one that reads too slowly is let go.
    fn tell(&mut self, watch: u64, batch: &Arc<Batch>) {
        let Some(member) = self.members.get_mut(&watch) else { return };
        if batch.last() < member.next {
            return;
        }
        let item = Item::Events { watch, batch: batch.clone(), from: member.next };
        match member.queue.try_push(batch.bytes(), item) {
            Ok(()) => member.next = batch.last() + 1,
            Err(not_taken) => {
                if not_taken == NotTaken::Full {
                    let _ = member.queue.note(Item::Overrun { watch, next: member.next });
                }
                self.leave(watch);
            }
        }
    }

    fn take(&mut self, response: pb::WatchResponse) {
        if response.canceled {
            self.end_all(|watch| Item::Canceled { watch, response: response.clone() });
            return;
        }
        let header = response.header.unwrap_or_default();
        if response.created {
            return;
        }
        if response.events.is_empty() {
            self.progress(header);
            return;
        }
        let batch = Arc::new(Batch::new(header, response.events, self.hub.namespace()));
        self.next = self.next.max(batch.last() + 1);
        let shared_by = self.members.len().saturating_sub(1);
        self.hub.metrics().events_coalescing.add((shared_by * batch.len()) as u64);
        for watch in self.members.keys().copied().collect::<Vec<_>>() {
            self.tell(watch, &batch);
        }
        self.keep(batch);
    }

    /// Everything up to the header's revision was said.
    fn progress(&mut self, header: pb::ResponseHeader) {
        self.next = self.next.max(header.revision + 1);
        for (watch, member) in &mut self.members {
            member.next = member.next.max(header.revision + 1);
            let asked = self.asking.remove(watch);
            let item = Item::Progress { watch: *watch, header, asked };
            // What nobody asked for need not be told to a client that reads too slowly.
            let _ = match asked {
                true => member.queue.note(item),
                false => member.queue.try_push(PROGRESS_BYTES, item),
            };
        }
        self.asking.clear();
    }

    fn broken(&mut self, refusal: Refusal) {
        self.source = None;
        if !is_passing(&refusal, &self.subject) {
            self.end_all(|_| Item::Ended { refusal: refusal.clone() });
        }
    }

    fn end_all(&mut self, item: impl Fn(u64) -> Item) {
        self.source = None;
        for (watch, member) in std::mem::take(&mut self.members) {
            self.hub.count_members(-1);
            let _ = member.queue.note(item(watch));
        }
        self.asking.clear();
    }

    fn keep(&mut self, batch: Arc<Batch>) {
        let bytes = batch.bytes();
        let total = self.hub.recent_bytes().fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.recent_bytes += bytes;
        self.recent.push_back(batch);
        let mine = if RECENT_TOTAL_BYTES_MAX < total { 0 } else { RECENT_BYTES_MAX };
        self.forget_recent(mine);
    }

    fn forget_recent(&mut self, bytes_max: usize) {
        while bytes_max < self.recent_bytes
            && let Some(batch) = self.recent.pop_front()
        {
            self.oldest = batch.last() + 1;
            self.recent_bytes -= batch.bytes();
            self.hub.recent_bytes().fetch_sub(batch.bytes(), Ordering::Relaxed);
        }
    }
}

/// The next thing that happens at the server's end.
async fn step(source: &mut Option<Source>, hub: &Hub, subject: &Subject, next: i64) -> Step {
    if let Some(source) = source {
        return match source.next().await {
            Ok(response) => Step::Said(response),
            Err(refusal) => Step::Broken(refusal),
        };
    }
    sleep(REOPEN_DELAY).await;
    let client = hub.client();
    match timeout(REOPEN_DURATION_MAX, Source::open(&client, subject, next)).await {
        Ok(Ok(source)) => Step::Opened(source),
        Ok(Err(refusal)) => Step::Broken(refusal),
        Err(_) => Step::Broken(Refusal::Other(types::Code::Unavailable, "no server".into())),
    }
}
