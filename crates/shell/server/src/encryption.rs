//! From what the flags say of certificates to what listeners and dialling peers need.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use net::{LocalFuture, RemoteAddress, Tls};
use node::{Level, Line, Report};
use options::{Config, Discovery, TlsSide, TlsVersion, Url};
use peer::Pipe;
use tls::{
    Acceptor, Client, ClientFiles, FileError, Pair, Rules, SelfSignedError, Server, ServerFiles,
    Suites, SuitesError, Version, Versions, Watch,
};

/// Why nothing can be encrypted with these flags.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// A URL for clients wants TLS, and there is nothing to encrypt with.
    #[error(
        "TLS key/cert (--cert-file, --key-file) must be provided for client url {0} with HTTPS scheme"
    )]
    NoClientFiles(Url),
    /// A URL for members does.
    #[error("cannot listen on TLS for {0}: KeyFile and CertFile are not presented")]
    NoPeerFiles(String),
    /// A file of a listener or of the dialling side.
    #[error(transparent)]
    File(#[from] FileError),
    /// `--cipher-suites` without one that Go's HTTP/2 asks for, where clients may speak it.
    #[error(
        "http2: TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher \
         (need at least one of TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or \
         TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)"
    )]
    NoSuiteForHttp2,
    /// `--cipher-suites`.
    #[error(transparent)]
    Suites(#[from] SuitesError),
    /// A URL for metrics does.
    #[error(
        "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
    )]
    NoMetricsFiles,
    /// The certificate to dial with has no key, or the key no certificate.
    #[error(
        "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}]",
        .0.key.display(),
        .0.cert.display()
    )]
    HalfOfDialer(Pair),
    /// Certificates are known by their common names or by their hosts, not by both.
    #[error(
        "AllowedCNs and AllowedHostnames are mutually exclusive (cns={cns}, hostnames={hosts})"
    )]
    TwoRules {
        /// As Go prints a list.
        cns: String,
        /// Likewise.
        hosts: String,
    },
    /// `--auto-tls`, `--peer-auto-tls`.
    #[error("failed to get {side} self-signed certs")]
    SelfSigned {
        /// `client` or `peer`.
        side: &'static str,
        /// Why not.
        #[source]
        source: SelfSignedError,
    },
}

/// What the sockets of a member are encrypted with.
pub(crate) struct Encryption {
    clients: Option<Arc<dyn Tls>>,
    peers: Option<Arc<dyn Tls>>,
    /// Encrypts connections to other members; these may want TLS though this one listens without.
    pub dialer: Arc<Client>,
}

/// Which of the two kinds of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Client,
    Peer,
}

impl Endpoint {
    fn side(self, config: &Config) -> &TlsSide {
        match self {
            Endpoint::Client => &config.tls.client,
            Endpoint::Peer => &config.tls.peer,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Endpoint::Client => "client",
            Endpoint::Peer => "peer",
        }
    }

    fn folder(self, config: &Config) -> PathBuf {
        config.data_dir.join("fixtures").join(self.name())
    }

    /// Whether any listener of this kind encrypts. Where none does, files of the flags are not read, as in etcd.
    fn is_secure(self, config: &Config) -> bool {
        let listen = &config.listen;
        let of_clients = [&listen.client, &listen.client_http, &listen.metrics];
        let of_peers = [&listen.peer];
        let lists: &[&Vec<Url>] = match self {
            Endpoint::Client => &of_clients,
            Endpoint::Peer => &of_peers,
        };
        lists.iter().copied().flatten().any(|url| url.scheme().is_secure())
    }

    /// Looks at what needs no file.
    fn check(self, config: &Config) -> Result<(), EncryptionError> {
        let side = self.side(config);
        if !side.allowed_cns.is_empty() && !side.allowed_hostnames.is_empty() {
            let (cns, hosts) = (go_list(&side.allowed_cns), go_list(&side.allowed_hostnames));
            return Err(EncryptionError::TwoRules { cns, hosts });
        }
        if side.client_cert_file.is_some() != side.client_key_file.is_some() {
            return Err(EncryptionError::HalfOfDialer(dialing_pair(side)));
        }
        Ok(())
    }

    fn rules(self, config: &Config) -> Rules {
        let side = self.side(config);
        Rules {
            common_names: side.allowed_cns.clone(),
            hosts: side.allowed_hostnames.clone(),
            source: self == Endpoint::Peer && !side.skip_client_san_verification,
        }
    }

