//! make-mirror: copies a prefix to another cluster, then follows it for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, TlsOptions, WatchOptions, methods};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};
use tokio::task::JoinSet;
use types::Refusal;

use super::kv;
use crate::args::Call;
use crate::exit::{ERROR, Failure};
use crate::output;
use crate::progress::Progress;
use crate::settings::{Settings, password_for};

/// So often the number of keys written is told.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// How many keys are read at once, and how many are on their way at once.
const PAGE_KEYS: i64 = 1000;
const PUTS_IN_FLIGHT_MAX: usize = 32;

/// `make-mirror`.
pub async fn make_mirror(mut call: Call) -> Result<(), Failure> {
    super::exactly(&call, 1, "make-mirror takes one destination argument")?;
    let settings = Settings::of(&mut call)?;
    let destination = destination(&call, &settings)?.connect_to_stay().await?.patient;
    let source = settings.connect_to_stay().await?.patient;
    let values = &call.values;
    let (prefix, to) = (values.text("prefix"), values.text("dest-prefix"));
    let to = match (values.truth("no-dest-prefix"), to) {
        (true, "") => "",
        (true, _) => {
            return Err(Failure::bad_args(
                "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
            ));
        }
        (false, "") => prefix,
        (false, to) => to,
    };
    let copied = Arc::new(AtomicU64::new(0));
    let mirror = Mirror {
        source,
        destination,
        prefix: Bytes::copy_from_slice(prefix.as_bytes()),
        to: Bytes::copy_from_slice(to.as_bytes()),
        ops_max: usize::try_from(values.uint("max-txn-ops")).unwrap_or(usize::MAX).max(1),
        copied: copied.clone(),
    };
    mirror.refuse_a_mirror_of_itself().await?;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(REPORT_INTERVAL).await;
            output::print(format!("{}\n", copied.load(Ordering::Relaxed)).as_bytes());
        }
    });
    mirror.run(values.int("rev")).await
}

/// The other cluster, reached as the `--dest-` flags say.
fn destination(call: &Call, settings: &Settings) -> Result<Settings, Failure> {
    let values = &call.values;
    let text = |name: &str| values.text(name).to_owned();
    let mut settings = settings.at(&call.text(0));
    settings.config.tls = TlsOptions {
        cert: text("dest-cert"),
        key: text("dest-key"),
        cacert: text("dest-cacert"),
        server_name: String::new(),
        insecure_transport: values.truth("dest-insecure-transport"),
        skip_verify: false,
    };
    let (user, password) = (values.text("dest-user"), values.text("dest-password"));
    settings.config.credentials = password_for(user, password, "Destination Password: ")?;
    settings.endpoints_by_default = false;
    Ok(settings)
}

struct Mirror {
    source: Client,
    destination: Client,
    prefix: Bytes,
    to: Bytes,
    ops_max: usize,
    copied: Arc<AtomicU64>,
}

impl Mirror {
    async fn run(&self, from: i64) -> Result<(), Failure> {
        // With a revision given nothing is copied, only followed.
        let start = match from.saturating_sub(1).max(0) {
            0 => self.copy().await?,
            before => before,
        };
        self.follow(start + 1).await
    }

    /// A mirror within one cluster, from a prefix onto one that overlaps it, would copy its own copies.
    async fn refuse_a_mirror_of_itself(&self) -> Result<(), Failure> {
        let cluster = async |client: &Client| -> Result<u64, Failure> {
            let (key, range_end) = kv::range(self.prefix.clone(), None, true, false);
            let request = pb::RangeRequest { key, range_end, limit: 1, ..Default::default() };
            let answer = client.call(methods::RANGE, &request).await?;
            Ok(answer.header.unwrap_or_default().cluster_id)
        };
        let overlap = self.to.starts_with(&self.prefix) || self.prefix.starts_with(&self.to);
        if overlap && cluster(&self.source).await? == cluster(&self.destination).await? {
            let text = "the destination is the source itself, and its keys overlap; name another \
                        cluster or a --dest-prefix apart";
            return Err(Failure::new(ERROR, text));
        }
        Ok(())
    }

    /// A key of the source under its name at the destination.
    fn renamed(&self, key: &Bytes) -> Bytes {
        let rest = key.strip_prefix(&self.prefix[..]).unwrap_or(key);
        [&self.to[..], rest].concat().into()
    }

