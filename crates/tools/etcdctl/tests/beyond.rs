//! What etcd's own does not do, and what takes more than one command line to see.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use robust::foreign::{Part, need, skip, subject};
use robust::process::{Home, Server};

const PATIENCE: Duration = Duration::from_secs(30);

fn etcdctl(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcdctl"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD") {
            command.env_remove(name);
        }
    }
    command.args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    etcdctl(words).output().expect("it was built for this test")
}

#[track_caller]
fn succeed(words: &[&str]) -> String {
    let output = run(words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// The servers a test can be run against.
fn servers(test: &str) -> Vec<Server> {
    let both = [subject(test), need(test, Part::EtcdNew)];
    both.into_iter().flatten().map(|binary| Home::new(&binary, &[]).start()).collect()
}

/// What happens to the bytes a server sends, from a place on.
#[derive(Clone, Copy)]
enum Mishap {
    /// One bit is another.
    Flip,
    /// The connection ends.
    Cut,
    /// Nothing more comes.
    Stall,
}

/// A proxy before `server` on which something happens after so many bytes.
fn proxy(server: &Server, mishap: Mishap, after: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    let target = server.address();
    spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&target) else { return };
            let (from, to) = (client.try_clone(), server.try_clone());
            if let (Ok(mut from), Ok(mut to)) = (from, to) {
                spawn(move || std::io::copy(&mut from, &mut to));
            }
            spawn(move || pass(server, client, mishap, after));
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, mishap: Mishap, after: usize) {
    let (mut passed, mut buffer) = (0, [0; 4096]);
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let here = (passed..passed + length).contains(&after);
        match mishap {
            Mishap::Flip if here => buffer[after - passed] ^= 1,
            Mishap::Cut if here => break,
            Mishap::Stall if here => sleep(PATIENCE),
            _ => {}
        }
        passed += length;
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // It may be gone already.
    let _ = to.shutdown(Shutdown::Both);
}

/// A place within the database that a snapshot sends, however the rest is framed.
const WITHIN: usize = 9000;

#[test]
fn a_snapshot_that_was_damaged_or_cut_on_its_way_gets_no_name() {
    for server in servers("damaged snapshots") {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.db");
        let name = file.display().to_string();
        succeed(&["--endpoints", &server.address(), "snapshot", "save", &name]);
        let before = std::fs::read(&file).expect("it was saved");
        let flip = "the snapshot was damaged on its way: its sha256 is ";
        for (mishap, expected) in [(Mishap::Flip, flip), (Mishap::Cut, "Error: rpc error: ")] {
            let through = proxy(&server, mishap, WITHIN);
            let output = run(&["--endpoints", &through, "snapshot", "save", &name]);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(5), "{errors}");
            assert!(errors.contains(expected), "{errors}");
            assert_eq!(std::fs::read(&file).ok().as_ref(), Some(&before), "it is as it was");
            assert_eq!(folder.path().read_dir().expect("lists").count(), 1, "and alone");
        }
    }
}

#[test]
fn a_save_that_is_killed_leaves_nothing_under_the_final_name() {
    for server in servers("killed save") {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.db");
        let through = proxy(&server, Mishap::Stall, WITHIN);
        let name = file.display().to_string();
        let mut saving = etcdctl(&["--endpoints", &through, "snapshot", "save", &name]);
        let mut saving = saving.stderr(Stdio::null()).spawn().expect("it starts");
        let part = folder.path().join("a.db.part");
        wait_for(|| part.exists());
        saving.kill().expect("it can be killed");
        saving.wait().expect("it can be waited for");
        assert!(!file.exists());
    }
}

#[track_caller]
fn wait_for(mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline, "it does not happen");
        sleep(Duration::from_millis(20));
    }
}

/// A new terminal: our end, and the program's.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it is ours");
    let name = ptsname(&ours, Vec::new()).expect("it has a name");
    let name = name.to_str().expect("a path of letters").to_owned();
    let theirs = File::options().read(true).write(true).open(name).expect("it opens");
    (File::from(ours), theirs)
}

