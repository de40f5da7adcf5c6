//! A name server that knows one domain's SRV records and its host, and nothing else; and programs for which it
//! is the system's.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A record that leads to `host.DOMAIN`, which is 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Srv {
    /// `_etcd-server-blue._tcp`.
    pub service: &'static str,
    /// The best is the lowest.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// Where it leads.
    pub port: u16,
}

/// The server. Gone with this.
#[derive(Debug)]
pub struct NameServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// On port 53 of this address; `None` where this user may not listen.
    pub fn start(address: &str, domain: &'static str, records: Vec<Srv>) -> Option<NameServer> {
        let socket = UdpSocket::bind((address, 53)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes it");
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let serve = move || {
            let mut question = [0; 512];
            while !stopped.load(Ordering::SeqCst) {
                if let Ok((length, client)) = socket.recv_from(&mut question) {
                    let answer = answer(&question[..length], domain, &records);
                    socket.send_to(&answer, client).expect("an answer can be sent");
                }
            }
        };
        Some(NameServer { stop, thread: Some(std::thread::spawn(serve)) })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the name server had no trouble");
        }
    }
}

/// What stands before a program's words so that it runs in a file system of its own, where the name server at
/// this address is the system's. `None` where this user may not mount.
pub fn apart(folder: &Path, address: &str) -> Option<Vec<String>> {
    let resolv = folder.join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {address}\n")).expect("a file");
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let resolv = resolv.display().to_string();
    let apart = ["unshare", "--mount", "bash", "-c", script, &resolv].map(str::to_owned).to_vec();
    let allowed = Command::new(&apart[0]).args(&apart[1..]).arg("true").status();
    allowed.is_ok_and(|status| status.success()).then_some(apart)
}

fn labels(text: &str) -> Vec<u8> {
    let label = |part: &str| [&[part.len() as u8], part.as_bytes()].concat();
    text.split('.').map(label).chain([vec![0]]).collect::<Vec<_>>().concat()
}

/// The records of the name, where the host is, or that there is no such name.
fn answer(question: &[u8], domain: &str, records: &[Srv]) -> Vec<u8> {
    const A: [u8; 4] = [0, 1, 0, 1];
    const SRV: [u8; 4] = [0, 33, 0, 1];
    const NO_SUCH_NAME: u8 = 3;
    let end = question.iter().skip(12).position(|byte| *byte == 0).map_or(12, |at| 13 + at);
    let (name, kind) = (question[12..end].to_ascii_lowercase(), &question[end..end + 4]);
    let host = labels(&format!("host.{domain}"));
    let named: Vec<&Srv> = records
        .iter()
        .filter(|record| name == labels(&format!("{}.{domain}", record.service)))
        .collect();
    let data: Option<Vec<Vec<u8>>> = match () {
        () if name == host && kind == A => Some(vec![vec![127, 0, 0, 1]]),
        () if name == host => Some(Vec::new()),
        () if !named.is_empty() && kind == SRV => {
            let record = |srv: &&Srv| {
                let numbers = [srv.priority, srv.weight, srv.port].map(u16::to_be_bytes);
                [numbers.as_flattened(), &host].concat()
            };
            Some(named.iter().map(record).collect())
        }
        () => None,
    };
    // An answer, with recursion, and no records but what follows.
    let mut out = question[..end + 4].to_vec();
    out[2..4].copy_from_slice(&[0x81, 0x80]);
    out[6..12].fill(0);
    let Some(data) = data else {
        out[3] |= NO_SUCH_NAME;
        return out;
    };
    out[7] = data.len() as u8;
    for record in data {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(kind);
        out.extend_from_slice(&[0, 0, 0, 60, 0, record.len() as u8]);
        out.extend_from_slice(&record);
    }
    out
}
