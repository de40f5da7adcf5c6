//! `host:port` as Go's dialler reads it.
//!
//! A port may be a service's name, may be empty, and may carry a sign.

/// Host and port, the host without brackets. The error names the address and what is wrong with it.
pub fn split(address: &str) -> Result<(&str, &str), String> {
    let fault = |why: &str| Err(format!("{address}: {why}"));
    let Some(colon) = address.rfind(':') else { return fault("missing port in address") };
    let (host, brackets_end) = match address.strip_prefix('[') {
        None if address[..colon].contains(':') => return fault("too many colons in address"),
        None => (&address[..colon], 0),
        Some(inner) => match inner.split_once(']') {
            None => return fault("missing ']' in address"),
            Some((host, _)) if host.len() + 2 == colon => (host, colon),
            Some((_, rest)) if rest.starts_with(':') => return fault("too many colons in address"),
            Some(_) => return fault("missing port in address"),
        },
    };
    if address[usize::from(brackets_end > 0)..].contains('[') {
        return fault("unexpected '[' in address");
    }
    if address[brackets_end..].contains(']') {
        return fault("unexpected ']' in address");
    }
    Ok((host, &address[colon + 1..]))
}

/// The port of a number or of a service's name.
pub fn port(service: &str) -> Result<u16, String> {
    let digits = service.strip_prefix(['+', '-']).unwrap_or(service);
    if service.is_empty() {
        return Ok(0);
    }
    if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        let port = service.parse::<i64>().ok().and_then(|number| u16::try_from(number).ok());
        return port.ok_or_else(|| format!("address {service}: invalid port"));
    }
    let known = std::fs::read_to_string("/etc/services").unwrap_or_default();
    service_port(service, &known).ok_or_else(|| format!("lookup tcp/{service}: unknown port"))
}

/// What a list in the format of `/etc/services` calls a service, or what everybody calls it.
fn service_port(service: &str, known: &str) -> Option<u16> {
    let service = service.to_ascii_lowercase();
    let listed = known.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (name, place) = (words.next()?, words.next()?);
        let port = place.strip_suffix("/tcp")?;
        let named = name == service || words.any(|alias| alias == service);
        named.then(|| port.parse().ok()).flatten()
    });
    listed.or(match service.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(address: &str, why: &str) {
        let found = split(address)
            .map_err(|why| format!("address {why}"))
            .and_then(|(_, service)| port(service));
        assert_eq!(found, Err(why.to_owned()), "{address}");
    }

    #[test]
    fn host_and_port_are_told_apart_as_go_does_it() {
        for (address, host, wanted) in [
            ("a:1", "a", 1),
            (":2379", "", 2379),
            ("[::1]:5", "::1", 5),
            ("[fe80::1%lo]:5", "fe80::1%lo", 5),
            ("a:", "a", 0),
            ("a:+7", "a", 7),
            ("a:00007", "a", 7),
            ("a:https", "a", 443),
        ] {
            let (found, service) = split(address).expect("well formed");
            assert_eq!((found, port(service)), (host, Ok(wanted)), "{address}");
        }
        refused("127.0.0.1", "address 127.0.0.1: missing port in address");
        refused("::1:5", "address ::1:5: too many colons in address");
        refused("[::1]", "address [::1]: missing port in address");
        refused("[::1", "address [::1: missing ']' in address");
        refused("ftp://a:1", "address ftp://a:1: too many colons in address");
        refused("a:99999", "address 99999: invalid port");
        refused("a:-1", "address -1: invalid port");
        refused("a:1/", "lookup tcp/1/: unknown port");
        refused("a]:1", "address a]:1: unexpected ']' in address");
        refused("[a]b]:1", "address [a]b]:1: missing port in address");
    }

    #[test]
    fn a_service_is_found_by_its_names_for_tcp() {
        let known = "etcd 1/udp\netcd 2/tcp e # tcp/3\nother 3/tcp";
        assert_eq!(service_port("E", known), Some(2));
        assert_eq!(service_port("tcp/3", known), None);
    }
}
