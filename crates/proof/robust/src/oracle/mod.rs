//! The same requests to two servers, answers compared field by field.
//!
//! An episode starts two fresh servers and sends both the same steps from one seed. What differs is
//! either listed with its reason in `docs/differences.md` (and in [`known`]), or a bug. An episode
//! ends when the two stores no longer have the same revision, because everything after that would
//! differ too.

mod answer;
pub mod clusters;
pub mod known;
mod watches;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use prost::Message;
use proto::etcdserverpb::{CompactionRequest, LeaseKeepAliveRequest};

use crate::generate::{Answered, Area, Step, World};
use crate::grpc::{Call, Connection, Item, PATIENCE};
use crate::http;
use crate::process::{Home, Server};
use crate::schema::{self, Field};

use answer::{call_fields, http_fields};
use watches::Watches;

/// One field that differs.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Where: `area seed step`.
    pub place: String,
    /// The path or kind of the request, by which differences are grouped.
    pub method: String,
    /// What was asked.
    pub request: String,
    /// The field.
    pub field: String,
    /// The reference's value; empty when it has no such field.
    pub reference: String,
    /// The subject's value; empty when it has no such field.
    pub subject: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |text: &str| if text.is_empty() { "(absent)".to_string() } else { text.to_string() };
        writeln!(out, "{}: {}", self.place, self.request)?;
        writeln!(out, "    {}", self.field)?;
        writeln!(out, "      reference {}", shown(&self.reference))?;
        write!(out, "      subject   {}", shown(&self.subject))
    }
}

/// Which episodes to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kind of requests.
    pub area: Area,
    /// The first episode's seed; the following ones count up.
    pub seed: u64,
    /// How many episodes.
    pub episodes: u64,
    /// Steps per episode.
    pub steps: usize,
    /// Which etcd is asked.
    pub reference: Reference,
}

/// The release on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The one holdfast follows: everything is compared.
    Newest,
    /// 3.4: what changed since is listed in [`known`], and it is not sent what ends it.
    Old,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Requests sent to each server.
    pub requests: usize,
    /// All differences that are not known.
    pub differences: Vec<Difference>,
    /// How often each known difference was seen, by its name.
    pub known: BTreeMap<&'static str, usize>,
    /// How often the reference gave each status, which shows whether the requests were worth sending.
    pub statuses: BTreeMap<String, usize>,
}

/// Runs the episodes of a plan. `flags` are given to both servers.
pub fn compare(reference: &Path, subject: &Path, plan: &Plan, flags: &[&str]) -> Findings {
    let mut findings = Findings::default();
    for seed in plan.seed..plan.seed + plan.episodes {
        let (one, two) = start_both(reference, subject, flags);
        Episode::new(plan, seed, &one, &two).run(plan, &mut findings);
    }
    findings
}

fn start_both(reference: &Path, subject: &Path, flags: &[&str]) -> (Server, Server) {
    let (one, two) = (Home::new(reference, flags), Home::new(subject, flags));
    let starting = std::thread::spawn(move || one.start());
    let subject = two.start();
    (starting.join().expect("the reference starts"), subject)
}

/// One server of the two, and the open connection to it.
struct Side {
    address: String,
    connection: Connection,
}

impl Side {
    fn new(server: &Server) -> Side {
        Side { address: server.address(), connection: server.connect() }
    }

    fn call(&mut self, call: &Call, messages_max: usize) -> Vec<Field> {
        let answer = self.connection.call_for(call, PATIENCE, messages_max);
        if answer.broken.is_some() {
            // The next request shall not suffer from what this one did to the connection.
            if let Ok(fresh) = Connection::open(&self.address) {
                self.connection = fresh;
            }
        }
        call_fields(call, &answer)
    }

    fn keep_alive(&self, messages: &[Vec<u8>]) -> Vec<Field> {
        let (_, output) = schema::method("/etcdserverpb.Lease/LeaseKeepAlive").expect("it exists");
        let mut stream = self.connection.stream("/etcdserverpb.Lease/LeaseKeepAlive");
        let mut out = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            stream.send_bytes(message);
            match stream.next(PATIENCE) {
                Item::Message(answer) => {
                    let fields = schema::fields(&output, &answer);
                    out.extend(
                        fields.into_iter().map(|(path, value)| (format!("{index}.{path}"), value)),
                    );
                }
                other => out.push((format!("{index}"), format!("{other:?}"))),
            }
        }
        out
    }
}

struct Episode {
    world: World,
    area: Area,
    seed: u64,
    reference: Side,
    subject: Side,
    watches: Watches,
}

impl Episode {
    fn new(plan: &Plan, seed: u64, reference: &Server, subject: &Server) -> Episode {
        let (reference, subject) = (Side::new(reference), Side::new(subject));
        let watches = Watches::open(&reference.connection, &subject.connection);
        let world = World::new(seed, plan.reference == Reference::Old);
        Episode { world, area: plan.area, seed, reference, subject, watches }
    }

    fn run(mut self, plan: &Plan, findings: &mut Findings) {
        let mut sent = 0;
        while sent < plan.steps {
            for step in self.world.next(self.area) {
                sent += 1;
                findings.requests += 1;
                if self.step(plan, sent, &step, findings) {
                    return;
                }
            }
        }
        if self.area == Area::Watch {
            self.step(plan, sent + 1, &Step::Drain, findings);
        }
    }

