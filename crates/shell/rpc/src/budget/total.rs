//! The bound of all connections together.
//!
//! Circle: a total owns its gates, and whoever waits in a gate's line gives back to the total.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Gate, PURPOSES, Purpose};
use crate::Limits;

/// Counts bytes held for all connections of a server.
#[derive(Debug)]
pub(crate) struct Total {
    all: Account,
    /// By purpose.
    accounts: [Account; PURPOSES],
    /// Whether the one answer that may go beyond the bound is under way.
    extra: AtomicBool,
    /// Connections whose calls wait for the bound of all.
    waiting: Mutex<Vec<Arc<Gate>>>,
    /// Told when something was refused because others hold so much.
    short: Notify,
    /// When that was said last: a flood of refusals need not be a flood of wakings.
    said: Mutex<Option<Instant>>,
}

/// A number of bytes with its bound.
#[derive(Debug)]
struct Account {
    bytes_max: usize,
    held: AtomicUsize,
}

/// Between two times of saying that room is short.
const SAID_PAUSE: Duration = Duration::from_secs(1);

impl Account {
    fn new(bytes_max: usize) -> Account {
        Account { bytes_max, held: AtomicUsize::new(0) }
    }

    fn is_full(&self) -> bool {
        self.bytes_max <= self.held.load(SeqCst)
    }

    /// Whether that made room where there was none.
    fn lower(&self, bytes: usize) -> bool {
        let held = self.held.fetch_sub(bytes, SeqCst);
        self.bytes_max <= held && held - bytes < self.bytes_max
    }

    fn try_raise(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.held.fetch_update(SeqCst, SeqCst, fits).is_ok()
    }
}

impl Total {
    pub fn new(limits: &Limits) -> Arc<Total> {
        Total::bounded(
            limits.held_bytes_max,
            [
                limits.unsent_replies_total_bytes_max,
                limits.partial_messages_total_bytes_max,
                limits.streams_total_bytes_max,
            ],
        )
    }

    /// A total, and a bound for each purpose.
    pub fn bounded(bytes_max: usize, by_purpose: [usize; PURPOSES]) -> Arc<Total> {
        Arc::new(Total {
            all: Account::new(bytes_max),
            accounts: by_purpose.map(Account::new),
            extra: AtomicBool::new(false),
            waiting: Mutex::default(),
            short: Notify::new(),
            said: Mutex::default(),
        })
    }

    fn account(&self, purpose: Purpose) -> &Account {
        &self.accounts[purpose as usize]
    }

    /// The most that may be held for a purpose, in bytes.
    pub fn bytes_max(&self, purpose: Purpose) -> usize {
        self.account(purpose).bytes_max
    }

    /// Whether nothing more may be held for a purpose.
    pub fn is_full(&self, purpose: Purpose) -> bool {
        self.account(purpose).is_full() || self.all.is_full()
    }

    /// How much is held for a purpose.
    #[cfg(test)]
    pub fn held(&self, purpose: Purpose) -> usize {
        self.account(purpose).held.load(SeqCst)
    }

    /// Takes the place of the one answer that may go beyond the bound; `false` if it is taken.
    pub fn take_extra(&self) -> bool {
        !self.extra.swap(true, SeqCst)
    }

    pub fn give_extra_back(&self) {
        self.extra.store(false, SeqCst);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Gate>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a gate's calls when answers have room again.
    pub fn await_room(&self, gate: Arc<Gate>) {
        self.waiting().push(gate);
    }

    /// Says that something was refused.
    pub fn is_short(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| SAID_PAUSE < said.elapsed()) {
            *said = Some(Instant::now());
            self.short.notify_waiters();
        }
    }

    /// Waits until something is refused.
    pub async fn shortage(&self) {
        self.short.notified().await;
    }

    /// Counts so many bytes instead of so many.
    pub fn exchange(&self, purpose: Purpose, before: usize, after: usize) {
        if before <= after {
            let more = after - before;
            self.all.held.fetch_add(more, SeqCst);
            self.account(purpose).held.fetch_add(more, SeqCst);
            return;
        }
        let made_room =
            self.account(purpose).lower(before - after) | self.all.lower(before - after);
        self.wake_if(made_room);
    }

    /// The same, if all of it then is within the bounds.
    pub fn try_exchange(&self, purpose: Purpose, before: usize, after: usize) -> bool {
        let Some(more) = after.checked_sub(before) else {
            self.exchange(purpose, before, after);
            return true;
        };
        if !self.all.try_raise(more) {
            return false;
        }
        let fits = self.account(purpose).try_raise(more);
        if !fits {
            let made_room = self.all.lower(more);
            self.wake_if(made_room);
        }
        fits
    }

    /// Of each connection that waits, one call looks again. Of two who make room at once, in two accounts, the later
    /// sees both.
    fn wake_if(&self, made_room: bool) {
        if !made_room || self.is_full(Purpose::Answers) {
            return;
        }
        let gates = std::mem::take(&mut *self.waiting());
        for gate in gates {
            gate.wake_for_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee (one purpose leaves the others room): whoever fills two accounts has not filled the third.
    #[test]
    fn what_is_held_for_two_purposes_leaves_something_for_the_third() {
        let limits = Limits::default();
        let total = Total::new(&limits);
        let [answers, requests, streams] = [Purpose::Answers, Purpose::Requests, Purpose::Streams];
        for (one, other, third) in [
            (answers, requests, streams),
            (requests, streams, answers),
            (streams, answers, requests),
        ] {
            let held = [one, other].map(|purpose| (purpose, total.bytes_max(purpose)));
            assert!(held.iter().all(|(purpose, bytes)| total.try_exchange(*purpose, 0, *bytes)));
            assert!(!total.is_full(third), "{third:?}");
            let left = limits.held_bytes_max - held.iter().map(|(_, bytes)| bytes).sum::<usize>();
            assert!(64 << 20 <= left, "{left} bytes are left for {third:?}");
            assert!(total.try_exchange(third, 0, left));
            assert!(!total.try_exchange(third, left, left + 1), "they are bounded together");
            total.exchange(third, left, 0);
            held.iter().for_each(|(purpose, bytes)| total.exchange(*purpose, *bytes, 0));
        }
        assert_eq!(total.all.held.load(SeqCst), 0);
    }

    #[test]
    fn a_refusal_leaves_nothing_counted() {
        let total = Total::bounded(100, [10, 90, 90]);
        assert!(!total.try_exchange(Purpose::Answers, 0, 11));
        assert_eq!(total.all.held.load(SeqCst), 0);
        assert!(total.try_exchange(Purpose::Answers, 0, 10));
        assert!(total.is_full(Purpose::Answers) && !total.is_full(Purpose::Requests));
    }
}
