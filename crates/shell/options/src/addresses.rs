//! The lists of URLs and the cluster's state, as they are typed and as they are checked.

use go::quote;

use crate::config::ClusterState;
use crate::flag::Urls;
use crate::note::Note;
use crate::table;
use crate::url::Url;
use crate::values::Values;

/// The address that stands for all of a machine's own.
const ANY_ADDRESS: &str = "0.0.0.0";

/// Where the values came from; etcd asks more of a command line than of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Flags and variables.
    CommandLine,
    /// The configuration file.
    File,
}

/// The lists of URLs, which depend on each other.
pub(crate) struct Addresses {
    pub listen_peer: Vec<Url>,
    pub listen_client: Vec<Url>,
    pub listen_client_http: Vec<Url>,
    pub listen_metrics: Vec<Url>,
    pub advertise_peer: Vec<Url>,
    pub advertise_client: Vec<Url>,
    /// Clients were given no way to be told where this member is.
    pub advertise_client_missing: bool,
}

impl Addresses {
    pub(crate) fn new(values: &Values, origin: Origin) -> Addresses {
        let unique = |flag: Urls| {
            let mut urls = values.urls(flag);
            urls.dedup();
            urls
        };
        let missing = origin == Origin::CommandLine
            && values.is_said(&table::LISTEN_CLIENT_URLS)
            && !values.is_said(&table::ADVERTISE_CLIENT_URLS);
        Addresses {
            listen_peer: unique(table::LISTEN_PEER_URLS),
            listen_client: unique(table::LISTEN_CLIENT_URLS),
            listen_client_http: unique(table::LISTEN_CLIENT_HTTP_URLS),
            listen_metrics: unique(table::LISTEN_METRICS_URLS),
            advertise_peer: unique(table::INITIAL_ADVERTISE_PEER_URLS),
            advertise_client: unique(table::ADVERTISE_CLIENT_URLS),
            advertise_client_missing: missing,
        }
    }

    /// Who listens everywhere and says nothing advertises the machine's own address, if it has one.
    pub(crate) fn fill_in_host(
        &mut self,
        host: &dyn Fn() -> Option<String>,
        notes: &mut Vec<Note>,
    ) {
        let mut used = None;
        let lists = [
            (&self.listen_peer, &mut self.advertise_peer, "http://localhost:2380"),
            (&self.listen_client, &mut self.advertise_client, "http://localhost:2379"),
        ];
        for (listen, advertise, usual) in lists {
            let [only] = advertise.as_mut_slice() else { continue };
            let Some(first) = listen.first() else { continue };
            let Some((ANY_ADDRESS, port)) = first.host_and_port() else { continue };
            if only.to_string() != usual {
                continue;
            }
            let Some(host) = host() else { return };
            let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let typed = format!("{}://{shown}:{port}", first.scheme().name());
            if let Ok(url) = Url::parse(&typed) {
                *only = url;
                used = Some(host);
            }
        }
        if let Some(host) = used {
            notes.push(Note::info("detected default host for advertise").with("host", host));
        }
    }
}

pub(crate) fn cluster_state(values: &Values) -> Result<ClusterState, String> {
    match values.text(table::INITIAL_CLUSTER_STATE).as_str() {
        "new" => Ok(ClusterState::New),
        "existing" => Ok(ClusterState::Existing),
        other => Err(format!("unexpected clusterState {}", quote(other))),
    }
}
