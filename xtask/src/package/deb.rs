//! Debian packages, by `dpkg-deb`.
//!
//! They are called `etcd-server` and `etcd-client`, as Debian's own: installing ours is an upgrade, which keeps
//! the settings and the data, and nobody purges the data later with a package that was "replaced".

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{
    Outcome, copy_folder, done, fresh, install, make_executable, output, said, version, write,
};
use crate::root;

/// Builds both packages from the programs and the papers.
pub fn build(programs: &Path, papers: &Path) -> Outcome<()> {
    server(programs, papers)?;
    client(programs, papers)
}

fn server(programs: &Path, papers: &Path) -> Outcome<()> {
    let top = fresh(&output().join("etcd-server"))?;
    install(&programs.join("etcd"), &top.join("usr/bin/etcd"), 0o755)?;
    let packaging = root().join("packaging");
    install(&packaging.join("etcd.service"), &top.join("lib/systemd/system/etcd.service"), 0o644)?;
    install(&packaging.join("etcd.default"), &top.join("etc/default/etcd"), 0o644)?;
    install(&papers.join("man/man1/etcd.1"), &top.join("usr/share/man/man1/etcd.1"), 0o644)?;
    finish("etcd-server", &top, papers)
}

fn client(programs: &Path, papers: &Path) -> Outcome<()> {
    let top = fresh(&output().join("etcd-client"))?;
    for program in ["etcdctl", "etcdutl"] {
        install(&programs.join(program), &top.join("usr/bin").join(program), 0o755)?;
    }
    let share = top.join("usr/share");
    for folder in ["man", "bash-completion", "zsh", "fish"] {
        copy_folder(&papers.join(folder), &share.join(folder))?;
    }
    // The server's package brings its own page.
    fs::remove_file(share.join("man/man1/etcd.1")).map_err(|e| format!("etcd.1: {e}"))?;
    finish("etcd-client", &top, papers)
}

/// Adds what every package has, compresses the pages, and lets `dpkg-deb` build it.
fn finish(package: &str, top: &Path, papers: &Path) -> Outcome<()> {
    let doc = top.join("usr/share/doc").join(package);
    install(&root().join("LICENSE"), &doc.join("copyright"), 0o644)?;
    for paper in ["sbom.cdx.json", "third-party-licences.txt"] {
        install(&papers.join("doc/holdfast").join(paper), &doc.join(paper), 0o644)?;
    }
    done(
        Command::new("find")
            .arg(top.join("usr/share/man"))
            .args("-type f -exec gzip -9n {} +".split(' ')),
    )?;

    let scripts = root().join("packaging/debian").join(package.trim_start_matches("etcd-"));
    let entries = fs::read_dir(&scripts).map_err(|e| format!("{}: {e}", scripts.display()))?;
    let filled = Filled {
        version: version(),
        libc: libc(&top.join("usr/bin"))?,
        size: size_kib(top)?,
        architecture: said(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned(),
    };
    for entry in entries.filter_map(Result::ok) {
        let text =
            fs::read_to_string(entry.path()).map_err(|e| format!("{:?}: {e}", entry.path()))?;
        let place = top.join("DEBIAN").join(entry.file_name());
        write(&place, &filled.fill(&text))?;
        if text.starts_with("#!") {
            make_executable(&place)?;
        }
    }
    let name = format!("{package}_{}_{}.deb", filled.version, filled.architecture);
    let name = output().join(name);
    done(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(top).arg(&name))?;
    println!("{}", name.display());
    Ok(())
}

/// What the control files leave open.
struct Filled {
    version: String,
    libc: String,
    size: u64,
    architecture: String,
}

impl Filled {
    fn fill(&self, text: &str) -> String {
        text.replace("@version@", &self.version)
            .replace("@libc@", &self.libc)
            .replace("@size@", &self.size.to_string())
            .replace("@architecture@", &self.architecture)
    }
}

fn size_kib(top: &Path) -> Outcome<u64> {
    let said = said(Command::new("du").arg("-sk").arg(top))?;
    let number = said.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("du said {said}"))
}

/// The newest version of glibc that a program asks for.
fn libc(folder: &Path) -> Outcome<String> {
    let mut newest = (2, 0);
    for entry in fs::read_dir(folder).map_err(|e| e.to_string())?.filter_map(Result::ok) {
        let bytes = fs::read(entry.path()).map_err(|e| format!("{:?}: {e}", entry.path()))?;
        newest = newest.max(newest_glibc(&bytes));
    }
    Ok(format!("{}.{}", newest.0, newest.1))
}

/// The highest `GLIBC_x.y` among the version names of an ELF file.
fn newest_glibc(bytes: &[u8]) -> (u32, u32) {
    let name = b"GLIBC_";
    let starts = bytes.windows(name.len()).enumerate().filter(|(_, window)| window == name);
    starts
        .filter_map(|(at, _)| {
            let rest = &bytes[at + name.len()..];
            let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
            let (major, minor) = std::str::from_utf8(&rest[..end]).ok()?.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .max()
        .unwrap_or((2, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_the_highest_number_not_the_last_word() {
        assert_eq!(newest_glibc(b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0"), (2, 34));
    }
}
