//! Whether an endpoint is who it should be: a whole TLS handshake with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use go::quote;
use tls::{Client, ClientFiles, Watch};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::place::Place;
use crate::options::GatewayOptions;

/// How long connecting, and a handshake, may take each.
pub const DIAL_DURATION_MAX: Duration = Duration::from_secs(10);

/// Looks at endpoints' certificates. The files are read again when they change.
#[derive(Debug)]
pub struct Vetting(Client);

/// Nobody is told when the CA's file changes.
struct Unwatched;

impl Watch for Unwatched {
    fn reloaded(&self, _: &[PathBuf]) {}
    fn kept(&self, _: &[PathBuf], _: &str) {}
}

impl Vetting {
    /// `None` when certificates are not looked at: with `--insecure-discovery`, and for `--endpoints`
    /// without `--trusted-ca-file`.
    ///
    /// # Errors
    /// The CA's file cannot be used.
    pub fn of(options: &GatewayOptions, discovered: bool) -> Result<Option<Vetting>, String> {
        let asked_for = match discovered {
            true => !options.discovery.insecure,
            false => !options.trusted_ca.as_os_str().is_empty(),
        };
        if !asked_for {
            return Ok(None);
        }
        let files = ClientFiles {
            trusted_ca: options.trusted_ca.clone(),
            protocols: vec!["h2", "http/1.1"],
            ..ClientFiles::default()
        };
        let client = Client::new(files, Arc::new(Unwatched)).map_err(|error| error.to_string())?;
        Ok(Some(Vetting(client)))
    }

    /// Shakes hands and hangs up.
    ///
    /// # Errors
    /// Why the place is not to be trusted, in etcd's words.
    pub async fn check(&self, place: &Place) -> Result<(), String> {
        let address = place.address();
        let failed =
            |why: String| format!("{} failed to dial ({why})", quote(format!("https://{address}")));
        let stream = dial(place).await.map_err(failed)?;
        let shaking = self.0.connect(stream, &place.server_name);
        match timeout(DIAL_DURATION_MAX, shaking).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(tls::go_text(&error))),
            Err(_) => Err(failed("i/o timeout".to_owned())),
        }
    }
}

/// Connects.
///
/// # Errors
/// Why not, in Go's words.
pub async fn dial(place: &Place) -> Result<TcpStream, String> {
    let address = place.address();
    match timeout(DIAL_DURATION_MAX, client::connect_tcp(&address)).await {
        Ok(dialled) => dialled.map_err(|why| format!("dial {why}")),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}
