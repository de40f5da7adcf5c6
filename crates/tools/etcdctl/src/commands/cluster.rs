//! alarm *, defrag, downgrade *, member *, move-leader.

use std::time::Instant;

use client::methods;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::downgrade_request::DowngradeAction;

use super::endpoint::endpoints;
use super::{connect, exactly, kv};
use crate::args::Call;
use crate::exit::{ERROR, Failure};
use crate::output::{self, Format};
use crate::settings::Settings;
use go::elapsed;
use go::number;
use go::quote;

/// `alarm list`, `alarm disarm`.
pub async fn alarm(mut call: Call, what: &str) -> Result<(), Failure> {
    exactly(&call, 0, &format!("alarm {what} command accepts no arguments"))?;
    let session = connect(&mut call).await?;
    let request =
        pb::AlarmRequest { action: AlarmAction::Get.into(), ..pb::AlarmRequest::default() };
    let raised = session.call(methods::ALARM, request).await?;
    if what == "list" {
        return session.printer.alarms(&raised);
    }
    let mut disarmed = pb::AlarmResponse::default();
    for alarm in raised.alarms {
        let request = pb::AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: alarm.member_id,
            alarm: alarm.alarm,
        };
        disarmed.alarms.extend(session.call(methods::ALARM, request).await?.alarms);
    }
    session.printer.alarms(&disarmed)
}

/// `defrag`.
pub async fn defrag(mut call: Call) -> Result<(), Failure> {
    let settings = Settings::of(&mut call)?;
    let mut failed = false;
    for endpoint in endpoints(&call, &settings).await? {
        let session = settings.at(&endpoint).connect().await?;
        let began = Instant::now();
        let done = session.client.call(methods::DEFRAGMENT, &pb::DefragmentRequest {}).await;
        let took = elapsed(began.elapsed());
        match done {
            Ok(_) => {
                let text = format!("Finished defragmenting etcd member[{endpoint}]. took {took}\n");
                output::print(text.as_bytes());
            }
            Err(error) => {
                failed = true;
                output::complain(&format!(
                    "Failed to defragment etcd member[{endpoint}]. took {took}. ({error})\n"
                ));
            }
        }
    }
    if failed { Err(Failure::silent(ERROR)) } else { Ok(()) }
}

/// `downgrade *`.
pub async fn downgrade(mut call: Call, what: &str) -> Result<(), Failure> {
    let (action, version) = match what {
        "cancel" => (DowngradeAction::Cancel, String::new()),
        _ => {
            let refused = match call.args.len() {
                0 => Some("TARGET_VERSION not provided"),
                1 if call.args[0].is_empty() => Some("target version not provided"),
                1 => None,
                _ => Some("too many arguments"),
            };
            if let Some(text) = refused {
                return Err(Failure::bad_args(text));
            }
            let validate = what == "validate";
            let action = if validate { DowngradeAction::Validate } else { DowngradeAction::Enable };
            (action, call.text(0))
        }
    };
    let session = connect(&mut call).await?;
    let request = pb::DowngradeRequest { action: action.into(), version };
    let answer = session.call(methods::DOWNGRADE, request).await?;
    session.printer.downgrade(what, &answer)
}

fn member_id(call: &Call) -> Result<u64, Failure> {
    exactly(call, 1, "member ID is not provided")?;
    let refused =
        |why| Failure::bad_args(format!("bad member ID arg ({why}), expecting ID in Hex"));
    number::parse_uint(&call.text(0), 16).map_err(refused)
}

/// Refuses what is no list of URLs before the server is asked, as etcd's client does.
fn must_be_urls(texts: &[String]) -> Result<(), Failure> {
    let refused = |why| Failure::new(ERROR, why);
    texts.iter().try_for_each(|text| options::Url::parse(text).map(|_| ()).map_err(refused))
}

fn peer_urls(call: &Call) -> Result<Vec<String>, Failure> {
    match call.values.text("peer-urls") {
        "" => Err(Failure::bad_args("member peer urls not provided")),
        urls => Ok(urls.split(',').map(str::to_owned).collect()),
    }
}

