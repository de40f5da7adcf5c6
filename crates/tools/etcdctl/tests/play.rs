//! Golden files: command lines and all they print, input and output together.
//!
//! ```text
//! # A story.
//! on both
//! $ ctl put a 1
//!   OK
//! $ ctl get a --order X
//! ! Error: bad sort order X
//! exit 4
//! ```
//!
//! `on both` plays it on our server and on the newest etcd, `on newest` on that alone; `tools` names
//! older etcdctls that print the same. A line of stdout is indented, one of stderr begins with `!`. Where
//! ours differs on purpose, `-- ours:` gives the reason and what ours prints follows. `ctl` is etcdctl
//! with the server's endpoint. `on debian` plays it by API v2 on Debian's etcd 3.4, with its etcdctl and ours. Commands are bash's and share variables and a folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use robust::foreign::Part;

use crate::mask::Mask;

/// How long all commands of a file may take.
const PLAY_DURATION_MAX: Duration = Duration::from_secs(180);

/// A command and what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Comments and blank lines before it.
    pub before: String,
    pub command: String,
    pub printed: String,
    /// Why ours prints something else, and what.
    pub ours: Option<(String, String)>,
}

/// A golden file.
#[derive(Clone, Debug)]
pub struct Golden {
    pub path: PathBuf,
    pub on_ours: bool,
    /// By API v2, on Debian's etcd 3.4.
    pub v2: bool,
    /// The server's flags.
    pub flags: Vec<String>,
    /// Older etcdctls that print the same.
    pub tools: Vec<Part>,
    pub steps: Vec<Step>,
    /// What follows the last command.
    after: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

impl Golden {
    #[track_caller]
    pub fn read(name: &str) -> Golden {
        let path = folder().join(name).with_extension("txt");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut golden = Golden {
            path,
            on_ours: false,
            v2: false,
            flags: Vec::new(),
            tools: Vec::new(),
            steps: Vec::new(),
            after: String::new(),
        };
        for line in text.split_inclusive('\n') {
            golden.take(line);
        }
        golden
    }

    #[track_caller]
    fn take(&mut self, line: &str) {
        if let Some(command) = line.strip_prefix("$ ") {
            self.steps.push(Step {
                before: std::mem::take(&mut self.after),
                command: command.trim_end().to_owned(),
                printed: String::new(),
                ours: None,
            });
            return;
        }
        let is_output =
            line.starts_with("  ") || line.starts_with('!') || line.starts_with("exit ");
        if let (Some(reason), Some(step)) = (line.strip_prefix("-- ours:"), self.steps.last_mut()) {
            step.ours = Some((reason.trim().to_owned(), String::new()));
        } else if let (true, Some(step)) = (is_output, self.steps.last_mut()) {
            step.ours.as_mut().map_or(&mut step.printed, |(_, text)| text).push_str(line);
        } else {
            match line.trim_end().split_once(' ') {
                Some(("on", place)) => {
                    self.on_ours = place == "both";
                    self.v2 = place == "debian";
                }
                Some(("server", flags)) => {
                    self.flags = flags.split(' ').map(str::to_owned).collect();
                }
                Some(("tools", tools)) => self.tools = tools.split(' ').map(tool).collect(),
                _ => assert!(line.trim().is_empty() || line.starts_with('#'), "what is {line:?}?"),
            }
            self.after.push_str(line);
        }
    }

    /// Writes the file anew: what the reference printed and, where ours differs on purpose, ours.
    pub fn write(&self, reference: &[String], ours: &[String]) {
        let mut out = String::new();
        for ((step, printed), ours) in self.steps.iter().zip(reference).zip(ours) {
            out += &format!("{}$ {}\n{printed}", step.before, step.command);
            if let Some((reason, _)) = &step.ours {
                out += &format!("-- ours: {reason}\n{ours}");
            }
        }
        out += &self.after;
        fs::write(&self.path, out).expect("the golden file can be written");
    }

