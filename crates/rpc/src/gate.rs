//! What clients may have us hold for them.
//!
//! An answer counts from before it is made until its last byte was written to the socket: first as what is
//! reserved for its making ([`Unread::reserve`]), then as its frame, whole, until the buffer is let go of.
//! A client that asks for much and reads nothing fills its connection's gate; its further calls then wait
//! before they begin, and so do no harm to anybody else.
//!
//! Many connections that each stay below their bound are bounded together by a [`Total`]: what would go
//! beyond it is refused. Two exceptions, so that the bound of all harms nobody who asks for little, nor who
//! asks for one thing that is larger than the bound: what is small ([`SMALL_BYTES_MAX`]) is counted and never
//! refused, and of what does not fit one answer at a time is made all the same.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use types::{Code, Refusal};

mod streams;

pub(crate) use streams::Streams;

/// Answers up to this are never refused: any client's first window takes them.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Answers below this are not counted: their stream itself costs as much.
const COUNTED_BYTES_MIN: usize = 2 * 1024;

/// Counts bytes held for all connections of a server.
#[derive(Debug)]
pub(crate) struct Total {
    bytes_max: usize,
    held: AtomicUsize,
    /// Whether the one answer that may go beyond the bound is under way.
    extra: AtomicBool,
    /// Connections whose calls wait for the bound of all.
    waiting: Mutex<Vec<Arc<Gate>>>,
    /// Told when something was refused because others hold so much.
    short: Notify,
    /// When that was said last: a flood of refusals need not be a flood of wakings.
    said: Mutex<Option<Instant>>,
}

/// What one connection may hold of the bound of all: a fourth.
const SHARE: usize = 4;

/// Between two times of saying that room is short.
const SAID_PAUSE: Duration = Duration::from_secs(1);

/// Counts bytes held for one connection.
#[derive(Debug)]
pub(crate) struct Gate {
    total: Arc<Total>,
    bytes_max: usize,
    held: AtomicUsize,
    line: Line,
    /// Whether it stands among those who wait for the bound of all.
    waits_for_all: AtomicBool,
}

/// Bytes that count until this is dropped, on whichever thread.
#[derive(Debug)]
pub(crate) struct Held {
    gate: Arc<Gate>,
    bytes: usize,
    /// Beyond the bound of all: counts for its connection only.
    is_extra: bool,
}

