//! Watches that survive lost connections: each knows the next revision it must see, and a new stream
//! begins there.
//!
//! All watches of a [`Watcher`] share one stream, so a progress request is answered for all of them.

use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb;
use tokio::time::sleep;
use types::{Code, Refusal};

use crate::client::{Client, Stream};
use crate::error::{Error, Status};

const PATH: &str = "/etcdserverpb.Watch/Watch";
const REOPEN_DELAY: Duration = Duration::from_millis(100);

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// The key, or the start of a range.
    pub key: Bytes,
    /// The end of the range.
    pub range_end: Bytes,
    /// The first revision wanted; zero means from now on.
    pub start_revision: i64,
    /// Whether events bring what was before.
    pub prev_kv: bool,
    /// Whether the server says from time to time that nothing was missed.
    pub progress_notify: bool,
}

/// Something a watch has to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notice {
    /// The header of the server's response.
    pub header: pb::ResponseHeader,
    /// What happened.
    pub events: Vec<mvccpb::Event>,
    /// The oldest revision that can still be watched, when the watch asked for an older one.
    pub compact_revision: i64,
    /// It is the last notice.
    pub canceled: bool,
    /// Why.
    pub cancel_reason: String,
    /// How the stream ended, when that ended the watch.
    pub ending: Option<Error>,
}

impl Notice {
    /// Whether it says no more than that nothing was missed.
    pub fn is_progress(&self) -> bool {
        let quiet = self.events.is_empty() && !self.canceled;
        quiet && self.compact_revision == 0 && self.header.revision != 0
    }

    /// Why the watch is over.
    pub fn error(&self) -> Option<Error> {
        let refused = |code, text: &str| Some(Error::Status(Status::new(code, text)));
        if let Some(ending) = &self.ending {
            return Some(ending.clone());
        }
        if self.compact_revision != 0 {
            return refused(Code::OutOfRange, Refusal::Compacted.message());
        }
        match (self.canceled, self.cancel_reason.as_str()) {
            (false, _) => None,
            (true, "") => refused(Code::OutOfRange, Refusal::FutureRev.message()),
            // A status that the server has already written out.
            (true, reason) if reason.starts_with("rpc error: ") => {
                Some(Error::Canceled(reason.to_owned()))
            }
            (true, reason) => refused(Code::FailedPrecondition, reason),
        }
    }
}

/// Some watches on one stream.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    stream: Option<Stream>,
    watches: Vec<Watch>,
    pending: std::collections::VecDeque<(usize, Notice)>,
    /// Questions about the progress that wait for a stream.
    progress_wanted: usize,
}

#[derive(Debug)]
struct Watch {
    options: WatchOptions,
    /// Chosen by the server on this stream.
    id: Option<i64>,
    over: bool,
}

impl Client {
    /// No watches yet.
    pub fn watcher(&self) -> Watcher {
        Watcher {
            client: self.clone(),
            stream: None,
            watches: Vec::new(),
            pending: std::collections::VecDeque::new(),
            progress_wanted: 0,
        }
    }
}

impl Watcher {
    /// Adds a watch; its number comes with its notices.
    pub fn watch(&mut self, options: WatchOptions) -> usize {
        self.watches.push(Watch { options, id: None, over: false });
        let number = self.watches.len() - 1;
        if let Some(stream) = &mut self.stream
            && stream.send(&create(&self.watches[number].options)).is_err()
        {
            self.stream = None;
        }
        number
    }

    /// Asks the server to say how far it is: at once, or when the watches that were asked for are there.
    pub fn request_progress(&mut self) {
        self.progress_wanted += 1;
        self.ask_for_progress();
    }

    fn ask_for_progress(&mut self) {
        let asked_for = |watch: &Watch| watch.over || watch.id.is_some();
        let all_there = !self.watches.is_empty() && self.watches.iter().all(asked_for);
        while let Some(stream) = self.stream.as_mut().filter(|_| all_there)
            && self.progress_wanted > 0
        {
            let request = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            let request = pb::WatchRequest { request_union: Some(request) };
            if stream.send(&request).is_err() {
                // It is opened again, and asked then.
                self.stream = None;
                return;
            }
            self.progress_wanted -= 1;
        }
    }

    /// The next notice and the watch it belongs to; `None` when no watch is left. A caller may stop
    /// waiting at any time and ask again.
    pub async fn next(&mut self) -> Option<(usize, Notice)> {
        loop {
            if let Some(notice) = self.pending.pop_front() {
                return Some(notice);
            }
            if self.watches.iter().all(|watch| watch.over) {
                return None;
            }
            if let Err(error) = self.receive().await {
                self.stream = None;
                self.broken(error).await;
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Error> {
        if self.stream.is_none() {
            let mut stream = self.client.stream(PATH).await?;
            for watch in self.watches.iter_mut().filter(|watch| !watch.over) {
                watch.id = None;
                stream.send(&create(&watch.options))?;
            }
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().expect("it is open");
        let response: pb::WatchResponse = stream.message().await?;
        self.take(response).await
    }

    async fn broken(&mut self, error: Error) {
        if self.client.token_is_stale(&error) && self.client.refresh_token().await.is_ok() {
            return;
        }
        if error.ends_streams() || error.is(&Refusal::NoLeader) {
            for (number, watch) in self.watches.iter_mut().enumerate().filter(|(_, w)| !w.over) {
                watch.over = true;
                let ending = Some(error.clone());
                let notice = Notice { canceled: true, ending, ..Notice::default() };
                self.pending.push_back((number, notice));
            }
            return;
        }
        sleep(REOPEN_DELAY).await;
    }

    async fn take(&mut self, response: pb::WatchResponse) -> Result<(), Error> {
        let header = response.header.unwrap_or_default();
        if response.created && !response.canceled {
            // The server answers creations in their order.
            let waiting = self.watches.iter_mut().find(|watch| !watch.over && watch.id.is_none());
            if let Some(watch) = waiting {
                watch.id = Some(response.watch_id);
                if watch.options.start_revision == 0 {
                    // What happens from now on must not be missed by the next stream.
                    watch.options.start_revision = header.revision + 1;
                }
            }
            self.ask_for_progress();
            return Ok(());
        }
        let addressed = |watch: &Watch| !watch.over && watch.id == Some(response.watch_id);
        let all = response.watch_id == -1 && !response.canceled;
        let refused = response.created && response.canceled;
        let stale = Error::Status(Status::new(Code::Unauthenticated, &*response.cancel_reason));
        if response.canceled && self.client.token_is_stale(&stale) {
            return Err(stale);
        }
        let mut taken = false;
        for (number, watch) in self.watches.iter_mut().enumerate() {
            let waiting = refused && !taken && !watch.over && watch.id.is_none();
            if !(addressed(watch) || waiting || (all && !watch.over)) {
                continue;
            }
            taken = true;
            if let Some(last) = response.events.iter().filter_map(|event| event.kv.as_ref()).last()
            {
                watch.options.start_revision = last.mod_revision + 1;
            } else if !response.canceled && header.revision >= watch.options.start_revision {
                watch.options.start_revision = header.revision + 1;
            }
            watch.over = response.canceled;
            let notice = Notice {
                header,
                events: response.events.clone(),
                compact_revision: response.compact_revision,
                canceled: response.canceled,
                cancel_reason: response.cancel_reason.clone(),
                ending: None,
            };
            self.pending.push_back((number, notice));
        }
        Ok(())
    }
}

fn create(options: &WatchOptions) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: options.key.clone(),
        range_end: options.range_end.clone(),
        start_revision: options.start_revision,
        prev_kv: options.prev_kv,
        progress_notify: options.progress_notify,
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}
