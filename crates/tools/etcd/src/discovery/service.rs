//! The members of a cluster from another one that runs (`docs/etcd/server-flags.md` 9).
//!
//! Its operator wrote there how many there will be. Each member writes its own name and URLs and waits until so many
//! have done so; those that came first are the founders.

use std::time::Duration;

use client::{Client, Credentials, Error, Remarks, TlsOptions, WatchOptions, methods, prefix_end};
use logging::{Logger, error, info, warn};
use options::{Config, DiscoveryService, Url};
use proto::etcdserverpb as pb;
use proto::mvccpb::{KeyValue, event::EventType};
use tokio::time::Instant;

/// Where discovery keeps what it knows.
const REGISTRY: &str = "/_etcd/registry";
/// Attempts to reach the service wait twice as long each time, up to a second times two to this power.
const DOUBLINGS_MAX: u32 = 8;

/// Why a member could not join the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Nobody said how many there will be.
    #[error("discovery: size key not found")]
    NoSize,
    /// What was said is no number of members.
    #[error("discovery: size key is bad")]
    BadSize,
    /// So many have come already.
    #[error("discovery: cluster is full")]
    Full,
    /// A member's URLs are none.
    #[error("discovery: invalid peer URL")]
    BadUrl,
    /// Two members advertise one URL.
    #[error("discovery cluster {0} has duplicate url")]
    SameUrl(String),
    /// The service refuses.
    #[error("{0}")]
    Refused(String),
}

/// This member, as it is written there: `name=url,name=url`.
pub fn own_part(config: &Config) -> String {
    let mut urls: Vec<String> = config.advertise_peer_urls.iter().map(Url::to_string).collect();
    urls.sort();
    let pairs: Vec<String> = urls.iter().map(|url| format!("{}={url}", config.name)).collect();
    pairs.join(",")
}

/// Joins the founders and waits for the rest of them; answers with all.
///
/// # Errors
/// [`Failed`].
pub fn join(config: &Config, service: &DiscoveryService, log: &Logger) -> Result<String, Failed> {
    info!(log, "Bootstrapping cluster using v3 discovery.");
    let urls: Vec<String> = config.advertise_peer_urls.iter().map(Url::to_string).collect();
    let member = format!("{:x}", server::member_id(&urls, &service.token));
    let registry = Registry { service, log, member, info: own_part(config) };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(|why| Failed::Refused(why.to_string()))?;
    let joined = runtime.block_on(registry.join());
    runtime.shutdown_background();
    match &joined {
        Ok(cluster) => info!(
            log,
            "discovery joined cluster successfully",
            "discovery-token" => &service.token,
            "discovery-endpoints" => service.endpoints.join(","),
            "cluster" => cluster
        ),
        Err(why) => error!(
            log,
            "discovery failed to join cluster",
            "discovery-token" => &service.token,
            "discovery-endpoints" => service.endpoints.join(","),
            "error" => why.to_string()
        ),
    }
    joined
}

/// How many there will be: a positive number that fits where Go keeps it. Nothing is reserved on its word.
fn size_of(text: &[u8]) -> Option<usize> {
    let size: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    usize::try_from(size).ok().filter(|size| 0 < *size)
}

/// Those who have come, first come first.
#[derive(Debug, Default)]
struct Founders {
    /// Key, `name=url,...` and when it was written.
    found: Vec<(String, String, i64)>,
}

impl Founders {
    /// Notes what one has written. Something else below the prefix is passed over, with the reason.
    fn add(&mut self, prefix: &str, kv: &KeyValue) -> Result<(), &'static str> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (key, info) = (text(&kv.key), text(&kv.value));
        if key == prefix || !key.starts_with(prefix) {
            return Err("invalid peer registry key");
        }
        if !info.contains('=') {
            return Err("invalid peer info returned from discovery service");
        }
        if self.found.iter().any(|(known, _, _)| *known == key) {
            return Err("found duplicate peer from discovery service");
        }
        self.found.push((key, info, kv.create_revision));
        self.found.sort_by_key(|(_, _, created)| *created);
        Ok(())
    }

    /// Whether there is no place for the member with this key among so many.
    fn is_full_for(&self, key: &str, size: usize) -> bool {
        let before = self.found.iter().take_while(|(known, _, _)| known != key).count();
        size <= before
    }

    /// The first so many, as `--initial-cluster` would name them.
    fn initial_cluster(&self, size: usize) -> Result<String, Failed> {
        let infos: Vec<&str> =
            self.found.iter().take(size).map(|(_, info, _)| info.as_str()).collect();
        let all = infos.join(",");
        let mut urls = Vec::new();
        for pair in all.split(',') {
            let url = pair.split_once('=').and_then(|(_, url)| Url::parse(url).ok());
            urls.push(url.ok_or(Failed::BadUrl)?);
        }
        urls.sort();
        if urls.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Failed::SameUrl(all));
        }
        Ok(all)
    }
}

