//! watch: once, with a program for each event, or line by line.

use std::io::BufRead;
use std::process::{Command, Stdio};

use bytes::Bytes;
use client::{Notice, WatchOptions, Watcher};
use proto::mvccpb;
use tokio::sync::mpsc;

use super::{connect_to_stay, kv, txn};
use crate::args::{Call, os, read_flags};
use crate::exit::{ERROR, Failure, INTERRUPTED, INVALID_INPUT};
use crate::output::{self, Printer};
use crate::spec::{Flag, ROOT};
use crate::values::Values;
use go::quote;

const BAD_NUMBER: &str = "bad number of arguments";
const CONFLICT: &str = "bad number of arguments (found conflicting environment key)";
const NO_COMMANDS: &str = "bad number of arguments (found separator --, but no commands)";

/// A key from the environment.
struct Environment {
    key: Bytes,
    range_end: Bytes,
}

/// What is watched, and what is run for it.
#[derive(Debug)]
struct Wish {
    options: WatchOptions,
    program: Vec<Bytes>,
}

/// `watch`.
pub async fn watch(mut call: Call) -> Result<(), Failure> {
    let variable = |name| Bytes::from(std::env::var(name).unwrap_or_default());
    let environment = Environment {
        key: variable("ETCDCTL_WATCH_KEY"),
        range_end: variable("ETCDCTL_WATCH_RANGE_END"),
    };
    if environment.key.is_empty() && !environment.range_end.is_empty() {
        let end = quote(&environment.range_end);
        let text = format!("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={end}");
        return Err(Failure::bad_args(text));
    }
    if call.values.truth("interactive") {
        return interactive(call, environment).await;
    }
    let after = call.raw.iter().position(|arg| arg.as_ref() == b"watch").map_or(0, |at| at + 1);
    let typed = call.raw[after..].to_vec();
    let (args, program) = split(&typed, &call.args, &environment)?;
    let session = connect_to_stay(&mut call).await?;
    let options = options(&args, &call.values).map_err(Failure::bad_args)?;
    let mut watcher = session.patient.watcher();
    watcher.watch(options);
    while let Some((_, notice)) = watcher.next().await {
        tell(&session.printer, &notice, &program)?;
    }
    Err(Failure::new(INTERRUPTED, "watch is canceled by the server"))
}

/// Key and end, and the program after `--`.
fn split(
    typed: &[Bytes],
    args: &[Bytes],
    environment: &Environment,
) -> Result<(Vec<Bytes>, Vec<Bytes>), Failure> {
    let separator = typed.iter().position(|arg| arg.as_ref() == b"--");
    let program = separator.map_or(&[][..], |at| &typed[at + 1..]);
    if separator.is_some() && program.is_empty() {
        return Err(Failure::bad_args(NO_COMMANDS));
    }
    if typed.is_empty() && environment.key.is_empty() {
        return Err(Failure::bad_args(BAD_NUMBER));
    }
    let own = &args[..args.len().saturating_sub(program.len())];
    if environment.key.is_empty() {
        return Ok((own.to_vec(), program.to_vec()));
    }
    if !own.is_empty() {
        return Err(Failure::bad_args(CONFLICT));
    }
    let mut keys = vec![environment.key.clone()];
    keys.extend((!environment.range_end.is_empty()).then(|| environment.range_end.clone()));
    Ok((keys, program.to_vec()))
}

fn options(args: &[Bytes], values: &Values) -> Result<WatchOptions, String> {
    let Some(key) = args.first() else { return Err(BAD_NUMBER.to_owned()) };
    let prefix = values.truth("prefix");
    if args.len() == 2 && prefix {
        return Err("`range_end` and `--prefix` are mutually exclusive".to_owned());
    }
    let end = args.get(1).filter(|_| args.len() == 2).cloned();
    let (key, range_end) = kv::range(key.clone(), end, prefix, false);
    Ok(WatchOptions {
        key,
        range_end,
        start_revision: values.int("rev"),
        prev_kv: values.truth("prev-kv"),
        progress_notify: values.truth("progress-notify"),
    })
}

/// Prints a notice and runs the program for each of its events.
fn tell(printer: &Printer, notice: &Notice, program: &[Bytes]) -> Result<(), Failure> {
    if notice.canceled {
        let why = notice.error().map_or(String::new(), |error| error.to_string());
        output::complain(&format!("watch was canceled ({why})\n"));
    }
    if notice.is_progress() {
        let text = format!("progress notify: {}\n", notice.header.revision);
        output::print(text.as_bytes());
    }
    printer.notice(notice)?;
    if program.is_empty() {
        return Ok(());
    }
    notice.events.iter().try_for_each(|event| run(program, notice.header.revision, event))
}

