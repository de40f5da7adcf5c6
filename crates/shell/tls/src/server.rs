//! Accepts encrypted connections.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use net::Identity;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::crl::{RevocationError, Revoked};
use crate::files::{FileError, Pair};
use crate::identity::identity_of;
use crate::reload::{Reloading, Watch};
use crate::rules::{NOT_ALLOWED, Rules, check_source};
use crate::suites::{Suites, Versions};
use crate::text::go_text;
use crate::verify::{Anchors, ClientVerifier, is_current};

/// How long a handshake may take; a client that is silent for longer is let go.
pub const HANDSHAKE_DURATION_MAX: Duration = Duration::from_secs(10);

/// What the flags say of one kind of listener.
#[derive(Clone, Debug, Default)]
pub struct ServerFiles {
    /// Ours.
    pub pair: Pair,
    /// Who may sign clients' certificates. Naming one makes a certificate required, as in etcd.
    pub trusted_ca: PathBuf,
    /// Clients must show a certificate; without [`ServerFiles::trusted_ca`], one that the system trusts.
    pub client_cert_auth: bool,
    /// Serial numbers that are refused; empty for none.
    pub crl: PathBuf,
    /// What is offered for TLS 1.2.
    pub suites: Suites,
    /// Which versions are spoken.
    pub versions: Versions,
    /// What certificates must satisfy besides.
    pub rules: Rules,
    /// Protocols by ALPN, the preferred first.
    pub protocols: Vec<&'static str>,
}

/// Why no connection can be accepted with these files.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Certificate, key or CA.
    #[error(transparent)]
    File(#[from] FileError),
    /// The revocation list.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
}

/// Accepts encrypted connections with what the files hold at that moment.
pub struct Server {
    material: Reloading<Material>,
    rules: Rules,
}

struct Material {
    config: Arc<ServerConfig>,
    revoked: Revoked,
}

/// A connection that was accepted.
pub struct Accepted<S> {
    /// Its plain side.
    pub stream: TlsStream<S>,
    /// What the handshake showed.
    pub handshake: Handshake,
}

/// What a handshake showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Who the client proved to be, if a certificate was asked for.
    pub identity: Option<Identity>,
    /// The protocol agreed on by ALPN.
    pub protocol: Option<String>,
    /// The name the client asked for.
    pub server_name: String,
}

