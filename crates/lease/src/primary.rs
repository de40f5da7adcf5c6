//! The lessor's timing half: what only the primary does.

use planted::planted;
use types::LeaseId;

use crate::deadlines::{Deadlines, spread};
use crate::lessor::{Checkpoint, Effect, KeepAlive, Lease, Lessor, TimeToLive};

impl Lessor {
    /// Whether this member decides when leases end.
    pub fn is_primary(&self) -> bool {
        self.deadlines.is_some()
    }

    /// This member became leader. Every lease gets what was left of it at its last checkpoint (or
    /// all of it) and `extend_ms`, the election timeout, because keep-alives could not arrive while
    /// there was no leader. More than 1,000 leases that would end together are spread out.
    pub fn promote(&mut self, extend_ms: u64, now_ms: u64) {
        let base_ms = now_ms + extend_ms;
        let mut order: Vec<(u64, LeaseId)> = self
            .iter()
            .map(|lease| (base_ms.saturating_add(milliseconds(lease.left_seconds())), lease.id))
            .collect();
        order.sort_unstable();
        let mut ends_ms: Vec<u64> = order.iter().map(|(ends_at_ms, _)| *ends_at_ms).collect();
        if self.options.revokes_per_second_max <= ends_ms.len() {
            // Three quarters of the rate at which revokes are proposed, which leaves room for those
            // of leases granted since.
            spread(&mut ends_ms, (self.options.revokes_per_second_max * 3 / 4).max(1));
        }
        let mut deadlines = Deadlines::default();
        for ((_, id), ends_at_ms) in order.iter().zip(ends_ms) {
            deadlines.set(*id, ends_at_ms);
        }
        self.deadlines = Some(deadlines);
        for (_, id) in order {
            let lease = self.leases[&id].lease;
            self.plan_checkpoint(id, lease.left_seconds(), now_ms);
        }
    }

    /// This member is no longer leader: nothing expires here any more.
    pub fn demote(&mut self) {
        self.deadlines = None;
    }

    /// Starts a lease's time over.
    pub fn keep_alive(&mut self, id: LeaseId, now_ms: u64) -> KeepAlive {
        let Some(deadlines) = &mut self.deadlines else {
            return KeepAlive::NotPrimary;
        };
        let Some(held) = self.leases.get(&id) else {
            return KeepAlive::NotFound;
        };
        let (lease, proposed) = (held.lease, held.checkpoint_proposed);
        let ends_at_ms = deadlines.of(id).expect("the primary has a deadline for each lease");
        if ends_at_ms <= now_ms {
            // Its revoke may be in the log already: renewing now would promise what cannot be kept.
            return KeepAlive::Expired;
        }
        // What a promotion added on top is over with it: the client is there, and when it dies its
        // keys must go after the time it asked for.
        if !planted!("keep-alive without effect") {
            deadlines.set(id, now_ms.saturating_add(milliseconds(lease.ttl_seconds)));
        }
        self.plan_checkpoint(id, lease.ttl_seconds, now_ms);
        self.renewed += 1;
        let is_stale = self.options.checkpoints && (0 < lease.remaining_seconds || proposed);
        let clear = is_stale.then_some(Checkpoint { id, remaining_seconds: 0 });
        KeepAlive::Renewed { ttl_seconds: lease.ttl_seconds, clear }
    }

    /// What is left of a lease; `None` if there is none. Only the primary knows (a follower
    /// forwards): elsewhere the whole time to live is reported.
    pub fn time_to_live(&self, id: LeaseId, now_ms: u64) -> Option<TimeToLive> {
        let lease = self.lease(id)?;
        let granted_seconds = lease.ttl_seconds;
        let Some(deadlines) = &self.deadlines else {
            return Some(TimeToLive { remaining_seconds: granted_seconds, granted_seconds });
        };
        let ends_at_ms = deadlines.of(id).expect("the primary has a deadline for each lease");
        let left_ms = i128::from(ends_at_ms) - i128::from(now_ms);
        let remaining_seconds = i64::try_from(left_ms / 1000).unwrap_or(granted_seconds);
        Some(TimeToLive { remaining_seconds, granted_seconds })
    }

    /// All leases, the one that ends first before the others; by id where no deadlines are known.
    pub fn by_remaining_time(&self) -> Vec<LeaseId> {
        let mut ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        if let Some(deadlines) = &self.deadlines {
            ids.sort_by_cached_key(|id| deadlines.of(*id));
        }
        ids
    }

