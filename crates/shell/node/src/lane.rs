//! A lane: the way from one connection-serving thread into the log and back.
//!
//! What a thread proposes within one turn of its loop leaves as one group, reads of one turn share
//! one question, and answers for a thread arrive together. So the price of crossing threads is paid per
//! turn, not per request. When the front is idle its step is taken right here; and a thread that serves nothing
//! but one put after the other ([`LONE_TURNS_MIN`]) crosses to no other thread at all.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::sync::{OnceLock, RwLock};
use std::time::{Duration, Instant};

use apply::Answer;
use member::{FrontInput, Proposal, RequestIds};
use tokio::sync::{mpsc, oneshot};
use types::Refusal;

use crate::front::FrontMessage;
use crate::log::Patience;
use crate::shared::Shared;
use crate::timed::Timed;

/// Lanes that ids have room for.
const LANES_MAX: usize = 256;

/// Threads beside those that serve clients which have a lane, at most: duties, the listeners of metrics and of
/// peers, the two machines, and some more.
const LANES_BESIDE: usize = 8;

/// Generators of ids that belong to no thread: the engine's, and the front's.
pub(crate) const LANES_OF_MACHINES: usize = 2;

/// Threads that may serve clients, at most: each has a lane.
pub const SERVING_THREADS_MAX: usize = LANES_MAX - LANES_BESIDE;

/// Turns in a row with nothing but one put, after which a thread may wait for the disk itself. Whoever turns up
/// on such a thread waits for one sync, once, and then the count begins anew.
const LONE_TURNS_MIN: u32 = 32;

/// How often a lane looks for requests that have waited too long, at least.
const LATE_DURATION_MAX: Duration = Duration::from_millis(250);

/// What a proposer is told.
pub(crate) type Outcome = Result<Answer, Refusal>;

/// What comes back to a lane.
#[derive(Debug)]
pub(crate) enum LaneMessage {
    /// Proposals were decided.
    Decided(Vec<(u64, Outcome)>),
    /// A read round was confirmed.
    ReadReady { ticket: u64, index: u64 },
    /// Entries were applied that reads of this lane wait for.
    Applied,
}

/// The far ends of all lanes.
pub(crate) struct Lanes {
    ends: RwLock<Vec<LaneEnd>>,
    max: usize,
}

struct LaneEnd {
    sender: mpsc::UnboundedSender<LaneMessage>,
    /// The lowest index a read of this lane waits for; `u64::MAX` for none.
    awaited: Arc<AtomicU64>,
}

impl Lanes {
    /// Room for one lane for each thread that serves clients, and a few more. Few lanes mean many ids for each:
    /// they share what a millisecond has room for.
    pub(crate) fn new(serving_threads: usize) -> Lanes {
        assert!(
            serving_threads <= SERVING_THREADS_MAX,
            "the shell starts no more than have a lane"
        );
        let max = (serving_threads + LANES_BESIDE).next_power_of_two();
        Lanes { ends: RwLock::default(), max }
    }

    /// How many there may be; a power of two.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// The lane a ticket came from.
    pub(crate) fn of_ticket(&self, ticket: u64) -> usize {
        (ticket % self.max as u64) as usize
    }

    /// Sends a message to a lane; one whose thread has ended is not missed.
    pub(crate) fn send(&self, lane: usize, message: LaneMessage) {
        let ends = self.ends.read().expect("no holder of the lock panics");
        if let Some(end) = ends.get(lane) {
            let _ = end.sender.send(message);
        }
    }

    /// Wakes the lanes whose reads waited for an index up to `applied`.
    pub(crate) fn wake_reads(&self, applied: u64) {
        let ends = self.ends.read().expect("no holder of the lock panics");
        for end in ends.iter() {
            if end.awaited.load(Ordering::SeqCst) <= applied {
                end.awaited.store(u64::MAX, Ordering::SeqCst);
                let _ = end.sender.send(LaneMessage::Applied);
            }
        }
    }

    fn open(&self) -> (usize, mpsc::UnboundedReceiver<LaneMessage>, Arc<AtomicU64>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let awaited = Arc::new(AtomicU64::new(u64::MAX));
        let mut ends = self.ends.write().expect("no holder of the lock panics");
        let lane = ends.len();
        assert!(lane + LANES_OF_MACHINES < self.max, "there are fewer serving threads than lanes");
        ends.push(LaneEnd { sender, awaited: awaited.clone() });
        (lane, receiver, awaited)
    }
}

