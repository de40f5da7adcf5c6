//! Finds endpoints by DNS: the SRV records `_etcd-client-ssl._tcp.DOMAIN` and `_etcd-client._tcp.DOMAIN`; and whatever
//! else such records name.
//!
//! A resolver of a hundred lines, because it is asked one kind of question, once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const SRV: u16 = 33;
const TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: usize = 4096;

/// What one service's records say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// `https://host:port` before `http://host:port`.
    pub endpoints: Vec<String>,
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SrvRecord {
    /// Those with the lowest number are asked first.
    pub priority: u16,
    /// How many of those with the same priority this one counts for.
    pub weight: u16,
    /// The host; the dot at its end says that the name is whole, and etcdctl keeps it.
    pub target: String,
    /// The port.
    pub port: u16,
}

/// Asks the system's name servers. `service` is appended to the usual name, after a dash, if not empty.
///
/// # Errors
/// Neither service has a record, in Go's words.
pub fn discover(domain: &str, service: &str) -> Result<Discovered, String> {
    let mut endpoints = Vec::new();
    for (encrypted, records) in srv_records(domain, service)? {
        let scheme = if encrypted { "https" } else { "http" };
        let url = |record: SrvRecord| format!("{scheme}://{}:{}", record.target, record.port);
        endpoints.extend(records.into_iter().map(url));
    }
    Ok(Discovered { endpoints })
}

/// `host.:port` of each SRV record of this name, by priority. The system's name servers are asked.
///
/// # Errors
/// Why there is none, in Go's words.
pub fn lookup_srv(name: &str) -> Result<Vec<String>, String> {
    let place = |record: SrvRecord| format!("{}:{}", record.target, record.port);
    Ok(ask(name)?.into_iter().map(place).collect())
}

/// The records of the service with TLS and of the one without, each in the order of their priorities; true
/// stands for TLS.
///
/// # Errors
/// As [`discover`].
pub fn srv_records(domain: &str, service: &str) -> Result<Vec<(bool, Vec<SrvRecord>)>, String> {
    let suffix = if service.is_empty() { String::new() } else { format!("-{service}") };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (name, encrypted) in [("etcd-client-ssl", true), ("etcd-client", false)] {
        match ask(&format!("_{name}{suffix}._tcp.{domain}")) {
            Ok(records) => found.push((encrypted, records)),
            Err(why) => failures.push(why),
        }
    }
    if found.is_empty() {
        return Err(format!("dns lookup errors: {}", failures.join(" and ")));
    }
    Ok(found)
}

fn ask(name: &str) -> Result<Vec<SrvRecord>, String> {
    let config = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<IpAddr> = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse().ok())
        .collect();
    let mut why = format!("lookup {name}: no such host");
    for server in servers {
        match exchange(SocketAddr::new(server, 53), name) {
            Ok(answer) => {
                let none = || format!("lookup {name} on {server}:53: no such host");
                return records(&answer).ok_or_else(none);
            }
            Err(error) => why = format!("lookup {name} on {server}:53: {error}"),
        }
    }
    Err(why)
}

/// Asks one server: by UDP, and again by TCP when the answer did not fit into one packet.
fn exchange(server: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
    const TRUNCATED: u8 = 2;
    let answer = by_packet(server, name)?;
    let whole = answer.get(2).is_some_and(|flags| flags & TRUNCATED == 0);
    if whole { Ok(answer) } else { by_stream(server, name) }
}

fn by_stream(server: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let id = any_id();
    let question = question(id, name)?;
    let length = u16::try_from(question.len()).expect("a name is short");
    stream.write_all(&[&length.to_be_bytes(), &question[..]].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    ours(answer, id)
}

fn ours(answer: Vec<u8>, id: u16) -> io::Result<Vec<u8>> {
    if answer.get(..2) == Some(&id.to_be_bytes()[..]) {
        Ok(answer)
    } else {
        Err(io::Error::other("an answer to another question"))
    }
}

fn by_packet(server: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
    let anywhere = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(anywhere)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    // It and the port, which the kernel chose at random, tell our answer from a forged one.
    let id = any_id();
    socket.send(&question(id, name)?)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    ours(answer, id)
}

/// Nobody can guess it.
fn any_id() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        out.push(length.ok_or_else(|| io::Error::other("not a domain name"))?);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&SRV.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    Ok(out)
}

