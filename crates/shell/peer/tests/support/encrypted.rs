//! Both ends of TLS, with a certificate that signs itself, as `--peer-auto-tls` has it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_peer::{Connector, LocalFuture, Pipe};
use net::Tls;
use tls::{Acceptor, Client, ClientFiles, Server, ServerFiles, Watch, self_signed};

pub struct Ends {
    pub accepting: Arc<dyn Tls>,
    pub dialling: Arc<dyn Connector>,
}

struct Nobody;

impl Watch for Nobody {
    fn reloaded(&self, _: &[PathBuf]) {}
    fn kept(&self, _: &[PathBuf], _: &str) {}
}

struct Dialling(Arc<Client>);

impl Connector for Dialling {
    fn connect(&self, pipe: Box<dyn Pipe>, host: &str) -> LocalFuture<io::Result<Box<dyn Pipe>>> {
        let (client, host) = (self.0.clone(), host.to_string());
        Box::pin(async move {
            let pipe: Box<dyn Pipe> = Box::new(client.connect(pipe, &host).await?);
            Ok(pipe)
        })
    }
}

impl Ends {
    pub fn new(dir: &Path) -> Ends {
        let hosts = ["127.0.0.1".to_string()];
        let (pair, _) = self_signed(&dir.join("fixtures"), &hosts, 1).unwrap();
        let files = ServerFiles { pair, protocols: vec!["http/1.1"], ..ServerFiles::default() };
        let server = Server::new(files, Arc::new(Nobody)).unwrap();
        let files = ClientFiles { skip_verify: true, ..ClientFiles::default() };
        let client = Client::new(files, Arc::new(Nobody)).unwrap();
        Ends {
            accepting: Arc::new(Acceptor::new(server)),
            dialling: Arc::new(Dialling(Arc::new(client))),
        }
    }
}
