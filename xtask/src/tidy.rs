//! What makes a house untidy: long files and functions, left-overs, names that do not belong here, dead
//! links.
//!
//! `xtask/tidy.toml` lists what was longer than the limits when they came. Its numbers may only fall:
//! a number that grows, or a new one, is a complaint as much as a file that is longer than its number.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::source::{blanked, functions};
use crate::{root, tracked_files};

/// A file longer than this is looked at, and named.
const FILE_LINES_COMFORTABLE: usize = 400;
/// A file longer than this is refused.
const FILE_LINES_MAX: usize = 600;
/// A function longer than this is refused.
const FUNCTION_LINES_MAX: usize = 70;

const RATCHET: &str = "xtask/tidy.toml";

/// Words that nobody should meet in what we publish. Written in two halves, so that this file does not
/// hold them.
const LEFT_OVERS: [(&str, &str); 4] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("todo", "!(")];

/// Places of one machine, and hosts of registries.
const PLACES: [(&str, &str); 9] = [
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("/tmp/", "t-"),
    (".pye", "nv/"),
    ("proxy.gol", "ang.org"),
    ("index.cra", "tes.io"),
    ("pypi.or", "g/simple"),
    ("artifac", "tory"),
];

type Numbers = BTreeMap<String, usize>;

/// Everything that breaks the rules.
pub fn check() -> Vec<String> {
    let ratchet = read_ratchet(&std::fs::read_to_string(root().join(RATCHET)).unwrap_or_default());
    let mut complaints = Vec::new();
    for (name, lines) in measure() {
        let allowed = ratchet.get(&name).copied().unwrap_or(limit(&name));
        if lines > allowed {
            complaints.push(format!("{name} has {lines} lines, {allowed} are allowed"));
        } else if lines > FILE_LINES_COMFORTABLE && !name.contains("::") {
            println!("tidy: {name} has {lines} lines: where is its seam?");
        }
    }
    for path in tracked_files() {
        if let Ok(text) = std::fs::read_to_string(root().join(&path)) {
            words(&path, &text, &mut complaints);
            pages(&path, &text, &mut complaints);
            if path.ends_with(".md") {
                links(&path, &text, &mut complaints);
            }
        }
    }
    only_tighter(&ratchet, &mut complaints);
    complaints
}

/// Lowers each number to what is true now, and drops those no longer needed.
pub fn tighten() -> ExitCode {
    let text = std::fs::read_to_string(root().join(RATCHET)).unwrap_or_default();
    let now = measure();
    let mut out: String = text.lines().take_while(|line| line.starts_with('#')).fold(
        String::new(),
        |mut out, line| {
            out.push_str(line);
            out.push('\n');
            out
        },
    );
    for (name, allowed) in read_ratchet(&text) {
        if let Some(lines) = now.get(&name).filter(|lines| **lines > limit(&name)) {
            writeln!(out, "\"{name}\" = {}", allowed.min(*lines)).expect("a text takes all");
        }
    }
    std::fs::write(root().join(RATCHET), out).expect("the ratchet can be written");
    ExitCode::SUCCESS
}

fn limit(name: &str) -> usize {
    if name.contains("::") { FUNCTION_LINES_MAX } else { FILE_LINES_MAX }
}

/// The length of every file, and of every function as `file::name`; the longest where a name is used twice.
fn measure() -> Numbers {
    let mut out = Numbers::new();
    for path in tracked_files().into_iter().filter(|path| path.ends_with(".rs")) {
        let Ok(source) = std::fs::read_to_string(root().join(&path)) else { continue };
        for function in functions(&blanked(&source)) {
            let longest = out.entry(format!("{path}::{}", function.name)).or_default();
            *longest = function.lines.max(*longest);
        }
        out.insert(path, source.lines().count());
    }
    out
}

