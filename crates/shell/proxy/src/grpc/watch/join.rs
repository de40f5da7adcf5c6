//! How a watch comes to share one with others.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::group;
use super::hub::{Found, Hub};
use super::queue::{Command, Member, Queue};
use super::source::{Source, Subject};

/// Why a watch goes on alone; it gets its stream back.
#[derive(Debug)]
pub struct Alone {
    /// Its own.
    pub source: Source,
    /// To try again when it has come so far; `None` if there are too many watches.
    pub goal: Option<i64>,
}

/// Joins those who watch the same. The first one brings its stream for all.
///
/// # Errors
/// They are too far ahead, or there are too many.
pub async fn join(
    hub: &Arc<Hub>,
    subject: &Subject,
    (watch, next): (u64, i64),
    queue: &Queue,
    source: Source,
) -> Result<(), Alone> {
    let member = || Member { watch, next, queue: queue.clone() };
    loop {
        let group = match hub.find(subject) {
            Found::Group(group) => group,
            Found::Place(own, commands) => {
                group::start(hub.clone(), subject.clone(), (own, commands), source, member());
                return Ok(());
            }
            Found::Full => return Err(Alone { source, goal: None }),
        };
        let (reply, answer) = oneshot::channel();
        let sent = group.send(Command::Join { member: member(), reply });
        match (sent, answer.await) {
            (Ok(()), Ok(Ok(()))) => return Ok(()),
            (Ok(()), Ok(Err(goal))) => return Err(Alone { source, goal: Some(goal) }),
            // It ended meanwhile.
            _ => {}
        }
    }
}
