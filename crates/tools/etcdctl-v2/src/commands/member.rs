//! `member list`, `add`, `remove`, `update`.

use crate::api::MembersFault;
use crate::connect::{connect, in_time};
use crate::exit::{BAD_ARGS, Failure, complain, say};
use crate::parse::Call;

fn exactly<'a>(call: &'a Call, count: usize, otherwise: &str) -> Result<&'a [String], Failure> {
    let args = call.args.as_slice();
    if args.len() == count { Ok(args) } else { Err(Failure::line(otherwise)) }
}

fn plain(fault: MembersFault) -> Failure {
    Failure::line(fault)
}

pub async fn list(call: &Call) -> Result<(), Failure> {
    exactly(call, 0, "No arguments accepted")?;
    let client = connect(call).await?;
    let work = async {
        let members = client.members().await.map_err(plain)?;
        let leader = client.leader().await;
        let leader =
            leader.map_err(|fault| Failure::line(format!("Failed to get leader:  {fault}")))?;
        Ok::<_, Failure>((members, leader))
    };
    let (members, leader) = in_time_or_fail(call, work).await?;
    for member in members {
        let (id, peer_urls) = (&member.id, member.peer_urls.join(","));
        if member.name.is_empty() {
            say(format!("{id}[unstarted]: peerURLs={peer_urls}"));
            continue;
        }
        let (name, client_urls) = (&member.name, member.client_urls.join(","));
        let leads = member.id == leader.id;
        say(format!(
            "{id}: name={name} peerURLs={peer_urls} clientURLs={client_urls} isLeader={leads}"
        ));
    }
    Ok(())
}

pub async fn add(call: &Call) -> Result<(), Failure> {
    let args = exactly(call, 2, "Provide a name and a single member peerURL")?;
    let (name, url) = (&args[0], &args[1]);
    let client = connect(call).await?;
    let added = in_time(call, client.add_member(url)).await.map_err(plain)?;
    say(format!("Added member named {name} with ID {} to cluster", added.id));
    let members = in_time(call, client.members()).await.map_err(plain)?;
    let mut cluster = Vec::new();
    for member in members {
        let name = if member.id == added.id { name } else { &member.name };
        cluster.extend(member.peer_urls.iter().map(|url| format!("{name}={url}")));
    }
    say(format!("\nETCD_NAME={}", go::quote(name)));
    say(format!("ETCD_INITIAL_CLUSTER={}", go::quote(cluster.join(","))));
    say("ETCD_INITIAL_CLUSTER_STATE=\"existing\"");
    Ok(())
}

pub async fn remove(call: &Call) -> Result<(), Failure> {
    let id = &exactly(call, 1, "Provide a single member ID")?[0];
    let client = connect(call).await?;
    let members = in_time(call, client.members()).await.map_err(|fault| {
        Failure::line(format!("Error while verifying ID against known members: {fault}"))
    })?;
    for member in members.iter().filter(|member| member.name == *id) {
        complain(&format!(
            "Found a member named {id}; if this is correct, please use its ID, eg:\n\
             \tetcdctl member remove {}\n\
             For more details, read the documentation at https://github.com/etcd-io/etcd/blob/master/Documentation/runtime-configuration.md#remove-a-member\n\n",
            member.id
        ));
    }
    if !members.iter().any(|member| member.id == *id) {
        let text = format!("Couldn't find a member in the cluster with an ID of {id}.");
        return Err(Failure::line(text));
    }
    in_time(call, client.remove_member(id)).await.map_err(|fault| {
        // No end of the line: etcdctl has none here.
        let stderr = format!("Received an error trying to remove member {id}: {fault}");
        Failure { code: BAD_ARGS, stderr }
    })?;
    say(format!("Removed member {id} from cluster"));
    Ok(())
}

pub async fn update(call: &Call) -> Result<(), Failure> {
    let usage = "Provide an ID and a list of comma separated peerURL (0xabcd http://example.com,http://example1.com)";
    let args = exactly(call, 2, usage)?;
    let (id, urls) = (&args[0], args[1].split(',').collect::<Vec<_>>());
    let client = connect(call).await?;
    in_time(call, client.update_member(id, &urls)).await.map_err(plain)?;
    say(format!("Updated member with ID {id} in cluster"));
    Ok(())
}

/// Both questions of `member list` share one time.
async fn in_time_or_fail<T>(
    call: &Call,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    in_time(call, async { work.await.map_err(Late::Failed) }).await.map_err(|late| match late {
        Late::Failed(failure) => failure,
        Late::Fault(fault) => Failure::line(fault),
    })
}

enum Late {
    Failed(Failure),
    Fault(crate::api::Fault),
}

impl From<crate::api::Fault> for Late {
    fn from(fault: crate::api::Fault) -> Late {
        Late::Fault(fault)
    }
}
