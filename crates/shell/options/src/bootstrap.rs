//! May a member without data begin? Asked once, by the server, when it finds no raft log.
//!
//! The initial cluster must name this member, with the very URLs it advertises.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::url::{Url, join};

/// Finds the address of a host and port; `None` if it has none.
pub type Resolve<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

impl Config {
    /// Members and their peer URLs, as `--initial-cluster` names them.
    pub fn initial_cluster(&self) -> Result<BTreeMap<String, Vec<Url>>, String> {
        let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
        let typed = &self.bootstrap.initial_cluster;
        for pair in typed.split(',').filter(|pair| !pair.is_empty()) {
            let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
            let url = Url::parse(url)
                .map_err(|why| format!("error setting up initial cluster: {why}"))?;
            members.entry(name.to_owned()).or_default().push(url);
        }
        for urls in members.values_mut() {
            urls.sort_by_cached_key(Url::to_string);
        }
        Ok(members)
    }

    /// Refuses to begin a cluster that does not name this member rightly; else gives its peer URLs.
    ///
    /// Names are resolved only where URLs are not the same as text.
    pub fn check_begin(&self, resolve: Resolve<'_>) -> Result<Vec<Url>, String> {
        let members = self.initial_cluster()?;
        let Some(own) = members.get(&self.name) else {
            return Err(format!(
                "couldn't find local name \"{}\" in the initial cluster configuration",
                self.name
            ));
        };
        let mut all: Vec<&Url> = members.values().flatten().collect();
        all.sort();
        if all.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!("initial cluster {} has duplicate url", listed(&members)));
        }
        self.check_advertised(own, resolve)?;
        Ok(own.clone())
    }

    fn check_advertised(&self, own: &[Url], resolve: Resolve<'_>) -> Result<(), String> {
        let advertised = &self.advertise_peer_urls;
        if own == advertised {
            return Ok(());
        }
        let missing_there: Vec<&Url> = own.iter().filter(|url| !advertised.contains(url)).collect();
        if missing_there.is_empty() {
            let missing: Vec<Url> =
                advertised.iter().filter(|url| !own.contains(url)).cloned().collect();
            let as_if = BTreeMap::from([(self.name.clone(), advertised.clone())]);
            return Err(format!(
                "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
                join(&missing),
                listed(&as_if)
            ));
        }
        let Some(cause) = differ(advertised, own, resolve) else { return Ok(()) };
        let missing: Vec<String> =
            missing_there.iter().map(|url| format!("{}={url}", self.name)).collect();
        Err(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} ({cause})",
            missing.join(","),
            join(advertised)
        ))
    }
}

/// How two lists differ once names are resolved, in etcd's words; `None` if they do not.
fn differ(advertised: &[Url], own: &[Url], resolve: Resolve<'_>) -> Option<String> {
    if advertised.len() != own.len() {
        return Some(format!("len({}) != len({})", go_list(advertised), go_list(own)));
    }
    let resolved = |urls: &[Url]| {
        let mut texts: Vec<String> = urls.iter().map(|url| resolved(url, resolve)).collect();
        texts.sort();
        texts
    };
    let pairs = resolved(advertised).into_iter().zip(resolved(own));
    pairs
        .into_iter()
        .find(|(left, right)| left != right)
        .map(|(left, right)| format!("resolved urls: \"{left}\" != \"{right}\""))
}

fn resolved(url: &Url, resolve: Resolve<'_>) -> String {
    match url.host_and_port() {
        // `localhost` is left as it is: it means this machine, whatever its addresses.
        Some((host, port)) if host != "localhost" => match resolve(host, port) {
            Some(address) => format!("{}://{address}", url.scheme().name()),
            None => url.to_string(),
        },
        _ => url.to_string(),
    }
}

/// As Go prints a list of texts: `["a" "b"]`.
fn go_list(urls: &[Url]) -> String {
    let quoted: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    format!("[{}]", quoted.join(" "))
}

fn listed(members: &BTreeMap<String, Vec<Url>>) -> String {
    let pairs =
        members.iter().flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
    pairs.collect::<Vec<_>>().join(",")
}
