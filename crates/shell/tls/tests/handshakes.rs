//! Handshakes between our two ends, over a pipe in memory, with certificates made here.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use holdfast_tls::{
    Client, ClientFiles, Handshake, HandshakeError, Pair, Rules, Server, ServerFiles, Suites,
    Version, Versions, Watch, go_text, self_signed,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, SignatureAlgorithm,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Watch for Heard {
    fn reloaded(&self, _: &[PathBuf]) {
        self.0.lock().expect("no panic").push("reloaded".to_owned());
    }

    fn kept(&self, _: &[PathBuf], why: &str) {
        self.0.lock().expect("no panic").push(why.to_owned());
    }
}

/// An authority in a folder, and what it signed.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What stands in a certificate.
struct Leaf<'a> {
    common_name: &'a str,
    hosts: &'a [&'a str],
    serial: u64,
    algorithm: &'static SignatureAlgorithm,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        let algorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
        Leaf { common_name: "alice", hosts: &["localhost", "127.0.0.1"], serial: 7, algorithm }
    }
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Authority { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str, leaf: &Leaf<'_>) -> Pair {
        let key = KeyPair::generate_for(leaf.algorithm).expect("a key");
        let hosts = leaf.hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, leaf.common_name);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        let pair = Pair {
            cert: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        fs::write(&pair.cert, signed.pem()).expect("written");
        fs::write(&pair.key, key.serialize_pem()).expect("written");
        pair
    }

    fn revoke(&self, serial: u64) -> PathBuf {
        let now = rcgen::date_time_ymd(2026, 1, 1);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2046, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("signed");
        let path = self.path("crl.pem");
        fs::write(&path, list.pem().expect("pem")).expect("written");
        path
    }

    fn server(&self) -> ServerFiles {
        ServerFiles {
            pair: self.sign("server", &Leaf::default()),
            trusted_ca: self.path("ca.pem"),
            protocols: vec!["h2", "http/1.1"],
            ..ServerFiles::default()
        }
    }

    fn client(&self) -> ClientFiles {
        ClientFiles {
            pair: self.sign("client", &Leaf::default()),
            trusted_ca: self.path("ca.pem"),
            protocols: vec!["h2"],
            ..ClientFiles::default()
        }
    }
}

/// What both ends say of one connection, over which one byte goes each way.
async fn shake(server: &Server, client: &Client) -> (Result<Handshake, HandshakeError>, String) {
    shake_from(server, client, "127.0.0.1").await
}

async fn shake_from(
    server: &Server,
    client: &Client,
    source: &str,
) -> (Result<Handshake, HandshakeError>, String) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let source: IpAddr = source.parse().expect("an address");
    let accepting = async {
        let mut accepted = server.accept(far, Some(source), None).await?;
        let echo = async {
            let byte = accepted.stream.read_u8().await?;
            accepted.stream.write_u8(byte).await?;
            accepted.stream.shutdown().await
        };
        // What the client does after the handshake is told by the client.
        let _ = echo.await;
        Ok(accepted.handshake)
    };
    let connecting = async {
        let mut stream = client.connect(near, "localhost").await?;
        stream.write_u8(7).await?;
        stream.read_u8().await
    };
    let (accepted, connected) = tokio::join!(accepting, connecting);
    (accepted, connected.map_or_else(|error| go_text(&error), |byte| format!("echoed {byte}")))
}

fn ends(server: ServerFiles, client: ClientFiles) -> (Server, Client) {
    let server = Server::new(server, Arc::<Heard>::default()).expect("a server");
    let client = Client::new(client, Arc::<Heard>::default()).expect("a client");
    (server, client)
}

#[tokio::test]
async fn a_client_with_a_certificate_is_known_by_its_names() {
    let authority = Authority::new();
    let (server, client) = ends(authority.server(), authority.client());
    let (accepted, told) = shake(&server, &client).await;
    let seen = accepted.expect("accepted");
    assert_eq!(told, "echoed 7");
    assert_eq!(seen.protocol.as_deref(), Some("h2"));
    assert_eq!(seen.server_name, "localhost");
    let identity = seen.identity.expect("a certificate was shown");
    assert_eq!(identity.common_name.as_deref(), Some("alice"));
    assert_eq!(identity.dns, ["localhost"]);
    assert_eq!(identity.ips, ["127.0.0.1".parse::<IpAddr>().expect("an address")]);
    assert_eq!(identity.serials, [vec![7]]);
}

#[tokio::test]
async fn a_session_that_is_resumed_is_looked_at_like_any_other() {
    let authority = Authority::new();
    let mut files = authority.server();
    files.crl = authority.revoke(99);
    let (server, client) = ends(files, authority.client());
    for _ in 0..3 {
        let (accepted, _) = shake(&server, &client).await;
        assert_eq!(
            accepted.expect("accepted").identity.expect("shown").common_name.as_deref(),
            Some("alice")
        );
    }
    authority.revoke(7);
    let (accepted, _) = shake(&server, &client).await;
    assert_eq!(accepted.expect_err("revoked").why, "transport: certificate serial 7 revoked");
}