/// Who waits for what is held to become less, in the order in which they came.
#[derive(Debug, Default)]
struct Line(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    tickets: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody wait, in the place that the ticket stands for.
    fn join(&self, ticket: &mut Option<u64>, waker: &Waker) {
        let mut waiting = self.waiting();
        let number = *ticket.get_or_insert_with(|| {
            waiting.tickets += 1;
            waiting.tickets
        });
        waiting.wakers.insert(number, waker.clone());
    }

    /// Whether somebody waited there.
    fn leave(&self, ticket: u64) -> bool {
        self.waiting().wakers.remove(&ticket).is_some()
    }

    /// Wakes whoever has waited for longest, and nobody else: there may be a hundred thousand. Who passes
    /// wakes the next.
    fn wake_next(&self) {
        let next = self.waiting().wakers.pop_first();
        next.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Total {
    pub fn new(bytes_max: usize) -> Arc<Total> {
        let (held, extra) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Total {
            bytes_max,
            held,
            extra,
            waiting: Mutex::default(),
            short: Notify::new(),
            said: Mutex::default(),
        })
    }

    /// Whether the bound is reached.
    pub fn is_full(&self) -> bool {
        self.held.load(SeqCst) >= self.bytes_max
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Gate>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something was refused.
    fn is_short(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| SAID_PAUSE < said.elapsed()) {
            *said = Some(Instant::now());
            self.short.notify_waiters();
        }
    }

    /// Of each connection that waits, one call looks again.
    fn wake(&self) {
        let gates = std::mem::take(&mut *self.waiting());
        for gate in gates {
            gate.waits_for_all.store(false, SeqCst);
            gate.line.wake_next();
        }
    }

    /// Counts so many bytes instead of so many.
    fn exchange(&self, before: usize, after: usize) {
        if before <= after {
            self.held.fetch_add(after - before, SeqCst);
            return;
        }
        let held = self.held.fetch_sub(before - after, SeqCst);
        let is_full = held - (before - after) >= self.bytes_max;
        if held >= self.bytes_max && !is_full {
            self.wake();
        }
    }

    /// The same, if all of it then is within the bound.
    fn try_exchange(&self, before: usize, after: usize) -> bool {
        let fits = |held: usize| {
            let sum = (held - before).saturating_add(after);
            (sum <= self.bytes_max).then_some(sum)
        };
        after <= before && {
            self.exchange(before, after);
            true
        } || self.held.fetch_update(SeqCst, SeqCst, fits).is_ok()
    }
}

impl Gate {
    pub fn new(bytes_max: usize, total: Arc<Total>) -> Arc<Gate> {
        let (held, waits_for_all) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Gate { total, bytes_max, held, line: Line::default(), waits_for_all })
    }

    /// Whether nothing more may be held for anybody.
    pub fn is_shut(&self) -> bool {
        self.total.is_full()
    }

    /// Whether this connection's bound is reached.
    pub fn is_full(&self) -> bool {
        self.held.load(SeqCst) >= self.bytes_max
    }

    /// Whether a call may begin: not at the bound, nor while the bound of all is reached and this
    /// connection has a part in it.
    pub fn is_open(&self) -> bool {
        !self.is_full() && (self.held.load(SeqCst) == 0 || !self.is_shut())
    }

    /// Waits until somebody else was refused something, while this connection holds a part of the bound.
    pub async fn stands_in_the_way(&self) {
        loop {
            self.total.short.notified().await;
            if self.holds_something() {
                return;
            }
        }
    }

    /// Whether the connection holds a part of the bound.
    pub fn holds_something(&self) -> bool {
        self.held.load(SeqCst) > 0
    }

    /// Counts so many bytes more or less, if that is within the connection's share and the bound of all.
    pub fn try_set(&self, before: usize, after: usize) -> bool {
        let fits = after <= self.total.bytes_max / SHARE;
        if before < after && !(fits && self.total.try_exchange(before, after)) {
            return false;
        }
        if after < before {
            self.total.exchange(before, after);
        }
        true
    }

    /// Waits until a call may begin, after those that came before it.
    pub fn pass(self: &Arc<Gate>) -> Pass {
        Pass { gate: self.clone(), ticket: None }
    }

    /// Counts so many bytes.
    pub fn hold(self: &Arc<Gate>, bytes: usize) -> Held {
        let mut held = Held { gate: self.clone(), bytes: 0, is_extra: false };
        held.set(bytes);
        held
    }

    /// Counts a frame until its last byte was written.
    ///
    /// # Errors
    /// ResourceExhausted, when it is not small and does not fit.
    pub fn count(self: &Arc<Gate>, frame: Bytes) -> Result<Bytes, Refusal> {
        if frame.len() < COUNTED_BYTES_MIN {
            return Ok(frame);
        }
        let mut held = self.hold(0);
        if frame.len() <= SMALL_BYTES_MAX {
            held.set(frame.len());
        } else {
            held.grow(frame.len())?;
        }
        Ok(Bytes::from_owner(Counted { frame, _held: held }))
    }
}

/// A call that waits until it may begin. Dropped, it waits no more.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    ticket: Option<u64>,
}

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pass = &mut *self;
        let gate = &pass.gate;
        if !gate.is_open() {
            gate.line.join(&mut pass.ticket, cx.waker());
            if gate.is_shut() && !gate.waits_for_all.swap(true, SeqCst) {
                gate.total.waiting().push(gate.clone());
            }
            // Bytes are let go of on other threads too: whoever looks again afterwards misses nothing.
            if !gate.is_open() {
                return Poll::Pending;
            }
        }
        if let Some(ticket) = pass.ticket.take() {
            gate.line.leave(ticket);
        }
        gate.line.wake_next();
        Poll::Ready(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let was_woken = !self.gate.line.leave(ticket);
        if was_woken && self.gate.is_open() {
            self.gate.line.wake_next();
        }
    }
}

/// A frame and its part of the bound.
struct Counted {
    frame: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Held {
    /// Whether this is something, and the gate is full or shut.
    pub fn is_too_much(&self) -> bool {
        0 < self.bytes && (self.gate.is_full() || self.gate.is_shut())
    }

    /// Counts another number of bytes from now on.
    pub fn set(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        if !self.is_extra {
            self.gate.total.exchange(self.bytes, bytes);
        }
        self.set_for_connection(bytes);
    }

    /// Counts that many bytes from now on, if they fit, or as the one answer that need not fit.
    ///
    /// # Errors
    /// ResourceExhausted.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let total = self.gate.total.clone();
        let others = self.gate.held.load(SeqCst).saturating_sub(self.bytes);
        let is_fair = others.saturating_add(bytes) <= total.bytes_max / SHARE;
        let fits = self.is_extra || (is_fair && total.try_exchange(self.bytes, bytes));
        if !fits {
            if total.extra.swap(true, SeqCst) {
                total.is_short();
                return Err(too_much_unread());
            }
            total.exchange(self.bytes, 0);
            self.is_extra = true;
        }
        self.set_for_connection(bytes);
        Ok(())
    }

