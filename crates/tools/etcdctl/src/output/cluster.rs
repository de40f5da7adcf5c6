//! Members, endpoints, alarms.

use proto::etcdserverpb as pb;

use super::json::{Json, Object};
use super::table::table;
use super::{Fields, Format, Printer, complain, print, say, unsupported};
use crate::exit::Failure;
use go::size;

/// Whether an endpoint serves.
#[derive(Clone, Debug)]
pub struct EndpointHealth {
    /// Which.
    pub endpoint: String,
    /// Whether.
    pub health: bool,
    /// How long it took to find out.
    pub took: String,
    /// Why not.
    pub error: String,
}

/// An endpoint's status.
#[derive(Clone, Debug)]
pub struct EndpointStatus(pub String, pub pb::StatusResponse);

/// An endpoint's hash.
#[derive(Clone, Debug)]
pub struct EndpointHash(pub String, pub pb::HashKvResponse);

impl Json for EndpointHealth {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut String) {
        let object = Object::begin(out).always("endpoint", &self.endpoint);
        let object = object.always("health", &self.health).always("took", &self.took);
        object.unless_zero("error", &self.error).end();
    }
}

impl Json for EndpointStatus {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut String) {
        Object::begin(out).always("Endpoint", &self.0).always("Status", &self.1).end();
    }
}

impl Json for EndpointHash {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut String) {
        Object::begin(out).always("Endpoint", &self.0).always("HashKV", &self.1).end();
    }
}

/// Members and their answers with ids in hexadecimal.
struct HexHeader(pb::ResponseHeader);
struct HexMember(pb::Member);

impl Json for HexHeader {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut String) {
        Object::begin(out)
            .always("cluster_id", &format!("{:x}", self.0.cluster_id))
            .always("member_id", &format!("{:x}", self.0.member_id))
            .unless_zero("revision", &self.0.revision)
            .unless_zero("raft_term", &self.0.raft_term)
            .end();
    }
}

impl Json for HexMember {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut String) {
        Object::begin(out)
            .always("ID", &format!("{:x}", self.0.id))
            .unless_zero("name", &self.0.name)
            .unless_zero("peerURLs", &self.0.peer_ur_ls)
            .unless_zero("clientURLs", &self.0.client_ur_ls)
            .unless_zero("isLearner", &self.0.is_learner)
            .end();
    }
}

/// A null where Go has a nil slice.
fn list<T: Json>(items: &[T]) -> String {
    let mut out = String::new();
    (!items.is_empty()).then_some(items.iter().collect::<Vec<_>>()).write(&mut out);
    out.push('\n');
    out
}

const MEMBER_HEADERS: [&str; 6] =
    ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
const HEALTH_HEADERS: [&str; 4] = ["endpoint", "health", "took", "error"];
const STATUS_HEADERS: [&str; 16] = [
    "endpoint",
    "ID",
    "version",
    "storage version",
    "db size",
    "in use",
    "percentage not in use",
    "quota",
    "is leader",
    "is learner",
    "raft term",
    "raft index",
    "raft applied index",
    "errors",
    "downgrade target version",
    "downgrade enabled",
];
const HASH_HEADERS: [&str; 3] = ["endpoint", "hash", "hash_revision"];

