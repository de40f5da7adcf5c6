//! `/v2/keys`.

use std::fmt;

use http::{Method, StatusCode};
use serde::Deserialize;

use crate::api::client::Wanted;
use crate::api::{Answer, Client, Fault};
use crate::url::form;

const PATH: &str = "/v2/keys";
const FORM: &str = "application/x-www-form-urlencoded";

/// A key or directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its path; empty for the root.
    pub key: String,
    /// Whether it is a directory.
    pub dir: bool,
    /// A directory has none.
    pub value: String,
    /// What is in a directory, if it was listed.
    pub nodes: Option<Vec<Node>>,
    /// The index at which it was made.
    #[serde(rename = "createdIndex")]
    pub created_index: u64,
    /// The index at which it was changed last.
    #[serde(rename = "modifiedIndex")]
    pub modified_index: u64,
    /// When it ends, as the server writes it.
    pub expiration: Option<String>,
    /// How many seconds are left; 0 for ever.
    pub ttl: i64,
}

/// What the server did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// `get`, `set`, `create`, `update`, `delete`, `compareAndSwap`, `compareAndDelete`, `expire`.
    pub action: String,
    /// What it is now.
    pub node: Node,
    /// What it was before.
    #[serde(rename = "prevNode")]
    pub prev_node: Option<Node>,
    /// The newest index there, from the answer's header.
    #[serde(skip)]
    pub index: u64,
}

/// What the server does not do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// The number of the error.
    #[serde(rename = "errorCode")]
    pub code: i64,
    /// Its words.
    pub message: String,
    /// What they are about.
    pub cause: String,
    /// The newest index there.
    pub index: u64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {} ({}) [{}]", self.code, self.message, self.cause, self.index)
    }
}

/// How a key is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Get {
    /// With everything below.
    pub recursive: bool,
    /// By name.
    pub sorted: bool,
    /// As the majority has it.
    pub quorum: bool,
}

/// How a key is written.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// The value; a directory has none.
    pub value: Option<String>,
    /// Seconds it lives; 0 for ever.
    pub ttl: i64,
    /// Whether it must be there already.
    pub exists: Option<bool>,
    /// What its value must be; empty for anything.
    pub previous_value: String,
    /// What its index must be; 0 for any.
    pub previous_index: i64,
}

/// How a key is removed.
#[derive(Clone, Debug, Default)]
pub struct Remove {
    /// An empty directory too.
    pub dir: bool,
    /// A directory with all it holds.
    pub recursive: bool,
    /// As in [`Set`].
    pub previous_value: String,
    /// As in [`Set`].
    pub previous_index: i64,
}

/// How a key is watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// With everything below.
    pub recursive: bool,
    /// The first index of interest; 0 for the next change.
    pub from_index: u64,
}

/// What is done with a key.
#[derive(Clone, Debug)]
pub enum Action {
    /// It is read.
    Get(Get),
    /// It is written.
    Set(Set),
    /// A key is made below it, named after the index.
    MakeInOrder(Set),
    /// It is removed.
    Remove(Remove),
    /// Its next change is awaited.
    Watch(Watch),
}

/// Does something with a key.
///
/// # Errors
/// [`Fault`].
pub async fn keys(client: &Client, key: &str, action: &Action) -> Result<Reply, Fault> {
    loop {
        let answer = client.ask(&wanted(key, action)).await?;
        let is_empty = answer.body.is_empty() && answer.status.is_success();
        // A server that ends sends nothing to those who watch; they ask again.
        if !is_empty || !matches!(action, Action::Watch(_)) {
            return read(&answer);
        }
    }
}

fn wanted(key: &str, action: &Action) -> Wanted {
    let slash = if key.is_empty() || key.starts_with('/') { "" } else { "/" };
    let mut wanted = Wanted::get(format!("{PATH}{slash}{key}"));
    match action {
        Action::Get(get) => wanted.query = of_get(get),
        Action::Watch(watch) => {
            wanted.waits = true;
            wanted.query = form(&[
                ("recursive", watch.recursive.to_string()),
                ("wait", true.to_string()),
                ("waitIndex", watch.from_index.to_string()),
            ]);
        }
        Action::Set(set) => {
            wanted.method = Method::PUT;
            wanted.query = of_set(set);
            wanted.body = Some((FORM, body(set)));
            wanted.once = set.exists == Some(false);
        }
        Action::MakeInOrder(set) => {
            wanted.method = Method::POST;
            wanted.body = Some((FORM, body(set)));
        }
        Action::Remove(remove) => {
            wanted.method = Method::DELETE;
            wanted.query = of_remove(remove);
            wanted.once = true;
        }
    }
    wanted
}

fn of_get(get: &Get) -> String {
    form(&[
        ("recursive", get.recursive.to_string()),
        ("sorted", get.sorted.to_string()),
        ("quorum", get.quorum.to_string()),
    ])
}

fn of_set(set: &Set) -> String {
    let mut pairs = previous(&set.previous_value, set.previous_index);
    if let Some(exists) = set.exists {
        pairs.push(("prevExist", exists.to_string()));
    }
    if set.value.is_none() {
        pairs.push(("dir", true.to_string()));
    }
    form(&pairs)
}

fn of_remove(remove: &Remove) -> String {
    let mut pairs = previous(&remove.previous_value, remove.previous_index);
    if remove.dir {
        pairs.push(("dir", true.to_string()));
    }
    if remove.recursive {
        pairs.push(("recursive", true.to_string()));
    }
    form(&pairs)
}

fn previous(value: &str, index: i64) -> Vec<(&'static str, String)> {
    let value = (!value.is_empty()).then(|| ("prevValue", value.to_owned()));
    // As Go: what is below nothing is a very large number.
    let index = (index != 0).then(|| ("prevIndex", index.cast_unsigned().to_string()));
    value.into_iter().chain(index).collect()
}

fn body(set: &Set) -> String {
    let value = set.value.as_ref().map(|value| ("value", value.clone()));
    let ttl = (set.ttl > 0).then(|| ("ttl", set.ttl.to_string()));
    form(&value.into_iter().chain(ttl).collect::<Vec<_>>())
}

fn read(answer: &Answer) -> Result<Reply, Fault> {
    match answer.status {
        StatusCode::OK | StatusCode::CREATED if answer.body.is_empty() => {
            Err(Fault::Said("client: response body is empty".to_owned()))
        }
        StatusCode::OK | StatusCode::CREATED => {
            let reply = serde_json::from_slice::<Reply>(&answer.body);
            let reply = reply.map_err(|_| Fault::invalid_json())?;
            Ok(Reply { index: answer.index.unwrap_or(0), ..reply })
        }
        _ => match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(refusal) => Err(Fault::Refused(refusal)),
            Err(_) => Err(Fault::invalid_json()),
        },
    }
}
