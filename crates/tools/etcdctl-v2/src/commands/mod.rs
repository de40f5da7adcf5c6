//! What each command does.

mod auth;
mod backup;
mod exec_watch;
mod health;
mod keys;
mod member;
mod watch;

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;
use crate::parse::Call;
use crate::spec::Does;

/// Runs a command to its end. One thread is enough.
pub fn run(does: Does, call: &Call) -> Result<(), Failure> {
    if does == Does::Backup {
        return backup::backup(call);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::line)?;
    let ended = runtime.block_on(dispatch(does, call));
    runtime.shutdown_background();
    ended
}

async fn dispatch(does: Does, call: &Call) -> Result<(), Failure> {
    match does {
        Does::Backup => unreachable!("it needs no cluster"),
        Does::ClusterHealth => health::cluster_health(call).await,
        Does::Mk => keys::mk(call).await,
        Does::Mkdir => keys::mkdir(call, Some(false)).await,
        Does::Setdir => keys::mkdir(call, None).await,
        Does::Updatedir => keys::mkdir(call, Some(true)).await,
        Does::Rm => keys::rm(call).await,
        Does::Rmdir => keys::rmdir(call).await,
        Does::Get => keys::get(call).await,
        Does::Ls => keys::ls(call).await,
        Does::Set => keys::set(call).await,
        Does::Update => keys::update(call).await,
        Does::Watch => watch::watch(call).await,
        Does::ExecWatch => exec_watch::exec_watch(call).await,
        Does::MemberList => member::list(call).await,
        Does::MemberAdd => member::add(call).await,
        Does::MemberRemove => member::remove(call).await,
        Does::MemberUpdate => member::update(call).await,
        Does::UserAdd => auth::user_add(call).await,
        Does::UserGet => auth::user_get(call).await,
        Does::UserList => auth::user_list(call).await,
        Does::UserRemove => auth::user_remove(call).await,
        Does::UserGrant => auth::user_change(call, auth::Change::Grant).await,
        Does::UserRevoke => auth::user_change(call, auth::Change::Revoke).await,
        Does::UserPasswd => auth::user_passwd(call).await,
        Does::RoleAdd => auth::role_add(call).await,
        Does::RoleGet => auth::role_get(call).await,
        Does::RoleList => auth::role_list(call).await,
        Does::RoleRemove => auth::role_remove(call).await,
        Does::RoleGrant => auth::role_change(call, auth::Change::Grant).await,
        Does::RoleRevoke => auth::role_change(call, auth::Change::Revoke).await,
        Does::AuthEnable => auth::enable(call, true).await,
        Does::AuthDisable => auth::enable(call, false).await,
    }
}

/// Runs what may go on for ever: Ctrl-C ends it, and that is success.
async fn until_interrupted(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::line)?;
    tokio::select! {
        ended = work => ended,
        _ = interrupted.recv() => Ok(()),
    }
}
