//! Clients that read and write through all members, and one that compacts.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use history::{Action, Answer, Condition, Operation, Outcome, Request, Span, Target};

use super::session::{Session, Shared};
use super::translate::everything;
use crate::random::Random;

/// Keys that all clients share.
const KEYS: u64 = 10;
/// Revisions that are left for reads in the past.
const REVISIONS_KEPT: i64 = 40;

/// One client.
struct Client<'a> {
    shared: &'a Shared,
    number: usize,
    name: String,
    random: Random,
    session: Session<'a>,
    /// The last revision it saw of each key.
    seen: Vec<i64>,
    count: u64,
}

/// Reads and writes until the round ends. `name` makes the values unlike all others.
pub fn write_and_read(
    shared: &Shared,
    number: usize,
    name: String,
    mut random: Random,
) -> Vec<Operation> {
    let session = Session::new(shared, &mut random);
    let seen = vec![0; KEYS as usize];
    let mut client = Client { shared, number, name, random, session, seen, count: 0 };
    let mut operations = Vec::new();
    while shared.goes_on() {
        let request = client.draw();
        match client.session.ask(number, request) {
            Some(operation) => {
                client.learn(&operation);
                operations.push(operation);
                sleep(Duration::from_millis(client.random.below(16)));
            }
            None => sleep(Duration::from_millis(20)),
        }
        if client.random.one_in(60) {
            client.session.move_on();
        }
    }
    operations
}

impl Client<'_> {
    fn draw(&mut self) -> Request {
        self.count += 1;
        match self.random.below(50) {
            0..16 => self.put(),
            16..19 => {
                let span = Span::one(&self.key().1);
                Request::One(Action::Delete { span, previous: self.random.one_in(2) })
            }
            19 => {
                let previous = self.random.one_in(2);
                Request::One(Action::Delete { span: self.several(), previous })
            }
            20..29 => Request::One(self.read(0)),
            29..34 => Request::Serializable(self.read(0)),
            34..38 => {
                let known = self.shared.known.load(Ordering::Acquire);
                let first = self.shared.compacted.load(Ordering::Acquire).min(known) - 2;
                let revision = self.random.between(first.max(2).min(known.max(2)), known.max(2));
                Request::One(self.read(revision))
            }
            38 if self.number == 0 => self.compact(),
            _ => self.txn(),
        }
    }

    fn key(&mut self) -> (usize, Bytes) {
        let place = self.random.below(KEYS);
        (place as usize, key(place))
    }

    fn value(&mut self) -> Bytes {
        let filler = "x".repeat(self.random.below(300) as usize);
        format!("{}-{}-{filler}", self.name, self.count).into()
    }

    fn put(&mut self) -> Request {
        let (key, value) = (self.key().1, self.value());
        Request::One(Action::Put { key, value, lease: 0, previous: self.random.one_in(2) })
    }

    fn several(&mut self) -> Span {
        let first = self.random.below(KEYS);
        Span { first: key(first), end: Some(key(first + 1 + self.random.below(4))) }
    }

    fn read(&mut self, revision: i64) -> Action {
        let span = match self.random.below(4) {
            0 => self.several(),
            1 => everything(),
            _ => Span::one(&self.key().1),
        };
        Action::Range { span, revision, limit: self.random.below(4) as usize }
    }

    fn compact(&mut self) -> Request {
        let revision = (self.shared.known.load(Ordering::Acquire) - REVISIONS_KEPT).max(1);
        self.shared.compacted.fetch_max(revision, Ordering::AcqRel);
        Request::Compact { revision }
    }

    /// Conditions on what was seen last, and up to three different keys in each branch.
    fn txn(&mut self) -> Request {
        let conditions = (0..self.random.below(3)).map(|_| self.condition()).collect();
        let (then, otherwise) = (self.branch(), self.branch());
        Request::Txn { conditions, then, otherwise }
    }

    fn condition(&mut self) -> Condition {
        let (place, key) = self.key();
        let target = match self.random.below(6) {
            0 => Target::Version(self.random.between(0, 3)),
            1 => Target::Value(self.value()),
            _ => Target::Mod(self.seen[place]),
        };
        Condition { key, target }
    }

    fn branch(&mut self) -> Vec<Action> {
        let first = self.random.below(KEYS);
        let count = 1 + self.random.below(3);
        let action = |place: u64| {
            let key = key((first + place) % KEYS);
            let previous = self.random.one_in(2);
            match self.random.below(5) {
                0 => Action::Range { span: Span::one(&key), revision: 0, limit: 0 },
                1 => Action::Delete { span: Span::one(&key), previous },
                _ => Action::Put { key, value: self.value(), lease: 0, previous },
            }
        };
        (0..count).map(action).collect()
    }

    fn learn(&mut self, operation: &Operation) {
        let Outcome::Done { revision, held, answers } = &operation.outcome else { return };
        for (action, answer) in operation.request.actions(*held).iter().zip(answers) {
            match (action, answer) {
                (Action::Put { key, .. }, Answer::Put(_)) => self.saw(key, *revision),
                (_, Answer::Range(found, ..)) => {
                    found.iter().for_each(|kv| self.saw(&kv.key, kv.mod_revision));
                }
                _ => {}
            }
        }
    }

    fn saw(&mut self, wanted: &Bytes, revision: i64) {
        if let Some(place) = (0..KEYS).find(|place| key(*place) == *wanted) {
            self.seen[place as usize] = revision;
        }
    }
}

fn key(place: u64) -> Bytes {
    format!("k/{place:02}").into()
}
