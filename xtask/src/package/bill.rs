//! What is inside the programs: every crate of others, with its version and licence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Outcome, PROGRAMS, said};
use crate::root;

/// How a crate says what it may be used for.
enum Licence {
    /// `MIT OR Apache-2.0`.
    Expression(String),
    /// The name of a file it brings.
    File(String),
}

/// A crate of somebody else's that is linked into a program.
struct Part {
    name: String,
    version: String,
    /// An expression of SPDX, or the name of the file that holds the licence.
    licence: Licence,
    manifest: String,
}

/// All parts, in the order of their names.
pub struct Bill {
    parts: Vec<Part>,
}

impl Bill {
    /// Walks what cargo would link into the programs on Linux; build scripts and tests do not count.
    pub fn read() -> Outcome<Bill> {
        let mut cargo = Command::new(env!("CARGO"));
        let filter = "x86_64-unknown-linux-gnu";
        cargo.args(["metadata", "--format-version=1", "--locked", "--filter-platform", filter]);
        let text = said(cargo.current_dir(root()))?;
        let metadata: Value =
            serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
        Bill::of(&metadata)
    }

    fn of(metadata: &Value) -> Outcome<Bill> {
        let nodes: BTreeMap<&str, &Value> =
            items(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
        let packages: BTreeMap<&str, &Value> =
            items(&metadata["packages"]).map(|package| (text(&package["id"]), package)).collect();
        let mut open: Vec<&str> = packages
            .iter()
            .filter(|(_, package)| PROGRAMS.contains(&text(&package["name"])))
            .map(|(id, _)| *id)
            .collect();
        if open.len() != PROGRAMS.len() {
            return Err("cargo metadata does not name the programs".to_owned());
        }
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                let links =
                    |dep: &&Value| items(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null());
                open.extend(items(&nodes[id]["deps"]).filter(links).map(|dep| text(&dep["pkg"])));
            }
        }
        let mut parts: Vec<Part> = seen
            .into_iter()
            .map(|id| packages[id])
            // Our own crates have no source but this repository.
            .filter(|package| !package["source"].is_null())
            .map(|package| Part {
                name: text(&package["name"]).to_owned(),
                version: text(&package["version"]).to_owned(),
                licence: match text(&package["license"]) {
                    "" => Licence::File(text(&package["license_file"]).to_owned()),
                    expression => Licence::Expression(expression.replace('/', " OR ")),
                },
                manifest: text(&package["manifest_path"]).to_owned(),
            })
            .collect();
        parts.sort_by(|one, two| (&one.name, &one.version).cmp(&(&two.name, &two.version)));
        Ok(Bill { parts })
    }

    /// The bill in the form of CycloneDX 1.5.
    pub fn cyclone_dx(&self, version: &str) -> String {
        let components: Vec<Value> = self
            .parts
            .iter()
            .map(|part| {
                json!({
                    "type": "library",
                    "name": part.name,
                    "version": part.version,
                    "purl": format!("pkg:cargo/{}@{}", part.name, part.version),
                    "licenses": [match &part.licence {
                        Licence::Expression(expression) => json!({ "expression": expression }),
                        Licence::File(name) => json!({ "license": { "name": name } }),
                    }],
                })
            })
            .collect();
        let bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": { "type": "application", "name": "holdfast", "version": version },
            },
            "components": components,
        });
        format!("{bill:#}\n")
    }

    /// The licence texts that the parts bring, each once, with the names of those who bring it.
    pub fn licences(&self) -> Outcome<String> {
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut list = String::from("What holdfast's programs contain of others:\n\n");
        for part in &self.parts {
            let name = format!("{} {}", part.name, part.version);
            let (Licence::Expression(said) | Licence::File(said)) = &part.licence;
            list.push_str(&format!("{name}: {said}\n"));
            for text in licence_files(Path::new(&part.manifest))? {
                texts.entry(text).or_default().push(name.clone());
            }
        }
        for (text, names) in texts {
            let rule = "-".repeat(100);
            list.push_str(&format!("\n{rule}\n{}:\n\n{}\n", names.join(", "), text.trim_end()));
        }
        Ok(list)
    }
}

fn licence_files(manifest: &Path) -> Outcome<Vec<String>> {
    let folder = manifest.parent().expect("a manifest lies in a folder");
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut texts = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_licence && entry.path().is_file() {
            let bytes = fs::read(entry.path()).map_err(|e| format!("{name}: {e}"))?;
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    texts.sort();
    Ok(texts)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_holds_what_is_linked_and_nothing_of_ours() {
        let bill = Bill::read().expect("cargo knows its workspace");
        let names: Vec<&str> = bill.parts.iter().map(|part| part.name.as_str()).collect();
        assert!(names.contains(&"rustls"), "it is linked: {names:?}");
        assert!(!names.iter().any(|name| name.starts_with("holdfast")), "{names:?}");
        assert!(!names.contains(&"protox"), "only build scripts use it: {names:?}");
        for part in &bill.parts {
            let (Licence::Expression(said) | Licence::File(said)) = &part.licence;
            assert!(!said.is_empty(), "{} has no licence", part.name);
        }
    }
}
