//! TLS from files of certificates, as clientv3 configures it.

use std::fs;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of two files is missing.
    #[error("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")]
    Half {
        /// As given.
        key: String,
        /// As given.
        cert: String,
    },
    /// A file cannot be read.
    #[error("open {path}: {}", go_text(.source))]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no certificate or key.
    #[error("tls: failed to find any PEM data in {what} input")]
    Empty {
        /// Which kind of file.
        what: &'static str,
    },
    /// Certificate and key do not belong together, or are of an unknown kind.
    #[error("tls: {0}")]
    Unusable(String),
}

/// The texts of the usual errors, as Go spells them.
pub(crate) fn go_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// Where systems keep the certificates they trust.
const ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl TlsOptions {
    /// The configuration, or `None` when plain text was asked for.
    pub fn config(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        let given = [&self.cert, &self.key, &self.cacert, &self.server_name];
        if self.insecure_transport && given.iter().all(|text| text.is_empty()) {
            return Ok(None);
        }
        self.build().map(Some)
    }

    /// The configuration for an endpoint that insists on TLS.
    pub fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if self.cert.is_empty() != self.key.is_empty() {
            return Err(TlsError::Half { key: self.key.clone(), cert: self.cert.clone() });
        }
        let provider = Arc::new(ring::default_provider());
        let unusable = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Unusable("private key does not match public key".to_owned())
            }
            other => TlsError::Unusable(other.to_string()),
        };
        let identity = self.identity()?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = if self.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn identity(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, TlsError> {
        if self.cert.is_empty() {
            return Ok(None);
        }
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        Ok(Some((chain, key.map_err(|_| TlsError::Empty { what: "key" })?)))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        if self.cacert.is_empty() {
            let bundle = std::env::var("SSL_CERT_FILE").ok();
            let places = bundle.iter().map(String::as_str).chain(ROOTS);
            let found = places.filter_map(|path| certificates(path).ok()).next();
            store.add_parsable_certificates(found.unwrap_or_default());
        } else {
            store.add_parsable_certificates(certificates(&self.cacert)?);
        }
        Ok(store)
    }
}

fn read(path: &str) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(TlsError::Empty { what: "certificate" }),
    }
}

/// Takes any certificate, but still checks that the server owns it.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
