//! Commands about keys and directories.

use crate::api::{Action, Client, Get, Node, Remove, Reply, Set, keys};
use crate::connect::{connect, in_time};
use crate::exit::{BAD_ARGS, Failure, SERVER_ERROR, say};
use crate::parse::Call;
use crate::render;

/// What every command here begins with: a client, and the key.
async fn begin(call: &Call) -> Result<(Client, &str), Failure> {
    let client = connect(call).await?;
    let key = call.args.first().ok_or_else(|| Failure::error(BAD_ARGS, "key required"))?;
    Ok((client, key))
}

fn value(call: &Call) -> Result<String, Failure> {
    let value = call.args.get(1).cloned();
    value.ok_or_else(|| Failure::error(BAD_ARGS, "value required"))
}

async fn done(call: &Call, client: &Client, key: &str, action: Action) -> Result<Reply, Failure> {
    let reply = in_time(call, keys(client, key, &action)).await;
    reply.map_err(|fault| Failure::of(SERVER_ERROR, &fault))
}

fn show(call: &Call, reply: &Reply) {
    render::reply(reply, format(call));
}

/// `--output`.
pub fn format(call: &Call) -> &str {
    if call.global.texts("output").is_empty() { "simple" } else { call.global.text("output") }
}

pub async fn get(call: &Call) -> Result<(), Failure> {
    let (client, key) = begin(call).await?;
    let (sorted, quorum) = (call.own.is_on("sort"), call.own.is_on("quorum"));
    let get = Get { recursive: false, sorted, quorum };
    let reply = done(call, &client, key, Action::Get(get)).await?;
    if reply.node.dir {
        return Err(Failure::line(format!("{}: is a directory", reply.node.key)));
    }
    show(call, &reply);
    Ok(())
}

pub async fn ls(call: &Call) -> Result<(), Failure> {
    let client = connect(call).await?;
    let key = call.args.first().map_or("/", String::as_str);
    let get = Get {
        recursive: call.own.is_on("recursive"),
        sorted: call.own.is_on("sort"),
        quorum: call.own.is_on("quorum"),
    };
    let reply = done(call, &client, key, Action::Get(get)).await?;
    match format(call) {
        "simple" if reply.node.dir => {
            for node in reply.node.nodes.iter().flatten() {
                list(node, call.own.is_on("p"));
            }
        }
        "simple" => list(&reply.node, call.own.is_on("p")),
        _ => show(call, &reply),
    }
    Ok(())
}

/// The paths of a node and of what was listed with it.
fn list(node: &Node, slash: bool) {
    let slash_here = if slash && node.dir { "/" } else { "" };
    say(format!("{}{slash_here}", node.key));
    for below in node.nodes.iter().flatten() {
        list(below, slash);
    }
}

pub async fn set(call: &Call) -> Result<(), Failure> {
    let (client, key) = begin(call).await?;
    let set = Set {
        value: Some(value(call)?),
        ttl: call.own.number("ttl"),
        exists: None,
        previous_value: call.own.text("swap-with-value").to_owned(),
        previous_index: call.own.number("swap-with-index"),
    };
    let reply = done(call, &client, key, Action::Set(set)).await?;
    show(call, &reply);
    Ok(())
}

pub async fn update(call: &Call) -> Result<(), Failure> {
    let (client, key) = begin(call).await?;
    let (value, ttl) = (Some(value(call)?), call.own.number("ttl"));
    let set = Set { value, ttl, exists: Some(true), ..Set::default() };
    let reply = done(call, &client, key, Action::Set(set)).await?;
    show(call, &reply);
    Ok(())
}

pub async fn mk(call: &Call) -> Result<(), Failure> {
    let (client, key) = begin(call).await?;
    let set = Set { value: Some(value(call)?), ttl: call.own.number("ttl"), ..Set::default() };
    let action = match call.own.is_on("in-order") {
        true => Action::MakeInOrder(set),
        false => Action::Set(Set { exists: Some(false), ..set }),
    };
    let reply = done(call, &client, key, action).await?;
    show(call, &reply);
    Ok(())
}

/// A directory that must not be there yet, must be there, or either.
pub async fn mkdir(call: &Call, exists: Option<bool>) -> Result<(), Failure> {
    let (client, key) = begin(call).await?;
    let set = Set { value: None, ttl: call.own.number("ttl"), exists, ..Set::default() };
    let reply = done(call, &client, key, Action::Set(set)).await?;
    show_unless_simple(call, &reply);
    Ok(())
}

pub async fn rm(call: &Call) -> Result<(), Failure> {
    let (client, key) = begin(call).await?;
    let remove = Remove {
        dir: call.own.is_on("dir"),
        recursive: call.own.is_on("recursive"),
        previous_value: call.own.text("with-value").to_owned(),
        previous_index: call.own.number("with-index"),
    };
    let reply = done(call, &client, key, Action::Remove(remove)).await?;
    if !reply.node.dir || format(call) != "simple" {
        show(call, &reply);
    }
    Ok(())
}

pub async fn rmdir(call: &Call) -> Result<(), Failure> {
    let (client, key) = begin(call).await?;
    let remove = Remove { dir: true, ..Remove::default() };
    let reply = done(call, &client, key, Action::Remove(remove)).await?;
    if !reply.node.dir || format(call) != "simple" {
        show(call, &reply);
    }
    Ok(())
}

/// A directory has no value to show.
fn show_unless_simple(call: &Call, reply: &Reply) {
    if format(call) != "simple" {
        show(call, reply);
    }
}
