//! What the operating system says of this process: processor time, memory, files, network.
//!
//! Read from `/proc` when the page is asked for. What cannot be read is left out, as Prometheus
//! libraries do, rather than shown as 0.

use std::fs;

use crate::family::About;

/// Ticks a second in `/proc`; fixed by the kernel's interface on every platform we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The families and their values now.
pub(crate) fn samples() -> Vec<(About, Option<f64>)> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let stat = Stat::parse(&stat);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let network = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    let files_max = limit(&limits, "Max open files");
    let value = |name: &str| match name {
        "os_fd_limit" | "process_max_fds" => files_max,
        "os_fd_used" | "process_open_fds" => open,
        "process_cpu_seconds_total" => stat.as_ref().map(|stat| stat.cpu_seconds),
        "process_network_receive_bytes_total" => octets(&network, "InOctets"),
        "process_network_transmit_bytes_total" => octets(&network, "OutOctets"),
        "process_resident_memory_bytes" => resident_bytes(&status),
        "process_start_time_seconds" => {
            boot_seconds().zip(stat.as_ref()).map(|(boot, stat)| boot + stat.started_seconds)
        }
        "process_virtual_memory_bytes" => stat.as_ref().map(|stat| stat.virtual_bytes),
        "process_virtual_memory_max_bytes" => limit(&limits, "Max address space"),
        other => unreachable!("{other} is in the table and not here"),
    };
    FAMILIES.iter().map(|about| (*about, value(about.name))).collect()
}

const fn about(name: &'static str, kind: &'static str, help: &'static str) -> About {
    About { name, kind, labels: &[], help }
}

/// The families this file knows.
pub(crate) const FAMILIES: &[About] = &[
    about("os_fd_limit", "gauge", "Files this process may have open."),
    about("os_fd_used", "gauge", "Files this process has open."),
    about("process_cpu_seconds_total", "counter", "Processor time used, user and system."),
    about("process_max_fds", "gauge", "Files this process may have open."),
    about(
        "process_network_receive_bytes_total",
        "counter",
        "Bytes received on this process's network, by whomever.",
    ),
    about(
        "process_network_transmit_bytes_total",
        "counter",
        "Bytes sent on this process's network, by whomever.",
    ),
    about("process_open_fds", "gauge", "Files this process has open."),
    about("process_resident_memory_bytes", "gauge", "Memory in use, in bytes."),
    about("process_start_time_seconds", "gauge", "Unix time at which this process began."),
    about("process_virtual_memory_bytes", "gauge", "Address space in use, in bytes."),
    about("process_virtual_memory_max_bytes", "gauge", "Address space allowed, in bytes."),
];

/// What `/proc/self/stat` holds that we show.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// Seconds from the machine's start to ours.
    started_seconds: f64,
    virtual_bytes: f64,
}

impl Stat {
    fn parse(line: &str) -> Option<Stat> {
        // The command name in parentheses may hold blanks and parentheses itself.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        // Field 3 of proc(5) is the first after the name.
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        Some(Stat {
            cpu_seconds: (number(14)? + number(15)?) / TICKS_PER_SECOND,
            started_seconds: number(22)? / TICKS_PER_SECOND,
            virtual_bytes: number(23)?,
        })
    }
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// The soft limit of the given name.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// A field of the `IpExt` table, which has a line of names above its line of numbers.
fn octets(netstat: &str, field: &str) -> Option<f64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == field)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let mut fields = vec!["S"; 1];
        fields.extend(["0"; 10]);
        fields.extend(["250", "50", "0", "0", "0", "0", "0", "0", "700", "4096", "9"]);
        let line = format!("12 (a) (b c)) {}", fields.join(" "));
        let expected = Stat { cpu_seconds: 3.0, started_seconds: 7.0, virtual_bytes: 4096.0 };
        assert_eq!(Stat::parse(&line), Some(expected));
    }

    #[test]
    fn limits_and_octets_are_found_by_name() {
        let limits = "Limit  Soft Limit\nMax open files            20000    20000   files\n\
                      Max address space         unlimited  unlimited  bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(20000.0));
        assert_eq!(limit(limits, "Max address space"), Some(u64::MAX as f64));
        let netstat = "TcpExt: A\nTcpExt: 1\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 5 6\n";
        assert_eq!(octets(netstat, "OutOctets"), Some(6.0));
    }

    #[test]
    fn this_process_has_all_of_them() {
        for (about, value) in samples() {
            assert!(value.is_some(), "{}", about.name);
        }
    }
}
