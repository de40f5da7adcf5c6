//! Patroni keeps PostgreSQL available with three of our members, over TLS and as a user of its own.
//!
//! It speaks JSON, holds its leader's key by a lease, watches a prefix over a connection that never ends, logs in
//! again when a member forgot its token, and asks another member when one is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::http;
use holdfast_robust::process::free_ports;
use holdfast_robust::secure::{Secure, bash};

/// How long PostgreSQL may take for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// One Patroni and its PostgreSQL. PostgreSQL runs for nobody who is root, so both are the user `postgres` then.
struct Postgres {
    child: Child,
    api: String,
    port: u16,
    programs: PathBuf,
    data: PathBuf,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder that PostgreSQL's user may read, with what a client of the members needs.
fn folder(secure: &Secure) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("patroni-").tempdir().expect("a folder");
    for name in ["ca.pem", "nameless.pem", "nameless.key"] {
        fs::copy(secure.folder().join(name), folder.path().join(name)).expect("a copy");
    }
    if is_root() {
        bash(folder.path(), "chown -R postgres .");
    }
    folder
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a program of PostgreSQL's user is started with.
fn command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

impl Postgres {
    fn start(
        secure: &Secure,
        patroni: &Path,
        programs: &Path,
        folder: &Path,
        name: &str,
    ) -> Postgres {
        let (api, port) = free_ports().expect("free ports");
        let hosts: Vec<_> = (0..secure.seats()).map(|seat| secure.address(seat)).collect();
        let settings = settings(name, api, port, &hosts.join(","), folder, programs);
        let file = folder.join(format!("{name}.yml"));
        fs::write(&file, settings).expect("a file");
        let log = fs::File::create(folder.join(format!("{name}.log"))).expect("a file");
        let child = command(patroni)
            .arg(&file)
            .current_dir(folder)
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn();
        let (programs, data) = (programs.to_owned(), folder.join(name));
        let api = format!("127.0.0.1:{api}");
        Postgres { child: child.expect("it starts"), api, port, programs, data }
    }

    /// kill -9 for Patroni, and for PostgreSQL's first process, which its others do not outlive.
    fn kill(&mut self) {
        // Either may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = file.lines().next().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// What Patroni answers to who wants to know whether it has this role.
    fn is(&self, role: &str) -> bool {
        http::get(&self.api, &format!("/{role}")).is_ok_and(|answer| answer.status == 200)
    }

    fn sql(&self, text: &str) -> String {
        let ran = Command::new(self.programs.join("psql"))
            .args(["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-AtX", "-p"])
            .args([&self.port.to_string(), "-c", text])
            .env("PGCONNECT_TIMEOUT", "3")
            .output()
            .expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        text(&ran.stdout) + &text(&ran.stderr)
    }
}

fn settings(name: &str, api: u16, port: u16, hosts: &str, folder: &Path, bin: &Path) -> String {
    let (folder, bin) = (folder.display(), bin.display());
    format!(
        "scope: demo
name: {name}
restapi: {{listen: '127.0.0.1:{api}', connect_address: '127.0.0.1:{api}'}}
etcd3:
  hosts: {hosts}
  use_proxies: true
  protocol: https
  cacert: {folder}/ca.pem
  cert: {folder}/nameless.pem
  key: {folder}/nameless.key
  username: patroni
  password: elephant
bootstrap:
  dcs:
    ttl: 10
    loop_wait: 1
    retry_timeout: 4
    postgresql:
      use_pg_rewind: false
      parameters: {{fsync: 'off', max_connections: 20, shared_buffers: 8MB, max_worker_processes: 2}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, {{auth: trust}}]
  pg_hba: ['host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {folder}/{name}
  bin_dir: {bin}
  pgpass: {folder}/{name}.pgpass
  authentication:
    superuser: {{username: postgres, password: p}}
    replication: {{username: replicator, password: p}}
  parameters: {{unix_socket_directories: '{folder}'}}
"
    )
}

/// Waits until a query shows this, and says what it showed instead.
#[track_caller]
fn wait_for_rows(postgres: &Postgres, folder: &Path, query: &str, expected: &str) {
    let mut seen = String::new();
    wait_for(&format!("{query}: {expected}"), folder, || {
        let shown = postgres.sql(query);
        if shown != seen {
            eprintln!("{query}: {shown}");
        }
        seen = shown;
        seen == expected
    });
}

#[track_caller]
fn wait_for(what: &str, folder: &Path, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if deadline < Instant::now() {
            let tail = |name: &str| {
                let log = fs::read_to_string(folder.join(name)).unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(6).collect();
                lines.into_iter().rev().map(|line| format!("{line}\n")).collect::<String>()
            };
            panic!("{what}: never\n{}\n{}", tail("pg0.log"), tail("pg1.log"));
        }
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn postgresql_fails_over_while_our_leader_is_killed() {
    let name = "patroni";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    let Some(patroni) = need(name, Part::Patroni) else { return };
    let Some(postgres) = need(name, Part::Postgres) else { return };
    let programs = postgres.parent().expect("it lies in a folder");
    let mut secure = Secure::start(&[&ours, &ours, &ours], &etcdctl);
    secure.expect(0, "root", "put before users", "OK");
    let users = [
        ("user add root:secret", "User root created"),
        ("user grant-role root root", "Role root is granted"),
        ("role add patroni", "Role patroni created"),
        ("role grant-permission patroni readwrite /service/ --prefix", "Role patroni updated"),
        ("user add patroni:elephant", "User patroni created"),
        ("user grant-role patroni patroni", "Role patroni is granted"),
        ("auth enable", "Authentication Enabled"),
    ];
    secure.run(0, "root", &users);
    let folder = folder(&secure);
    let folder = folder.path();
    let mut first = Postgres::start(&secure, &patroni, programs, folder, "pg0");
    wait_for("a primary", folder, || first.is("primary"));
    let second = Postgres::start(&secure, &patroni, programs, folder, "pg1");
    wait_for("a replica", folder, || second.is("replica"));
    wait_for("a table", folder, || {
        first.sql("create table if not exists t (n int primary key)").contains("CREATE TABLE")
    });
    // A refusal says `INSERT` too. A connection may break after the row was stored: asked again, it is still one row.
    let insert = |n: u8| format!("insert into t values ({n}) on conflict do nothing");
    wait_for("a row", folder, || first.sql(&insert(7)).starts_with("INSERT 0"));
    wait_for_rows(&second, folder, "select n from t", "7");

    // The leader of the members and the primary go at once.
    let leader = secure.leader();
    secure.kill(leader);
    first.kill();
    wait_for("another primary", folder, || second.is("primary"));
    assert_eq!(second.sql("select n from t"), "7");
    wait_for("a write", folder, || second.sql(&insert(8)).starts_with("INSERT 0"));

    // Both come back; the member does not know the tokens any more.
    secure.launch(leader);
    drop(first);
    bash(folder, "rm -rf pg0");
    let first = Postgres::start(&secure, &patroni, programs, folder, "pg0");
    wait_for("a new replica", folder, || first.is("replica"));
    wait_for_rows(&first, folder, "select sum(n) from t", "15");
    assert!(second.is("primary"));
    let shown = secure.at(leader, "root", "get /service/demo/leader --print-value-only");
    assert_eq!(shown.trim(), "pg1");
    secure.expect_equal();
}