#[tokio::test]
async fn while_a_revocation_list_cannot_be_read_whoever_shows_a_certificate_is_refused() {
    let authority = Authority::new();
    let mut files = authority.server();
    files.crl = authority.path("crl.pem");
    let list = files.crl.clone();
    let (server, client) = ends(files, authority.client());
    let (accepted, _) = shake(&server, &client).await;
    let gone = format!("open {}: no such file or directory", list.display());
    assert_eq!(accepted.expect_err("nobody knows who is revoked").why, gone);

    fs::write(&list, "no list").expect("written");
    let (accepted, _) = shake(&server, &client).await;
    // What stood there first stays in force.
    assert_eq!(accepted.expect_err("still nobody knows").why, gone);
    authority.revoke(99);
    let (accepted, told) = shake(&server, &client).await;
    assert!(accepted.is_ok(), "{accepted:?}");
    assert_eq!(told, "echoed 7");
    // A list that was there once is kept.
    fs::remove_file(&list).expect("it is ours");
    assert!(shake(&server, &client).await.0.is_ok());
}

#[tokio::test]
async fn keys_of_every_kind_that_go_takes_are_taken() {
    let authority = Authority::new();
    let kinds = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ];
    for algorithm in kinds {
        let leaf = Leaf { algorithm, ..Leaf::default() };
        for max in [Version::Tls12, Version::Tls13] {
            let versions = Versions { min: Version::Tls12, max };
            let mut files = authority.server();
            (files.pair, files.versions) = (authority.sign("any", &leaf), versions);
            let mut ours = authority.client();
            ours.pair = authority.sign("any-client", &leaf);
            let (server, client) = ends(files, ours);
            let (accepted, told) = shake(&server, &client).await;
            assert_eq!(told, "echoed 7", "{algorithm:?} {max:?}: {accepted:?}");
        }
    }
}

#[tokio::test]
async fn who_shows_nothing_or_a_strangers_certificate_is_refused_in_gos_words() {
    let authority = Authority::new();
    let mut nothing = authority.client();
    nothing.pair = Pair::default();
    let (server, client) = ends(authority.server(), nothing);
    let (accepted, told) = shake(&server, &client).await;
    assert_eq!(accepted.expect_err("refused").why, "tls: client didn't provide a certificate");
    assert_eq!(told, "remote error: tls: certificate required");

    let stranger = Authority::new();
    let mut files = authority.client();
    files.pair = stranger.sign("client", &Leaf::default());
    let (server, client) = ends(authority.server(), files);
    let (accepted, told) = shake(&server, &client).await;
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(accepted.expect_err("refused").why, unknown);
    assert_eq!(told, "remote error: tls: unknown certificate authority");

    let (server, client) = ends(stranger.server(), authority.client());
    let (accepted, told) = shake(&server, &client).await;
    assert_eq!(
        accepted.expect_err("refused").why,
        "remote error: tls: unknown certificate authority"
    );
    assert_eq!(told, unknown);
}

#[tokio::test]
async fn rules_about_names_refuse_with_a_bad_certificate_alert() {
    let authority = Authority::new();
    let mut files = authority.server();
    files.rules.common_names = vec!["bob".to_owned()];
    let (server, client) = ends(files, authority.client());
    let (accepted, told) = shake(&server, &client).await;
    assert_eq!(accepted.expect_err("refused").why, "client certificate authentication failed");
    assert_eq!(told, "remote error: tls: bad certificate");

    let mut files = authority.server();
    files.rules.hosts = vec!["localhost".to_owned()];
    let (server, client) = ends(files, authority.client());
    assert_eq!(shake(&server, &client).await.1, "echoed 7");
}

#[tokio::test]
async fn a_peer_is_refused_where_its_certificate_does_not_belong() {
    let authority = Authority::new();
    let mut files = authority.server();
    files.rules = Rules { source: true, ..Rules::default() };
    let mut ours = authority.client();
    ours.pair = authority.sign("placed", &Leaf { hosts: &["127.0.0.1"], ..Leaf::default() });
    let (server, client) = ends(files, ours);
    let (accepted, _) = shake_from(&server, &client, "127.0.0.1").await;
    accepted.expect("it comes from where it says");
    let (accepted, _) = shake_from(&server, &client, "127.0.0.2").await;
    let why = accepted.expect_err("it comes from elsewhere").why;
    assert_eq!(why, "x509: certificate is valid for 127.0.0.1, not 127.0.0.2");
}

