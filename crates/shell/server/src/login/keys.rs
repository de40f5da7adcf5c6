//! The keys that sign tokens, as files hold them.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self as algorithms, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, RsaEncoding, RsaKeyPair, VerificationAlgorithm,
};
use aws_lc_rs::{constant_time, hmac};
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
pub(crate) struct Believer {
    key: ParsedPublicKey,
    fits: Fits,
}

/// The private half.
pub(crate) enum Signer {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair, Fits),
    Ed25519(Ed25519KeyPair),
}

/// Whether an elliptic key is on its method's curve. etcd starts with one that is not, and refuses every login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    Yes,
    No,
}

/// Why keys cannot be used, in etcd's words.
const MISSING: &str = "auth: missing key data";
const MISMATCH: &str = "auth: public and private keys don't match";
const VERIFY_ONLY: &str = "auth: token signing attempted with verify-only key";
const NOT_PEM: &str = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
const OTHER_CURVE: &str = "key is invalid";
const CUT_OFF: &str = "asn1: syntax error: data truncated";
const CUT_OFF_ELLIPTIC: &str = "x509: malformed certificate";

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
        let derived = signs.as_ref().and_then(|signer| signer.believer(method));
        let believes = given.or(derived).ok_or(MISSING)?;
        let keys = Keys::Pair { signs, believes };
        keys.check_they_match()?;
        Ok(keys)
    }

    fn check_they_match(&self) -> Result<(), String> {
        let Keys::Pair { signs: Some(signer), believes } = self else { return Ok(()) };
        let probe = b"holdfast";
        let believed =
            signer.sign(probe).is_some_and(|signature| believes.has_made(probe, &signature));
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
            Keys::Pair { signs: Some(Signer::Ecdsa(_, Fits::No)), .. } => {
                Err(Refusal::unknown(OTHER_CURVE))
            }
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
            Keys::Pair { believes, .. } => {
                believes.fits == Fits::Yes && believes.has_made(text, signature)
            }
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

/// What Go says to the bytes of a key that cannot be read; `None` where our words will do.
fn malformed(der: &[u8]) -> Option<&'static str> {
    // The first number of a sequence's head says how long it is.
    let (&tag, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, held) = match short {
        0..=0x7f => (usize::from(short), rest.len()),
        _ => {
            let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = long.iter().try_fold(0_usize, |length, byte| {
                Some(length.checked_mul(256)? + usize::from(*byte))
            });
            (length?, rest.len())
        }
    };
    (tag == SEQUENCE && held < length).then_some(CUT_OFF)
}

/// What every key begins with.
const SEQUENCE: u8 = 0x30;

impl Signer {
    /// Reads the first block of a file, whatever its label, as Go does.
    fn read(method: Method, pem: &[u8]) -> Result<Signer, String> {
        let der = tls::first_block(pem).ok_or(NOT_PEM)?;
        Signer::of(method, &der).ok_or_else(|| {
            if let Some(text) = malformed(&der) {
                return text.to_owned();
            }
            let is_rsa =
                RsaKeyPair::from_pkcs8(&der).is_err() && RsaKeyPair::from_der(&der).is_ok();
            let is_elliptic = Curve::ALL.iter().any(|curve| {
                EcdsaKeyPair::from_pkcs8(curve.signs, &der).is_err()
                    && EcdsaKeyPair::from_private_key_der(curve.signs, &der).is_ok()
            });
            match method {
                Method::Rsa(_) | Method::RsaPss(_) | Method::EdDsa if is_elliptic => {
                    other_format("ParseECPrivateKey")
                }
                Method::Ecdsa(_) | Method::EdDsa if is_rsa => other_format("ParsePKCS1PrivateKey"),
                _ => not_a(method, "private"),
            }
        })
    }

