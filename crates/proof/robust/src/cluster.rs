//! A cluster of real processes, ours or Go's, each with a seat that outlives it. Seats are on loopback, or each in
//! a network namespace of its own (see [`crate::rounds`]).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use prost::Message as _;
use proto::etcdserverpb::{
    HashKvRequest, HashKvResponse, MoveLeaderRequest, MoveLeaderResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, StatusRequest, StatusResponse,
};

use crate::grpc::{Call, Connection, PATIENCE as PATIENCE_CALL};
use crate::process::{free_ports, wait};

/// How long a cluster may take to do what it is waited for.
const PATIENCE: Duration = Duration::from_secs(40);

/// A member's place: its name, its ports, its directory, and the process that has it now.
#[derive(Debug)]
pub struct Seat {
    /// `m1`, `m2`, ...
    pub name: String,
    binary: PathBuf,
    place: Place,
    /// Words before the program: what slows down its disk, for example.
    through: Vec<String>,
    /// Flags of this seat alone.
    flags: Vec<String>,
    child: Option<Child>,
    /// What `--initial-cluster` and `--initial-cluster-state` say at the next start.
    initial: (String, &'static str),
    starts: u32,
}

/// Where a member listens, for clients and peers alike.
#[derive(Clone, Debug)]
pub struct Place {
    /// An address.
    pub host: String,
    /// The port for clients.
    pub client_port: u16,
    /// The port for peers.
    pub peer_port: u16,
    /// Words that bring a program there: `ip netns exec NAME`, or none.
    pub enter: Vec<String>,
}

impl Place {
    /// Two fresh ports of loopback.
    pub fn on_loopback() -> Place {
        let (client_port, peer_port) = free_ports().expect("loopback has free ports");
        Place { host: "127.0.0.1".to_owned(), client_port, peer_port, enter: Vec::new() }
    }
}

/// Seats in one folder.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    seats: Vec<Seat>,
    flags: Vec<String>,
    /// What starts a process, if not itself: it ends by becoming the command behind it.
    under: Vec<String>,
}

impl Cluster {
    /// A cluster to be: one seat for each program, all named in each other's flags; `flags` go to all.
    pub fn new(binaries: &[&Path], flags: &[&str]) -> Cluster {
        let places = binaries.iter().map(|_| Place::on_loopback());
        Cluster::in_places(&binaries.iter().copied().zip(places).collect::<Vec<_>>(), flags)
    }

    /// As [`Cluster::new`], with a place for each program.
    pub fn in_places(seats: &[(&Path, Place)], flags: &[&str]) -> Cluster {
        let mut cluster = Cluster {
            folder: tempfile::Builder::new().prefix("cluster-").tempdir().expect("a folder"),
            seats: Vec::new(),
            flags: flags.iter().map(|flag| flag.to_string()).collect(),
            under: Vec::new(),
        };
        seats.iter().for_each(|(binary, place)| cluster.push(binary, place.clone()));
        let all = cluster.initial();
        cluster.seats.iter_mut().for_each(|seat| seat.initial = (all.clone(), "new"));
        cluster
    }

    /// Three of them, started and ready.
    #[track_caller]
    pub fn start(binaries: &[&Path], flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::new(binaries, flags);
        for seat in 0..binaries.len() {
            cluster.launch(seat);
        }
        for seat in 0..binaries.len() {
            cluster.wait_until_ready(seat);
        }
        cluster
    }

    fn push(&mut self, binary: &Path, place: Place) {
        let name = format!("m{}", self.seats.len() + 1);
        let (binary, initial) = (binary.to_path_buf(), (String::new(), "existing"));
        let (through, flags) = (Vec::new(), Vec::new());
        self.seats.push(Seat {
            name,
            binary,
            place,
            through,
            flags,
            child: None,
            initial,
            starts: 0,
        });
    }

    /// One more seat, for a member that joins what runs.
    pub fn add_seat(&mut self, binary: &Path) -> usize {
        self.add_seat_at(binary, Place::on_loopback())
    }

    /// One more seat in a place.
    pub fn add_seat_at(&mut self, binary: &Path, place: Place) -> usize {
        self.push(binary, place);
        let all = self.initial();
        let seat = self.seats.len() - 1;
        self.seats[seat].initial = (all, "existing");
        seat
    }

    /// `name=url` of all seats.
    pub fn initial(&self) -> String {
        self.initial_of(&(0..self.seats.len()).collect::<Vec<_>>())
    }

    /// `name=url` of some seats.
    pub fn initial_of(&self, seats: &[usize]) -> String {
        let one = |seat: &usize| format!("{}={}", self.seats[*seat].name, self.peer_url(*seat));
        seats.iter().map(one).collect::<Vec<_>>().join(",")
    }

