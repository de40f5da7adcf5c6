//! top: what the members of a cluster do, live.
//!
//! Every few seconds each member is asked for its status and its metrics; two looks make rates. A watch
//! of all keys tells which prefixes are written most. Everything used is there in Go's etcd too.
//!
//! Circle: the terminal shows a screen, and the screen what the command has gathered.

mod metrics;
mod screen;
mod terminal;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, WatchOptions, http_get, methods};
use proto::etcdserverpb as pb;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::lock::interrupted;
use crate::args::Call;
use crate::exit::{ERROR, Failure};
use crate::output::print;
use crate::settings::{Session, Settings};
use metrics::Metrics;
use screen::Screen;
use terminal::Terminal;

const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A member that does not answer in this time is shown as not answering.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// More prefixes than this are not counted.
const PREFIXES_MAX: usize = 10_000;
const PREFIXES_SHOWN: usize = 10;

/// `top`.
pub async fn top(mut call: Call) -> Result<(), Failure> {
    super::exactly(&call, 0, "top takes no arguments")?;
    let settings = Settings::of(&mut call)?;
    let interval = call.values.duration("interval").max(INTERVAL_MIN);
    let mut session = settings.connect().await?;
    let prefixes = call.values.truth("prefixes").then(|| Prefixes::watch(&session.patient));
    let mut before = look(&settings, &mut session).await?;
    let once = call.values.truth("once");
    let terminal = if once { None } else { Terminal::take() };
    let mut quit = terminal.as_ref().map(Terminal::quit_key);
    let mut ended = Box::pin(interrupted());
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            ended = &mut ended => return ended,
            () = pressed(&mut quit) => return Ok(()),
        }
        // Whoever is late is asked again and shown as late; the screen goes on.
        let now = look(&settings, &mut session).await?;
        let hottest = prefixes.as_ref().map(|prefixes| prefixes.take(now.at - before.at));
        let screen = Screen::of(&before, &now, hottest);
        match &terminal {
            Some(terminal) => terminal.show(&screen),
            None => print(screen.plain().as_bytes()),
        }
        if once {
            return Ok(());
        }
        before = now;
    }
}

/// Waits for the key that ends it; for ever without a terminal.
async fn pressed(quit: &mut Option<tokio::sync::mpsc::Receiver<()>>) {
    if let Some(quit) = quit
        && quit.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// All members at one time.
struct Look {
    at: Instant,
    members: Vec<MemberLook>,
}

/// One member at one time.
struct MemberLook {
    name: String,
    endpoint: String,
    id: u64,
    status: Result<pb::StatusResponse, String>,
    metrics: Metrics,
}

async fn look(settings: &Settings, session: &mut Session) -> Result<Look, Failure> {
    let at = Instant::now();
    session.client = session.patient.until(Some(settings.deadline()));
    let mut given = ask_all(settings, settings.config.endpoints.clone()).await?;
    let request = pb::MemberListRequest { linearizable: false };
    let members = match session.client.call(methods::MEMBER_LIST, &request).await {
        Ok(answer) => answer.members,
        Err(error) if given.iter().all(|look| look.status.is_err()) => {
            return Err(session.failure(ERROR, &error));
        }
        // Those that answer are shown all the same.
        Err(_) => Vec::new(),
    };
    let unseen = |member: &&pb::Member| given.iter().all(|look| look.id != member.id);
    let others = members.iter().filter(unseen);
    let others =
        others.filter_map(|member| Some((member.id, member.client_ur_ls.first()?.clone())));
    let (ids, urls): (Vec<u64>, Vec<String>) = others.unzip();
    let mut others = ask_all(settings, urls).await?;
    others.iter_mut().zip(ids).for_each(|(look, id)| look.id = id);
    given.append(&mut others);
    for look in &mut given {
        let known = members.iter().find(|member| member.id == look.id);
        look.name = known.map_or(String::new(), |member| member.name.clone());
    }
    // Two endpoints of one member are one row.
    let mut seen = std::collections::BTreeSet::new();
    given.retain(|look| look.id == 0 || seen.insert(look.id));
    Ok(Look { at, members: given })
}

async fn ask_all(settings: &Settings, endpoints: Vec<String>) -> Result<Vec<MemberLook>, Failure> {
    let mut asking = JoinSet::new();
    for (number, endpoint) in endpoints.into_iter().enumerate() {
        let settings = settings.at(&endpoint);
        asking.spawn(async move { (number, ask(settings, endpoint).await) });
    }
    let mut found = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        let (number, look) = asked.map_err(|error| Failure::new(ERROR, error.to_string()))?;
        found.insert(number, look);
    }
    Ok(found.into_values().collect())
}

