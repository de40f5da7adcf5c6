//! The same requests to a cluster of ours and a cluster of real etcd's, answers compared field by field.
//!
//! Both have the same seats with the same leader. What differs by nature is given a name on each side before answers are
//! compared: ids, which come from URLs and clocks, and ports. Before each request the member that gets it is brought
//! level by a linearizable read, so that what it says does not depend on who is how far behind.

use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use prost::Message;
use proto::etcdserverpb::{
    MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest, RangeRequest,
};

use super::answer::{call_fields, describe_call};
use super::{Difference, Findings, differing, status};
use crate::cluster::Cluster;
use crate::grpc::{Answer, Call, Connection};
use crate::schema::Field;

/// Members must have been connected for five seconds before anybody may come or go.
const SETTLED_AFTER: Duration = Duration::from_secs(6);
/// How long the two may take to come to the same state.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a running member may take to tell the leader what it has.
const LEVEL_WITHIN: Duration = Duration::from_secs(5);
/// A request without a quorum takes its seven seconds and somewhat.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(20);

/// The name of the one known difference in `docs/differences.md`.
const NO_LEADER: &str = "a write without a leader";

/// A proposal that waits for a leader in vain ends with Go's own words there, and with etcd's here.
fn is_known(difference: &Difference) -> bool {
    let is = |field: &str, reference: &str, subject: &str| {
        difference.field == field
            && difference.reference.contains(reference)
            && difference.subject.contains(subject)
    };
    difference.place.starts_with("no quorum")
        && (is("grpc.status", "4", "14")
            || is("grpc.message", "context deadline exceeded", "etcdserver: request timed out"))
}

type Looking<'scope> = thread::ScopedJoinHandle<'scope, Vec<Field>>;

/// One of the two clusters, and what things in it are called.
pub struct Side {
    /// The processes.
    pub cluster: Cluster,
    /// Each text that differs by nature, and its name.
    names: Vec<(String, String)>,
    ids: Vec<u64>,
    added: Vec<(String, u64)>,
}

impl Side {
    fn start(binary: &Path, flags: &[&str]) -> Side {
        let cluster = Cluster::start(&[binary; 3], flags);
        cluster.move_leader(0);
        let mut side = Side { cluster, names: Vec::new(), ids: Vec::new(), added: Vec::new() };
        (0..3).for_each(|seat| side.name_seat(seat));
        side
    }

    /// Gives names to a seat's id and addresses.
    fn name_seat(&mut self, seat: usize) {
        let status = self.cluster.status(seat).expect("it answers");
        let header = status.header.expect("an answer has a header");
        let member = format!("m{}", seat + 1);
        self.ids.push(header.member_id);
        self.name_id(header.member_id, &member);
        self.names.push((header.cluster_id.to_string(), "the cluster".to_owned()));
        self.names.push((self.cluster.address(seat), format!("{member}:client")));
        let peer = self.cluster.peer_url(seat).replace("http://", "");
        self.names.push((peer, format!("{member}:peer")));
    }

    fn name_id(&mut self, id: u64, name: &str) {
        self.names.push((id.to_string(), format!("the id of {name}")));
        self.names.push((format!("{id:x}"), format!("the id of {name}")));
    }

    /// The id of the member in a seat.
    pub fn id(&self, seat: usize) -> u64 {
        self.ids[seat]
    }

    /// The id of the member that was added with this URL last; 1, which nobody has, when there is none.
    pub fn id_of(&self, url: &str) -> u64 {
        self.added.iter().rev().find(|(known, _)| known == url).map_or(1, |(_, id)| *id)
    }

    /// The ids of all who were added, in order; whoever has gone stays in the list.
    pub fn added(&self) -> impl Iterator<Item = u64> {
        self.added.iter().map(|(_, id)| *id)
    }

    fn answer(&self, through: usize, call: &Call) -> Answer {
        match Connection::open_within(&self.cluster.address(through), ANSWER_DURATION_MAX) {
            Ok(connection) => connection.call_for(call, ANSWER_DURATION_MAX, usize::MAX),
            Err(error) => Answer { broken: Some(error.kind().to_string()), ..Answer::default() },
        }
    }

