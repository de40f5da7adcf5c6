//! Proxies that tell of themselves: each keeps a key with its address under `--resolver-prefix` alive, and
//! `MemberList` answers with all that are there, so that clients find proxies and not members.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Error, WatchOptions, methods, prefix_end};
use logging::{Logger, info, warn};
use proto::{etcdserverpb as pb, mvccpb};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::namespace::Namespace;
use super::upstream::Upstream;
use crate::options::Advertised;

/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// Addresses that are known at once: more keys below the prefix than this are none of a proxy's.
const KNOWN_MAX: usize = 10_000;

/// What `MemberList` says.
#[derive(Clone, Debug)]
pub struct Members {
    advertised: Advertised,
    host: String,
    /// Names and addresses of registered proxies, by their keys.
    known: Arc<Mutex<BTreeMap<Bytes, (String, String)>>>,
    lease: Arc<Mutex<Option<i64>>>,
}

impl Members {
    /// Nothing is registered yet.
    pub fn new(advertised: Advertised) -> Members {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim_end().to_owned();
        Members { advertised, host, known: Arc::default(), lease: Arc::default() }
    }

    /// The registered proxies; this one where none is; `None` where nothing is advertised.
    pub fn list(&self) -> Option<pb::MemberListResponse> {
        if self.advertised.address.is_empty() {
            return None;
        }
        let member = |(name, address): &(String, String)| pb::Member {
            name: name.clone(),
            client_ur_ls: vec![address.clone()],
            ..Default::default()
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members: Vec<pb::Member> = known.values().map(member).collect();
        if members.is_empty() {
            members.push(member(&(self.host.clone(), self.advertised.address.clone())));
        }
        Some(pb::MemberListResponse { members, ..Default::default() })
    }

    /// Registers, and learns of others, for as long as the proxy runs.
    pub fn start(
        &self,
        core: &Handle,
        upstream: &Arc<Upstream>,
        namespace: &Namespace,
        log: &Logger,
    ) {
        if self.advertised.prefix.is_empty() {
            return;
        }
        let Advertised { prefix, address, .. } = &self.advertised;
        let mut own = Bytes::from(format!("{prefix}/{address}"));
        let mut all = Bytes::from(format!("{prefix}/"));
        namespace.enter_key(&mut own);
        namespace.enter_key(&mut all);
        let (members, upstream, log) = (self.clone(), upstream.clone(), log.clone());
        core.spawn(members.clone().keep_registered(own, upstream.clone(), log.clone()));
        core.spawn(members.keep_informed(all, upstream, log));
    }

    async fn keep_registered(self, key: Bytes, upstream: Arc<Upstream>, log: Logger) {
        loop {
            let client = upstream.clients().quick;
            match self.register(&key, &client).await {
                Err(error) => {
                    warn!(log, "failed to create a session", "error" => error.to_string())
                }
                Ok(lease) => {
                    *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
                    let (addr, ttl) = (self.advertised.address.as_str(), self.advertised.ttl);
                    info!(log, "registered session with lease", "addr" => addr, "lease-ttl" => ttl);
                    let mut keeper = client.keep_alive(lease);
                    while let Ok(Some(_)) = keeper.renewed().await {}
                    warn!(log, "session expired; possible network partition or server restart");
                    warn!(log, "creating a new session to rejoin");
                }
            }
            sleep(AGAIN).await;
        }
    }

    async fn register(&self, key: &Bytes, client: &Client) -> Result<i64, Error> {
        let grant = pb::LeaseGrantRequest { ttl: self.advertised.ttl, id: 0 };
        let lease = client.call(methods::LEASE_GRANT, &grant).await?.id;
        let about = json!({"name": self.host}).to_string();
        let value = json!({"Op": 0, "Addr": self.advertised.address, "Metadata": about});
        let put = pb::PutRequest {
            key: key.clone(),
            value: value.to_string().into(),
            lease,
            ..Default::default()
        };
        client.call(methods::PUT, &put).await?;
        Ok(lease)
    }

    async fn keep_informed(self, prefix: Bytes, upstream: Arc<Upstream>, log: Logger) {
        loop {
            if let Err(error) = self.follow(&prefix, &upstream.clients().paced).await {
                let error = error.to_string();
                warn!(log, "failed to establish endpoint watch", "prefix" => self.advertised.prefix, "error" => error);
            }
            sleep(AGAIN).await;
        }
    }

    /// Reads what is registered, and follows what becomes of it until the watch ends.
    async fn follow(&self, prefix: &Bytes, client: &Client) -> Result<(), Error> {
        let range_end = Bytes::from(prefix_end(prefix));
        let range = pb::RangeRequest {
            key: prefix.clone(),
            range_end: range_end.clone(),
            limit: KNOWN_MAX as i64,
            ..Default::default()
        };
        let found = client.call(methods::RANGE, &range).await?;
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = found.kvs.iter().filter_map(read).collect();
        }
        let revision = found.header.unwrap_or_default().revision;
        let mut watcher = client.watcher();
        let key = prefix.clone();
        watcher.watch(WatchOptions {
            key,
            range_end,
            start_revision: revision + 1,
            ..Default::default()
        });
        while let Some((_, notice)) = watcher.next().await {
            if let Some(error) = notice.error() {
                return Err(error);
            }
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for event in &notice.events {
                let Some(row) = &event.kv else { continue };
                match read(row).filter(|_| known.len() < KNOWN_MAX) {
                    Some((key, about)) if event.r#type == 0 => drop(known.insert(key, about)),
                    _ => drop(known.remove(&row.key)),
                }
            }
        }
        Ok(())
    }

    /// Takes the registration back, when the proxy ends.
    pub async fn leave(&self, upstream: &Upstream) {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(id) = lease {
            let revoke = pb::LeaseRevokeRequest { id };
            // Otherwise the lease ends by itself.
            let _ = upstream.clients().quick.call(methods::LEASE_REVOKE, &revoke).await;
        }
    }
}

/// The name and address that a registered proxy's row holds.
fn read(row: &mvccpb::KeyValue) -> Option<(Bytes, (String, String))> {
    let value: Value = serde_json::from_slice(&row.value).ok()?;
    let address = value.get("Addr")?.as_str()?.to_owned();
    let about = value.get("Metadata").and_then(Value::as_str).unwrap_or("{}");
    let about: Value = serde_json::from_str(about).ok()?;
    let name = about.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = Bytes::from(row.key.to_vec());
    Some((key, (name, address)))
}
