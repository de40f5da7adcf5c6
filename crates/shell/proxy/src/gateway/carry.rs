//! Takes connections to endpoints, and their bytes both ways.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use logging::{error, info, warn};
use rustix::net::sockopt;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::Shared;
use super::picker::Picker;
use super::place::leads_to;
use super::vet::dial;

/// What a connection holds of bytes that wait, each way.
const BUFFER_BYTES: usize = 16 * 1024;

/// Silence after which the system asks whether the other machine is still there.
const SILENCE: Duration = Duration::from_secs(30);

/// The wait after the system could not accept: it has no descriptor or no memory left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts while there is room, until the listener itself is broken.
pub async fn accept(shared: Arc<Shared>, listener: TcpListener) -> io::Result<()> {
    loop {
        // It is never closed.
        let Ok(room) = shared.room.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((client, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    serve(&shared, client).await;
                    drop(room);
                });
            }
            Err(fault) if fault.kind() == io::ErrorKind::InvalidInput => return Err(fault),
            Err(fault) => {
                error!(shared.log, "failed to accept a connection", "error" => go::io_text(&fault));
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Carries one connection from its beginning to its end.
async fn serve(shared: &Shared, mut client: TcpStream) {
    let Some(mut server) = reach(shared).await else { return };
    let own = client.local_addr().ok();
    if server.peer_addr().is_ok_and(|peer| own.is_some_and(|own| leads_to(peer, &[own]))) {
        error!(shared.log, "an endpoint leads back to this gateway", "address" => own.map(logging::Shown));
        return;
    }
    for stream in [&client, &server] {
        // What the system refuses here only makes the connection slower to notice things.
        let _ = stream.set_nodelay(true);
        let _ = sockopt::set_socket_keepalive(stream, true);
        let _ = sockopt::set_tcp_keepidle(stream, SILENCE);
        let _ = sockopt::set_tcp_keepintvl(stream, SILENCE);
    }
    // How it ends concerns its two ends, which see it.
    let _ =
        copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES).await;
}

/// A connection to an endpoint that is up; `None` when none is.
async fn reach(shared: &Shared) -> Option<TcpStream> {
    loop {
        let dice = RandomState::new().build_hasher().finish();
        let number = picker(shared).pick(dice)?;
        let why = match connect(shared, number).await {
            Ok(stream) => return Some(stream),
            Err(why) => why,
        };
        if picker(shared).set_active(number, false) {
            warn!(
                shared.log,
                "deactivated endpoint",
                "address" => shared.places[number].address(),
                "interval" => shared.retry_delay,
                "error" => why
            );
        }
    }
}

async fn connect(shared: &Shared, number: usize) -> Result<TcpStream, String> {
    let place = &shared.places[number];
    if let Some(vetting) = &shared.vetting {
        vetting.check(place).await?;
    }
    dial(place).await
}

fn picker(shared: &Shared) -> MutexGuard<'_, Picker> {
    // Nobody panics while holding it, and if somebody did, who is up is still known.
    shared.picker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries, from time to time, whether those that are down are up again.
pub async fn revive(shared: Arc<Shared>) {
    loop {
        sleep(shared.retry_delay).await;
        let down = picker(&shared).down();
        for number in down {
            let shared = shared.clone();
            tokio::spawn(async move {
                let address = shared.places[number].address();
                match connect(&shared, number).await {
                    Ok(_) if picker(&shared).set_active(number, true) => {
                        info!(shared.log, "activated", "address" => address);
                    }
                    Ok(_) => {}
                    Err(why) => warn!(
                        shared.log,
                        "failed to activate endpoint (stay inactive for another interval)",
                        "address" => address,
                        "interval" => shared.retry_delay,
                        "error" => why
                    ),
                }
            });
        }
    }
}
