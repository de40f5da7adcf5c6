//! What one connection may have us hold for it.
//!
//! Answers that do not fit the client's window are held until they do. A client that asks for much
//! and reads nothing fills the gate; its further calls then wait before they begin, and so do no
//! harm to anybody else.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Counts bytes held for one connection.
#[derive(Debug)]
pub(crate) struct Gate {
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
    pub fn new(bytes_max: usize) -> Rc<Gate> {
        Rc::new(Gate { bytes_max, held: Cell::new(0), waiting: RefCell::new(Vec::new()) })
    }

    /// Whether the bound is reached.
    pub fn is_full(&self) -> bool {
        self.held.get() >= self.bytes_max
    }

    /// Waits until the bound is not reached.
    pub async fn pass(&self) {
        poll_fn(|cx| {
            if self.is_full() {
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
        Held { gate: self.clone(), bytes }
    }
}

impl Held {
    /// Whether this is something, and the gate is full.
    pub fn is_too_much(&self) -> bool {
        0 < self.bytes && self.gate.is_full()
    }

    /// Counts another number of bytes from now on.
    pub fn set(&mut self, bytes: usize) {
        self.gate.held.set(self.gate.held.get() - self.bytes + bytes);
        self.bytes = bytes;
        if !self.gate.is_full() {
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
        let gate = Gate::new(10);
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
}
