//! The cluster a snapshot is restored for: who its members are, and whether this one is among them.
//!
//! The same checks, in the same words, as a server makes at its first start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::ToSocketAddrs;

use apply::Member;
use member::{bootstrap_member_id, cluster_id};
use types::MemberId;

/// A new cluster, seen from one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub id: u64,
    /// This member.
    pub local: MemberId,
    /// All members, by id.
    pub members: Vec<Member>,
}

/// What the flags say.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub name: &'a str,
    pub initial_cluster: &'a str,
    pub advertised: &'a str,
    pub token: &'a str,
}

impl Cluster {
    /// Makes sense of the flags.
    pub fn new(said: Said<'_>) -> Result<Cluster, String> {
        let advertised: Vec<&str> = said.advertised.split(',').collect();
        let advertised = urls(&advertised)?;
        let by_name = names(said.initial_cluster)?;
        let Some(own) = by_name.get(said.name) else {
            let name = go::quote(said.name);
            return Err(format!(
                "couldn't find local name {name} in the initial cluster configuration"
            ));
        };
        check_advertised(said.name, &advertised, own)?;
        let all: Vec<&String> = by_name.values().flatten().collect();
        if all.iter().collect::<BTreeSet<_>>().len() < all.len() {
            return Err(format!("initial cluster {} has duplicate url", shown(&by_name)));
        }
        let mut members = BTreeMap::new();
        for (name, urls) in &by_name {
            let id = bootstrap_member_id(urls, said.token);
            let (name, peer_urls) = (name.clone(), urls.clone());
            let member = Member { id, name, peer_urls, ..Member::default() };
            if members.insert(id, member).is_some() {
                return Err(format!("member exists with identical ID {id:x}"));
            }
        }
        let ids: Vec<MemberId> = members.keys().copied().collect();
        Ok(Cluster {
            id: cluster_id(&ids),
            local: bootstrap_member_id(own, said.token),
            members: members.into_values().collect(),
        })
    }
}

/// Reads `name=url,name=url`; a name may stand there more than once.
fn names(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut typed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once('=').unwrap_or((part, ""));
        typed.entry(name).or_default().push(url);
    }
    typed.into_iter().map(|(name, typed)| Ok((name.to_owned(), urls(&typed)?))).collect()
}

/// Reads peer URLs and sorts them.
fn urls(typed: &[&str]) -> Result<Vec<String>, String> {
    let mut urls = Vec::new();
    for url in typed {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
        match scheme {
            "http" | "https" => {
                let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                if !is_host_and_port(address) {
                    return Err(format!("URL address does not have the form \"host:port\": {url}"));
                }
                if !path.is_empty() {
                    return Err(format!("URL must not contain a path: {url}"));
                }
            }
            "unix" | "unixs" => {}
            _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
        }
        urls.push(url.to_owned());
    }
    urls.sort_unstable();
    Ok(urls)
}

fn is_host_and_port(address: &str) -> bool {
    match address.rsplit_once(':') {
        Some((host, _)) => {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            bracketed || !host.contains([':', '[', ']'])
        }
        None => false,
    }
}

/// The member's own URLs must be the same wherever they are given, if need be once their hosts are
/// looked up.
fn check_advertised(name: &str, advertised: &[String], own: &[String]) -> Result<(), String> {
    if advertised == own || resolved(advertised).is_some_and(|urls| Some(urls) == resolved(own)) {
        return Ok(());
    }
    let missing = |from: &[String], to: &[String]| -> Vec<String> {
        let missing = from.iter().filter(|url| !to.contains(url));
        missing.map(|url| url.to_owned()).collect()
    };
    let of_name = |urls: &[String]| -> String {
        let urls: Vec<_> = urls.iter().map(|url| format!("{name}={url}")).collect();
        urls.join(",")
    };
    let unknown = missing(own, advertised);
    if !unknown.is_empty() {
        return Err(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} ({})",
            of_name(&unknown),
            advertised.join(","),
            difference(advertised, own),
        ));
    }
    Err(format!(
        "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
        missing(advertised, own).join(","),
        of_name(advertised),
    ))
}

