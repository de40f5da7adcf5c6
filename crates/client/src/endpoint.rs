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
        let authority = if scheme.is_empty() { rest } else { rest.split('/').next().unwrap_or("") };
        let encryption = match scheme {
            "https" => Encryption::Required,
            "http" => Encryption::Never,
            _ => Encryption::IfConfigured,
        };
        Endpoint {
            text: text.to_owned(),
            address: Address::Tcp(authority.to_owned()),
            server_name: host_of(authority).to_owned(),
            encryption,
        }
    }

    /// What the `:authority` of requests says: `host:port`, or the file name of a socket.
    pub fn authority(&self) -> &str {
        match &self.address {
            Address::Tcp(authority) => authority,
            Address::Unix(path) => path.rsplit('/').next().unwrap_or(path),
        }
    }

    /// How etcd's client names the address in its log: a socket with its whole path.
    pub fn target(&self) -> &str {
        match &self.address {
            Address::Tcp(place) | Address::Unix(place) => place,
        }
    }

    /// How Go's errors name the address.
    pub fn go_address(&self) -> String {
        match &self.address {
            Address::Tcp(authority) => format!("tcp {authority}"),
            Address::Unix(path) => format!("unix {path}"),
        }
    }
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
