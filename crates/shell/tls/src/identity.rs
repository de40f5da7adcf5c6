//! Who a certificate says its owner is.

use std::net::IpAddr;

use net::Identity;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Reads a chain of which the leaf comes first. `None` if a certificate cannot be read, which a verified
/// one always can.
pub fn identity_of(chain: &[CertificateDer<'_>]) -> Option<Identity> {
    let leaf = chain.first()?;
    let (_, leaf) = X509Certificate::from_der(leaf.as_ref()).ok()?;
    let mut identity = Identity { common_name: common_name(&leaf), ..Identity::default() };
    let names = leaf.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => identity.dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => identity.ips.extend(address(bytes)),
            _ => {}
        }
    }
    identity.serials = chain.iter().map(|one| serial(one)).collect::<Option<_>>()?;
    Some(identity)
}

/// Whether a certificate is good for this host, by Go's rules: a wildcard stands for one whole label at
/// the front.
pub(crate) fn is_for_host(identity: &Identity, host: &str) -> bool {
    if let Ok(wanted) = host.parse::<IpAddr>() {
        return identity.ips.contains(&wanted);
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    identity.dns.iter().any(|pattern| covers(&pattern.to_ascii_lowercase(), &host))
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

fn common_name(leaf: &X509Certificate<'_>) -> Option<String> {
    // Go takes the last of several.
    let name = leaf.subject().iter_common_name().last();
    name.and_then(|name| name.as_str().ok()).map(str::to_owned)
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
        let dns = names.iter().map(|&name| name.to_owned()).collect();
        let ips = vec!["10.0.0.1".parse().expect("an address")];
        let identity = Identity { dns, ips, ..Identity::default() };
        assert_eq!(is_for_host(&identity, host), expected, "{host} against {names:?}");
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
