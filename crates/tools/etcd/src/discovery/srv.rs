//! The members of a cluster from SRV records: `_etcd-server-ssl._tcp.DOMAIN` and `_etcd-server._tcp.DOMAIN`.
//!
//! A record names a host and a port, not a member. So whoever has the address that this member advertises gets its
//! name, and the others get numbers: ids follow from URLs alone.

use client::lookup_srv;
use logging::{Logger, info, warn};
use options::{Config, Url};

use crate::host;

/// `name=url,name=url` of all that the records name.
///
/// # Errors
/// When nobody is named, or this member is not.
pub fn initial_cluster(
    config: &Config,
    domain: &str,
    service: &str,
    log: &Logger,
) -> Result<String, String> {
    let suffix = if service.is_empty() { String::new() } else { format!("-{service}") };
    let (mut members, mut failures) = (Vec::new(), Vec::new());
    for (scheme, name) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let service = format!("{name}{suffix}");
        let found = members_of(config, scheme, &service, domain);
        let (told, error) = match &found {
            Ok(found) => (found.join(","), String::new()),
            Err(why) => (String::new(), why.clone()),
        };
        info!(
            log,
            format!("get cluster for {name} SRV"),
            "service-scheme" => scheme,
            "service-name" => service,
            "server-name" => &config.name,
            "discovery-srv" => domain,
            "advertise-peer-urls" => &config.advertise_peer_urls,
            "found-cluster" => told,
            "error" => error
        );
        match found {
            Ok(found) => members.extend(found),
            Err(why) => failures.push(why),
        }
    }
    let failed = failures.join("\n");
    if !failures.is_empty() {
        warn!(log, "failed to resolve during SRV discovery", "error" => &failed);
    }
    if members.is_empty() {
        return Err(format!("error setting up initial cluster: {failed}"));
    }
    for member in &members {
        info!(log, "got bootstrap from DNS for etcd-server", "node" => member);
    }
    let own = format!("{}=", config.name);
    if !members.iter().any(|member| member.starts_with(&own)) {
        let name = go::quote(&config.name);
        return Err(format!(
            "error setting up initial cluster: cannot find local etcd member {name} in SRV records"
        ));
    }
    Ok(members.join(","))
}

fn members_of(
    config: &Config,
    scheme: &str,
    service: &str,
    domain: &str,
) -> Result<Vec<String>, String> {
    let failed = |why: String| format!("error querying DNS SRV records for _{service} {why}");
    let targets = lookup_srv(&format!("_{service}._tcp.{domain}")).map_err(failed)?;
    let advertised: Vec<(String, &Url)> = config
        .advertise_peer_urls
        .iter()
        .filter_map(|url| {
            let (host, port) = url.host_and_port()?;
            Some((host::resolve(host, port)?, url))
        })
        .collect();
    name_members(&config.name, scheme, service, &targets, &advertised, &host::resolve)
        .map_err(failed)
}

/// Gives each `host.:port` a name. One that has no address is passed over; the error is why nobody is left.
fn name_members(
    own: &str,
    scheme: &str,
    service: &str,
    targets: &[String],
    advertised: &[(String, &Url)],
    resolve: &dyn Fn(&str, &str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let (mut members, mut others, mut last) = (Vec::new(), 0, String::new());
    for target in targets {
        let (host, port) = target.rsplit_once(':').unwrap_or((target, ""));
        let Some(address) = resolve(host, port) else {
            last = format!("lookup {host}: no such host");
            continue;
        };
        let own_url = advertised.iter().find(|(known, _)| *known == address).map(|(_, url)| url);
        let url = format!("{scheme}://{}:{port}", host.trim_end_matches('.'));
        match own_url {
            Some(known) if known.scheme().name() != scheme => {
                last = format!(
                    "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer \
                     {known}"
                );
            }
            Some(_) => members.push(format!("{own}={url}")),
            None => {
                members.push(format!("{others}={url}"));
                others += 1;
            }
        }
    }
    if members.is_empty() { Err(last) } else { Ok(members) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(scheme: &str, advertised: &str) -> Result<Vec<String>, String> {
        let targets = ["a.test.:2380", "nowhere.test.:2380", "b.test.:2380"].map(str::to_owned);
        let url = Url::parse(advertised).expect("a URL");
        let advertised = [("10.0.0.2:2380".to_owned(), &url)];
        let resolve = |host: &str, port: &str| match host {
            "a.test." => Some(format!("10.0.0.1:{port}")),
            "b.test." => Some(format!("10.0.0.2:{port}")),
            _ => None,
        };
        name_members("me", scheme, "etcd-server", &targets, &advertised, &resolve)
    }

    #[test]
    fn whoever_has_the_advertised_address_gets_the_name_and_the_others_numbers() {
        let found = named("http", "http://b.test:2380");
        let expected = ["0=http://a.test:2380", "me=http://b.test:2380"].map(str::to_owned);
        assert_eq!(found, Ok(expected.to_vec()));
    }

    #[test]
    fn a_member_that_advertises_another_scheme_is_not_that_of_the_record() {
        let found = named("https", "http://b.test:2380");
        assert_eq!(found, Ok(vec!["0=https://a.test:2380".to_owned()]));
    }
}
