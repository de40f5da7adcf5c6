//! What befalls a cluster within a round, and how it is put right again.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use prost::Message;
use proto::etcdserverpb::{
    DefragmentRequest, HashKvRequest, MoveLeaderRequest, StatusRequest, StatusResponse,
};

use super::network::Network;
use super::session::DIAL_DURATION_MAX;
use crate::cluster::Cluster;
use crate::grpc::{Answer, Call, Connection};
use crate::random::Random;

/// How long one member is asked for its state.
const PEEK_DURATION_MAX: Duration = Duration::from_millis(700);

/// Whom it befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever leads.
    Leader,
    /// The so-manieth of those who do not.
    Follower(usize),
}

/// Something that befalls a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// kill -9, and a start after a while.
    Kill(Who),
    /// kill -9 of so many at once.
    KillSome(usize),
    /// SIGTERM, and a start after a while.
    Stop(Who),
    /// SIGSTOP, and SIGCONT after a while.
    Pause(Who),
    /// No packet from or to any other member.
    Isolate(Who),
    /// No packet to any other member.
    Mute(Who),
    /// No packet from any other member.
    Deafen(Who),
    /// No packet between two of them.
    Part(Who, Who),
    /// Cables that are cut and joined many times a second.
    Flap(Who),
    /// A cable that is slow, late and lossy.
    Slow(Who),
    /// Nobody reaches it, clients neither.
    Unplug(Who),
    /// Leadership is handed on.
    MoveLeader(Who),
    /// Its disk takes long for each sync from the next start on, which is now.
    SlowDisk(Who, u64),
    /// Defragment and hashes, asked of everybody.
    Upkeep,
}

impl Mishap {
    /// One by chance, for so many members.
    pub fn draw(random: &mut Random, members: usize) -> Mishap {
        let mut who = || match random.below(2) {
            0 => Who::Leader,
            _ => Who::Follower(random.below(members as u64 - 1) as usize),
        };
        let (one, other) = (who(), who());
        match random.below(26) {
            0..4 => Mishap::Kill(one),
            4 | 5 => Mishap::KillSome(random.between(2, members as i64) as usize),
            6 => Mishap::Stop(one),
            7..10 => Mishap::Pause(one),
            10..12 => Mishap::Isolate(one),
            12..14 => Mishap::Mute(one),
            14..16 => Mishap::Deafen(one),
            16 | 17 => Mishap::Part(one, other),
            18 => Mishap::Flap(one),
            19 => Mishap::Slow(one),
            20 => Mishap::Unplug(one),
            21..23 => Mishap::MoveLeader(one),
            23 => Mishap::SlowDisk(one, random.below(20) + 2),
            _ => Mishap::Upkeep,
        }
    }
}

/// The cluster as mishaps see it.
pub struct Field<'a> {
    /// The processes.
    pub cluster: &'a mut Cluster,
    /// The cables.
    pub network: &'a Network,
    /// The seats of members, without those that wait for one.
    pub present: Vec<usize>,
    /// The seats of members that do not outlive a kill -9 unharmed; these are stopped instead.
    pub fragile: Vec<usize>,
    /// A script that slows down syncs, where there is a Python for it.
    pub slow_sync: Option<PathBuf>,
    /// What went wrong beside what was meant to.
    pub complaints: Vec<String>,
}

