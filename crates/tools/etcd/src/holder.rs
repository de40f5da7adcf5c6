//! Who has locked a file, as the kernel says it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that has locked a file, with its name: `1234 (etcd)`. `None` when nobody has, or somebody who cannot be
/// seen from here: on another machine, or in another container.
pub fn of(file: &Path) -> Option<String> {
    let inode = fs::metadata(file).ok()?.ino();
    let pid = pid_of(&fs::read_to_string("/proc/locks").ok()?, inode)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => Some(pid.to_string()),
        name => Some(format!("{pid} ({name})")),
    }
}

/// In lines such as `1: FLOCK  ADVISORY  WRITE 1234 fe:00:6479889 0 EOF`. A lock of an open file description belongs to
/// no process.
fn pid_of(locks: &str, inode: u64) -> Option<u32> {
    let inode = format!(":{inode}");
    locks.lines().find_map(|line| {
        // Whoever only waits stands behind an arrow.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, _, pid, place, ..] = words[..] else { return None };
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        pid.filter(|_| place.ends_with(&inode) && !words.contains(&"->"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_by_the_files_number() {
        let locks = "1: FLOCK  ADVISORY  WRITE 14205 fe:00:6479889 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 99 fe:00:77 0 EOF\n\
                     2: OFDLCK ADVISORY  WRITE -1 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13909 fe:00:77 0 EOF\n";
        assert_eq!(pid_of(locks, 77), Some(13_909));
        assert_eq!(pid_of(locks, 6_479_889), Some(14_205));
        assert_eq!(pid_of(locks, 7), None);
    }
}
