//! Encrypts connections that this process opens.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::files::{FileError, Pair};
use crate::reload::{Reloading, Watch};
use crate::rules::Rules;
use crate::suites::{Suites, Versions};
use crate::verify::{Anchors, ServerVerifier};

/// What the flags say of connections that are opened.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// Ours; both paths are empty when none is shown.
    pub pair: Pair,
    /// Who may sign servers' certificates; the system's when empty.
    pub trusted_ca: PathBuf,
    /// The name to check a certificate against, instead of the host that was dialled.
    pub server_name: String,
    /// Takes any certificate.
    pub skip_verify: bool,
    /// What certificates must satisfy besides: etcd asks the servers it dials for the allowed names too.
    pub rules: Rules,
    /// What is offered for TLS 1.2.
    pub suites: Suites,
    /// Which versions are spoken.
    pub versions: Versions,
    /// Protocols by ALPN, the preferred first.
    pub protocols: Vec<&'static str>,
}

/// Encrypts connections with what the files hold at that moment.
pub struct Client {
    config: Reloading<Arc<ClientConfig>>,
    server_name: String,
}

impl Client {
    /// Reads the files.
    ///
    /// # Errors
    /// [`FileError`], naming the file that cannot be used.
    pub fn new(files: ClientFiles, watch: Arc<dyn Watch>) -> Result<Client, FileError> {
        let ClientFiles { pair, trusted_ca, server_name, .. } = files.clone();
        let paths = vec![pair.cert, pair.key, trusted_ca];
        let config = Reloading::new(paths, move || files.config(), watch)?;
        Ok(Client { config, server_name })
    }

    /// The configuration that holds now, and the name to check against instead of the host's, if any.
    pub fn config(&self) -> (Arc<ClientConfig>, &str) {
        (Arc::clone(&self.config.current()), &self.server_name)
    }

    /// Shakes hands with `host`. Has no time limit of its own: whoever dials has one.
    ///
    /// # Errors
    /// Why the handshake failed; [`crate::go_text`] words it.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> io::Result<TlsStream<S>> {
        let (config, name) = self.config();
        let name = if name.is_empty() { host } else { name };
        // A name that ends in a dot is the same name; an address in a URL stands in brackets.
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let name = ServerName::try_from(name.to_owned()).map_err(invalid)?;
        TlsConnector::from(config).connect(name, stream).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl ClientFiles {
    /// The configuration of the files as they are now.
    ///
    /// # Errors
    /// [`FileError`], naming the file that cannot be used.
    pub fn config(&self) -> Result<Arc<ClientConfig>, FileError> {
        let provider = self.suites.provider();
        let verifier = if self.skip_verify {
            ServerVerifier::anybody(self.rules.clone(), provider.clone())
        } else {
            let anchors = match self.trusted_ca.as_os_str().is_empty() {
                true => Anchors::of_system(),
                false => Anchors::of(&self.trusted_ca)?,
            };
            ServerVerifier::new(anchors, self.rules.clone(), provider.clone())?
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions.supported())
            .map_err(FileError::unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = if self.pair.is_empty() {
            builder.with_no_client_auth()
        } else {
            let (chain, key) = self.pair.read()?;
            builder.with_client_auth_cert(chain, key).map_err(FileError::unusable)?
        };
        config.alpn_protocols =
            self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}
