//! Requests: what of them has come and is not whole, what nobody has taken, and what they are decoded into.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use types::{Code, Refusal};

use super::gate::Held;
use super::{Gate, Total};

/// How long a request may stay unfinished without another byte while others want the room it holds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client has not finished saying, counted with the unfinished requests of all connections until this
/// is dropped.
pub struct Unfinished {
    held: Held,
    /// Ready when others have wanted its room for long.
    patience: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Unfinished {
    pub(super) fn of(held: Held) -> Unfinished {
        Unfinished { held, patience: None }
    }

    /// Counts that many bytes from now on.
    ///
    /// # Errors
    /// ResourceExhausted, when that is too much.
    pub fn set(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.patience = None;
        self.held.set(bytes);
        if !self.held.is_too_much() {
            return Ok(());
        }
        self.held.gate().total().is_short();
        let text =
            format!("grpc: unfinished messages larger than max {}", self.held.gate().bytes_max());
        Err(Refusal::Other(Code::ResourceExhausted, text.into()))
    }

    /// How many bytes are counted.
    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Whether this has to end for the sake of others: they wanted the room that it holds, and nothing of it has come
    /// since for 30 seconds. To be asked while more of it is waited for.
    pub fn poll_overstayed(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        if self.held.bytes() == 0 {
            return Poll::Pending;
        }
        let total = self.held.gate().total();
        let patience =
            self.patience.get_or_insert_with(|| Box::pin(overstay(total.clone(), PATIENCE)));
        patience.as_mut().poll(cx).map(|()| {
            let text = "grpc: an unfinished message was given up, because others need its room";
            Refusal::Other(Code::ResourceExhausted, text.into())
        })
    }
}

/// Waits until something is refused, and then so long.
async fn overstay(total: Arc<Total>, patience: Duration) {
    total.shortage().await;
    tokio::time::sleep(patience).await;
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unfinished").field("held", &self.held).finish_non_exhaustive()
    }
}

/// Bodies of a connection that have come, whoever is to read them: counted in steps, because asking for each frame
/// would cost what the frame costs. The first step is free.
pub(crate) struct Bodies(RefCell<Held>);

/// A step, in bytes.
const BODIES_STEP: usize = 16 * 1024;

impl Bodies {
    pub fn new(gate: &Arc<Gate>) -> Bodies {
        Bodies(RefCell::new(gate.hold(0)))
    }

    /// Counts so many. `false` if there is no room for them; what was counted before stays.
    pub fn count(&self, bytes: usize) -> bool {
        let mut held = self.0.borrow_mut();
        let wanted = bytes.next_multiple_of(BODIES_STEP).saturating_sub(BODIES_STEP);
        // What shrinks a little is left: it will grow again.
        let is_near = bytes <= held.bytes() + BODIES_STEP && held.bytes() <= 2 * wanted;
        if is_near || held.bytes() == wanted {
            return true;
        }
        let fits = held.try_set(wanted);
        if !fits {
            held.gate().total().is_short();
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Purpose;

    #[test]
    fn bodies_are_counted_in_steps_and_given_back() {
        let total = Total::bounded(1 << 30, [1 << 30, 16 * BODIES_STEP, 1 << 30]);
        let gate = || Gate::new(1 << 20, total.clone(), Purpose::Requests);
        let held = || total.held(Purpose::Requests) / BODIES_STEP;
        let bodies = Bodies::new(&gate());
        assert!(bodies.count(BODIES_STEP));
        assert_eq!(held(), 0, "the first step is free");
        assert!(bodies.count(2 * BODIES_STEP + 1));
        assert_eq!(held(), 2);
        assert!(bodies.count(2 * BODIES_STEP), "a little less is left");
        assert_eq!(held(), 2);
        assert!(!bodies.count(6 * BODIES_STEP), "more than a fourth");
        assert_eq!(held(), 2);
        assert!(bodies.count(0));
        assert_eq!(held(), 0);
        assert!(bodies.count(5 * BODIES_STEP));
        drop(bodies);
        assert_eq!(held(), 0);
    }

    #[test]
    fn what_is_not_finished_ends_when_others_have_wanted_its_room_for_long() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let total = Total::bounded(1 << 30, [100; 3]);
            let unfinished =
                || Unfinished::of(Gate::new(1000, total.clone(), Purpose::Requests).hold(0));
            let (mut slow, mut other) = (unfinished(), unfinished());
            slow.set(60).expect("it fits");
            let patience = Duration::from_millis(50);
            let mut ended = std::pin::pin!(overstay(total.clone(), patience));
            assert!(
                tokio::time::timeout(3 * patience, &mut ended).await.is_err(),
                "nobody wants it"
            );
            assert!(other.set(60).is_err());
            assert!(tokio::time::timeout(patience / 5, &mut ended).await.is_err(), "it has time");
            ended.await;
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(other.poll_overstayed(&mut cx).is_pending() && other.patience.is_some());
            drop(other.set(0));
            assert!(other.patience.is_none() && other.poll_overstayed(&mut cx).is_pending());
            assert!(other.patience.is_none(), "what holds nothing need not go");
        });
    }
}