    /// Lets time pass and returns what is due; every 100 to 500 ms is fine.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
        let per_second = self.options.revokes_per_second_max;
        let retry_ms = self.options.revoke_retry_ms;
        let Some(deadlines) = &mut self.deadlines else {
            return Vec::new();
        };
        let due = deadlines.due_revokes(now_ms, per_second, retry_ms);
        self.expired += due.len() as u64;
        let mut effects: Vec<Effect> =
            due.into_iter().map(|lease| Effect::ProposeRevoke { lease }).collect();
        let checkpoints = self.due_checkpoints(now_ms);
        if !checkpoints.is_empty() {
            effects.push(Effect::ProposeCheckpoints(checkpoints));
        }
        effects
    }

    /// A lease was granted: its time starts, if this member is to watch it.
    pub(crate) fn start(&mut self, lease: Lease, now_ms: u64) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.set(lease.id, now_ms.saturating_add(milliseconds(lease.ttl_seconds)));
            self.plan_checkpoint(lease.id, lease.ttl_seconds, now_ms);
        }
    }

    /// Sets when to checkpoint a lease of which `left_seconds` are left: only long ones are worth
    /// an entry in everybody's log.
    pub(crate) fn plan_checkpoint(&mut self, id: LeaseId, left_seconds: i64, now_ms: u64) {
        let interval_ms = self.options.checkpoint_interval_ms;
        let is_long = self.options.checkpoints && interval_ms < milliseconds(left_seconds);
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.set_checkpoint(id, is_long.then_some(now_ms + interval_ms));
        }
    }

    fn due_checkpoints(&mut self, now_ms: u64) -> Vec<Checkpoint> {
        let mut due = Vec::new();
        while due.len() < self.options.checkpoints_per_batch_max {
            let Some(deadlines) = &self.deadlines else {
                break;
            };
            let Some(id) = deadlines.due_checkpoint(now_ms) else {
                break;
            };
            let ends_at_ms = deadlines.of(id).expect("an alarm belongs to a lease");
            let left_ms = ends_at_ms.saturating_sub(now_ms);
            let remaining_seconds = i64::try_from(left_ms.div_ceil(1000)).unwrap_or(i64::MAX);
            // Planned again at once, should the proposal be lost. Its application plans it anew.
            self.plan_checkpoint(id, remaining_seconds, now_ms);
            let ttl_seconds = self.leases[&id].lease.ttl_seconds;
            if 0 < left_ms && remaining_seconds < ttl_seconds {
                due.push(Checkpoint { id, remaining_seconds });
                if let Some(held) = self.leases.get_mut(&id) {
                    held.checkpoint_proposed = true;
                }
            }
        }
        due
    }
}

