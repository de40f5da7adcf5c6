//! The leader, as whoever needs it finds it: questions only it can answer, the wait for one to be there, and what a
//! request that took too long is told about it.
//!
//! Not here: what goes through the log, which finds the leader by itself (see `node`).

use std::time::{Duration, Instant};

use apply::Member;
use node::Node;
use types::{MemberId, Refusal};

use crate::desk::Desk;

/// How long it may take until all that was committed when a question came is applied.
const CATCH_UP_DURATION_MAX: Duration = Duration::from_secs(1);

/// How long it is waited between two attempts to reach the leader.
const ASKS_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Election timeouts without a leader after which streams that want one end.
const LEADERLESS_TIMEOUTS_MAX: u32 = 3;

/// Waits until everything is applied that is committed now.
///
/// # Errors
/// `TimeoutWaitAppliedIndex`.
pub(crate) async fn caught_up(node: &Node) -> Result<(), Refusal> {
    let (wanted, began) = (node.standing().committed, Instant::now());
    while node.applied() < wanted {
        if CATCH_UP_DURATION_MAX <= began.elapsed() {
            return Err(Refusal::TimeoutWaitAppliedIndex);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Asks the leader, by any of its URLs, until `ask` has an answer, whoever leads meanwhile.
///
/// # Errors
/// That of the answer; `NoLeader` or `Timeout` when a request's time is up.
pub(crate) async fn ask<T>(
    desk: &Desk,
    ask: impl AsyncFn(&str) -> Option<Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let asking = async {
        loop {
            let leader = wait_for(desk).await?;
            for url in &leader.peer_urls {
                if let Some(answer) = ask(url).await {
                    return answer;
                }
            }
            tokio::time::sleep(ASKS_AGAIN_AFTER).await;
        }
    };
    match tokio::time::timeout(desk.limits().request_timeout, asking).await {
        Ok(answer) => answer,
        Err(_) if desk.standing().leader == 0 => Err(Refusal::NoLeader),
        Err(_) => Err(Refusal::Timeout),
    }
}

/// The leader, once there is one this member knows.
async fn wait_for(desk: &Desk) -> Result<Member, Refusal> {
    loop {
        let cluster = desk.cluster();
        if let Some(leader) = cluster.members.get(desk.standing().leader) {
            return Ok(leader.clone());
        }
        if desk.is_stopping() {
            return Err(Refusal::Stopped);
        }
        tokio::time::sleep(ASKS_AGAIN_AFTER).await;
    }
}

/// Runs a stream. One that wants a leader ends after three election timeouts without, with `NoLeader`.
///
/// The stream's state is boxed, so that it is held once: thousands of streams may be open, and a future that awaits
/// another in two places has room for it in both.
pub(crate) fn while_led(
    node: Node,
    wants_leader: bool,
    stream: impl Future<Output = Result<(), Refusal>> + 'static,
) -> impl Future<Output = Result<(), Refusal>> {
    let mut stream = Box::pin(stream);
    async move {
        if !wants_leader {
            return stream.await;
        }
        tokio::select! {
            ended = &mut stream => ended,
            () = lost(&node) => Err(Refusal::NoLeader),
        }
    }
}

async fn lost(node: &Node) {
    let mut leaderless = 0;
    while leaderless < LEADERLESS_TIMEOUTS_MAX {
        tokio::time::sleep(node.config().election_timeout()).await;
        leaderless = if node.standing().leader == 0 { leaderless + 1 } else { 0 };
    }
}

/// What is known of a leader when a request has waited too long.
pub(crate) struct Outlook<'a> {
    /// This member.
    pub own: MemberId,
    /// Who leads; 0 for nobody.
    pub leader: MemberId,
    /// When this member last heard of a new one.
    pub led_since: Option<Instant>,
    /// An election timeout.
    pub election_timeout: Duration,
    /// All members.
    pub members: &'a [MemberId],
    /// Since when each other member is reached without a break.
    pub active_since: &'a dyn Fn(MemberId) -> Option<Instant>,
}

impl Outlook<'_> {
    /// Why a request that was made at `asked` was not decided in time, as etcd guesses it.
    pub(crate) fn why_late(&self, asked: Instant) -> Refusal {
        let fell = |elected: Instant| {
            // Until two election timeouts before it, the one before may have led.
            let lost = elected.checked_sub(2 * self.election_timeout).unwrap_or(elected);
            lost < asked && asked < elected
        };
        if self.led_since.is_some_and(fell) {
            return Refusal::TimeoutDueToLeaderFail;
        }
        let is_connected = |id| (self.active_since)(id).is_some_and(|since| since < asked);
        let connected = if self.leader == 0 {
            true
        } else if self.leader == self.own {
            let count = self.members.iter().filter(|id| **id == self.own || is_connected(**id));
            self.members.len() / 2 < count.count()
        } else {
            is_connected(self.leader)
        };
        if connected { Refusal::Timeout } else { Refusal::TimeoutDueToConnectionLost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION: Duration = Duration::from_secs(1);

    /// What is said of a request of ten seconds ago, by how many seconds ago the leader was heard of first and the
    /// two others, 2 and 3, were reached.
    fn told(leader: MemberId, led: Option<u64>, reached: [Option<u64>; 2]) -> Refusal {
        let now = Instant::now() + Duration::from_secs(1000);
        let ago = |seconds: u64| now - Duration::from_secs(seconds);
        let since = |id: MemberId| match id {
            2 => reached[0].map(ago),
            3 => reached[1].map(ago),
            _ => None,
        };
        let outlook = Outlook {
            own: 1,
            leader,
            led_since: led.map(ago),
            election_timeout: ELECTION,
            members: &[1, 2, 3],
            active_since: &since,
        };
        outlook.why_late(ago(10))
    }

    #[test]
    fn a_request_that_took_too_long_is_told_what_may_have_happened() {
        let all = [Some(99), Some(99)];
        // A leader came just after it: the one before may have taken it along.
        assert_eq!(told(2, Some(9), all), Refusal::TimeoutDueToLeaderFail);
        assert_eq!(told(1, Some(9), [None, None]), Refusal::TimeoutDueToLeaderFail);
        // Long after, or before.
        assert_eq!(told(2, Some(7), all), Refusal::Timeout);
        assert_eq!(told(2, Some(11), all), Refusal::Timeout);
        // The way to the leader broke since, or is broken.
        assert_eq!(told(2, Some(60), [Some(5), Some(99)]), Refusal::TimeoutDueToConnectionLost);
        assert_eq!(told(2, Some(60), [None, Some(99)]), Refusal::TimeoutDueToConnectionLost);
        // A leader needs a majority, itself included.
        assert_eq!(told(1, Some(60), [None, Some(99)]), Refusal::Timeout);
        assert_eq!(told(1, Some(60), [None, Some(5)]), Refusal::TimeoutDueToConnectionLost);
        // Nobody leads: nothing more is known.
        assert_eq!(told(0, None, [None, None]), Refusal::Timeout);
    }
}
