//! What a request of the log does to the tree, in etcd's order of checks (`docs/etcd/http.md` 5).
//!
//! The order matters: which refusal a client gets when two apply, and which counter counts it, is part of what clients
//! and members agree on.

use std::sync::Arc;

use crate::UnixNanos;
use crate::error::{Code, Error};
use crate::event::{Action, Event, NodeView};
use crate::path::{PATH_PARTS_MAX, normal, prefixes, split};
use crate::row::{self, Change};
use crate::tree::{Kind, Node, Passed, Tree};

/// Ends before the year 2000 are taken for none where a node is made, as in etcd.
const END_MIN: UnixNanos = 946_684_800_000_000_000;

/// What an entry of the log asks of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Remove a node.
    Delete,
    /// Make a node whose name is its index.
    Post,
    /// Write a node.
    Put,
    /// Read a node, in the log's order.
    QGet,
    /// Remove every node that has ended by the request's time.
    Sync,
}

impl Method {
    /// The method of this name in an entry.
    pub fn from_name(name: &str) -> Option<Method> {
        match name {
            "DELETE" => Some(Method::Delete),
            "POST" => Some(Method::Post),
            "PUT" => Some(Method::Put),
            "QGET" => Some(Method::QGet),
            "SYNC" => Some(Method::Sync),
            _ => None,
        }
    }

    /// Its name in an entry.
    pub fn name(self) -> &'static str {
        match self {
            Method::Delete => "DELETE",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::QGet => "QGET",
            Method::Sync => "SYNC",
        }
    }
}

/// A request as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Where, with the namespace in front.
    pub path: String,
    /// A file's value.
    pub value: String,
    /// Whether a directory is meant.
    pub dir: bool,
    /// Only if the value is this one; empty for any.
    pub previous_value: String,
    /// Only if the last change was this one; 0 for any.
    pub previous_index: u64,
    /// Only if it is, or is not, there.
    pub previous_exists: Option<bool>,
    /// When the node ends; 0 for never.
    pub ends: UnixNanos,
    /// With everything below.
    pub recursive: bool,
    /// Keep the value, and tell nobody who watches.
    pub refresh: bool,
    /// The clock of the member that proposed it.
    pub time: UnixNanos,
}

impl Default for Request {
    /// A read of the root.
    fn default() -> Request {
        Request {
            method: Method::QGet,
            path: "/".to_owned(),
            value: String::new(),
            dir: false,
            previous_value: String::new(),
            previous_index: 0,
            previous_exists: None,
            ends: 0,
            recursive: false,
            refresh: false,
            time: 0,
        }
    }
}

/// What came of a request.
#[derive(Debug)]
pub struct Outcome {
    /// What the asker is told; nothing for [`Method::Sync`].
    pub answer: Result<Option<Arc<Event>>, Error>,
    /// What others are told, in order.
    pub passed: Vec<Passed>,
    /// What to keep.
    pub changes: Vec<Change>,
}

/// What came of a write: its event, and what went with it.
type Written = Result<Passed, Error>;

pub(crate) fn step(tree: &mut Tree, request: &Request) -> Outcome {
    let before = tree.index();
    let mut passed = Vec::new();
    let answer = match request.method {
        Method::Sync => {
            passed = expire(tree, request.time);
            Ok(None)
        }
        Method::QGet => checked(tree, &request.path, 0)
            .and_then(|()| tree.get(&request.path, request.recursive, request.time))
            .map(|event| Some(Arc::new(event))),
        Method::Delete | Method::Post | Method::Put => {
            let bytes = request.value.len();
            let written = checked(tree, &request.path, bytes).and_then(|()| write(tree, request));
            written.map(|one| {
                let event = one.event.clone();
                passed.push(one);
                Some(event)
            })
        }
    };
    let mut changes = std::mem::take(&mut tree.changes);
    if tree.index() != before {
        changes.push(row::index_row(tree.index()));
    }
    Outcome { answer, passed, changes }
}

/// What etcd has no bound for, and every member here must refuse alike.
fn checked(tree: &Tree, path: &str, value_bytes: usize) -> Result<(), Error> {
    let parts = path.split('/').count();
    if PATH_PARTS_MAX < parts {
        let cause = format!("a key of more than {PATH_PARTS_MAX} parts");
        return Err(Error::new(Code::InvalidForm, cause, tree.index()));
    }
    // Every directory on the way may be new.
    if 0 < value_bytes && !tree.has_room(value_bytes + parts * path.len()) {
        return Err(Error::new(Code::RaftInternal, "the v2 store is full", tree.index()));
    }
    Ok(())
}