/// A time to live may come from a store written by others: any number is possible.
fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessor::Options;

    fn primary(options: Options) -> Lessor {
        let mut lessor = Lessor::new(options, []);
        lessor.promote(1000, 0);
        lessor
    }

    fn granted(lessor: &mut Lessor, id: LeaseId, ttl_seconds: i64, now_ms: u64) {
        lessor.grant(id, ttl_seconds, now_ms).expect("a new id and a sound time to live");
    }

    const fn revoke(lease: LeaseId) -> Effect {
        Effect::ProposeRevoke { lease }
    }

    fn renewed(ttl_seconds: i64) -> KeepAlive {
        KeepAlive::Renewed { ttl_seconds, clear: None }
    }

    #[test]
    fn a_renewal_clears_a_checkpoint_that_is_on_its_way() {
        let options =
            Options { checkpoints: true, checkpoint_interval_ms: 1000, ..Options::new(1) };
        let mut lessor = Lessor::new(options, []);
        lessor.promote(0, 0);
        lessor.grant(7, 10, 0).expect("a new lease");
        let proposed = Checkpoint { id: 7, remaining_seconds: 9 };
        assert_eq!(lessor.tick(1000), [Effect::ProposeCheckpoints(vec![proposed])]);
        // It will be applied after this renewal, whose lease must not end by it.
        let clear = Some(Checkpoint { id: 7, remaining_seconds: 0 });
        assert_eq!(lessor.keep_alive(7, 1100), KeepAlive::Renewed { ttl_seconds: 10, clear });
    }

    #[test]
    fn a_lease_that_is_kept_alive_outlives_its_first_deadline() {
        let mut lessor = primary(Options::new(2));
        granted(&mut lessor, 7, 10, 0);
        assert_eq!(lessor.keep_alive(7, 9_999), renewed(10));
        assert_eq!(lessor.tick(19_998), []);
        assert_eq!(lessor.tick(19_999), [revoke(7)]);
    }

    #[test]
    fn an_expired_lease_cannot_be_renewed_and_is_gone_once_its_revoke_is_applied() {
        let mut lessor = primary(Options::new(2));
        granted(&mut lessor, 7, 10, 0);
        assert_eq!(lessor.keep_alive(7, 10_000), KeepAlive::Expired);
        let left = TimeToLive { remaining_seconds: -2, granted_seconds: 10 };
        assert_eq!(lessor.time_to_live(7, 12_500), Some(left));
        lessor.revoke(7).expect("it is there until the revoke");
        assert_eq!(lessor.keep_alive(7, 12_500), KeepAlive::NotFound);
        assert_eq!(lessor.time_to_live(7, 12_500), None);
        assert_eq!(lessor.tick(99_999), []);
    }

    #[test]
    fn a_revoke_that_got_lost_is_proposed_again() {
        let mut lessor = primary(Options::new(2));
        granted(&mut lessor, 7, 10, 0);
        assert_eq!(lessor.tick(10_000), [revoke(7)]);
        assert_eq!(lessor.tick(12_999), []);
        assert_eq!(lessor.tick(13_000), [revoke(7)]);
    }

    #[test]
    fn only_the_primary_lets_leases_expire() {
        let mut lessor = Lessor::new(Options::new(2), []);
        granted(&mut lessor, 7, 10, 0);
        assert_eq!(lessor.keep_alive(7, 1), KeepAlive::NotPrimary);
        assert_eq!(lessor.tick(1 << 40), []);
        lessor.promote(1000, 1 << 40);
        assert_eq!(lessor.tick((1 << 40) + 10_999), []);
        lessor.demote();
        assert_eq!(lessor.tick(1 << 41), []);
    }

    #[test]
    fn a_new_primary_starts_each_lease_over_plus_an_election() {
        let mut lessor = Lessor::new(Options::new(2), []);
        granted(&mut lessor, 7, 10, 0);
        granted(&mut lessor, 8, 600, 0);
        lessor.checkpoint(Checkpoint { id: 8, remaining_seconds: 5 }, 0);
        lessor.promote(1000, 100_000);
        assert_eq!(lessor.by_remaining_time(), [8, 7]);
        assert_eq!(lessor.tick(105_999), []);
        assert_eq!(lessor.tick(106_000), [revoke(8)]);
        assert_eq!(lessor.tick(110_999), [revoke(8)]);
        assert_eq!(lessor.tick(111_000), [revoke(7)]);
    }

    #[test]
    fn no_more_than_a_thousand_revokes_are_proposed_in_a_second() {
        let mut lessor = primary(Options::new(2));
        for id in 1..=5000 {
            granted(&mut lessor, id, 10, 0);
        }
        let mut proposed = Vec::new();
        for now_ms in (10_000..20_000).step_by(100) {
            for effect in lessor.tick(now_ms) {
                let Effect::ProposeRevoke { lease } = effect else {
                    panic!("nothing else is due");
                };
                lessor.revoke(lease).expect("proposed once");
                proposed.push(now_ms);
            }
        }
        assert_eq!(proposed.len(), 5000);
        for window in proposed.windows(1001) {
            assert!(window[0] + 1000 <= window[1000]);
        }
    }

    fn checkpoint(id: LeaseId, remaining_seconds: i64) -> Checkpoint {
        Checkpoint { id, remaining_seconds }
    }

    #[test]
    fn a_long_lease_is_checkpointed_every_five_minutes_and_a_renewal_clears_it() {
        let mut lessor = primary(Options { checkpoints: true, ..Options::new(2) });
        granted(&mut lessor, 7, 1000, 0);
        assert_eq!(lessor.tick(299_999), []);
        let first = Effect::ProposeCheckpoints(vec![checkpoint(7, 700)]);
        assert_eq!(lessor.tick(300_000), [first]);
        let row = lessor.checkpoint(checkpoint(7, 700), 300_100);
        assert_eq!(row, Some(Lease { id: 7, ttl_seconds: 1000, remaining_seconds: 700 }));

        let second = Effect::ProposeCheckpoints(vec![checkpoint(7, 400)]);
        assert_eq!(lessor.tick(600_100), [second]);
        let clear = Some(checkpoint(7, 0));
        let clearing = KeepAlive::Renewed { ttl_seconds: 1000, clear };
        assert_eq!(lessor.keep_alive(7, 600_200), clearing);
        lessor.checkpoint(checkpoint(7, 0), 600_300);
        assert_eq!(lessor.keep_alive(7, 600_400), renewed(1000));
    }

    #[test]
    fn a_checkpoint_that_got_lost_is_proposed_again_and_a_short_lease_has_none() {
        let mut lessor = primary(Options { checkpoints: true, ..Options::new(2) });
        granted(&mut lessor, 7, 1000, 0);
        granted(&mut lessor, 8, 300, 0);
        let first = Effect::ProposeCheckpoints(vec![checkpoint(7, 700)]);
        assert_eq!(lessor.tick(300_000), [revoke(8), first]);
        lessor.revoke(8).expect("it is there");
        let again = Effect::ProposeCheckpoints(vec![checkpoint(7, 400)]);
        assert_eq!(lessor.tick(600_000), [again]);
        assert_eq!(lessor.checkpoint(checkpoint(9, 1), 0), None);
    }

    #[test]
    fn checkpoints_travel_a_thousand_at_a_time() {
        let mut lessor = primary(Options { checkpoints: true, ..Options::new(2) });
        for id in 1..=2500 {
            granted(&mut lessor, id, 1000, 0);
        }
        let sizes: Vec<usize> = (300_000..300_005)
            .flat_map(|now_ms| lessor.tick(now_ms))
            .map(|effect| match effect {
                Effect::ProposeCheckpoints(batch) => batch.len(),
                Effect::ProposeRevoke { .. } => panic!("nothing expires yet"),
            })
            .collect();
        assert_eq!(sizes, [1000, 1000, 500]);
    }

    #[test]
    fn a_mass_of_leases_does_not_end_in_one_second_after_a_promotion() {
        let leases = (1..=10_000).map(|id| Lease { id, ttl_seconds: 60, remaining_seconds: 0 });
        let mut lessor = Lessor::new(Options::new(2), leases);
        lessor.promote(1000, 0);
        let mut ends: Vec<u64> = (1..=10_000)
            .map(|id| lessor.deadlines.as_ref().expect("promoted").of(id).expect("known"))
            .collect();
        ends.sort_unstable();
        assert_eq!(ends[0], 61_000);
        assert!(ends.windows(751).all(|window| window[0] + 1000 <= window[750]));
    }

    #[test]
    fn a_year_of_keep_alives_passes_in_no_time_and_ends_on_the_second() {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        let mut lessor = primary(Options::new(2));
        granted(&mut lessor, 7, 3600, 0);
        let mut now_ms = 0;
        while now_ms < 365 * DAY_MS {
            now_ms += 1_800_000;
            assert_eq!(lessor.tick(now_ms), []);
            assert_eq!(lessor.keep_alive(7, now_ms), renewed(3600));
        }
        assert_eq!(lessor.tick(now_ms + 3_599_999), []);
        assert_eq!(lessor.tick(now_ms + 3_600_000), [revoke(7)]);
    }

    #[test]
    fn the_longest_lease_and_a_nonsense_row_do_not_overflow() {
        let rows = [(1, i64::MAX), (2, i64::MIN)].map(|(id, ttl_seconds)| Lease {
            id,
            ttl_seconds,
            remaining_seconds: i64::MAX,
        });
        let mut lessor = Lessor::new(Options { checkpoints: true, ..Options::new(2) }, rows);
        lessor.promote(1000, u64::MAX / 4);
        granted(&mut lessor, 3, 9_000_000_000, u64::MAX / 4);
        let left = TimeToLive { remaining_seconds: 9_000_000_000, granted_seconds: 9_000_000_000 };
        assert_eq!(lessor.time_to_live(3, u64::MAX / 4), Some(left));
        lessor.tick(u64::MAX / 2);
        lessor.keep_alive(1, u64::MAX / 2);
    }
}
