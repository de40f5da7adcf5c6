//! When leases end: the book of the one member that leads.
//!
//! A [`Primary`] is made with the first entry of a term that this member leads and dropped when the term is lost.
//! Nobody else can answer a keep-alive or let a lease expire, and what it proposes is good for its term only: of a
//! deposed leader whose clock ran on, nothing is left to act.

use std::collections::BTreeSet;

use planted::planted;
use types::LeaseId;

use crate::deadlines::Deadlines;
use crate::leases::Leases;
use crate::promotion::Promotion;
use crate::words::{Checkpoint, Effect, KeepAlive, Lease, Options, TimeToLive, milliseconds};

/// What the leader of a term knows of when leases end.
#[derive(Debug)]
pub struct Primary {
    term: u64,
    options: Options,
    deadlines: Deadlines,
    /// From when on leases run that nothing was heard of since: the promotion, and an election on top.
    base_ms: u64,
    promotion: Option<Promotion>,
    /// Leases of which a checkpoint was proposed and not applied yet: it may be applied after a renewal, which then
    /// has to clear it.
    checkpointing: BTreeSet<LeaseId>,
}

impl Primary {
    /// This member became leader. Every lease gets what was left of it at its last checkpoint (or all of it) and
    /// `extend_ms`, the election timeout, because keep-alives could not arrive while there was no leader. More than
    /// 1,000 leases that would end together are spread out. Call [`Primary::step`] until it is through.
    pub fn new(options: Options, term: u64, extend_ms: u64, now_ms: u64) -> Primary {
        let base_ms = now_ms.saturating_add(extend_ms);
        Primary {
            term,
            options,
            deadlines: Deadlines::default(),
            base_ms,
            promotion: Some(Promotion::new(base_ms)),
            checkpointing: BTreeSet::new(),
        }
    }

    /// The term it leads in.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Gives `budget` leases their first deadlines; says whether others have none yet. Until then they do not
    /// expire, and can be kept alive like any other.
    pub fn step(&mut self, leases: &Leases, budget: usize, now_ms: u64) -> bool {
        let Some(promotion) = &mut self.promotion else { return false };
        let step = promotion.step(leases, self.options.revokes_per_second_max, budget);
        if !step.more {
            self.promotion = None;
        }
        for (id, ends_at_ms) in step.ends {
            let Some(lease) = leases.lease(id) else { continue };
            if self.deadlines.of(id).is_none() {
                self.deadlines.set(id, ends_at_ms);
                self.plan_checkpoint(id, lease.left_seconds(), now_ms);
            }
        }
        step.more
    }

    /// A lease was granted: its time starts.
    pub fn granted(&mut self, lease: &Lease, now_ms: u64) {
        self.deadlines.set(lease.id, now_ms.saturating_add(milliseconds(lease.ttl_seconds)));
        self.plan_checkpoint(lease.id, lease.ttl_seconds, now_ms);
    }

    /// A lease is gone.
    pub fn revoked(&mut self, id: LeaseId) {
        self.deadlines.forget(id);
        self.checkpointing.remove(&id);
    }

    /// A checkpoint of a lease was applied.
    pub fn checkpointed(&mut self, lease: &Lease, now_ms: u64) {
        self.checkpointing.remove(&lease.id);
        self.plan_checkpoint(lease.id, lease.left_seconds(), now_ms);
    }

    /// Starts a lease's time over.
    pub fn keep_alive(&mut self, leases: &Leases, id: LeaseId, now_ms: u64) -> KeepAlive {
        let Some(lease) = leases.lease(id) else {
            return KeepAlive::NotFound;
        };
        if self.end_of(&lease) <= now_ms {
            // Its revoke may be in the log already: renewing now would promise what cannot be kept.
            return KeepAlive::Expired;
        }
        // What a promotion added on top is over with it: the client is there, and when it dies its
        // keys must go after the time it asked for.
        if !planted!("keep-alive without effect") {
            let ends_at_ms = now_ms.saturating_add(milliseconds(lease.ttl_seconds));
            self.deadlines.set(id, ends_at_ms);
        }
        self.plan_checkpoint(id, lease.ttl_seconds, now_ms);
        let proposed = self.checkpointing.contains(&id);
        let is_stale = self.options.checkpoints && (0 < lease.remaining_seconds || proposed);
        let clear = is_stale.then_some(Checkpoint { id, remaining_seconds: 0 });
        KeepAlive::Renewed { ttl_seconds: lease.ttl_seconds, clear }
    }

