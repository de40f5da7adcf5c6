//! What the flags ask for and does not happen, or should not be relied on: etcd's warnings at its start.

use logging::{Logger, warn};
use options::{Config, TlsSide, Tokens, Url};

/// Options of `--auth-token=jwt` that mean something.
const JWT_OPTIONS: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];

/// Says for each URL in the clear that certificates are not used for it.
pub fn on_encryption(config: &Config, log: &Logger) {
    for (side, ignored) in [
        (&config.tls.peer, "ignoring peer auto TLS since certs given"),
        (&config.tls.client, "ignoring client auto TLS since certs given"),
    ] {
        if side.auto && side.has_files() {
            warn!(log, ignored);
        }
    }
    let has_certificate = |side: &TlsSide| side.auto || side.has_files();
    let in_the_clear = |url: &&Url| !url.scheme().is_secure();
    for url in config.listen.peer.iter().filter(in_the_clear) {
        if has_certificate(&config.tls.peer) {
            let text =
                "scheme is HTTP while key and cert files are present; ignoring key and cert files";
            warn!(log, text, "peer-url" => url.to_string());
        }
        if config.tls.peer.client_cert_auth {
            let text = "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL";
            warn!(log, text, "peer-url" => url.to_string());
        }
    }
    let of_clients = config.listen.client.iter().chain(&config.listen.client_http);
    for url in of_clients.filter(in_the_clear) {
        if has_certificate(&config.tls.client) {
            let text = "scheme is http or unix while key and cert files are present; ignoring key and cert files";
            warn!(log, text, "client-url" => url.to_string());
        }
        if config.tls.client.client_cert_auth {
            let text = "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL";
            warn!(log, text, "client-url" => url.to_string());
        }
    }
}

/// Says what is to be known of the tokens that users will get.
pub fn on_tokens(config: &Config, log: &Logger) {
    match &config.auth.tokens {
        Tokens::Simple => warn!(log, "simple token is not cryptographically signed"),
        Tokens::Jwt(options) => {
            let known = |name: &&String| JWT_OPTIONS.contains(&name.as_str());
            let unknown: Vec<String> =
                options.keys().filter(|name| !known(name)).cloned().collect();
            if !unknown.is_empty() {
                warn!(log, "unknown JWT options", "keys" => unknown);
            }
        }
        Tokens::None => {}
    }
}