    fn of(method: Method, der: &[u8]) -> Option<Signer> {
        match method {
            Method::Rsa(_) | Method::RsaPss(_) => {
                let pair = RsaKeyPair::from_der(der).or_else(|_| RsaKeyPair::from_pkcs8(der));
                Some(Signer::Rsa(pair.ok()?, rsa_encoding(method)))
            }
            Method::Ecdsa(digest) => Curve::ALL.iter().find_map(|curve| {
                let pair = EcdsaKeyPair::from_private_key_der(curve.signs, der)
                    .or_else(|_| EcdsaKeyPair::from_pkcs8(curve.signs, der));
                Some(Signer::Ecdsa(pair.ok()?, curve.fits(digest)))
            }),
            Method::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                Some(Signer::Ed25519(pair.ok()?))
            }
            Method::Hmac(_) => None,
        }
    }

    /// The public half, which follows from the private one.
    fn believer(&self, method: Method) -> Option<Believer> {
        match self {
            Signer::Rsa(pair, _) => Believer::of(method, pair.public_key().as_ref()),
            Signer::Ecdsa(pair, _) => Believer::of(method, pair.public_key().as_ref()),
            Signer::Ed25519(pair) => Believer::of(method, pair.public_key().as_ref()),
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
            Signer::Ecdsa(pair, _) => Some(pair.sign(&chance, text).ok()?.as_ref().to_vec()),
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

/// An elliptic curve that tokens are signed on.
struct Curve {
    digest: Digest,
    signs: &'static EcdsaSigningAlgorithm,
    believes: &'static dyn VerificationAlgorithm,
}

impl Curve {
    const ALL: [Curve; 3] = [
        Curve {
            digest: Digest::Sha256,
            signs: &algorithms::ECDSA_P256_SHA256_FIXED_SIGNING,
            believes: &algorithms::ECDSA_P256_SHA256_FIXED,
        },
        Curve {
            digest: Digest::Sha384,
            signs: &algorithms::ECDSA_P384_SHA384_FIXED_SIGNING,
            believes: &algorithms::ECDSA_P384_SHA384_FIXED,
        },
        Curve {
            digest: Digest::Sha512,
            signs: &algorithms::ECDSA_P521_SHA512_FIXED_SIGNING,
            believes: &algorithms::ECDSA_P521_SHA512_FIXED,
        },
    ];

    fn fits(&self, digest: Digest) -> Fits {
        if self.digest == digest { Fits::Yes } else { Fits::No }
    }
}

impl Believer {
    fn read(method: Method, pem: &[u8]) -> Result<Believer, String> {
        let key = tls::public_key(pem).ok_or(NOT_PEM)?;
        // etcd takes a certificate for any key but this one.
        let fits = method != Method::EdDsa || !key.is_of_certificate;
        let believer = Believer::of(method, &key.der).filter(|_| fits);
        believer.ok_or_else(|| match (malformed(&key.der), method) {
            (Some(_), Method::Ecdsa(_)) => CUT_OFF_ELLIPTIC.to_owned(),
            (Some(text), _) => text.to_owned(),
            (None, _) => not_a(method, "public"),
        })
    }

    fn of(method: Method, key: &[u8]) -> Option<Believer> {
        let parsed = |algorithm, fits| {
            ParsedPublicKey::new(algorithm, key).ok().map(|key| Believer { key, fits })
        };
        if let Method::Ecdsa(digest) = method {
            return Curve::ALL.iter().find_map(|it| parsed(it.believes, it.fits(digest)));
        }
        parsed(verification(method)?, Fits::Yes)
    }

    /// Whether the other half made this signature.
    fn has_made(&self, text: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(text, signature).is_ok()
    }
}

/// How signatures of a method are checked; `None` where that depends on the key's curve, or the key is a secret.
fn verification(method: Method) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match method {
        Method::Rsa(Digest::Sha256) => &algorithms::RSA_PKCS1_2048_8192_SHA256,
        Method::Rsa(Digest::Sha384) => &algorithms::RSA_PKCS1_2048_8192_SHA384,
        Method::Rsa(Digest::Sha512) => &algorithms::RSA_PKCS1_2048_8192_SHA512,
        Method::RsaPss(Digest::Sha256) => &algorithms::RSA_PSS_2048_8192_SHA256,
        Method::RsaPss(Digest::Sha384) => &algorithms::RSA_PSS_2048_8192_SHA384,
        Method::RsaPss(Digest::Sha512) => &algorithms::RSA_PSS_2048_8192_SHA512,
        Method::EdDsa => &algorithms::ED25519,
        Method::Ecdsa(_) | Method::Hmac(_) => return None,
    })
}