/// Why a connection was not accepted, with what etcd logs of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct HandshakeError {
    /// In Go's words.
    pub why: String,
    /// What the handshake had shown until then.
    pub seen: Handshake,
}

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ServerError`], naming the file that cannot be used.
    pub fn new(files: ServerFiles, watch: Arc<dyn Watch>) -> Result<Server, ServerError> {
        let ServerFiles { pair, trusted_ca, crl, rules, .. } = files.clone();
        let paths = vec![pair.cert, pair.key, trusted_ca, crl];
        let material = Reloading::new(paths, move || Material::read(&files), watch)?;
        Ok(Server { material, rules })
    }

    /// Shakes hands, within [`HANDSHAKE_DURATION_MAX`], and checks every rule. `only` narrows what is offered by
    /// ALPN to one protocol.
    ///
    /// # Errors
    /// [`HandshakeError`]; the stream is closed then.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        source: Option<IpAddr>,
        only: Option<&'static str>,
    ) -> Result<Accepted<S>, HandshakeError> {
        let shaking = self.shake(stream, source, only);
        match tokio::time::timeout(HANDSHAKE_DURATION_MAX, shaking).await {
            Ok(shaken) => shaken,
            Err(_) => Err(HandshakeError { why: "i/o timeout".to_owned(), ..Default::default() }),
        }
    }

    async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        source: Option<IpAddr>,
        only: Option<&'static str>,
    ) -> Result<Accepted<S>, HandshakeError> {
        let failed = |error: std::io::Error, server_name: String| HandshakeError {
            why: self.words(&error),
            seen: Handshake { server_name, ..Handshake::default() },
        };
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = hello.await.map_err(|error| failed(error, String::new()))?;
        let server_name = hello.client_hello().server_name().unwrap_or_default().to_owned();
        let material = self.material.current();
        let shaken = hello.into_stream(material.config_for(only)).await;
        let stream = shaken.map_err(|error| failed(error, server_name.clone()))?;
        let seen = Handshake::of(stream.get_ref().1, server_name);
        match self.refusal(&seen, stream.get_ref().1, &material.revoked, source).await {
            None => Ok(Accepted { stream, handshake: seen }),
            Some(why) => Err(HandshakeError { why, seen }),
        }
    }

    /// What speaks against a connection whose handshake went well.
    async fn refusal(
        &self,
        seen: &Handshake,
        connection: &ServerConnection,
        revoked: &Revoked,
        source: Option<IpAddr>,
    ) -> Option<String> {
        let identity = seen.identity.as_ref()?;
        if let Some(why) = revoked.refusal(identity) {
            return Some(why);
        }
        // A resumed session was verified in the past.
        let leaf = connection.peer_certificates().and_then(<[_]>::first)?;
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed && !is_current(leaf, UnixTime::now()) {
            return Some("x509: certificate has expired or is not yet valid".to_owned());
        }
        let (true, Some(source)) = (self.rules.source, source) else { return None };
        let identity = identity.clone();
        // It asks DNS, and only when the certificate's addresses do not say it already.
        #[expect(
            clippy::disallowed_methods,
            reason = "a name is looked up for a handshake, on its own threads"
        )]
        let checked = tokio::task::spawn_blocking(move || check_source(&identity, source)).await;
        match checked {
            Ok(Ok(())) => None,
            Ok(Err(refused)) => Some(refused.0),
            Err(_) => Some("the check of the certificate's names was given up".to_owned()),
        }
    }

    fn words(&self, error: &std::io::Error) -> String {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            // Only our rules say so of a client: it was not called by any name.
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName)) => {
                NOT_ALLOWED.to_owned()
            }
            _ => go_text(error),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Handshake {
    fn of(connection: &ServerConnection, server_name: String) -> Handshake {
        let protocol = connection.alpn_protocol();
        Handshake {
            identity: connection.peer_certificates().and_then(identity_of),
            protocol: protocol.map(|name| String::from_utf8_lossy(name).into_owned()),
            server_name,
        }
    }
}

impl Material {
    /// The configuration, for a socket that speaks one protocol only.
    fn config_for(&self, only: Option<&'static str>) -> Arc<ServerConfig> {
        match only {
            Some(only) if self.config.alpn_protocols != [only.as_bytes()] => {
                let mut config = ServerConfig::clone(&self.config);
                config.alpn_protocols = vec![only.as_bytes().to_vec()];
                Arc::new(config)
            }
            _ => self.config.clone(),
        }
    }

    fn read(files: &ServerFiles) -> Result<Material, ServerError> {
        let (chain, key) = files.pair.read()?;
        let provider = files.suites.provider();
        let required = files.client_cert_auth || !files.trusted_ca.as_os_str().is_empty();
        let verifier = if required {
            let anchors = match files.trusted_ca.as_os_str().is_empty() {
                true => Anchors::of_system(),
                false => Anchors::of(&files.trusted_ca)?,
            };
            let verifier = ClientVerifier::new(anchors, files.rules.clone(), provider.clone())?;
            Arc::new(verifier)
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&files.versions.supported())
            .map_err(FileError::unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(FileError::unusable)?;
        config.alpn_protocols =
            files.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer =
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(FileError::unusable)?;
        let revoked = match files.crl.as_os_str().is_empty() {
            true => Revoked::default(),
            false => Revoked::read(&files.crl)?,
        };
        Ok(Material { config: Arc::new(config), revoked })
    }
}