/// What a program that has ended wrote on a terminal.
fn read_all(mut terminal: File, child: &mut Child) -> String {
    let reading = spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        // Linux ends a terminal that nobody holds open any more with an error.
        while let Ok(length @ 1..) = terminal.read(&mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    child.wait().expect("it can be waited for");
    reading.join().expect("it does not panic")
}

#[test]
fn a_progress_bar_is_shown_on_a_terminal_and_never_when_piped() {
    for server in servers("progress") {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().join("a.db").display().to_string();
        let words = ["--endpoints", &server.address(), "snapshot", "save", &name];
        let piped = run(&words);
        assert!(!piped.stderr.contains(&b'\r') && !piped.stderr.contains(&0x1b));
        let (ours, theirs) = terminal();
        let mut command = etcdctl(&words);
        let mut child = command.stderr(theirs).stdout(Stdio::null()).spawn().expect("it starts");
        drop(command);
        let seen = read_all(ours, &mut child);
        assert!(seen.contains("saving [") && seen.contains(" left"), "{seen}");
    }
}

#[test]
fn top_shows_the_members_and_the_hottest_prefixes() {
    for server in servers("top") {
        let address = server.address();
        let writing = spawn({
            let address = address.clone();
            move || {
                for number in 0..40 {
                    let key = format!("/registry/pods/default/{number}");
                    run(&["--endpoints", &address, "put", &key, "v"]);
                }
            }
        });
        let seen = succeed(&["--endpoints", &address, "top", "--once", "--interval", "1s"]);
        writing.join().expect("it does not panic");
        for expected in
            ["1 of 1 members answer   leader robust", "MEMBER  ENDPOINT", &address, "  leader "]
        {
            assert!(seen.contains(expected), "without {expected}: {seen}");
        }
        assert!(seen.contains("  /registry/pods/\n"), "{seen}");
        assert!(!seen.contains('\u{1b}'), "{seen}");
        let row = seen.lines().find(|line| line.starts_with("robust")).unwrap_or_default();
        assert!(row.contains(" ms"), "percentiles come from its metrics: {seen}");
    }
}

#[test]
fn top_fills_a_terminal_until_q_is_pressed() {
    let Some(server) = servers("top on a terminal").into_iter().next() else { return };
    let (mut ours, theirs) = terminal();
    let shared = || theirs.try_clone().expect("it can be shared");
    let mut command = etcdctl(&["--endpoints", &server.address(), "top", "--interval", "200ms"]);
    command.stdin(shared()).stdout(shared()).stderr(shared());
    let mut child = command.spawn().expect("it starts");
    drop((command, theirs));
    sleep(Duration::from_millis(900));
    ours.write_all(b"q").expect("it can be written");
    let seen = read_all(ours, &mut child);
    assert!(seen.starts_with("\u{1b}[?1049h"), "{seen:?}");
    assert!(seen.contains("cluster cdf818194e3a8c32"), "{seen:?}");
    assert!(seen.ends_with("\u{1b}[?1049l"), "{seen:?}");
}

#[test]
fn who_names_no_endpoint_is_told_which_address_refused_and_what_to_try() {
    if TcpStream::connect("127.0.0.1:2379").is_ok() {
        return skip("hint", "somebody listens on 127.0.0.1:2379 (remedy: stop it)");
    }
    let output = run(&["get", "a", "--command-timeout=300ms"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let hint = "Error: context deadline exceeded\nhint: 127.0.0.1:2379 refused the connection: ";
    assert!(errors.contains(hint) && errors.contains("--endpoints="), "{errors}");
    // Somebody who knows where the cluster is needs no advice.
    let output = run(&["--endpoints=127.0.0.1:1", "get", "a", "--command-timeout=300ms"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hint"));
}

#[test]
fn a_mirror_copies_a_prefix_and_follows_it() {
    for source in servers("mirror") {
        let Some(binary) = subject("mirror") else { return };
        let destination = Home::new(&binary, &[]).start();
        let (from, to) = (source.address(), destination.address());
        for number in 0..40 {
            succeed(&["--endpoints", &from, "put", &format!("a/{number}"), "old"]);
        }
        succeed(&["--endpoints", &from, "put", "b", "elsewhere"]);
        let words = ["--endpoints", &from, "make-mirror", "--prefix", "a/", "--dest-prefix", "z/"];
        let mut mirror = etcdctl(&words).arg(&to).spawn().expect("it starts");
        let count = || succeed(&["--endpoints", &to, "get", "", "--prefix", "--keys-only"]);
        wait_for(|| count().matches("z/").count() == 40);
        succeed(&["--endpoints", &from, "put", "a/1", "new"]);
        succeed(&["--endpoints", &from, "del", "a/2", "a/3", "--range"]);
        wait_for(|| succeed(&["--endpoints", &to, "get", "z/1"]) == "z/1\nnew\n");
        wait_for(|| count().matches("z/").count() == 40 - 11);
        assert!(!count().contains('b'));
        mirror.kill().expect("it can be killed");
        mirror.wait().expect("it can be waited for");
    }
}

#[test]
fn check_datascale_writes_cleans_up_and_tells_the_memory() {
    let Some(server) = servers("datascale").into_iter().next() else { return };
    let words = ["--endpoints", &server.address(), "check", "datascale", "--auto-compact"];
    let seen = succeed(&[&words[..], &["--auto-defrag"]].concat());
    let lines: Vec<&str> = seen.lines().collect();
    let beginning = "Start data scale check for work load [10000 key-value pairs, 1024 bytes per \
                     key-value, 50 concurrent clients].";
    assert_eq!(lines[0], beginning);
    assert_eq!(lines[1..3], ["Compacting with revision 10002", "Compacted with revision 10002"]);
    let quoted = format!("\"{}\"", server.address());
    assert_eq!(lines[3], format!("Defragmenting {quoted}"));
    assert_eq!(lines[4], format!("Defragmented {quoted}"));
    let used = lines[5].strip_prefix("PASS: Approximate system memory used : ");
    assert!(used.is_some_and(|used| used.ends_with(" MB.")), "{seen}");
    let left = succeed(&["--endpoints", &server.address(), "get", "", "--prefix", "--limit=1"]);
    assert_eq!(left, "");
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let bin = Path::new(env!("CARGO_BIN_EXE_etcdctl")).parent().expect("it lies in a folder");
    let script = "source <(etcdctl completion bash)\n\
                  ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _etcdctl; echo \"${COMPREPLY[@]}\"; }\n\
                  ask etcdctl mem; ask etcdctl lease k; ask etcdctl get k -w t; ask etcdctl get --li";
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", script]).env("PATH", path).output().expect("bash is there");
    let seen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(seen, "member\nkeep-alive\ntable\n--limit\n");
}

#[test]
fn no_command_waits_longer_than_it_was_told_for_somebody_to_be_there() {
    // The kernel takes connections for it, and nobody ever answers on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let silent = silent.local_addr().map(|address| address.to_string()).expect("it is bound");
    let commands = "snapshot save s.db|watch a|watch -i|get --stream a|lease keep-alive 5|\
                    lease keep-alive --once 5|lease timetolive 5|lease list|lock l|lock l -- true|\
                    elect e v|elect -l e|make-mirror SILENT|role list|user list|user get a|txn|defrag|\
                    check datascale|check perf";
    let folder = tempfile::tempdir().expect("a folder");
    for endpoint in ["127.0.0.1:1", silent.as_str()] {
        for command in commands.split('|').map(str::trim) {
            let command = command.replace("SILENT", endpoint);
            let began = Instant::now();
            let mut child = etcdctl(&["--command-timeout=300ms", "--endpoints", endpoint]);
            child.args(command.split(' ')).current_dir(&folder).stdin(Stdio::piped());
            child.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = child.spawn().expect("it starts");
            let mut lines = child.stdin.take().expect("it is piped");
            // It may have ended before it reads this.
            let _ = lines.write_all(b"\nput a b\n\n\n");
            let output = child.wait_with_output().expect("it ends");
            drop(lines);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{command}: {errors}");
            assert!(errors.contains("context deadline exceeded"), "{command}: {errors}");
            assert!(began.elapsed() < PATIENCE / 3, "{command} took {:?}", began.elapsed());
        }
    }
    assert_eq!(folder.path().read_dir().expect("lists").count(), 0, "no file is left");
    let endpoints = "--endpoints=127.0.0.1:1,nosuch.invalid:2379";
    let output = run(&["--command-timeout=1s", endpoints, "snapshot", "save", "x"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("not multiple"), "{errors}");
    let output = run(&["--command-timeout=1s", endpoints, "watch", "x"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    let refused = "hint: 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused";
    assert!(errors.contains(refused), "{errors}");
    assert!(errors.contains("nosuch.invalid:2379: dial tcp: lookup nosuch.invalid: no such host"));
}

#[test]
fn a_save_that_is_told_to_end_takes_its_part_with_it() {
    let Some(server) = servers("ended save").into_iter().next() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let through = proxy(&server, Mishap::Stall, WITHIN);
    let mut saving = etcdctl(&["--endpoints", &through, "snapshot", "save", "a.db"]);
    let saving = saving.current_dir(&folder).stderr(Stdio::null()).spawn();
    let mut saving = saving.expect("it starts");
    wait_for(|| folder.path().join("a.db.part").exists());
    let id = rustix::process::Pid::from_child(&saving);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is ours");
    let ended = saving.wait().expect("it can be waited for");
    assert_eq!(ended.code(), Some(5));
    assert_eq!(folder.path().read_dir().expect("lists").count(), 0);
}

#[test]
fn a_file_limit_is_an_error_and_not_the_end() {
    let Some(server) = servers("file limit").into_iter().next() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "ulimit -f 1; exec {} --endpoints {} snapshot save a.db",
        env!("CARGO_BIN_EXE_etcdctl"),
        server.address()
    );
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", &script]).current_dir(&folder).output().expect("bash is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("a.db.part: file too large"), "{errors}");
    assert_eq!(output.status.code(), Some(5), "{errors}");
}

#[test]
fn a_snapshot_may_go_to_standard_output_or_a_pipe_and_replaces_no_device_or_folder() {
    let Some(server) = servers("snapshot to a pipe").into_iter().next() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let address = server.address();
    let save = |name: &str| {
        let mut command = etcdctl(&["--endpoints", &address, "snapshot", "save", name]);
        command.current_dir(&folder).output().expect("it starts")
    };
    assert!(save("a.db").status.success());
    let file = std::fs::read(folder.path().join("a.db")).expect("it was saved");
    let piped = save("-");
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
    assert_eq!(piped.stdout.len(), file.len(), "the snapshot and nothing else");
    let script = "mkfifo p; cat p >b.db & etcdctl snapshot save p; wait";
    let bin = Path::new(env!("CARGO_BIN_EXE_etcdctl")).parent().expect("it lies in a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).current_dir(&folder).env("PATH", path);
    let output = bash.env("ETCDCTL_ENDPOINTS", &address).output().expect("bash is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = std::fs::read(folder.path().join("b.db")).expect("it was read");
    assert_eq!(read.len(), file.len());
    std::fs::create_dir(folder.path().join("d")).expect("a folder");
    for (name, what) in [
        ("/dev/null", "is a device or a socket; name a file"),
        ("d", "could not rename d.part to d"),
    ] {
        let refused = save(name);
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(5), "{errors}");
        assert!(errors.contains(what), "{errors}");
    }
    let mut left: Vec<_> = folder.path().read_dir().expect("lists").flatten().collect();
    left.sort_by_key(std::fs::DirEntry::file_name);
    let names: Vec<_> = left.iter().map(std::fs::DirEntry::file_name).collect();
    assert_eq!(names, ["a.db", "b.db", "d", "p"]);
}

#[test]
fn a_command_under_a_lock_ends_when_the_lock_is_lost() {
    for server in servers("lost lock") {
        let address = server.address();
        let mut lock = etcdctl(&["--endpoints", &address, "lock", "m", "--", "sleep", "60"]);
        let mut lock = lock.stderr(Stdio::piped()).spawn().expect("it starts");
        let list = || succeed(&["--endpoints", &address, "lease", "list"]);
        wait_for(|| list().lines().count() == 2);
        let held = || succeed(&["--endpoints", &address, "get", "m", "--prefix", "--keys-only"]);
        wait_for(|| held().contains("m/"));
        let id = list().lines().nth(1).expect("a lease").to_owned();
        succeed(&["--endpoints", &address, "lease", "revoke", &id]);
        let mut errors = String::new();
        lock.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
        assert_eq!(lock.wait().expect("a child").code(), Some(1), "{errors}");
        assert!(errors.contains("the lock was lost"), "{errors}");
    }
}

#[test]
fn a_terminal_that_closes_gives_the_lock_back_and_a_second_signal_ends_the_waiting() {
    for server in servers("given back") {
        let address = server.address();
        let words = ["--endpoints", &address, "lock", "m"];
        let held = || succeed(&["--endpoints", &address, "get", "m", "--prefix", "--keys-only"]);
        let signal = |child: &Child, signal| {
            let id = rustix::process::Pid::from_child(child);
            rustix::process::kill_process(id, signal).expect("it is ours");
        };
        let mut lock = etcdctl(&words).stdout(Stdio::null()).spawn().expect("it starts");
        wait_for(|| held().contains("m/"));
        signal(&lock, rustix::process::Signal::HUP);
        lock.wait().expect("a child");
        assert_eq!(held(), "");
        let mut lock = etcdctl(&words).stdout(Stdio::null()).spawn().expect("it starts");
        wait_for(|| held().contains("m/"));
        drop(server);
        signal(&lock, rustix::process::Signal::TERM);
        sleep(Duration::from_secs(1));
        assert_eq!(lock.try_wait().expect("a child"), None, "it tries to give it back");
        signal(&lock, rustix::process::Signal::TERM);
        assert_eq!(lock.wait().expect("a child").code(), Some(1));
    }
}

#[test]
fn what_etcdctl_does_wrong_without_a_word_is_said() {
    let Some(server) = servers("said").into_iter().next() else { return };
    let address = server.address();
    // A value with blanks that was not quoted.
    let mut txn = etcdctl(&["--endpoints", &address, "txn"]);
    let mut txn = txn.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = b"\nput k {\"a\": 1, \"b\": 2}\n\n\n";
    txn.stdin.take().expect("piped").write_all(lines).expect("it reads");
    let output = txn.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("is a word too many; quote what holds blanks"), "{errors}");
    assert_eq!(succeed(&["--endpoints", &address, "get", "k"]), "");
    // A mirror of itself.
    let output = run(&["--endpoints", &address, "make-mirror", &address]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("the destination is the source itself"), "{errors}");
    // A count that ignores bounds.
    let output =
        run(&["--endpoints", &address, "get", "a", "--count-only", "--min-mod-rev=5", "-wfields"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.contains("it ignores bounds on revisions"),
        "{errors}"
    );
}

#[test]
fn progress_is_told_also_when_it_is_asked_for_in_the_same_breath() {
    for server in servers("early progress") {
        let mut watch = etcdctl(&["--endpoints", &server.address(), "watch", "-i"]);
        watch.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut watch = watch.spawn().expect("it starts");
        let mut lines = watch.stdin.take().expect("piped");
        lines.write_all(b"watch w\nprogress\n").expect("it reads");
        let mut told = [0; 18];
        watch.stdout.as_mut().expect("piped").read_exact(&mut told).expect("a line");
        assert_eq!(&told, b"progress notify: 1");
        watch.kill().expect("it can be killed");
        watch.wait().expect("a child");
    }
}
