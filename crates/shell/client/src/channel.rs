//! All endpoints together: each is connected to and connected to again, a call takes one that is ready,
//! in turn, and waits while none is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, Upkeep};
use crate::endpoint::{Encryption, Endpoint};
use crate::error::Error;
use crate::tls::TlsOptions;

/// The first wait after a failed dial; each further one is longer by half, up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// A dial that takes longer has failed.
const DIAL_DURATION_MAX: Duration = Duration::from_secs(20);

/// The connections to all endpoints; clones share them.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    slots: Vec<Slot>,
    upkeep: Upkeep,
    /// Somebody became ready, or failed.
    changed: Notify,
    turn: AtomicUsize,
    last_failure: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    tls: Option<(Arc<ClientConfig>, String)>,
    state: Mutex<State>,
    /// Why the last dial of this endpoint failed; gone when one succeeds.
    failure: Mutex<Option<String>>,
}

#[derive(Debug)]
enum State {
    Idle,
    Connecting,
    Ready(Connection),
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nobody panics while holding it, and if somebody did, the state is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    /// Nothing is connected before the first call.
    pub(crate) fn new(
        endpoints: &[String],
        options: &TlsOptions,
        upkeep: Upkeep,
    ) -> Result<Channel, Error> {
        let misuse = |error: crate::tls::TlsError| Error::Misuse(error.to_string());
        let configured = options.config().map_err(misuse)?;
        let mut slots = Vec::new();
        for text in endpoints {
            let endpoint = Endpoint::parse(text);
            let config = match (endpoint.encryption, &configured) {
                (Encryption::Never, _) | (Encryption::IfConfigured, None) => None,
                (_, Some(config)) => Some(config.clone()),
                (Encryption::Required, None) => Some(options.build().map_err(misuse)?),
            };
            let name = match options.server_name.as_str() {
                "" => endpoint.server_name.clone(),
                given => given.to_owned(),
            };
            let tls = config.map(|config| (config, name));
            let (state, failure) = (Mutex::new(State::Idle), Mutex::new(None));
            slots.push(Slot { endpoint, tls, state, failure });
        }
        let (changed, turn, last_failure) = (Notify::new(), AtomicUsize::new(0), Mutex::new(None));
        Ok(Channel(Arc::new(Shared { slots, upkeep, changed, turn, last_failure })))
    }

    /// How many endpoints there are.
    pub fn endpoint_count(&self) -> usize {
        self.0.slots.len()
    }

    /// The address of the first endpoint, by which the channel is known.
    pub fn target(&self) -> &str {
        self.0.slots.first().map_or("", |slot| slot.endpoint.target())
    }

    /// Why the last dial failed, in grpc-go's words.
    pub fn last_failure(&self) -> Option<String> {
        locked(&self.0.last_failure).clone()
    }

    /// The endpoints that could not be reached, and why, for people.
    pub fn failures(&self) -> Vec<(String, String)> {
        let told = |slot: &Slot| {
            let why = locked(&slot.failure).as_deref().map(plainly)?;
            let encrypted = slot.tls.is_some();
            let guess = match why.contains("server preface") {
                true if !encrypted => "; does it expect TLS (https://)?",
                _ if encrypted && why.contains("InvalidContentType") => {
                    "; does it speak TLS at all?"
                }
                _ => "",
            };
            Some((slot.endpoint.text.clone(), format!("{why}{guess}")))
        };
        self.0.slots.iter().filter_map(told).collect()
    }

    /// A connection that is ready; waits for one.
    pub(crate) async fn ready(&self) -> Connection {
        for (index, slot) in self.0.slots.iter().enumerate() {
            let mut state = locked(&slot.state);
            if matches!(*state, State::Idle) {
                *state = State::Connecting;
                tokio::spawn(keep_connected(Arc::downgrade(&self.0), index));
            }
        }
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(connection) = self.pick() {
                return connection;
            }
            changed.await;
        }
    }

    fn pick(&self) -> Option<Connection> {
        let ready: Vec<Connection> = self
            .0
            .slots
            .iter()
            .filter_map(|slot| match &*locked(&slot.state) {
                State::Ready(connection) if connection.is_open() => Some(connection.clone()),
                _ => None,
            })
            .collect();
        if ready.is_empty() {
            return None;
        }
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        ready.into_iter().cycle().nth(turn % self.0.slots.len().max(1))
    }
}

/// A failure to dial without the words that grpc-go puts around it.
fn plainly(text: &str) -> String {
    let starts = ["Error while dialing: ", "transport: ", "desc = \""];
    let inner = starts.iter().find_map(|start| text.split_once(start)).map_or(text, |(_, why)| why);
    inner.trim_end_matches('"').to_owned()
}

/// Connects to one endpoint again and again, until the channel is gone.
async fn keep_connected(channel: Weak<Shared>, index: usize) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let opened = {
            let Some(shared) = channel.upgrade() else { return };
            let (slot, upkeep) = (&shared.slots[index], shared.upkeep);
            let authority = shared.slots[0].endpoint.authority();
            let opening = Connection::open(&slot.endpoint, &authority, slot.tls.as_ref(), upkeep);
            match timeout(DIAL_DURATION_MAX, opening).await {
                Ok(opened) => opened,
                Err(_) => Err(format!(
                    "connection error: desc = \"transport: Error while dialing: dial {}: i/o \
                     timeout\"",
                    slot.endpoint.go_address()
                )),
            }
        };
        let Some(shared) = channel.upgrade() else { return };
        match opened {
            Ok(mut connection) => {
                *locked(&shared.slots[index].state) = State::Ready(connection.clone());
                *locked(&shared.slots[index].failure) = None;
                shared.changed.notify_waiters();
                drop(shared);
                connection.ended().await;
                backoff = BACKOFF_MIN;
                let Some(shared) = channel.upgrade() else { return };
                *locked(&shared.slots[index].state) = State::Connecting;
            }
            Err(text) => {
                *locked(&shared.slots[index].failure) = Some(text.clone());
                *locked(&shared.last_failure) = Some(text);
                drop(shared);
            }
        }
        sleep(backoff).await;
        backoff = (backoff * 3 / 2).min(BACKOFF_MAX);
    }
}
