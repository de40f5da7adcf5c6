//! What one connection may have us hold for it.
//!
//! Answers that do not fit the client's window are held until they do. A client that asks for much
//! and reads nothing fills the gate; its further calls then wait before they begin, and so do no
//! harm to anybody else.
//!
//! Many connections that each stay below their bound are bounded together by a [`Total`]: above it
//! nothing more is held for anybody, and the call that would need it is refused. What fits a client's
//! window is never held, so small answers go on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Poll, Waker};

/// Counts bytes held for all connections of a server.
#[derive(Debug)]
pub(crate) struct Total {
    bytes_max: usize,
    held: AtomicUsize,
}

impl Total {
    pub fn new(bytes_max: usize) -> Arc<Total> {
        Arc::new(Total { bytes_max, held: AtomicUsize::new(0) })
    }

    /// Whether the bound is reached.
    pub fn is_full(&self) -> bool {
        self.held.load(Relaxed) >= self.bytes_max
    }
}

/// Counts bytes held for one connection.
#[derive(Debug)]
pub(crate) struct Gate {
    total: Arc<Total>,
    bytes_max: usize,
    held: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    gate: Rc<Gate>,
    bytes: usize,
}

impl Gate {
    pub fn new(bytes_max: usize, total: Arc<Total>) -> Rc<Gate> {
        let (held, waiting) = (Cell::new(0), RefCell::new(Vec::new()));
        Rc::new(Gate { total, bytes_max, held, waiting })
    }

    /// Whether nothing more may be held for anybody.
    pub fn is_shut(&self) -> bool {
        self.total.is_full()
    }

    /// Whether this connection's bound is reached.
    pub fn is_full(&self) -> bool {
        self.held.get() >= self.bytes_max
    }

    /// Whether a call may begin: not at the bound, nor while the bound of all is reached and this
    /// connection has a part in it.
    pub fn is_open(&self) -> bool {
        !self.is_full() && (self.held.get() == 0 || !self.is_shut())
    }

    /// Waits until a call may begin.
    pub async fn pass(&self) {
        poll_fn(|cx| {
            if !self.is_open() {
                self.waiting.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Counts so many bytes.
    pub fn hold(self: &Rc<Gate>, bytes: usize) -> Held {
        self.held.set(self.held.get() + bytes);
        self.total.held.fetch_add(bytes, Relaxed);
        Held { gate: self.clone(), bytes }
    }
}

impl Held {
    /// Whether this is something, and the gate is full or shut.
    pub fn is_too_much(&self) -> bool {
        0 < self.bytes && (self.gate.is_full() || self.gate.is_shut())
    }

    /// Counts another number of bytes from now on.
    pub fn set(&mut self, bytes: usize) {
        self.gate.held.set(self.gate.held.get() - self.bytes + bytes);
        self.gate.total.held.fetch_add(bytes, Relaxed);
        self.gate.total.held.fetch_sub(self.bytes, Relaxed);
        self.bytes = bytes;
        if self.gate.is_open() {
            self.gate.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Context;

    #[test]
    fn whoever_comes_to_a_full_gate_waits_until_something_left() {
        let gate = Gate::new(10, Total::new(100));
        let mut first = gate.hold(4);
        let second = gate.hold(6);
        let mut pass = Box::pin(gate.pass());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(pass.as_mut().poll(&mut cx), Poll::Pending);
        first.set(3);
        assert_eq!(pass.as_mut().poll(&mut cx), Poll::Ready(()));
        drop((first, second));
        assert_eq!(gate.held.get(), 0);
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
        assert_eq!(one.total.held.load(Relaxed), 0);
    }
}
