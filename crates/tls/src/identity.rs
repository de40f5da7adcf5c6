//! Who a certificate says its owner is.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What a verified leaf says of its owner, and the serial numbers of the whole chain that was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The subject's common name; the user of who has no token.
    pub common_name: String,
    /// DNS names among the subject's alternative names.
    pub dns_names: Vec<String>,
    /// Addresses among them.
    pub ip_addresses: Vec<IpAddr>,
    /// The serial number of each certificate shown, the leaf's first, without leading zeros.
    pub serials: Vec<Vec<u8>>,
}

impl Identity {
    /// Reads a chain of which the leaf comes first. `None` if the leaf cannot be read, which a verified
    /// one always can.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Identity> {
        let leaf = chain.first()?;
        let (_, leaf) = X509Certificate::from_der(leaf.as_ref()).ok()?;
        let mut identity = Identity { common_name: common_name(&leaf), ..Identity::default() };
        let names = leaf.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => identity.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => identity.ip_addresses.extend(address(bytes)),
                _ => {}
            }
        }
        identity.serials = chain.iter().map(|one| serial(one)).collect::<Option<_>>()?;
        Some(identity)
    }

    /// Whether the certificate is good for this host, by Go's rules: a wildcard stands for one whole
    /// label at the front.
    pub fn is_for_host(&self, host: &str) -> bool {
        if let Ok(wanted) = host.parse::<IpAddr>() {
            return self.ip_addresses.contains(&wanted);
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.dns_names.iter().any(|pattern| covers(&pattern.to_ascii_lowercase(), &host))
    }
}

fn covers(pattern: &str, host: &str) -> bool {
    let pattern = pattern.strip_suffix('.').unwrap_or(pattern);
    match pattern.strip_prefix("*.") {
        Some(rest) => {
            let behind = host.split_once('.').filter(|(label, _)| !label.is_empty());
            behind.is_some_and(|(_, behind)| behind == rest)
        }
        None => !host.is_empty() && pattern == host,
    }
}

fn common_name(leaf: &X509Certificate<'_>) -> String {
    // Go takes the last of several.
    let name = leaf.subject().iter_common_name().last();
    name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn serial(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, read) = X509Certificate::from_der(certificate.as_ref()).ok()?;
    Some(without_zeros(read.raw_serial()))
}

/// A number without the zeros that only keep its sign.
pub(crate) fn without_zeros(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], host: &str, expected: bool) {
        let dns_names = names.iter().map(|&name| name.to_owned()).collect();
        let ip_addresses = vec!["10.0.0.1".parse().expect("an address")];
        let identity = Identity { dns_names, ip_addresses, ..Identity::default() };
        assert_eq!(identity.is_for_host(host), expected, "{host} against {names:?}");
    }

    #[test]
    fn a_wildcard_stands_for_one_whole_label() {
        check(&["*.example.org"], "a.example.org", true);
        check(&["*.example.org"], "A.EXAMPLE.org.", true);
        check(&["*.example.org"], "a.b.example.org", false);
        check(&["*.example.org"], "example.org", false);
        check(&["*.example.org"], ".example.org", false);
        check(&["a.example.org"], "a.example.org", true);
        check(&["a.example.org"], "", false);
        check(&[], "10.0.0.1", true);
        check(&["10.0.0.2"], "10.0.0.2", false);
    }
}
