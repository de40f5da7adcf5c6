//! Our server, running the little program.

use std::collections::BTreeMap;

use ::http2::{Body, Config, Connection, Event, Field, Head, Reason};
use bytes::Bytes;

use super::plan::{self, Plan, Request};
use super::{HEADER_LIST_BYTES_MAX, STREAMS_MAX, WINDOW_BYTES};

const TYPE: Field = Field::from_static("content-type", "application/grpc");
const OK: Field = Field::from_static("grpc-status", "0");

pub(crate) struct Ours {
    server: Connection<()>,
    requests: BTreeMap<u32, Request>,
    out: Vec<u8>,
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("the client writes text")
}

fn request(head: &Head) -> Request {
    Request {
        method: text(&head.method),
        authority: head.authority.as_ref().map(text),
        path: text(&head.path),
        fields: head.fields.iter().map(|field| (text(&field.name), text(&field.value))).collect(),
        body: Vec::new(),
    }
}

impl Ours {
    pub(crate) fn new() -> Ours {
        let server = Connection::new(Config {
            streams_announced: Some(STREAMS_MAX),
            streams_max: STREAMS_MAX as usize,
            stream_window_bytes: WINDOW_BYTES,
            connection_window_bytes: WINDOW_BYTES,
            header_list_bytes_max: HEADER_LIST_BYTES_MAX,
            early_resets_max: 500,
        });
        Ours { server, requests: BTreeMap::new(), out: Vec::new() }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.server.receive(bytes);
        self.serve();
        loop {
            let before = self.out.len();
            self.server.pump();
            self.serve();
            let said = self.server.out().to_vec();
            self.server.advance(said.len());
            self.out.extend(said);
            if self.out.len() == before {
                return;
            }
        }
    }

    /// What it has said since it was asked last.
    pub(crate) fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn serve(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Request(id, head) => self.begin(id, &head),
                Event::Body(id) => self.body(id),
                Event::Reset(id, ()) => drop(self.requests.remove(&id)),
                Event::Room(_) | Event::Ping | Event::Pong => {}
            }
        }
    }

    fn begin(&mut self, id: u32, head: &Head) {
        let request = request(head);
        match request.plan() {
            Plan::Early => return self.server.respond(id, 200, &[TYPE, OK]),
            Plan::Reset(code) => return self.server.reset(id, Reason(code)),
            Plan::Echo => self.server.start(id, 200, &[TYPE]),
            Plan::Bytes(_) | Plan::Bare => {}
        }
        self.requests.insert(id, request);
        self.body(id);
    }

    fn body(&mut self, id: u32) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        loop {
            match self.server.take_body(id) {
                Body::Piece(piece) => {
                    request.body.extend_from_slice(&piece);
                    self.server.release(id, piece.len() as u32);
                }
                Body::End => break,
                Body::Later | Body::Gone => return,
            }
        }
        let request = self.requests.remove(&id).expect("it was there");
        match request.plan() {
            Plan::Bare => return self.server.respond(id, 404, &[TYPE, OK]),
            Plan::Bytes(count) => {
                self.server.start(id, 200, &[TYPE]);
                self.server.send(id, plan::bytes(count));
            }
            _ => self.server.send(id, request.echo()),
        }
        self.server.finish(id, &[OK]);
    }
}