#[tokio::test]
async fn a_certificate_that_stands_in_the_ca_file_itself_is_believed_as_in_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let (pair, made) = self_signed(folder.path(), &hosts, 1).expect("made");
    assert!(made);
    let trusted_ca = pair.cert.clone();
    let files = ServerFiles {
        pair: pair.clone(),
        trusted_ca: trusted_ca.clone(),
        ..ServerFiles::default()
    };
    let ours = ClientFiles { pair: pair.clone(), trusted_ca, ..ClientFiles::default() };
    let (server, client) = ends(files, ours);
    assert_eq!(shake(&server, &client).await.1, "echoed 7");

    let (again, made) = self_signed(folder.path(), &hosts, 1).expect("there");
    assert_eq!((again, made), (pair, false));
}

#[tokio::test]
async fn the_files_of_a_running_server_are_rotated_and_bad_ones_are_kept_out() {
    let authority = Authority::new();
    let heard = Arc::new(Heard::default());
    let server = Server::new(authority.server(), heard.clone()).expect("a server");
    let client = Client::new(authority.client(), Arc::<Heard>::default()).expect("a client");
    assert_eq!(shake(&server, &client).await.1, "echoed 7");

    fs::write(authority.path("server.key"), "nonsense").expect("written");
    assert_eq!(shake(&server, &client).await.1, "echoed 7");
    assert_eq!(
        heard.0.lock().expect("no panic")[..],
        ["tls: failed to find any PEM data in key input"]
    );

    // Another authority signs from now on: who trusts the old one only is told so.
    let newer = Authority::new();
    let pair = newer.sign("server", &Leaf::default());
    for (from, to) in [(pair.cert, "server.pem"), (pair.key, "server.key")] {
        fs::copy(from, authority.path(to)).expect("copied");
    }
    let (_, told) = shake(&server, &client).await;
    assert!(told.ends_with("certificate signed by unknown authority"), "{told}");
    assert_eq!(heard.0.lock().expect("no panic").last().expect("told"), "reloaded");
}

#[tokio::test]
async fn suites_and_versions_that_have_nothing_in_common_end_the_handshake() {
    let authority = Authority::new();
    let mut files = authority.server();
    files.versions = Versions { min: Version::Tls13, max: Version::Tls13 };
    let mut ours = authority.client();
    ours.versions = Versions { min: Version::Tls12, max: Version::Tls12 };
    let (server, client) = ends(files, ours);
    assert_eq!(
        shake(&server, &client).await.1,
        "remote error: tls: protocol version not supported"
    );

    let twelve = Versions { min: Version::Tls12, max: Version::Tls12 };
    let mut files = authority.server();
    files.suites = Suites::named(["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]).expect("known");
    files.versions = twelve;
    let mut ours = authority.client();
    ours.suites = Suites::named(["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]).expect("known");
    ours.versions = twelve;
    let (server, client) = ends(files, ours);
    assert_eq!(shake(&server, &client).await.1, "remote error: tls: handshake failure");
}

#[tokio::test]
async fn plain_text_on_an_encrypted_port_is_named_as_what_it_is() {
    let authority = Authority::new();
    let server = Server::new(authority.server(), Arc::<Heard>::default()).expect("a server");
    let (mut near, far) = tokio::io::duplex(4096);
    near.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.expect("sent");
    let refused = server.accept(far, None, None).await.map(|_| ()).expect_err("no handshake");
    assert_eq!(refused.why, "tls: first record does not look like a TLS handshake");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stands_still_is_given_up() {
    let authority = Authority::new();
    let server = Server::new(authority.server(), Arc::<Heard>::default()).expect("a server");
    let (near, far) = tokio::io::duplex(4096);
    let refused = server.accept(far, None, None).await.map(|_| ()).expect_err("nobody speaks");
    assert_eq!(refused.why, "i/o timeout");
    drop(near);
}

#[test]
fn files_that_cannot_be_used_are_named_as_go_names_them() {
    let authority = Authority::new();
    let refused = |change: &dyn Fn(&mut ServerFiles)| {
        let mut files = authority.server();
        change(&mut files);
        let made = Server::new(files, Arc::<Heard>::default());
        made.map(|_| ()).expect_err("unusable").to_string()
    };
    let gone = refused(&|files| files.pair.cert = "/nowhere.pem".into());
    assert_eq!(gone, "open /nowhere.pem: no such file or directory");
    let half = refused(&|files| files.pair.key = PathBuf::new());
    assert!(half.starts_with("KeyFile and CertFile must both be present[key: , cert: "), "{half}");
    let other = authority.sign("other", &Leaf::default());
    let mixed = refused(&|files| files.pair.key = other.key.clone());
    assert_eq!(mixed, "tls: private key does not match public key");
    let empty = authority.path("empty.pem");
    fs::write(&empty, "").expect("written");
    let none = refused(&|files| files.trusted_ca = empty.clone());
    assert_eq!(none, "tls: failed to find any PEM data in certificate input");
    let no_time = self_signed(Path::new("/tmp"), &[], 0).expect_err("no time");
    let text = "selfSignedCertValidity is invalid,it should be greater than 0";
    assert_eq!(no_time.to_string(), text);
}
