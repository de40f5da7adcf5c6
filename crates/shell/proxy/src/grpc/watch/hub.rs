//! All shared watches, by what they watch.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::Client;
use metrics::{ProxyFamilies, ProxyMetrics};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::queue::{Command, Group};
use super::source::Subject;
use crate::grpc::namespace::Namespace;
use crate::grpc::upstream::Upstream;

/// Watches at once that read the past or lag; more wait for their turn.
const OWN_MAX: usize = 4096;

/// Watches at the server that are shared; what would need more is refused.
const GROUPS_MAX: usize = 16_384;

/// Watches of all clients together; more are refused.
pub const WATCHES_MAX: usize = 500_000;

/// Where watches find others to share with.
#[derive(Debug)]
pub struct Hub {
    groups: Mutex<HashMap<Subject, Group>>,
    core: Handle,
    upstream: Arc<Upstream>,
    namespace: Namespace,
    metrics: Arc<ProxyMetrics>,
    own_turns: Arc<Semaphore>,
    recent_bytes: AtomicUsize,
    watches: AtomicUsize,
}

/// What is found of a subject.
#[derive(Debug)]
pub enum Found {
    /// Those who watch it.
    Group(Group),
    /// Nobody; both ends of how a group would be spoken to.
    Place(Group, mpsc::UnboundedReceiver<Command>),
    /// Nobody, and there are too many groups.
    Full,
}

impl Hub {
    /// Nothing is watched.
    pub fn new(
        core: Handle,
        upstream: Arc<Upstream>,
        namespace: Namespace,
        metrics: Arc<ProxyMetrics>,
    ) -> Hub {
        Hub {
            groups: Mutex::default(),
            core,
            upstream,
            namespace,
            metrics,
            own_turns: Arc::new(Semaphore::new(OWN_MAX)),
            recent_bytes: AtomicUsize::new(0),
            watches: AtomicUsize::new(0),
        }
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Subject, Group>> {
        // Nobody panics while holding it.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who watch the same; or, where nobody does, a place for them, which is the caller's to fill.
    pub fn find(&self, subject: &Subject) -> Found {
        let mut groups = self.groups();
        match groups.get(subject) {
            Some(group) => Found::Group(group.clone()),
            None if groups.len() < GROUPS_MAX => {
                let (own, commands) = mpsc::unbounded_channel();
                groups.insert(subject.clone(), own.clone());
                self.metrics.proxy.watches_shared.set(groups.len() as i64);
                Found::Place(own, commands)
            }
            None => Found::Full,
        }
    }

    /// Forgets a group, unless somebody has asked it something. Whether it is forgotten.
    pub fn end_if_unused(
        &self,
        subject: &Subject,
        own: &Group,
        is_unused: impl FnOnce() -> bool,
    ) -> bool {
        let mut groups = self.groups();
        let is_unused = is_unused();
        if is_unused && groups.get(subject).is_some_and(|group| group.same_channel(own)) {
            groups.remove(subject);
            self.metrics.proxy.watches_shared.set(groups.len() as i64);
        }
        is_unused
    }

    /// Where tasks run.
    pub fn core(&self) -> &Handle {
        &self.core
    }

    /// Who is asked.
    pub fn client(&self) -> Client {
        self.upstream.clients().paced
    }

    /// Which keys clients see.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What is counted.
    pub fn metrics(&self) -> &ProxyFamilies {
        &self.metrics.proxy
    }

    /// Turns for watches that do not share.
    pub fn own_turns(&self) -> Arc<Semaphore> {
        self.own_turns.clone()
    }

    /// Bytes that all groups keep of what was said lately.
    pub fn recent_bytes(&self) -> &AtomicUsize {
        &self.recent_bytes
    }

    /// Watches of all clients.
    pub fn watches(&self) -> &AtomicUsize {
        &self.watches
    }

    /// Counts those who share.
    pub fn count_members(&self, more: i64) {
        self.metrics.proxy.watchers_coalescing.add(more);
    }
}
