//! Versions of clusters and members, as far as anybody decides by them.

use std::fmt;
use std::str::FromStr;

/// A minor release: what a cluster agrees on, and what decides which requests its members know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 3 for everything this release can stand beside.
    pub major: u64,
    /// What separates one etcd from the next.
    pub minor: u64,
}

impl Version {
    /// Of this release: the newest that the entries it can apply belong to.
    pub const OURS: Version = Version::new(3, 7);

    /// The version of these two numbers.
    pub const fn new(major: u64, minor: u64) -> Version {
        Version { major, minor }
    }

    /// As people say it: `3.7`.
    pub fn short(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

/// As etcd writes a cluster's version: `3.7.0`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}

/// A text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no version of the form 3.7 or 3.7.0")]
pub struct MalformedVersion;

/// Reads `X.Y` and `X.Y.Z`, whatever pre-release or build follows (`docs/etcd/observed.md` E). Nothing below
/// the minor release decides anything, so it is not kept.
impl FromStr for Version {
    type Err = MalformedVersion;

    fn from_str(text: &str) -> Result<Version, MalformedVersion> {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = core.split('.').map(number);
        let version = Version {
            major: parts.next().flatten().ok_or(MalformedVersion)?,
            minor: parts.next().flatten().ok_or(MalformedVersion)?,
        };
        match (parts.next(), parts.next()) {
            (None | Some(Some(_)), None) => Ok(version),
            _ => Err(MalformedVersion),
        }
    }
}

fn number(digits: &str) -> Option<u64> {
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_etcd_reads_it() {
        for text in ["3.6", "3.6.0", "3.6.7", "3.06", "3.6.0+x", "3.6.0-rc.1"] {
            assert_eq!(text.parse(), Ok(Version::new(3, 6)), "{text}");
        }
        for wrong in ["v3.6", "3", " 3.6", "", "3.6.0.1", "3.x", "3.6.", "3.6.x", "3.+6"] {
            assert_eq!(wrong.parse::<Version>(), Err(MalformedVersion), "{wrong}");
        }
    }

    #[test]
    fn minor_releases_are_in_the_order_of_their_numbers() {
        assert!(Version::new(3, 9) < Version::new(3, 10));
        assert!(Version::new(3, 10) < Version::new(4, 0));
        assert_eq!(Version::new(3, 10).to_string(), "3.10.0");
        assert_eq!(Version::new(3, 10).short(), "3.10");
    }
}
