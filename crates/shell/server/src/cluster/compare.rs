//! Members compare what they store: once before one takes part again, and while one leads, from time to time.
//!
//! Not here: what the answers mean (see `corruption`), what an alarm forbids (see `apply`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apply::{CORRUPT, Members, ReadView};
use auth::{Principal, Why};
use mvcc::{CompactionHashes, HashAnswer, HashTriple};
use node::{Level, Line, Node, Opened, Report};
use peer::Asker;
use proto::etcdserverpb as pb;
use types::{MemberId, Refusal};

use super::corruption::{self, Answered, Leading, Verdict};
use crate::desk::Desk;
use crate::services::hash_at;

/// Why a member does not take part.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// It stores something else than another member.
    #[error("{0:x} found data inconsistency with peers")]
    Inconsistent(MemberId),
    /// What it stores cannot be read.
    #[error("{0:x} failed to fetch hash ({1})")]
    Unreadable(MemberId, String),
    /// The system gives no event queue.
    #[error("others cannot be asked")]
    Runtime(#[source] std::io::Error),
}

fn say(
    report: &dyn Report,
    level: Level,
    text: &'static str,
    fields: &[(&'static str, go::Value)],
) {
    report.line(&Line { level, text, fields: fields.to_vec() });
}

/// Compares what a member stores with the others, before it is one of them again. Whoever does not answer does not
/// count.
///
/// # Errors
/// [`CompareError`].
pub(crate) fn check_first(
    opened: &Opened,
    asker: &Asker,
    report: &dyn Report,
) -> Result<(), CompareError> {
    let local = opened.member();
    let id = ("local-member-id", format!("{local:x}").into());
    say(report, Level::Info, "starting initial corruption check", std::slice::from_ref(&id));
    let own = hash_now(&opened.view()).map_err(|why| CompareError::Unreadable(local, why))?;
    let (members, cluster) = (opened.members(), opened.cluster_id());
    let asking = ask(asker, &members, cluster, own.revision);
    let others = Asker::block_on(asking).map_err(CompareError::Runtime)?;
    let (verdict, differs) = corruption::judge_first(local, own, &others);
    verdict.lines.iter().for_each(|line| report.line(line));
    if differs {
        let error = CompareError::Inconsistent(local);
        say(
            report,
            Level::Error,
            "checkInitialHashKV failed",
            &[("error", error.to_string().into())],
        );
        return Err(error);
    }
    say(report, Level::Info, "initial corruption checking passed; no corruption", &[id]);
    Ok(())
}

/// Reads everything a member stores; the error is what cannot be read.
pub(crate) fn read_all(opened: &Opened) -> Result<(), String> {
    hash_now(&opened.view()).map(drop)
}

fn hash_now(view: &ReadView) -> Result<HashTriple, String> {
    let answer = view.index.hash_kv(0, &CompactionHashes::new());
    match answer.map_err(|refusal| refusal.message().to_owned())? {
        HashAnswer::Stored(triple) => Ok(triple),
        HashAnswer::Compute(hasher) => Node::hash(view, hasher).map_err(|why| why.to_string()),
    }
}

/// Asks all others for their hash at a revision, at once.
async fn ask(asker: &Asker, members: &Members, cluster: u64, revision: i64) -> Vec<Answered> {
    let others = members.members().filter(|member| member.id != members.own());
    let asked = others.map(|member| async move {
        let mut hash = Err("it has no peer URL".to_owned());
        for url in &member.peer_urls {
            hash = asker.hash_kv(url, cluster, revision).await.map_err(|why| why.to_string());
            if hash.is_ok() {
                break;
            }
        }
        Answered { member: member.id, peer_urls: member.peer_urls.clone(), hash }
    });
    futures_util::future::join_all(asked).await
}

/// A leader's comparisons, as long as this member lives.
pub(crate) struct Comparing {
    pub desk: Desk,
    pub report: Arc<dyn Report>,
    /// How often the newest data is compared; `None` for never.
    pub newest_every: Option<Duration>,
    /// How often hashes of compactions are; `None` for never.
    pub compactions_every: Option<Duration>,
}

impl Comparing {
    /// Compares the newest data whenever it is time to.
    pub async fn newest(&self) {
        let Some(every) = self.newest_every else { return };
        let fields = [self.id(), ("interval", format!("{every:?}").into())];
        say(&*self.report, Level::Info, "enabled corruption checking", &fields);
        loop {
            tokio::time::sleep(every).await;
            if !self.desk.node().is_leader() {
                continue;
            }
            if let Err(refusal) = self.compare_newest().await {
                let error = [("error", refusal.message().into())];
                say(&*self.report, Level::Warn, "failed to check hash KV", &error);
            }
        }
    }

    /// Compares the hashes that compactions leave behind, whenever it is time to.
    pub async fn compactions(&self) {
        let Some(every) = self.compactions_every else { return };
        // The newest compaction after which everybody had the same.
        let mut agreed = 0;
        loop {
            tokio::time::sleep(every).await;
            if self.desk.node().is_leader() {
                self.compare_compactions(&mut agreed).await;
            }
        }
    }

    fn id(&self) -> (&'static str, go::Value) {
        ("local-member-id", format!("{:x}", self.desk.member()).into())
    }

    async fn ask(&self, revision: i64) -> Vec<Answered> {
        let cluster = self.desk.cluster();
        let id = self.desk.node().cluster_id();
        ask(&self.desk.network().asker, &cluster.members, id, revision).await
    }

    async fn compare_newest(&self) -> Result<(), Refusal> {
        let (_, before) = hash_at(&self.desk, 0).await?;
        let others = self.ask(before.revision).await;
        self.desk.barrier().await?;
        let view = self.desk.node().view();
        let now = (view.index.current_revision(), view.index.compact_revision());
        drop(view);
        let again = match now == (before.revision, before.compact_revision) {
            true => Some(hash_at(&self.desk, 0).await?.1).filter(|it| it.revision == now.0),
            false => None,
        };
        let again = again.filter(|it| it.compact_revision == before.compact_revision);
        let leading = Leading { member: self.desk.member(), before, again, now };
        self.act_on(corruption::judge_newest(leading, &others)).await;
        Ok(())
    }

    async fn compare_compactions(&self, agreed: &mut i64) {
        say(&*self.report, Level::Info, "starting compact hash check", &[self.id()]);
        let hashes = self.desk.compaction_hashes();
        let mut checked = 0_usize;
        let since = *agreed;
        for own in hashes.newest_first().filter(|triple| since < triple.revision) {
            let others = self.ask(own.revision).await;
            if others.is_empty() {
                continue;
            }
            checked += 1;
            let (verdict, done) = corruption::judge_compaction(self.desk.member(), own, &others);
            if done && verdict.alarms.is_empty() {
                *agreed = own.revision;
            }
            self.act_on(verdict).await;
            if done {
                break;
            }
        }
        let count = [("number-of-hashes-checked", checked.into())];
        say(&*self.report, Level::Info, "finished compaction hash check", &count);
    }

    /// Says what was found, and raises alarms that are not raised yet, through the log.
    async fn act_on(&self, verdict: Verdict) {
        verdict.lines.iter().for_each(|line| self.report.line(line));
        let raised = self.desk.cluster().alarms.clone();
        for member_id in BTreeSet::from_iter(verdict.alarms) {
            if raised.contains(&pb::AlarmMember { member_id, alarm: CORRUPT }) {
                continue;
            }
            let action = pb::alarm_request::AlarmAction::Activate as i32;
            let request = pb::AlarmRequest { action, member_id, alarm: CORRUPT };
            let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
            // If it cannot be raised now, the next comparison tries again.
            let _ = self.desk.node().propose(request, &Principal::Internal(Why::Alarm)).await;
        }
    }
}
