//! The keys that sign tokens, as files hold them.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self as algorithms, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, RsaEncoding, RsaKeyPair, VerificationAlgorithm,
};
use aws_lc_rs::{constant_time, hmac};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use types::Refusal;

use crate::login::method::{Digest, Method};

/// What signs and what believes.
pub(crate) enum Keys {
    /// One secret for both.
    Secret(Box<hmac::Key>),
    /// Two keys, of which the one that signs may be elsewhere.
    Pair { signs: Option<Signer>, believes: Believer },
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// The public half.
pub(crate) struct Believer(ParsedPublicKey);

/// The private half.
pub(crate) enum Signer {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why keys cannot be used, in etcd's words.
const MISSING: &str = "auth: missing key data";
const MISMATCH: &str = "auth: public and private keys don't match";
const VERIFY_ONLY: &str = "auth: token signing attempted with verify-only key";
const NOT_PEM: &str = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";

impl Keys {
    /// Reads what the two files hold; `None` for one that was not named or is empty.
    ///
    /// # Errors
    /// Why not, in etcd's words.
    pub(crate) fn read(
        method: Method,
        private: Option<&[u8]>,
        public: Option<&[u8]>,
    ) -> Result<Keys, String> {
        if let Method::Hmac(digest) = method {
            let secret = private.ok_or(MISSING)?;
            return Ok(Keys::Secret(Box::new(hmac::Key::new(hmac_of(digest), secret))));
        }
        let signs = private.map(|pem| Signer::read(method, pem)).transpose()?;
        let given = public.map(|pem| Believer::read(method, pem)).transpose()?;
        let derived = signs.as_ref().and_then(|signer| Believer::of(method, &signer.public()));
        let believes = given.or(derived).ok_or(MISSING)?;
        let keys = Keys::Pair { signs, believes };
        keys.check_they_match()?;
        Ok(keys)
    }

    fn check_they_match(&self) -> Result<(), String> {
        let Keys::Pair { signs: Some(signer), believes } = self else { return Ok(()) };
        let probe = b"holdfast";
        let believed =
            signer.sign(probe).is_some_and(|signature| believes.verify(probe, &signature));
        if believed { Ok(()) } else { Err(MISMATCH.to_owned()) }
    }

    /// Signs.
    ///
    /// # Errors
    /// When only the public key is there.
    pub(crate) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self {
            Keys::Secret(key) => Ok(hmac::sign(key, text).as_ref().to_vec()),
            Keys::Pair { signs: None, .. } => Err(Refusal::unknown(VERIFY_ONLY)),
            Keys::Pair { signs: Some(signer), .. } => signer
                .sign(text)
                .ok_or_else(|| Refusal::unknown("auth: a token could not be signed")),
        }
    }

    /// Whether this is the signature of that text. In constant time where the key is secret.
    pub(crate) fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Keys::Secret(key) => {
                let expected = hmac::sign(key, text);
                constant_time::verify_slices_are_equal(expected.as_ref(), signature).is_ok()
            }
            Keys::Pair { believes, .. } => believes.verify(text, signature),
        }
    }
}

fn hmac_of(digest: Digest) -> hmac::Algorithm {
    match digest {
        Digest::Sha256 => hmac::HMAC_SHA256,
        Digest::Sha384 => hmac::HMAC_SHA384,
        Digest::Sha512 => hmac::HMAC_SHA512,
    }
}

fn not_a(method: Method, half: &str) -> String {
    let family = match method {
        Method::Hmac(_) => "HMAC",
        Method::Rsa(_) | Method::RsaPss(_) => "RSA",
        Method::Ecdsa(_) => "ECDSA",
        Method::EdDsa => "Ed25519",
    };
    format!("key is not a valid {family} {half} key")
}

/// What Go says to the file of a key whose form belongs to keys of another kind.
fn other_format(reader: &str) -> String {
    format!("x509: failed to parse private key (use {reader} instead for this key format)")
}