    fn protocols(self) -> Vec<&'static str> {
        match self {
            Endpoint::Client => vec!["h2", "http/1.1"],
            // etcd's peers speak nothing else.
            Endpoint::Peer => vec!["http/1.1"],
        }
    }
}

impl Encryption {
    /// Reads the files, and makes those that `--auto-tls` asks for.
    ///
    /// # Errors
    /// [`EncryptionError`], naming the file.
    pub fn new(config: &Config, report: &Arc<dyn Report>) -> Result<Encryption, EncryptionError> {
        let suites = Suites::named(config.tls.cipher_suites.iter().copied())?;
        let mut made = [None, None];
        for (place, endpoint) in [Endpoint::Client, Endpoint::Peer].into_iter().enumerate() {
            made[place] = pair(config, endpoint, report)?;
        }
        let [client_pair, peer_pair] = made;
        let listening = |endpoint: Endpoint, pair: &Option<Pair>| {
            if !endpoint.is_secure(config) {
                return Ok(None);
            }
            endpoint.check(config)?;
            let Some(pair) = pair.clone() else { return Ok(None) };
            let side = endpoint.side(config);
            let files = ServerFiles {
                pair,
                trusted_ca: side.trusted_ca_file.clone().unwrap_or_default(),
                client_cert_auth: side.client_cert_auth,
                crl: side.crl_file.clone().unwrap_or_default(),
                suites: suites.clone(),
                versions: versions(config),
                rules: endpoint.rules(config),
                protocols: endpoint.protocols(),
            };
            let acceptor = Acceptor::new(Server::new(files, watch(report))?);
            Ok::<_, EncryptionError>(Some(Arc::new(acceptor) as Arc<dyn Tls>))
        };
        let clients = listening(Endpoint::Client, &client_pair)?;
        if clients.is_some() && config.tls.client.client_cert_file.is_some() {
            // etcd's gateway dials with it; ours dials nobody, but a file that is not there is a mistake all the same.
            dialing_pair(&config.tls.client).read()?;
        }
        let peers = listening(Endpoint::Peer, &peer_pair)?;
        let dialer = dialer(config, peer_pair, suites.clone(), report)?;
        if serves_secure_http(config) && !suites.do_for_http2() {
            return Err(EncryptionError::NoSuiteForHttp2);
        }
        Ok(Encryption { clients, peers, dialer: Arc::new(dialer) })
    }

    /// What a listener of this URL encrypts with; `None` for one in the clear.
    ///
    /// # Errors
    /// There is nothing to encrypt with.
    pub fn of(
        &self,
        endpoint: Endpoint,
        url: &Url,
    ) -> Result<Option<Arc<dyn Tls>>, EncryptionError> {
        if !url.scheme().is_secure() {
            return Ok(None);
        }
        let (acceptor, missing) = match endpoint {
            Endpoint::Client => (&self.clients, EncryptionError::NoClientFiles(url.clone())),
            Endpoint::Peer => (&self.peers, EncryptionError::NoPeerFiles(url.address())),
        };
        acceptor.clone().map(Some).ok_or(missing)
    }
}

/// Whether a port for clients encrypts what is no gRPC; where there are ports for HTTP alone, the others do not.
fn serves_secure_http(config: &Config) -> bool {
    let listen = &config.listen;
    let urls = if listen.client_http.is_empty() { &listen.client } else { &listen.client_http };
    urls.iter().any(|url| url.scheme().is_secure())
}

/// The certificate to show, made now if the flags say so.
fn pair(
    config: &Config,
    endpoint: Endpoint,
    report: &Arc<dyn Report>,
) -> Result<Option<Pair>, EncryptionError> {
    let side = endpoint.side(config);
    if !side.is_self_signed() {
        let path = |file: &Option<PathBuf>| file.clone().unwrap_or_default();
        let pair = Pair { cert: path(&side.cert_file), key: path(&side.key_file) };
        return Ok((!pair.is_empty()).then_some(pair));
    }
    let urls = match endpoint {
        Endpoint::Client => &config.listen.client,
        Endpoint::Peer => &config.listen.peer,
    };
    let hosts = urls.iter().filter_map(|url| url.host_and_port());
    let hosts: Vec<_> = hosts.map(|(host, _)| host.to_owned()).collect();
    let years = u32::try_from(config.tls.self_signed_years).unwrap_or(u32::MAX);
    let made = tls::self_signed(&endpoint.folder(config), &hosts, years);
    let (pair, made) = made.map_err(|source| {
        say(
            report,
            Level::Warn,
            "cannot generate cert",
            vec![("error", source.to_string().into())],
        );
        EncryptionError::SelfSigned { side: endpoint.name(), source }
    })?;
    if made {
        for (text, path) in [("created cert file", &pair.cert), ("created key file", &pair.key)] {
            say(report, Level::Info, text, vec![("path", path.display().to_string().into())]);
        }
    }
    Ok(Some(pair))
}