/// Each SRV record, by priority; `None` when there are none or the answer is malformed.
fn records(answer: &[u8]) -> Option<Vec<SrvRecord>> {
    let number = |at: usize| Some(u16::from_be_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let mut at = 12;
    for _ in 0..number(4)? {
        at = read_name(answer, at)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        let data = read_name(answer, at)?.1 + 10;
        let length = usize::from(number(data - 2)?);
        if number(data - 10)? == SRV {
            let (host, _) = read_name(answer, data + 6)?;
            let (priority, weight, port) = (number(data)?, number(data + 2)?, number(data + 4)?);
            found.push(SrvRecord { priority, weight, target: format!("{host}."), port });
        }
        at = data + length;
    }
    found.sort_by(|a, b| (a.priority, &a.target, a.port).cmp(&(b.priority, &b.target, b.port)));
    (!found.is_empty()).then_some(found)
}

/// The name at a place, and the place after it.
fn read_name(answer: &[u8], mut at: usize) -> Option<(String, usize)> {
    /// More jumps than this are a loop.
    const JUMPS_MAX: usize = 16;
    let mut labels = Vec::new();
    let (mut end, mut jumps) = (None, 0);
    loop {
        let length = usize::from(*answer.get(at)?);
        if length == 0 {
            return Some((labels.join("."), end.unwrap_or(at + 1)));
        }
        if length >= 0xc0 {
            end = end.or(Some(at + 2));
            at = (length & 0x3f) << 8 | usize::from(*answer.get(at + 1)?);
            jumps += 1;
            if jumps > JUMPS_MAX {
                return None;
            }
            continue;
        }
        labels.push(String::from_utf8_lossy(answer.get(at + 1..at + 1 + length)?).into_owned());
        at += 1 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says to a question of one name: so many records, or that they did not fit.
    fn reply(question: &[u8], records: Option<u8>) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer[2] = if records.is_none() { 0x82 } else { 0x80 };
        answer[7] = records.unwrap_or(0);
        for port in 1..=records.unwrap_or(0) {
            answer.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1, 0, 9]);
            answer.extend_from_slice(&[0, 1, 0, 0, 0, port, 1, b'h', 0]);
        }
        answer
    }

    #[test]
    fn an_answer_that_is_too_long_for_a_packet_is_asked_for_again_by_tcp() {
        let stream = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = stream.local_addr().expect("it is bound");
        let packets = UdpSocket::bind(address).expect("the same port is free");
        let server = std::thread::spawn(move || {
            let mut question = [0; 512];
            let (length, client) = packets.recv_from(&mut question).expect("a question");
            packets.send_to(&reply(&question[..length], None), client).expect("it is sent");
            let (mut stream, _) = stream.accept().expect("a client");
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("a length");
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).expect("a question");
            let answer = reply(&question, Some(100));
            let length = u16::try_from(answer.len()).expect("it is short").to_be_bytes();
            stream.write_all(&[&length, &answer[..]].concat()).expect("it is sent");
        });
        let answer = exchange(address, "_etcd-client._tcp.a.b").expect("an answer");
        assert_eq!(records(&answer).expect("well formed").len(), 100);
        server.join().expect("the server had no trouble");
    }

    #[test]
    fn srv_records_are_read_by_priority_and_names_may_point_back() {
        let mut answer = question(7, "_etcd-client._tcp.a.b").expect("a name");
        answer[7] = 2;
        for (priority, port) in [(9u8, 1u8), (1, 2)] {
            answer.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1, 0, 10]);
            answer.extend_from_slice(&[0, priority, 0, 7, 0, port, 1, b'h', 0xc0, 30]);
        }
        let found = records(&answer).expect("well formed");
        let record =
            |priority, port| SrvRecord { priority, weight: 7, target: "h.a.b.".to_owned(), port };
        assert_eq!(found, [record(1, 2), record(9, 1)]);
    }

    #[test]
    fn a_name_that_points_to_itself_is_malformed() {
        assert_eq!(read_name(&[0xc0, 0], 0), None);
    }
}
