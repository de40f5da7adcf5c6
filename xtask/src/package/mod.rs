//! `cargo xtask package`: what an operator installs, built from this repository by one command.
//!
//! Everything lands in `target/packages/`. The static parts (unit, scripts, container file) lie in
//! `packaging/`; man pages, completions, the list of dependencies and their licences are made here from the
//! programs and from `cargo metadata`, so that they cannot say something else than what is built.

mod bill;
mod deb;
mod man;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::{root, test};

/// The programs that are packaged.
const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// Of the tarball and the container, whose programs need no library of the system.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// With this code `packaging/try` says that the machine cannot do it.
const SKIPPED: i32 = 77;

/// Why a package could not be built, as a sentence.
type Outcome<T> = Result<T, String>;

/// Builds the named packages; `None` for words this command does not know.
pub fn run(words: &[&str]) -> Option<ExitCode> {
    let built = match words {
        [] => deb().and_then(|()| tarball()),
        ["deb"] => deb(),
        ["tarball"] => tarball(),
        ["image"] => tarball().and_then(|()| try_image()).map(tell),
        ["try"] => try_out().map(tell),
        _ => return None,
    };
    Some(match built {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("package: {why}");
            ExitCode::FAILURE
        }
    })
}

/// Builds the Debian packages and tries them with `packaging/try`; a reason when this machine cannot.
///
/// # Errors
/// What failed, as a sentence.
pub fn try_out() -> Outcome<Option<String>> {
    if !Path::new("/usr/bin/dpkg-deb").exists() {
        return Ok(Some("dpkg-deb is missing: this is not a Debian".to_owned()));
    }
    deb()?;
    try_script("packaging/try", &output())
}

/// Runs the static programs in a root that holds what the container file copies, and nothing else.
fn try_image() -> Outcome<Option<String>> {
    try_script("packaging/try-image", &output().join("root"))
}

fn tell(skipped: Option<String>) {
    skipped.iter().for_each(|why| println!("skipped: {why}"));
}

/// Runs a script that tries what lies in a folder; a reason when this machine cannot.
fn try_script(script: &str, folder: &Path) -> Outcome<Option<String>> {
    let script = root().join(script);
    let tried = Command::new(&script).arg(folder).output();
    let tried = tried.map_err(|e| format!("{}: {e}", script.display()))?;
    let words = String::from_utf8_lossy(&tried.stdout).into_owned();
    print!("{words}");
    match tried.status.code() {
        Some(0) => Ok(None),
        Some(SKIPPED) => Ok(Some(words.lines().last().unwrap_or_default().to_owned())),
        _ => Err(format!("{}: {}", tried.status, String::from_utf8_lossy(&tried.stderr).trim())),
    }
}

fn output() -> PathBuf {
    test::target_dir().join("packages")
}

/// Two Debian packages, of the server and of the tools.
fn deb() -> Outcome<()> {
    let programs = build(None)?;
    let papers = Papers::write(&programs)?;
    deb::build(&programs, &papers.folder)
}

/// A tarball of static programs; what is in it also lies unpacked in `root/`, for the container file.
fn tarball() -> Outcome<()> {
    let programs = build(Some(STATIC))?;
    let papers = Papers::write(&programs)?;
    let top = fresh(&output().join("root"))?;
    for program in PROGRAMS {
        install(&programs.join(program), &top.join("usr/local/bin").join(program), 0o755)?;
    }
    copy_folder(&papers.folder, &top.join("usr/local/share"))?;
    let copying = top.join("usr/local/share/doc/holdfast");
    install(&root().join("LICENSE"), &copying.join("LICENSE"), 0o644)?;
    install(&root().join("packaging/etcd.service"), &copying.join("etcd.service"), 0o644)?;
    install(&root().join("README.md"), &copying.join("README.md"), 0o644)?;
    make_folder(&top.join("var/lib/etcd"), 0o700)?;
    let name = output().join(format!("holdfast-{}-linux-amd64.tar.gz", version()));
    let sorted = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-czf"];
    let mut tar = Command::new("tar");
    tar.args(sorted).arg(&name).arg("-C").arg(&top).arg("usr");
    done(&mut tar)?;
    println!("{}", name.display());
    Ok(())
}