/// What a service said, and when.
struct Known {
    founders: Founders,
    size: usize,
    revision: i64,
}

struct Registry<'a> {
    service: &'a DiscoveryService,
    log: &'a Logger,
    member: String,
    info: String,
}

impl Registry<'_> {
    fn below(&self, key: &str) -> String {
        format!("{REGISTRY}/{}/{key}", self.service.token)
    }

    fn own_key(&self) -> String {
        self.below(&format!("members/{}", self.member))
    }

    async fn connect(&self) -> Result<Client, Failed> {
        let service = self.service;
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
        };
        let (user, password) = (service.user.clone(), service.password.0.clone());
        let config = client::Config {
            endpoints: service.endpoints.clone(),
            dial_timeout: service.dial_timeout,
            keepalive_time: service.keepalive_time,
            keepalive_timeout: service.keepalive_timeout,
            tls: TlsOptions {
                cert: path(&service.cert_file),
                key: path(&service.key_file),
                cacert: path(&service.ca_file),
                insecure_transport: service.insecure_transport,
                skip_verify: service.insecure_skip_verify,
                ..TlsOptions::default()
            },
            credentials: match user.is_empty() {
                true => Credentials::None,
                false => Credentials::Password { user, password },
            },
            remarks: Remarks::nowhere(),
            ..client::Config::default()
        };
        Client::connect(config).await.map_err(|why| Failed::Refused(why.to_string()))
    }

    async fn join(&self) -> Result<String, Failed> {
        let client = self.connect().await?;
        self.look(&client).await?;
        self.register(&client).await?;
        let mut known = self.look(&client).await?;
        while known.founders.found.len() < known.size {
            self.wait(&client, &mut known).await?;
        }
        known.founders.initial_cluster(known.size)
    }

    fn in_time(&self, client: &Client) -> Client {
        client.until(Some(Instant::now() + self.service.request_timeout))
    }

    /// Reads how many there will be and who is there, however long the service takes to be reached.
    async fn look(&self, client: &Client) -> Result<Known, Failed> {
        let mut attempt = 0;
        let known = loop {
            match self.read(client).await {
                Ok(known) => break known?,
                Err(why) => self.wait_to_retry(&mut attempt, &why).await,
            }
        };
        match known.founders.is_full_for(&self.own_key(), known.size) {
            true => Err(Failed::Full),
            false => Ok(known),
        }
    }

    async fn wait_to_retry(&self, attempt: &mut u32, why: &Error) {
        let backoff = Duration::from_secs(1 << (*attempt).min(DOUBLINGS_MAX));
        *attempt = attempt.saturating_add(1);
        warn!(
            self.log,
            "retry connecting to discovery service",
            "discovery-token" => &self.service.token,
            "discovery-endpoints" => self.service.endpoints.join(","),
            "reason" => "cluster status check",
            "error" => why.to_string(),
            "backoff" => backoff
        );
        tokio::time::sleep(backoff).await;
    }

    /// The inner error is final.
    async fn read(&self, client: &Client) -> Result<Result<Known, Failed>, Error> {
        let key = self.below("_config/size").into_bytes().into();
        let range = pb::RangeRequest { key, ..Default::default() };
        let sizes = self.in_time(client).call(methods::RANGE, &range).await?;
        let Some(size) = sizes.kvs.first() else { return Ok(Err(Failed::NoSize)) };
        let Some(size) = size_of(&size.value) else { return Ok(Err(Failed::BadSize)) };
        let prefix = self.below("members");
        let range = pb::RangeRequest {
            key: prefix.clone().into(),
            range_end: prefix_end(prefix.as_bytes()).into(),
            ..Default::default()
        };
        let members = self.in_time(client).call(methods::RANGE, &range).await?;
        let mut founders = Founders::default();
        members.kvs.iter().for_each(|kv| self.note(&mut founders, kv));
        let revision = members.header.map_or(0, |header| header.revision);
        Ok(Ok(Known { founders, size, revision }))
    }

    fn note(&self, founders: &mut Founders, kv: &KeyValue) {
        let added = founders.add(&self.below("members"), kv);
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        let value = String::from_utf8_lossy(&kv.value).into_owned();
        match added {
            Ok(()) => self.say("found peer from discovery service", &key, &value),
            Err(why) => warn!(
                self.log,
                why,
                "discovery-token" => &self.service.token,
                "memberKey" => key,
                "memberInfo" => value
            ),
        }
    }

    fn say(&self, what: &str, key: &str, value: &str) {
        info!(
            self.log,
            what,
            "discovery-token" => &self.service.token,
            "discovery-endpoints" => self.service.endpoints.join(","),
            "memberKey" => key,
            "memberInfo" => value
        );
    }

    async fn register(&self, client: &Client) -> Result<(), Failed> {
        let (key, value) = (self.own_key(), self.info.clone());
        let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        let written = self.in_time(client).call(methods::PUT, &put).await;
        written.map_err(|why| Failed::Refused(why.to_string()))?;
        self.say("register member itself successfully", &self.own_key(), &self.info);
        Ok(())
    }

    /// Waits until so many are there.
    async fn wait(&self, client: &Client, known: &mut Known) -> Result<(), Failed> {
        let prefix = self.below("members");
        let mut watcher = client.watcher();
        watcher.watch(WatchOptions {
            key: prefix.clone().into(),
            range_end: prefix_end(prefix.as_bytes()).into(),
            start_revision: known.revision + 1,
            ..WatchOptions::default()
        });
        self.say_how_many("waiting for peers from discovery service", known);
        while known.founders.found.len() < known.size {
            let Some((_, notice)) = watcher.next().await else { break };
            if let Some(why) = notice.error() {
                return Err(Failed::Refused(why.to_string()));
            }
            for event in notice.events.iter().filter(|event| event.r#type() == EventType::Put) {
                if let Some(kv) = &event.kv {
                    self.note(&mut known.founders, kv);
                }
            }
            known.revision = known.revision.max(notice.header.revision);
        }
        self.say_how_many("found all needed peers from discovery service", known);
        Ok(())
    }

    fn say_how_many(&self, what: &str, known: &Known) {
        info!(
            self.log,
            what,
            "discovery-token" => &self.service.token,
            "discovery-endpoints" => self.service.endpoints.join(","),
            "clusterSize" => known.size,
            "found-peers" => known.founders.found.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/_etcd/registry/t/members";

    fn kv(key: &str, value: &str, create_revision: i64) -> KeyValue {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        KeyValue { key, value, create_revision, ..Default::default() }
    }

    fn three() -> Founders {
        let mut founders = Founders::default();
        for (id, name, at) in [(1, "a", 9), (2, "b", 7), (3, "c", 8)] {
            let (key, info) = (format!("{PREFIX}/{id}"), format!("{name}=http://{name}:1"));
            founders.add(PREFIX, &kv(&key, &info, at)).expect("a member");
        }
        founders
    }

    #[test]
    fn those_who_came_first_found_the_cluster() {
        let founders = three();
        let key = |id| format!("{PREFIX}/{id}");
        assert_eq!(founders.initial_cluster(2), Ok("b=http://b:1,c=http://c:1".to_owned()));
        assert!(founders.is_full_for(&key(1), 2) && !founders.is_full_for(&key(3), 2));
        assert!(founders.is_full_for(&key(4), 3) && !founders.is_full_for(&key(4), 4));
    }

    #[test]
    fn what_is_no_member_is_passed_over_and_nobody_comes_twice() {
        let mut founders = three();
        for (key, value, why) in [
            (PREFIX, "a=http://a:1", "invalid peer registry key"),
            ("/elsewhere", "a=http://a:1", "invalid peer registry key"),
            (
                "/_etcd/registry/t/members/9",
                "http://a:1",
                "invalid peer info returned from discovery service",
            ),
            (
                "/_etcd/registry/t/members/1",
                "a=http://a:1",
                "found duplicate peer from discovery service",
            ),
        ] {
            assert_eq!(founders.add(PREFIX, &kv(key, value, 20)), Err(why));
        }
        assert_eq!(founders.found.len(), 3);
    }

    /// GHSA-9gp7-6833-wv89: a negative size ended etcd's process.
    #[test]
    fn a_size_that_no_cluster_has_is_no_size() {
        for (text, size) in [("3", 3), ("+3", 3), ("003", 3), ("9223372036854775807", i64::MAX)] {
            assert_eq!(size_of(text.as_bytes()), usize::try_from(size).ok(), "{text}");
        }
        for text in
            ["-1", "0", "-0", "", " 3", "3 ", "0x3", "1_0", "3.0", "many", "9223372036854775808"]
        {
            assert_eq!(size_of(text.as_bytes()), None, "{text}");
        }
        assert_eq!(size_of(b"\xff"), None);
    }

    #[test]
    fn members_whose_urls_are_none_or_the_same_found_no_cluster() {
        let mut founders = three();
        let key = format!("{PREFIX}/4");
        founders.add(PREFIX, &kv(&key, "d=nonsense", 30)).expect("it looks like one");
        assert_eq!(founders.initial_cluster(4), Err(Failed::BadUrl));
        let mut founders = three();
        founders.add(PREFIX, &kv(&key, "d=http://a:1", 30)).expect("a member");
        assert!(matches!(founders.initial_cluster(4), Err(Failed::SameUrl(_))));
    }
}
