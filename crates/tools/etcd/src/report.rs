//! What the member has to tell, as log lines. Lines that tools wait for are worded as etcd's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use consensus::{Role, Standing};
use logging::{Caller, Field, Logger, error, fatal, info, warn};
use node::{Event, Line, Report, SlowCall};
use options::Config;
use types::{MemberId, Version};

use crate::holder;
use crate::signals::Ender;

/// Turns events into lines.
pub struct LogReport {
    ender: Ender,
    is_removed: AtomicBool,
    log: Logger,
    raft: Logger,
    name: String,
    client_urls: Vec<String>,
    publish_timeout: Duration,
    data_dir: std::path::PathBuf,
    warn_apply: Option<Duration>,
    /// Member and cluster, once known.
    ids: OnceLock<(MemberId, u64)>,
    /// The cluster has just begun and has no version yet.
    is_new: AtomicBool,
    /// Term and leader of the last line about an election.
    last_term: AtomicU64,
    last_leader: AtomicU64,
}

impl LogReport {
    /// Reports to the log.
    pub fn new(log: &Logger, config: &Config, ender: Ender) -> LogReport {
        LogReport {
            ender,
            is_removed: AtomicBool::new(false),
            log: log.clone(),
            raft: log.named("raft"),
            name: config.name.clone(),
            client_urls: config.advertise_client_urls.iter().map(ToString::to_string).collect(),
            publish_timeout: config.limits.request_timeout,
            data_dir: config.data_dir.clone(),
            warn_apply: config.timers.warn_apply,
            ids: OnceLock::new(),
            is_new: AtomicBool::new(false),
            last_term: AtomicU64::new(0),
            last_leader: AtomicU64::new(0),
        }
    }

    fn member(&self) -> String {
        self.ids.get().map(|(member, _)| format!("{member:x}")).unwrap_or_default()
    }

    fn cluster(&self) -> String {
        self.ids.get().map(|(_, cluster)| format!("{cluster:x}")).unwrap_or_default()
    }

    fn standing(&self, now: Standing) {
        let term = self.last_term.swap(now.term, Relaxed);
        let leader = self.last_leader.swap(now.leader, Relaxed);
        if (term, leader) == (now.term, now.leader) {
            return;
        }
        let (member, term) = (self.member(), now.term);
        if now.role == Role::Leader {
            info!(self.raft, format!("{member} became leader at term {term}"));
        }
        let what = match (leader, now.leader) {
            (0, 0) => return,
            (lost, 0) => format!("lost leader {lost:x}"),
            (0, elected) => format!("elected leader {elected:x}"),
            (before, elected) => format!("changed leader from {before:x} to {elected:x}"),
        };
        info!(self.raft, format!("raft.node: {member} {what} at term {term}"));
    }

    /// `3.7.0` is shown as `3.7`; the first one ever has a line of its own.
    fn cluster_version(&self, version: Version) {
        let short = version.short();
        if self.is_new.swap(false, Relaxed) {
            info!(
                self.log,
                "set initial cluster version",
                "cluster-id" => self.cluster(),
                "local-member-id" => self.member(),
                "cluster-version" => short
            );
        }
        info!(self.log, "cluster version is updated", "cluster-version" => short);
    }

    fn fatal(&self, what: &str, error: &str) -> ! {
        fatal!(
            self.log,
            "the member cannot go on",
            "tried" => what,
            "error" => error,
            "data-dir" => &self.data_dir,
            "advice" => advice(error)
        );
        std::process::exit(1)
    }

    fn published(&self) {
        let attributes =
            format!("{{Name:{} ClientURLs:[{}]}}", self.name, self.client_urls.join(" "));
        info!(
            self.log,
            "published local member to cluster through raft",
            "local-member-id" => self.member(),
            "local-member-attributes" => attributes,
            "cluster-id" => self.cluster(),
            "publish-timeout" => self.publish_timeout
        );
    }
}