/// `member add`.
pub async fn member_add(mut call: Call) -> Result<(), Failure> {
    match call.args.len() {
        0 => return Err(Failure::bad_args("member name not provided")),
        1 => {}
        count => {
            let urls = (0..count).map(|index| call.text(index));
            let meant: String = urls
                .filter(|text| text.to_lowercase().starts_with("http"))
                .map(|url| format!(", did you mean --peer-urls={url}"))
                .collect();
            return Err(Failure::bad_args(format!("too many arguments{meant}")));
        }
    }
    let name = call.text(0);
    let peer_ur_ls = peer_urls(&call)?;
    let is_learner = call.values.truth("learner");
    let session = connect(&mut call).await?;
    must_be_urls(&peer_ur_ls)?;
    let request = pb::MemberAddRequest { peer_ur_ls, is_learner };
    let answer = session.call(methods::MEMBER_ADD, request).await?;
    session.printer.member_added(&answer)?;
    if session.printer.format == Format::Simple {
        let added = answer.member.as_ref().map_or(0, |member| member.id);
        let mut cluster = Vec::new();
        for member in &answer.members {
            let name = if member.id == added { &name } else { &member.name };
            cluster.extend(member.peer_ur_ls.iter().map(|url| format!("{name}={url}")));
        }
        let text = format!(
            "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
            quote(name.as_bytes()),
            quote(cluster.join(",").as_bytes()),
            quote(call.values.text("peer-urls").as_bytes())
        );
        output::print(text.as_bytes());
    }
    Ok(())
}

/// `member remove`.
pub async fn member_remove(mut call: Call) -> Result<(), Failure> {
    let id = member_id(&call)?;
    let session = connect(&mut call).await?;
    let answer = session.call(methods::MEMBER_REMOVE, pb::MemberRemoveRequest { id }).await?;
    session.printer.member_removed(id, &answer)
}

/// `member update`.
pub async fn member_update(mut call: Call) -> Result<(), Failure> {
    let id = member_id(&call)?;
    let peer_ur_ls = peer_urls(&call)?;
    let session = connect(&mut call).await?;
    must_be_urls(&peer_ur_ls)?;
    let request = pb::MemberUpdateRequest { id, peer_ur_ls };
    let answer = session.call(methods::MEMBER_UPDATE, request).await?;
    session.printer.member_updated(id, &answer)
}

/// `member promote`.
pub async fn member_promote(mut call: Call) -> Result<(), Failure> {
    let id = member_id(&call)?;
    let session = connect(&mut call).await?;
    let answer = session.call(methods::MEMBER_PROMOTE, pb::MemberPromoteRequest { id }).await?;
    session.printer.member_promoted(id, &answer)
}

/// `member list`.
pub async fn member_list(mut call: Call) -> Result<(), Failure> {
    let linearizable = !kv::is_serializable(&call.values)?;
    let session = connect(&mut call).await?;
    let answer = session.call(methods::MEMBER_LIST, pb::MemberListRequest { linearizable }).await?;
    session.printer.members(&answer)
}

/// `move-leader`.
pub async fn move_leader(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "move-leader command needs 1 argument")?;
    let target = number::parse_uint(&call.text(0), 16).map_err(Failure::bad_args)?;
    let settings = Settings::of(&mut call)?;
    for endpoint in &settings.config.endpoints {
        let session = settings.at(endpoint).connect().await?;
        let status = session.call(methods::STATUS, pb::StatusRequest {}).await?;
        let leader = status.leader;
        if status.header.unwrap_or_default().member_id != leader {
            continue;
        }
        let request = pb::MoveLeaderRequest { target_id: target };
        let answer = session.call(methods::MOVE_LEADER, request).await?;
        return session.printer.leader_moved(leader, target, &answer);
    }
    let all = settings.config.endpoints.join(" ");
    Err(Failure::bad_args(format!("no leader endpoint given at [{all}]")))
}
