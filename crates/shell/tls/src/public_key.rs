//! Public keys in files, which may be certificates.

use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

/// A public key as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// A SubjectPublicKeyInfo, or for RSA what PKCS#1 says. Whether it is one at all is not known yet.
    pub der: Vec<u8>,
    /// Whether a certificate was there, of which this is the key.
    pub is_of_certificate: bool,
}

/// What the first block of a PEM file holds, whatever its label. `None` if there is no block.
pub fn first_block(pem: &[u8]) -> Option<Vec<u8>> {
    let (block, _) = Pem::read(std::io::Cursor::new(pem)).ok()?;
    Some(block.contents)
}

/// The first block of a PEM file, whatever its label: a key, or the key of a certificate. `None` if there is no block.
pub fn public_key(pem: &[u8]) -> Option<PublicKey> {
    let block = first_block(pem)?;
    let key = match X509Certificate::from_der(&block) {
        Ok((_, found)) => {
            PublicKey { der: found.public_key().raw.to_vec(), is_of_certificate: true }
        }
        Err(_) => PublicKey { der: block, is_of_certificate: false },
    };
    Some(key)
}
