//! Members of one cluster, each with its threads and a disk in memory, and a network between them that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdfast_node::{
    ClusterView, Config, Event, Node, Peers, Report, Running, SERVING_THREADS_MAX, SnapshotBody,
    start,
};
use member::{Begin, InitialMember};
use metrics::Metrics;
use proto::raftpb::Message;
use types::MemberId;
use vfs::{Disk, MemoryDisk, replace_durably};

use crate::support::{DIR, config};

/// Who can be reached, and who cannot reach whom.
#[derive(Default)]
pub struct Network {
    nodes: Mutex<BTreeMap<MemberId, (Node, MemoryDisk)>>,
    cut: Mutex<BTreeSet<(MemberId, MemberId)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    fn reached(&self, message: &Message) -> Option<(Node, MemoryDisk)> {
        if locked(&self.cut).contains(&(message.from(), message.to())) {
            return None;
        }
        locked(&self.nodes).get(&message.to()).cloned()
    }

    /// Nothing comes to this member, and nothing from it.
    pub fn cut_off(&self, member: MemberId) {
        let others: Vec<MemberId> = locked(&self.nodes).keys().copied().collect();
        let pairs = others.iter().flat_map(|other| [(member, *other), (*other, member)]);
        locked(&self.cut).extend(pairs);
    }

    pub fn heal(&self) {
        locked(&self.cut).clear();
    }
}

struct Wire(Arc<Network>);

impl Peers for Wire {
    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            if let Some((node, _)) = self.0.reached(&message) {
                let _ = node.receive(message);
            }
        }
    }

    fn send_snapshot(&self, message: Message, body: SnapshotBody) {
        let (from, to) = (message.from(), message.to());
        let network = self.0.clone();
        std::thread::spawn(move || {
            let arrived = network
                .reached(&message)
                .is_some_and(|(node, disk)| deliver(&node, &disk, message, body).is_ok());
            if let Some((sender, _)) = locked(&network.nodes).get(&from) {
                sender.snapshot_sent(to, arrived);
            }
        });
    }

    fn members(&self, _: &ClusterView) {}
}

fn deliver(
    node: &Node,
    disk: &MemoryDisk,
    message: Message,
    body: SnapshotBody,
) -> Result<(), String> {
    let metadata = message.snapshot.as_ref().and_then(|s| s.metadata.as_ref());
    let index = metadata.expect("a snapshot has one").index();
    let dir = Path::new(DIR).join("member/snap");
    disk.create_dir_all(&dir).map_err(|error| error.to_string())?;
    let (temporary, file) = (dir.join("tmp"), member::spooled(&dir, index));
    let to = disk.create(&temporary).map_err(|error| error.to_string())?;
    let mut at = 0;
    for chunk in body() {
        let chunk = chunk.map_err(|error| error.to_string())?;
        to.write_all_at(&chunk, at).map_err(|error| error.to_string())?;
        at += chunk.len() as u64;
    }
    to.sync_data().map_err(|error| error.to_string())?;
    if disk.exists(&file).map_err(|error| error.to_string())? {
        return Err("it is there already".to_owned());
    }
    replace_durably(disk, &temporary, &file).map_err(|error| error.to_string())?;
    node.receive_snapshot(message, file)
}

/// What operators would read, in short.
struct Ear(Sender<String>);

impl Report for Ear {
    fn report(&self, event: Event) {
        let told = match event {
            Event::Fatal { what, error } => format!("fatal: {what}: {error}"),
            Event::Installed { .. } => "installed".to_owned(),
            Event::Removed => "removed".to_owned(),
            _ => return,
        };
        let _ = self.0.send(told);
    }
}

pub struct One {
    pub running: Running,
    heard: Mutex<Receiver<String>>,
}

impl One {
    pub fn node(&self) -> &Node {
        self.running.node()
    }

    pub fn id(&self) -> MemberId {
        self.node().member()
    }

    /// Waits until the member has said this.
    pub fn wait_for(&self, told: &str) {
        let heard = locked(&self.heard).recv_timeout(PATIENCE);
        assert_eq!(heard.as_deref(), Ok(told));
    }
}

