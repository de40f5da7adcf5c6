//! Who is believed: chains that lead to a CA, as rustls checks them, and certificates that stand in the
//! CA file themselves, which Go believes and rustls does not.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::files::{FileError, certificates};
use crate::identity::{identity_of, is_for_host};
use crate::rules::{Rules, not_allowed};

/// The CAs of a file, or of the system.
#[derive(Debug)]
pub(crate) struct Anchors {
    roots: Arc<RootCertStore>,
    /// As they stand in the file, to recognise a leaf that is listed itself.
    listed: Vec<CertificateDer<'static>>,
}

/// Where systems keep the certificates they trust.
const ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Anchors {
    /// Reads a CA file.
    pub fn of(path: &PathBuf) -> Result<Anchors, FileError> {
        Ok(Anchors::from(certificates(path)?))
    }

    /// What the system trusts; nothing, where it keeps no such file.
    pub fn of_system() -> Anchors {
        let bundle = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let places = bundle.into_iter().chain(ROOTS.map(PathBuf::from));
        let found = places.filter_map(|path| certificates(&path).ok()).next();
        Anchors::from(found.unwrap_or_default())
    }

    fn lists(&self, leaf: &CertificateDer<'_>) -> bool {
        self.listed.iter().any(|one| one == leaf)
    }
}

impl From<Vec<CertificateDer<'static>>> for Anchors {
    fn from(listed: Vec<CertificateDer<'static>>) -> Anchors {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(listed.iter().cloned());
        Anchors { roots: Arc::new(roots), listed }
    }
}

/// Whether the certificate is in its time of validity.
pub(crate) fn is_current(leaf: &CertificateDer<'_>, now: UnixTime) -> bool {
    let at = i64::try_from(now.as_secs()).ok().and_then(|s| ASN1Time::from_timestamp(s).ok());
    let read = X509Certificate::from_der(leaf.as_ref());
    read.is_ok_and(|(_, leaf)| at.is_some_and(|at| leaf.validity().is_valid_at(at)))
}

/// To Go, an authority of the right name and another key is an authority that nobody knows.
fn as_in_go(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        other => other,
    }
}

/// Whether a leaf may be used so, by its extended key usage; one that has none may be used for anything.
fn may(leaf: &CertificateDer<'_>, purpose: fn(&ExtendedKeyUsage<'_>) -> bool) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf.as_ref()) else { return false };
    match leaf.extended_key_usage() {
        Ok(Some(usage)) => usage.value.any || purpose(usage.value),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Checks the certificates of clients.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    anchors: Anchors,
    rules: Rules,
}

impl ClientVerifier {
    pub fn new(
        anchors: Anchors,
        rules: Rules,
        provider: Arc<CryptoProvider>,
    ) -> Result<ClientVerifier, FileError> {
        let builder = WebPkiClientVerifier::builder_with_provider(anchors.roots.clone(), provider);
        let chains = builder.build().map_err(|error| FileError::Unusable(error.to_string()))?;
        Ok(ClientVerifier { chains, anchors, rules })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let by_chain = self.chains.verify_client_cert(leaf, intermediates, now);
        let believed = match by_chain {
            Err(_) if self.anchors.lists(leaf) && may(leaf, |usage| usage.client_auth) => {
                if !is_current(leaf, now) {
                    return Err(CertificateError::Expired.into());
                }
                ClientCertVerified::assertion()
            }
            other => other.map_err(as_in_go)?,
        };
        let identity = identity_of(std::slice::from_ref(leaf));
        match identity {
            Some(identity) if self.rules.allow(&identity) => Ok(believed),
            identity => Err(not_allowed(&identity.unwrap_or_default()).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// How far a server's certificate is checked.
#[derive(Debug)]
enum Trust {
    /// To a CA, and for the name that was asked for.
    Chains(Arc<WebPkiServerVerifier>, Anchors),
    /// Not at all: `--peer-auto-tls`, `--insecure-skip-tls-verify`.
    Anybody,
}

/// Checks the certificates of servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    trust: Trust,
    rules: Rules,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    pub fn new(
        anchors: Anchors,
        rules: Rules,
        provider: Arc<CryptoProvider>,
    ) -> Result<ServerVerifier, FileError> {
        // Nobody to trust is no error: every handshake fails then, as it does in Go.
        if anchors.roots.is_empty() {
            let trust = Trust::Chains(no_roots(&provider)?, anchors);
            return Ok(ServerVerifier { trust, rules, provider });
        }
        let roots = anchors.roots.clone();
        let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        let chains = builder.build().map_err(|error| FileError::Unusable(error.to_string()))?;
        Ok(ServerVerifier { trust: Trust::Chains(chains, anchors), rules, provider })
    }

    pub fn anybody(rules: Rules, provider: Arc<CryptoProvider>) -> ServerVerifier {
        ServerVerifier { trust: Trust::Anybody, rules, provider }
    }
}

/// A verifier that trusts nobody: its one root is a certificate whose key was thrown away.
fn no_roots(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, FileError> {
    let unusable = |error: String| FileError::Unusable(error);
    let key = rcgen::KeyPair::generate().map_err(|error| unusable(error.to_string()))?;
    let nobody = rcgen::CertificateParams::default();
    let nobody = nobody.self_signed(&key).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add(nobody.der().clone()).map_err(|error| unusable(error.to_string()))?;
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    builder.build().map_err(|error| unusable(error.to_string()))
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let identity = identity_of(std::slice::from_ref(leaf));
        let identity = identity.ok_or(CertificateError::BadEncoding)?;
        if let Trust::Chains(chains, anchors) = &self.trust {
            let by_chain = chains.verify_server_cert(leaf, intermediates, name, ocsp, now);
            if by_chain.is_err() {
                let listed = anchors.lists(leaf) && may(leaf, |usage| usage.server_auth);
                if !(listed && is_current(leaf, now)) {
                    return by_chain.map_err(as_in_go);
                }
                if !is_for_host(&identity, &name.to_str()) {
                    return Err(CertificateError::NotValidForName.into());
                }
            }
        }
        if self.rules.allow(&identity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
