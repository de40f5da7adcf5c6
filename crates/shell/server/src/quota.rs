//! The quota at the door.
//!
//! Above it a request that grows the store is refused before anything else is looked at, and the alarm
//! is raised (`docs/etcd/observed.md` B). What slips through while others are under way is caught when
//! it is applied.
//!
//! So is such a request where the disk itself is nearly full, without an alarm: that is this member's affair, and over as
//! soon as there is room. The last of a disk belongs to deletions, compactions, cleaning and the logs.
//!
//! The alarm a member raised itself it also takes back, once its store has been well below the quota for
//! a while (docs/decisions/0009-quota-heals.md). The while is long enough for a runbook's own
//! `alarm disarm` to find the alarm it expects.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use auth::{Principal, Why};
use node::{Node, Report};
use proto::etcdserverpb as pb;
use types::Refusal;

/// Refuses what the store has no room for.
///
/// # Errors
/// `NoSpace`.
pub(crate) async fn check(node: &Node, cost: u64) -> Result<(), Refusal> {
    if 0 < cost && node.figures().lacks_room.load(Ordering::Acquire) {
        return Err(Refusal::NoSpace);
    }
    let Some(quota) = node.limits().quota_bytes else { return Ok(()) };
    let size = node.figures().file_bytes.load(Ordering::Acquire);
    if cost == 0 || size + cost < quota {
        return Ok(());
    }
    let member_id = node.member();
    let alarm = apply::NOSPACE;
    let raised = node.cluster().alarms.iter().any(|a| a.member_id == member_id && a.alarm == alarm);
    if !raised {
        node.figures().raised_no_space.store(true, Ordering::Release);
        let action = pb::alarm_request::AlarmAction::Activate as i32;
        let request = pb::AlarmRequest { action, member_id, alarm };
        let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
        // Whether the alarm could be raised or not, there is no room.
        let _ = node.propose(request, &Principal::Internal(Why::Alarm)).await;
    }
    Err(Refusal::NoSpace)
}

/// How long the store must have been well below the quota.
const HEAL_AFTER: Duration = Duration::from_secs(10);
/// How often that is looked at.
const HEAL_INTERVAL: Duration = Duration::from_secs(1);

/// Well below means: under nine tenths.
fn is_well_below(file_bytes: u64, quota_bytes: u64) -> bool {
    file_bytes < quota_bytes / 10 * 9
}

/// Takes back the member's own alarm when there is space again. An alarm that was there when the member
/// started counts as its own: nobody else could have had a reason to raise it.
pub(crate) async fn heal(node: &Node, report: &Arc<dyn Report>) {
    let Some(quota) = node.limits().quota_bytes else { return std::future::pending().await };
    let own = pb::AlarmMember { member_id: node.member(), alarm: apply::NOSPACE };
    let is_raised = || node.cluster().alarms.contains(&own);
    let raised_here = &node.figures().raised_no_space;
    raised_here.fetch_or(is_raised(), Ordering::AcqRel);
    let mut since = None;
    loop {
        tokio::time::sleep(HEAL_INTERVAL).await;
        let size = node.figures().file_bytes.load(Ordering::Acquire);
        if !is_raised() || !raised_here.load(Ordering::Acquire) || !is_well_below(size, quota) {
            since = None;
            continue;
        }
        let began = *since.get_or_insert_with(Instant::now);
        if began.elapsed() < HEAL_AFTER {
            continue;
        }
        since = None;
        let action = pb::alarm_request::AlarmAction::Deactivate as i32;
        let request = pb::AlarmRequest { action, member_id: own.member_id, alarm: own.alarm };
        let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
        if node.propose(request, &Principal::Internal(Why::Alarm)).await.is_ok() {
            raised_here.store(false, Ordering::Release);
            report.has_space_again(size, quota);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_below_the_quota_is_under_nine_tenths_of_it() {
        assert!(is_well_below(0, 1000));
        assert!(is_well_below(899, 1000));
        assert!(!is_well_below(900, 1000));
        assert!(!is_well_below(u64::MAX, u64::MAX));
    }
}
