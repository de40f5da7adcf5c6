//! endpoint *.

use std::time::Instant;

use bytes::Bytes;
use client::{Remarks, methods};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;
use tokio::task::JoinSet;
use types::Refusal;

use crate::args::Call;
use crate::exit::{ERROR, Failure};
use crate::journal;
use crate::output::{self, EndpointHash, EndpointHealth, EndpointStatus};
use crate::settings::Settings;
use go::elapsed;

/// The endpoints given, or with `--cluster` those of all members.
pub async fn endpoints(call: &Call, settings: &Settings) -> Result<Vec<String>, Failure> {
    if !call.values.truth("cluster") {
        return Ok(settings.config.endpoints.clone());
    }
    let session = settings.connect().await.map_err(|failure| Failure { code: ERROR, ..failure })?;
    let request = pb::MemberListRequest { linearizable: true };
    let members = session.client.call(methods::MEMBER_LIST, &request).await.map_err(|error| {
        let text = format!("failed to fetch endpoints from etcd cluster member list: {error}");
        Failure { text: Some(text), ..session.failure(ERROR, &error) }
    })?;
    Ok(members.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}

/// `endpoint health`.
pub async fn health(mut call: Call) -> Result<(), Failure> {
    let mut settings = Settings::of(&mut call)?;
    let all = endpoints(&call, &settings).await?;
    settings.config.remarks = Remarks::to(|remark| journal::remark("client", remark));
    let mut asking = JoinSet::new();
    for endpoint in all {
        let settings = settings.at(&endpoint);
        asking.spawn(async move { health_of(endpoint, &settings).await });
    }
    let mut found = Vec::new();
    while let Some(health) = asking.join_next().await {
        found.push(health.map_err(|error| Failure::new(ERROR, error.to_string()))?);
    }
    settings.printer.health(&found)?;
    match found.iter().any(|health| !health.error.is_empty()) {
        true => Err(Failure::new(ERROR, "unhealthy cluster")),
        false => Ok(()),
    }
}

/// A linearizable read must be answered, or refused by somebody who could have answered.
async fn health_of(endpoint: String, settings: &Settings) -> EndpointHealth {
    let unhealthy = |took: String, error: String| EndpointHealth {
        endpoint: endpoint.clone(),
        health: false,
        took,
        error,
    };
    let session = match settings.connect().await {
        Ok(session) => session,
        Err(failure) => return unhealthy(String::new(), failure.text.unwrap_or_default()),
    };
    let began = Instant::now();
    let request = pb::RangeRequest { key: Bytes::from_static(b"health"), ..Default::default() };
    let read = session.client.call(methods::RANGE, &request).await;
    let took = elapsed(began.elapsed());
    if let Err(error) = read
        && !error.is(&Refusal::PermissionDenied)
    {
        return unhealthy(took, error.to_string());
    }
    let request =
        pb::AlarmRequest { action: AlarmAction::Get.into(), ..pb::AlarmRequest::default() };
    match session.client.call(methods::ALARM, &request).await {
        Err(_) => unhealthy(took, "Unable to fetch the alarm list".to_owned()),
        Ok(answer) if answer.alarms.is_empty() => {
            EndpointHealth { health: true, ..unhealthy(took, String::new()) }
        }
        Ok(answer) => {
            let name = |alarm: &pb::AlarmMember| match alarm.alarm() {
                pb::AlarmType::Nospace => "NOSPACE ",
                pb::AlarmType::Corrupt => "CORRUPT ",
                pb::AlarmType::None => "UNKNOWN ",
            };
            let names: String = answer.alarms.iter().map(name).collect();
            unhealthy(took, format!("Active Alarm(s): {names}"))
        }
    }
}

/// `endpoint status`.
pub async fn status(mut call: Call) -> Result<(), Failure> {
    let settings = Settings::of(&mut call)?;
    let mut found = Vec::new();
    let mut failed = false;
    for endpoint in endpoints(&call, &settings).await? {
        let session = settings.at(&endpoint).connect().await?;
        match session.client.call(methods::STATUS, &pb::StatusRequest {}).await {
            Ok(status) => found.push(EndpointStatus(endpoint, status)),
            Err(error) => {
                failed = true;
                output::complain(&format!(
                    "Failed to get the status of endpoint {endpoint} ({error})\n"
                ));
            }
        }
    }
    settings.printer.status(&found)?;
    if failed { Err(Failure::silent(ERROR)) } else { Ok(()) }
}

/// `endpoint hashkv`.
pub async fn hash(mut call: Call) -> Result<(), Failure> {
    let settings = Settings::of(&mut call)?;
    let revision = call.values.int("rev");
    let mut found = Vec::new();
    let mut last = None;
    for endpoint in endpoints(&call, &settings).await? {
        let session = settings.at(&endpoint).connect().await?;
        match session.client.call(methods::HASH_KV, &pb::HashKvRequest { revision }).await {
            Ok(answer) => found.push(EndpointHash(endpoint, answer)),
            Err(error) => {
                let text = format!("Failed to get the hash of endpoint {endpoint} ({error})\n");
                output::complain(&text);
                last = Some(session.failure(ERROR, &error));
            }
        }
    }
    settings.printer.hashes(&found)?;
    last.map_or(Ok(()), Err)
}
