//! What a member does for its cluster without being asked: it makes itself known, it compacts, and it
//! takes its alarm back when there is space again.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use auth::{Principal, Why};
use member::auto_compaction::{AutoCompaction, Outcome, Retention};
use node::{Event, Node, Report};
use proto::etcdserverpb as pb;
use std::sync::Arc;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use types::Refusal;

use crate::cluster::{Network, tell_name, watch_versions};
use crate::quota;

/// Starts the thread of a member's duties. It ends when `stop` turns true.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(
    node: Node,
    network: Arc<Network>,
    retention: Option<Retention>,
    report: Arc<dyn Report>,
    stop: watch::Receiver<bool>,
    published: watch::Sender<bool>,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    // Made on this thread only to learn of an error now; the real one belongs to its own.
    drop(runtime?);
    std::thread::Builder::new().name("duties".into()).spawn(move || {
        let built = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        if let Ok(runtime) = built {
            runtime.block_on(run(node, network, retention, report, stop, published));
        }
    })
}

async fn run(
    node: Node,
    network: Arc<Network>,
    retention: Option<Retention>,
    report: Arc<dyn Report>,
    mut stop: watch::Receiver<bool>,
    published: watch::Sender<bool>,
) {
    let work = async {
        let publish = async {
            publish(&node, &network).await;
            report.report(Event::Published);
            let _ = published.send(true);
        };
        let compact = async {
            if let Some(retention) = retention {
                compact(&node, retention).await;
            }
        };
        let versions = watch_versions(&node, &network);
        tokio::join!(publish, quota::heal(&node, &report), compact, versions);
    };
    tokio::select! {
        () = work => {}
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
