//! Accepts encrypted connections.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use net::Identity;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, WebPkiClientVerifier};
use rustls::{HandshakeKind, PeerIncompatible, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::crl::{RevocationError, Revoked};
use crate::files::{FileError, Pair};
use crate::identity::identity_of;
use crate::reload::{Reloading, Watch};
use crate::rules::{NOT_ALLOWED, Rules, check_source, names_of_refused};
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

/// Accepts encrypted connections with what the files hold at that moment.
pub struct Server {
    config: Reloading<Arc<ServerConfig>>,
    /// `None` without a list.
    revoked: Option<Reloading<Revoked>>,
    rules: Rules,
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
    /// Reads the files. Where the revocation list cannot be read, whoever shows a certificate is refused until it
    /// can, as in etcd.
    ///
    /// # Errors
    /// [`FileError`], naming the file that cannot be used.
    pub fn new(files: ServerFiles, watch: Arc<dyn Watch>) -> Result<Server, FileError> {
        let ServerFiles { pair, trusted_ca, crl, rules, .. } = files.clone();
        let revoked = (!crl.as_os_str().is_empty()).then(|| {
            let (paths, read) = (vec![crl.clone()], move || Revoked::read(&crl));
            let first = |read: Result<_, RevocationError>| {
                Ok(read.unwrap_or_else(|why| Revoked::Everybody(why.to_string())))
            };
            Reloading::begin(paths, read, watch.clone(), first)
        });
        let revoked = revoked.transpose().unwrap_or_else(|never: Infallible| match never {});
        let paths = vec![pair.cert, pair.key, trusted_ca];
        let config = Reloading::new(paths, move || files.config().map(Arc::new), watch)?;
        Ok(Server { config, revoked, rules })
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
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = hello.await.map_err(|error| HandshakeError::of(&error, Asked::default()))?;
        let asked = Asked::of(&hello.client_hello());
        let config = narrowed(&self.config.current(), only);
        let shaken = hello.into_stream(config).await;
        let stream = shaken.map_err(|error| HandshakeError::of(&error, asked.clone()))?;
        let seen = Handshake::of(stream.get_ref().1, asked.server_name);
        match self.refusal(&seen, stream.get_ref().1, source).await {
            None => Ok(Accepted { stream, handshake: seen }),
            Some(why) => Err(HandshakeError { why, seen }),
        }
    }

    /// What speaks against a connection whose handshake went well.
    async fn refusal(
        &self,
        seen: &Handshake,
        connection: &ServerConnection,
        source: Option<IpAddr>,
    ) -> Option<String> {
        let identity = seen.identity.as_ref()?;
        let revoked = self.revoked.as_ref().and_then(|list| list.current().refusal(identity));
        if revoked.is_some() {
            return revoked;
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
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// What a client asked for when it began, as Go shows it.
#[derive(Clone, Debug, Default)]
struct Asked {
    server_name: String,
    /// In hexadecimal.
    suites: Vec<String>,
    /// In quotation marks.
    protocols: Vec<String>,
}

/// What is told of a client's wishes at most: it may have thousands.
const WISHES_TOLD_MAX: usize = 64;

impl Asked {
    fn of(hello: &ClientHello<'_>) -> Asked {
        let suites = hello.cipher_suites().iter().take(WISHES_TOLD_MAX);
        let protocols = hello.alpn().into_iter().flatten().take(WISHES_TOLD_MAX);
        Asked {
            server_name: hello.server_name().unwrap_or_default().to_owned(),
            suites: suites.map(|suite| format!("{:x}", u16::from(*suite))).collect(),
            protocols: protocols.map(go::quote).collect(),
        }
    }
}

impl HandshakeError {
    /// From what rustls or the socket says.
    fn of(error: &std::io::Error, asked: Asked) -> HandshakeError {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        // Only our rules say so of a client: it was not called by any name.
        let identity = match cause {
            Some(rustls::Error::InvalidCertificate(why)) => names_of_refused(why),
            _ => None,
        };
        let why = match cause {
            _ if identity.is_some() => NOT_ALLOWED.to_owned(),
            Some(rustls::Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)) => {
                let both = "tls: no cipher suite supported by both client and server";
                format!("{both}; client offered: [{}]", asked.suites.join(" "))
            }
            Some(rustls::Error::NoApplicationProtocol) => {
                let names = asked.protocols.join(" ");
                format!("tls: client requested unsupported application protocols ([{names}])")
            }
            _ => go_text(error),
        };
        let server_name = asked.server_name;
        HandshakeError { why, seen: Handshake { identity, protocol: None, server_name } }
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

/// The configuration, for a socket that speaks one protocol only.
fn narrowed(config: &Arc<ServerConfig>, only: Option<&'static str>) -> Arc<ServerConfig> {
    match only {
        Some(only) if config.alpn_protocols != [only.as_bytes()] => {
            let mut config = ServerConfig::clone(config);
            config.alpn_protocols = vec![only.as_bytes().to_vec()];
            Arc::new(config)
        }
        _ => config.clone(),
    }
}

impl ServerFiles {
    /// The configuration of the files as they are now.
    fn config(&self) -> Result<ServerConfig, FileError> {
        let (chain, key) = self.pair.read()?;
        let provider = self.suites.provider();
        let required = self.client_cert_auth || !self.trusted_ca.as_os_str().is_empty();
        let verifier = if required {
            let anchors = match self.trusted_ca.as_os_str().is_empty() {
                true => Anchors::of_system(),
                false => Anchors::of(&self.trusted_ca)?,
            };
            let verifier = ClientVerifier::new(anchors, self.rules.clone(), provider.clone())?;
            Arc::new(verifier)
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions.supported())
            .map_err(FileError::unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(FileError::unusable)?;
        config.alpn_protocols =
            self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer =
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(FileError::unusable)?;
        Ok(config)
    }
}
