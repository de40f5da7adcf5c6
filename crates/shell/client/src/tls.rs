//! TLS from files of certificates, as clientv3 configures it.

use std::sync::Arc;

use rustls::ClientConfig;
use tls::{ClientFiles, Pair};

pub use tls::FileError as TlsError;

/// Which files, and how strict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Our certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// Whom we trust; the system's roots when empty.
    pub cacert: String,
    /// The name to check the server's certificate against, instead of the endpoint's.
    pub server_name: String,
    /// False forbids plain text.
    pub insecure_transport: bool,
    /// True takes any certificate.
    pub skip_verify: bool,
}

impl TlsOptions {
    /// The configuration, or `None` when plain text was asked for.
    pub fn config(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        let given = [&self.cert, &self.key, &self.cacert, &self.server_name];
        // Who does not want a certificate checked wants TLS.
        let plain = self.insecure_transport && !self.skip_verify;
        if plain && given.iter().all(|text| text.is_empty()) {
            return Ok(None);
        }
        self.build().map(Some)
    }

    /// The configuration for an endpoint that insists on TLS.
    pub fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let files = ClientFiles {
            pair: Pair { cert: self.cert.clone().into(), key: self.key.clone().into() },
            trusted_ca: self.cacert.clone().into(),
            server_name: self.server_name.clone(),
            skip_verify: self.skip_verify,
            protocols: vec!["h2"],
            ..ClientFiles::default()
        };
        files.config()
    }
}