fn member_row(member: &pb::Member) -> Vec<String> {
    let status = if member.name.is_empty() { "unstarted" } else { "started" };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

fn health_row(health: &EndpointHealth) -> Vec<String> {
    let EndpointHealth { endpoint, health, took, error } = health.clone();
    vec![endpoint, health.to_string(), took, error]
}

fn status_row(EndpointStatus(endpoint, status): &EndpointStatus) -> Vec<String> {
    // As etcdctl: a store without a bound, which is -1, has one of 18 EB.
    let bytes = |bytes: i64| size(bytes as u64);
    let member = status.header.unwrap_or_default().member_id;
    let used = status.db_size_in_use.saturating_mul(100).checked_div(status.db_size).unwrap_or(100);
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    vec![
        endpoint.clone(),
        format!("{member:x}"),
        status.version.clone(),
        status.storage_version.clone(),
        bytes(status.db_size),
        bytes(status.db_size_in_use),
        format!("{}%", 100 - used),
        bytes(status.db_size_quota),
        (status.leader == member).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

fn hash_row(EndpointHash(endpoint, answer): &EndpointHash) -> Vec<String> {
    vec![endpoint.clone(), answer.hash.to_string(), answer.hash_revision.to_string()]
}

fn simple_rows(rows: impl Iterator<Item = Vec<String>>) -> Vec<u8> {
    let mut out = Vec::new();
    rows.for_each(|row| say(&mut out, row.join(", ")));
    out
}

fn member_id_text(out: &mut Vec<u8>, id: u64, what: &str, header: Option<pb::ResponseHeader>) {
    let cluster = header.unwrap_or_default().cluster_id;
    say(out, format!("Member {id:16x} {what} cluster {cluster:16x}"));
}

macro_rules! member_changed {
    ($($name:ident, $type:ident, $what:literal;)*) => {
        $(
            #[doc = concat!("A member was ", $what, " a cluster.")]
            pub fn $name(&self, id: u64, answer: &pb::$type) -> Result<(), Failure> {
                if let Some(line) = self.hex_members(&answer.header, None, &answer.members) {
                    print(line.as_bytes());
                    return Ok(());
                }
                let simple = |out: &mut Vec<u8>| member_id_text(out, id, $what, answer.header);
                self.show_without_fields(answer, simple)
            }
        )*
    };
}

impl Printer {
    /// The JSON of members, if their ids are wanted in hexadecimal.
    fn hex_members(
        &self,
        header: &Option<pb::ResponseHeader>,
        member: Option<&pb::Member>,
        members: &[pb::Member],
    ) -> Option<String> {
        if !(self.hex && self.format == Format::Json) {
            return None;
        }
        let mut out = String::new();
        let members: Vec<HexMember> = members.iter().cloned().map(HexMember).collect();
        let header = HexHeader(header.unwrap_or_default());
        let mut object = Object::begin(&mut out).always("header", &header);
        if let Some(member) = member {
            object = object.always("member", &HexMember(member.clone()));
        }
        object.always("members", &members).end();
        out.push('\n');
        Some(out)
    }

    member_changed! {
        member_removed, MemberRemoveResponse, "removed from";
        member_updated, MemberUpdateResponse, "updated in";
        member_promoted, MemberPromoteResponse, "promoted in";
    }

    /// `member add`.
    pub fn member_added(&self, answer: &pb::MemberAddResponse) -> Result<(), Failure> {
        let member = answer.member.clone().unwrap_or_default();
        if let Some(line) = self.hex_members(&answer.header, Some(&member), &answer.members) {
            print(line.as_bytes());
            return Ok(());
        }
        let what = if member.is_learner { "added as learner to" } else { "added to" };
        let simple = |out: &mut Vec<u8>| member_id_text(out, member.id, what, answer.header);
        self.show_without_fields(answer, simple)
    }

    /// `member list`.
    pub fn members(&self, answer: &pb::MemberListResponse) -> Result<(), Failure> {
        let rows = || answer.members.iter().map(member_row);
        if let Some(line) = self.hex_members(&answer.header, None, &answer.members) {
            print(line.as_bytes());
            return Ok(());
        }
        if self.format == Format::Table {
            print(table(&MEMBER_HEADERS, &rows().collect::<Vec<_>>()).as_bytes());
            return Ok(());
        }
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            for member in &answer.members {
                out.id("ID", member.id);
                out.quoted("Name", member.name.as_bytes());
                member.peer_ur_ls.iter().for_each(|url| out.quoted("PeerURL", url.as_bytes()));
                member.client_ur_ls.iter().for_each(|url| out.quoted("ClientURL", url.as_bytes()));
                out.bare("IsLearner", member.is_learner);
                out.line("");
            }
        };
        self.show(answer, |out| out.extend(simple_rows(rows())), fields)
    }

    /// `endpoint health`.
    pub fn health(&self, all: &[EndpointHealth]) -> Result<(), Failure> {
        match self.format {
            Format::Simple => {
                for EndpointHealth { endpoint, took, error, .. } in all {
                    if error.is_empty() {
                        let text = format!(
                            "{endpoint} is healthy: successfully committed proposal: took = {took}\n"
                        );
                        print(text.as_bytes());
                    } else {
                        complain(&format!(
                            "{endpoint} is unhealthy: failed to commit proposal: {error}\n"
                        ));
                    }
                }
            }
            Format::Fields => {
                let mut out = Fields::new(self.hex);
                for EndpointHealth { endpoint, health, took, error } in all {
                    out.quoted("Endpoint", endpoint.as_bytes());
                    out.bare("Health", health);
                    out.bare("Took", took);
                    out.bare("Error", error);
                    out.line("");
                }
                print(&out.take());
            }
            Format::Json => print(list(all).as_bytes()),
            Format::Table => {
                let rows: Vec<_> = all.iter().map(health_row).collect();
                print(table(&HEALTH_HEADERS, &rows).as_bytes());
            }
            Format::Protobuf => return Err(unsupported("protobuf")),
        }
        Ok(())
    }

    /// `endpoint status`.
    pub fn status(&self, all: &[EndpointStatus]) -> Result<(), Failure> {
        match self.format {
            Format::Simple => print(&simple_rows(all.iter().map(status_row))),
            Format::Fields => {
                let mut out = Fields::new(self.hex);
                all.iter().for_each(|status| status_fields(&mut out, status));
                print(&out.take());
            }
            Format::Json => print(list(all).as_bytes()),
            Format::Table => {
                let rows: Vec<_> = all.iter().map(status_row).collect();
                print(table(&STATUS_HEADERS, &rows).as_bytes());
            }
            Format::Protobuf => return Err(unsupported("protobuf")),
        }
        Ok(())
    }

    /// `endpoint hashkv`.
    pub fn hashes(&self, all: &[EndpointHash]) -> Result<(), Failure> {
        match self.format {
            Format::Simple => print(&simple_rows(all.iter().map(hash_row))),
            Format::Fields => {
                let mut out = Fields::new(self.hex);
                for EndpointHash(endpoint, answer) in all {
                    out.header(&answer.header);
                    out.quoted("Endpoint", endpoint.as_bytes());
                    out.bare("Hash", answer.hash);
                    out.bare("HashRevision", answer.hash_revision);
                    out.line("");
                }
                print(&out.take());
            }
            Format::Json => print(list(all).as_bytes()),
            Format::Table => {
                let rows: Vec<_> = all.iter().map(hash_row).collect();
                print(table(&HASH_HEADERS, &rows).as_bytes());
            }
            Format::Protobuf => return Err(unsupported("protobuf")),
        }
        Ok(())
    }

    /// `alarm list`, `alarm disarm`.
    pub fn alarms(&self, answer: &pb::AlarmResponse) -> Result<(), Failure> {
        let simple = |out: &mut Vec<u8>| {
            for alarm in &answer.alarms {
                let mut parts = Vec::new();
                if alarm.member_id != 0 {
                    parts.push(format!("memberID:{}", alarm.member_id));
                }
                if alarm.alarm != 0 {
                    parts.push(format!("alarm:{}", alarm_name(alarm.alarm)));
                }
                say(out, parts.join(" "));
            }
        };
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            for alarm in &answer.alarms {
                out.id("MemberID", alarm.member_id);
                out.bare("AlarmType", alarm_name(alarm.alarm));
                out.line("");
            }
        };
        self.show(answer, simple, fields)
    }

    /// `move-leader`.
    pub fn leader_moved(
        &self,
        leader: u64,
        target: u64,
        answer: &pb::MoveLeaderResponse,
    ) -> Result<(), Failure> {
        let text = format!("Leadership transferred from {leader:x} to {target:x}");
        self.show_without_fields(answer, |out| say(out, text))
    }

    /// `downgrade *`.
    pub fn downgrade(&self, what: &str, answer: &pb::DowngradeResponse) -> Result<(), Failure> {
        let version = &answer.version;
        let text = format!("Downgrade {what} success, cluster version {version}");
        self.show_without_fields(answer, |out| say(out, text))
    }
}

fn status_fields(out: &mut Fields, EndpointStatus(endpoint, status): &EndpointStatus) {
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    out.header(&status.header);
    out.quoted("Version", status.version.as_bytes());
    out.quoted("StorageVersion", status.storage_version.as_bytes());
    out.bare("DBSize", status.db_size);
    out.bare("DBSizeInUse", status.db_size_in_use);
    out.bare("DBSizeQuota", status.db_size_quota);
    out.bare("Leader", status.leader);
    out.bare("IsLearner", status.is_learner);
    out.bare("RaftIndex", status.raft_index);
    out.bare("RaftAppliedIndex", status.raft_applied_index);
    out.bare("Errors", format_args!("[{}]", status.errors.join(" ")));
    out.quoted("Endpoint", endpoint.as_bytes());
    out.quoted("DowngradeTargetVersion", downgrade.target_version.as_bytes());
    out.bare("DowngradeEnabled", downgrade.enabled);
    out.line("");
}

fn alarm_name(number: i32) -> String {
    match pb::AlarmType::try_from(number) {
        Ok(alarm) => alarm.as_str_name().to_owned(),
        Err(_) => number.to_string(),
    }
}
