//! Files of a crate that import each other in circles: nobody can read one of them without the others.
//!
//! A file imports another when it names something of it: in a `use`, or by a path that begins with `crate`, `super` or
//! `self`. What a file only hands on (`pub use`) belongs to the file it comes from. A circle needs its reason in the head
//! of one of its files, in a line that begins with [`REASON`]; so does nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::root;
use crate::source::blanked;

/// How the reason of a circle begins.
const REASON: &str = "//! Circle: ";

/// A module: the names on the way to it from the crate's root.
type Module = Vec<String>;
type Edges = BTreeMap<Module, BTreeSet<Module>>;

/// Circles without a reason, and reasons without a circle.
pub fn check() -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources() {
        let (files, imports) = read(&source);
        let circles = circles(&imports);
        let has_reason =
            |module: &Module| files.get(module).is_some_and(|(_, text)| text.contains(REASON));
        for circle in circles.iter().filter(|circle| !circle.iter().any(has_reason)) {
            let names: Vec<String> = circle.iter().map(|module| shown(&files[module].0)).collect();
            complaints.push(format!("without a word on why, in a circle: {}", names.join(", ")));
        }
        for (module, (path, _)) in files.iter().filter(|(module, _)| has_reason(module)) {
            if !circles.iter().any(|circle| circle.contains(module)) {
                complaints.push(format!("{} is in no circle any more", shown(path)));
            }
        }
    }
    complaints
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The `src` of each crate.
fn sources() -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let floors = below(&root().join("crates"));
    let crates = floors.iter().flat_map(|floor| below(floor));
    crates.map(|path| path.join("src")).filter(|path| path.is_dir()).collect()
}

/// Each file's place and text, and what it imports.
fn read(source: &Path) -> (BTreeMap<Module, (PathBuf, String)>, Edges) {
    let mut files = BTreeMap::new();
    collect(source, &mut Vec::new(), &mut files);
    let blank: BTreeMap<&Module, String> =
        files.iter().map(|(module, (_, text))| (module, before_tests(&blanked(text)))).collect();
    let mut handed_on = BTreeMap::new();
    for (module, text) in &blank {
        for (is_public, tree) in uses(text) {
            for path in expand("", &tree).into_iter().filter(|_| is_public) {
                let name = path.last().cloned().unwrap_or_default();
                handed_on.insert([&module[..], &[name]].concat(), path);
            }
        }
    }
    let known =
        Known { modules: blank.keys().map(|module| (*module).clone()).collect(), handed_on };
    let imports = blank.iter().map(|(module, text)| {
        let named = paths_of(text).into_iter();
        let found = named.filter_map(|path| known.resolve(&known.absolute(module, &path)?, 0));
        ((*module).clone(), found.filter(|other| other != *module).collect())
    });
    let imports = imports.collect();
    (files, imports)
}

fn collect(folder: &Path, at: &mut Module, files: &mut BTreeMap<Module, (PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // Programs beside the first are crates of their own.
            if name != "tests" && name != "bin" {
                at.push(name);
                collect(&path, at, files);
                at.pop();
            }
            continue;
        }
        let Some(stem) = name.strip_suffix(".rs").filter(|stem| *stem != "tests") else { continue };
        let mut module = at.clone();
        if !["mod", "lib", "main"].contains(&stem) {
            module.push(stem.to_owned());
        }
        if let Ok(text) = std::fs::read_to_string(&path) {
            files.insert(module, (path, text));
        }
    }
}

fn before_tests(blank: &str) -> String {
    let end = blank.find("#[cfg(test)]").unwrap_or(blank.len());
    blank[..end].to_owned()
}