/// Lines of the form `"name" = number`.
fn read_ratchet(text: &str) -> Numbers {
    let pairs = text.lines().filter_map(|line| line.split_once(" = "));
    pairs
        .filter_map(|(name, number)| {
            Some((name.trim_matches('"').to_string(), number.parse().ok()?))
        })
        .collect()
}

/// Compares with the version before the last that was committed, or with the last when this one is not.
fn only_tighter(now: &Numbers, complaints: &mut Vec<String>) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let commits = git(&["log", "-2", "--format=%H", "--", RATCHET]).unwrap_or_default();
    for commit in commits.lines() {
        let Some(before) = git(&["show", &format!("{commit}:{RATCHET}")]) else { continue };
        let before = read_ratchet(&before);
        for (name, number) in now {
            match before.get(name) {
                Some(earlier) if number <= earlier => {}
                Some(earlier) => {
                    complaints.push(format!("{RATCHET}: {name} grew from {earlier} to {number}"))
                }
                None => complaints
                    .push(format!("{RATCHET}: {name} is new; the list may only get shorter")),
            }
        }
    }
}

fn words(path: &str, text: &str, complaints: &mut Vec<String>) {
    if path.ends_with("Cargo.lock") || path.ends_with("go.sum") {
        return;
    }
    let left_over = path.ends_with(".rs") || path.ends_with(".go") || path.ends_with(".py");
    let wanted = LEFT_OVERS.iter().filter(|_| left_over).chain(&PLACES);
    for (one, two) in wanted {
        let word = format!("{one}{two}");
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(&word)) {
            // A member of a path is not a place: crates/network/ is no machine's folder.
            let start = line.find(&word).expect("it was just found");
            let inside = word.starts_with('/')
                && line[..start].ends_with(|c: char| c.is_alphanumeric() || c == '.');
            if !inside {
                complaints.push(format!("{path}:{}: {word} does not belong here", number + 1));
            }
        }
    }
}

/// Pages that are cited by their place in the repository, as comments do, and are not there.
fn pages(path: &str, text: &str, complaints: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        let former = line.split("reference/").nth(1).and_then(|rest| rest.split_once(".md"));
        if former.is_some_and(|(page, _)| root().join(format!("docs/etcd/{page}.md")).exists()) {
            complaints.push(format!("{path}:{}: this page is in docs/etcd/", number + 1));
        }
        for page in cited(line).filter(|page| !root().join(page).exists()) {
            complaints.push(format!("{path}:{}: the page {page} is not there", number + 1));
        }
    }
}

/// The pages that a line cites: `docs/`, a name, `.md`. In the middle of a longer path it is another folder's.
fn cited(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("docs/").filter_map(|(start, _)| {
        let within = line[..start].ends_with(|c: char| c.is_alphanumeric() || "/.-_".contains(c));
        let name = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
        let rest = &line[start..];
        let end = rest.find(|c| !name(c)).unwrap_or(rest.len());
        let page = rest[..end].trim_end_matches(['.', '-']);
        (!within && page.ends_with(".md")).then_some(page)
    })
}

/// Links to files that are not there.
fn links(path: &str, text: &str, complaints: &mut Vec<String>) {
    let folder = root().join(path).parent().map(Path::to_path_buf).unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        for piece in line.split("](").skip(1) {
            let target = piece.split([')', '#', ' ']).next().unwrap_or_default();
            let outside =
                target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !outside && !folder.join(target).exists() {
                complaints.push(format!("{path}:{}: {target} is not there", number + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cited_by_its_place_in_the_repository() {
        let of = |line| cited(line).collect::<Vec<&str>>();
        assert_eq!(
            of("as (`docs/etcd/api.md` 4.2, docs/put.md) say"),
            ["docs/etcd/api.md", "docs/put.md"]
        );
        assert_eq!(of("The end of docs/etcd/http.md."), ["docs/etcd/http.md"]);
        assert_eq!(of("crates/other/docs/x.md and docs/ and docs/x.rs"), [""; 0]);
    }
}
