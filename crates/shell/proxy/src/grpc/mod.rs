//! `etcd grpc-proxy`: many clients, few connections and watches at the servers.
//!
//! A call is passed on with its caller's own metadata; the proxy has no user of its own and judges nothing.
//! What it shares between clients (answers in the cache, watches, keep-alives) it shares only between those
//! who name no user, and only where the server itself let each of them begin.
//!
//! Threads: `rpc-N` serve clients; `proxy-upstream` drives the connections to the servers and everything that
//! is shared.

mod cache;
mod encryption;
mod keep_alive;
mod members;
mod namespace;
mod observer;
mod service;
mod site;
mod streams;
mod upstream;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::thread;
use std::time::Duration;

use client::{Config, methods};
use go::quote;
use logging::{List, Logger, info, warn};
use metrics::ProxyMetrics;
use net::{Connections, Descriptors, Listener, Protocols, Running, Socket, Tls};
use proto::etcdserverpb as pb;
use rpc::{Limits, Server};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep};

use crate::gateway::place;
use crate::options::GrpcProxyOptions;
use cache::Cache;
use keep_alive::KeepAlives;
use members::Members;
use namespace::Namespace;
use observer::Watching;
use service::Proxy;
use site::Site;
use upstream::{OWN_DURATION_MAX, Upstream};
use watch::Hub;

/// Connections of clients at once, if the system has descriptors for so many.
const CONNECTIONS_MAX: usize = 100_000;

/// How long calls that are under way may take when the proxy ends.
const GRACE: Duration = Duration::from_secs(5);

/// What grpc-go takes of a client's message where nothing else is said.
const RECEIVE_BYTES_MAX: usize = 4 << 20;

/// A proxy that serves.
#[derive(Debug)]
pub struct GrpcProxy {
    core: Handle,
    upstream: Arc<Upstream>,
    members: Members,
    ports: Vec<Running>,
}

impl GrpcProxy {
    /// Listens, and serves from then on.
    ///
    /// # Errors
    /// What etcd would print, without the line's end.
    pub fn start(options: &GrpcProxyOptions, log: &Logger) -> Result<GrpcProxy, String> {
        let listeners = Listeners::open(options, log)?;
        let endpoints = endpoints(options, log)?;
        encryption::check_nameless(&options.config.tls)?;
        say_client_tls(options, log);
        let config = Config { endpoints, ..options.config.clone() };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| go::io_text(&error))?;
        let made = runtime.block_on(Upstream::new(config)).map_err(|error| error.to_string())?;
        let upstream = Arc::new(made);
        let core = runtime.handle().clone();
        let driving = move || runtime.block_on(std::future::pending::<()>());
        let thread = thread::Builder::new().name("proxy-upstream".to_owned()).spawn(driving);
        thread.map_err(|error| go::io_text(&error))?;

        let metrics = Arc::new(ProxyMetrics::default());
        let namespace = Namespace::new(&options.namespace);
        let members = Members::new(options.advertised.clone());
        members.start(&core, &upstream, &namespace, log);
        let hub = Hub::new(core.clone(), upstream.clone(), namespace.clone(), metrics.clone());
        let proxy = Arc::new(Proxy {
            upstream: upstream.clone(),
            namespace,
            cache: Cache::default(),
            newest: options.ordering.then(|| recovered(&core, &upstream, log)),
            hub: Arc::new(hub),
            keep_alives: Arc::new(KeepAlives::new(&core, &upstream, &metrics)),
            members: members.clone(),
            metrics: metrics.clone(),
        });
        if let Some(interval) = options.auto_sync {
            core.spawn(follow_members(upstream.clone(), interval, log.clone()));
        }
        let ports = listeners.serve(options, &proxy, log).map_err(|error| go::io_text(&error))?;
        info!(log, "started gRPC proxy", "address" => options.listen.as_str());
        Ok(GrpcProxy { core, upstream, members, ports })
    }

    /// Lets calls end, and takes the registration back. Blocks.
    pub fn stop(self) {
        for port in self.ports {
            // A thread that ended badly has said so.
            let _ = port.stop(GRACE);
        }
        let leaving = async {
            let _ =
                tokio::time::timeout(OWN_DURATION_MAX, self.members.leave(&self.upstream)).await;
        };
        self.core.block_on(leaving);
    }
}

/// Where the proxy leads to.
fn endpoints(options: &GrpcProxyOptions, log: &Logger) -> Result<Vec<String>, String> {
    let found = options.discovery.ask(log)?;
    if found.is_empty() {
        return match options.config.endpoints.is_empty() {
            true => Err("etcdclient: no available endpoints".to_owned()),
            false => Ok(options.config.endpoints.clone()),
        };
    }
    let is_taken = |one: &&crate::discovery::Found| one.encrypted || options.discovery.insecure;
    let urls: Vec<String> = found.iter().filter(is_taken).map(|found| found.url()).collect();
    match urls.is_empty() {
        true => Err("no endpoints found: all discovered endpoints are insecure".to_owned()),
        false => Ok(urls),
    }
}

fn say_client_tls(options: &GrpcProxyOptions, log: &Logger) {
    let tls = &options.config.tls;
    if tls.skip_verify {
        let text = "--insecure-skip-tls-verify was given, this grpc proxy process skips \
                    authentication of etcd server TLS certificates. This option should be enabled only \
                    for testing purposes.";
        warn!(log, text);
    }
    if tls.skip_verify || [&tls.cacert, &tls.cert, &tls.key].iter().any(|file| !file.is_empty()) {
        let text = format!(
            "cert = {}, key = {}, client-cert=, client-key=, trusted-ca = {}, client-cert-auth = \
             false, crl-file = ",
            tls.cert, tls.key, tls.cacert
        );
        info!(log, "gRPC proxy client TLS", "tls-info" => text);
    }
}

