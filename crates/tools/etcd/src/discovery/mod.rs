//! Finding the members of a cluster that begins: by DNS, or with the help of a cluster that runs already.
//!
//! What is found stands in the configuration afterwards as if `--initial-cluster` had said it.
//!
//! Not here: what a member makes of the initial cluster (see `server`).

mod service;
mod srv;

use logging::{Logger, error, warn};
use options::{Config, Discovery};

pub use service::Failed;

/// Fills in who founds the cluster, as far as this member knows it without waiting for others.
///
/// # Errors
/// Why it could not be found out, in etcd's words.
pub fn prepare(config: &mut Config, log: &Logger) -> Result<(), String> {
    match config.bootstrap.discovery.clone() {
        None => {}
        Some(Discovery::Srv { domain, name }) => {
            config.bootstrap.initial_cluster = srv::initial_cluster(config, &domain, &name, log)?;
        }
        Some(Discovery::Service(service)) => {
            // It waits for the others once it is known to be right about itself.
            config.bootstrap.initial_cluster = service::own_part(config);
            config.bootstrap.token = service.token;
        }
    }
    Ok(())
}

/// Joins those who found the cluster with the help of a discovery service, and waits until all of them are there.
///
/// # Errors
/// [`Failed`]; everything is logged by then.
pub fn join(config: &mut Config, log: &Logger) -> Result<(), Failed> {
    let Some(Discovery::Service(service)) = config.bootstrap.discovery.clone() else {
        return Ok(());
    };
    let joined = service::join(config, &service, log).map_err(|why| {
        let error = format!("failed to join discovery cluster ({why})");
        error!(log, "bootstrap failed", "error" => &error);
        warn!(
            log,
            "failed to bootstrap; discovery token was already used",
            "discovery-token" => &service.token,
            "discovery-endpoints" => service.endpoints.join(","),
            "error" => error
        );
        warn!(log, "do not reuse discovery token; generate a new one to bootstrap a cluster");
        why
    })?;
    config.bootstrap.initial_cluster = joined;
    Ok(())
}
