//! Members that are replaced, and learners that come, are promoted and go, while everybody writes.

use std::thread::sleep;
use std::time::{Duration, Instant};

use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberRemoveRequest,
};

use super::mishaps::Field;

/// How long a change of membership may take: everybody must have been connected for five seconds.
const CHANGE_DURATION_MAX: Duration = Duration::from_secs(60);
/// What a removed member may still do before it has stopped.
const REMOVED_DURATION_MAX: Duration = Duration::from_secs(8);

impl Field<'_> {
    fn members(&self, through: usize) -> Option<Vec<Member>> {
        let request = MemberListRequest { linearizable: true };
        let answer = self.ask(through, "Cluster/MemberList", &request)?;
        answer.is_ok().then(|| answer.ok::<MemberListResponse>().members)
    }

    /// Repeats a request to whoever answers until the list of members is as wanted. Its answer proves nothing, as a
    /// change may be made and its answer lost.
    fn change(
        &mut self,
        what: &str,
        ask: impl Fn(&Self, usize),
        wanted: impl Fn(&[Member]) -> bool,
    ) {
        let deadline = Instant::now() + CHANGE_DURATION_MAX;
        for turn in 0.. {
            let through = self.present[turn % self.present.len()];
            if self.members(through).is_some_and(|members| wanted(&members)) {
                return;
            }
            if deadline < Instant::now() {
                let list = self.members(through);
                self.complaints.push(format!("{what} does not come to pass: {list:?}"));
                return;
            }
            ask(self, through);
            sleep(Duration::from_millis(200));
        }
    }

    fn remove(&mut self, seat: usize) {
        let url = self.cluster.peer_url(seat);
        let others: Vec<usize> = self.present.iter().copied().filter(|one| *one != seat).collect();
        let has = move |members: &[Member]| {
            members.iter().find(|member| member.peer_ur_ls.contains(&url)).map(|found| found.id)
        };
        let find = has.clone();
        self.present = others;
        self.change(
            &format!("the removal of m{}", seat + 1),
            |field, through| {
                if let Some(id) = field.members(through).and_then(|members| find(&members)) {
                    field.ask(through, "Cluster/MemberRemove", &MemberRemoveRequest { id });
                }
            },
            |members| has(members).is_none(),
        );
        // It learns of its removal and stops; where nobody could tell it, it would go on in vain.
        let deadline = Instant::now() + REMOVED_DURATION_MAX;
        while self.cluster.is_running(seat) && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
        self.cluster.kill(seat);
        self.cluster.wipe(seat);
    }

    fn add(&mut self, seat: usize, is_learner: bool) {
        let url = self.cluster.peer_url(seat);
        let request = MemberAddRequest { peer_ur_ls: vec![url.clone()], is_learner };
        self.change(
            &format!("the addition of m{}", seat + 1),
            |field, through| {
                field.ask(through, "Cluster/MemberAdd", &request);
            },
            |members| members.iter().any(|member| member.peer_ur_ls.contains(&url)),
        );
        self.present.push(seat);
        self.present.sort_unstable();
        let initial = self.cluster.initial_of(&self.present);
        self.cluster.will_join(seat, &initial);
        self.cluster.launch(seat);
    }

    /// A member leaves, and comes back under a new id with an empty disk.
    pub fn replace(&mut self, seat: usize) {
        self.remove(seat);
        self.add(seat, false);
    }

    /// A learner comes to an empty seat, catches up and is promoted; then it leaves again.
    pub fn learner(&mut self, seat: usize) {
        self.add(seat, true);
        let url = self.cluster.peer_url(seat);
        let voters: Vec<usize> = self.present.iter().copied().filter(|one| *one != seat).collect();
        // A learner answers no list; ask the others.
        let all = std::mem::replace(&mut self.present, voters);
        let learner = |members: &[Member]| {
            members.iter().find(|it| it.peer_ur_ls.contains(&url) && it.is_learner).map(|it| it.id)
        };
        self.change(
            &format!("the promotion of m{}", seat + 1),
            |field, through| {
                if let Some(id) = field.members(through).and_then(|members| learner(&members)) {
                    field.ask(through, "Cluster/MemberPromote", &MemberPromoteRequest { id });
                }
            },
            |members| learner(members).is_none(),
        );
        self.present = all;
        self.remove(seat);
    }
}
