//! Completion: scripts for four shells, which ask the program itself what may come next.

use super::parse::{find, flags_of};
use super::{Arguments, Command, Completes, Flag, HELP, Kind};

/// The hidden first word with which a shell asks for candidates. The words typed so far follow, the
/// last of them unfinished.
pub const REQUEST: &str = "__complete";
/// A candidate that asks the shell for names of files.
const FILES: &str = ":files";
/// A candidate that asks the shell for names of directories.
const DIRECTORIES: &str = ":directories";

/// The shells there is a script for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish", "powershell"];

/// What may stand in the place of the last word.
pub fn candidates(root: &'static Command, words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    // Flags and their values stand between commands; only plain words name one.
    let mut plain = Vec::new();
    let mut value_of = None;
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            let (path, _) = find(root, &plain);
            value_of = awaiting_value(flags_of(&path), word);
        } else {
            plain.push(word.clone());
        }
    }
    let (path, rest) = find(root, &plain);
    let command = path[path.len() - 1];
    let offered = match value_of {
        Some(flag) => offered(flag.completes),
        None if last.starts_with('-') => {
            let names = flags_of(&path).map(|flag| flag.name).chain([HELP]);
            names.map(|name| format!("--{name}")).collect()
        }
        None if !command.commands.is_empty() => {
            let help = (path.len() == 1).then_some(HELP);
            let names = command.commands.iter().map(|command| command.name).chain(help);
            names.map(str::to_owned).collect()
        }
        None if rest.is_empty() => match command.arguments {
            Arguments::OneOf(words) => offered(Completes::Words(words)),
            Arguments::Any | Arguments::One if command.usage.contains("<filename>") => {
                offered(Completes::Files)
            }
            Arguments::Any | Arguments::One if command.usage.contains("<data-dir>") => {
                offered(Completes::Directories)
            }
            Arguments::Any | Arguments::One => Vec::new(),
        },
        None => Vec::new(),
    };
    let fits = |word: &String| word.starts_with(':') || word.starts_with(last.as_str());
    offered.into_iter().filter(fits).collect()
}

/// The flag whose value the next word is.
fn awaiting_value(
    mut flags: impl Iterator<Item = &'static Flag>,
    word: &str,
) -> Option<&'static Flag> {
    let flag = flags.find(|flag| {
        word.strip_prefix("--") == Some(flag.name)
            || flag.letter.is_some_and(|letter| word == format!("-{letter}"))
    })?;
    (flag.kind != Kind::Truth).then_some(flag)
}

fn offered(completes: Completes) -> Vec<String> {
    match completes {
        Completes::Nothing => Vec::new(),
        Completes::Files => vec![FILES.to_owned()],
        Completes::Directories => vec![DIRECTORIES.to_owned()],
        Completes::Words(words) => words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

/// The script that makes a shell complete the command lines of `program`.
pub fn script(shell: &str, program: &str) -> String {
    let template = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        "powershell" => POWERSHELL,
        _ => unreachable!("the argument was checked against SHELLS"),
    };
    template
        .replace("PROGRAM", program)
        .replace("REQUEST", REQUEST)
        .replace("FILES", FILES)
        .replace("DIRECTORIES", DIRECTORIES)
}

const BASH: &str = r#"# bash completion for PROGRAM
_PROGRAM() {
    local current="${COMP_WORDS[COMP_CWORD]}" candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        case "$candidate" in
            FILES) COMPREPLY+=($(compgen -f -- "$current")) ;;
            DIRECTORIES) COMPREPLY+=($(compgen -d -- "$current")) ;;
            *) COMPREPLY+=("$candidate") ;;
        esac
    done < <(PROGRAM REQUEST "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _PROGRAM PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
# zsh completion for PROGRAM
_PROGRAM() {
    local candidate
    local -a found
    for candidate in "${(@f)$(PROGRAM REQUEST "${(@)words[2,$CURRENT]}" 2>/dev/null)}"; do
        case "$candidate" in
            FILES) _files ;;
            DIRECTORIES) _files -/ ;;
            ?*) found+=("$candidate") ;;
        esac
    done
    compadd -- "${found[@]}"
}
compdef _PROGRAM PROGRAM
"#;

const FISH: &str = r#"# fish completion for PROGRAM
function __PROGRAM_candidates
    set -l words (commandline -opc) (commandline -ct)
    for candidate in (PROGRAM REQUEST $words[2..-1] 2>/dev/null)
        switch $candidate
            case FILES
                __fish_complete_path (commandline -ct)
            case DIRECTORIES
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $candidate
        end
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_candidates)'
"#;

const POWERSHELL: &str = r#"# powershell completion for PROGRAM
Register-ArgumentCompleter -Native -CommandName PROGRAM -ScriptBlock {
    param($current, $line, $position)
    $words = @($line.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" })
    if ("$current" -eq "") { $words += '""' }
    PROGRAM REQUEST @words 2>$null | ForEach-Object {
        if ($_ -eq 'FILES' -or $_ -eq 'DIRECTORIES') {
            Get-ChildItem -Path "$current*" | ForEach-Object { $_.Name }
        } else { $_ }
    }
}
"#;