    /// Asks a member, learns the names of who came, and gives the answer's fields.
    fn ask(&mut self, through: usize, call: &Call) -> Vec<Field> {
        let mut answer = self.answer(through, call);
        let deadline = Instant::now() + LEVEL_WITHIN;
        while self.lags(call, &answer) && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
            answer = self.answer(through, call);
        }
        if call.path.ends_with("/MemberAdd") && answer.is_ok() {
            let member = answer.ok::<MemberAddResponse>().member.unwrap_or_default();
            let url = member.peer_ur_ls.first().cloned().unwrap_or_default();
            self.name_id(member.id, &format!("the member at {}", self.named(&url)));
            self.added.push((url, member.id));
        }
        self.fields(call, &answer)
    }

    /// Whether a member that runs was not promoted because the leader has not heard from it for a moment. How long that
    /// moment is depends on the machine, so it is no difference.
    fn lags(&self, call: &Call, answer: &Answer) -> bool {
        let waits = answer.message.as_deref().is_some_and(|it| it.contains("in sync with leader"));
        // The message stands behind its frame's five bytes.
        let asked = MemberPromoteRequest::decode(call.body.get(5..).unwrap_or_default());
        call.path.ends_with("/MemberPromote")
            && waits
            && asked.is_ok_and(|asked| self.ids.contains(&asked.id))
    }

    /// Asks a member something that changes nothing here.
    fn look(&self, through: usize, call: &Call) -> Vec<Field> {
        self.fields(call, &self.answer(through, call))
    }

    fn fields(&self, call: &Call, answer: &Answer) -> Vec<Field> {
        let named = call_fields(call, answer).into_iter().map(|(at, is)| (at, self.named(&is)));
        in_order_of_names(named.collect())
    }

    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (is, name)| text.replace(is, name))
    }

    fn bring_level(&self, seat: usize) {
        let read = RangeRequest { key: "level".into(), ..RangeRequest::default() };
        if let Ok(connection) = Connection::open(&self.cluster.address(seat)) {
            connection.unary("/etcdserverpb.KV/Range", &read);
        }
    }
}

/// Members are listed by their ids, which differ; here they are sorted by what they are.
fn in_order_of_names(fields: Vec<Field>) -> Vec<Field> {
    let (members, mut rest): (Vec<Field>, Vec<Field>) =
        fields.into_iter().partition(|(at, _)| at.contains("members["));
    let mut each: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for (at, is) in members {
        let (place, field) = at.split_once(']').unwrap_or((&at, ""));
        each.entry(place.to_owned()).or_default().push(format!("{field} {is}"));
    }
    let mut whole: Vec<String> = each.into_values().map(|fields| fields.join(", ")).collect();
    whole.sort();
    rest.extend(whole.into_iter().enumerate().map(|(at, is)| (format!("members {at}"), is)));
    rest
}

/// Both clusters.
pub struct Twins {
    /// Real etcd's.
    pub reference: Side,
    /// Ours.
    pub subject: Side,
    /// What was found so far.
    pub findings: Findings,
    asked: usize,
}

impl Twins {
    /// Starts three members each, lets the first of each lead, and waits until membership may be changed.
    pub fn start(reference: &Path, subject: &Path, flags: &[&str]) -> Twins {
        let (reference, subject) = thread::scope(|scope| {
            let other = scope.spawn(|| Side::start(reference, flags));
            let subject = Side::start(subject, flags);
            (other.join().expect("the reference starts"), subject)
        });
        sleep(SETTLED_AFTER);
        Twins { reference, subject, findings: Findings::default(), asked: 0 }
    }

    /// Asks both the same through the same seat. `make` makes the request of each side, as ids differ.
    pub fn ask(&mut self, place: &str, through: usize, make: &dyn Fn(&Side) -> Call) {
        self.reference.bring_level(through);
        self.subject.bring_level(through);
        let calls = [make(&self.reference), make(&self.subject)];
        let one = self.reference.ask(through, &calls[0]);
        let two = self.subject.ask(through, &calls[1]);
        self.compare(place, through, &calls[0], &one, &two);
    }

