//! `exec-watch`: a program is run for each change.

use std::io;
use std::process::{Child, Command};

use crate::api::Reply;
use crate::commands::until_interrupted;
use crate::commands::watch::Watcher;
use crate::connect::connect;
use crate::exit::{BAD_ARGS, Failure, complain};
use crate::parse::Call;

pub async fn exec_watch(call: &Call) -> Result<(), Failure> {
    let client = connect(call).await?;
    let refused = || Failure::error(BAD_ARGS, "key and command to exec required");
    let (key, program, args) = split(&call.args).ok_or_else(refused)?;
    let mut watcher = Watcher::new(&client, key, call);
    let watching = async {
        let mut running: Vec<Child> = Vec::new();
        loop {
            let reply = watcher.next().await?;
            if reply.node.dir {
                complain(&format!("Ignored dir {} change\n", reply.node.key));
                continue;
            }
            // How they ended is their own affair.
            running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            running.push(run(&reply, program, args)?);
        }
    };
    until_interrupted(watching).await
}

/// Key, program, and what the program is given. Behind `--` stands the program; without one the key stands last.
fn split(args: &[String]) -> Option<(&str, &str, &[String])> {
    let separated = args.iter().skip(1).any(|arg| arg == "--");
    let (key, command) = match separated {
        true => (args.first()?, args.get(2..)?),
        false => args.split_last().filter(|(_, command)| !command.is_empty())?,
    };
    let (program, args) = command.split_first()?;
    Some((key, program, args))
}

/// Nobody waits for it: the next change may come meanwhile.
fn run(reply: &Reply, program: &str, args: &[String]) -> Result<Child, Failure> {
    let started = Command::new(program)
        .args(args)
        .env("ETCD_WATCH_ACTION", &reply.action)
        .env("ETCD_WATCH_MODIFIED_INDEX", reply.node.modified_index.to_string())
        .env("ETCD_WATCH_KEY", &reply.node.key)
        .env("ETCD_WATCH_VALUE", &reply.node.value)
        .spawn();
    let failed = |error: io::Error| {
        let stderr = match (error.kind(), program.contains('/')) {
            (io::ErrorKind::NotFound, false) => {
                let program = go::quote(program);
                format!("exec: {program}: executable file not found in $PATH")
            }
            _ => format!("fork/exec {program}: {}", go::io_text(&error)),
        };
        Failure { code: BAD_ARGS, stderr }
    };
    started.map_err(failed)
}