fn write(tree: &mut Tree, request: &Request) -> Written {
    let path = normal(&request.path);
    let is_conditional = 0 < request.previous_index || !request.previous_value.is_empty();
    match (request.method, request.previous_exists) {
        (Method::Delete, _) if is_conditional => compare_and_delete(tree, &path, request),
        (Method::Delete, _) => delete(tree, &path, request),
        (Method::Post, _) => {
            let name = format!("{path}/{:020}", tree.index() + 1);
            create(tree, &normal(&name), request)
        }
        (_, Some(true)) if !is_conditional => update(tree, &path, request),
        (_, Some(false)) => create(tree, &path, request),
        (_, Some(true) | None) if is_conditional => compare_and_swap(tree, &path, request),
        (_, Some(true) | None) => set(tree, &path, request),
    }
}

fn root(tree: &Tree) -> Error {
    Error::new(Code::RootReadOnly, "/", tree.index())
}

fn create(tree: &mut Tree, path: &str, request: &Request) -> Written {
    let made = make(tree, path, request, request.value.as_str().into(), Action::Create, false);
    match &made {
        Ok(_) => tree.stats.create_success += 1,
        Err(_) => tree.stats.create_fail += 1,
    }
    Ok(Passed { event: Arc::new(made?), removed: Vec::new() })
}

fn set(tree: &mut Tree, path: &str, request: &Request) -> Written {
    let before = match tree.find(path) {
        Ok(_) => Ok(tree.view(path, request.time)),
        Err(error) => Err(error),
    };
    let made = match &before {
        Err(error) if error.code != Code::KeyNotFound || request.refresh => Err(error.clone()),
        _ => {
            let kept = before.as_ref().ok().and_then(|view| view.value.clone());
            let value = match request.refresh {
                true => kept.unwrap_or_else(|| "".into()),
                false => request.value.as_str().into(),
            };
            make(tree, path, request, value, Action::Set, true)
        }
    };
    match &made {
        Ok(_) => tree.stats.sets_success += 1,
        Err(_) => tree.stats.sets_fail += 1,
    }
    let mut event = made?;
    event.previous = before.ok();
    event.refresh = request.refresh;
    Ok(Passed { event: Arc::new(event), removed: Vec::new() })
}

/// Makes a node, and the directories it lies in. With `replaces` it may take the place of a file.
fn make(
    tree: &mut Tree,
    path: &str,
    request: &Request,
    value: Arc<str>,
    action: Action,
    replaces: bool,
) -> Result<Event, Error> {
    let (now, next) = (tree.index(), tree.index() + 1);
    if tree.is_read_only(path) {
        return Err(root(tree));
    }
    let (parent, _) = split(path);
    for prefix in prefixes(parent) {
        match tree.node(prefix) {
            Some(node) if node.is_dir() => {}
            Some(_) => {
                tree.stats.sets_fail += 1;
                return Err(Error::new(Code::NotDir, prefix, now));
            }
            None => {
                let dir = Node { kind: Kind::Dir, created: next, modified: next, ends: None };
                tree.put(prefix, dir);
            }
        }
    }
    match tree.node(path) {
        None => {}
        Some(node) if replaces && node.is_dir() => {
            return Err(Error::new(Code::NotFile, path, now));
        }
        Some(_) if replaces => {}
        Some(_) => return Err(Error::new(Code::NodeExist, path, now)),
    }
    let kind = if request.dir { Kind::Dir } else { Kind::File(value) };
    let ends = (END_MIN <= request.ends).then_some(request.ends);
    tree.put(path, Node { kind, created: next, modified: next, ends });
    let index = tree.advance();
    let node = tree.view(path, request.time);
    Ok(Event { action, node, previous: None, index, refresh: false })
}

fn update(tree: &mut Tree, path: &str, request: &Request) -> Written {
    if !tree.is_read_only(path) && tree.find(path).is_err() {
        tree.stats.update_fail += 1;
    } else {
        // Whatever is found and refused then, etcd counts as done.
        tree.stats.update_success += 1;
    }
    if tree.is_read_only(path) {
        return Err(root(tree));
    }
    let node = tree.find(path)?.clone();
    if node.is_dir() && !request.value.is_empty() {
        return Err(Error::new(Code::NotFile, path, tree.index()));
    }
    Ok(change(tree, path, node, request, Action::Update))
}