/// The near end, on its thread.
pub(crate) struct Lane {
    number: usize,
    shared: Arc<Shared>,
    ids: RefCell<RequestIds>,
    waiting: RefCell<HashMap<u64, Waiting<Outcome>>>,
    outgoing: RefCell<Vec<Proposal>>,
    /// Reads that have not left yet.
    reads: RefCell<Vec<WaitingRead>>,
    /// Reads that wait for their index to be confirmed, by ticket.
    asked: RefCell<HashMap<u64, Vec<WaitingRead>>>,
    /// Reads that wait for their index to be applied.
    confirmed: RefCell<BTreeMap<u64, Vec<WaitingRead>>>,
    awaited: Arc<AtomicU64>,
    tickets: Cell<u64>,
    leaving: Cell<bool>,
    /// Turns in a row that had nothing but one put.
    lone_turns: Cell<u32>,
    /// Whether somebody looks for requests that are late.
    watched: Cell<bool>,
    timed: RefCell<Timed>,
}

/// Who waits for an outcome, and since when. One clock for all of a lane: a timer for each request costs a
/// wake-up of the thread's own runtime.
struct Waiting<T> {
    since: Instant,
    sender: oneshot::Sender<T>,
}

type WaitingRead = Waiting<Result<(), Refusal>>;

impl<T> Waiting<T> {
    fn new() -> (Waiting<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Waiting { since: Instant::now(), sender }, receiver)
    }

    fn is_late(&self, now: Instant, patience: Duration) -> bool {
        patience <= now.duration_since(self.since)
    }
}

thread_local! {
    static LANE: OnceLock<Rc<Lane>> = const { OnceLock::new() };
}

impl Lane {
    /// This thread's lane, which leads to one member and lives as long as the thread's local runtime: a
    /// thread serves one member in its life. Must be called from a task of that runtime.
    pub(crate) fn here(shared: &Arc<Shared>) -> Rc<Lane> {
        LANE.with(|lane| lane.get_or_init(|| Lane::open(shared)).clone())
    }

    fn open(shared: &Arc<Shared>) -> Rc<Lane> {
        let (number, mut receiver, awaited) = shared.lanes.open();
        let ids = RequestIds::new(shared.member, shared.run, number, shared.lanes.max());
        let lane = Rc::new(Lane {
            number,
            shared: shared.clone(),
            ids: RefCell::new(ids),
            waiting: RefCell::default(),
            outgoing: RefCell::default(),
            reads: RefCell::default(),
            asked: RefCell::default(),
            confirmed: RefCell::default(),
            awaited,
            tickets: Cell::new(0),
            leaving: Cell::new(false),
            lone_turns: Cell::new(0),
            watched: Cell::new(false),
            timed: RefCell::default(),
        });
        let weak = Rc::downgrade(&lane);
        tokio::task::spawn_local(async move {
            while let Some(message) = receiver.recv().await {
                let Some(lane) = weak.upgrade() else { return };
                lane.take(message);
            }
        });
        lane
    }

