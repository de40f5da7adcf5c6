//! Three members of a kind on one machine: what they do together, and how soon they do it again when one is gone.
//!
//! As with one member, one cluster runs at a time, ours and etcd's in turn. All members share the machine's cores, disk and
//! loopback with the generator: a figure is what all of that can do together, and only ratios travel.

mod back;
mod harm;
mod rates;

use std::time::{Duration, Instant};

use prost::Message;
use proto::etcdserverpb as pb;

use crate::client::{Client, frame, run};
use crate::process;
use crate::results::Results;
use crate::subject::{Home, Server, Subject};

/// How long a cluster may take to do what it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// All groups of workloads, in the order they run within a round.
pub const GROUPS: [&str; 3] = ["cluster-rates", "cluster-back", "cluster-harm"];

/// One group, on a cluster of its own.
pub fn one_group(group: &str, subject: &Subject, results: &mut Results, scale: f64) {
    match group {
        "cluster-rates" => rates::all(&Trio::start(subject, &[]), results, scale),
        "cluster-back" => back::all(subject, results, scale),
        "cluster-harm" => harm::all(Trio::start(subject, &[]), results, scale),
        other => unreachable!("{other} is no group"),
    }
}

/// A cluster of three.
pub struct Trio {
    /// A seat is empty while its member is away.
    seats: Vec<Option<Server>>,
}

impl Trio {
    /// Starts three members and waits until each answers.
    pub fn start(subject: &Subject, flags: &[&str]) -> Trio {
        let homes = Home::cluster(subject, 3);
        let launch = |home: Home| home.with_flags(flags).launch();
        let mut seats: Vec<Server> = homes.into_iter().map(launch).collect();
        seats.iter_mut().for_each(Server::wait_until_ready);
        Trio { seats: seats.into_iter().map(Some).collect() }
    }

    /// The subject's short name.
    pub fn name(&self) -> &'static str {
        self.running().next().expect("somebody runs").name()
    }

    /// Members that run.
    pub fn running(&self) -> impl Iterator<Item = &Server> {
        self.seats.iter().flatten()
    }

    /// The member in a seat.
    pub fn at(&self, seat: usize) -> &Server {
        self.seats[seat].as_ref().expect("the member runs")
    }

    /// All members, this one first.
    pub fn from(&self, first: usize) -> Vec<&Server> {
        let others = (0..self.seats.len()).filter(|seat| *seat != first);
        std::iter::once(first).chain(others).filter_map(|seat| self.seats[seat].as_ref()).collect()
    }

    /// Memory of all members, in MiB.
    pub fn memory(&self) -> f64 {
        self.running().map(|server| process::memory(server.pid()).now).sum()
    }

    /// CPU of all members so far.
    pub fn cpu(&self) -> Duration {
        self.running().map(Server::cpu).sum()
    }

    /// The seat of the leader and one of a follower. Members that run must agree.
    pub fn leader_and_follower(&self) -> (usize, usize) {
        let began = Instant::now();
        loop {
            let seats = (0..self.seats.len()).filter(|seat| self.seats[*seat].is_some());
            let (leads, follows): (Vec<usize>, Vec<usize>) = seats.partition(|seat| {
                status(self.at(*seat)).is_some_and(|(header, told)| told.leader == header)
            });
            if let ([leader], [follower, ..]) = (&leads[..], &follows[..]) {
                return (*leader, *follower);
            }
            assert!(began.elapsed() < PATIENCE, "{leads:?} lead");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Leaves a member's seat empty.
    fn take(&mut self, seat: usize) -> Server {
        self.seats[seat].take().expect("the member runs")
    }

    fn seat(&mut self, seat: usize, server: Server) {
        self.seats[seat] = Some(server);
    }

    /// Waits until all that run have applied the same, and have the same leader.
    fn wait_until_level(&self) {
        let began = Instant::now();
        loop {
            let told: Vec<_> = self.running().map(status).collect();
            let places = told
                .iter()
                .map(|told| told.as_ref().map(|(_, told)| (told.raft_applied_index, told.leader)));
            let mut places: Vec<_> = places.collect();
            places.dedup();
            if let [Some((_, leader))] = places[..]
                && leader != 0
            {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the members are not level: {told:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A member's own id and what it says of itself; nothing while it does not answer.
pub fn status(server: &Server) -> Option<(u64, pb::StatusResponse)> {
    run(async {
        let asked = async {
            let client = Client::enter(server.access()).await.ok()?;
            status_of(&client).await
        };
        tokio::time::timeout(Duration::from_secs(2), asked).await.ok()?
    })
}

/// As [`status`], on a connection that is open.
async fn status_of(client: &Client) -> Option<(u64, pb::StatusResponse)> {
    let path = "/etcdserverpb.Maintenance/Status";
    let asked = client.call(path, frame(&pb::StatusRequest {}));
    let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.ok()?.ok()?;
    let told = pb::StatusResponse::decode(answer).ok()?;
    Some((told.header.as_ref()?.member_id, told))
}
