//! What an operator should read about peers, once when it begins and once when it ends.

use std::io;

use net::RemoteAddress;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Good to know.
    Info,
    /// Something does not work.
    Warn,
}

/// Where events go.
pub trait Report: Send + Sync + 'static {
    /// Takes an event; on the thread of the peers, so it must not wait.
    fn event(&self, event: Event);

    /// A connection ended before it could be served: its handshake failed.
    fn rejected(&self, address: &RemoteAddress, why: &io::Error);
}

/// One line of the log: etcd's words, where etcd has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub text: &'static str,
    /// With whom, and why, under etcd's names.
    pub fields: Vec<(&'static str, go::Value)>,
}

impl Event {
    /// Good to know.
    pub(super) fn info(text: &'static str, peer: &str) -> Event {
        Event { level: Level::Info, text, fields: vec![("remote-peer-id", peer.into())] }
    }

    /// Something does not work.
    pub(super) fn warn(text: &'static str, peer: &str) -> Event {
        Event { level: Level::Warn, text, fields: vec![("remote-peer-id", peer.into())] }
    }

    /// One more field.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<go::Value>) -> Event {
        self.fields.push((name, value.into()));
        self
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&go::Value> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}
