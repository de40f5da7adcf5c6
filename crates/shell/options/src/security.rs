//! From values to what is shown, asked for and trusted: certificates, cipher suites.

use std::path::PathBuf;

use go::quote;

use crate::check::tls_version;
use crate::config::{Tls, TlsSide};
use crate::flag::{Text, Words};
use crate::table;
use crate::values::Values;

/// A file that a flag names.
pub(crate) fn file(values: &Values, flag: Text) -> Option<PathBuf> {
    let path = values.text(flag);
    (!path.is_empty()).then(|| path.into())
}

/// Certificates, and whose are asked for. What is malformed has been refused before.
pub(crate) fn tls(values: &Values) -> Tls {
    let file = |flag| file(values, flag);
    let words = |flag: Words| -> Vec<String> {
        values.words(flag).into_iter().filter(|word| !word.is_empty()).collect()
    };
    let version = |flag| tls_version(&values.text(flag)).unwrap_or_default();
    Tls {
        client: TlsSide {
            cert_file: file(table::CERT_FILE),
            key_file: file(table::KEY_FILE),
            client_cert_file: file(table::CLIENT_CERT_FILE),
            client_key_file: file(table::CLIENT_KEY_FILE),
            trusted_ca_file: file(table::TRUSTED_CA_FILE),
            crl_file: file(table::CLIENT_CRL_FILE),
            client_cert_auth: values.truth(table::CLIENT_CERT_AUTH),
            auto: values.truth(table::AUTO_TLS),
            allowed_cns: words(table::CLIENT_CERT_ALLOWED_CN),
            allowed_hostnames: words(table::CLIENT_CERT_ALLOWED_HOSTNAME),
            skip_client_san_verification: values.truth(table::CLIENT_SKIP_CLIENT_SAN_VERIFICATION),
        },
        peer: TlsSide {
            cert_file: file(table::PEER_CERT_FILE),
            key_file: file(table::PEER_KEY_FILE),
            client_cert_file: file(table::PEER_CLIENT_CERT_FILE),
            client_key_file: file(table::PEER_CLIENT_KEY_FILE),
            trusted_ca_file: file(table::PEER_TRUSTED_CA_FILE),
            crl_file: file(table::PEER_CRL_FILE),
            client_cert_auth: values.truth(table::PEER_CLIENT_CERT_AUTH),
            auto: values.truth(table::PEER_AUTO_TLS),
            allowed_cns: words(table::PEER_CERT_ALLOWED_CN),
            allowed_hostnames: words(table::PEER_CERT_ALLOWED_HOSTNAME),
            skip_client_san_verification: values.truth(table::PEER_SKIP_CLIENT_SAN_VERIFICATION),
        },
        min_version: version(table::TLS_MIN_VERSION),
        max_version: version(table::TLS_MAX_VERSION),
        cipher_suites: cipher_suites(values).unwrap_or_default(),
        self_signed_years: values.unsigned(table::SELF_SIGNED_CERT_VALIDITY),
    }
}

/// The cipher suites asked for, each known to Go. An empty word is none of them, unless nobody asked.
pub(crate) fn cipher_suites(values: &Values) -> Result<Vec<&'static str>, String> {
    if !values.is_said(&table::CIPHER_SUITES) {
        return Ok(Vec::new());
    }
    let words = values.words(table::CIPHER_SUITES);
    let known = |word: &String| {
        let suite = CIPHER_SUITES.iter().find(|suite| {
            // Two have a shorter name of former times.
            *suite == word
                || (suite.contains("CHACHA20") && suite.strip_suffix("_SHA256") == Some(word))
        });
        suite.copied().ok_or_else(|| format!("unexpected TLS cipher suite {}", quote(word)))
    };
    words.iter().map(known).collect()
}

/// All cipher suites that Go has a name for.
const CIPHER_SUITES: [&str; 25] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::Value;

    #[test]
    fn cipher_suites_have_gos_names_and_nobody_need_ask_for_any() {
        let suites = |typed: Option<&str>| {
            let mut values = Values::default();
            if let Some(typed) = typed {
                let words = typed.split(',').map(str::to_owned).collect();
                values.say(&table::CIPHER_SUITES, Value::Words(words));
            }
            cipher_suites(&values)
        };
        assert_eq!(suites(None), Ok(Vec::new()));
        let short = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_AES_128_GCM_SHA256";
        let long = ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"];
        assert_eq!(suites(Some(short)), Ok(long.to_vec()));
        assert_eq!(suites(Some("")), Err("unexpected TLS cipher suite \"\"".to_owned()));
        assert_eq!(suites(Some("foo")), Err("unexpected TLS cipher suite \"foo\"".to_owned()));
    }
}