    /// The words before a seat's program from the next start on.
    pub fn start_through(&mut self, seat: usize, words: Vec<String>) {
        self.seats[seat].through = words;
    }

    /// Flags that only this seat has from the next start on.
    pub fn set_own_flags(&mut self, seat: usize, flags: &[&str]) {
        self.seats[seat].flags = flags.iter().map(|flag| flag.to_string()).collect();
    }

    /// How many seats there are, empty ones too.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is no seat.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether a seat has a process that has not ended.
    pub fn is_running(&mut self, seat: usize) -> bool {
        let child = self.seats[seat].child.as_mut();
        child.is_some_and(|child| child.try_wait().expect("it is ours").is_none())
    }

    /// Whether a seat has been given a process that nobody has killed or stopped.
    pub fn is_taken(&self, seat: usize) -> bool {
        self.seats[seat].child.is_some()
    }

    /// The next start of a seat joins a running cluster of these members.
    pub fn will_join(&mut self, seat: usize, initial: &str) {
        self.seats[seat].initial = (initial.to_owned(), "existing");
    }

    /// Another program has the seat from the next start on.
    pub fn set_binary(&mut self, seat: usize, binary: &Path) {
        self.seats[seat].binary = binary.to_path_buf();
    }

    /// The flags of all next starts are these.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| flag.to_string()).collect();
    }

    /// All seats are started by this command, which is given theirs as words and becomes it.
    pub fn launch_under(&mut self, command: &[&str]) {
        self.under = command.iter().map(|word| word.to_string()).collect();
    }

    /// Nobody is told who the others are: they find each other.
    pub fn forget_initial(&mut self) {
        self.seats.iter_mut().for_each(|seat| seat.initial = (String::new(), "new"));
    }

    /// A connection to a seat.
    #[track_caller]
    pub fn connect(&self, seat: usize) -> Connection {
        Connection::open(&self.address(seat)).expect("it serves")
    }

    /// `host:port` for clients of a seat.
    pub fn address(&self, seat: usize) -> String {
        let Place { host, client_port, .. } = &self.seats[seat].place;
        format!("{host}:{client_port}")
    }

    /// The seat's peer URL.
    pub fn peer_url(&self, seat: usize) -> String {
        let Place { host, peer_port, .. } = &self.seats[seat].place;
        format!("http://{host}:{peer_port}")
    }

    /// The addresses of all seats, joined by commas.
    pub fn endpoints(&self) -> String {
        let all: Vec<_> = (0..self.seats.len()).map(|seat| self.address(seat)).collect();
        all.join(",")
    }

    /// A seat's data directory.
    pub fn data_dir(&self, seat: usize) -> PathBuf {
        self.folder.path().join(&self.seats[seat].name)
    }

    /// A folder for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_path(&self, seat: usize) -> PathBuf {
        let Seat { name, starts, .. } = &self.seats[seat];
        self.folder.path().join(format!("{name}-{starts}.log"))
    }

    /// What a seat's present or last process said.
    pub fn log(&self, seat: usize) -> String {
        fs::read_to_string(self.log_path(seat)).unwrap_or_default()
    }

    /// Starts a process in a seat and returns at once.
    pub fn launch(&mut self, seat: usize) {
        self.seats[seat].starts += 1;
        let log = File::create(self.log_path(seat)).expect("a file");
        let data_dir = self.data_dir(seat);
        let (client, peer) = (format!("http://{}", self.address(seat)), self.peer_url(seat));
        let it = &mut self.seats[seat];
        let binary = it.binary.display().to_string();
        let words = it.place.enter.iter().chain(&self.under).chain(&it.through);
        let mut words = words.chain([&binary]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD") {
                command.env_remove(name);
            }
        }
        command
            .arg(format!("--name={}", it.name))
            .arg(format!("--data-dir={}", data_dir.display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .args(&self.flags)
            .args(&it.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        if !it.initial.0.is_empty() {
            command.arg(format!("--initial-cluster={}", it.initial.0));
            command.arg(format!("--initial-cluster-state={}", it.initial.1));
        }
        it.child = Some(command.spawn().unwrap_or_else(|e| panic!("{}: {e}", it.binary.display())));
    }

    /// Waits until a seat answers a linearizable read.
    #[track_caller]
    pub fn wait_until_ready(&mut self, seat: usize) {
        let deadline = Instant::now() + PATIENCE;
        while !self.reads(seat) {
            let child = self.seats[seat].child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("it is ours");
            if ended.is_some() || deadline < Instant::now() {
                panic!("{} is not ready, {ended:?}:\n{}", self.seats[seat].name, self.log(seat));
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn reads(&self, seat: usize) -> bool {
        let Ok(connection) = Connection::open(&self.address(seat)) else { return false };
        let range = RangeRequest { key: "a".into(), ..Default::default() };
        connection.unary("/etcdserverpb.KV/Range", &range).is_ok()
    }

    /// kill -9.
    pub fn kill(&mut self, seat: usize) {
        if let Some(mut child) = self.seats[seat].child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and its end.
    #[track_caller]
    pub fn stop(&mut self, seat: usize) -> ExitStatus {
        self.signal(seat, "-TERM");
        let mut child = self.seats[seat].child.take().expect("it runs");
        let ended = wait(&mut child, PATIENCE);
        ended.unwrap_or_else(|| {
            panic!("{} does not end:\n{}", self.seats[seat].name, self.log(seat))
        })
    }

    /// Waits until a process ends by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self, seat: usize) -> ExitStatus {
        let mut child = self.seats[seat].child.take().expect("it runs");
        let ended = wait(&mut child, PATIENCE);
        if ended.is_none() {
            let _ = child.kill();
        }
        ended.unwrap_or_else(|| {
            panic!("{} does not end:\n{}", self.seats[seat].name, self.log(seat))
        })
    }

    /// Sends a signal, as `kill` names it.
    pub fn signal(&self, seat: usize, signal: &str) {
        let pid = self.seats[seat].child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} to {pid}");
    }

    /// Deletes what a seat has on disk.
    pub fn wipe(&mut self, seat: usize) {
        let dir = self.data_dir(seat);
        if dir.exists() {
            fs::remove_dir_all(dir).expect("it is ours");
        }
    }

    /// A seat's status, if it answers.
    pub fn status(&self, seat: usize) -> Option<StatusResponse> {
        let connection = Connection::open(&self.address(seat)).ok()?;
        let answer =
            connection.unary("/etcdserverpb.Maintenance/Status", &StatusRequest::default());
        answer.is_ok().then(|| answer.ok())
    }

    /// The seat that leads, once all running seats agree on one.
    #[track_caller]
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let running = (0..self.seats.len()).filter(|seat| self.seats[*seat].child.is_some());
            let all: Vec<_> = running.filter_map(|s| self.status(s).map(|it| (s, it))).collect();
            let own = |it: &StatusResponse| it.header.as_ref().map_or(0, |header| header.member_id);
            let found = all.iter().find(|(_, it)| it.leader != 0 && own(it) == it.leader);
            if let Some((seat, it)) = found
                && all.iter().all(|(_, other)| other.leader == it.leader)
            {
                return *seat;
            }
            assert!(Instant::now() < deadline, "no leader: {all:?}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Hands leadership from whoever has it to a seat.
    #[track_caller]
    pub fn move_leader(&self, to: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let from = self.leader();
            if from == to {
                return;
            }
            let target = self.status(to).and_then(|it| it.header).map_or(0, |h| h.member_id);
            let connection = Connection::open(&self.address(from)).expect("it serves");
            let request = MoveLeaderRequest { target_id: target };
            let answer = connection.unary("/etcdserverpb.Maintenance/MoveLeader", &request);
            if answer.is_ok() {
                answer.ok::<MoveLeaderResponse>();
            }
            assert!(Instant::now() < deadline, "{answer:?}");
        }
    }

    /// Writes through a seat; its revision, if it was acknowledged.
    pub fn put(&self, seat: usize, key: &str, value: &str) -> Result<i64, String> {
        let connection = Connection::open(&self.address(seat)).map_err(|e| e.to_string())?;
        put(&connection, key, value, PATIENCE_CALL)
    }

    /// Reads through a seat, linearizably.
    pub fn get(&self, seat: usize, key: &str) -> Result<Option<String>, String> {
        let connection = Connection::open(&self.address(seat)).map_err(|e| e.to_string())?;
        let range = RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let answer = connection.unary("/etcdserverpb.KV/Range", &range);
        if !answer.is_ok() {
            return Err(format!("{answer:?}"));
        }
        let found = answer.ok::<RangeResponse>().kvs.into_iter().next();
        Ok(found.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
    }

    /// Waits until all running seats have the same hash of the same revision.
    #[track_caller]
    pub fn wait_until_equal(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let running = (0..self.seats.len()).filter(|seat| self.seats[*seat].child.is_some());
            let hashes: Vec<_> = running.map(|seat| self.hash(seat)).collect();
            if hashes.iter().all(|hash| hash.is_some() && *hash == hashes[0]) {
                return;
            }
            assert!(Instant::now() < deadline, "members differ: {hashes:?}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Hash, compact revision and revision of a seat.
    fn hash(&self, seat: usize) -> Option<(u32, i64, i64)> {
        let connection = Connection::open(&self.address(seat)).ok()?;
        let answer =
            connection.unary("/etcdserverpb.Maintenance/HashKV", &HashKvRequest { revision: 0 });
        let hashed = answer.is_ok().then(|| answer.ok::<HashKvResponse>())?;
        Some((hashed.hash, hashed.compact_revision, hashed.header?.revision))
    }

    /// Runs an etcdctl against all seats.
    pub fn etcdctl(&self, etcdctl: &Path, line: &str) -> String {
        run_etcdctl(etcdctl, &self.endpoints(), line)
    }

    /// Runs an etcdctl against one seat.
    pub fn etcdctl_at(&self, etcdctl: &Path, seat: usize, line: &str) -> String {
        run_etcdctl(etcdctl, &self.address(seat), line)
    }
}

fn run_etcdctl(etcdctl: &Path, endpoints: &str, line: &str) -> String {
    let ran = Command::new(etcdctl)
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={endpoints}"))
        .args(line.split_whitespace())
        .output()
        .expect("etcdctl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&ran.stdout), text(&ran.stderr))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for seat in 0..self.seats.len() {
            self.kill(seat);
        }
        if std::thread::panicking() {
            for seat in 0..self.seats.len() {
                let log = self.log(seat);
                let tail: Vec<_> = log.lines().rev().take(40).collect();
                eprintln!("-- the last of {}:", self.seats[seat].name);
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

fn put(connection: &Connection, key: &str, value: &str, within: Duration) -> Result<i64, String> {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let put = PutRequest { key, value, ..Default::default() };
    let call = Call::unary("/etcdserverpb.KV/Put", &put.encode_to_vec());
    let answer = connection.call_for(&call, within, usize::MAX);
    if !answer.is_ok() {
        return Err(format!("{answer:?}"));
    }
    Ok(answer.ok::<PutResponse>().header.map_or(0, |header| header.revision))
}

/// The election timeout of members that are told none.
pub const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// What a writer had acknowledged.
#[derive(Debug, Default)]
pub struct Written {
    /// Key and revision, in order.
    pub acknowledged: Vec<(String, i64)>,
    /// The longest time between two acknowledgements.
    pub longest_gap: Duration,
}

/// Writes one key after the other until it is stopped, through whoever answers.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

impl Writer {
    /// Begins to write keys that begin with `prefix`.
    pub fn start(cluster: &Cluster, prefix: &str) -> Writer {
        Writer::with_patience(cluster, prefix, PATIENCE_CALL)
    }

    /// As [`Writer::start`]; whoever does not answer within `patience` is left for another.
    pub fn with_patience(cluster: &Cluster, prefix: &str, patience: Duration) -> Writer {
        let addresses: Vec<_> =
            (0..cluster.seats.len()).map(|seat| cluster.address(seat)).collect();
        let (stop, prefix) = (Arc::new(AtomicBool::new(false)), prefix.to_owned());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut written = Written::default();
            let (mut turn, mut last) = (0, Instant::now());
            let mut connection = None;
            while !stopped.load(Ordering::Acquire) {
                let key = format!("{prefix}{:06}", written.acknowledged.len());
                let address = &addresses[turn % addresses.len()];
                let open = connection.take().or_else(|| Connection::open(address).ok());
                match open.map(|open| (put(&open, &key, "x", patience), open)) {
                    Some((Ok(revision), open)) => {
                        written.longest_gap = written.longest_gap.max(last.elapsed());
                        last = Instant::now();
                        written.acknowledged.push((key, revision));
                        connection = Some(open);
                    }
                    // What was not acknowledged is written again, elsewhere.
                    Some((Err(_), _)) | None => {
                        turn += 1;
                        sleep(Duration::from_millis(5));
                    }
                }
            }
            written.longest_gap = written.longest_gap.max(last.elapsed());
            written
        });
        Writer { stop, thread }
    }

    /// Ends it; what it had acknowledged.
    pub fn stop(self) -> Written {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("a writer does not panic")
    }
}

impl Written {
    /// Nobody had to wait for an election to be acknowledged, on a machine that may be eight times slower than one where
    /// the longest wait stays below the timeout.
    #[track_caller]
    pub fn check_gap(&self, story: &str) {
        println!("{story}: {:?} without a write at most", self.longest_gap);
        assert!(self.longest_gap < 8 * ELECTION_TIMEOUT, "{story}: {:?}", self.longest_gap);
    }

    /// Everything that was acknowledged must be read through a seat.
    #[track_caller]
    pub fn check(&self, cluster: &Cluster, seat: usize) {
        let connection = Connection::open(&cluster.address(seat)).expect("it serves");
        for (key, revision) in &self.acknowledged {
            let range = RangeRequest { key: key.clone().into(), ..Default::default() };
            let found = connection.unary("/etcdserverpb.KV/Range", &range).ok::<RangeResponse>();
            let there = found.kvs.first().is_some_and(|kv| *revision <= kv.mod_revision);
            assert!(there, "{key} was acknowledged at {revision} and is not there: {found:?}");
        }
        assert!(!self.acknowledged.is_empty(), "nothing was acknowledged");
    }
}
