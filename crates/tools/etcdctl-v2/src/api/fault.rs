//! Why a request came to nothing, in the words of Go's client.

use std::fmt;

use crate::api::Refusal;

/// Why there is no answer, or none that is any use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody is there, or the connection broke.
    Lost(String),
    /// The time for the whole command is over.
    Late,
    /// The server refused what was asked of its keys.
    Refused(Refusal),
    /// Each member that was asked failed for its own reason.
    Cluster(Vec<Fault>),
    /// The cluster has published no address for clients.
    NoEndpoints,
    /// Something else.
    Said(String),
}

impl Fault {
    /// Whether it is the network's and not the cluster's.
    pub fn is_of_connection(&self) -> bool {
        match self {
            Fault::Lost(_) | Fault::Late => true,
            Fault::Cluster(each) => each.iter().all(Fault::is_of_connection),
            Fault::Refused(_) | Fault::NoEndpoints | Fault::Said(_) => false,
        }
    }

    /// What is no answer of an etcd.
    pub fn invalid_json() -> Fault {
        let text = "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint";
        Fault::Said(text.to_owned())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Lost(text) | Fault::Said(text) => out.write_str(text),
            Fault::Late => out.write_str("context deadline exceeded"),
            Fault::Refused(refusal) => refusal.fmt(out),
            Fault::NoEndpoints => out.write_str("client: no endpoints available"),
            Fault::Cluster(each) => {
                out.write_str("client: etcd cluster is unavailable or misconfigured")?;
                for (number, why) in each.iter().enumerate() {
                    writeln!(out, "; error #{number}: {why}")?;
                }
                Ok(())
            }
        }
    }
}
