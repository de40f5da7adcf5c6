//! Who may ask what on a peer URL: one table, and one function that walks through it.
//!
//! The order is etcd's: method, version, cluster id, remote, path and ids; the body is the handler's. The order
//! matters, because members of other makes act on the first answer they get. Above all, 410 makes a Go member stop
//! for good, and so would 403: the only way to a 410 leads through the removed set, and there is none to a 403.

use http::{HeaderMap, Method, StatusCode};

use super::Version;

/// Names of headers.
pub mod header {
    /// The sender's id.
    pub const FROM: &str = "x-server-from";
    /// The sender's release.
    pub const VERSION: &str = "x-server-version";
    /// The oldest release the sender lives with.
    pub const MIN_VERSION: &str = "x-min-cluster-version";
    /// The cluster's id.
    pub const CLUSTER: &str = "x-etcd-cluster-id";
    /// The sender's peer URLs.
    pub const URLS: &str = "x-peerurls";
    /// Whom a stream is asked from.
    pub const TO: &str = "x-raft-to";
    /// Ours alone: which sending of a snapshot this is, a number of its sender's choice.
    pub const SENDING: &str = "x-holdfast-sending";
    /// Ours alone: from which byte of the database on a body goes on.
    pub const FROM_BYTE: &str = "x-holdfast-from-byte";
}

/// The two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Entries, "msgapp v2".
    MsgApp,
    /// Everything else.
    Message,
}

impl StreamKind {
    /// The folder below which receivers ask for it.
    pub fn path(self) -> &'static str {
        match self {
            StreamKind::MsgApp => "/raft/stream/msgapp",
            StreamKind::Message => "/raft/stream/message",
        }
    }

    /// As etcd's log names it.
    pub fn name(self) -> &'static str {
        match self {
            StreamKind::MsgApp => "stream MsgApp v2",
            StreamKind::Message => "stream Message",
        }
    }
}

/// What was asked, every check passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// One message in the body.
    Raft,
    /// A stream for this peer.
    Stream(StreamKind, u64),
    /// A snapshot in the body.
    Snapshot,
    /// Whether we are there, and what time it is.
    Probing,
    /// The members.
    Members,
    /// To make this learner a voter.
    Promote(u64),
    /// A hash of all keys at a revision.
    HashKv,
    /// To keep a lease alive.
    Leases,
    /// When a lease ends.
    LeasesInternal,
    /// Versions of member, cluster and storage.
    Version,
    /// Whether the cluster is being downgraded.
    DowngradeEnabled,
    /// Ours alone: to send the sender a snapshot, because it has no state.
    WantSnapshot,
    /// Ours alone: how much of a snapshot that broke off is kept.
    SnapshotPart,
    /// Ours alone: whether this member has no state.
    Repairing,
    /// Ours alone: whether this member applies requests of the API v2.
    AppliesV2,
}

/// What is checked, in this order, after the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// The releases live with each other.
    Version,
    /// The cluster is ours.
    Cluster,
    /// The cluster is ours, if the sender names one.
    ClusterIfNamed,
    /// Nothing can fail: a sender we do not know is remembered with its URLs.
    Remote,
    /// Kind of stream, its reader, and whom it is asked from.
    Stream,
    /// The id behind the path.
    Promote,
}

/// One path.
struct Route {
    path: &'static str,
    /// Whether the path goes on behind it.
    prefix: bool,
    method: Option<&'static str>,
    /// Whether a wrong method is told the right one.
    says_method: bool,
    /// Whether all its answers name the cluster.
    names_cluster: bool,
    checks: &'static [Check],
    endpoint: Endpoint,
}

const GET: &str = "GET";
const POST: &str = "POST";
const WRONG_METHOD: &str = "Method Not Allowed";
const POSTED: &[Check] = &[Check::Version, Check::Cluster, Check::Remote];

const fn route(
    path: &'static str,
    method: &'static str,
    checks: &'static [Check],
    endpoint: Endpoint,
) -> Route {
    Route {
        path,
        prefix: false,
        method: Some(method),
        says_method: true,
        names_cluster: true,
        checks,
        endpoint,
    }
}