/// The version of the packages: etcd's, whose behaviour it is, and then ours.
fn version() -> String {
    concat!("3.7.1+holdfast", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Builds the programs for release, and says where they lie.
fn build(triple: Option<&str>) -> Outcome<PathBuf> {
    let mut arguments = vec!["build", "--release", "--locked"];
    for program in PROGRAMS {
        arguments.extend(["--package", program, "--bin", program]);
    }
    let mut folder = test::target_dir();
    let mut variables = Vec::new();
    if let Some(triple) = triple {
        arguments.extend(["--target", triple]);
        folder = folder.join(triple);
        variables.push(("CC_x86_64_unknown_linux_musl", "musl-gcc".to_owned()));
    }
    if test::cargo(&arguments, &variables) != ExitCode::SUCCESS {
        return Err(match triple {
            Some(triple) => format!(
                "the programs were not built; a static build needs `rustup target add {triple}` and \
                 `apt-get install musl-tools`"
            ),
            None => "the programs were not built".to_owned(),
        });
    }
    Ok(folder.join("release"))
}

/// Man pages, completions and the bill of materials, laid out as below a `share` folder.
struct Papers {
    folder: PathBuf,
}

impl Papers {
    fn write(programs: &Path) -> Outcome<Papers> {
        let folder = fresh(&output().join("share"))?;
        man::write_all(programs, &folder.join("man/man1"))?;
        for program in ["etcdctl", "etcdutl"] {
            for (shell, place) in [
                ("bash", format!("bash-completion/completions/{program}")),
                ("zsh", format!("zsh/vendor-completions/_{program}")),
                ("fish", format!("fish/vendor_completions.d/{program}.fish")),
            ] {
                let script =
                    said(Command::new(programs.join(program)).args(["completion", shell]))?;
                write(&folder.join(place), &script)?;
            }
        }
        let doc = folder.join("doc/holdfast");
        let bill = bill::Bill::read()?;
        write(&doc.join("sbom.cdx.json"), &bill.cyclone_dx(&version()))?;
        write(&doc.join("third-party-licences.txt"), &bill.licences()?)?;
        Ok(Papers { folder })
    }
}

/// What a program prints.
fn said(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {}", output.status, words.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn done(command: &mut Command) -> Outcome<()> {
    said(command).map(drop)
}

/// The folder, empty.
fn fresh(folder: &Path) -> Outcome<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    make_folder(folder, 0o755)?;
    Ok(folder.to_owned())
}

fn make_folder(folder: &Path, mode: u32) -> Outcome<()> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(mode)))
        .map_err(|e| format!("{}: {e}", folder.display()))
}

fn install(from: &Path, to: &Path, mode: u32) -> Outcome<()> {
    make_folder(to.parent().expect("a file lies in a folder"), 0o755)?;
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(mode)))
        .map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))
}

fn make_executable(file: &Path) -> Outcome<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .map_err(|e| format!("{}: {e}", file.display()))
}

fn write(to: &Path, text: &str) -> Outcome<()> {
    make_folder(to.parent().expect("a file lies in a folder"), 0o755)?;
    fs::write(to, text)
        .and_then(|()| fs::set_permissions(to, fs::Permissions::from_mode(0o644)))
        .map_err(|e| format!("{}: {e}", to.display()))
}

fn copy_folder(from: &Path, to: &Path) -> Outcome<()> {
    make_folder(to, 0o755)?;
    let entries = fs::read_dir(from).map_err(|e| format!("{}: {e}", from.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("{}: {e}", from.display()))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            install(&entry.path(), &target, 0o644)?;
        }
    }
    Ok(())
}
