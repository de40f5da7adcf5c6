//! How a member without a log begins: with the others that found the cluster, or among those of one that runs.
//!
//! Checks, their order and their words are etcd's (`docs/etcd/peer-protocol.md` 7.1).

use std::collections::BTreeMap;
use std::time::Duration;

use member::{Begin, InitialMember, bootstrap_member_id};
use options::{ClusterState, Config, Url};
use peer::{AskError, Asker, MemberJson, RemoteMembers};
use types::Version;

/// How long others may take to say whether they know this member from before.
const BOOTSTRAPPED_DURATION_MAX: Duration = Duration::from_secs(1);

/// Why a member cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The flags do not fit together.
    #[error("{0}")]
    Flags(String),
    /// Nobody who should know the cluster answered.
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
    )]
    NobodyAnswers(#[source] Option<AskError>),
    /// The cluster is another than the flags say.
    #[error("error validating peerURLs {0}: {1}")]
    OtherMembers(String, String),
    /// This member was here before, and its data is gone.
    #[error("member {0:x} has already been bootstrapped")]
    Bootstrapped(u64),
    /// No member that answers knows its cluster's version.
    #[error("incompatible with current running cluster")]
    Incompatible,
    /// The system gives no event queue.
    #[error("others cannot be asked")]
    Runtime(#[source] std::io::Error),
}

/// How the member begins; asks the others where it must.
///
/// # Errors
/// [`BeginError`].
pub(crate) fn begin(config: &Config, asker: &Asker, own: Version) -> Result<Begin, BeginError> {
    if config.bootstrap.force_new {
        return Ok(Begin::ForceNew);
    }
    let members = config.initial_cluster().map_err(BeginError::Flags)?;
    let others = |members: &BTreeMap<String, Vec<Url>>| -> Vec<Url> {
        let others = members.iter().filter(|(name, _)| **name != config.name);
        others.flat_map(|(_, urls)| urls.clone()).collect()
    };
    let urls = others(&members);
    match config.bootstrap.state {
        ClusterState::Existing => {
            let joining = join(config, asker, &members, &urls, own);
            Asker::block_on(joining).map_err(BeginError::Runtime)?
        }
        ClusterState::New => {
            let initial = members.into_iter().map(|(name, urls)| InitialMember {
                name,
                peer_urls: urls.iter().map(ToString::to_string).collect(),
            });
            let (initial, token) = (initial.collect::<Vec<_>>(), config.bootstrap.token.clone());
            let own = initial.iter().find(|member| member.name == config.name);
            let own = own.map(|own| bootstrap_member_id(&own.peer_urls, &token));
            if let (false, Some(own)) = (urls.is_empty(), own) {
                let known = Asker::block_on(is_bootstrapped(asker, &urls, own));
                if known.map_err(BeginError::Runtime)? {
                    return Err(BeginError::Bootstrapped(own));
                }
            }
            Ok(Begin::New { members: initial, token })
        }
    }
}

/// Asks one after the other who the members are; the first who knows counts.
async fn ask_members(asker: &Asker, urls: &[Url]) -> Result<RemoteMembers, Option<AskError>> {
    let mut last = None;
    for url in urls {
        match asker.members(&url.to_string()).await {
            Ok(found) if !found.members.is_empty() => return Ok(found),
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    Err(last)
}

/// Whether somebody knows this member with client URLs: then it ran before, and its log is lost.
///
/// Asked of all at once and for a second at most, as in etcd: members that begin together wait for each other,
/// and none of them can answer yet.
async fn is_bootstrapped(asker: &Asker, urls: &[Url], own: u64) -> bool {
    let knows = urls.iter().map(|url| async move {
        let asked = asker.members(&url.to_string()).await;
        asked.is_ok_and(|found| {
            found.members.iter().any(|it| it.id == own && !it.client_urls.is_empty())
        })
    });
    let all = futures_util::future::join_all(knows);
    let answered = tokio::time::timeout(BOOTSTRAPPED_DURATION_MAX, all).await;
    answered.is_ok_and(|all| all.contains(&true))
}

async fn join(
    config: &Config,
    asker: &Asker,
    members: &BTreeMap<String, Vec<Url>>,
    urls: &[Url],
    own: Version,
) -> Result<Begin, BeginError> {
    let found = ask_members(asker, urls).await.map_err(BeginError::NobodyAnswers)?;
    let ids = matched(members, &found.members).map_err(|why| {
        let ids: Vec<_> = found.members.iter().map(|member| format!("{:x}", member.id)).collect();
        BeginError::OtherMembers(ids.join(","), why)
    })?;
    check_versions(asker, &found.members, ids[&config.name], own).await?;
    Ok(Begin::Join { cluster: found.cluster, member: ids[&config.name] })
}

/// The id of each name, by the peer URLs both sides give it.
fn matched(
    members: &BTreeMap<String, Vec<Url>>,
    found: &[MemberJson],
) -> Result<BTreeMap<String, u64>, String> {
    if members.len() != found.len() {
        return Err(format!(
            "member count is unequal ({} in --initial-cluster, {} in the cluster)",
            members.len(),
            found.len()
        ));
    }
    let mut ids = BTreeMap::new();
    for (name, urls) in members {
        let mut wanted: Vec<String> = urls.iter().map(ToString::to_string).collect();
        wanted.sort();
        let same = |member: &&MemberJson| {
            let mut theirs = member.peer_urls.clone().unwrap_or_default();
            theirs.sort();
            theirs == wanted || resolved(&theirs) == resolved(&wanted)
        };
        let member = found.iter().find(same);
        let member =
            member.ok_or_else(|| format!("unmatched member while checking PeerURLs ({name})"))?;
        ids.insert(name.clone(), member.id);
    }
    Ok(ids)
}

/// The addresses behind URLs, sorted; as text where a name has none.
fn resolved(urls: &[String]) -> Vec<String> {
    use std::net::ToSocketAddrs;
    let mut all: Vec<String> = urls
        .iter()
        .flat_map(|url| {
            let parsed = Url::parse(url).ok();
            let scheme = parsed.as_ref().map_or("", |url| url.scheme().name());
            let found = parsed.as_ref().and_then(|url| url.address().to_socket_addrs().ok());
            let found: Vec<_> =
                found.into_iter().flatten().map(|one| format!("{scheme}://{one}")).collect();
            if found.is_empty() { vec![url.clone()] } else { found }
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Somebody must know the cluster's version, and everybody who does must be one we can follow.
async fn check_versions(
    asker: &Asker,
    members: &[MemberJson],
    own_id: u64,
    own: Version,
) -> Result<(), BeginError> {
    let oldest = Version::new(3, 0);
    let mut decided = false;
    for member in members.iter().filter(|member| member.id != own_id) {
        let urls = member.peer_urls.iter().flatten();
        let mut answer = None;
        for url in urls {
            if let Ok(versions) = asker.versions(url).await {
                answer = versions.cluster.parse::<Version>().ok();
                break;
            }
        }
        let Some(cluster) = answer else { continue };
        if cluster < oldest || own < cluster {
            return Err(BeginError::Incompatible);
        }
        decided = true;
    }
    if decided { Ok(()) } else { Err(BeginError::Incompatible) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &[(&str, &str)]) -> BTreeMap<String, Vec<Url>> {
        let url = |text: &str| Url::parse(text).expect("a URL");
        text.iter().map(|(name, one)| ((*name).to_owned(), vec![url(one)])).collect()
    }

    fn there(id: u64, url: &str) -> MemberJson {
        MemberJson { id, peer_urls: Some(vec![url.to_owned()]), ..MemberJson::default() }
    }

    #[test]
    fn a_joining_member_finds_everybodys_id_by_the_peer_urls() {
        let flags = flags(&[("a", "http://127.0.0.1:1"), ("b", "http://localhost:2")]);
        let found = [there(7, "http://127.0.0.1:1"), there(8, "http://localhost:2")];
        let ids = matched(&flags, &found).expect("they fit");
        assert_eq!(ids, BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 8)]));
    }

    #[test]
    fn a_cluster_that_is_another_than_the_flags_say_is_refused() {
        let flags = flags(&[("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2")]);
        let fewer = matched(&flags, &[there(7, "http://127.0.0.1:1")]);
        let text = "member count is unequal (2 in --initial-cluster, 1 in the cluster)";
        assert_eq!(fewer, Err(text.to_owned()));
        let other = [there(7, "http://127.0.0.1:1"), there(8, "http://127.0.0.1:3")];
        let text = "unmatched member while checking PeerURLs (b)";
        assert_eq!(matched(&flags, &other), Err(text.to_owned()));
    }
}