pub struct Cluster {
    pub network: Arc<Network>,
    pub disks: BTreeMap<String, MemoryDisk>,
    pub members: BTreeMap<String, One>,
    pub config: Config,
}

/// Long enough for anything that is not held up, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

fn initial(names: &[&str]) -> Begin {
    let of = |name: &&str| InitialMember {
        name: (*name).to_owned(),
        peer_urls: vec![format!("http://{name}:2380")],
    };
    Begin::New { members: names.iter().map(of).collect(), token: "token".into() }
}

impl Cluster {
    /// Founds a cluster and starts all its members.
    pub fn found(names: &[&str], change: impl Fn(&mut Config)) -> Cluster {
        let mut config = Config {
            begin: initial(names),
            serving_threads: SERVING_THREADS_MAX,
            heartbeat: Duration::from_millis(40),
            ..config()
        };
        change(&mut config);
        let (disks, members) = (BTreeMap::new(), BTreeMap::new());
        let mut cluster = Cluster { network: Arc::default(), disks, members, config };
        names.iter().for_each(|name| cluster.start(name));
        cluster
    }

    /// Starts a member, on the disk it had if it had one.
    pub fn start(&mut self, name: &str) {
        let begin = self.config.begin.clone();
        self.start_as(name, begin);
    }

    pub fn start_as(&mut self, name: &str, begin: Begin) {
        let memory = self.disks.entry(name.to_owned()).or_default().clone();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let config = Config { name: name.to_owned(), begin, ..self.config.clone() };
        let (sender, heard) = channel();
        let (metrics, ear) = (Arc::new(Metrics::new(false)), Arc::new(Ear(sender)));
        let wire = Arc::new(Wire(self.network.clone()));
        let running = start(config, &disk, metrics, ear, wire).expect("it may be served");
        let node = running.node().clone();
        locked(&self.network.nodes).insert(node.member(), (node, memory));
        self.members.insert(name.to_owned(), One { running, heard: Mutex::new(heard) });
    }

    /// Stops a member in order.
    pub fn stop(&mut self, name: &str) {
        let One { running, .. } = self.members.remove(name).expect("it runs");
        let id = running.node().member();
        running.stop();
        locked(&self.network.nodes).remove(&id);
    }

    pub fn stop_all(mut self) {
        let names: Vec<String> = self.members.keys().cloned().collect();
        names.iter().for_each(|name| self.stop(name));
    }

    pub fn member(&self, name: &str) -> &One {
        &self.members[name]
    }

    /// Waits until one of them leads and the others that are not cut off know it; says who.
    pub fn leader(&self) -> String {
        let began = Instant::now();
        loop {
            for (name, one) in &self.members {
                let follow = |other: &One| {
                    let standing = other.node().standing();
                    standing.leader == one.id()
                };
                let followers = self.members.values().filter(|other| follow(other)).count();
                if one.node().is_leader() && self.members.len() / 2 < followers {
                    return name.clone();
                }
            }
            assert!(began.elapsed() < PATIENCE, "nobody leads");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until this is so.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "it never came that {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A member that does not lead.
    pub fn follower(&self) -> String {
        let leader = self.leader();
        let follower = self.members.keys().find(|name| **name != leader);
        follower.expect("there are several").clone()
    }

    /// Waits until all of them have applied the same, and compares what they hold.
    pub fn wait_until_level(&self) {
        let began = Instant::now();
        loop {
            let views: Vec<_> = self.members.values().map(|one| one.node().view()).collect();
            let applied: BTreeSet<u64> = views.iter().map(|view| view.applied_index).collect();
            if applied.len() == 1 {
                let hash = |view: &Arc<apply::ReadView>| {
                    let all = mvcc::CompactionHashes::new();
                    match view.index.hash_kv(0, &all).expect("nothing is in the way") {
                        mvcc::HashAnswer::Stored(triple) => triple.hash,
                        mvcc::HashAnswer::Compute(hasher) => {
                            Node::hash(view, hasher).expect("memory gives it").hash
                        }
                    }
                };
                let hashes: BTreeSet<u32> = views.iter().map(hash).collect();
                assert_eq!(hashes.len(), 1, "members differ");
                return;
            }
            assert!(began.elapsed() < PATIENCE, "they stay at {applied:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
