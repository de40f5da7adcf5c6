//! `cluster-health`.

use serde_json::Value;

use crate::api::{Client, Fault, Member};
use crate::commands::until_interrupted;
use crate::connect::{LOOK_EVERY, connect_without_sync};
use crate::exit::{Failure, NOT_HEALTHY, SERVER_ERROR, say};
use crate::parse::Call;
use crate::render::json_fault;
use crate::url::Url;

pub async fn cluster_health(call: &Call) -> Result<(), Failure> {
    let client = connect_without_sync(call)?;
    if call.own.is_on("forever") {
        until_interrupted(look(call, &client)).await
    } else {
        look(call, &client).await
    }
}

async fn look(call: &Call, client: &Client) -> Result<(), Failure> {
    let members = client.members().await.map_err(|fault| {
        say("cluster may be unhealthy: failed to list members");
        Failure::of(SERVER_ERROR, &fault.0)
    })?;
    loop {
        let mut healthy = 0;
        for member in &members {
            healthy += usize::from(is_healthy(client, member).await);
        }
        say(match healthy {
            all if all == members.len() => "cluster is healthy",
            0 => "cluster is unavailable",
            _ => "cluster is degraded",
        });
        if !call.own.is_on("forever") {
            let all = healthy == members.len();
            return if all { Ok(()) } else { Err(Failure::silent(NOT_HEALTHY)) };
        }
        say("\nnext check after 10 second...\n");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks a member at one of its addresses after the other until one answers.
async fn is_healthy(client: &Client, member: &Member) -> bool {
    let id = &member.id;
    if member.client_urls.is_empty() {
        say(format!("member {id} is unreachable: no available published client urls"));
        return false;
    }
    for url in &member.client_urls {
        match health(client, url).await {
            Ok(true) => {
                say(format!("member {id} is healthy: got healthy result from {url}"));
                return true;
            }
            Ok(false) => {
                say(format!("member {id} is unhealthy: got unhealthy result from {url}"));
                return false;
            }
            Err(why) => say(format!("failed to check the health of member {id} on {url}: {why}")),
        }
    }
    let urls = member.client_urls.join(" ");
    say(format!("member {id} is unreachable: [{urls}] are all unreachable"));
    false
}

async fn health(client: &Client, url: &str) -> Result<bool, String> {
    let place = format!("{url}/health");
    let of_place = |why: String| format!("Get {}: {why}", go::quote(&place));
    let answer = client.look(&Url::parse(&place)?).await;
    let answer = answer.map_err(|fault: Fault| of_place(fault.to_string()))?;
    let said: Value =
        serde_json::from_slice(&answer.body).map_err(|error| json_fault(&answer.body, &error))?;
    // A text up to 3.5 and here and there a truth value.
    let health = &said["health"];
    Ok(health.as_bool().unwrap_or_else(|| health.as_str() == Some("true")))
}
