//! What each command does.

mod auth;
mod check;
mod cluster;
mod deprecated;
mod endpoint;
mod kv;
mod lease;
mod lock;
mod mirror;
mod role;
mod snapshot;
mod top;
mod txn;
mod watch;

use crate::args::Call;
use crate::exit::{ERROR, Failure};
use crate::settings::{Session, Settings};
use crate::spec::Does;
use crate::{help, output};

/// The release whose behaviour this is.
const VERSION: &str = "3.7.1";
const API_VERSION: &str = "3.7";

/// Runs a command to its end.
pub fn run(does: Does, call: Call) -> Result<(), Failure> {
    match does {
        Does::Version => {
            let text = format!("etcdctl version: {VERSION}\nAPI version: {API_VERSION}\n");
            output::print(text.as_bytes());
            Ok(())
        }
        Does::Options => {
            output::print(help::options().as_bytes());
            Ok(())
        }
        Does::Completion => {
            let script = cobra::script(&call.text(0), "etcdctl");
            output::print(script.expect("the shell was checked").as_bytes());
            Ok(())
        }
        Does::HandOn(what) => Err(deprecated::hand_on(what, &call.raw)),
        _ => online(does, call),
    }
}

/// Runs a command that talks to a cluster. One thread is enough.
fn online(does: Does, call: Call) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(ERROR, error.to_string()))?;
    let ended = runtime.block_on(dispatch(does, call));
    // Somebody may still be reading stdin, and nothing could stop that.
    runtime.shutdown_background();
    ended
}

async fn dispatch(does: Does, call: Call) -> Result<(), Failure> {
    match does {
        Does::Get => kv::get(call).await,
        Does::Put => kv::put(call).await,
        Does::Del => kv::del(call).await,
        Does::Compaction => kv::compaction(call).await,
        Does::Txn => txn::txn(call).await,
        Does::Watch => watch::watch(call).await,
        Does::LeaseGrant => lease::grant(call).await,
        Does::LeaseRevoke => lease::revoke(call).await,
        Does::LeaseTimeToLive => lease::time_to_live(call).await,
        Does::LeaseList => lease::list(call).await,
        Does::LeaseKeepAlive => lease::keep_alive(call).await,
        Does::AlarmDisarm => cluster::alarm(call, "disarm").await,
        Does::AlarmList => cluster::alarm(call, "list").await,
        Does::Defrag => cluster::defrag(call).await,
        Does::DowngradeValidate => cluster::downgrade(call, "validate").await,
        Does::DowngradeEnable => cluster::downgrade(call, "enable").await,
        Does::DowngradeCancel => cluster::downgrade(call, "cancel").await,
        Does::MemberAdd => cluster::member_add(call).await,
        Does::MemberList => cluster::member_list(call).await,
        Does::MemberPromote => cluster::member_promote(call).await,
        Does::MemberRemove => cluster::member_remove(call).await,
        Does::MemberUpdate => cluster::member_update(call).await,
        Does::MoveLeader => cluster::move_leader(call).await,
        Does::EndpointHealth => endpoint::health(call).await,
        Does::EndpointStatus => endpoint::status(call).await,
        Does::EndpointHashKv => endpoint::hash(call).await,
        Does::SnapshotSave => snapshot::save(call).await,
        Does::Elect => lock::elect(call).await,
        Does::Lock => lock::lock(call).await,
        Does::AuthEnable => auth::enable(call).await,
        Does::AuthDisable => auth::disable(call).await,
        Does::AuthStatus => auth::status(call).await,
        Does::UserAdd => auth::user_add(call).await,
        Does::UserDelete => auth::user_delete(call).await,
        Does::UserGet => auth::user_get(call).await,
        Does::UserGrantRole => auth::user_grant(call).await,
        Does::UserList => auth::user_list(call).await,
        Does::UserPasswd => auth::user_passwd(call).await,
        Does::UserRevokeRole => auth::user_revoke(call).await,
        Does::RoleAdd => role::add(call).await,
        Does::RoleDelete => role::delete(call).await,
        Does::RoleGet => role::get(call).await,
        Does::RoleGrantPermission => role::grant(call).await,
        Does::RoleList => role::list(call).await,
        Does::RoleRevokePermission => role::revoke(call).await,
        Does::CheckDatascale => check::datascale(call).await,
        Does::CheckPerf => check::perf(call).await,
        Does::MakeMirror => mirror::make_mirror(call).await,
        Does::Top => top::top(call).await,
        Does::HandOn(_) | Does::Completion | Does::Help | Does::Options | Does::Version => {
            unreachable!("{does:?} needs no cluster")
        }
    }
}

/// A client as the flags say.
async fn connect(call: &mut Call) -> Result<Session, Failure> {
    Settings::of(call)?.connect().await
}

/// A client for a command that may go on for ever.
async fn connect_to_stay(call: &mut Call) -> Result<Session, Failure> {
    Settings::of(call)?.connect_to_stay().await
}

/// Refuses any other number of arguments.
fn exactly(call: &Call, count: usize, otherwise: &str) -> Result<(), Failure> {
    if call.args.len() == count { Ok(()) } else { Err(Failure::bad_args(otherwise)) }
}