/// Everything a peer URL answers. What is not here does not exist: metrics and health least of all.
static ROUTES: [Route; 15] = [
    route("/raft", POST, POSTED, Endpoint::Raft),
    Route {
        prefix: true,
        ..route(
            "/raft/stream/",
            GET,
            &[Check::Version, Check::Cluster, Check::Stream],
            Endpoint::Stream(StreamKind::Message, 0),
        )
    },
    route("/raft/snapshot", POST, POSTED, Endpoint::Snapshot),
    Route {
        method: None,
        names_cluster: false,
        ..route("/raft/probing", GET, &[], Endpoint::Probing)
    },
    route("/members", GET, &[], Endpoint::Members),
    Route {
        prefix: true,
        ..route("/members/promote/", POST, &[Check::Promote], Endpoint::Promote(0))
    },
    Route {
        // Only its good answers do.
        names_cluster: false,
        ..route("/members/hashkv", GET, &[Check::ClusterIfNamed], Endpoint::HashKv)
    },
    Route {
        says_method: false,
        names_cluster: false,
        ..route("/leases", POST, &[], Endpoint::Leases)
    },
    Route {
        says_method: false,
        names_cluster: false,
        ..route("/leases/internal", POST, &[], Endpoint::LeasesInternal)
    },
    Route { names_cluster: false, ..route("/version", GET, &[], Endpoint::Version) },
    route("/downgrade/enabled", GET, &[], Endpoint::DowngradeEnabled),
    route("/holdfast/snapshot", POST, &[Check::Version, Check::Cluster], Endpoint::WantSnapshot),
    route(
        "/holdfast/snapshot/part",
        GET,
        &[Check::Version, Check::Cluster],
        Endpoint::SnapshotPart,
    ),
    Route { names_cluster: false, ..route("/holdfast/repairing", GET, &[], Endpoint::Repairing) },
    Route { names_cluster: false, ..route("/holdfast/v2", GET, &[], Endpoint::AppliesV2) },
];

/// The beginning of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// GET, POST, ...
    pub method: &'a Method,
    /// Without what follows a `?`.
    pub path: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A request that will not be answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The body, without the newline at its end.
    pub text: String,
    /// The method that would have been right.
    pub allow: Option<&'static str>,
}

impl Refused {
    /// This status with this text.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Refused {
        Refused { status, text: text.into(), allow: None }
    }
}

/// A sender whom no log told us about yet, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Who.
    pub id: u64,
    /// Where.
    pub urls: Vec<String>,
}

/// What became of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What was asked, or why not.
    pub outcome: Result<Endpoint, Refused>,
    /// Somebody to be remembered, whatever the outcome.
    pub remote: Option<Remote>,
    /// Whether the answer names the cluster.
    pub names_cluster: bool,
    /// Whether the answer names our release.
    pub names_version: bool,
}

/// Who we are, for the checks.
#[derive(Clone, Copy, Debug)]
pub struct Checks {
    /// This member.
    pub member: u64,
    /// Its cluster.
    pub cluster: u64,
    /// Its release.
    pub version: Version,
}

/// What is known of other members.
pub trait Known {
    /// Whether this id was a member and is not any more.
    fn removed(&self, id: u64) -> bool;
    /// Whether this id is a peer.
    fn peer(&self, id: u64) -> bool;
}

impl Checks {
    /// Walks a request's head through the table.
    pub fn check(&self, head: Head<'_>, known: &dyn Known) -> Accepted {
        let found = ROUTES.iter().find(|route| match route.prefix {
            true => head.path.starts_with(route.path),
            false => head.path == route.path,
        });
        let Some(route) = found else {
            let refused = Refused::new(StatusCode::NOT_FOUND, "404 page not found");
            return Accepted {
                outcome: Err(refused),
                remote: None,
                names_cluster: false,
                names_version: false,
            };
        };
        if let Some(method) = route.method
            && head.method.as_str() != method
        {
            let refused = Refused {
                allow: route.says_method.then_some(method),
                ..Refused::new(StatusCode::METHOD_NOT_ALLOWED, WRONG_METHOD)
            };
            return Accepted {
                outcome: Err(refused),
                remote: None,
                names_cluster: false,
                names_version: false,
            };
        }
        let mut remote = None;
        let outcome = self.walk(route, head, known, &mut remote);
        let names_version = matches!(route.endpoint, Endpoint::Stream(..));
        Accepted { outcome, remote, names_cluster: route.names_cluster, names_version }
    }