    fn set_for_connection(&mut self, bytes: usize) {
        let gate = &self.gate;
        // Added first: others look at it meanwhile.
        gate.held.fetch_add(bytes, SeqCst);
        gate.held.fetch_sub(self.bytes, SeqCst);
        let less = bytes < self.bytes;
        self.bytes = bytes;
        if less && gate.is_open() {
            gate.line.wake_next();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
        if self.is_extra {
            self.gate.total.extra.store(false, SeqCst);
        }
    }
}

/// Where a call's answer is counted: what a handler reserves before it makes a large one, and the frame.
#[derive(Clone, Debug)]
pub struct Unread(pub(crate) Option<Arc<Gate>>);

/// Bytes reserved until this is dropped: by then the answer's frame counts by itself.
#[derive(Debug, Default)]
pub struct Reserved {
    held: Option<Held>,
}

impl Reserved {
    /// Reserves so many bytes in all from now on.
    ///
    /// # Errors
    /// As [`Unread::reserve`]; what was reserved before stays.
    pub fn extend_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.held.as_mut().map_or(Ok(()), |held| held.grow(bytes))
    }
}

/// What a client has not finished saying, counted with the unfinished requests of all connections until this
/// is dropped.
#[derive(Debug)]
pub struct Unfinished(pub(crate) Held);

impl Unfinished {
    /// Counts that many bytes from now on.
    ///
    /// # Errors
    /// ResourceExhausted, when that is too much.
    pub fn set(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.0.set(bytes);
        if !self.0.is_too_much() {
            return Ok(());
        }
        let text = format!("grpc: unfinished messages larger than max {}", self.0.gate.bytes_max);
        Err(Refusal::Other(Code::ResourceExhausted, text.into()))
    }

    /// How many bytes are counted.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }
}

impl Unread {
    /// Reserves what making an answer will take.
    ///
    /// # Errors
    /// ResourceExhausted, while clients leave so much unread that it does not fit.
    pub fn reserve(&self, bytes: usize) -> Result<Reserved, Refusal> {
        let Some(gate) = &self.0 else { return Ok(Reserved::default()) };
        let mut reserved = Reserved { held: Some(gate.hold(0)) };
        reserved.extend_to(bytes)?;
        Ok(reserved)
    }

    /// Counts a frame until its last byte was written.
    ///
    /// # Errors
    /// ResourceExhausted, when it is not small and does not fit.
    pub fn count(&self, frame: Bytes) -> Result<Bytes, Refusal> {
        self.0.as_ref().map_or_else(|| Ok(frame.clone()), |gate| gate.count(frame.clone()))
    }
}