async fn ask(mut settings: Settings, endpoint: String) -> MemberLook {
    settings.config.remarks = client::Remarks::nowhere();
    let status = async {
        let client = Client::connect(settings.config.clone()).await?;
        client.call(methods::STATUS, &pb::StatusRequest {}).await
    };
    let metrics = http_get(&endpoint, &settings.config.tls, "/metrics");
    let (status, metrics) =
        tokio::join!(timeout(LOOK_TIMEOUT, status), timeout(LOOK_TIMEOUT, metrics));
    let status = match status {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    };
    let id = status.as_ref().ok().and_then(|status| status.header).map_or(0, |h| h.member_id);
    let metrics = metrics.ok().and_then(Result::ok).unwrap_or_default();
    MemberLook { name: String::new(), endpoint, id, status, metrics: Metrics::parse(&metrics) }
}

/// Counts the writes under each prefix.
struct Prefixes {
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
    counting: JoinHandle<()>,
}

impl Drop for Prefixes {
    fn drop(&mut self) {
        self.counting.abort();
    }
}

impl Prefixes {
    fn watch(client: &Client) -> Prefixes {
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let all = Bytes::from_static(&[0]);
        let mut watcher = client.watcher();
        let (key, range_end) = (all.clone(), all);
        watcher.watch(WatchOptions { key, range_end, ..WatchOptions::default() });
        let shared = counts.clone();
        let counting = tokio::spawn(async move {
            // Who may not watch all keys sees no prefixes.
            while let Some((_, notice)) = watcher.next().await {
                let mut counts: std::sync::MutexGuard<'_, BTreeMap<String, u64>> =
                    shared.lock().unwrap_or_else(PoisonError::into_inner);
                for key in notice.events.iter().filter_map(|event| event.kv.as_ref()) {
                    let prefix = prefix_of(&key.key);
                    if counts.len() < PREFIXES_MAX || counts.contains_key(&prefix) {
                        *counts.entry(prefix).or_default() += 1;
                    }
                }
            }
        });
        Prefixes { counts, counting }
    }

    /// The hottest since it was last asked, with their writes per second.
    fn take(&self, elapsed: Duration) -> Vec<(String, f64)> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = std::mem::take(&mut *counts);
        let rate = |count: u64| count as f64 / elapsed.as_secs_f64().max(0.001);
        let mut hottest: Vec<_> =
            counts.into_iter().map(|(prefix, count)| (prefix, rate(count))).collect();
        hottest.sort_by(|one, other| other.1.total_cmp(&one.1));
        hottest.truncate(PREFIXES_SHOWN);
        hottest
    }
}

/// What a key is counted under: its first two folders, or what stands before its last part.
fn prefix_of(key: &[u8]) -> String {
    const SLASHES: usize = 3;
    const BYTES_MAX: usize = 40;
    let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    let end = slashes.take(SLASHES).last().unwrap_or(0).min(BYTES_MAX);
    match end {
        0 => "(no prefix)".to_owned(),
        end => key[..end].escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_of;

    #[test]
    fn a_key_counts_under_its_first_two_folders() {
        assert_eq!(prefix_of(b"/registry/pods/default/a"), "/registry/pods/");
        assert_eq!(prefix_of(b"service/a"), "service/");
        assert_eq!(prefix_of(b"\x01/a"), "\\x01/");
        assert_eq!(prefix_of(b"plain"), "(no prefix)");
    }
}
