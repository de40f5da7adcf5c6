//! Flags about who may connect and log in.

use super::flag;
use crate::flag::Does::{Its, Nothing, Refused};
use crate::flag::Flag;
use crate::flag::Kind::{Bool, Origins, Text, Unsigned, Words};

/// Security.
#[rustfmt::skip] // One flag a line.
pub(super) const SECURITY: &[Flag] = &[
    flag("cert-file", Text, "", "all", Refused("TLS is not built yet"), "Certificate to show to clients."),
    flag("key-file", Text, "", "all", Refused("TLS is not built yet"), "Key of that certificate."),
    flag("client-cert-auth", Bool, "false", "all", Refused("TLS is not built yet"), "Asks clients for a certificate."),
    flag("client-cert-file", Text, "", "3.5+", Refused("TLS is not built yet"), "Certificate this server shows when it dials as a client."),
    flag("client-key-file", Text, "", "3.5+", Refused("TLS is not built yet"), "Key of that certificate."),
    flag("client-crl-file", Text, "", "all", Refused("TLS is not built yet"), "Certificates of clients that were revoked."),
    flag("client-cert-allowed-hostname", Words, "", "all", Refused("TLS is not built yet"), "Host names that clients' certificates may carry."),
    flag("trusted-ca-file", Text, "", "all", Refused("TLS is not built yet"), "Authority that signs clients' certificates."),
    flag("auto-tls", Bool, "false", "all", Refused("TLS is not built yet"), "Makes a certificate for clients to see."),
    flag("peer-cert-file", Text, "", "all", Refused("TLS is not built yet"), "Certificate to show to members."),
    flag("peer-key-file", Text, "", "all", Refused("TLS is not built yet"), "Key of that certificate."),
    flag("peer-client-cert-auth", Bool, "false", "all", Refused("TLS is not built yet"), "Asks members for a certificate."),
    flag("peer-client-cert-file", Text, "", "3.5+", Refused("TLS is not built yet"), "Certificate to show when dialling members."),
    flag("peer-client-key-file", Text, "", "3.5+", Refused("TLS is not built yet"), "Key of that certificate."),
    flag("peer-trusted-ca-file", Text, "", "all", Refused("TLS is not built yet"), "Authority that signs members' certificates."),
    flag("peer-cert-allowed-cn", Words, "", "all", Refused("TLS is not built yet"), "Common names that members' certificates may carry."),
    flag("peer-cert-allowed-hostname", Words, "", "all", Refused("TLS is not built yet"), "Host names that members' certificates may carry."),
    flag("peer-auto-tls", Bool, "false", "all", Refused("TLS is not built yet"), "Makes a certificate for members to see."),
    flag("self-signed-cert-validity", Unsigned("uint"), "1", "3.5+", Nothing("Checked, but without effect as long as TLS is not built."), "Years that certificates made by this server are good for."),
    flag("peer-crl-file", Text, "", "all", Refused("TLS is not built yet"), "Certificates of members that were revoked."),
    flag("peer-skip-client-san-verification", Bool, "false", "3.6+", Refused("TLS is not built yet"), "Does not compare members' addresses with their certificates."),
    flag("cipher-suites", Words, "", "all", Nothing("Checked, but without effect as long as TLS is not built."), "Cipher suites to offer."),
    flag("cors", Origins, "*", "all", Its, "Origins that browsers may call from; * means all."),
    flag("host-whitelist", Words, "*", "all", Its, "Host names that HTTP clients may call this server by; * means all."),
    flag("tls-min-version", Text, "TLS1.2", "all", Nothing("Checked, but without effect as long as TLS is not built."), "Oldest TLS version: TLS1.2 or TLS1.3."),
    flag("tls-max-version", Text, "", "all", Nothing("Checked, but without effect as long as TLS is not built."), "Newest TLS version; empty means the newest there is."),
];

/// Auth.
#[rustfmt::skip] // One flag a line.
pub(super) const AUTH: &[Flag] = &[
    flag("auth-token", Text, "simple", "all", Its, "How logins are remembered: simple, or jwt,sign-method=...,priv-key=...,pub-key=...,ttl=...; empty: nobody can log in."),
    flag("bcrypt-cost", Unsigned("uint"), "10", "all", Its, "What hashing a password costs: 4 to 31."),
    flag("auth-token-ttl", Unsigned("uint"), "300", "all", Its, "Seconds an unused login is remembered; 0 means the default."),
];