    /// What is left of a lease; `None` if there is none.
    pub fn time_to_live(&self, leases: &Leases, id: LeaseId, now_ms: u64) -> Option<TimeToLive> {
        let lease = leases.lease(id)?;
        let granted_seconds = lease.ttl_seconds;
        let left_ms = i128::from(self.end_of(&lease)) - i128::from(now_ms);
        let remaining_seconds = i64::try_from(left_ms / 1000).unwrap_or(granted_seconds);
        Some(TimeToLive { remaining_seconds, granted_seconds })
    }

    /// All leases, the one that ends first before the others.
    pub fn by_remaining_time(&self, leases: &Leases) -> Vec<LeaseId> {
        let mut ends: Vec<(u64, LeaseId)> =
            leases.iter().map(|lease| (self.end_of(&lease), lease.id)).collect();
        ends.sort_unstable();
        ends.into_iter().map(|(_, id)| id).collect()
    }

    /// Lets time pass and returns what is due; every 100 to 500 ms is fine.
    pub fn tick(&mut self, leases: &Leases, now_ms: u64) -> Vec<Effect> {
        let per_second = self.options.revokes_per_second_max;
        let due = self.deadlines.due_revokes(now_ms, per_second, self.options.revoke_retry_ms);
        let mut effects: Vec<Effect> =
            due.into_iter().map(|lease| Effect::ProposeRevoke { lease }).collect();
        let checkpoints = self.due_checkpoints(leases, now_ms);
        if !checkpoints.is_empty() {
            effects.push(Effect::ProposeCheckpoints(checkpoints));
        }
        effects
    }

    /// When a lease ends, in milliseconds.
    pub fn end_of(&self, lease: &Lease) -> u64 {
        self.deadlines.of(lease.id).unwrap_or_else(|| Promotion::end_of(self.base_ms, lease))
    }

    /// Sets when to checkpoint a lease of which `left_seconds` are left: only long ones are worth
    /// an entry in everybody's log.
    fn plan_checkpoint(&mut self, id: LeaseId, left_seconds: i64, now_ms: u64) {
        let interval_ms = self.options.checkpoint_interval_ms;
        let is_long = self.options.checkpoints && interval_ms < milliseconds(left_seconds);
        self.deadlines.set_checkpoint(id, is_long.then_some(now_ms.saturating_add(interval_ms)));
    }