    /// Asks both many things at the same time, because each of them takes long.
    pub fn ask_at_once(&mut self, place: &str, through: usize, calls: &[Call]) {
        let (reference, subject) = (&self.reference, &self.subject);
        let answers: Vec<_> = thread::scope(|scope| {
            let each = |call| {
                let one = scope.spawn(move || reference.look(through, call));
                (one, scope.spawn(move || subject.look(through, call)))
            };
            let running: Vec<_> = calls.iter().map(each).collect();
            let both = |(one, two): (Looking<'_>, Looking<'_>)| {
                (one.join().expect("it ends"), two.join().expect("it ends"))
            };
            running.into_iter().map(both).collect()
        });
        for (call, (one, two)) in calls.iter().zip(&answers) {
            self.compare(place, through, call, one, two);
        }
    }

    fn compare(&mut self, place: &str, through: usize, call: &Call, one: &[Field], two: &[Field]) {
        self.asked += 1;
        self.findings.requests += 1;
        *self.findings.statuses.entry(status(one)).or_default() += 1;
        let differences = differing(one, two).into_iter().map(|(field, reference, subject)| {
            let place = format!("{place}, request {} through m{}", self.asked, through + 1);
            let (method, request) = (call.path.clone(), describe_call(call));
            Difference { place, method, request, field, reference, subject }
        });
        for difference in differences {
            if is_known(&difference) {
                *self.findings.known.entry(NO_LEADER).or_default() += 1;
            } else {
                self.findings.differences.push(difference);
            }
        }
    }

    /// Waits until both answer `true`.
    #[track_caller]
    pub fn wait(&self, what: &str, holds: impl Fn(&Side) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !(holds(&self.reference) && holds(&self.subject)) {
            assert!(Instant::now() < deadline, "{what} does not come to pass");
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until in both the members that run agree that a seat leads, and are level with it: a new leader takes nobody
    /// for level before it was told.
    #[track_caller]
    pub fn wait_for_leader(&self, seat: usize) {
        self.wait("the new leader", |side| {
            let cluster = &side.cluster;
            cluster.leader() == seat && (0..3).all(|other| is_level(cluster, other, seat))
        });
    }

    /// A program joins each as a learner in a new seat, which is level when this returns.
    #[track_caller]
    pub fn add_learner(&mut self, reference: &Path, subject: &Path) -> usize {
        let mut seat = 0;
        for (side, binary) in [(&mut self.reference, reference), (&mut self.subject, subject)] {
            seat = side.cluster.add_seat(binary);
            let peer_ur_ls = vec![side.cluster.peer_url(seat)];
            let add = proto::etcdserverpb::MemberAddRequest { peer_ur_ls, is_learner: true };
            let connection = Connection::open(&side.cluster.address(0)).expect("it serves");
            connection.unary("/etcdserverpb.Cluster/MemberAdd", &add).ok::<MemberAddResponse>();
            side.cluster.launch(seat);
        }
        self.wait("the learner", |side| {
            let list = MemberListRequest { linearizable: true };
            let leader = Connection::open(&side.cluster.address(0)).expect("it serves");
            let listed = leader.unary("/etcdserverpb.Cluster/MemberList", &list);
            let published = listed.is_ok()
                && listed
                    .ok::<MemberListResponse>()
                    .members
                    .iter()
                    .any(|member| member.is_learner && !member.client_ur_ls.is_empty());
            published && is_level(&side.cluster, seat, 0)
        });
        self.reference.name_seat(seat);
        self.subject.name_seat(seat);
        seat
    }
}

/// Whether a seat has applied all that another has in its log.
fn is_level(cluster: &Cluster, seat: usize, other: usize) -> bool {
    match (cluster.status(seat), cluster.status(other)) {
        (Some(seat), Some(other)) => seat.raft_applied_index == other.raft_index,
        _ => false,
    }
}
