//! What one connection holds for one purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use types::{Code, Refusal};

use super::line::{Line, Pass};
use super::{Purpose, Total};

/// What one connection may hold of the bound of all for a purpose: a fourth.
const SHARE: usize = 4;

/// Counts bytes held for one connection.
#[derive(Debug)]
pub(crate) struct Gate {
    total: Arc<Total>,
    purpose: Purpose,
    bytes_max: usize,
    held: AtomicUsize,
    pub(super) line: Line,
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

impl Gate {
    pub fn new(bytes_max: usize, total: Arc<Total>, purpose: Purpose) -> Arc<Gate> {
        let (held, waits_for_all) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Gate { total, purpose, bytes_max, held, line: Line::default(), waits_for_all })
    }

    /// The bound of all.
    pub fn total(&self) -> &Arc<Total> {
        &self.total
    }

    /// The most that this connection may hold, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether nothing more may be held for anybody.
    pub fn is_shut(&self) -> bool {
        self.total.is_full(self.purpose)
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
            self.total.shortage().await;
            if self.holds_something() {
                return;
            }
        }
    }

    /// Whether the connection holds a part of the bound.
    pub fn holds_something(&self) -> bool {
        self.held.load(SeqCst) > 0
    }

    /// Waits until a call may begin, after those that came before it.
    pub fn pass(self: &Arc<Gate>) -> Pass {
        Pass::new(self.clone())
    }

    /// Has itself woken when the bound of all is reached no more, if it is.
    pub(super) fn await_room(self: &Arc<Gate>) {
        if self.is_shut() && !self.waits_for_all.swap(true, SeqCst) {
            self.total.await_room(self.clone());
        }
    }

    pub(super) fn wake_for_all(&self) {
        self.waits_for_all.store(false, SeqCst);
        self.line.wake_next();
    }

    /// Counts so many bytes, however many that are.
    pub fn hold(self: &Arc<Gate>, bytes: usize) -> Held {
        let mut held = Held { gate: self.clone(), bytes: 0, is_extra: false };
        held.set(bytes);
        held
    }
}

impl Held {
    /// How many bytes are counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where they are counted.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

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
            self.gate.total.exchange(self.gate.purpose, self.bytes, bytes);
        }
        self.set_for_connection(bytes);
    }

    /// Counts that many bytes from now on, if that is within the connection's share and the bound of all.
    pub fn try_set(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.set(bytes);
            return true;
        }
        let fits = self.is_extra || self.fits(bytes);
        if fits {
            self.set_for_connection(bytes);
        }
        fits
    }

    /// Counts that many bytes from now on, if they fit, or as the one answer that need not fit.
    ///
    /// # Errors
    /// ResourceExhausted.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let total = self.gate.total.clone();
        if !(self.is_extra || self.fits(bytes)) {
            if !total.take_extra() {
                total.is_short();
                return Err(too_much_unread());
            }
            total.exchange(self.gate.purpose, self.bytes, 0);
            self.is_extra = true;
        }
        self.set_for_connection(bytes);
        Ok(())
    }

    /// Counts them in the bound of all, if they fit there and are within the connection's share.
    fn fits(&self, bytes: usize) -> bool {
        let Gate { total, purpose, held, .. } = &*self.gate;
        let others = held.load(SeqCst).saturating_sub(self.bytes);
        let is_fair = others.saturating_add(bytes) <= total.bytes_max(*purpose) / SHARE;
        is_fair && total.try_exchange(*purpose, self.bytes, bytes)
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
            self.gate.total.give_extra_back();
        }
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

    #[test]
    fn connections_below_their_own_bound_are_bounded_together() {
        let total = Total::bounded(1000, [10; 3]);
        let gate = || Gate::new(100, total.clone(), Purpose::Requests);
        let (one, other) = (gate(), gate());
        let first = one.hold(6);
        assert!(!first.is_too_much());
        let mut second = other.hold(4);
        assert!(other.is_shut());
        assert!(!other.is_open());
        assert!(gate().is_open(), "who holds nothing may begin");
        assert!(first.is_too_much());
        second.set(3);
        assert!(!other.is_shut());
        drop((first, second));
        assert_eq!(total.held(Purpose::Requests), 0);
    }
}