/// The revision that answers must not fall behind: a linearizable read says it. Waits for one.
fn recovered(core: &Handle, upstream: &Arc<Upstream>, log: &Logger) -> AtomicI64 {
    info!(log, "waiting for linearized read from cluster to recover ordering");
    let client = upstream.clients().quick;
    let range = pb::RangeRequest { key: "_".into(), keys_only: true, ..Default::default() };
    loop {
        let (client, range) = (client.clone(), range.clone());
        let asking = async move {
            let until = Some(Instant::now() + OWN_DURATION_MAX);
            client.until(until).call(methods::RANGE, &range).await
        };
        match core.block_on(asking) {
            Ok(answer) => return AtomicI64::new(answer.header.unwrap_or_default().revision),
            Err(error) => {
                let error = error.to_string();
                warn!(log, "ordering recovery failed, retrying in 1s", "error" => error);
                thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

/// `--endpoints-auto-sync-interval`: leads to the members that the cluster has.
async fn follow_members(upstream: Arc<Upstream>, interval: Duration, log: Logger) {
    loop {
        sleep(interval).await;
        let client = upstream.clients().quick.until(Some(Instant::now() + OWN_DURATION_MAX));
        let listed = client.call(methods::MEMBER_LIST, &pb::MemberListRequest::default()).await;
        let endpoints: Vec<String> = match listed {
            Ok(answer) => answer.members.into_iter().flat_map(|one| one.client_ur_ls).collect(),
            Err(error) => {
                warn!(log, "endpoints could not be synced", "error" => error.to_string());
                continue;
            }
        };
        if endpoints.is_empty() || *upstream.endpoints() == endpoints {
            continue;
        }
        match upstream.lead_to(endpoints.clone()).await {
            Ok(()) => info!(log, "endpoints were synced", "endpoints" => List(endpoints.iter())),
            Err(error) => {
                warn!(log, "endpoints could not be synced", "error" => error.to_string());
            }
        }
    }
}

/// The sockets, open.
struct Listeners {
    clients: Listener,
    metrics: Option<Listener>,
}

impl Listeners {
    fn open(options: &GrpcProxyOptions, log: &Logger) -> Result<Listeners, String> {
        let at = &options.listen;
        go::address::split(at).map_err(|why| format!("listen tcp: address {why}"))?;
        let bind = |at: &str| {
            let addresses = place::listen_addresses(at).map_err(|why| why.trim_end().to_owned())?;
            place::bind(at, &addresses).map(Socket::Tcp)
        };
        let socket = bind(at)?;
        let tls = encryption::acceptor(&options.tls, at, &options.data_dir, log)?;
        let clients = encrypted(Listener::new(socket, Protocols::Both), tls.as_ref());
        info!(log, "listening for gRPC proxy client requests", "address" => at.as_str());
        if options.metrics_addr.is_empty() {
            return Ok(Listeners { clients, metrics: None });
        }
        let invalid = || format!("cannot parse {}", quote(&options.metrics_addr));
        let (scheme, place) = options.metrics_addr.split_once("://").ok_or_else(invalid)?;
        let tls = match (scheme, &tls) {
            ("http", _) => None,
            ("https", Some(tls)) => Some(tls),
            ("https", None) => {
                return Err(format!(
                    "cannot listen on TLS for {place}: KeyFile and CertFile are not presented"
                ));
            }
            _ => return Err(invalid()),
        };
        let metrics = encrypted(Listener::new(bind(place)?, Protocols::Http), tls);
        let address = options.metrics_addr.as_str();
        info!(log, "gRPC proxy listening for metrics", "address" => address);
        Ok(Listeners { clients, metrics: Some(metrics) })
    }

    fn serve(
        self,
        options: &GrpcProxyOptions,
        proxy: &Arc<Proxy>,
        log: &Logger,
    ) -> std::io::Result<Vec<Running>> {
        let site =
            Arc::new(Site { upstream: proxy.upstream.clone(), metrics: proxy.metrics.clone() });
        let connections = Connections::new(Descriptors::raise().for_connections(CONNECTIONS_MAX));
        let watching = Arc::new(Watching {
            metrics: proxy.metrics.clone(),
            log: log.clone(),
            logs_calls: options.logs_calls,
        });
        let router = Arc::new(service::router(proxy));
        let server = Server::new(router, limits(options), watching.clone());
        let server = server.http(site.clone()).connections(connections.clone());
        let mut ports = vec![server.serve(vec![self.clients])?];
        if let Some(metrics) = self.metrics {
            let server = net::Server::new(net::Limits::default()).named("metrics").workers(1);
            let server = server.http(site).observer(watching).connections(connections);
            info!(log, "gRPC proxy server metrics URL serving");
            ports.push(server.serve(vec![metrics])?);
        }
        Ok(ports)
    }
}

fn encrypted(listener: Listener, tls: Option<&Arc<dyn Tls>>) -> Listener {
    match tls {
        Some(tls) => listener.tls(tls.clone()),
        None => listener,
    }
}

fn limits(options: &GrpcProxyOptions) -> Limits {
    Limits {
        message_bytes_max: RECEIVE_BYTES_MAX.max(options.config.request_bytes_max),
        concurrent_streams_max: options.concurrent_streams_max,
        keepalive_min_time: options.keepalive_min_time,
        keepalive_interval: options.keepalive_interval,
        keepalive_timeout: options.keepalive_timeout,
        ..Limits::default()
    }
}
