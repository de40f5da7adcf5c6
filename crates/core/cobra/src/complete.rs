//! Completion: what a program tells a shell, and scripts for four shells that ask it.
//!
//! The answer is cobra's: a candidate a line, its description after a tab, and at the end a colon with a
//! number that says what else may stand there. So scripts that Go's tools made go on working with ours, and
//! ours with Go's.

use std::fmt::Write;

/// The hidden first word with which a shell asks. The words typed so far follow, the last of them
/// unfinished.
pub const DESCRIBED_REQUEST: &str = "__complete";
/// The same for shells that show no descriptions.
pub const PLAIN_REQUEST: &str = "__completeNoDesc";

/// The shells there is a script for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish", "powershell"];

/// Something that may stand in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What would be typed.
    pub word: String,
    /// One line about it; empty for none.
    pub about: String,
}

impl Candidate {
    /// A candidate that speaks for itself.
    pub fn word(word: impl Into<String>) -> Candidate {
        Candidate { word: word.into(), about: String::new() }
    }
}

/// What a shell may offer where nothing of the offer fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// Names of files.
    Files,
    /// Nothing.
    Nothing,
    /// Names of directories.
    Directories,
}

impl Otherwise {
    fn number(self) -> u8 {
        match self {
            Otherwise::Files => 0,
            Otherwise::Nothing => 4,
            Otherwise::Directories => 16,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Otherwise::Files => "ShellCompDirectiveDefault",
            Otherwise::Nothing => "ShellCompDirectiveNoFileComp",
            Otherwise::Directories => "ShellCompDirectiveFilterDirs",
        }
    }
}

/// What may stand in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// In the order in which a shell shows them.
    pub candidates: Vec<Candidate>,
    /// What else.
    pub otherwise: Otherwise,
    /// Why nothing is offered, for whoever looks at stderr.
    pub fault: Option<String>,
}

impl Offer {
    /// These candidates.
    pub fn of(candidates: impl IntoIterator<Item = Candidate>, otherwise: Otherwise) -> Offer {
        Offer { candidates: candidates.into_iter().collect(), otherwise, fault: None }
    }

    /// No candidates.
    pub fn nothing(otherwise: Otherwise) -> Offer {
        Offer::of([], otherwise)
    }

    /// Nothing, since what stands before is wrong.
    pub fn fault(why: String) -> Offer {
        Offer { fault: Some(why), ..Offer::nothing(Otherwise::Files) }
    }

    /// Only what begins like the word that is unfinished.
    #[must_use]
    pub fn beginning_with(mut self, unfinished: &str) -> Offer {
        self.candidates.retain(|candidate| candidate.word.starts_with(unfinished));
        self
    }
}

/// What goes to stdout and to stderr, as cobra says it.
pub fn answer(offer: &Offer, described: bool) -> (String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    for Candidate { word, about } in &offer.candidates {
        let line = if described && !about.is_empty() {
            writeln!(stdout, "{word}\t{about}")
        } else {
            writeln!(stdout, "{word}")
        };
        line.expect("a String takes whatever is written");
    }
    stdout += &format!(":{}\n", offer.otherwise.number());
    if let Some(why) = &offer.fault {
        stderr += &format!("[Debug] [Error] {why}\n");
    }
    stderr += &format!("Completion ended with directive: {}\n", offer.otherwise.name());
    (stdout, stderr)
}

/// The script that makes a shell complete the command lines of `program`; `None` for an unknown shell.
pub fn script(shell: &str, program: &str) -> Option<String> {
    let template = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        "powershell" => POWERSHELL,
        _ => return None,
    };
    let plain = template.replace("PLAIN_REQUEST", PLAIN_REQUEST);
    Some(plain.replace("REQUEST", DESCRIBED_REQUEST).replace("PROGRAM", program))
}

const BASH: &str = r#"# bash completion for PROGRAM
_PROGRAM() {
    local current="${COMP_WORDS[COMP_CWORD]}" line
    COMPREPLY=()
    while IFS= read -r line; do
        case "$line" in
            :0) [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current")) ;;
            :16) COMPREPLY=($(compgen -d -- "$current")) ;;
            :*) ;;
            "$current"*) COMPREPLY+=("$line") ;;
        esac
    done < <(PROGRAM PLAIN_REQUEST "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _PROGRAM PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
# zsh completion for PROGRAM
_PROGRAM() {
    local line
    local -a found
    for line in "${(@f)$(PROGRAM REQUEST "${(@)words[2,$CURRENT]}" 2>/dev/null)}"; do
        case "$line" in
            :0) (( ${#found} )) || _files ;;
            :16) _files -/ ;;
            :*) ;;
            *) found+=("${${line/:/\\:}/$'\t'/:}") ;;
        esac
    done
    (( ${#found} )) && _describe 'PROGRAM' found
}
compdef _PROGRAM PROGRAM
"#;

const FISH: &str = r#"# fish completion for PROGRAM
function __PROGRAM_candidates
    set -l words (commandline -opc) (commandline -ct)
    set -l found 0
    for line in (PROGRAM REQUEST $words[2..-1] 2>/dev/null)
        switch $line
            case ':0'
                test $found -gt 0; or __fish_complete_path (commandline -ct)
            case ':16'
                __fish_complete_directories (commandline -ct)
            case ':*'
            case '*'
                set found (math $found + 1)
                echo $line
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
    $found = 0
    PROGRAM PLAIN_REQUEST @words 2>$null | ForEach-Object {
        if ($_ -eq ':16' -or ($_ -eq ':0' -and $found -eq 0)) {
            Get-ChildItem -Path "$current*" | ForEach-Object { $_.Name }
        } elseif ($_ -notlike ':*' -and $_ -like "$current*") { $found += 1; $_ }
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cobras() {
        let candidates =
            [Candidate { word: "get".to_owned(), about: "Gets".to_owned() }, Candidate::word("x")];
        let offer = Offer::of(candidates, Otherwise::Nothing);
        let end = "Completion ended with directive: ShellCompDirectiveNoFileComp\n";
        assert_eq!(answer(&offer, true), ("get\tGets\nx\n:4\n".to_owned(), end.to_owned()));
        assert_eq!(answer(&offer, false).0, "get\nx\n:4\n");
        assert_eq!(answer(&offer.beginning_with("g"), false).0, "get\n:4\n");
        let end =
            "[Debug] [Error] odd\nCompletion ended with directive: ShellCompDirectiveDefault\n";
        assert_eq!(
            answer(&Offer::fault("odd".to_owned()), true),
            (":0\n".to_owned(), end.to_owned())
        );
    }

    #[test]
    fn every_shell_has_a_script_that_asks_the_program() {
        for shell in SHELLS {
            let script = script(shell, "etcdctl").expect("it is known");
            assert!(script.contains("etcdctl __complete"), "{shell}");
            assert!(!script.contains("PROGRAM") && !script.contains("REQUEST"), "{shell}");
        }
        assert_eq!(script("sh", "etcdctl"), None);
    }
}
