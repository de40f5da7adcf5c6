//! What a member does for its cluster without being asked: it makes itself known, it compacts, it compares what it
//! stores with the others, it sees to versions, and it takes its alarm back when there is space again.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use auth::{Principal, Why};
use member::auto_compaction::{AutoCompaction, Outcome, Retention};
use node::{Event, Level, Line, Node, Report};
use proto::etcdserverpb as pb;
use std::sync::Arc;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use types::Refusal;

use crate::cluster::{Comparing, Network, tell_name, watch_downgrade, watch_versions};
use crate::desk::Desk;
use crate::quota;

/// What a member has to do, and how often.
pub(crate) struct Duties {
    pub desk: Desk,
    pub report: Arc<dyn Report>,
    /// What is compacted without being asked.
    pub retention: Option<Retention>,
    /// What is compared with the others.
    pub comparing: Comparing,
    /// How often it is looked whether a downgrade has ended.
    pub downgrade_check: Duration,
    /// Whether the first election comes sooner than others (`--initial-election-tick-advance`).
    pub hastens: bool,
    /// Told when the member is known to its cluster.
    pub published: watch::Sender<bool>,
}

/// Starts the thread of a member's duties. It ends when `stop` turns true.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(
    duties: Duties,
    stop: watch::Receiver<bool>,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    // Made on this thread only to learn of an error now; the real one belongs to its own.
    drop(runtime?);
    std::thread::Builder::new().name("duties".into()).spawn(move || {
        let built = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        if let Ok(runtime) = built {
            runtime.block_on(run(duties, stop));
            // A hash that is being computed is of no use to anybody any more.
            runtime.shutdown_background();
        }
    })
}

async fn run(duties: Duties, mut stop: watch::Receiver<bool>) {
    let Duties { desk, report, retention, comparing, downgrade_check, hastens, published } = duties;
    let (node, network) = (desk.node(), desk.network());
    let work = async {
        let publish = async {
            publish(node, network).await;
            report.report(Event::Published);
            let _ = published.send(true);
        };
        let compact = async {
            if let Some(retention) = retention {
                compact(node, retention).await;
            }
        };
        let versions = watch_versions(node, network);
        let downgrade = watch_downgrade(node, network, &report, downgrade_check);
        let hashes = async { tokio::join!(comparing.newest(), comparing.compactions()) };
        let first = async {
            if hastens {
                hasten(node, network, &report).await;
            }
        };
        let watching = async { tokio::join!(versions, downgrade, hashes, first) };
        tokio::join!(publish, quota::heal(node, &report), compact, watching);
    };
    tokio::select! {
        _ = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Makes name and client URLs known, and waits until the cluster's version is decided: clients look at
/// it first.
async fn publish(node: &Node, network: &Arc<Network>) {
    const RETRY: Duration = Duration::from_millis(10);
    let config = node.config();
    loop {
        let known = node.own_member().is_some_and(|member| {
            member.name == config.name && member.client_urls == config.client_urls
        });
        if known && node.cluster().members.version().is_some() {
            return;
        }
        // Its form is the one that all members read, so all must be known: their additions are applied, one after
        // the other, before anything else is.
        let standing = node.standing();
        let knows_all = standing.leader != 0
            && standing.committed <= node.applied()
            && node.own_member().is_some();
        if !known && knows_all && tell_name(node, network).await {
            continue;
        }
        tokio::time::sleep(if known { Duration::from_millis(2) } else { RETRY }).await;
    }
}

/// How long it is waited for others before the first election.
const HASTENS_DURATION_MAX: Duration = Duration::from_secs(5);

/// A cluster that has just begun need not wait a whole election timeout for a leader it never had: once more than one
/// of the others is reached, all but two ticks of it are over at once. If there is a leader, its next heartbeat sets
/// the clock back.
async fn hasten(node: &Node, network: &Arc<Network>, report: &Arc<dyn Report>) {
    let began = Instant::now();
    while began.elapsed() < HASTENS_DURATION_MAX && node.standing().leader == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let count = network.active_count(&node.cluster().members);
        if count < 2 {
            continue;
        }
        let ticks = node.config().election_ticks.saturating_sub(2);
        let text = "initialized peer connections; fast-forwarding election ticks";
        let fields = vec![
            ("local-member-id", format!("{:x}", node.member()).into()),
            ("forward-ticks", ticks.into()),
            ("active-remote-members", count.into()),
        ];
        report.line(&Line { level: Level::Info, text, fields });
        node.advance(ticks);
        return;
    }
}

async fn compact(node: &Node, retention: Retention) {
    let began = Instant::now();
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut schedule = AutoCompaction::new(retention, now_ms(), node.revision());
    loop {
        let wait = schedule.wakes_at_ms().saturating_sub(now_ms());
        tokio::time::sleep(Duration::from_millis(wait.max(1))).await;
        if node.is_leader() {
            schedule.resume();
        } else {
            schedule.pause();
        }
        let Some(revision) = schedule.tick(now_ms(), node.revision()) else { continue };
        let compaction = pb::CompactionRequest { revision, physical: false };
        let request =
            pb::InternalRaftRequest { compaction: Some(compaction), ..Default::default() };
        let outcome = match node.propose(request, &Principal::Internal(Why::AutoCompaction)).await {
            // Somebody else compacted as far already.
            Ok(_) | Err(Refusal::Compacted) => Outcome::Done,
            Err(_) => Outcome::Failed,
        };
        schedule.finished(outcome, now_ms());
    }
}