fn run(program: &[Bytes], revision: i64, event: &mvccpb::Event) -> Result<(), Failure> {
    let kv = event.kv.clone().unwrap_or_default();
    let kind = crate::output::event_name(event);
    let ended = Command::new(os(&program[0]))
        .args(program[1..].iter().map(|arg| os(arg)))
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quote(kind.as_bytes()))
        .env("ETCD_WATCH_KEY", quote(&kv.key))
        .env("ETCD_WATCH_VALUE", quote(&kv.value))
        .stdin(Stdio::null())
        .status();
    let why = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => crate::commands::lock::status_text(status),
        Err(error) => crate::commands::lock::start_text(&program[0], &error),
    };
    let words: Vec<String> = program.iter().map(quote).collect();
    output::complain(&format!("command [{}] error ({why})\n", words.join(" ")));
    Err(Failure::silent(ERROR))
}

/// Reads wishes line by line while notices come in.
async fn interactive(mut call: Call, environment: Environment) -> Result<(), Failure> {
    let session = connect_to_stay(&mut call).await?;
    let mut lines = lines();
    let mut watcher = session.patient.watcher();
    let mut programs: Vec<Vec<Bytes>> = Vec::new();
    loop {
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else {
                    let text = "error reading watch request line: EOF";
                    return Err(Failure::new(INVALID_INPUT, text));
                };
                take_line(&line, &environment, &mut watcher, &mut programs)?;
            }
            Some((number, notice)) = watcher.next() => {
                tell(&session.printer, &notice, &programs[number])?;
            }
        }
    }
}

fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    #[expect(
        clippy::disallowed_methods,
        reason = "a program of one command has no others to wait"
    )]
    tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn take_line(
    line: &str,
    environment: &Environment,
    watcher: &mut Watcher,
    programs: &mut Vec<Vec<Bytes>>,
) -> Result<(), Failure> {
    let words = txn::words(line).map_err(|why| Failure::new(INVALID_INPUT, why))?;
    match words.first().map(AsRef::as_ref) {
        None => {
            output::complain(&format!("Invalid command: {line} (watch and progress supported)\n"));
        }
        Some(b"watch") if words.len() < 2 && environment.key.is_empty() => {
            let text = format!("Invalid command {line} (command type or key is not provided)\n");
            output::complain(&text);
        }
        Some(b"watch") => match wish(&words[1..], environment)? {
            Ok(wish) => {
                programs.push(wish.program);
                watcher.watch(wish.options);
            }
            Err(why) => output::complain(&format!("Invalid command {line} ({why})\n")),
        },
        Some(b"progress") => watcher.request_progress(),
        Some(_) => output::complain(&format!("Invalid command {line} (only support watch)\n")),
    }
    Ok(())
}

/// A line's flags and keys. The inner error is a remark, the outer one the end.
fn wish(typed: &[Bytes], environment: &Environment) -> Result<Result<Wish, String>, Failure> {
    let watch = ROOT.commands.iter().find(|command| command.name() == "watch");
    let known = watch.expect("it is in the table").flags;
    let flags: Vec<&'static Flag> = known.iter().collect();
    let mut values = Values::of(known);
    let args = read_flags(typed, &flags, &mut values).map_err(Failure::bad_args)?;
    let (args, program) = split(typed, &args, environment)?;
    if args.is_empty() {
        return Err(Failure::bad_args(BAD_NUMBER));
    }
    Ok(options(&args, &values).map(|options| Wish { options, program }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[&str]) -> Vec<Bytes> {
        words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
    }

    #[track_caller]
    fn check(typed: &[&str], args: &[&str], key: &str, expected: Result<(&[&str], &[&str]), &str>) {
        let environment =
            Environment { key: Bytes::copy_from_slice(key.as_bytes()), range_end: Bytes::new() };
        let expected = expected
            .map(|(keys, program)| (bytes(keys), bytes(program)))
            .map_err(Failure::bad_args);
        assert_eq!(split(&bytes(typed), &bytes(args), &environment), expected);
    }

    #[test]
    fn what_stands_after_two_dashes_is_a_program() {
        let typed = ["a", "--rev", "1", "--", "echo", "a"];
        check(&typed, &["a", "echo", "a"], "", Ok((&["a"], &["echo", "a"])));
        check(&["--", "echo"], &["echo"], "k", Ok((&["k"], &["echo"])));
    }

    #[test]
    fn a_key_may_be_typed_or_come_from_the_environment_but_not_both() {
        check(&["a"], &["a"], "k", Err(CONFLICT));
        check(&["a", "--", "echo"], &["a", "echo"], "k", Err(CONFLICT));
        check(&["a", "--"], &["a"], "", Err(NO_COMMANDS));
        check(&[], &[], "", Err(BAD_NUMBER));
    }
}
