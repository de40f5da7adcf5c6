//! `--repair-from-peers`: a member whose store cannot be read gets its cluster's state from another one of ours.
//!
//! It asks over the peer port, and listens there; the other makes sure that this member's own URL says the same, and
//! posts a snapshot as raft would. Until then the member is nobody: it votes for nothing and acknowledges nothing. Its
//! raft log stays as it is.
//!
//! Not here: what is done to the directory (see `node`), how snapshots travel (see `peer`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use node::{BootError, Config, Level, Line, Repairing, Report};
use peer::{
    HashKv, Inbox, LeaseRefusal, LocalFuture, MemberJson, PeerFacts, PromoteRefusal, Transport,
    Versions,
};
use proto::etcdserverpb as pb;
use proto::raftpb::Message;

use super::{Network, Opening, Told, peer_version};

/// How long one of the others may take until its snapshot is here.
const ARRIVAL_DURATION_MAX: Duration = Duration::from_secs(600);
/// How often all of the others are asked.
const ROUNDS_MAX: usize = 20;
/// How long it is waited between two rounds.
const ASKS_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Why a member could not be repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory does not allow it.
    #[error("the store cannot be repaired from peers")]
    Directory(#[from] BootError),
    /// Nobody else is named.
    #[error("--repair-from-peers needs the other members' URLs in --initial-cluster")]
    NobodyElse,
    /// Nobody gives its state.
    #[error("no other member gives its state to repair from (members of Go's cannot): {0}")]
    NobodyGives(String),
    /// The system gives no thread or event queue.
    #[error("others cannot be asked")]
    Runtime(#[source] std::io::Error),
}

fn say(report: &dyn Report, text: &'static str, fields: &[(&'static str, go::Value)]) {
    report.line(&Line { level: Level::Warn, text, fields: fields.to_vec() });
}

/// Gets the cluster's state in the place of a store that cannot be read, which is kept aside.
///
/// # Errors
/// [`RepairError`].
pub(crate) fn repair(
    config: &Config,
    others: &[String],
    network: &Network,
    opening: Opening,
    why: &str,
) -> Result<(), RepairError> {
    if others.is_empty() {
        return Err(RepairError::NobodyElse);
    }
    let (disk, report) = (opening.disk.clone(), opening.report.clone());
    let repairing = Repairing::begin(config, &disk, &*report)?;
    let (member, cluster) = repairing.identity()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = repairing.set_aside(now.as_millis())?;
    let aside = aside.map(|path| path.display().to_string()).unwrap_or_default();
    let fields = [("error", why.into()), ("kept-as", aside.into())];
    say(&*report, "the store cannot be read; repairing it from peers", &fields);
    let (sender, arrived) = sync_channel(1);
    let identity = peer::Identity {
        member,
        cluster,
        version: peer_version(config.server_version),
        peer_urls: config.peer_urls.clone(),
    };
    let transport = listen(config, identity, opening, &repairing, sender)?;
    let mut last = String::new();
    for _ in 0..ROUNDS_MAX {
        for url in others {
            match fetch(network, url, (member, cluster), config, &arrived) {
                Ok(message) => match repairing.take_over(&message) {
                    Ok(index) => {
                        drop(transport);
                        let fields =
                            [("snapshot-index", index.into()), ("from", url.clone().into())];
                        say(&*report, "the store was repaired from a peer", &fields);
                        return Ok(());
                    }
                    // A later state will do.
                    Err(error @ BootError::OtherHistory { .. }) => last = error.to_string(),
                    Err(error) => return Err(error.into()),
                },
                Err(error) => last = format!("{url}: {error}"),
            }
        }
        std::thread::sleep(ASKS_AGAIN_AFTER);
    }
    Err(RepairError::NobodyGives(last))
}

fn listen(
    config: &Config,
    identity: peer::Identity,
    opening: Opening,
    repairing: &Repairing<'_>,
    sender: SyncSender<Message>,
) -> Result<Transport, RepairError> {
    let config = peer::Config {
        identity,
        election_timeout: config.election_timeout(),
        listeners: opening.listeners,
        connector: Some(opening.connector),
        spool: Arc::new(peer::DiskSpool::new(opening.disk, repairing.snap_dir())),
        report: Arc::new(Told(opening.report)),
        metrics: opening.metrics,
        limits: opening.limits,
    };
    let started = Transport::start(config, Arc::new(Waiting(sender)), Arc::new(Nobody));
    started.map_err(RepairError::Runtime)
}

/// Asks one of the others, and waits for what it posts.
fn fetch(
    network: &Network,
    url: &str,
    (member, cluster): (u64, u64),
    config: &Config,
    arrived: &Receiver<Message>,
) -> Result<Message, String> {
    let asking = network.asker.want_snapshot(url, cluster, member, config.server_version);
    let asked = peer::Asker::block_on(asking).map_err(|why| why.to_string())?;
    asked.map_err(|why| why.to_string())?;
    arrived.recv_timeout(ARRIVAL_DURATION_MAX).map_err(|why| match why {
        RecvTimeoutError::Timeout => "its snapshot did not arrive".to_owned(),
        RecvTimeoutError::Disconnected => "nothing can arrive any more".to_owned(),
    })
}

/// Takes a snapshot, and nothing else.
struct Waiting(SyncSender<Message>);

impl peer::Raft for Waiting {
    fn receive(&self, _message: Message) -> Inbox {
        Inbox::Full
    }

    fn receive_snapshot(&self, message: Message, _database: PathBuf) -> Result<(), String> {
        self.0.try_send(message).map_err(|_| "another one has arrived".to_owned())
    }

    fn is_removed(&self, _member: u64) -> bool {
        false
    }

    fn unreachable(&self, _peer: u64) {}

    fn snapshot_sent(&self, _peer: u64, _arrived: bool) {}

    fn removed_here(&self) {}

    fn host_gone(&self, _peer: u64) {}
}

/// What a member knows that has no state.
struct Nobody;

const NOT_NOW: &str = "the member is being repaired";

fn refused<T: 'static, E: 'static>(error: E) -> LocalFuture<Result<T, E>> {
    Box::pin(std::future::ready(Err(error)))
}

impl PeerFacts for Nobody {
    fn members(&self) -> Vec<MemberJson> {
        Vec::new()
    }

    fn versions(&self) -> Versions {
        let server = crate::serve::SERVER_VERSION.to_owned();
        Versions { server, cluster: "not_decided".to_owned(), storage: String::new() }
    }

    fn promote(
        &self,
        _member: u64,
        _token: Option<String>,
    ) -> LocalFuture<Result<Vec<MemberJson>, PromoteRefusal>> {
        refused(PromoteRefusal::Other(NOT_NOW.to_owned()))
    }

    fn hash_kv(&self, _revision: i64) -> LocalFuture<Result<HashKv, String>> {
        refused(NOT_NOW.to_owned())
    }

    fn keep_alive(&self, _lease: i64) -> LocalFuture<Result<i64, LeaseRefusal>> {
        refused(LeaseRefusal::Other(NOT_NOW.to_owned()))
    }

    fn time_to_live(
        &self,
        _request: pb::LeaseTimeToLiveRequest,
    ) -> LocalFuture<Result<pb::LeaseTimeToLiveResponse, LeaseRefusal>> {
        refused(LeaseRefusal::Other(NOT_NOW.to_owned()))
    }

    fn downgrade_enabled(&self) -> LocalFuture<Result<bool, String>> {
        refused(NOT_NOW.to_owned())
    }

    fn is_repairing(&self) -> bool {
        true
    }
}