impl Field<'_> {
    /// A seat's status, if it answers soon.
    pub fn peek(&self, seat: usize) -> Option<StatusResponse> {
        let answer = self.ask(seat, "Maintenance/Status", &StatusRequest::default())?;
        answer.is_ok().then(|| answer.ok())
    }

    /// Asks a seat something, which need not answer.
    pub fn ask(&self, seat: usize, method: &str, message: &impl Message) -> Option<Answer> {
        let call = Call::unary(&format!("/etcdserverpb.{method}"), &message.encode_to_vec());
        let connection = Connection::open_within(&self.cluster.address(seat), DIAL_DURATION_MAX);
        Some(connection.ok()?.call_for(&call, PEEK_DURATION_MAX, usize::MAX))
    }

    /// The seat that leads in the newest term, as far as anybody says.
    pub fn leader(&self) -> usize {
        let of = |seat: &usize| self.peek(*seat).map(|status| (*seat, status));
        let leads = |status: &StatusResponse| {
            let own = status.header.as_ref().map_or(0, |header| header.member_id);
            own != 0 && own == status.leader
        };
        let found = self.present.iter().filter_map(of).filter(|(_, status)| leads(status));
        let newest = found.max_by_key(|(_, status)| status.raft_term);
        newest.map_or(self.present[0], |(seat, _)| seat)
    }

    /// The seat that is meant.
    pub fn seat(&self, who: Who) -> usize {
        let leader = self.leader();
        let followers: Vec<usize> =
            self.present.iter().copied().filter(|seat| *seat != leader).collect();
        match who {
            Who::Leader => leader,
            Who::Follower(number) => followers[number % followers.len()],
        }
    }

    fn others(&self, seat: usize) -> Vec<usize> {
        self.present.iter().copied().filter(|other| *other != seat).collect()
    }

    fn note(&mut self, done: Result<(), String>) {
        self.complaints.extend(done.err());
    }

    /// Lets it happen, for so long where it lasts. What it leaves behind is for [`Field::heal`].
    pub fn befall(&mut self, mishap: Mishap, lasts: Duration) {
        match mishap {
            Mishap::Kill(who) => {
                let seat = self.seat(who);
                self.kill(seat);
                sleep(lasts);
            }
            Mishap::KillSome(count) => {
                self.present.clone().into_iter().take(count).for_each(|seat| self.kill(seat));
                sleep(lasts / 2);
            }
            Mishap::Stop(who) => {
                let seat = self.seat(who);
                if self.cluster.is_running(seat) {
                    self.signal(seat, "-CONT");
                    self.cluster.stop(seat);
                }
                sleep(lasts / 2);
            }
            Mishap::Pause(who) => {
                let seat = self.seat(who);
                self.signal(seat, "-STOP");
                sleep(lasts);
            }
            Mishap::MoveLeader(who) => self.move_leader(who),
            Mishap::SlowDisk(who, millis) => {
                let seat = self.seat(who);
                self.slow_disk(seat, millis);
                sleep(lasts);
            }
            Mishap::Upkeep => {
                for seat in self.present.clone() {
                    self.ask(seat, "Maintenance/Defragment", &DefragmentRequest {});
                    self.ask(seat, "Maintenance/HashKV", &HashKvRequest::default());
                }
            }
            cables => self.cables(cables, lasts),
        }
    }

    fn cables(&mut self, mishap: Mishap, lasts: Duration) {
        match mishap {
            Mishap::Isolate(who) => self.cut(who, true, true),
            Mishap::Mute(who) => self.cut(who, true, false),
            Mishap::Deafen(who) => self.cut(who, false, true),
            Mishap::Part(one, other) => {
                let (one, other) = (self.seat(one), self.seat(other));
                let done = self.network.cut(one, other).and(self.network.cut(other, one));
                self.note(done);
            }
            Mishap::Flap(who) => {
                for turn in 0..lasts.as_millis() as u64 / 80 {
                    self.cut(who, turn % 3 != 1, turn % 3 != 2);
                    sleep(Duration::from_millis(20 + turn % 7 * 15));
                    let done = self.network.join_all();
                    self.note(done);
                    sleep(Duration::from_millis(10 + turn % 5 * 15));
                }
                return;
            }
            Mishap::Slow(who) => {
                let done = self.network.set_slow(self.seat(who), true);
                self.note(done);
            }
            Mishap::Unplug(who) => {
                let done = self.network.set_plugged(self.seat(who), false);
                self.note(done);
            }
            other => unreachable!("{other:?} is nothing about cables"),
        }
        sleep(lasts);
    }

    fn cut(&mut self, who: Who, outward: bool, inward: bool) {
        let seat = self.seat(who);
        for other in self.others(seat) {
            if outward {
                let done = self.network.cut(seat, other);
                self.note(done);
            }
            if inward {
                let done = self.network.cut(other, seat);
                self.note(done);
            }
        }
    }

    /// kill -9, for those who can bear it.
    pub fn kill(&mut self, seat: usize) {
        self.look_after(seat);
        if self.fragile.contains(&seat) && self.cluster.is_running(seat) {
            self.signal(seat, "-CONT");
            self.cluster.stop(seat);
        }
        self.cluster.kill(seat);
    }

    fn signal(&mut self, seat: usize, signal: &str) {
        if self.cluster.is_running(seat) {
            self.cluster.signal(seat, signal);
        }
    }

    /// A process that ended although nobody ended it is a complaint.
    fn look_after(&mut self, seat: usize) {
        if self.cluster.is_taken(seat) && !self.cluster.is_running(seat) {
            let log = self.cluster.log(seat);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            self.complaints.push(format!("m{} ended by itself:\n{tail}", seat + 1));
            self.cluster.kill(seat);
        }
    }

    fn move_leader(&mut self, who: Who) {
        let (from, to) = (self.leader(), self.seat(who));
        let target = self.peek(to).and_then(|status| status.header).map_or(0, |h| h.member_id);
        // It may be refused, or come too late: what counts is that nothing breaks.
        self.ask(from, "Maintenance/MoveLeader", &MoveLeaderRequest { target_id: target });
    }

    fn slow_disk(&mut self, seat: usize, millis: u64) {
        let Some(script) = &self.slow_sync else { return };
        let counted = self.cluster.folder().join(format!("syncs-{seat}"));
        let words = [
            "python3".to_owned(),
            script.display().to_string(),
            (millis * 1000).to_string(),
            counted.display().to_string(),
        ];
        self.kill(seat);
        self.cluster.start_through(seat, words.to_vec());
        self.cluster.launch(seat);
        self.cluster.start_through(seat, Vec::new());
    }

    /// Puts everything right: cables, plugs, pauses, and a process in every seat.
    pub fn heal(&mut self) {
        let done = self.network.join_all();
        self.note(done);
        for seat in self.present.clone() {
            let plugged = self.network.set_plugged(seat, true);
            self.note(plugged);
            let quick = self.network.set_slow(seat, false);
            self.note(quick);
            self.look_after(seat);
            if self.cluster.is_taken(seat) {
                self.signal(seat, "-CONT");
            } else {
                self.cluster.launch(seat);
            }
        }
    }
}
