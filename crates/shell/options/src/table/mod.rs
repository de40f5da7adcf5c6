//! Every flag that etcd 3.4 to 3.7 knows, as data.
//!
//! The parser, the environment, the configuration file, the help and `docs/flags.md` all read this
//! table; nothing about a flag is said anywhere else, except what `build` does with its value.

/// A group of flags: a constant each, typed by what it holds, and all of them as a list.
macro_rules! flags {
    ($(#[$doc:meta])* $group:ident: $($name:ident: $type:ident = $($part:expr),+;)*) => {
        $(pub(crate) const $name: $type = $type::of(super::flag($($part),+));)*
        $(#[$doc])* pub(super) const $group: &[Flag] = &[$($name.0),*];
    };
}

mod clustering;
mod former;
mod member;
mod monitoring;
mod security;
mod tuning;

pub(crate) use clustering::*;
pub(crate) use member::*;
pub(crate) use monitoring::*;
pub(crate) use security::*;
pub(crate) use tuning::*;

use crate::flag::{Does, Flag, Kind};

/// The flags in groups, in the order help shows them.
pub const GROUPS: &[(&str, &[Flag])] = &[
    ("Member", member::MEMBER),
    ("Clustering", clustering::CLUSTERING),
    ("Security", security::SECURITY),
    ("Auth", security::AUTH),
    ("Profiling and monitoring", monitoring::MONITORING),
    ("Logging", monitoring::LOGGING),
    ("Features", tuning::TUNING),
    ("Unsafe and other", tuning::UNSAFE),
    ("Former names", former::FORMER),
    ("Long gone", former::LONG_GONE),
];

/// All flags.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|(_, flags)| flags.iter())
}

/// All flags, and what only a file can say.
pub fn all_settings() -> impl Iterator<Item = &'static Flag> {
    all().chain(security::IN_FILES_ONLY)
}

/// The flag of the given name.
pub fn find(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}

const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    releases: &'static str,
    does: Does,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, releases, does, help }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gates::GATES;

    #[test]
    fn every_default_can_be_read_and_every_name_is_unique() {
        let mut names = BTreeSet::new();
        for flag in all() {
            flag.default_value();
            assert!(names.insert(flag.name), "{} stands twice", flag.name);
        }
    }

    #[test]
    fn every_former_name_leads_to_a_flag_of_its_kind_or_to_a_gate() {
        for former in all() {
            match former.does {
                Does::RenamedTo(name) => {
                    assert_eq!(find(name).map(|flag| flag.kind), Some(former.kind), "{name}");
                }
                Does::IsGate(name) => assert!(GATES.iter().any(|gate| gate.name == name), "{name}"),
                Does::Its | Does::Nothing(_) | Does::Refused(_) => {}
            }
        }
    }
}
