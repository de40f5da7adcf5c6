//! Watching clients: one stream each, two watches on it at most, read as slowly as chance has it.
//!
//! After a crash, a cancel or a compaction a watch is begun again where the last one ended, as client libraries
//! do; the judge sees each of them.

use std::collections::VecDeque;

use history::watch::{Event, Response, Watch};
use history::{Span, Violation};
use types::KeyRange;
use watch::{Body, Create, Filters, Previous};

use crate::chance::Chance;
use crate::client::{Knowledge, all};
use crate::convert::{change, key_value};

/// One watching client.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    /// The machine it talks to.
    pub(crate) at: usize,
    pub(crate) stream: u64,
    pub(crate) open: bool,
    queue: VecDeque<watch::Response>,
    /// By its id on the stream.
    watches: Vec<(i64, Watch)>,
    next_id: i64,
    /// Where to go on after an end.
    resume: Vec<Watch>,
}

impl Watcher {
    /// The stream is gone with the process; watches will go on from where they were.
    pub(crate) fn lost(&mut self) -> Vec<Watch> {
        self.open = false;
        self.queue.clear();
        let lost: Vec<Watch> = self.watches.drain(..).map(|(_, watch)| watch).collect();
        for watch in &lost {
            let start = watch.resume_at();
            self.resume.push(Watch { start, responses: Vec::new(), ..watch.clone() });
        }
        lost
    }

    /// Begins a watch: one that was interrupted, or a new one.
    pub(crate) fn create(
        &mut self,
        knows: &Knowledge,
        chance: &mut Chance,
    ) -> Option<watch::Input> {
        if 2 <= self.watches.len() {
            return None;
        }
        let watch = self.resume.pop().unwrap_or_else(|| draw(knows, chance));
        self.next_id += 1;
        let range = match &watch.span.end {
            None => KeyRange::One(watch.span.first.clone()),
            Some(end) => KeyRange::from_wire(&watch.span.first, end).expect("keys are not empty"),
        };
        let create = Create {
            watch: self.next_id,
            range,
            start: watch.start,
            progress_notify: chance.one_in(2),
            previous: watch.previous,
            filters: Filters { no_put: false, no_delete: watch.no_delete },
            fragment: chance.one_in(2),
            permission: Ok(()),
        };
        self.watches.push((self.next_id, watch));
        Some(watch::Input::Create { stream: self.stream, create })
    }

    /// Ends a watch, which will be begun again elsewhere.
    pub(crate) fn cancel(&mut self, chance: &mut Chance) -> Option<(watch::Input, Watch)> {
        if self.watches.is_empty() || !self.queue.is_empty() {
            return None;
        }
        let (id, watch) = self.watches.remove(chance.below(self.watches.len()));
        Some((watch::Input::Cancel { stream: self.stream, watch: id }, watch))
    }

    /// The member put this into the stream's queue.
    pub(crate) fn sent(&mut self, response: watch::Response) {
        self.queue.push_back(response);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Reads some responses; returns what to tell the member and which watches ended.
    pub(crate) fn read(&mut self, count: usize, compacted: i64) -> (watch::Input, Vec<Watch>) {
        let (mut responses, mut bytes) = (0, 0);
        let mut ended = Vec::new();
        for response in self.queue.drain(..count.min(self.queue.len())) {
            responses += 1;
            bytes += response.bytes();
            if response.watch == -1 {
                // The answer to a progress request speaks of all watches of the stream.
                let revision = response.revision;
                for (_, watch) in &mut self.watches {
                    if !watch.responses.is_empty() {
                        watch.responses.push(Response::Progress { revision });
                    }
                }
                continue;
            }
            let Some(place) = self.watches.iter().position(|(id, _)| *id == response.watch) else {
                continue;
            };
            let compaction = matches!(response.body, Body::Compacted { .. });
            let watch = &mut self.watches[place].1;
            watch.responses.extend(taken(response, compacted));
            if compaction {
                ended.push(self.watches.remove(place).1);
            }
        }
        (watch::Input::Sent { stream: self.stream, responses, bytes }, ended)
    }

    /// At the end of a run: nothing may be missing up to this revision.
    pub(crate) fn settled(&mut self, revision: i64) -> Vec<Watch> {
        let all = self.watches.drain(..);
        all.map(|(_, watch)| Watch { settled_at: Some(revision), ..watch })
            .filter(|watch| !watch.responses.is_empty())
            .collect()
    }

    /// A stream's queue is bounded, apart from answers to the client's own requests.
    pub(crate) fn check(&self, limits: &watch::Limits) -> Result<(), Violation> {
        let bound = limits.stream_responses_max + 64;
        if self.queue.len() <= bound {
            return Ok(());
        }
        Err(Violation(format!("{} responses are queued for one stream", self.queue.len())))
    }
}

fn draw(knows: &Knowledge, chance: &mut Chance) -> Watch {
    let span = match chance.below(4) {
        0 => Span { first: "k".into(), end: Some("l".into()) },
        1 => Span::one(&"k01".into()),
        2 => Span { first: "l".into(), end: Some("m".into()) },
        _ => all(),
    };
    let start = match chance.below(5) {
        0 => 0,
        1 => knows.revision + chance.between(1, 10) as i64,
        _ => chance.between(1, knows.revision.max(1) as u64) as i64,
    };
    let (previous, no_delete) = (chance.one_in(2), chance.one_in(4));
    Watch { span, start, previous, no_delete, responses: Vec::new(), settled_at: None }
}

/// A response in the judge's words.
fn taken(response: watch::Response, compacted: i64) -> Option<Response> {
    let revision = response.revision;
    match response.body {
        Body::Created => Some(Response::Created { revision }),
        Body::Progress => Some(Response::Progress { revision }),
        Body::Compacted { compact_revision } => {
            Some(Response::Compacted { revision: compact_revision })
        }
        Body::Canceled | Body::Refused { .. } => None,
        Body::Events { events, fragment } => {
            let each = events.events().iter().map(|event| Event {
                revision: event.row.revision.main,
                key: event.row.key_bytes(),
                after: change(&event.row).after,
                previous: match &event.previous {
                    Previous::Row(row) => Some(key_value(row)),
                    Previous::Absent | Previous::Unloaded => None,
                },
            });
            Some(Response::Events { events: each.collect(), fragment, compacted })
        }
    }
}