impl Signer {
    fn read(method: Method, pem: &[u8]) -> Result<Signer, String> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| NOT_PEM)?;
        Signer::of(method, &der).ok_or_else(|| match (&der, method) {
            (PrivateKeyDer::Sec1(_), Method::Rsa(_) | Method::RsaPss(_) | Method::EdDsa) => {
                other_format("ParseECPrivateKey")
            }
            (PrivateKeyDer::Pkcs1(_), Method::Ecdsa(_) | Method::EdDsa) => {
                other_format("ParsePKCS1PrivateKey")
            }
            _ => not_a(method, "private"),
        })
    }

    fn of(method: Method, der: &PrivateKeyDer<'_>) -> Option<Signer> {
        match method {
            Method::Rsa(_) | Method::RsaPss(_) => {
                let pair = match der {
                    PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
                    other => RsaKeyPair::from_pkcs8(other.secret_der()),
                };
                Some(Signer::Rsa(pair.ok()?, rsa_encoding(method)))
            }
            Method::Ecdsa(digest) => {
                let algorithm = ecdsa(digest);
                let pair = match der {
                    PrivateKeyDer::Sec1(key) => {
                        EcdsaKeyPair::from_private_key_der(algorithm, key.secret_sec1_der())
                    }
                    other => EcdsaKeyPair::from_pkcs8(algorithm, other.secret_der()),
                };
                Some(Signer::Ecdsa(pair.ok()?))
            }
            Method::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_der());
                Some(Signer::Ed25519(pair.ok()?))
            }
            Method::Hmac(_) => None,
        }
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Signer::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Signer::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let chance = SystemRandom::new();
        match self {
            Signer::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &chance, text, &mut signature).ok()?;
                Some(signature)
            }
            Signer::Ecdsa(pair) => Some(pair.sign(&chance, text).ok()?.as_ref().to_vec()),
            Signer::Ed25519(pair) => Some(pair.sign(text).as_ref().to_vec()),
        }
    }
}

fn rsa_encoding(method: Method) -> &'static dyn RsaEncoding {
    match method {
        Method::RsaPss(Digest::Sha256) => &algorithms::RSA_PSS_SHA256,
        Method::RsaPss(Digest::Sha384) => &algorithms::RSA_PSS_SHA384,
        Method::RsaPss(Digest::Sha512) => &algorithms::RSA_PSS_SHA512,
        Method::Rsa(Digest::Sha384) => &algorithms::RSA_PKCS1_SHA384,
        Method::Rsa(Digest::Sha512) => &algorithms::RSA_PKCS1_SHA512,
        Method::Rsa(Digest::Sha256) | Method::Hmac(_) | Method::Ecdsa(_) | Method::EdDsa => {
            &algorithms::RSA_PKCS1_SHA256
        }
    }
}

fn ecdsa(digest: Digest) -> &'static EcdsaSigningAlgorithm {
    match digest {
        Digest::Sha256 => &algorithms::ECDSA_P256_SHA256_FIXED_SIGNING,
        Digest::Sha384 => &algorithms::ECDSA_P384_SHA384_FIXED_SIGNING,
        Digest::Sha512 => &algorithms::ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

impl Believer {
    fn read(method: Method, pem: &[u8]) -> Result<Believer, String> {
        let key = tls::public_key(pem).ok_or(NOT_PEM)?;
        // etcd takes a certificate for any key but this one.
        let fits = method != Method::EdDsa || !key.is_of_certificate;
        let believer = Believer::of(method, &key.der).filter(|_| fits);
        believer.ok_or_else(|| not_a(method, "public"))
    }

    fn of(method: Method, key: &[u8]) -> Option<Believer> {
        ParsedPublicKey::new(verification(method), key).ok().map(Believer)
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(text, signature).is_ok()
    }
}

fn verification(method: Method) -> &'static dyn VerificationAlgorithm {
    match method {
        Method::Rsa(Digest::Sha256) => &algorithms::RSA_PKCS1_2048_8192_SHA256,
        Method::Rsa(Digest::Sha384) => &algorithms::RSA_PKCS1_2048_8192_SHA384,
        Method::Rsa(Digest::Sha512) => &algorithms::RSA_PKCS1_2048_8192_SHA512,
        Method::RsaPss(Digest::Sha256) => &algorithms::RSA_PSS_2048_8192_SHA256,
        Method::RsaPss(Digest::Sha384) => &algorithms::RSA_PSS_2048_8192_SHA384,
        Method::RsaPss(Digest::Sha512) => &algorithms::RSA_PSS_2048_8192_SHA512,
        Method::Ecdsa(Digest::Sha256) => &algorithms::ECDSA_P256_SHA256_FIXED,
        Method::Ecdsa(Digest::Sha384) => &algorithms::ECDSA_P384_SHA384_FIXED,
        Method::Ecdsa(Digest::Sha512) => &algorithms::ECDSA_P521_SHA512_FIXED,
        Method::EdDsa | Method::Hmac(_) => &algorithms::ED25519,
    }
}
