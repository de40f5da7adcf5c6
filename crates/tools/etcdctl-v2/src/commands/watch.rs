//! `watch`.

use crate::api::{Action, Client, Reply, Watch, keys};
use crate::commands::keys::format;
use crate::commands::until_interrupted;
use crate::connect::connect;
use crate::exit::{BAD_ARGS, Failure, SERVER_ERROR, say};
use crate::parse::Call;
use crate::render;

/// The changes of a key, one after the other.
pub struct Watcher<'a> {
    client: &'a Client,
    key: &'a str,
    watch: Watch,
}

impl<'a> Watcher<'a> {
    /// From the flags of a command.
    pub fn new(client: &'a Client, key: &'a str, call: &Call) -> Watcher<'a> {
        let after = call.own.number("after-index").cast_unsigned();
        let from_index = if after == 0 { 0 } else { after.wrapping_add(1) };
        let watch = Watch { recursive: call.own.is_on("recursive"), from_index };
        Watcher { client, key, watch }
    }

    /// The next change, however long it takes.
    pub async fn next(&mut self) -> Result<Reply, Failure> {
        let reply = keys(self.client, self.key, &Action::Watch(self.watch)).await;
        let reply = reply.map_err(|fault| Failure::of(SERVER_ERROR, &fault))?;
        self.watch.from_index = reply.node.modified_index + 1;
        Ok(reply)
    }
}

pub async fn watch(call: &Call) -> Result<(), Failure> {
    let client = connect(call).await?;
    let key = call.args.first().ok_or_else(|| Failure::error(BAD_ARGS, "key required"))?;
    until_interrupted(follow(call, &client, key)).await
}

async fn follow(call: &Call, client: &Client, key: &str) -> Result<(), Failure> {
    let mut watcher = Watcher::new(client, key, call);
    loop {
        let reply = watcher.next().await?;
        if reply.node.dir {
            continue;
        }
        if call.own.is_on("recursive") {
            say(format!("[{}] {}", reply.action, reply.node.key));
        }
        render::reply(&reply, format(call));
        if !call.own.is_on("forever") {
            return Ok(());
        }
    }
}
