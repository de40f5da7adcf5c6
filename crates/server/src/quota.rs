//! The quota at the door.
//!
//! Above it a request that grows the store is refused before anything else is looked at, and the alarm
//! is raised (`reference/observed.md` B). What slips through while others are under way is caught when
//! it is applied.

use std::sync::atomic::Ordering;

use node::Node;
use proto::etcdserverpb as pb;
use types::Refusal;

/// Refuses what the store has no room for.
///
/// # Errors
/// `NoSpace`.
pub(crate) async fn check(node: &Node, cost: u64) -> Result<(), Refusal> {
    let Some(quota) = node.limits().quota_bytes else { return Ok(()) };
    let size = node.figures().file_bytes.load(Ordering::Acquire);
    if cost == 0 || size + cost < quota {
        return Ok(());
    }
    let member_id = node.member();
    let alarm = apply::NOSPACE;
    let raised = node.cluster().alarms.iter().any(|a| a.member_id == member_id && a.alarm == alarm);
    if !raised {
        let action = pb::alarm_request::AlarmAction::Activate as i32;
        let request = pb::AlarmRequest { action, member_id, alarm };
        let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
        // Whether the alarm could be raised or not, there is no room.
        let _ = node.propose(request).await;
    }
    Err(Refusal::NoSpace)
}
