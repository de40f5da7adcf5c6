//! What top shows: one line about the cluster, one per member, one per hot prefix.

use std::fmt::Write;

use super::{Look, MemberLook};
use go::size;

/// How a line looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Bold,
    Alarm,
}

/// Lines.
#[derive(Debug)]
pub struct Screen {
    pub lines: Vec<(Tone, String)>,
}

/// A member, cell by cell.
#[derive(Debug)]
pub struct Row {
    tone: Tone,
    cells: Vec<String>,
}

const HEADERS: [&str; 14] = [
    "MEMBER",
    "ENDPOINT",
    "VERSION",
    "ROLE",
    "PUT/S",
    "GET/S",
    "WRITE P99",
    "READ P99",
    "FSYNC P99",
    "DB SIZE",
    "IN USE",
    "WATCHERS",
    "INDEX",
    "BEHIND",
];
/// The cells before this column are words, those from it on are numbers.
const NUMBERS_FROM: usize = 4;

impl Screen {
    /// What two looks and the counted prefixes show.
    pub fn of(before: &Look, now: &Look, hottest: Option<Vec<(String, f64)>>) -> Screen {
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        let highest = now.members.iter().filter_map(|member| member.status.as_ref().ok());
        let highest = highest.map(|status| status.raft_index).max().unwrap_or(0);
        let rows: Vec<Row> = now
            .members
            .iter()
            .map(|member| {
                let same = |old: &&MemberLook| old.endpoint == member.endpoint;
                row(before.members.iter().find(same), member, seconds, highest)
            })
            .collect();
        let mut lines = vec![(Tone::Bold, summary(now)), (Tone::Plain, String::new())];
        lines.extend(aligned(&rows));
        for member in &now.members {
            let errors = member.status.as_ref().map(|status| status.errors.join(", "));
            let text = errors.unwrap_or_else(|why| why.clone());
            if !text.is_empty() {
                lines.push((Tone::Alarm, format!("{}: {text}", member.endpoint)));
            }
        }
        if let Some(hottest) = hottest.filter(|hottest| !hottest.is_empty()) {
            lines.push((Tone::Plain, String::new()));
            lines.push((Tone::Bold, "WRITES/S  PREFIX".to_owned()));
            let each = hottest.iter().map(|(prefix, rate)| format!("{rate:>8.1}  {prefix}"));
            lines.extend(each.map(|line| (Tone::Plain, line)));
        }
        Screen { lines }
    }

    /// For who reads it without a terminal.
    pub fn plain(&self) -> String {
        let lines = self.lines.iter().map(|(_, line)| format!("{}\n", line.trim_end()));
        lines.collect::<String>() + "\n"
    }
}

/// The cluster in one line.
fn summary(now: &Look) -> String {
    let answering: Vec<_> = now.members.iter().filter_map(|m| m.status.as_ref().ok()).collect();
    let header = answering.iter().filter_map(|status| status.header);
    let newest = header.max_by_key(|header| header.revision).unwrap_or_default();
    let leader = answering.iter().map(|status| status.leader).find(|leader| *leader != 0);
    let leader = match leader {
        None => "none".to_owned(),
        Some(id) => {
            let member = now.members.iter().find(|member| member.id == id);
            member.map_or(format!("{id:x}"), |member| member.name.clone())
        }
    };
    let term = answering.iter().map(|status| status.raft_term).max().unwrap_or(0);
    format!(
        "cluster {:x}   {} of {} members answer   leader {leader}   revision {}   term {term}",
        newest.cluster_id,
        answering.len(),
        now.members.len(),
        newest.revision
    )
}

