//! `etcd gateway`: bytes from whoever connects to one of the endpoints, and back.
//!
//! Each connection is taken to an endpoint of the best priority that is not known to be down, by weight
//! within it. One that cannot be reached is left alone until its retry. Where certificates are to be looked
//! at, an endpoint must show a good one *for each connection*, not only when the gateway starts: it could
//! lose its certificate, or its place to somebody else, at any time.
//!
//! Always true: a connection holds at most two descriptors and 16 KiB each way, and above the number of
//! connections the system has descriptors for, new ones wait in the kernel's queue.

mod carry;
mod picker;
pub(crate) mod place;
mod vet;

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use logging::{Logger, info};
use net::Descriptors;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::options::GatewayOptions;
use picker::Picker;
use place::Place;
use vet::Vetting;

/// Connections at once, if the system has descriptors for so many.
const CONNECTIONS_MAX: usize = 50_000;

/// Why a gateway does not start, and where etcd says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayError {
    /// On standard output.
    Stdout(String),
    /// On standard error, with the line's end.
    Stderr(String),
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    listener: TcpListener,
}

/// What every connection knows.
#[derive(Debug)]
struct Shared {
    places: Vec<Place>,
    picker: Mutex<Picker>,
    vetting: Option<Vetting>,
    retry_delay: Duration,
    /// Room for connections.
    room: Arc<Semaphore>,
    log: Logger,
}

impl Gateway {
    /// Finds the endpoints, looks at those that must show a certificate, and listens.
    ///
    /// # Errors
    /// [`GatewayError`], in etcd's words where it has them.
    pub fn open(options: &GatewayOptions, log: &Logger) -> Result<Gateway, GatewayError> {
        let stderr = |why: String| GatewayError::Stderr(why + "\n");
        let stdout = |why: &str| GatewayError::Stdout(why.to_owned());
        let found = options.discovery.ask(log).map_err(stderr)?;
        let vetting = Vetting::of(options, !found.is_empty()).map_err(stderr)?;
        let places = match found.as_slice() {
            [] => Place::of_endpoints(&options.endpoints, vetting.is_some()),
            found => Ok(Place::of_records(found, options, log)),
        };
        let places = places.map_err(GatewayError::Stdout)?;
        let listen = place::listen_addresses(&options.listen).map_err(GatewayError::Stdout)?;
        for place in &places {
            place.check_elsewhere(&listen, &options.listen).map_err(GatewayError::Stdout)?;
        }
        if places.is_empty() {
            return Err(stdout("no endpoints found\n"));
        }
        let listener = place::bind(&options.listen, &listen).map_err(stderr)?;
        let room = Descriptors::raise().for_connections(2 * CONNECTIONS_MAX) / 2;
        let picker = Mutex::new(Picker::new(&places));
        let shared = Shared {
            places,
            picker,
            vetting,
            retry_delay: options.retry_delay,
            room: Arc::new(Semaphore::new(room.max(1))),
            log: log.clone(),
        };
        Ok(Gateway { shared: Arc::new(shared), listener })
    }

    /// Carries connections, on a thread per core. Comes back only with what ends it.
    ///
    /// # Errors
    /// The system gives no thread or no event queue.
    pub fn serve(self) -> io::Result<()> {
        let addresses: Vec<String> = self.shared.places.iter().map(Place::address).collect();
        info!(self.shared.log, "ready to proxy client requests", "endpoints" => addresses);
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let mut threads = Vec::new();
        for number in 0..workers {
            let (shared, listener) = (self.shared.clone(), self.listener.try_clone()?);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let work = move || {
                runtime.block_on(async {
                    if number == 0 {
                        tokio::spawn(carry::revive(shared.clone()));
                    }
                    carry::accept(shared, tokio::net::TcpListener::from_std(listener)?).await
                })
            };
            threads.push(thread::Builder::new().name(format!("gateway-{number}")).spawn(work)?);
        }
        let ended = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        });
        ended.collect()
    }
}
