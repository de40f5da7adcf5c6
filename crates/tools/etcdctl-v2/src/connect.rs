//! From flags and environment to a client.

use std::env;
use std::future::Future;
use std::time::Duration;

use go::GoDuration;
use tls::{ClientFiles, Pair};
use tokio::time::timeout;

use crate::api::{Client, Config, Credentials, Fault};
use crate::exit::{BAD_CONNECTION, Failure, SERVER_ERROR, complain};
use crate::parse::Call;
use crate::prompt::secret;
use crate::url::Url;

const ENDPOINTS: &str = "http://127.0.0.1:2379,http://127.0.0.1:4001";
const HEAD_DURATION_MAX: GoDuration = GoDuration(2_000_000_000);
const COMMAND_DURATION_MAX: GoDuration = GoDuration(5_000_000_000);

/// A client that has asked the cluster where its members are, unless `--no-sync` says otherwise.
pub async fn connect(call: &Call) -> Result<Client, Failure> {
    let client = make(call)?;
    let debug = call.global.is_on("debug");
    if !call.global.is_on("no-sync") {
        if debug {
            let endpoints = client.endpoints().join(",");
            complain(&format!("start to sync cluster using endpoints({endpoints})\n"));
        }
        sync(call, &client).await?;
        if debug {
            complain(&format!("got endpoints({}) after sync\n", client.endpoints().join(",")));
        }
    }
    name_endpoints(call, &client);
    Ok(client)
}

/// A client of just those members that were named.
pub fn connect_without_sync(call: &Call) -> Result<Client, Failure> {
    let client = make(call)?;
    name_endpoints(call, &client);
    Ok(client)
}

/// With `--debug`: who is asked.
pub fn name_endpoints(call: &Call, client: &Client) {
    if call.global.is_on("debug") {
        complain(&format!("Cluster-Endpoints: {}\n", client.endpoints().join(", ")));
    }
}

async fn sync(call: &Call, client: &Client) -> Result<(), Failure> {
    match in_time(call, client.sync()).await {
        Err(fault @ Fault::NoEndpoints) => {
            let mut failure = Failure::of(SERVER_ERROR, &fault);
            let endpoints = client.endpoints().join(",");
            failure.stderr = format!(
                "etcd cluster has no published client endpoints.\n\
                 Try '--no-sync' if you want to access non-published client endpoints({endpoints}).\n{}",
                failure.stderr
            );
            Err(failure)
        }
        Err(fault) if fault.is_of_connection() => Err(Failure::of(BAD_CONNECTION, &fault)),
        // Any other server that cannot tell its members may still have keys.
        _ => Ok(()),
    }
}

/// Waits no longer than `--total-timeout`.
pub async fn in_time<T, E: From<Fault>>(
    call: &Call,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let limit = call.global.duration("total-timeout", COMMAND_DURATION_MAX).at_least_zero();
    // The clock counts milliseconds: what is shorter is over before it begins.
    if limit < Duration::from_millis(1) {
        return Err(Fault::Late.into());
    }
    timeout(limit, work).await.unwrap_or_else(|_| Err(Fault::Late.into()))
}

fn make(call: &Call) -> Result<Client, Failure> {
    let endpoints = endpoints(call).map_err(Failure::line)?;
    let files = ClientFiles {
        pair: Pair { cert: said(call, "cert-file").into(), key: said(call, "key-file").into() },
        trusted_ca: said(call, "ca-file").into(),
        protocols: vec!["http/1.1"],
        ..ClientFiles::default()
    };
    let tls = files.config().map_err(Failure::line)?;
    let head = call.global.duration("timeout", HEAD_DURATION_MAX);
    Ok(Client::new(Config {
        endpoints,
        credentials: credentials(call),
        head_duration_max: head.positive(),
        tls,
        shows_curl: call.global.is_on("debug"),
    }))
}

/// What a flag says, or the variable that stands for it.
fn said(call: &Call, flag: &str) -> String {
    match call.global.text(flag) {
        "" => {
            let variable = format!("ETCDCTL_{}", flag.to_ascii_uppercase().replace('-', "_"));
            env::var(variable).unwrap_or_default()
        }
        text => text.to_owned(),
    }
}

fn endpoints(call: &Call) -> Result<Vec<Url>, String> {
    let mut found = discovered(call)?;
    if found.is_empty() {
        let said = ["endpoints", "endpoint", "peers"].iter().map(|flag| said(call, flag));
        let text = said.into_iter().find(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| ENDPOINTS.to_owned());
        found = text.split(',').map(str::to_owned).collect();
    }
    found.iter().map(|text| Url::endpoint(text)).collect()
}

/// Those that DNS names.
fn discovered(call: &Call) -> Result<Vec<String>, String> {
    let domain = said(call, "discovery-srv");
    if domain.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = client::discover(&domain, "")?.endpoints;
    if !call.global.is_on("insecure-discovery") {
        found.retain(|endpoint| {
            let insecure = endpoint.starts_with("http://");
            if insecure {
                let endpoint = go::quote(endpoint);
                complain(&format!("ignoring discovered insecure endpoint {endpoint}\n"));
            }
            !insecure
        });
    }
    Ok(found)
}

fn credentials(call: &Call) -> Option<Credentials> {
    let both = said(call, "username");
    if both.is_empty() {
        return None;
    }
    let (user, password) = match both.split_once(':') {
        Some((user, password)) => (user.to_owned(), password.to_owned()),
        None => (both, secret("Password: ")),
    };
    (!user.is_empty()).then_some(Credentials { user, password })
}

/// How long etcdctl waits between two looks at the health of a cluster.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