    /// An id nobody else uses.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.borrow_mut().next_id()
    }

    /// Notes how long a request took from its proposal to its answer.
    pub(crate) fn took(&self, kind: &'static str, success: bool, took: Duration) {
        let vector = &self.shared.metrics.server.request_duration;
        let find = |told: &'static str| vector.with(&[told, kind]);
        self.timed.borrow_mut().observe(kind, success, took, find);
    }

    /// Sends a proposal on its way and returns where its outcome will arrive.
    pub(crate) fn propose(self: &Rc<Self>, proposal: Proposal) -> Pending {
        let (waiting, receiver) = Waiting::new();
        let id = proposal.id;
        self.waiting.borrow_mut().insert(id, waiting);
        self.outgoing.borrow_mut().push(proposal);
        self.leave_soon();
        Pending { lane: self.clone(), id, receiver }
    }

    /// Resolves when everything that was committed before this call is applied.
    pub(crate) fn barrier(self: &Rc<Self>) -> oneshot::Receiver<Result<(), Refusal>> {
        let (waiting, receiver) = Waiting::new();
        self.reads.borrow_mut().push(waiting);
        self.leave_soon();
        receiver
    }

    /// This thread serves more than one client that puts.
    pub(crate) fn not_alone() {
        // A thread that ends has nothing to wait for any more.
        let _ = LANE.try_with(|lane| {
            if let Some(lane) = lane.get() {
                lane.lone_turns.set(0);
            }
        });
    }

    /// Everything gathered in this turn of the loop leaves at its end: the task runs after those that
    /// are ready now.
    fn leave_soon(self: &Rc<Self>) {
        if self.leaving.replace(true) {
            return;
        }
        let lane = self.clone();
        tokio::task::spawn_local(async move { lane.leave() });
    }

    fn leave(self: &Rc<Self>) {
        self.leaving.set(false);
        let proposals = std::mem::take(&mut *self.outgoing.borrow_mut());
        let reads = std::mem::take(&mut *self.reads.borrow_mut());
        let patience = self.patience(proposals.len(), reads.len());
        if !reads.is_empty() {
            let ticket = self.next_ticket();
            self.asked.borrow_mut().insert(ticket, reads);
            self.tell_front(FrontMessage::Do(FrontInput::Read { ticket }), patience);
        }
        if !proposals.is_empty() {
            // A front that has ended leaves the proposals undecided: they time out, as they must.
            self.tell_front(FrontMessage::Do(FrontInput::Propose(proposals)), patience);
        }
        self.watch_for_late();
    }

    /// Takes the front's step here if it is idle, else leaves it to its thread.
    fn tell_front(&self, message: FrontMessage, patience: Patience) {
        let here = self.shared.front_here.get().and_then(Weak::upgrade);
        match here.as_ref().and_then(|front| front.now(&message)) {
            Some(front) => front.step(message, patience),
            None => drop(self.shared.front.send(message)),
        }
    }

    /// How long this thread may wait for the disk.
    fn patience(&self, proposals: usize, reads: usize) -> Patience {
        let alone = proposals == 1 && reads == 0 && self.waiting.borrow().len() == 1;
        let turns = if alone { self.lone_turns.get().saturating_add(1) } else { 0 };
        self.lone_turns.set(turns);
        if LONE_TURNS_MIN < turns { Patience::Long } else { Patience::None }
    }

    /// As long as anybody waits, looks for those who have waited too long.
    fn watch_for_late(self: &Rc<Self>) {
        if !self.is_awaited() || self.watched.replace(true) {
            return;
        }
        let lane = self.clone();
        let patience = self.shared.config.limits.request_timeout;
        tokio::task::spawn_local(async move {
            while lane.is_awaited() {
                tokio::time::sleep(LATE_DURATION_MAX.min(patience / 4)).await;
                lane.refuse_late(Instant::now(), patience);
            }
            lane.watched.set(false);
        });
    }

    fn is_awaited(&self) -> bool {
        let proposed = !self.waiting.borrow().is_empty();
        proposed || !self.asked.borrow().is_empty() || !self.confirmed.borrow().is_empty()
    }

    /// Tells those who have waited too long. The log may decide their requests all the same.
    fn refuse_late(&self, now: Instant, patience: Duration) {
        let late = |waiting: &Waiting<_>| waiting.is_late(now, patience);
        let mut waiting = self.waiting.borrow_mut();
        for (_, late) in waiting.extract_if(|_, waiting| late(waiting)) {
            self.shared.metrics.server.proposals_failed.inc();
            let _ = late.sender.send(Err(Refusal::Timeout));
        }
        let refuse = |reads: &mut Vec<WaitingRead>| {
            for late in reads.extract_if(.., |read| read.is_late(now, patience)) {
                self.shared.metrics.server.slow_read_indexes.inc();
                let _ = late.sender.send(Err(Refusal::Timeout));
            }
            // Nor may anything gather for askers that have gone.
            reads.retain(|read| !read.sender.is_closed());
            !reads.is_empty()
        };
        self.asked.borrow_mut().retain(|_, reads| refuse(reads));
        self.confirmed.borrow_mut().retain(|_, reads| refuse(reads));
    }

    /// The lane's number is in the low bits, so the answer finds its way back.
    fn next_ticket(&self) -> u64 {
        let next = self.tickets.get() + 1;
        self.tickets.set(next);
        next * self.shared.lanes.max() as u64 + self.number as u64
    }

    fn take(&self, message: LaneMessage) {
        match message {
            LaneMessage::Decided(outcomes) => {
                let mut waiting = self.waiting.borrow_mut();
                for (id, outcome) in outcomes {
                    if let Some(waiting) = waiting.remove(&id) {
                        let _ = waiting.sender.send(outcome);
                    }
                }
            }
            LaneMessage::ReadReady { ticket, index } => {
                let Some(reads) = self.asked.borrow_mut().remove(&ticket) else { return };
                self.confirmed.borrow_mut().entry(index).or_default().extend(reads);
                self.release_reads();
            }
            LaneMessage::Applied => self.release_reads(),
        }
    }

    /// Releases the reads whose index is applied, and says which index the others wait for.
    fn release_reads(&self) {
        let mut confirmed = self.confirmed.borrow_mut();
        loop {
            let applied = self.shared.applied.load(Ordering::SeqCst);
            while let Some(entry) = confirmed.first_entry()
                && *entry.key() <= applied
            {
                for read in entry.remove() {
                    let _ = read.sender.send(Ok(()));
                }
            }
            let Some((index, _)) = confirmed.first_key_value() else { return };
            self.awaited.store(*index, Ordering::SeqCst);
            // The engine may have passed that index before it could see the line above.
            if self.shared.applied.load(Ordering::SeqCst) < *index {
                return;
            }
        }
    }
}

/// A proposal on its way. Dropped, it is forgotten here; the log may decide it all the same.
pub(crate) struct Pending {
    lane: Rc<Lane>,
    id: u64,
    receiver: oneshot::Receiver<Outcome>,
}

impl Pending {
    /// Waits for the outcome.
    pub(crate) async fn outcome(mut self) -> Outcome {
        (&mut self.receiver).await.unwrap_or(Err(Refusal::Stopped))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.lane.waiting.borrow_mut().remove(&self.id);
    }
}