    /// Copies all keys as they are at one revision, which it gives.
    async fn copy(&self) -> Result<i64, Failure> {
        let mut progress = Progress::new("mirroring", None, |keys| format!("{keys} keys"));
        let (mut key, range_end) = kv::range(self.prefix.clone(), None, true, false);
        let mut revision = 0;
        loop {
            let request = pb::RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: PAGE_KEYS,
                revision,
                ..Default::default()
            };
            let page = self.source.call(methods::RANGE, &request).await?;
            if revision == 0 {
                revision = page.header.unwrap_or_default().revision;
                progress.set_total(u64::try_from(page.count).unwrap_or(0));
            }
            self.put_all(&page.kvs, &mut progress).await?;
            match page.kvs.last() {
                Some(last) if page.more => key = [&last.key[..], &[0]].concat().into(),
                _ => return Ok(revision),
            }
        }
    }

    /// Puts some rows, several at once: no two of them have the same key.
    async fn put_all(&self, rows: &[KeyValue], progress: &mut Progress) -> Result<(), Failure> {
        let mut putting = JoinSet::new();
        for row in rows {
            if putting.len() == PUTS_IN_FLIGHT_MAX {
                self.put_done(putting.join_next().await, progress)?;
            }
            let (key, value) = (self.renamed(&row.key), row.value.clone());
            let destination = self.destination.clone();
            putting.spawn(async move {
                let request = pb::PutRequest { key, value, ..Default::default() };
                destination.call(methods::PUT, &request).await
            });
        }
        while let Some(done) = putting.join_next().await {
            self.put_done(Some(done), progress)?;
        }
        Ok(())
    }

    fn put_done(
        &self,
        done: Option<Result<Result<pb::PutResponse, client::Error>, tokio::task::JoinError>>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let done = done.expect("there are as many as were spawned");
        done.map_err(|error| Failure::new(ERROR, error.to_string()))??;
        self.copied.fetch_add(1, Ordering::Relaxed);
        progress.add(1);
        Ok(())
    }

    /// Does at the destination what happens at the source.
    async fn follow(&self, start_revision: i64) -> Result<(), Failure> {
        let (key, range_end) = kv::range(self.prefix.clone(), None, true, false);
        let mut watcher = self.source.watcher();
        watcher.watch(WatchOptions { key, range_end, start_revision, ..WatchOptions::default() });
        while let Some((_, notice)) = watcher.next().await {
            if notice.compact_revision != 0 {
                return Err(Failure::new(ERROR, Refusal::Compacted.message()));
            }
            if let Some(error) = notice.error() {
                return Err(error.into());
            }
            for events in groups(&notice.events, self.ops_max) {
                let success = events.iter().map(|event| self.repeated(event)).collect();
                let txn = pb::TxnRequest { success, ..Default::default() };
                self.destination.call(methods::TXN, &txn).await?;
                self.copied.fetch_add(events.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn repeated(&self, event: &Event) -> pb::RequestOp {
        let kv = event.kv.clone().unwrap_or_default();
        let key = self.renamed(&kv.key);
        let request = match event.r#type() {
            EventType::Put => {
                Request::RequestPut(pb::PutRequest { key, value: kv.value, ..Default::default() })
            }
            EventType::Delete => {
                Request::RequestDeleteRange(pb::DeleteRangeRequest { key, ..Default::default() })
            }
        };
        pb::RequestOp { request: Some(request) }
    }
}

/// Events of one revision stay together, as far as `ops_max` allows; those of two never mix, for a
/// transaction may change a key only once.
fn groups(events: &[Event], ops_max: usize) -> impl Iterator<Item = &[Event]> {
    let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
    let one_revision = events.chunk_by(move |one, next| revision(one) == revision(next));
    one_revision.flat_map(move |events| events.chunks(ops_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_two_revisions_never_share_a_transaction() {
        let event = |mod_revision| Event {
            kv: Some(KeyValue { mod_revision, ..KeyValue::default() }),
            ..Event::default()
        };
        let events = [4, 4, 4, 5, 6, 6].map(event);
        let sizes: Vec<usize> = groups(&events, 2).map(<[Event]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
    }
}