impl Report for LogReport {
    fn report(&self, event: Event) {
        let log = &self.log;
        match event {
            Event::Bootstrapped { member, cluster } => {
                // The first of the two events that name the ids is the only one.
                let _ = self.ids.set((member, cluster));
                self.is_new.store(true, Relaxed);
                info!(
                    log,
                    "starting local member",
                    "local-member-id" => self.member(),
                    "cluster-id" => self.cluster()
                );
            }
            Event::Recovered { member, cluster, log_index, applied_index, revision } => {
                let _ = self.ids.set((member, cluster));
                info!(
                    log,
                    "restarting local member",
                    "cluster-id" => self.cluster(),
                    "local-member-id" => self.member(),
                    "last-log-index" => log_index,
                    "applied-index" => applied_index,
                    "current-rev" => revision
                );
            }
            Event::Repaired { file, offset } => {
                warn!(log, "cut off a torn end that was never confirmed", "path" => file, "size" => offset);
            }
            Event::Ignored { what } => {
                warn!(log, "ignored damage that loses nothing", "found" => what)
            }
            Event::Locked { file } => info!(
                log,
                "db file is flocked by another process, or taking too long",
                "path" => &file,
                "held-by-pid" => holder::of(&file).unwrap_or_else(|| "unknown".to_owned())
            ),
            Event::Standing(standing) => self.standing(standing),
            Event::Published => self.published(),
            Event::ClusterVersion(version) => self.cluster_version(version),
            Event::Alarms(count) => warn!(log, "alarms have changed", "raised" => count),
            Event::Marked { index } => info!(log, "saved snapshot", "snapshot-index" => index),
            Event::Installed { index } => info!(log, "applied snapshot", "snapshot-index" => index),
            Event::Removed => {
                // Every peer says so, and so does the log.
                if !self.is_removed.swap(true, Relaxed) {
                    warn!(log, "the member has been permanently removed from the cluster");
                    self.ender.removed();
                }
            }
            Event::Compacted { revision } => info!(
                log,
                "finished scheduled compaction",
                "compact-revision" => revision
            ),
            Event::Damaged { what } => error!(
                log,
                "a part of the store cannot be read; everything else is served",
                "damage" => what,
                "advice" => "restore the member from a snapshot; see docs/decisions/0021-damage-is-a-state.md"
            ),
            Event::UpkeepFailed { what, error } => {
                error!(log, "housekeeping failed and will be tried again", "tried" => what, "error" => error);
            }
            Event::Fatal { what, error } => self.fatal(what, &error),
        }
    }

    fn took(&self, prefix: &'static str, took: Duration, what: &dyn Fn() -> String) -> bool {
        let Some(expected) = self.warn_apply.filter(|expected| took > *expected) else {
            return false;
        };
        warn!(
            self.log,
            "apply request took too long",
            "took" => took,
            "expected-duration" => expected,
            "prefix" => prefix,
            "request" => what(),
            "response" => ""
        );
        true
    }

    fn has_space_again(&self, file_bytes: u64, quota_bytes: u64) {
        info!(
            self.log,
            "disarmed the member's own alarm: there is space again",
            "alarm" => "NOSPACE",
            "current-db-size-bytes" => file_bytes,
            "quota-backend-bytes" => quota_bytes
        );
    }

    fn line(&self, line: &Line) {
        let level = match line.level {
            node::Level::Debug => logging::Level::Debug,
            node::Level::Info => logging::Level::Info,
            node::Level::Warn => logging::Level::Warn,
            node::Level::Error => logging::Level::Error,
        };
        let caller = Caller { file: file!(), line: line!() };
        let fields: Vec<(&str, &dyn Field)> =
            line.fields.iter().map(|(name, value)| (*name, value as &dyn Field)).collect();
        self.log.write(level, caller, line.text, &fields);
    }

    fn wants_debug(&self) -> bool {
        self.log.is_on(logging::Level::Debug)
    }

    fn slow_call(&self, call: &SlowCall) {
        let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        warn!(
            self.log,
            "request stats",
            "start time" => SystemTime::now() - call.took,
            "time spent" => call.took,
            "remote" => &call.remote,
            "response type" => call.method,
            "request size" => bytes(call.request_bytes),
            "response size" => bytes(call.response_bytes),
            "request content" => &call.request
        );
    }
}

/// What an operator can do about what ended the member.
fn advice(error: &str) -> &'static str {
    // The system's own words; the error has long become text.
    let is_full =
        ["No space left on device", "Disk quota exceeded"].iter().any(|it| error.contains(it));
    if is_full {
        "make room on the file system of this file and start the member again: nothing that was \
         acknowledged is lost"
    } else {
        "start the member again: nothing that was acknowledged is lost; if it ends again, look at the \
         disk, and restore the latest snapshot"
    }
}
