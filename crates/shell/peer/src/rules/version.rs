//! Versions as members announce them.

use std::fmt;

/// A release. Members compare major and minor only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl Version {
    /// The oldest release that members of this protocol live with.
    pub const MIN_CLUSTER: Version = Version { major: 3, minor: 0, patch: 0 };
    /// What a member that announces nothing counts as.
    const UNSPOKEN: Version = Version { major: 2, minor: 0, patch: 0 };

    /// Reads three numbers; what follows a `-` or `+` is left out.
    pub fn parse(text: &str) -> Option<Version> {
        let numbers = text.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        });
        let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Version { major, minor, patch })
    }

    /// What a header says, where there is one; an unreadable one is no version at all.
    pub fn announced(text: Option<&str>) -> Option<Version> {
        text.map_or(Some(Version::UNSPOKEN), Version::parse)
    }

    /// Major and minor.
    pub fn minor_release(self) -> (u32, u32) {
        (self.major, self.minor)
    }

    /// Whether a member that is `server` and lives with nothing older than `minimum` may speak with us.
    pub fn lives_with(self, server: Version, minimum: Version) -> bool {
        server.minor_release() >= Version::MIN_CLUSTER.minor_release()
            && minimum.minor_release() <= self.minor_release()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers() {
        let version = Version { major: 3, minor: 7, patch: 1 };
        assert_eq!(Version::parse("3.7.1"), Some(version));
        assert_eq!(Version::parse("3.7.1-alpha.0+git"), Some(version));
        for text in ["", "3.7", "3.7.1.1", "3.+7.1", "a.b.c", "3.7.99999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn patches_do_not_count_and_silence_is_too_old() {
        let ours = Version { major: 3, minor: 7, patch: 1 };
        let spoken = |text| Version::announced(text).unwrap();
        assert!(ours.lives_with(spoken(Some("3.4.23")), Version::MIN_CLUSTER));
        assert!(ours.lives_with(spoken(Some("3.8.0")), spoken(Some("3.7.9"))));
        assert!(!ours.lives_with(spoken(Some("3.8.0")), spoken(Some("3.8.0"))));
        assert!(!ours.lives_with(spoken(None), spoken(None)));
        assert_eq!(Version::announced(Some("three")), None);
    }
}
