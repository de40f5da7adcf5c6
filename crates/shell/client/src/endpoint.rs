//! Endpoints as people write them: `host:port`, `http(s)://host:port`, `unix(s)://path`.

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// A socket's path.
    Unix(String),
}

/// Whether an endpoint asks for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// `https`, `unixs`.
    Required,
    /// `http`.
    Never,
    /// Anything else: if certificates are given.
    IfConfigured,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As it was written.
    pub text: String,
    /// Where it leads.
    pub address: Address,
    /// The name a certificate is checked against.
    pub server_name: String,
    /// Whether it asks for TLS.
    pub encryption: Encryption,
}

impl Endpoint {
    /// Reads an endpoint. There are no bad ones: what is no URL is taken as `host:port`.
    pub fn parse(text: &str) -> Endpoint {
        for (scheme, encryption) in
            [("unix", Encryption::IfConfigured), ("unixs", Encryption::Required)]
        {
            let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':'))
            else {
                continue;
            };
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
            return Endpoint {
                text: text.to_owned(),
                address: Address::Unix(path.to_owned()),
                server_name: host_of(name).to_owned(),
                encryption,
            };
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let encryption = match scheme.to_ascii_lowercase().as_str() {
            "https" => Encryption::Required,
            "http" => Encryption::Never,
            _ => Encryption::IfConfigured,
        };
        // What is no web address is dialled as it stands, which fails in the dialler's words.
        let authority = match encryption {
            Encryption::IfConfigured => text,
            _ => web_authority(rest).unwrap_or(text),
        };
        Endpoint {
            text: text.to_owned(),
            address: Address::Tcp(authority.to_owned()),
            server_name: host_of(authority).to_owned(),
            encryption,
        }
    }

    /// What the `:authority` of requests says: `host:port`, or the file name of a socket; this machine
    /// where that is nothing a header may say.
    pub fn authority(&self) -> String {
        let authority = match &self.address {
            Address::Tcp(place) if place.starts_with(':') => format!("localhost{place}"),
            Address::Tcp(place) => place.clone(),
            Address::Unix(path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
        };
        match http::uri::Authority::try_from(authority.as_str()) {
            Ok(_) => authority,
            Err(_) => "localhost".to_owned(),
        }
    }

    /// How etcd's client names the endpoint in its log: all but the scheme.
    pub fn target(&self) -> &str {
        let text = self.text.as_str();
        let bare = || text.strip_prefix("unix:").or(text.strip_prefix("unixs:")).unwrap_or(text);
        text.split_once("://").map_or_else(bare, |(_, rest)| rest)
    }

    /// How Go's errors name the address.
    pub fn go_address(&self) -> String {
        match &self.address {
            Address::Tcp(authority) => format!("tcp {authority}"),
            Address::Unix(path) => format!("unix {path}"),
        }
    }
}

/// `host:port` of what follows `http://`, if it is any: no user, no path, a port of digits.
fn web_authority(rest: &str) -> Option<&str> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let authority = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let port = match authority.rsplit_once(']') {
        Some((_, after)) => after,
        None => authority.find(':').map_or("", |colon| &authority[colon..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let odd = |c: char| c.is_ascii_control() || " \"%<>^`\\{|}".contains(c);
    let whole = digits.bytes().all(|digit| digit.is_ascii_digit()) && !authority.contains(odd);
    whole.then_some(authority)
}

/// `host:port` without the port, `[::1]:2379` without the brackets too.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, address: Address, server_name: &str, encryption: Encryption) {
        let expected = Endpoint {
            text: text.to_owned(),
            address,
            server_name: server_name.to_owned(),
            encryption,
        };
        assert_eq!(Endpoint::parse(text), expected);
    }

    #[test]
    fn a_scheme_decides_about_encryption_and_a_bare_address_leaves_it_open() {
        let tcp = |text: &str| Address::Tcp(text.to_owned());
        check("10.0.0.4:2379", tcp("10.0.0.4:2379"), "10.0.0.4", Encryption::IfConfigured);
        check("http://a:1/", tcp("a:1"), "a", Encryption::Never);
        check("https://[::1]:1", tcp("[::1]:1"), "::1", Encryption::Required);
    }

    #[test]
    fn what_is_no_web_address_is_dialled_as_it_stands() {
        let tcp = |text: &str| Address::Tcp(text.to_owned());
        for text in ["ftp://a:1", "http://a:b", "http://%zz", "a:1/", "//a:1", "http://a b:1"] {
            assert_eq!(Endpoint::parse(text).address, tcp(text));
        }
        check("HTTP://u@a:1/x?y#z", tcp("a:1"), "a", Encryption::Never);
        check("https://:1", tcp(":1"), "", Encryption::Required);
    }

    #[test]
    fn requests_name_a_host_whatever_the_endpoint_is() {
        for (text, authority) in [
            ("a:1", "a:1"),
            (":1", "localhost:1"),
            ("http://:1", "localhost:1"),
            ("", "localhost"),
            ("a b", "localhost"),
            ("ftp://a:1", "localhost"),
            ("unix:///run/a b", "localhost"),
        ] {
            assert_eq!(Endpoint::parse(text).authority(), authority, "{text}");
        }
    }

    #[test]
    fn sockets_are_named_by_path() {
        let unix = |text: &str| Address::Unix(text.to_owned());
        check(
            "unix:///run/etcd.sock",
            unix("/run/etcd.sock"),
            "etcd.sock",
            Encryption::IfConfigured,
        );
        check("unixs://localhost:5", unix("localhost:5"), "localhost", Encryption::Required);
        check("unix:sock", unix("sock"), "sock", Encryption::IfConfigured);
    }
}