fn row(before: Option<&MemberLook>, now: &MemberLook, seconds: f64, highest: u64) -> Row {
    let mut cells = vec![now.name.clone(), now.endpoint.clone()];
    let Ok(status) = &now.status else {
        cells.extend(["-".to_owned(), "no answer".to_owned()]);
        cells.resize(HEADERS.len(), "-".to_owned());
        return Row { tone: Tone::Alarm, cells };
    };
    let role = match (status.leader == now.id, status.is_learner) {
        (true, _) => "leader",
        (_, true) => "learner",
        _ => "follower",
    };
    cells.extend([status.version.clone(), role.to_owned()]);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let metrics = &now.metrics;
    let rate = |names: [&str; 2]| {
        let grown = names.iter().find_map(|name| metrics.growth(&before?.metrics, name));
        or_dash(grown.map(|grown| format!("{:.0}", grown / seconds)))
    };
    let p99 = |name: &str| {
        let seconds = before.and_then(|before| metrics.p99(&before.metrics, name));
        or_dash(seconds.map(|seconds| format!("{:.1} ms", seconds * 1e3)))
    };
    let bytes = |bytes: i64| size(u64::try_from(bytes).unwrap_or(0));
    cells.extend([
        rate(["etcd_mvcc_put_total", "etcd_debugging_mvcc_put_total"]),
        rate(["etcd_mvcc_range_total", "etcd_debugging_mvcc_range_total"]),
        p99("etcd_server_request_duration_seconds"),
        p99("etcd_server_range_duration_seconds"),
        p99("etcd_disk_wal_fsync_duration_seconds"),
        bytes(status.db_size),
        bytes(status.db_size_in_use),
        or_dash(metrics.value("etcd_debugging_mvcc_watcher_total").map(|n| format!("{n:.0}"))),
        status.raft_index.to_string(),
        highest.saturating_sub(status.raft_applied_index).to_string(),
    ]);
    let tone = if status.leader == now.id { Tone::Bold } else { Tone::Plain };
    let alarmed = !status.errors.is_empty() || status.leader == 0;
    Row { tone: if alarmed { Tone::Alarm } else { tone }, cells }
}

/// Words to the left, numbers to the right.
fn aligned(rows: &[Row]) -> Vec<(Tone, String)> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.cells[column].chars().count());
        cells.chain([HEADERS[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADERS.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut out = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = match column < NUMBERS_FROM {
                true => write!(out, "{gap}{cell:<width$}"),
                false => write!(out, "{gap}{cell:>width$}"),
            };
        }
        out
    };
    let headers = HEADERS.map(str::to_owned);
    let head = (Tone::Bold, line(&headers));
    [head].into_iter().chain(rows.iter().map(|row| (row.tone, line(&row.cells)))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proto::etcdserverpb as pb;

    use super::super::metrics::Metrics;
    use super::*;

    fn member(name: &str, id: u64, puts: u64) -> MemberLook {
        let header = pb::ResponseHeader { cluster_id: 0xabc, revision: 9, ..Default::default() };
        let status = pb::StatusResponse {
            header: Some(header),
            version: "3.7.3".to_owned(),
            leader: 1,
            raft_index: 50,
            raft_applied_index: 49,
            raft_term: 2,
            db_size: 20480,
            ..Default::default()
        };
        MemberLook {
            name: name.to_owned(),
            endpoint: format!("host{id}:2379"),
            id,
            status: Ok(status),
            metrics: Metrics::parse(&format!("etcd_mvcc_put_total {puts}\n")),
        }
    }

    #[test]
    fn two_looks_make_rates_and_a_silent_member_is_shown_as_such() {
        let at = Instant::now();
        let before = Look { at, members: vec![member("m1", 1, 10), member("m2", 2, 10)] };
        let silent = MemberLook { status: Err("no answer".to_owned()), ..member("m2", 2, 0) };
        let later = at + Duration::from_secs(2);
        let now = Look { at: later, members: vec![member("m1", 1, 310), silent] };
        let screen = Screen::of(&before, &now, Some(vec![("/a/".to_owned(), 150.0)]));
        assert_eq!(
            screen.plain(),
            "\
cluster abc   1 of 2 members answer   leader m1   revision 9   term 2

MEMBER  ENDPOINT    VERSION  ROLE       PUT/S  GET/S  WRITE P99  READ P99  FSYNC P99  DB SIZE  IN USE  WATCHERS  INDEX  BEHIND
m1      host1:2379  3.7.3    leader       150      -          -         -          -    20 kB     0 B         -     50       1
m2      host2:2379  -        no answer      -      -          -         -          -        -       -         -      -       -
host2:2379: no answer

WRITES/S  PREFIX
   150.0  /a/

"
        );
    }
}