/// Every `use`, without the word, and whether it hands on.
fn uses(blank: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for line_start in std::iter::once(0).chain(blank.match_indices('\n').map(|(at, _)| at + 1)) {
        let line = blank[line_start..].trim_start_matches(' ');
        let is_public = line.starts_with("pub ") || line.starts_with("pub(");
        let rest = if is_public { line.split_once(' ').map_or("", |(_, rest)| rest) } else { line };
        if let Some((tree, _)) = rest.strip_prefix("use ").and_then(|rest| rest.split_once(';')) {
            found.push((is_public, tree.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    found
}

/// The paths of a tree of imports.
fn expand(before: &str, tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        let whole = format!("{before}{path}");
        return vec![whole.split("::").map(|name| name.trim().to_owned()).collect()];
    };
    let before = format!("{before}{}", head.trim());
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&before, part)).collect()
}

/// All paths by which a file may name others: of its imports, and within its code.
fn paths_of(blank: &str) -> Vec<Vec<String>> {
    let imported = uses(blank).into_iter().filter(|(is_public, _)| !is_public);
    let mut paths: Vec<_> = imported.flat_map(|(_, tree)| expand("", &tree)).collect();
    for word in ["crate::", "super::", "self::"] {
        for (at, _) in blank.match_indices(word) {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let inside = at.checked_sub(1).is_some_and(|before| {
                let byte = blank.as_bytes()[before];
                is_word(byte) || byte == b':'
            });
            let end = blank[at..].find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let path = &blank[at..end.map_or(blank.len(), |end| at + end)];
            // A tree of imports was taken apart above.
            if !inside && !path.ends_with("::") {
                paths.push(path.split("::").map(str::to_owned).collect());
            }
        }
    }
    paths
}

/// The modules of a crate, and what of them is handed on under other names.
struct Known {
    modules: BTreeSet<Module>,
    handed_on: BTreeMap<Module, Vec<String>>,
}

impl Known {
    /// A path as seen from the crate's root; nothing for other crates.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&module[..], rest].concat()),
            "super" => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let kept = module.len().checked_sub(supers)?;
                Some([&module[..kept], &path[supers..]].concat())
            }
            _ => {
                let inside = [&module[..], path].concat();
                self.modules.contains(&inside[..module.len() + 1]).then_some(inside)
            }
        }
    }

    /// The file that a path leads to.
    fn resolve(&self, path: &[String], hops: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|n| self.modules.contains(&path[..*n]))?;
        let handed_on = path.get(..length + 1).and_then(|name| self.handed_on.get(name));
        if let Some(target) = handed_on.filter(|_| hops < 5)
            && let Some(target) = self.absolute(&path[..length].to_vec(), target)
        {
            return self.resolve(&[&target[..], &path[length + 1..]].concat(), hops + 1);
        }
        Some(path[..length].to_vec())
    }
}

/// Files each of which reaches all others of its circle.
fn circles(imports: &Edges) -> Vec<BTreeSet<Module>> {
    let reached: Edges = imports.keys().map(|from| (from.clone(), reach(from, imports))).collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (from, to) in &reached {
        let circle: BTreeSet<Module> =
            to.iter().filter(|other| reached[*other].contains(from)).cloned().collect();
        if 1 < circle.len() && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn reach(from: &Module, imports: &Edges) -> BTreeSet<Module> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for other in &imports[module] {
            if reached.insert(other.clone()) {
                open.push(other);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Module {
        name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_tree_of_imports_is_taken_apart() {
        let paths = expand("", "crate::a::{self, B as C, d::{E, F}}");
        let names: Vec<String> = paths.iter().map(|path| path.join("::")).collect();
        assert_eq!(names, ["crate::a::self", "crate::a::B", "crate::a::d::E", "crate::a::d::F"]);
    }

    #[test]
    fn what_is_handed_on_belongs_to_the_file_it_comes_from() {
        let modules = ["", "a", "b"].map(module).into();
        let handed_on = BTreeMap::from([(module("Thing"), module("b::Thing"))]);
        let known = Known { modules, handed_on };
        let path = known.absolute(&module("a"), &module("crate::Thing"));
        assert_eq!(known.resolve(&path.expect("ours"), 0), Some(module("b")));
        assert_eq!(known.absolute(&module("a"), &module("std::fmt")), None);
    }

    #[test]
    fn a_circle_is_found_whole_and_a_line_is_none() {
        let edges = [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["a", "d"]), ("d", vec![])];
        let imports: Edges = edges
            .into_iter()
            .map(|(from, to)| (module(from), to.into_iter().map(module).collect()))
            .collect();
        assert_eq!(circles(&imports), [["a", "b", "c"].map(module).into()]);
    }

    #[test]
    fn imports_are_read_and_hand_ons_are_none() {
        let text = "use crate::{\n    a::B,\n    c,\n};\npub use d::E;\nfn f() { super::g::h() }\n";
        let names: Vec<String> = paths_of(text).iter().map(|path| path.join("::")).collect();
        assert_eq!(names, ["crate::a::B", "crate::c", "super::g::h"]);
    }
}