/// Said to a client whose answer does not fit while others read as little.
fn too_much_unread() -> Refusal {
    let text = "grpc: too many answers wait for clients to read them";
    Refusal::Other(Code::ResourceExhausted, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(pass: &mut Pin<Box<Pass>>) -> bool {
        pass.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn of_those_who_wait_the_first_is_woken_and_wakes_the_next() {
        let gate = Gate::new(10, Total::new(100));
        let held = gate.hold(10);
        let woken: Vec<Arc<Woken>> = (0..3).map(|_| Arc::new(Woken(AtomicUsize::new(0)))).collect();
        let poll = |pass: &mut Pin<Box<Pass>>, place: usize| {
            let waker = Waker::from(woken[place].clone());
            pass.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        };
        let mut passes: Vec<_> = (0..3).map(|_| Box::pin(gate.pass())).collect();
        for (place, pass) in passes.iter_mut().enumerate() {
            assert!(!poll(pass, place));
        }
        let count = || [0, 1, 2].map(|place| woken[place].0.load(SeqCst));
        drop(held);
        assert_eq!(count(), [1, 0, 0]);
        let again = gate.hold(10);
        assert!(!poll(&mut passes[0], 0), "somebody was quicker");
        drop(again);
        assert_eq!(count(), [2, 0, 0], "it has kept its place");
        drop(passes.remove(0));
        assert_eq!(count(), [2, 1, 0], "who goes away hands on that it was woken");
        assert!(poll(&mut passes[0], 1));
        assert_eq!(count(), [2, 1, 1]);
    }

    #[test]
    fn whoever_comes_to_a_full_gate_waits_until_something_left() {
        let gate = Gate::new(10, Total::new(100));
        let mut first = gate.hold(4);
        let second = gate.hold(6);
        let mut pass = Box::pin(gate.pass());
        assert!(!passes(&mut pass));
        first.set(3);
        assert!(passes(&mut pass));
        drop((first, second));
        assert_eq!(gate.held.load(SeqCst), 0);
    }

    #[test]
    fn connections_below_their_own_bound_are_bounded_together() {
        let total = Total::new(10);
        let (one, other) = (Gate::new(100, total.clone()), Gate::new(100, total));
        let first = one.hold(6);
        assert!(!first.is_too_much());
        let mut second = other.hold(4);
        assert!(other.is_shut());
        assert!(!other.is_open());
        assert!(Gate::new(100, other.total.clone()).is_open(), "who holds nothing may begin");
        assert!(first.is_too_much());
        second.set(3);
        assert!(!other.is_shut());
        drop((first, second));
        assert_eq!(one.total.held.load(SeqCst), 0);
    }

    #[test]
    fn whoever_waits_for_the_bound_of_all_is_woken_when_others_let_go() {
        let total = Total::new(10);
        let (one, other) = (Gate::new(100, total.clone()), Gate::new(100, total));
        let (first, _stuck) = (one.hold(9), other.hold(1));
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let mut pass = Box::pin(other.pass());
        assert!(pass.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(first);
        assert_eq!(woken.0.load(SeqCst), 1);
        assert!(passes(&mut pass));
    }

    /// Guarantee (unread answers are bounded): what is reserved and what waits is within the bound, but for
    /// one answer at a time.
    #[test]
    fn what_does_not_fit_is_refused_but_for_one_answer_at_a_time() {
        let total = Total::new(40);
        let reserve = |bytes| Unread(Some(Gate::new(1000, total.clone()))).reserve(bytes);
        let first = reserve(10).expect("it fits");
        let extra = reserve(600).expect("one need not fit");
        let rest = [0; 3].map(|_| reserve(10).expect("which takes no room from others"));
        assert_eq!(total.held.load(SeqCst), 40);
        assert!(reserve(1).is_err());
        drop(first);
        let third = reserve(6).expect("there is room again");
        drop(extra);
        let extra = reserve(7).expect("nobody else is beyond the bound");
        drop((rest, third, extra));
        assert_eq!(total.held.load(SeqCst), 0);
        assert!(!total.extra.load(SeqCst));
    }

    #[test]
    fn a_frame_counts_whole_until_its_last_byte_is_gone() {
        let total = Total::new(1 << 20);
        let gate = Gate::new(1 << 20, total.clone());
        let mut frame = gate.count(vec![7; 100_000].into()).expect("it fits");
        let sent = frame.split_to(99_999);
        drop(sent);
        assert_eq!(total.held.load(SeqCst), 100_000, "one byte keeps the whole buffer");
        drop(frame);
        assert_eq!(total.held.load(SeqCst), 0);
        assert_eq!(gate.held.load(SeqCst), 0);
    }

    #[test]
    fn small_answers_are_counted_and_never_refused() {
        let total = Total::new(400_000);
        let gates = [0; 4].map(|_| Gate::new(1 << 20, total.clone()));
        let large =
            gates.each_ref().map(|gate| gate.count(vec![7; 100_000].into()).expect("it fits"));
        let extra = gates[0].count(vec![7; 65_537].into()).expect("one need not fit");
        assert!(gates[1].count(vec![7; 65_537].into()).is_err());
        let small = gates[1].count(vec![7; 65_536].into()).expect("small");
        assert_eq!(total.held.load(SeqCst), 465_536);
        let tiny = gates[1].count(vec![7; 100].into()).expect("tiny");
        drop((large, extra, small));
        assert_eq!((total.held.load(SeqCst), tiny.len()), (0, 100));
    }

    #[test]
    fn no_connection_holds_more_than_its_share() {
        let total = Total::new(100);
        let unread = Unread(Some(Gate::new(1000, total.clone())));
        let first = unread.reserve(25).expect("a fourth");
        let second = unread.reserve(1).expect("the one that need not fit");
        assert!(unread.reserve(1).is_err());
        let other = Unread(Some(Gate::new(1000, total)));
        assert!(other.reserve(25).is_ok(), "nobody else is short of room for it");
        drop((first, second));
    }
}