/// Writes a value and an end to a node that is there. A directory keeps its index, as in etcd.
fn change(tree: &mut Tree, path: &str, old: Node, request: &Request, action: Action) -> Passed {
    let previous = Some(tree.view(path, request.time));
    let index = tree.advance();
    let ends = (request.ends != 0).then_some(request.ends);
    let new = match &old.kind {
        Kind::Dir => Node { ends, ..old.clone() },
        Kind::File(kept) => {
            let value = if request.refresh { kept.clone() } else { request.value.as_str().into() };
            Node { kind: Kind::File(value), modified: index, ends, ..old }
        }
    };
    tree.put(path, new);
    let node = NodeView { modified: index, ..tree.view(path, request.time) };
    let event = Event { action, node, previous, index, refresh: request.refresh };
    Passed { event: Arc::new(event), removed: Vec::new() }
}

fn compare_and_swap(tree: &mut Tree, path: &str, request: &Request) -> Written {
    if tree.is_read_only(path) {
        // etcd counts this one as done.
        tree.stats.compare_and_swap_success += 1;
        return Err(root(tree));
    }
    let found = file(tree, path).and_then(|node| compared(tree, node, request));
    match &found {
        Ok(_) => tree.stats.compare_and_swap_success += 1,
        Err(_) => tree.stats.compare_and_swap_fail += 1,
    }
    Ok(change(tree, path, found?, request, Action::CompareAndSwap))
}

fn file(tree: &Tree, path: &str) -> Result<Node, Error> {
    match tree.find(path)? {
        node if node.is_dir() => Err(Error::new(Code::NotFile, path, tree.index())),
        node => Ok(node.clone()),
    }
}

/// The node, if it is as it was thought to be.
fn compared(tree: &Tree, node: Node, request: &Request) -> Result<Node, Error> {
    let (index, value) = (request.previous_index, &request.previous_value);
    let actual = node.value();
    let is_index = index == 0 || node.modified == index;
    let is_value = value.is_empty() || **value == *actual;
    let cause = match (is_value, is_index) {
        (true, true) => return Ok(node),
        (true, false) => format!("[{index} != {}]", node.modified),
        (false, true) => format!("[{value} != {actual}]"),
        (false, false) => format!("[{value} != {actual}] [{index} != {}]", node.modified),
    };
    Err(Error::new(Code::TestFailed, cause, tree.index()))
}

fn delete(tree: &mut Tree, path: &str, request: &Request) -> Written {
    if tree.is_read_only(path) {
        // etcd counts this one as done.
        tree.stats.delete_success += 1;
        return Err(root(tree));
    }
    let refused = match tree.find(path) {
        Err(error) => Some(error),
        Ok(node) if !node.is_dir() || request.recursive => None,
        Ok(_) if !request.dir => Some(Error::new(Code::NotFile, path, tree.index())),
        Ok(_) if tree.has_children(path) => Some(Error::new(Code::DirNotEmpty, path, tree.index())),
        Ok(_) => None,
    };
    match refused {
        Some(error) => {
            tree.stats.delete_fail += 1;
            Err(error)
        }
        None => {
            tree.stats.delete_success += 1;
            Ok(take(tree, path, request.time, Action::Delete))
        }
    }
}

fn compare_and_delete(tree: &mut Tree, path: &str, request: &Request) -> Written {
    if let Err(error) = tree.find(path) {
        tree.stats.compare_and_delete_fail += 1;
        return Err(error);
    }
    // What is found and refused etcd counts as done.
    tree.stats.compare_and_delete_success += 1;
    let node = file(tree, path)?;
    compared(tree, node, request)?;
    Ok(take(tree, path, request.time, Action::CompareAndDelete))
}

/// Removes a node with everything below it.
fn take(tree: &mut Tree, path: &str, now: UnixNanos, action: Action) -> Passed {
    let previous = tree.view(path, now);
    let index = tree.advance();
    let removed = tree.remove(path);
    let node = NodeView {
        key: previous.key.clone(),
        dir: previous.dir,
        modified: index,
        created: previous.created,
        ..NodeView::default()
    };
    let event = Event { action, node, previous: Some(previous), index, refresh: false };
    Passed { event: Arc::new(event), removed }
}

/// Removes what has ended by `time`, soonest first; each is a change of its own.
fn expire(tree: &mut Tree, time: UnixNanos) -> Vec<Passed> {
    let mut passed = Vec::new();
    while let Some(path) = tree.ended(time) {
        tree.stats.expire_count += 1;
        passed.push(take(tree, &path, time, Action::Expire));
    }
    passed
}
