//! `--cipher-suites`, `--tls-min-version` and `--tls-max-version`: Go's names to what rustls offers.
//!
//! rustls has only suites with forward secrecy and authenticated encryption. The others that Go knows
//! (CBC, RC4, 3DES, static RSA) are refused by name at the start instead of being offered to nobody.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedProtocolVersion, version};

/// A version of the protocol that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// Which versions are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub min: Version,
    /// The newest.
    pub max: Version,
}

impl Default for Versions {
    fn default() -> Versions {
        Versions { min: Version::Tls12, max: Version::Tls13 }
    }
}

/// The suites offered for TLS 1.2; those of 1.3 are not for choosing, as in Go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suites(Vec<CipherSuite>);

/// A suite that cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuitesError {
    /// Nobody knows it.
    #[error("unexpected TLS cipher suite {0:?}")]
    Unknown(String),
    /// Go knows it; it is too weak to be offered here.
    #[error(
        "TLS cipher suite {0:?} is not offered: it lacks forward secrecy or authenticated encryption"
    )]
    Weak(String),
}

/// Go's name and the number of each suite that can be offered.
const OFFERED: [(&str, CipherSuite); 11] = [
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    // The names of before Go 1.16, which etcd still reads.
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// What Go knows besides.
const WEAK: [&str; 15] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
];

impl Suites {
    /// Reads Go's names; none means all that can be offered.
    ///
    /// # Errors
    /// [`SuitesError`], naming the first that cannot be offered.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Suites, SuitesError> {
        let find = |name: &str| {
            if let Some((_, suite)) = OFFERED.iter().find(|(known, _)| *known == name) {
                return Ok(*suite);
            }
            let weak = WEAK.contains(&name) || name == "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256";
            let unknown = if weak { SuitesError::Weak } else { SuitesError::Unknown };
            Err(unknown(name.to_owned()))
        };
        names.into_iter().map(find).collect::<Result<_, _>>().map(Suites)
    }

    /// Whether HTTP/2 may be spoken with these, by Go's reading of RFC 7540, 9.2.2: a list must hold one of two suites.
    pub fn do_for_http2(&self) -> bool {
        const REQUIRED: [CipherSuite; 2] = [
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ];
        self.0.is_empty() || self.0.iter().any(|suite| REQUIRED.contains(suite))
    }

    /// The provider of cryptography with these suites.
    ///
    /// aws-lc-rs and not ring: etcd's own certificates (`--auto-tls`) are on P-521, which ring does not
    /// know (docs/decisions/0013).
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if !self.0.is_empty() {
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some() || self.0.contains(&suite.suite()));
        }
        Arc::new(provider)
    }
}

impl Versions {
    pub(crate) fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::Tls12, &version::TLS12), (Version::Tls13, &version::TLS13)];
        let within = all.into_iter().filter(|(v, _)| self.min <= *v && *v <= self.max);
        within.map(|(_, supported)| supported).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_names_are_read_and_weak_suites_are_refused_by_name() {
        let suites = Suites::named(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]).expect("known");
        let offered = suites.provider();
        let of_12 = offered.cipher_suites.iter().filter(|suite| suite.tls13().is_none());
        let of_12: Vec<_> = of_12.map(|suite| suite.suite()).collect();
        assert_eq!(of_12, [CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]);

        let weak = Suites::named(["TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"]);
        assert!(matches!(weak, Err(SuitesError::Weak(_))));
        assert!(suites.do_for_http2());
        let longer = Suites::named(["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]).expect("known");
        assert!(!longer.do_for_http2());
        assert!(Suites::default().do_for_http2());

        let unknown = Suites::named(["TLS_NOPE"]).expect_err("nobody knows it");
        assert_eq!(unknown.to_string(), "unexpected TLS cipher suite \"TLS_NOPE\"");
    }

    #[test]
    fn versions_are_those_from_min_to_max() {
        assert_eq!(Versions::default().supported().len(), 2);
        let newest = Versions { min: Version::Tls13, max: Version::Tls13 };
        assert_eq!(newest.supported(), [&version::TLS13]);
        let older = Versions { min: Version::Tls12, max: Version::Tls12 };
        assert_eq!(older.supported(), [&version::TLS12]);
    }
}
