//! Network namespaces as machines, with cables that can be cut.
//!
//! Each machine is a namespace with one end of a cable; the other ends meet in a bridge, where the test's own clients
//! are too. What one machine sends to another goes to the hardware address that is written down for it, so a cut in one
//! direction is a wrong address: packets leave and nobody takes them, which is what a broken cable looks like. Clients
//! reach a machine whose cables to the others are cut; only a pulled plug keeps them out.
//!
//! Needs root, `ip` and `tc` (Debian's iproute2), and a kernel that has bridges, pairs of virtual cables and the token
//! bucket. [`Network::new`] says what is missing.

use std::fs;
use std::process::Command;

use crate::cluster::Place;

/// Networks that may exist at the same time on one machine.
const NETWORKS_MAX: u8 = 200;
/// A hardware address that no machine has.
const NOBODY: &str = "02:00:00:00:00:00";

/// Machines around one bridge. They go when it is dropped.
#[derive(Debug)]
pub struct Network {
    number: u8,
    machines: usize,
}

/// How many bytes a second a slow cable lets through, and how many wait before the rest is lost.
const SLOW: [&str; 6] = ["rate", "400kbit", "burst", "3000", "limit", "12000"];

impl Network {
    /// A network of so many machines.
    ///
    /// # Errors
    /// In words, when this machine or this user cannot have one.
    pub fn new(machines: usize) -> Result<Network, String> {
        remove_orphans();
        let mut refused = String::new();
        for number in 0..NETWORKS_MAX {
            match run("ip", &["link", "add", &bridge(number), "type", "bridge"]) {
                Ok(()) => {
                    // From here on a drop takes everything away again.
                    let network = Network { number, machines };
                    network.build()?;
                    return Ok(network);
                }
                Err(said) if said.contains("exists") => refused = said,
                Err(said) => return Err(said),
            }
        }
        Err(refused)
    }

    fn build(&self) -> Result<(), String> {
        let bridge = bridge(self.number);
        let owner = std::process::id().to_string();
        run("ip", &["link", "set", &bridge, "alias", &owner])?;
        run("ip", &["address", "add", &format!("{}/24", self.address(254)), "dev", &bridge])?;
        run("ip", &["link", "set", &bridge, "up"])?;
        for machine in 0..self.machines {
            let (space, cable) = (self.space(machine), self.cable(machine));
            run("ip", &["netns", "add", &space])?;
            let hardware = hardware(machine);
            let pair = ["type", "veth", "peer", "name", "eth0", "address", &hardware];
            let pair = [&["link", "add", &cable][..], &pair, &["netns", &space]].concat();
            run("ip", &pair)?;
            run("ip", &["link", "set", &cable, "master", &bridge, "up"])?;
            let address = format!("{}/24", self.host(machine));
            run("ip", &["-n", &space, "address", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", &space, "link", "set", "lo", "up"])?;
            run("ip", &["-n", &space, "link", "set", "eth0", "up"])?;
        }
        self.join_all()?;
        self.set_slow(0, true)?;
        self.set_slow(0, false)
    }

    fn space(&self, machine: usize) -> String {
        format!("holdfast{}-{machine}", self.number)
    }

    /// Names of devices have 15 bytes at most.
    fn cable(&self, machine: usize) -> String {
        format!("hold{}-{machine}", self.number)
    }

    fn address(&self, last: u8) -> String {
        format!("10.213.{}.{last}", self.number)
    }

    /// A machine's address.
    pub fn host(&self, machine: usize) -> String {
        self.address(machine as u8 + 1)
    }

    /// Where a member on a machine listens.
    pub fn place(&self, machine: usize) -> Place {
        let enter = ["ip", "netns", "exec", &self.space(machine)].map(str::to_owned).to_vec();
        Place { host: self.host(machine), client_port: 2379, peer_port: 2380, enter }
    }

    fn neighbour(&self, from: usize, to: usize, hardware: &str) -> Result<(), String> {
        let (space, host) = (self.space(from), self.host(to));
        let entry = ["lladdr", hardware, "nud", "permanent", "dev", "eth0"];
        run("ip", &[&["-n", &space, "neighbour", "replace", &host][..], &entry].concat())
    }

    /// Nothing that one machine sends reaches the other any more.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn cut(&self, from: usize, to: usize) -> Result<(), String> {
        self.neighbour(from, to, NOBODY)
    }

    /// Everything that one machine sends reaches the other again.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn join(&self, from: usize, to: usize) -> Result<(), String> {
        self.neighbour(from, to, &hardware(to))
    }

    /// No cable between machines is cut any more.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn join_all(&self) -> Result<(), String> {
        for from in 0..self.machines {
            for to in (0..self.machines).filter(|to| *to != from) {
                self.join(from, to)?;
            }
        }
        Ok(())
    }

    /// Pulls a machine's plug, or puts it in: nobody reaches it, clients neither.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn set_plugged(&self, machine: usize, plugged: bool) -> Result<(), String> {
        let to = if plugged { "up" } else { "down" };
        run("ip", &["link", "set", &self.cable(machine), to])
    }

    /// Makes what a machine sends slow, late and lossy, or as it was.
    ///
    /// # Errors
    /// What `tc` said.
    pub fn set_slow(&self, machine: usize, slow: bool) -> Result<(), String> {
        let space = self.space(machine);
        let whose = ["-n", &space, "qdisc"];
        if slow {
            let how = ["replace", "dev", "eth0", "root", "tbf"];
            return run("tc", &[&whose[..], &how, &SLOW].concat());
        }
        match run("tc", &[&whose[..], &["del", "dev", "eth0", "root"]].concat()) {
            // It was not slow.
            Err(said) if said.contains("handle of zero") || said.contains("No such file") => Ok(()),
            other => other,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(self.number);
    }
}

fn bridge(number: u8) -> String {
    format!("hold{number}")
}

fn hardware(machine: usize) -> String {
    format!("02:00:00:00:01:{:02x}", machine + 1)
}

/// Takes away a network. Each part may have gone before, which is as good.
fn remove(number: u8) {
    let spaces = fs::read_dir("/run/netns").into_iter().flatten().filter_map(Result::ok);
    for space in spaces.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        if let Some(machine) = space.strip_prefix(&format!("holdfast{number}-")) {
            // Dropped packets and late closings may keep the space alive; its cable shall go now.
            let _ = run("ip", &["link", "del", &format!("hold{number}-{machine}")]);
            let _ = run("ip", &["netns", "del", &space]);
        }
    }
    let _ = run("ip", &["link", "del", &bridge(number)]);
}

/// Networks of processes that were killed before they could take them away.
fn remove_orphans() {
    for number in 0..NETWORKS_MAX {
        let alias = fs::read_to_string(format!("/sys/class/net/{}/ifalias", bridge(number)));
        let owner = alias.ok().and_then(|text| text.trim().parse::<u32>().ok());
        if owner.is_some_and(|owner| !fs::exists(format!("/proc/{owner}")).unwrap_or(true)) {
            remove(number);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(arguments).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let told = || format!("{program} {}: {}", arguments.join(" "), said.trim());
    if ran.status.success() { Ok(()) } else { Err(told()) }
}
