//! How a client comes to a server: in the clear, with a certificate, or with a token of a user.
//!
//! Certificates and keys are made anew for each server by `openssl`, the same for every subject: P-256, one authority, one
//! certificate for the server and one for its clients, as kubeadm and k3s do it.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a client needs to be let in.
#[derive(Clone, Debug)]
pub struct Access {
    /// `host:port`.
    pub address: String,
    /// The client's certificate, and whom it believes.
    pub tls: Option<Tls>,
    /// Sent as `authorization` with each request.
    pub token: Option<String>,
}

impl Access {
    /// As nobody, to a server that encrypts nothing.
    pub fn in_the_clear(address: &str) -> Access {
        Access { address: address.to_owned(), tls: None, token: None }
    }
}

/// A client's side of TLS.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tls")
    }
}

const CERTIFICATES: &str = "set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \"$@\" 2>>openssl.log; }
new -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
for name in server client; do
  new -new -subj /CN=$name -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem 2>>openssl.log
done
openssl genrsa -out token.key 2048 2>>openssl.log
";

/// Makes the certificates of a server and of its clients, and a key that signs tokens, in a folder.
pub fn make_files(folder: &Path) {
    let made = Command::new("bash").args(["-c", CERTIFICATES]).current_dir(folder).status();
    assert!(made.expect("bash is there").success(), "openssl is needed");
}

impl Tls {
    /// A client with the certificate that lies in a folder. Its handshakes are whole ones: no session is taken up again.
    pub fn of(folder: &Path) -> Tls {
        let file = |name: &str| folder.join(name);
        let read = |name: &str| CertificateDer::from_pem_file(file(name)).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(read("ca.pem")).expect("an authority");
        let key = PrivateKeyDer::from_pem_file(file("client.key")).expect("a key");
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config =
            config.with_client_auth_cert(vec![read("client.pem")], key).expect("they fit");
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Tls { config: Arc::new(config) }
    }

    /// Makes a connection an encrypted one.
    pub async fn shake_hands(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(self.config.clone()).connect(name, tcp).await
    }
}
