//! What all clients of a round share, and how each finds a member that answers.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use history::{Operation, Request, Time};

use super::translate;
use crate::grpc::Connection;
use crate::random::Random;

/// How long a client waits for an answer before it takes the outcome for unknown.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(2);
/// How long a client dials.
pub(super) const DIAL_DURATION_MAX: Duration = Duration::from_millis(500);

/// What all clients of a round share.
#[derive(Debug)]
pub struct Shared {
    /// When the cluster was made: all times count from here, over all rounds.
    pub began: Instant,
    /// Where members listen.
    pub addresses: Vec<String>,
    /// Whether members answer requests for progress truthfully: 3.4 and 3.5.1 do not.
    pub progress: bool,
    /// All events up to this revision have been written down.
    pub known: AtomicI64,
    /// The newest compaction that was asked for.
    pub compacted: AtomicI64,
    stop: AtomicBool,
    stop_scribe: AtomicBool,
}

impl Shared {
    /// For members at these addresses, whose events up to `known` are written down.
    pub fn new(began: Instant, addresses: Vec<String>, progress: bool, known: i64) -> Shared {
        let (known, compacted) = (AtomicI64::new(known), AtomicI64::new(0));
        let [stop, stop_scribe] = [AtomicBool::new(false), AtomicBool::new(false)];
        Shared { began, addresses, progress, known, compacted, stop, stop_scribe }
    }

    /// Microseconds since the cluster was made.
    pub fn now(&self) -> Time {
        self.began.elapsed().as_micros() as Time
    }

    /// Asks all clients to end, but not the scribe, who must hear of all that others have heard.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Asks the scribe to end.
    pub fn stop_scribe(&self) {
        self.stop_scribe.store(true, Ordering::Release);
    }

    /// Whether the scribe goes on.
    pub fn scribe_goes_on(&self) -> bool {
        !self.stop_scribe.load(Ordering::Acquire)
    }

    /// Whether clients go on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }
}

/// A connection to some member, changed for another when it fails.
#[derive(Debug)]
pub struct Session<'a> {
    shared: &'a Shared,
    connection: Option<Connection>,
    member: usize,
}

impl<'a> Session<'a> {
    /// Begins at some member.
    pub fn new(shared: &'a Shared, random: &mut Random) -> Session<'a> {
        let member = random.below(shared.addresses.len() as u64) as usize;
        Session { shared, connection: None, member }
    }

    /// Leaves the present member for the next one.
    pub fn move_on(&mut self) {
        self.connection = None;
        self.member = (self.member + 1) % self.shared.addresses.len();
    }

    /// A connection, unless the member does not answer.
    pub fn connection(&mut self) -> Option<&Connection> {
        if self.connection.is_none() {
            let address = &self.shared.addresses[self.member];
            self.connection = Connection::open_within(address, DIAL_DURATION_MAX).ok();
        }
        self.connection.as_ref()
    }

    /// Does a request and writes it down; `None` when nothing was learned of it. Whoever fails moves on.
    pub fn ask(&mut self, client: usize, request: Request) -> Option<Operation> {
        let (shared, call) = (self.shared, translate::call(&request));
        let Some(connection) = self.connection() else {
            self.move_on();
            return None;
        };
        let invoked = shared.now();
        let answer = connection.call_for(&call, ANSWER_DURATION_MAX, usize::MAX);
        let outcome = translate::outcome(&request, &answer);
        if !answer.is_ok() {
            self.move_on();
        }
        let outcome = outcome?;
        // What is not known may be done at any time from now on.
        let unknown = outcome == history::Outcome::Unknown;
        let returned = if unknown { Time::MAX } else { shared.now() };
        Some(Operation { client, invoked, returned, request, outcome })
    }
}
