//! What the flags say of certificates, on both sides of the proxy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::TlsOptions;
use logging::{Logger, info, warn};
use net::Tls;
use tls::{Acceptor, Pair, Server, ServerFiles, Suites, Watch};

use crate::options::ListenTls;

/// Tells the log what becomes of files that were changed.
struct Told(Logger);

fn named(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
    names.join(",")
}

impl Watch for Told {
    fn reloaded(&self, files: &[PathBuf]) {
        info!(self.0, "certificates were reloaded", "files" => named(files));
    }

    fn kept(&self, files: &[PathBuf], why: &str) {
        let text = "changed certificates cannot be used; the ones read before stay in force";
        warn!(self.0, text, "files" => named(files), "error" => why);
    }
}

/// What listeners encrypt with; `None` for nothing.
///
/// # Errors
/// A file or a suite that cannot be used.
pub fn acceptor(
    options: &ListenTls,
    listen: &str,
    data_dir: &Path,
    log: &Logger,
) -> Result<Option<Arc<dyn Tls>>, String> {
    let versions = options.check()?;
    let given = [&options.cert, &options.key, &options.trusted_ca];
    let pair = match given.iter().any(|file| !file.is_empty()) {
        true => Pair { cert: options.cert.clone().into(), key: options.key.clone().into() },
        false if options.auto => self_signed(options, listen, data_dir, log)?,
        false => return Ok(None),
    };
    let suites = Suites::named(options.suites.iter().map(String::as_str));
    let files = ServerFiles {
        pair,
        trusted_ca: options.trusted_ca.clone().into(),
        client_cert_auth: false,
        crl: options.crl.clone().into(),
        suites: suites.map_err(|error| error.to_string())?,
        versions,
        rules: Default::default(),
        protocols: vec!["h2", "http/1.1"],
    };
    let text = format!(
        "cert = {}, key = {}, client-cert=, client-key=, trusted-ca = {}, client-cert-auth = \
         false, crl-file = {}",
        files.pair.cert.display(),
        files.pair.key.display(),
        options.trusted_ca,
        options.crl
    );
    info!(log, "gRPC proxy server TLS", "tls-info" => text);
    let server = Server::new(files, Arc::new(Told(log.clone())));
    let server = server.map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(Acceptor::new(server))))
}

fn self_signed(
    options: &ListenTls,
    listen: &str,
    data_dir: &Path,
    log: &Logger,
) -> Result<Pair, String> {
    let host = go::address::split(listen).map_or("", |(host, _)| host);
    let hosts: Vec<String> =
        Some(host.to_owned()).filter(|host| !host.is_empty()).into_iter().collect();
    let years = u32::try_from(options.years).unwrap_or(u32::MAX);
    let folder = data_dir.join("fixtures").join("proxy");
    let made = tls::self_signed(&folder, &hosts, years);
    let (pair, is_new) = made.map_err(|error| go::chain(&error))?;
    if is_new {
        info!(log, "created cert file", "path" => &pair.cert);
        info!(log, "created key file", "path" => &pair.key);
    }
    Ok(pair)
}

/// Refuses a certificate whose name would be the user of everybody who has no token: the server could not tell
/// the proxy's clients apart (CVE-2018-16886).
///
/// # Errors
/// It has a name, in etcd's words; or it cannot be read.
pub fn check_nameless(options: &TlsOptions) -> Result<(), String> {
    if options.cert.is_empty() && options.key.is_empty() {
        return Ok(());
    }
    let pair = Pair { cert: options.cert.clone().into(), key: options.key.clone().into() };
    let (chain, _) = pair.read().map_err(|error| error.to_string())?;
    let name = tls::identity_of(&chain).and_then(|identity| identity.common_name);
    match name.filter(|name| !name.is_empty()) {
        None => Ok(()),
        Some(name) => Err(format!("cert has non empty Common Name ({name}): {}", options.cert)),
    }
}
