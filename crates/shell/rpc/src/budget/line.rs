//! Who waits for room, in the order in which they came.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Gate;

/// Who waits for what is held to become less, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<Waiting>);

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
    pub fn wake_next(&self) {
        let next = self.waiting().wakers.pop_first();
        next.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// A call that waits until it may begin. Dropped, it waits no more.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    ticket: Option<u64>,
}

impl Pass {
    pub(super) fn new(gate: Arc<Gate>) -> Pass {
        Pass { gate, ticket: None }
    }
}

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pass = &mut *self;
        let gate = &pass.gate;
        if !gate.is_open() {
            gate.line.join(&mut pass.ticket, cx.waker());
            gate.await_room();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::budget::{Purpose, Total};

    fn gate(bytes_max: usize, total: &Arc<Total>) -> Arc<Gate> {
        Gate::new(bytes_max, total.clone(), Purpose::Answers)
    }

    fn total(bytes_max: usize) -> Arc<Total> {
        Total::bounded(1000, [bytes_max; 3])
    }

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
        let gate = gate(10, &total(100));
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
        let total = total(100);
        let gate = gate(10, &total);
        let mut first = gate.hold(4);
        let second = gate.hold(6);
        let mut pass = Box::pin(gate.pass());
        assert!(!passes(&mut pass));
        first.set(3);
        assert!(passes(&mut pass));
        drop((first, second));
        assert_eq!(total.held(Purpose::Answers), 0);
    }

    #[test]
    fn whoever_waits_for_the_bound_of_all_is_woken_when_others_let_go() {
        let total = total(10);
        let (one, other) = (gate(100, &total), gate(100, &total));
        let (first, _stuck) = (one.hold(9), other.hold(1));
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let mut pass = Box::pin(other.pass());
        assert!(pass.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(first);
        assert_eq!(woken.0.load(SeqCst), 1);
        assert!(passes(&mut pass));
    }

    /// The total is full for the sake of streams; answers wait for those.
    #[test]
    fn what_is_held_for_another_purpose_is_waited_for_too() {
        let total = Total::bounded(20, [15; 3]);
        let (answers, streams) =
            (gate(100, &total), Gate::new(100, total.clone(), Purpose::Streams));
        let (held, _mine) = (streams.hold(15), answers.hold(5));
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let mut pass = Box::pin(answers.pass());
        assert!(pass.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(held);
        assert_eq!(woken.0.load(SeqCst), 1);
        assert!(passes(&mut pass));
    }
}
