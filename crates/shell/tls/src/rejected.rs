//! What an operator reads of a connection whose handshake failed, under etcd's names.

use std::io;

use net::{Identity, RemoteAddress};

use crate::server::HandshakeError;
use crate::text::END;

/// What the log should say of it; the message itself depends on the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Whoever connected just went away, as the health checks of load balancers do: of interest to who looks for a
    /// fault only.
    pub went_away: bool,
    /// From where, to which name, with which certificate if one was believed, and why it was refused.
    pub fields: Vec<(&'static str, go::Value)>,
}

/// Reads it from the error of [`net::Tls::accept`].
pub fn rejected(address: &RemoteAddress, why: &io::Error) -> Rejected {
    let seen = why.get_ref().and_then(|cause| cause.downcast_ref::<HandshakeError>());
    let seen = seen.map(|error| error.seen.clone()).unwrap_or_default();
    let mut fields = vec![
        ("remote-addr", go::Value::from(address.to_string())),
        ("server-name", seen.server_name.into()),
    ];
    if let Some(Identity { ips, dns, .. }) = seen.identity {
        let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
        fields.push(("ip-addresses", ips.into()));
        fields.push(("dns-names", dns.into()));
    }
    let why = why.to_string();
    let went_away = why == END;
    fields.push(("error", why.into()));
    Rejected { went_away, fields }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Handshake;

    #[test]
    fn the_names_of_a_certificate_are_lists_and_only_there_when_there_was_one() {
        let from = RemoteAddress::Tcp(([10, 0, 0, 7], 99).into());
        let ips = vec!["10.0.0.8".parse().expect("an address")];
        let identity = Identity { ips, ..Identity::default() };
        let seen = Handshake { identity: Some(identity), ..Handshake::default() };
        let refused = HandshakeError { why: "no".to_owned(), seen };
        let told = rejected(&from, &io::Error::other(refused));
        let expected = [
            ("remote-addr", go::Value::from("10.0.0.7:99")),
            ("server-name", "".into()),
            ("ip-addresses", vec!["10.0.0.8".to_owned()].into()),
            ("dns-names", Vec::new().into()),
            ("error", "no".into()),
        ];
        assert_eq!(told, Rejected { went_away: false, fields: expected.into() });

        let gone = HandshakeError { why: "EOF".to_owned(), seen: Handshake::default() };
        let told = rejected(&from, &io::Error::other(gone));
        let names: Vec<_> = told.fields.iter().map(|(name, _)| *name).collect();
        assert_eq!((told.went_away, names), (true, vec!["remote-addr", "server-name", "error"]));
    }
}
