//! lock, elect.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use client::{Election, Mutex, Session, methods};
use proto::etcdserverpb as pb;
use rustix::process::Pid;
use tokio::signal::unix::{SignalKind, signal};
use types::LeaseHex;

use super::connect_to_stay;
use crate::args::{Call, os};
use crate::exit::{ERROR, Failure};
use go::quote;

/// What etcd's client takes for an election.
const SESSION_TTL: i64 = 60;

/// How a program ended, in Go's words.
pub fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal: killed".to_owned(),
        (None, Some(15)) => "signal: terminated".to_owned(),
        (None, Some(2)) => "signal: interrupt".to_owned(),
        (None, number) => format!("signal: {}", number.unwrap_or(0)),
    }
}

/// Why a program did not start, in Go's words.
pub fn start_text(program: &[u8], error: &io::Error) -> String {
    let name = String::from_utf8_lossy(program);
    match error.kind() {
        io::ErrorKind::NotFound if !name.contains('/') => {
            format!("exec: {}: executable file not found in $PATH", quote(program))
        }
        io::ErrorKind::NotFound => format!("fork/exec {name}: no such file or directory"),
        io::ErrorKind::PermissionDenied => format!("fork/exec {name}: permission denied"),
        _ => format!("fork/exec {name}: {error}"),
    }
}

/// Waits until somebody wants us to end. A terminal that closes wants it too.
pub async fn interrupted() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(ERROR, error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// Gives up what is held, unless somebody asks a second time: the server may be gone, and what is held
/// goes with its lease.
async fn give_up<T>(giving: impl Future<Output = Result<T, client::Error>>) -> Result<T, Failure> {
    /// Who signals a process and its group sends one wish twice.
    const ONE_WISH: Duration = Duration::from_millis(500);
    let again = async {
        tokio::time::sleep(ONE_WISH).await;
        interrupted().await
    };
    tokio::select! {
        given = giving => Ok(given?),
        ended = again => {
            ended?;
            Err(Failure::new(ERROR, "interrupted while giving up; it ends with its lease"))
        }
    }
}

/// `lock`.
pub async fn lock(mut call: Call) -> Result<(), Failure> {
    let Some((_, program)) = call.args.split_first() else {
        return Err(Failure::bad_args(
            "lock takes a lock name argument and an optional command to execute",
        ));
    };
    let program = program.to_vec();
    let name = call.text(0);
    let connected = connect_to_stay(&mut call).await?;
    let session = Session::new(&connected.patient, call.values.int("ttl")).await?;
    let mutex = tokio::select! {
        locked = Mutex::lock(&session, &name) => locked?,
        ended = interrupted() => {
            ended?;
            let key = Bytes::from(format!("{name}/{:x}", LeaseHex(session.lease)));
            let request = pb::DeleteRangeRequest { key, ..Default::default() };
            give_up(connected.patient.call(methods::DELETE_RANGE, &request)).await?;
            return Err(Failure::new(ERROR, "context canceled"));
        }
    };
    if !program.is_empty() {
        return run(program, mutex, &session).await;
    }
    let request = pb::RangeRequest { key: mutex.key.clone(), ..Default::default() };
    let held = connected.call_patiently(ERROR, methods::RANGE, request).await?;
    if held.kvs.is_empty() {
        return Err(Failure::new(ERROR, "lock lost on init"));
    }
    connected.printer.range(&held)?;
    tokio::select! {
        ended = interrupted() => {
            ended?;
            give_up(mutex.unlock(&session)).await
        }
        () = session.ended() => Err(Failure::new(ERROR, "session expired")),
    }
}

/// Runs a program under the lock and ends as it ends.
async fn run(program: Vec<Bytes>, mutex: Mutex, session: &Session) -> Result<(), Failure> {
    let mut command = Command::new(os(&program[0]));
    command
        .args(program[1..].iter().map(|arg| os(arg)))
        .env("ETCD_LOCK_KEY", os(&mutex.key))
        .env("ETCD_LOCK_REV", mutex.revision.to_string())
        .stdin(Stdio::null());
    let failed = |error: io::Error| Failure::new(ERROR, start_text(&program[0], &error));
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            give_up(mutex.unlock(session)).await?;
            return Err(failed(error));
        }
    };
    let id = Pid::from_child(&child);
    // The lease is kept alive meanwhile, so nothing may block this thread.
    #[expect(clippy::disallowed_methods, reason = "a program of one command has no others to wait")]
    let mut waiting = tokio::task::spawn_blocking(move || child.wait());
    let ended = tokio::select! {
        ended = &mut waiting => ended,
        () = session.ended() => {
            // From here on somebody else may hold the lock.
            end(id, waiting).await;
            let text = "the lock was lost: its lease has ended; the command was ended with it";
            return Err(Failure::new(ERROR, text));
        }
    };
    let ended = ended.map_err(|error| Failure::new(ERROR, error.to_string()))?;
    let unlocked = give_up(mutex.unlock(session)).await;
    match ended {
        Ok(status) if status.success() => unlocked.map(drop),
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255);
            Err(Failure::new(code, status_text(status)))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Asks a program to end, and insists after a while.
async fn end(id: Pid, waiting: tokio::task::JoinHandle<io::Result<ExitStatus>>) {
    const PATIENCE: Duration = Duration::from_secs(5);
    // It may have ended just now.
    let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
}

/// `elect`.
pub async fn elect(mut call: Call) -> Result<(), Failure> {
    if !(1..=2).contains(&call.args.len()) {
        return Err(Failure::bad_args(
            "elect takes one election name argument and an optional proposal argument",
        ));
    }
    let connected = connect_to_stay(&mut call).await?;
    let name = call.text(0);
    match (call.args.get(1), call.values.truth("listen")) {
        (None, false) => Err(Failure::bad_args("no proposal argument but -l not set")),
        (Some(_), true) => Err(Failure::bad_args("proposal given but -l is set")),
        (None, true) => observe(&connected, &name).await,
        (Some(proposal), false) => campaign(&connected, &name, proposal).await,
    }
}

async fn observe(connected: &crate::settings::Session, name: &str) -> Result<(), Failure> {
    let mut printed = Ok(());
    let observing = Election::observe(&connected.patient, name, |answer| {
        let now = connected.printer.range(&answer);
        printed = std::mem::replace(&mut printed, Ok(())).and(now);
    });
    tokio::select! {
        lost = observing => {
            lost?;
            Err(Failure::new(ERROR, "elect: observer lost"))
        }
        ended = interrupted() => ended,
    }?;
    printed
}

async fn campaign(
    connected: &crate::settings::Session,
    name: &str,
    proposal: &Bytes,
) -> Result<(), Failure> {
    let session = Session::new(&connected.patient, SESSION_TTL).await?;
    let election = tokio::select! {
        won = Election::campaign(&session, name, proposal) => won?,
        ended = interrupted() => {
            ended?;
            let key = Bytes::from(format!("{name}/{:x}", LeaseHex(session.lease)));
            let request = pb::DeleteRangeRequest { key, ..Default::default() };
            give_up(connected.patient.call(methods::DELETE_RANGE, &request)).await?;
            return Err(Failure::new(ERROR, "context canceled"));
        }
    };
    let request = pb::RangeRequest { key: election.key.clone(), ..Default::default() };
    connected.printer.range(&connected.call_patiently(ERROR, methods::RANGE, request).await?)?;
    tokio::select! {
        ended = interrupted() => {
            ended?;
            give_up(election.resign(&session)).await
        }
        () = session.ended() => Err(Failure::new(ERROR, "elect: session expired")),
    }
}