    /// Everything that was printed otherwise than the file says; empty when nothing was.
    pub fn differences(&self, printed: &[String], by_ours: bool) -> String {
        let mut out = String::new();
        for (step, printed) in self.steps.iter().zip(printed) {
            let ours = step.ours.as_ref().filter(|_| by_ours).map(|(_, text)| text);
            let expected = ours.unwrap_or(&step.printed);
            if expected != printed {
                out += &format!(
                    "$ {}\n--- the file says\n{expected}--- printed\n{printed}\n",
                    step.command
                );
            }
        }
        out
    }

    /// Runs all commands with `etcdctl` against the server at `address`; gives what each printed.
    #[track_caller]
    pub fn play(&self, etcdctl: &Path, addresses: &[String]) -> Vec<String> {
        let folder = tempfile::Builder::new().prefix("golden-").tempdir().expect("a folder");
        let root = folder.path();
        for name in ["bin", "out", "work"] {
            fs::create_dir(root.join(name)).expect("a folder");
        }
        symlink(etcdctl, root.join("bin/etcdctl")).expect("a link");
        if self.v2 {
            symlink("/usr/bin/etcd", root.join("bin/etcd")).expect("a link");
        }
        run_bash(&self.script(root, addresses), root);
        let mask = Mask { addresses, folder: root };
        let part = |number: usize, what: &str| {
            fs::read(root.join(format!("out/{number}.{what}"))).unwrap_or_default()
        };
        (0..self.steps.len())
            .map(|number| {
                let stdout = mask.hide(&part(number, "stdout"));
                let stderr = mask.hide(&part(number, "stderr"));
                let code = String::from_utf8_lossy(&part(number, "code")).trim().to_owned();
                let exit = match code.as_str() {
                    "0" => String::new(),
                    code => format!("exit {code}\n"),
                };
                lines("  ", &stdout) + &lines("! ", &stderr) + &exit
            })
            .collect()
    }

    fn script(&self, root: &Path, addresses: &[String]) -> String {
        let root = root.display();
        let all = addresses.join(",");
        let first = &addresses[0];
        let ctl = match self.v2 {
            false => "timeout 20 etcdctl --endpoints=$E",
            // A slow machine is not what is looked for here.
            true => "timeout 60 etcdctl --timeout=20s --total-timeout=50s --endpoints=http://$E",
        };
        let api = match (self.v2, addresses) {
            (false, _) => String::new(),
            // For a member that the file starts by itself.
            (true, [_, client, peer]) => format!("export ETCDCTL_API=2; N={client} NP={peer}\n"),
            (true, _) => "export ETCDCTL_API=2\n".to_owned(),
        };
        let mut script = format!(
            "cd {root}/work; export LC_ALL=C PATH={root}/bin:$PATH\n\
             E={first}; ALL={all}\n{api}\
             ctl() {{ {ctl} \"$@\"; }}\n"
        );
        for (number, step) in self.steps.iter().enumerate() {
            let (out, command) = (format!("{root}/out/{number}"), &step.command);
            script += &format!(
                "{{ {command}\n}} >{out}.stdout 2>{out}.stderr </dev/null\necho $? >{out}.code\n"
            );
        }
        script
    }
}

fn tool(name: &str) -> Part {
    match name {
        "3.5" => Part::Etcdctl35,
        "3.4" => Part::Etcdctl34,
        other => panic!("which etcdctl is {other}?"),
    }
}

/// What was printed, each line after a mark. Bytes that are no text are escaped.
fn lines(mark: &str, text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, ""),
            None => (line, "\\no newline"),
        };
        out += &format!("{mark}{line}{end}\n");
    }
    out
}

/// Runs a script in a process group of its own, which is gone afterwards.
#[track_caller]
fn run_bash(script: &str, root: &Path) {
    let file = root.join("script");
    fs::write(&file, script).expect("a file");
    let mut bash = Command::new("bash");
    bash.arg(&file).stdin(Stdio::null()).process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD") {
            bash.env_remove(name);
        }
    }
    let mut child = bash.spawn().expect("bash is there");
    let deadline = Instant::now() + PLAY_DURATION_MAX;
    while child.try_wait().expect("a child can be asked").is_none() {
        if Instant::now() > deadline {
            let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            let group = group.expect("a child has a process id");
            // It may have ended just now.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            child.wait().expect("a child can be waited for");
            panic!("the commands did not end in time");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