/// In which way two lists differ, as etcd puts it.
fn difference(advertised: &[String], own: &[String]) -> String {
    let list = |urls: &[String]| -> String {
        let urls: Vec<_> = urls.iter().map(go::quote).collect();
        format!("[{}]", urls.join(" "))
    };
    if advertised.len() != own.len() {
        return format!("len({}) != len({})", list(advertised), list(own));
    }
    let differing = advertised.iter().zip(own).find(|(one, other)| one != other);
    let (one, other) = differing.expect("equal lists are no difference");
    format!("resolved urls: {} != {}", go::quote(one), go::quote(other))
}

/// The URLs with addresses in the place of hosts; `None` if a host is unknown.
fn resolved(urls: &[String]) -> Option<Vec<String>> {
    let resolve = |url: &String| {
        let (scheme, address) = url.split_once("://")?;
        // As etcd: this name stands for itself, whatever it resolves to.
        if address.starts_with("localhost:") {
            return Some(url.clone());
        }
        let address = address.to_socket_addrs().ok()?.next()?;
        Some(format!("{scheme}://{address}"))
    };
    let mut urls: Vec<String> = urls.iter().map(resolve).collect::<Option<_>>()?;
    urls.sort_unstable();
    Some(urls)
}

fn shown(by_name: &BTreeMap<String, Vec<String>>) -> String {
    let of_name = |(name, urls): (&String, &Vec<String>)| -> Vec<String> {
        urls.iter().map(|url| format!("{name}={url}")).collect()
    };
    let pairs: Vec<_> = by_name.iter().flat_map(of_name).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(initial_cluster: &str, advertised: &str) -> Result<Cluster, String> {
        let (name, token) = ("default", "etcd-cluster");
        Cluster::new(Said { name, initial_cluster, advertised, token })
    }

    #[track_caller]
    fn check(initial_cluster: &str, advertised: &str, expected: &str) {
        assert_eq!(cluster(initial_cluster, advertised), Err(expected.to_owned()));
    }

    const LOCAL: &str = "http://localhost:2380";

    #[test]
    fn ids_are_those_etcd_computes() {
        let cluster = cluster("default=http://localhost:2380", LOCAL).expect("all is well");
        assert_eq!(cluster.id, 0xcdf8_1819_4e3a_8c32);
        assert_eq!(cluster.local, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster.members[0].name, "default");
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused_in_etcds_words() {
        check(
            "b=http://localhost:2380",
            LOCAL,
            "couldn't find local name \"default\" in the initial cluster configuration",
        );
        check(
            "default=http://localhost:2380",
            "http://1.2.3.4:2380",
            "--initial-cluster has default=http://localhost:2380 but missing from \
             --initial-advertise-peer-urls=http://1.2.3.4:2380 \
             (resolved urls: \"http://1.2.3.4:2380\" != \"http://localhost:2380\")",
        );
        check(
            "default=http://localhost:2380",
            "http://127.0.0.1:2380",
            "--initial-cluster has default=http://localhost:2380 but missing from \
             --initial-advertise-peer-urls=http://127.0.0.1:2380 \
             (resolved urls: \"http://127.0.0.1:2380\" != \"http://localhost:2380\")",
        );
        check(
            "default=http://localhost:2380,default=http://h:1",
            LOCAL,
            "--initial-cluster has default=http://h:1 but missing from \
             --initial-advertise-peer-urls=http://localhost:2380 \
             (len([\"http://localhost:2380\"]) != len([\"http://h:1\" \"http://localhost:2380\"]))",
        );
        check(
            "default=http://localhost:2380",
            "http://localhost:2380,http://localhost:2381",
            "--initial-advertise-peer-urls has http://localhost:2381 but missing from \
             --initial-cluster=default=http://localhost:2380,default=http://localhost:2381",
        );
        check(
            "default=http://localhost:2380,b=http://localhost:2380",
            LOCAL,
            "initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url",
        );
        check("default", LOCAL, "URL scheme must be http, https, unix, or unixs: ");
        check("default=http://h:1/x", LOCAL, "URL must not contain a path: http://h:1/x");
        check(
            "default=http://h",
            LOCAL,
            "URL address does not have the form \"host:port\": http://h",
        );
    }
}
