//! Events of one response of the server, encoded once for all who are told of them.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use proto::{etcdserverpb as pb, mvccpb};
use rpc::Reply;

use crate::grpc::namespace::Namespace;

/// The number of `events` in a `WatchResponse`.
const EVENTS_FIELD: u32 = 11;

/// A response whose events take more than this is cut into fragments, where a client asked for that.
const FRAGMENT_BYTES_MAX: usize = 1_572_864;

/// Events, of whole revisions.
#[derive(Debug)]
pub struct Batch {
    header: pb::ResponseHeader,
    events: Vec<mvccpb::Event>,
    /// All of them as they stand in a response.
    wire: Bytes,
}

/// What a watch wants of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// No puts.
    pub no_put: bool,
    /// No deletes.
    pub no_delete: bool,
    /// Long responses in fragments.
    pub fragment: bool,
}

fn put_event(out: &mut BytesMut, event: &mvccpb::Event) {
    prost::encoding::message::encode(EVENTS_FIELD, event, out);
}

impl Batch {
    /// The events of a response, which has some.
    pub fn new(
        header: pb::ResponseHeader,
        mut events: Vec<mvccpb::Event>,
        namespace: &Namespace,
    ) -> Batch {
        let mut wire = BytesMut::new();
        for event in &mut events {
            namespace.leave_row(&mut event.kv);
            namespace.leave_row(&mut event.prev_kv);
            put_event(&mut wire, event);
        }
        Batch { header, events, wire: wire.freeze() }
    }

    /// What it counts for in memory.
    pub fn bytes(&self) -> usize {
        // The events, and what they were decoded from.
        2 * self.wire.len() + 128
    }

    /// The revision of the first event.
    pub fn first(&self) -> i64 {
        self.events.first().map_or(0, revision)
    }

    /// The revision of the last event.
    pub fn last(&self) -> i64 {
        self.events.last().map_or(0, revision)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The responses that tell a watch of what happened from a revision on; none if it wants none of it.
    pub fn responses(&self, watch_id: i64, from: i64, wants: Wants) -> Vec<EventsReply> {
        let head = |fragment| pb::WatchResponse {
            header: Some(self.header),
            watch_id,
            fragment,
            ..Default::default()
        };
        let all = from <= self.first() && !wants.no_put && !wants.no_delete;
        let fits = !wants.fragment || self.wire.len() <= FRAGMENT_BYTES_MAX;
        if all && fits {
            return vec![EventsReply { head: head(false), events: self.wire.clone() }];
        }
        let (mut replies, mut wire) = (Vec::new(), BytesMut::new());
        for event in self.events.iter().filter(|event| from <= revision(event)) {
            let unwanted = match event.r#type() {
                mvccpb::event::EventType::Put => wants.no_put,
                mvccpb::event::EventType::Delete => wants.no_delete,
            };
            if unwanted {
                continue;
            }
            let after = wire.len() + Message::encoded_len(event);
            if wants.fragment && !wire.is_empty() && FRAGMENT_BYTES_MAX < after {
                replies.push(EventsReply { head: head(true), events: wire.split().freeze() });
            }
            put_event(&mut wire, event);
        }
        if !wire.is_empty() {
            replies.push(EventsReply { head: head(false), events: wire.freeze() });
        }
        replies
    }
}

fn revision(event: &mvccpb::Event) -> i64 {
    event.kv.as_ref().map_or(0, |row| row.mod_revision)
}

/// A `WatchResponse` with events that are encoded already.
#[derive(Debug)]
pub struct EventsReply {
    head: pb::WatchResponse,
    events: Bytes,
}

impl Reply for EventsReply {
    fn encoded_len(&self) -> usize {
        Message::encoded_len(&self.head) + self.events.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.head.encode_raw(out);
        out.put_slice(&self.events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str, revision: i64, delete: bool, value_bytes: usize) -> mvccpb::Event {
        let row = mvccpb::KeyValue {
            key: key.to_owned().into(),
            mod_revision: revision,
            value: vec![7; value_bytes].into(),
            ..Default::default()
        };
        mvccpb::Event { r#type: i32::from(delete), kv: Some(row), prev_kv: None }
    }

    fn told(batch: &Batch, from: i64, wants: Wants) -> Vec<(i64, bool, Vec<String>)> {
        let read = |reply: &EventsReply| {
            let mut wire = BytesMut::new();
            reply.encode(&mut wire);
            assert_eq!(wire.len(), reply.encoded_len());
            let read = pb::WatchResponse::decode(wire).expect("well formed");
            let key = |event: &mvccpb::Event| {
                let key = event.kv.as_ref().expect("a row").key.to_vec();
                String::from_utf8(key).expect("text")
            };
            (read.watch_id, read.fragment, read.events.iter().map(key).collect())
        };
        batch.responses(5, from, wants).iter().map(read).collect()
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_watch_is_told_what_it_wants_from_where_it_is() {
        let events =
            vec![event("p/a", 4, false, 1), event("p/b", 4, true, 0), event("p/c", 5, false, 1)];
        let batch = Batch::new(Default::default(), events, &Namespace::new("p/"));
        assert_eq!((batch.first(), batch.last(), batch.len()), (4, 5, 3));
        let all = Wants::default();
        assert_eq!(told(&batch, 1, all), [(5, false, keys(&["a", "b", "c"]))]);
        assert_eq!(told(&batch, 5, all), [(5, false, keys(&["c"]))]);
        assert_eq!(told(&batch, 6, all), []);
        let deletes = Wants { no_put: true, ..all };
        assert_eq!(told(&batch, 1, deletes), [(5, false, keys(&["b"]))]);
        let puts = Wants { no_delete: true, ..all };
        assert_eq!(told(&batch, 1, puts), [(5, false, keys(&["a", "c"]))]);
        assert_eq!(told(&batch, 1, Wants { no_put: true, no_delete: true, ..all }), []);
    }

    #[test]
    fn long_responses_come_in_fragments_to_whom_asked_for_them() {
        let events = ["a", "b", "c"].map(|key| event(key, 4, false, 1_000_000)).to_vec();
        let batch = Batch::new(Default::default(), events, &Namespace::default());
        let wants = Wants { fragment: true, ..Default::default() };
        let expected = [(5, true, keys(&["a"])), (5, true, keys(&["b"])), (5, false, keys(&["c"]))];
        assert_eq!(told(&batch, 1, wants), expected);
        assert_eq!(told(&batch, 1, Wants::default()), [(5, false, keys(&["a", "b", "c"]))]);
    }
}