/// The certificate to show when dialling.
fn dialing_pair(side: &TlsSide) -> Pair {
    let path = |file: &Option<PathBuf>| file.clone().unwrap_or_default();
    Pair { cert: path(&side.client_cert_file), key: path(&side.client_key_file) }
}

/// A list of texts as Go quotes it: `["a" "b"]`.
fn go_list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(go::quote).collect();
    format!("[{}]", quoted.join(" "))
}

/// The side that dials other members.
fn dialer(
    config: &Config,
    own: Option<Pair>,
    suites: Suites,
    report: &Arc<dyn Report>,
) -> Result<Client, EncryptionError> {
    let side = &config.tls.peer;
    let own = match (&side.client_cert_file, &side.client_key_file) {
        (None, None) => own.unwrap_or_default(),
        _ => dialing_pair(side),
    };
    let files = ClientFiles {
        pair: own,
        trusted_ca: side.trusted_ca_file.clone().unwrap_or_default(),
        server_name: discovered_name(config),
        skip_verify: side.is_self_signed(),
        rules: Rules { source: false, ..Endpoint::Peer.rules(config) },
        suites,
        versions: versions(config),
        protocols: vec!["http/1.1"],
    };
    Ok(Client::new(files, watch(report))?)
}

/// The name members' certificates must bear that were found by DNS, where no authority of their own vouches for them:
/// the domain's, as in etcd. Else it is that of their URLs.
fn discovered_name(config: &Config) -> String {
    match &config.bootstrap.discovery {
        Some(Discovery::Srv { domain, .. })
            if config.tls.peer.trusted_ca_file.is_none()
                && config.bootstrap.initial_cluster.contains("https://") =>
        {
            domain.clone()
        }
        _ => String::new(),
    }
}

fn versions(config: &Config) -> Versions {
    let version = |version: TlsVersion| match version {
        TlsVersion::V12 => Version::Tls12,
        TlsVersion::V13 => Version::Tls13,
    };
    let all = Versions::default();
    Versions {
        min: config.tls.min_version.map_or(all.min, version),
        max: config.tls.max_version.map_or(all.max, version),
    }
}

/// Tells the log what becomes of files that were changed.
struct Told(Arc<dyn Report>);

fn watch(report: &Arc<dyn Report>) -> Arc<dyn Watch> {
    Arc::new(Told(report.clone()))
}

fn named(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|path| Path::display(path).to_string()).collect();
    names.join(",")
}

impl Watch for Told {
    fn reloaded(&self, files: &[PathBuf]) {
        say(
            &self.0,
            Level::Info,
            "certificates were reloaded",
            vec![("files", named(files).into())],
        );
    }

    fn kept(&self, files: &[PathBuf], why: &str) {
        let text = "changed certificates cannot be used; the ones read before stay in force";
        let fields = vec![("files", named(files).into()), ("error", why.into())];
        say(&self.0, Level::Warn, text, fields);
    }
}

fn say(
    report: &Arc<dyn Report>,
    level: Level,
    text: &'static str,
    fields: Vec<(&'static str, go::Value)>,
) {
    report.line(&Line { level, text, fields });
}

/// What etcd logs of a connection whose handshake failed.
pub(crate) fn rejected(text: &'static str, address: &RemoteAddress, why: &io::Error) -> Line {
    let tls::Rejected { went_away, fields } = tls::rejected(address, why);
    let level = if went_away { Level::Debug } else { Level::Warn };
    Line { level, text, fields }
}

/// Encrypts connections to other members.
pub(crate) struct Connector(pub Arc<Client>);

impl peer::Connector for Connector {
    fn connect(&self, pipe: Box<dyn Pipe>, host: &str) -> LocalFuture<io::Result<Box<dyn Pipe>>> {
        let (client, host) = (self.0.clone(), host.to_owned());
        Box::pin(async move {
            let encrypted = client.connect(pipe, &host).await?;
            Ok(Box::new(encrypted) as Box<dyn Pipe>)
        })
    }
}