    fn due_checkpoints(&mut self, leases: &Leases, now_ms: u64) -> Vec<Checkpoint> {
        let mut due = Vec::new();
        while due.len() < self.options.checkpoints_per_batch_max {
            let Some(id) = self.deadlines.due_checkpoint(now_ms) else {
                break;
            };
            let ends_at_ms = self.deadlines.of(id).expect("an alarm belongs to a lease");
            let left_ms = ends_at_ms.saturating_sub(now_ms);
            let remaining_seconds = i64::try_from(left_ms.div_ceil(1000)).unwrap_or(i64::MAX);
            // Planned again at once, should the proposal be lost. Its application plans it anew.
            self.plan_checkpoint(id, remaining_seconds, now_ms);
            let granted = leases.lease(id).map_or(0, |lease| lease.ttl_seconds);
            if 0 < left_ms && remaining_seconds < granted {
                due.push(Checkpoint { id, remaining_seconds });
                self.checkpointing.insert(id);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both halves, as a member that leads holds them.
    struct Lessor {
        leases: Leases,
        primary: Primary,
    }

    impl Lessor {
        fn new(options: Options, leases: impl IntoIterator<Item = Lease>) -> Lessor {
            let leases = Leases::new(options.ttl_seconds_min, leases);
            Lessor { leases, primary: Primary::new(options, 1, 0, 0) }
        }

        fn promote(&mut self, extend_ms: u64, now_ms: u64) {
            let term = self.primary.term() + 1;
            self.primary = Primary::new(self.primary.options.clone(), term, extend_ms, now_ms);
            while self.primary.step(&self.leases, 100, now_ms) {}
        }

        fn revoke(&mut self, id: LeaseId) {
            self.leases.revoke(id).expect("it is there");
            self.primary.revoked(id);
        }

        fn checkpoint(&mut self, checkpoint: Checkpoint, now_ms: u64) -> Option<Lease> {
            let lease = self.leases.checkpoint(checkpoint)?;
            self.primary.checkpointed(&lease, now_ms);
            Some(lease)
        }

        fn keep_alive(&mut self, id: LeaseId, now_ms: u64) -> KeepAlive {
            self.primary.keep_alive(&self.leases, id, now_ms)
        }

        fn time_to_live(&self, id: LeaseId, now_ms: u64) -> Option<TimeToLive> {
            self.primary.time_to_live(&self.leases, id, now_ms)
        }

        fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
            self.primary.tick(&self.leases, now_ms)
        }
    }

    fn primary(options: Options) -> Lessor {
        let mut lessor = Lessor::new(options, []);
        lessor.promote(1000, 0);
        lessor
    }

    fn granted(lessor: &mut Lessor, id: LeaseId, ttl_seconds: i64, now_ms: u64) {
        let lease = lessor.leases.grant(id, ttl_seconds).expect("a new id and a sound time");
        lessor.primary.granted(&lease, now_ms);
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
        granted(&mut lessor, 7, 10, 0);
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
        lessor.revoke(7);
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
    fn a_new_primary_starts_each_lease_over_plus_an_election() {
        let mut lessor = Lessor::new(Options::new(2), []);
        granted(&mut lessor, 7, 10, 0);
        granted(&mut lessor, 8, 600, 0);
        lessor.checkpoint(Checkpoint { id: 8, remaining_seconds: 5 }, 0);
        lessor.promote(1000, 100_000);
        assert_eq!(lessor.primary.by_remaining_time(&lessor.leases), [8, 7]);
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
                lessor.revoke(lease);
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
        lessor.revoke(8);
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
        let mut ends: Vec<u64> =
            (1..=10_000).map(|id| lessor.primary.deadlines.of(id).expect("known")).collect();
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

    #[test]
    fn leases_that_were_not_looked_at_yet_are_kept_alive_and_end_like_any_other() {
        let lease = |id| Lease { id, ttl_seconds: 60, remaining_seconds: 0 };
        let mut leases = Leases::new(2, (1..=1000).map(lease));
        let mut primary = Primary::new(Options::new(2), 5, 1000, 0);
        assert!(primary.step(&leases, 10, 0), "ten of a thousand");
        // One is kept alive, one is granted, one goes, and time passes, all before their turn.
        assert_eq!(primary.keep_alive(&leases, 500, 50_000), renewed(60));
        let late = leases.grant(2000, 60).expect("a new lease");
        primary.granted(&late, 50_000);
        leases.revoke(600).expect("it is there");
        primary.revoked(600);
        let left = primary.time_to_live(&leases, 700, 50_000).expect("it is there");
        assert_eq!(left.remaining_seconds, 11);
        assert_eq!(primary.tick(&leases, 60_999), []);
        assert_eq!(primary.keep_alive(&leases, 701, 61_000), KeepAlive::Expired);
        let mut steps = 0;
        while primary.step(&leases, 10, 61_000) {
            steps += 1;
        }
        assert!(150 < steps, "{steps} steps");
        let ends = |id| primary.deadlines.of(id);
        let of = [1, 500, 600, 2000].map(ends);
        assert_eq!(of, [Some(61_000), Some(110_000), None, Some(110_000)]);
        assert_eq!(leases.iter().filter(|lease| ends(lease.id).is_none()).count(), 0);
    }
}
