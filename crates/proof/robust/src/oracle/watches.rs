//! The watch streams of an episode, on both sides.
//!
//! How many revisions share a response is a matter of time, so what is compared is, for each watch,
//! the sequence of its events and of its other answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prost::Message;
use proto::etcdserverpb::WatchResponse;

use crate::grpc::{Connection, Item, Stream};
use crate::schema::{self, Field};

/// Real etcd looks after watches that are behind every 100 ms; longer than that is silence.
const SILENCE: Duration = Duration::from_millis(350);
/// How long one side may lag behind the other.
const LAG_MAX: Duration = Duration::from_secs(3);

const STREAMS: usize = 2;

/// What one side's stream has brought since the last comparison.
struct Listener {
    stream: Stream,
    heard: BTreeMap<i64, Vec<Vec<Field>>>,
    items: usize,
    created: usize,
}

impl Listener {
    fn new(connection: &Connection) -> Listener {
        let stream = connection.stream("/etcdserverpb.Watch/Watch");
        Listener { stream, heard: BTreeMap::new(), items: 0, created: 0 }
    }

    /// Takes in at most one response; true when there was one.
    fn listen(&mut self, patience: Duration) -> bool {
        match self.stream.next(patience) {
            Item::Message(message) => {
                let response = WatchResponse::decode(message.clone());
                self.take(&response.expect("a well-formed watch response"), &message);
                true
            }
            Item::Nothing => false,
            Item::End(end) => {
                let text = format!("{:?} {:?} {:?}", end.status, end.message, end.broken);
                let ended = vec![vec![("stream ended".to_string(), text)]];
                self.heard.entry(i64::MIN).or_insert(ended);
                false
            }
        }
    }

    fn take(&mut self, response: &WatchResponse, encoded: &bytes::Bytes) {
        self.created += usize::from(response.created);
        let heard = self.heard.entry(response.watch_id).or_default();
        if response.events.is_empty() {
            heard.push(schema::fields(&schema::message("etcdserverpb.WatchResponse"), encoded));
            self.items += 1;
        }
        for event in &response.events {
            let event = event.encode_to_vec().into();
            heard.push(schema::fields(&schema::message("mvccpb.Event"), &event));
            self.items += 1;
        }
    }
}

pub(super) struct Watches {
    reference: Vec<Listener>,
    subject: Vec<Listener>,
}

impl Watches {
    pub(super) fn open(reference: &Connection, subject: &Connection) -> Watches {
        let listeners = |connection| (0..STREAMS).map(|_| Listener::new(connection)).collect();
        Watches { reference: listeners(reference), subject: listeners(subject) }
    }

    /// Sends a message on both sides. When it must be answered by `created`, waits for that, so that
    /// the next step finds both servers past it.
    pub(super) fn send(&mut self, stream: usize, message: &[u8], created: bool) {
        for side in [&mut self.reference, &mut self.subject] {
            let listener = &mut side[stream];
            let before = listener.created;
            listener.stream.send_bytes(message);
            let deadline = Instant::now() + LAG_MAX;
            while created && listener.created == before && Instant::now() < deadline {
                listener.listen(Duration::from_millis(50));
            }
        }
    }

    /// Waits for silence, and gives what came as pairs, one for each watch of each stream.
    pub(super) fn drain(&mut self) -> Vec<(Vec<Field>, Vec<Field>)> {
        let mut last = Instant::now();
        loop {
            for listener in self.reference.iter_mut().chain(&mut self.subject) {
                while listener.listen(Duration::from_millis(4)) {
                    last = Instant::now();
                }
            }
            let same =
                self.reference.iter().zip(&self.subject).all(|(one, two)| one.items == two.items);
            if last.elapsed() > if same { SILENCE } else { LAG_MAX } {
                break;
            }
        }
        let mut pairs = Vec::new();
        for (number, (one, two)) in self.reference.iter_mut().zip(&mut self.subject).enumerate() {
            let (one, two) = (std::mem::take(&mut one.heard), std::mem::take(&mut two.heard));
            let ids: std::collections::BTreeSet<i64> =
                one.keys().chain(two.keys()).copied().collect();
            for id in ids {
                let named = |heard: &BTreeMap<i64, Vec<Vec<Field>>>| {
                    flatten(&format!("stream {number} watch {id}"), heard.get(&id))
                };
                pairs.push((named(&one), named(&two)));
            }
        }
        pairs
    }
}

fn flatten(name: &str, answers: Option<&Vec<Vec<Field>>>) -> Vec<Field> {
    let mut out = Vec::new();
    for (index, answer) in answers.into_iter().flatten().enumerate() {
        out.push((format!("{name}[{index:03}]"), "present".to_string()));
        for (path, value) in answer {
            out.push((format!("{name}[{index:03}].{path}"), value.clone()));
        }
    }
    out
}
