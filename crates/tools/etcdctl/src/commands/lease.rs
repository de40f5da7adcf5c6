//! lease *.

use client::{Error, methods};
use proto::etcdserverpb as pb;
use types::LeaseHex;

use super::{connect, exactly};
use crate::args::Call;
use crate::exit::{BAD_CONNECTION, ERROR, Failure};
use crate::output::{self, Format};
use crate::settings::Settings;
use go::number;

fn lease_id(call: &Call) -> Result<i64, Failure> {
    let refused = |why| Failure::bad_args(format!("bad lease ID arg ({why}), expecting ID in Hex"));
    number::parse_int(&call.text(0), 16).map_err(refused)
}

/// `lease grant`.
pub async fn grant(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "lease grant command needs TTL argument")?;
    let ttl = number::parse_int(&call.text(0), 10);
    let ttl = ttl.map_err(|why| Failure::bad_args(format!("bad TTL ({why})")))?;
    let session = connect(&mut call).await?;
    let request = pb::LeaseGrantRequest { ttl, id: 0 };
    let granted = session.client.call(methods::LEASE_GRANT, &request).await;
    let failed = |error: Error| Failure {
        text: Some(format!("failed to grant lease ({error})")),
        ..session.failure(ERROR, &error)
    };
    session.printer.grant(&granted.map_err(failed)?)
}

/// `lease revoke`.
pub async fn revoke(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "lease revoke command needs 1 argument")?;
    let id = lease_id(&call)?;
    let session = connect(&mut call).await?;
    let revoked = session.client.call(methods::LEASE_REVOKE, &pb::LeaseRevokeRequest { id }).await;
    let failed = |error: Error| Failure {
        text: Some(format!("failed to revoke lease ({error})")),
        ..session.failure(ERROR, &error)
    };
    session.printer.revoke(id, &revoked.map_err(failed)?)
}

/// `lease timetolive`.
pub async fn time_to_live(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "lease timetolive command needs lease ID as argument")?;
    let keys = call.values.truth("keys");
    let session = connect(&mut call).await?;
    let request = pb::LeaseTimeToLiveRequest { id: lease_id(&call)?, keys };
    let answer =
        session.call_patiently(BAD_CONNECTION, methods::LEASE_TIME_TO_LIVE, request).await?;
    session.printer.time_to_live(&answer, keys)
}

/// `lease list`.
pub async fn list(mut call: Call) -> Result<(), Failure> {
    let session = connect(&mut call).await?;
    let request = pb::LeaseLeasesRequest {};
    let answer = session.call_patiently(BAD_CONNECTION, methods::LEASE_LEASES, request).await?;
    session.printer.leases(&answer)
}

/// `lease keep-alive`.
pub async fn keep_alive(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "lease keep-alive command needs lease ID as argument")?;
    let id = lease_id(&call)?;
    let once = call.values.truth("once");
    let settings = Settings::of(&mut call)?;
    let connecting = if once { settings.connect().await } else { settings.connect_to_stay().await };
    let session = connecting?;
    let failed = |error: Error| session.unanswered(BAD_CONNECTION, &error);
    if once {
        let answer = session.unhurried().keep_alive_once(id).await.map_err(failed)?;
        return session.printer.keep_alive(&answer);
    }
    let mut keeper = session.patient.keep_alive(id);
    while let Some(answer) = keeper.renewed().await.map_err(failed)? {
        session.printer.keep_alive(&answer)?;
    }
    if session.printer.format == Format::Simple {
        output::print(format!("lease {:016x} expired or revoked.\n", LeaseHex(id)).as_bytes());
    }
    Ok(())
}
