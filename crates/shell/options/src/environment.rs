//! Environment variables: each flag F can be said as `ETCD_F`, if it is not on the command line.

use crate::note::Note;
use crate::table;
use crate::values::Values;
use go::quote;

const PREFIX: &str = "ETCD_";

/// What the environment had to say.
pub struct Heard {
    /// To be logged.
    pub notes: Vec<Note>,
    /// A value that did not fit; the last one, as in etcd.
    pub fault: Option<String>,
}

/// A variable that contradicts the command line; etcd stops without a further word.
pub struct Shadowed {
    /// Its name.
    pub variable: String,
    /// What was found out before.
    pub notes: Vec<Note>,
}

/// Takes in every variable whose flag is not on the command line.
pub fn hear(environment: &[(String, String)], values: &mut Values) -> Result<Heard, Shadowed> {
    let lookup = |variable: &str| {
        environment.iter().find(|(name, _)| name == variable).map(|(_, value)| value.as_str())
    };
    let mut notes = Vec::new();
    let mut fault = None;
    let mut used = vec!["ETCD_VERSION".to_owned()];
    let mut on_line = Vec::new();
    let mut flags: Vec<_> = table::all().collect();
    flags.sort_by_key(|flag| flag.name);
    if let Some(value) = lookup("ETCD_VERSION") {
        let note = Note::warn("cannot set special environment variable");
        notes.push(note.with("key", "ETCD_VERSION").with("value", value));
    }
    for flag in flags.into_iter().filter(|flag| flag.name != "version") {
        let variable = flag.variable();
        if values.is_said(flag) {
            on_line.push(variable);
            continue;
        }
        // An empty variable counts as unset.
        let Some(typed) = lookup(&variable).filter(|typed| !typed.is_empty()) else { continue };
        match flag.kind.read(typed) {
            Ok(value) => {
                let shown = if is_secret(&variable) { HIDDEN } else { typed };
                let note = Note::info("recognized and used environment variable");
                notes.push(note.with("variable-name", &*variable).with("variable-value", shown));
                values.say(flag, value);
            }
            Err(why) => {
                fault = Some(format!("invalid value {} for {variable}: {why}", quote(typed)));
            }
        }
        used.push(variable);
    }
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if used.contains(name) {
            continue;
        }
        if on_line.contains(name) {
            return Err(Shadowed { variable: name.clone(), notes });
        }
        let shown = if is_secret(name) { HIDDEN } else { value };
        let note = Note::warn("unrecognized environment variable");
        notes.push(note.with("environment-variable", format!("{name}={shown}")));
    }
    Ok(Heard { notes, fault })
}

/// What stands in for a value that must not reach a log.
pub const HIDDEN: &str = "(hidden)";

/// Whether a flag's or variable's value must not reach a log.
///
/// The initial cluster token is no secret; it is known by its flag and never asked for here.
pub fn is_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase().replace('-', "_");
    let telling = ["PASSWORD", "SECRET", "DISCOVERY_USER"];
    telling.iter().any(|word| upper.contains(word))
}

/// The command line with secrets hidden, for the log.
pub fn without_secrets(args: &[String]) -> Vec<String> {
    let mut shown = Vec::with_capacity(args.len());
    let mut hide_next = false;
    for arg in args {
        let flag = arg.strip_prefix('-').map(|rest| rest.trim_start_matches('-'));
        match flag {
            _ if hide_next => {
                shown.push(HIDDEN.to_owned());
                hide_next = false;
            }
            Some(body) if is_secret(body.split('=').next().unwrap_or(body)) => {
                match arg.split_once('=') {
                    Some((name, _)) => shown.push(format!("{name}={HIDDEN}")),
                    None => {
                        shown.push(arg.clone());
                        hide_next = true;
                    }
                }
            }
            _ => shown.push(arg.clone()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_variable_sets_its_flag_and_an_unknown_one_is_remarked_on() {
        let mut values = Values::default();
        let environment = variables(&[("ETCD_NOSUCH", "1"), ("ETCD_NAME", "m1"), ("HOME", "/")]);
        let heard = hear(&environment, &mut values).ok().expect("nothing is shadowed");
        assert_eq!(values.text(table::NAME), "m1");
        let texts: Vec<_> = heard.notes.iter().map(|note| note.message.as_str()).collect();
        assert_eq!(
            texts,
            ["recognized and used environment variable", "unrecognized environment variable"]
        );
        assert_eq!(heard.notes[1].fields, [("environment-variable", "ETCD_NOSUCH=1".into())]);
    }

    #[test]
    fn a_variable_whose_flag_is_on_the_command_line_is_a_contradiction() {
        let mut values = Values::default();
        let name = table::find("name").expect("known");
        values.say(name, name.kind.read("y").expect("any text"));
        let shadowed = hear(&variables(&[("ETCD_NAME", "x")]), &mut values).err();
        assert_eq!(shadowed.map(|found| found.variable), Some("ETCD_NAME".to_owned()));
    }

    #[test]
    fn a_bad_value_is_refused_naming_the_variable() {
        let heard = hear(&variables(&[("ETCD_PRE_VOTE", "maybe")]), &mut Values::default());
        let fault = heard.ok().and_then(|heard| heard.fault);
        let expected = "invalid value \"maybe\" for ETCD_PRE_VOTE: parse error";
        assert_eq!(fault.as_deref(), Some(expected));
    }

    #[test]
    fn a_password_never_reaches_the_log() {
        let args = ["--discovery-password=abc", "--discovery-user", "me:abc", "--name=x"];
        let shown = without_secrets(&args.map(str::to_owned));
        assert!(!shown.join(" ").contains("abc"));
        assert_eq!(shown[3], "--name=x");
        let environment =
            variables(&[("ETCD_DISCOVERY_PASSWORD", "abc"), ("ETCD_ROOT_PASSWORD", "abc")]);
        let heard = hear(&environment, &mut Values::default()).ok().expect("nothing is shadowed");
        assert_eq!(heard.notes.len(), 2);
        assert!(!format!("{:?}", heard.notes).contains("abc"));
    }
}
