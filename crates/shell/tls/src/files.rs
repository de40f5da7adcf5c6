//! Certificates and keys in PEM files, with the words Go uses when one cannot be read.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate's file and its key's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The leaf first, then what leads to a CA.
    pub cert: PathBuf,
    /// PKCS#1, PKCS#8 or SEC1.
    pub key: PathBuf,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Only one of the two was named.
    #[error("KeyFile and CertFile must both be present[key: {}, cert: {}]", .0.key.display(), .0.cert.display())]
    Half(Pair),
    /// The file cannot be read.
    #[error("open {}: {}", path.display(), crate::text::io_text(.why))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why; the message says it.
        why: io::Error,
    },
    /// The file holds no certificate or no key.
    #[error("tls: failed to find any PEM data in {what} input")]
    Empty {
        /// `certificate` or `key`.
        what: &'static str,
    },
    /// The file holds something that is no certificate.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not belong together, or the key is of a kind nobody can use.
    #[error("tls: {0}")]
    Unusable(String),
}

impl FileError {
    /// What rustls says of a certificate and its key, in Go's words where Go has them.
    pub(crate) fn unusable(error: rustls::Error) -> FileError {
        FileError::Unusable(match error {
            rustls::Error::InconsistentKeys(_) => {
                "private key does not match public key".to_owned()
            }
            other => other.to_string(),
        })
    }
}

impl Pair {
    /// Whether neither file is named.
    pub fn is_empty(&self) -> bool {
        self.cert.as_os_str().is_empty() && self.key.as_os_str().is_empty()
    }

    /// Reads both.
    ///
    /// # Errors
    /// [`FileError`], naming the file.
    pub fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileError> {
        if self.cert.as_os_str().is_empty() != self.key.as_os_str().is_empty() {
            return Err(FileError::Half(self.clone()));
        }
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        Ok((chain, key.map_err(|_| FileError::Empty { what: "key" })?))
    }
}

/// All certificates of a file, at least one.
pub(crate) fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(FileError::Empty { what: "certificate" }),
        Err(error) => Err(FileError::Malformed { path: path.clone(), why: error.to_string() }),
    }
}

/// The bytes of a file.
pub(crate) fn read(path: &PathBuf) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|why| FileError::Read { path: path.clone(), why })
}
