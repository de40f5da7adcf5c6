//! Flags about who may connect and log in.

use crate::flag::Does::Its;
use crate::flag::{Count, Flag, Kind, Text, Truth, Words};

flags! {
    /// Security.
    SECURITY:
    CERT_FILE: Text = "cert-file", Kind::Text, "", "all", Its, "Certificate to show to clients.";
    KEY_FILE: Text = "key-file", Kind::Text, "", "all", Its, "Key of that certificate.";
    CLIENT_CERT_AUTH: Truth = "client-cert-auth", Kind::Bool, "false", "all", Its, "Asks clients for a certificate.";
    CLIENT_CERT_FILE: Text = "client-cert-file", Kind::Text, "", "3.5+", Its, "Certificate this server shows when it dials as a client.";
    CLIENT_KEY_FILE: Text = "client-key-file", Kind::Text, "", "3.5+", Its, "Key of that certificate.";
    CLIENT_CRL_FILE: Text = "client-crl-file", Kind::Text, "", "all", Its, "Certificates of clients that were revoked.";
    CLIENT_CERT_ALLOWED_HOSTNAME: Words = "client-cert-allowed-hostname", Kind::Words, "", "all", Its, "Host names that clients' certificates may carry.";
    TRUSTED_CA_FILE: Text = "trusted-ca-file", Kind::Text, "", "all", Its, "Authority that signs clients' certificates.";
    AUTO_TLS: Truth = "auto-tls", Kind::Bool, "false", "all", Its, "Makes a certificate for clients to see.";
    PEER_CERT_FILE: Text = "peer-cert-file", Kind::Text, "", "all", Its, "Certificate to show to members.";
    PEER_KEY_FILE: Text = "peer-key-file", Kind::Text, "", "all", Its, "Key of that certificate.";
    PEER_CLIENT_CERT_AUTH: Truth = "peer-client-cert-auth", Kind::Bool, "false", "all", Its, "Asks members for a certificate.";
    PEER_CLIENT_CERT_FILE: Text = "peer-client-cert-file", Kind::Text, "", "3.5+", Its, "Certificate to show when dialling members.";
    PEER_CLIENT_KEY_FILE: Text = "peer-client-key-file", Kind::Text, "", "3.5+", Its, "Key of that certificate.";
    PEER_TRUSTED_CA_FILE: Text = "peer-trusted-ca-file", Kind::Text, "", "all", Its, "Authority that signs members' certificates.";
    PEER_CERT_ALLOWED_CN: Words = "peer-cert-allowed-cn", Kind::Words, "", "all", Its, "Common names that members' certificates may carry.";
    PEER_CERT_ALLOWED_HOSTNAME: Words = "peer-cert-allowed-hostname", Kind::Words, "", "all", Its, "Host names that members' certificates may carry.";
    PEER_AUTO_TLS: Truth = "peer-auto-tls", Kind::Bool, "false", "all", Its, "Makes a certificate for members to see.";
    SELF_SIGNED_CERT_VALIDITY: Count = "self-signed-cert-validity", Kind::Unsigned("uint"), "1", "3.5+", Its, "Years that certificates made by this server are good for.";
    PEER_CRL_FILE: Text = "peer-crl-file", Kind::Text, "", "all", Its, "Certificates of members that were revoked.";
    PEER_SKIP_CLIENT_SAN_VERIFICATION: Truth = "peer-skip-client-san-verification", Kind::Bool, "false", "3.6+", Its, "Does not compare members' addresses with their certificates.";
    CIPHER_SUITES: Words = "cipher-suites", Kind::Words, "", "all", Its, "Cipher suites to offer.";
    CORS: Words = "cors", Kind::Origins, "*", "all", Its, "Origins that browsers may call from; * means all.";
    HOST_WHITELIST: Words = "host-whitelist", Kind::Words, "*", "all", Its, "Host names that HTTP clients may call this server by; * means all.";
    TLS_MIN_VERSION: Text = "tls-min-version", Kind::Text, "TLS1.2", "all", Its, "Oldest TLS version: TLS1.2 or TLS1.3.";
    TLS_MAX_VERSION: Text = "tls-max-version", Kind::Text, "", "all", Its, "Newest TLS version; empty means the newest there is.";
}

flags! {
    /// Auth.
    AUTH:
    AUTH_TOKEN: Text = "auth-token", Kind::Text, "simple", "all", Its, "How logins are remembered: simple, or jwt,sign-method=...,priv-key=...,pub-key=...,ttl=...; empty: nobody can log in.";
    BCRYPT_COST: Count = "bcrypt-cost", Kind::Unsigned("uint"), "10", "all", Its, "What hashing a password costs: 4 to 31.";
    AUTH_TOKEN_TTL: Count = "auth-token-ttl", Kind::Unsigned("uint"), "300", "all", Its, "Seconds an unused login is remembered; 0 means the default.";
}

flags! {
    /// Settings of the client's block in a configuration file that no flag has.
    IN_FILES_ONLY:
    CLIENT_CERT_ALLOWED_CN: Words = "client-cert-allowed-cn", Kind::Words, "", "3.6+", Its, "Common names that clients' certificates may carry.";
    CLIENT_SKIP_CLIENT_SAN_VERIFICATION: Truth = "client-skip-client-san-verification", Kind::Bool, "false", "3.6+", Its, "Does not compare clients' addresses with their certificates.";
}
