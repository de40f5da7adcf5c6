//! The other members: what joins `node`, which decides, with `peer`, which carries.
//!
//! A [`Network`] is what the member sends through; it exists before the member does, and carries nothing until
//! [`Network::open`] gave it a transport. Whatever is lost until then is repeated by raft.
//!
//! Not here: bytes between members (see `peer`), what they mean (see `consensus`).

mod begin;
mod compare;
mod corruption;
mod facts;
mod repair;
mod versions;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use apply::Members;
use arc_swap::ArcSwapOption;
use net::RemoteAddress;
use node::{ClusterView, Line, Node, Overloaded, Peers, Report, SnapshotBody};
use peer::{Asker, Connector, Inbox, Listener, Transport};
use proto::raftpb::Message;
use types::MemberId;

use crate::encryption::rejected;
pub(crate) use begin::{BeginError, begin};
pub(crate) use compare::{CompareError, Comparing, check_first, read_all};
pub(crate) use facts::Facts;
pub(crate) use repair::{RepairError, repair};
pub(crate) use versions::{tell_name, watch_downgrade, watch_versions};

/// How long another member may take to answer a question beside raft.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(10);

/// The release that is announced to others: one of etcd's, because they look it up.
fn peer_version(server_version: &str) -> peer::Version {
    peer::Version::parse(server_version).expect("the release has three numbers")
}

/// The way to the other members.
pub(crate) struct Network {
    transport: ArcSwapOption<Transport>,
    /// Where each other member is reached, as the transport was told.
    known: Mutex<BTreeMap<MemberId, Vec<String>>>,
    /// Asks other members what does not go through raft.
    pub asker: Asker,
}

/// What a transport is opened with.
pub(crate) struct Opening {
    pub listeners: Vec<Listener>,
    pub connector: Arc<dyn Connector>,
    pub snap_dir: PathBuf,
    pub disk: Arc<dyn vfs::Disk>,
    pub report: Arc<dyn Report>,
    pub metrics: Arc<metrics::Metrics>,
    pub limits: peer::Limits,
}

impl Network {
    /// A way that leads nowhere yet.
    pub fn new(connector: Arc<dyn Connector>, election_timeout: Duration) -> Arc<Network> {
        let dial = election_timeout + Duration::from_secs(1);
        Arc::new(Network {
            transport: ArcSwapOption::empty(),
            known: Mutex::default(),
            asker: Asker::new(Some(connector), dial, ANSWER_DURATION_MAX),
        })
    }

    /// Listens for the others, and carries from now on.
    ///
    /// # Errors
    /// When the system gives no thread or event queue.
    pub fn open(&self, node: &Node, facts: Facts, opening: Opening) -> std::io::Result<()> {
        let config = node.config();
        let transport = Transport::start(
            peer::Config {
                identity: peer::Identity {
                    member: node.member(),
                    cluster: node.cluster_id(),
                    version: peer_version(config.server_version),
                    peer_urls: config.peer_urls.clone(),
                },
                election_timeout: config.election_timeout(),
                listeners: opening.listeners,
                connector: Some(opening.connector),
                spool: Arc::new(peer::DiskSpool::new(opening.disk, opening.snap_dir)),
                report: Arc::new(Told(opening.report)),
                metrics: opening.metrics,
                limits: opening.limits,
            },
            Arc::new(Inwards(node.clone())),
            Arc::new(facts),
        )?;
        self.transport.store(Some(Arc::new(transport)));
        // Whoever was named before there was a transport is named to it now.
        self.know(&node.cluster().members);
        Ok(())
    }

    /// Since when a member is reached without a break; `None` while it is not.
    pub fn active_since(&self, member: MemberId) -> Option<Instant> {
        self.transport.load().as_ref().and_then(|transport| transport.active_since(member))
    }

    /// How many members are reached now.
    pub fn active_count(&self, members: &Members) -> usize {
        let others = members.members().filter(|member| member.id != members.own());
        others.filter(|member| self.active_since(member.id).is_some()).count()
    }

    /// Ends all connections. The member must have stopped before: it says goodbye through them.
    pub fn close(&self) {
        self.transport.store(None);
    }

    /// Adds, moves and removes peers until the transport knows those of `members` but for this one.
    fn know(&self, members: &Members) {
        let Some(transport) = self.transport.load_full() else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeMap<MemberId, Vec<String>> = members
            .members()
            .filter(|member| member.id != members.own())
            .map(|member| (member.id, member.peer_urls.clone()))
            .collect();
        let gone: Vec<_> = known.keys().copied().filter(|id| !wanted.contains_key(id)).collect();
        if !gone.is_empty() {
            take_leave(&transport, gone);
        }
        for (id, urls) in &wanted {
            match known.get(id) {
                None => transport.add_peer(*id, urls),
                Some(before) if before != urls => transport.update_peer(*id, urls),
                Some(_) => {}
            }
        }
        *known = wanted;
    }
}

/// How long members that were removed are still spoken to: the entry that removes them is on its way.
const FAREWELL_DURATION: Duration = Duration::from_secs(1);

/// Forgets peers, in a while. Nobody waits for it, and it keeps nothing alive.
fn take_leave(transport: &Arc<Transport>, gone: Vec<MemberId>) {
    let weak = Arc::downgrade(transport);
    let later = std::thread::Builder::new().name("peer-farewell".into()).spawn(move || {
        std::thread::sleep(FAREWELL_DURATION);
        if let Some(transport) = weak.upgrade() {
            gone.into_iter().for_each(|id| transport.remove_peer(id));
        }
    });
    // Without a thread to wait they stay known until the end; they are refused all the same.
    drop(later);
}

impl Peers for Network {
    fn send(&self, messages: Vec<Message>) {
        if let Some(transport) = self.transport.load().as_ref() {
            transport.send(messages);
        }
    }

    fn send_snapshot(&self, message: Message, body: SnapshotBody) {
        if let Some(transport) = self.transport.load().as_ref() {
            transport.send_snapshot(message, Box::new(body));
        }
    }

    fn members(&self, cluster: &ClusterView) {
        self.know(&cluster.members);
    }
}

/// What comes from the others, on its way to the member.
struct Inwards(Node);

impl peer::Raft for Inwards {
    fn receive(&self, message: Message) -> Inbox {
        match self.0.receive(message) {
            Ok(()) => Inbox::Taken,
            Err(Overloaded) => Inbox::Full,
        }
    }

    fn receive_snapshot(&self, message: Message, database: PathBuf) -> Result<(), String> {
        self.0.receive_snapshot(message, database)
    }

    fn is_removed(&self, member: u64) -> bool {
        self.0.is_removed(member)
    }

    fn unreachable(&self, peer: u64) {
        self.0.unreachable(peer);
    }

    fn snapshot_sent(&self, peer: u64, arrived: bool) {
        self.0.snapshot_sent(peer, arrived);
    }

    fn removed_here(&self) {
        self.0.removed_here();
    }

    fn host_gone(&self, peer: u64) {
        self.0.host_gone(peer);
    }
}

/// Lines about peers, on their way to the log.
struct Told(Arc<dyn Report>);

impl peer::Report for Told {
    fn event(&self, event: peer::Event) {
        let level = match event.level {
            peer::Level::Info => node::Level::Info,
            peer::Level::Warn => node::Level::Warn,
        };
        self.0.line(&Line { level, text: event.text, fields: event.fields });
    }

    fn rejected(&self, address: &RemoteAddress, why: &io::Error) {
        self.0.line(&rejected("rejected connection on peer endpoint", address, why));
    }
}