    fn walk(
        &self,
        route: &Route,
        head: Head<'_>,
        known: &dyn Known,
        remote: &mut Option<Remote>,
    ) -> Result<Endpoint, Refused> {
        let mut endpoint = route.endpoint;
        for check in route.checks {
            match check {
                Check::Version => self.versions(head)?,
                Check::Cluster => self.cluster(text(head, header::CLUSTER).unwrap_or_default())?,
                Check::ClusterIfNamed => {
                    if let Some(named) = text(head, header::CLUSTER).filter(|id| !id.is_empty()) {
                        self.cluster(named)?;
                    }
                }
                Check::Remote => {
                    *remote = text(head, header::FROM)
                        .and_then(parse_id)
                        .and_then(|id| self.stranger(id, head, known));
                }
                Check::Stream => endpoint = self.stream(head, known, remote)?,
                Check::Promote => endpoint = promoted(&head.path[route.path.len()..])?,
            }
        }
        Ok(endpoint)
    }

    fn versions(&self, head: Head<'_>) -> Result<(), Refused> {
        let server = Version::announced(text(head, header::VERSION));
        let minimum = Version::announced(text(head, header::MIN_VERSION));
        match (server, minimum) {
            (Some(server), Some(minimum)) if self.version.lives_with(server, minimum) => Ok(()),
            _ => Err(Refused::new(StatusCode::PRECONDITION_FAILED, INCOMPATIBLE_VERSION)),
        }
    }

    fn cluster(&self, named: &str) -> Result<(), Refused> {
        if named == format!("{:x}", self.cluster) {
            return Ok(());
        }
        Err(Refused::new(StatusCode::PRECONDITION_FAILED, CLUSTER_MISMATCH))
    }

    fn stream(
        &self,
        head: Head<'_>,
        known: &dyn Known,
        remote: &mut Option<Remote>,
    ) -> Result<Endpoint, Refused> {
        let (folder, from) = head.path.rsplit_once('/').unwrap_or_default();
        let kinds = [StreamKind::MsgApp, StreamKind::Message];
        let kind = kinds.into_iter().find(|kind| kind.path() == folder);
        let kind = kind.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "invalid path"))?;
        let from =
            parse_id(from).ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "invalid from"))?;
        if known.removed(from) {
            return Err(Refused::new(StatusCode::GONE, "removed member"));
        }
        if !known.peer(from) {
            *remote = self.stranger(from, head, known);
            return Err(Refused::new(StatusCode::NOT_FOUND, "error sender not found"));
        }
        if text(head, header::TO) != Some(&format!("{:x}", self.member)) {
            return Err(Refused::new(StatusCode::PRECONDITION_FAILED, "to field mismatch"));
        }
        Ok(Endpoint::Stream(kind, from))
    }

    /// A sender who is nobody we know, and says where it is.
    fn stranger(&self, id: u64, head: Head<'_>, known: &dyn Known) -> Option<Remote> {
        let urls = text(head, header::URLS).filter(|urls| !urls.is_empty())?;
        let stranger = id != 0 && id != self.member && !known.peer(id) && !known.removed(id);
        let urls = urls.split(',').map(str::to_string).collect();
        stranger.then_some(Remote { id, urls })
    }
}

/// What a member of an unsuited release is told, and what tells us so.
pub const INCOMPATIBLE_VERSION: &str = "incompatible version";
/// What a member of another cluster is told, and what tells us so.
pub const CLUSTER_MISMATCH: &str = "cluster ID mismatch";

fn promoted(id: &str) -> Result<Endpoint, Refused> {
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = digits.then(|| id.parse().ok()).flatten().map(Endpoint::Promote);
    parsed.ok_or_else(|| {
        Refused::new(StatusCode::NOT_FOUND, format!("member {id} not found in cluster"))
    })
}

fn text<'a>(head: Head<'a>, name: &str) -> Option<&'a str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}

/// An id as members write it.
pub fn parse_id(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
