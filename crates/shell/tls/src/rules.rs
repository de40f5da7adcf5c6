//! What a certificate must satisfy beyond its chain of signatures.

use std::net::IpAddr;

use net::Identity;
use rustls::CertificateError;
use rustls::pki_types::ServerName;

use crate::identity::is_for_host;
use crate::resolve::{addresses_of, name_of};

/// `--peer-cert-allowed-cn`, `--client-cert-allowed-hostname` and their likes. Empty lists ask nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The common name must be one of these.
    pub common_names: Vec<String>,
    /// The certificate must be good for one of these hosts.
    pub hosts: Vec<String>,
    /// The names and addresses of the certificate must cover where the connection comes from. For peers.
    pub source: bool,
}

/// A certificate that breaks a rule, in etcd's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What etcd says of a certificate that has neither an allowed common name nor an allowed host.
pub(crate) const NOT_ALLOWED: &str = "client certificate authentication failed";

/// What stands before a name and before an address in [`not_allowed`].
const MARKS: (&str, &str) = ("DNS:", "IP:");

/// The refusal of a certificate that is believed and yet not allowed. To the client it is Go's "bad certificate"; to us
/// it carries the certificate's names, which the log tells.
pub(crate) fn not_allowed(identity: &Identity) -> CertificateError {
    let names = identity.dns.iter().map(|name| format!("{}{name}", MARKS.0));
    let presented = names.chain(identity.ips.iter().map(|ip| format!("{}{ip}", MARKS.1)));
    // Any of several names would have been good, or none: no single one was expected.
    let expected = ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into());
    CertificateError::NotValidForNameContext { expected, presented: presented.collect() }
}

/// The names of the certificate that [`not_allowed`] refused; `None` for other refusals.
pub(crate) fn names_of_refused(error: &CertificateError) -> Option<Identity> {
    let CertificateError::NotValidForNameContext { presented, .. } = error else { return None };
    let with = |mark| presented.iter().filter_map(move |one| one.strip_prefix(mark));
    let dns = with(MARKS.0).map(str::to_owned).collect();
    let ips = with(MARKS.1).filter_map(|ip| ip.parse().ok()).collect();
    Some(Identity { dns, ips, ..Identity::default() })
}

impl Rules {
    /// Whether the certificate's own words satisfy the rules about names.
    pub(crate) fn allow(&self, identity: &Identity) -> bool {
        let by_name = self.common_names.is_empty()
            || self.common_names.contains(identity.common_name.as_ref().unwrap_or(&String::new()));
        let by_host =
            self.hosts.is_empty() || self.hosts.iter().any(|host| is_for_host(identity, host));
        by_name && by_host
    }
}

/// Compares the names of a certificate with the address it was shown from, as etcd does
/// (`peer-protocol.md` 6). Asks DNS, so it may take its time and blocks.
///
/// # Errors
/// [`Refused`] when the certificate names somebody else.
pub(crate) fn check_source(identity: &Identity, source: IpAddr) -> Result<(), Refused> {
    check_with(identity, source, name_of, addresses_of)
}

fn check_with(
    identity: &Identity,
    source: IpAddr,
    name_of: impl FnOnce(IpAddr) -> Option<String>,
    addresses_of: impl Fn(&str) -> Vec<IpAddr>,
) -> Result<(), Refused> {
    let Identity { dns: dns_names, ips: ip_addresses, .. } = identity;
    if ip_addresses.contains(&source) {
        return Ok(());
    }
    if dns_names.is_empty() {
        // A certificate without any name is bound to no place.
        return match ip_addresses.as_slice() {
            [] => Ok(()),
            valid => {
                let valid: Vec<_> = valid.iter().map(IpAddr::to_string).collect();
                let valid = valid.join(", ");
                Err(Refused(format!("x509: certificate is valid for {valid}, not {source}")))
            }
        };
    }
    let plain = || dns_names.iter().filter(|name| !name.contains('*'));
    if let Some(name) = name_of(source) {
        let name = name.trim_end_matches('.');
        let wild = dns_names.iter().filter_map(|pattern| pattern.strip_prefix("*."));
        let mut wild = wild.filter(|rest| !rest.contains('*'));
        let matches_wild = wild.any(|rest| {
            name.strip_suffix(rest).is_some_and(|front| front.ends_with('.') && front.len() > 1)
        });
        if matches_wild || plain().any(|one| one.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
    }
    if plain().any(|name| addresses_of(name).contains(&source)) {
        return Ok(());
    }
    let names: Vec<_> = dns_names.iter().map(|name| format!("{name:?}")).collect();
    let names = names.join(" ");
    Err(Refused(format!("tls: \"{source}\" does not match any of DNSNames [{names}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(common_name: &str, dns: &[&str], ips: &[&str]) -> Identity {
        Identity {
            common_name: Some(common_name.to_owned()),
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            ips: ips.iter().map(|ip| ip.parse().expect("an address")).collect(),
            serials: Vec::new(),
        }
    }

    #[track_caller]
    fn check(dns: &[&str], ips: &[&str], expected: Result<(), &str>) {
        let source = "10.0.0.7".parse().expect("an address");
        let name_of = |_| Some("m7.example.org.".to_owned());
        let addresses_of = |name: &str| match name {
            "seven" => vec![source],
            _ => Vec::new(),
        };
        let checked = check_with(&identity("", dns, ips), source, name_of, addresses_of);
        assert_eq!(checked, expected.map_err(|text| Refused(text.to_owned())));
    }

    #[test]
    fn a_peers_certificate_must_cover_where_the_peer_comes_from() {
        check(&[], &[], Ok(()));
        check(&[], &["10.0.0.7"], Ok(()));
        let other = "x509: certificate is valid for 10.0.0.8, not 10.0.0.7";
        check(&[], &["10.0.0.8"], Err(other));
        check(&["m7.example.org"], &["10.0.0.8"], Ok(()));
        check(&["*.example.org"], &[], Ok(()));
        check(&["seven"], &[], Ok(()));
        let unknown =
            "tls: \"10.0.0.7\" does not match any of DNSNames [\"other\" \"*.example.com\"]";
        check(&["other", "*.example.com"], &[], Err(unknown));
        let bare = "tls: \"10.0.0.7\" does not match any of DNSNames [\"*.m7.example.org\"]";
        check(&["*.m7.example.org"], &[], Err(bare));
    }

    #[test]
    fn an_allowed_name_or_host_lets_in_and_no_list_lets_everybody_in() {
        let rules = |names: &[&str], hosts: &[&str]| Rules {
            common_names: names.iter().map(|&name| name.to_owned()).collect(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            source: false,
        };
        let alice = identity("alice", &["*.example.org"], &[]);
        assert!(rules(&[], &[]).allow(&alice));
        assert!(rules(&["bob", "alice"], &[]).allow(&alice));
        assert!(!rules(&["bob"], &[]).allow(&alice));
        assert!(rules(&[], &["x", "a.example.org"]).allow(&alice));
        assert!(!rules(&[], &["a.b.example.org"]).allow(&alice));
    }
}