    /// Takes one step; true when the servers' states have parted.
    fn step(&mut self, plan: &Plan, number: usize, step: &Step, findings: &mut Findings) -> bool {
        let (method, request) = describe(step);
        let pairs = match step {
            Step::Call { call, messages_max } => {
                let one = self.reference.call(call, *messages_max);
                vec![(one, self.subject.call(call, *messages_max))]
            }
            Step::KeepAlive { messages } => {
                vec![(self.reference.keep_alive(messages), self.subject.keep_alive(messages))]
            }
            Step::Http { request } => {
                let ask = |address: &str| http_fields(request, http::request(address, request));
                vec![(ask(&self.reference.address), ask(&self.subject.address))]
            }
            Step::Watch { stream, message, answered } => {
                self.watches.send(*stream, message, *answered == Answered::Created);
                return false;
            }
            Step::Drain => self.watches.drain(),
        };
        let place = format!("{:?} seed {} step {number}", self.area, self.seed);
        let mut parted = false;
        for (one, two) in &pairs {
            self.learn(step, one);
            *findings.statuses.entry(status(one)).or_default() += 1;
            let revisions = value_of(one, "revision").zip(value_of(two, "revision"));
            parted |= revisions.is_some_and(|(one, two)| one != two);
            for (field, reference, subject) in differing(one, two) {
                let difference = Difference {
                    place: place.clone(),
                    method: method.clone(),
                    request: request.clone(),
                    field,
                    reference,
                    subject,
                };
                match known::explain(&difference, plan.reference) {
                    Some(name) => *findings.known.entry(name).or_default() += 1,
                    None => findings.differences.push(difference),
                }
            }
        }
        parted
    }

    /// The reference's answer says where the stores are now.
    fn learn(&mut self, step: &Step, answer: &[Field]) {
        if let Some(revision) = value_of(answer, "revision").and_then(|text| text.parse().ok()) {
            self.world.revision = self.world.revision.max(revision);
        }
        let Step::Call { call, .. } = step else { return };
        let granted = value_of(answer, "grpc.status") == Some("0");
        if granted
            && call.path == "/etcdserverpb.KV/Compact"
            && let Ok(request) = CompactionRequest::decode(call.body.get(5..).unwrap_or_default())
        {
            self.world.compacted = request.revision;
        }
    }
}

/// The value of a field, or of the header's field of that name.
fn value_of<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    let in_header = format!("header.{name}");
    let found = fields.iter().find(|(path, _)| path == name || path.ends_with(&in_header));
    found.map(|(_, value)| value.as_str())
}

/// What kind of answer this is, for the tally.
fn status(fields: &[Field]) -> String {
    let of = |name| value_of(fields, name).map(str::to_string);
    let broken = of("broken").or_else(|| of("http.status").filter(|status| status != "200"));
    broken
        .or_else(|| of("grpc.status").map(|status| format!("grpc {status}")))
        .unwrap_or_else(|| "other".into())
}

/// The fields that are not the same on both sides, at most a few per answer.
fn differing(one: &[Field], two: &[Field]) -> Vec<(String, String, String)> {
    const SHOWN_MAX: usize = 6;
    let mut both: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (path, value) in one {
        both.entry(path).or_default().0 = value;
    }
    for (path, value) in two {
        both.entry(path).or_default().1 = value;
    }
    let differ = both.into_iter().filter(|(_, (one, two))| one != two);
    differ.take(SHOWN_MAX).map(|(path, (one, two))| (path.into(), one.into(), two.into())).collect()
}

fn describe(step: &Step) -> (String, String) {
    match step {
        Step::Call { call, .. } => (call.path.clone(), answer::describe_call(call)),
        Step::Watch { message, .. } => (
            "watch".to_string(),
            schema::describe(&schema::message("etcdserverpb.WatchRequest"), message),
        ),
        Step::Drain => ("watch".to_string(), "what the watch streams brought".to_string()),
        Step::KeepAlive { messages } => {
            let ids = messages.iter().map(|message| {
                LeaseKeepAliveRequest::decode(message.as_slice()).expect("it was encoded here").id
            });
            ("keepalive".to_string(), format!("keep-alives of {:?}", ids.collect::<Vec<_>>()))
        }
        Step::Http { request } => {
            let line = request.lines().next().unwrap_or_default();
            let body = request.rsplit("\r\n\r\n").next().unwrap_or_default();
            (line.to_string(), format!("{line} {}", schema::shorten(body, 400)))
        }
    }
}

impl Findings {
    /// Takes what another comparison found.
    pub fn add(&mut self, other: Findings) {
        self.requests += other.requests;
        self.differences.extend(other.differences);
        for (name, count) in other.known {
            *self.known.entry(name).or_default() += count;
        }
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    /// A summary by request and field, then the first differences in full.
    pub fn report(&self, shown_max: usize) -> String {
        let mut groups: BTreeMap<(String, String), usize> = BTreeMap::new();
        for difference in &self.differences {
            let field: String = difference.field.chars().filter(|c| !c.is_ascii_digit()).collect();
            *groups.entry((difference.method.clone(), field)).or_default() += 1;
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut out = format!(
            "{} requests (answers {:?}), {} fields differ, known differences seen: {:?}\n",
            self.requests,
            self.statuses,
            self.differences.len(),
            self.known
        );
        for ((method, field), count) in groups.iter().take(60) {
            out += &format!("{count:6} x {method} {field}\n");
        }
        for difference in self.differences.iter().take(shown_max) {
            out += &format!("\n{difference}\n");
        }
        out
    }
}
