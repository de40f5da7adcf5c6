//! `--client-crl-file` and `--peer-crl-file`: serial numbers that are refused.
//!
//! Like etcd's, the list is read for its numbers only; who signed it is not looked at.

use std::collections::BTreeSet;
use std::path::PathBuf;

use net::Identity;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::files::{FileError, read};
use crate::identity::without_zeros;

/// Who is refused by a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Whoever shows a certificate with one of these serial numbers.
    Numbers(BTreeSet<Vec<u8>>),
    /// Whoever shows a certificate: the list could not be read, and this is why. etcd begins so too.
    Everybody(String),
}

/// Why a revocation list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no revocation list.
    #[error("x509: malformed crl")]
    Malformed,
}

impl Revoked {
    /// Reads a list, PEM or DER.
    ///
    /// # Errors
    /// [`RevocationError`], naming the file.
    pub fn read(path: &PathBuf) -> Result<Revoked, RevocationError> {
        let bytes = read(path)?;
        let der = match CertificateRevocationListDer::from_pem_slice(&bytes) {
            Ok(list) => list.as_ref().to_vec(),
            Err(_) => bytes,
        };
        let parsed = CertificateRevocationList::from_der(&der);
        let (_, list) = parsed.map_err(|_| RevocationError::Malformed)?;
        let numbers = list.iter_revoked_certificates().map(|one| without_zeros(one.raw_serial()));
        Ok(Revoked::Numbers(numbers.collect()))
    }

    /// The first revoked certificate of a chain, as a refusal in etcd's words.
    pub(crate) fn refusal(&self, identity: &Identity) -> Option<String> {
        let numbers = match self {
            Revoked::Numbers(numbers) => numbers,
            Revoked::Everybody(why) => return Some(why.clone()),
        };
        let revoked = identity.serials.iter().find(|serial| numbers.contains(*serial))?;
        let hex: String = revoked.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("transport: certificate serial {} revoked", hex.trim_start_matches('0')))
    }
}
