//! Paths of nodes: `/1/a/b`, normal as Go's `path.Clean` makes them.

/// Parts that a path has at most. Answers nest as deep as their paths, and whoever writes or reads one needs room for
/// each level.
pub const PATH_PARTS_MAX: usize = 256;

/// The path in its normal form: one slash in front, none at the end, `.` and `..` resolved.
pub fn normal(path: &str) -> String {
    joined("/", path)
}

/// `path` below `base`, in its normal form. With `..` it can leave `base`, as in etcd.
pub fn joined(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory a node lies in, and its name there. The path must be normal.
pub(crate) fn split(path: &str) -> (&str, &str) {
    let at = path.rfind('/').expect("a normal path begins with a slash");
    (if at == 0 { "/" } else { &path[..at] }, &path[at + 1..])
}

/// What the paths of everything below a directory begin with.
pub(crate) fn below(dir: &str) -> String {
    if dir == "/" { "/".to_owned() } else { format!("{dir}/") }
}

/// A normal path's directories from the root on, and last the path itself.
pub(crate) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| 0 < *at);
    let whole = (path != "/").then_some(path.len());
    std::iter::once("/").chain(ends.chain(whole).map(|end| &path[..end]))
}

/// Whether a node keeps out of listings.
pub(crate) fn is_hidden(path: &str) -> bool {
    split(path).1.starts_with('_')
}

/// Whether an event at `path` keeps away from whoever watches at `watched`: something hidden lies between the two.
pub(crate) fn is_hidden_from(watched: &str, path: &str) -> bool {
    match path.get(watched.len()..) {
        Some(rest) => rest.trim_start_matches('/').starts_with('_') || rest.contains("/_"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normal_as_gos_path_clean_makes_it() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("a", "/a"),
            ("/a//b/", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
        assert_eq!(joined("/1", "/a/"), "/1/a");
    }

    #[test]
    fn the_prefixes_of_a_path_begin_at_the_root_and_end_with_itself() {
        assert_eq!(prefixes("/a/b").collect::<Vec<_>>(), ["/", "/a", "/a/b"]);
        assert_eq!(prefixes("/").collect::<Vec<_>>(), ["/"]);
    }

    #[test]
    fn an_event_is_hidden_from_whoever_watches_above_its_hidden_part() {
        assert!(is_hidden_from("/1", "/1/_a"));
        assert!(is_hidden_from("/1/a", "/1/a/_b/c"));
        assert!(!is_hidden_from("/1/_a", "/1/_a/b"));
        assert!(!is_hidden_from("/1/a/b", "/1/a"));
    }
}
