//! Finds endpoints by DNS: the SRV records `_etcd-client-ssl._tcp.DOMAIN` and `_etcd-client._tcp.DOMAIN`.
//!
//! A resolver of a hundred lines, because it is asked one kind of question, once.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
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

/// Asks the system's name servers. `service` is appended to the usual name, after a dash, if not empty.
pub fn discover(domain: &str, service: &str) -> Result<Discovered, String> {
    let suffix = if service.is_empty() { String::new() } else { format!("-{service}") };
    let mut endpoints = Vec::new();
    let mut failures = Vec::new();
    for (name, scheme) in [("etcd-client-ssl", "https"), ("etcd-client", "http")] {
        let query = format!("_{name}{suffix}._tcp.{domain}");
        match ask(&query) {
            Ok(targets) => {
                endpoints.extend(targets.into_iter().map(|target| format!("{scheme}://{target}")));
            }
            Err(why) => {
                failures.push(format!("error querying DNS SRV records for _{name}{suffix} {why}"));
            }
        }
    }
    if failures.len() == 2 {
        return Err(failures.join("; "));
    }
    Ok(Discovered { endpoints })
}

fn ask(name: &str) -> Result<Vec<String>, String> {
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
                return targets(&answer).ok_or_else(|| format!("lookup {name}: no such host"));
            }
            Err(error) => why = format!("lookup {name} on {server}:53: {error}"),
        }
    }
    Err(why)
}

fn exchange(server: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
    let ours = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(ours)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    // The port the kernel chose at random is what tells our answer from a forged one.
    let id = socket.local_addr()?.port();
    socket.send(&question(id, name)?)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    if answer.get(..2) == Some(&id.to_be_bytes()[..]) {
        Ok(answer)
    } else {
        Err(io::Error::other("an answer to another question"))
    }
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

/// `host:port` of each SRV record, by priority; `None` when there are none or the answer is malformed.
fn targets(answer: &[u8]) -> Option<Vec<String>> {
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
            found.push((number(data)?, format!("{host}:{}", number(data + 4)?)));
        }
        at = data + length;
    }
    found.sort();
    let found: Vec<String> = found.into_iter().map(|(_, target)| target).collect();
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

    #[test]
    fn srv_records_are_read_by_priority_and_names_may_point_back() {
        let mut answer = question(7, "_etcd-client._tcp.a.b").expect("a name");
        answer[7] = 2;
        for (priority, port) in [(9u8, 1u8), (1, 2)] {
            answer.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1, 0, 10]);
            answer.extend_from_slice(&[0, priority, 0, 0, 0, port, 1, b'h', 0xc0, 30]);
        }
        let found = targets(&answer).expect("well formed");
        assert_eq!(found, ["h.a.b:2", "h.a.b:1"]);
    }

    #[test]
    fn a_name_that_points_to_itself_is_malformed() {
        assert_eq!(read_name(&[0xc0, 0], 0), None);
    }
}
