//! Completion: scripts for four shells, which ask the program itself what may come next.

use crate::args::{HELP, below, flags_of};
use crate::spec::{Command, Flag, Kind, ROOT};

/// The hidden first word with which a shell asks for candidates. The words typed so far follow, the
/// last of them unfinished.
pub const REQUEST: &str = "__complete";
/// A candidate that asks the shell for names of files.
const FILES: &str = ":files";

/// The shells there is a script for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish", "powershell"];

/// What may stand in the place of the last word.
pub fn candidates(words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let mut path: Vec<&'static Command> = vec![&ROOT];
    let mut arguments = 0;
    let mut value_of: Option<&'static Flag> = None;
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        let command = path[path.len() - 1];
        if word.starts_with('-') {
            value_of = awaiting_value(&path, word);
        } else if let Some(found) = below(command, word) {
            path.push(found);
        } else {
            arguments += 1;
        }
    }
    let command = path[path.len() - 1];
    let offered: Vec<String> = match value_of {
        Some(flag) if flag.help.contains("file") || flag.help.contains("bundle") => {
            vec![FILES.to_owned()]
        }
        Some(flag) => flag.choices.iter().map(|choice| (*choice).to_owned()).collect(),
        None if last.starts_with('-') => {
            flags_of(&path).iter().map(|flag| format!("--{}", flag.name)).collect()
        }
        None if !command.commands.is_empty() => {
            command.commands.iter().map(|below| below.name().to_owned()).collect()
        }
        None if arguments == 0 && command.usage.contains("<filename>") => vec![FILES.to_owned()],
        None if arguments == 0 && command.name() == "completion" => {
            SHELLS.iter().map(|shell| (*shell).to_owned()).collect()
        }
        None => Vec::new(),
    };
    let fits = |word: &String| word.starts_with(':') || word.starts_with(last.as_str());
    offered.into_iter().filter(fits).collect()
}

/// The flag whose value the next word is.
fn awaiting_value(path: &[&'static Command], word: &str) -> Option<&'static Flag> {
    let named = |flag: &&'static Flag| {
        word.strip_prefix("--") == Some(flag.name)
            || flag.short.is_some_and(|letter| word == format!("-{letter}"))
    };
    let flag = flags_of(path).into_iter().find(named)?;
    (flag.kind != Kind::Bool && flag.name != HELP.name).then_some(flag)
}

/// The script that makes a shell complete our command lines.
pub fn script(shell: &str) -> String {
    let template = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        "powershell" => POWERSHELL,
        _ => unreachable!("the argument was checked against SHELLS"),
    };
    template.replace("REQUEST", REQUEST).replace("FILES", FILES)
}

const BASH: &str = r#"# bash completion for etcdctl
_etcdctl() {
    local current="${COMP_WORDS[COMP_CWORD]}" candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        case "$candidate" in
            FILES) COMPREPLY+=($(compgen -f -- "$current")) ;;
            *) COMPREPLY+=("$candidate") ;;
        esac
    done < <(etcdctl REQUEST "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _etcdctl etcdctl
"#;

const ZSH: &str = r#"#compdef etcdctl
# zsh completion for etcdctl
_etcdctl() {
    local candidate
    local -a found
    for candidate in "${(@f)$(etcdctl REQUEST "${(@)words[2,$CURRENT]}" 2>/dev/null)}"; do
        case "$candidate" in
            FILES) _files ;;
            ?*) found+=("$candidate") ;;
        esac
    done
    compadd -- "${found[@]}"
}
compdef _etcdctl etcdctl
"#;

const FISH: &str = r#"# fish completion for etcdctl
function __etcdctl_candidates
    set -l words (commandline -opc) (commandline -ct)
    for candidate in (etcdctl REQUEST $words[2..-1] 2>/dev/null)
        switch $candidate
            case FILES
                __fish_complete_path (commandline -ct)
            case '*'
                echo $candidate
        end
    end
end
complete -c etcdctl -f -a '(__etcdctl_candidates)'
"#;

const POWERSHELL: &str = r#"# powershell completion for etcdctl
Register-ArgumentCompleter -Native -CommandName etcdctl -ScriptBlock {
    param($current, $line, $position)
    $words = @($line.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" })
    if ("$current" -eq "") { $words += '""' }
    etcdctl REQUEST @words 2>$null | ForEach-Object {
        if ($_ -eq 'FILES') {
            Get-ChildItem -Path "$current*" | ForEach-Object { $_.Name }
        } else { $_ }
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, offered: &[&str]) {
        let words: Vec<String> = typed.split(' ').map(str::to_owned).collect();
        assert_eq!(candidates(&words), offered);
    }

    #[test]
    fn commands_flags_and_values_are_offered_from_the_table() {
        check("mem", &["member"]);
        check("-w json member ", &["add", "list", "promote", "remove", "update"]);
        check("get --pri", &["--print-value-only"]);
        check("get k -w p", &["protobuf"]);
        check("get k --order ", &["ASCEND", "DESCEND"]);
        check("--cacert ", &[FILES]);
        check("snapshot save ", &[FILES]);
        check("completion z", &["zsh"]);
        check("get k ", &[]);
    }

    #[test]
    fn every_shell_has_a_script_that_asks_the_program() {
        for shell in SHELLS {
            assert!(script(shell).contains("etcdctl __complete"), "{shell}");
        }
    }
}
