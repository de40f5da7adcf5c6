//! The command line as Go's package `flag` takes it apart.
//!
//! One or two dashes mean the same; a value follows after `=` or as the next word; a truth value never
//! takes the next word; `--` and the first word that is no flag end the flags.

/// One flag as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed<'a> {
    /// Without dashes.
    pub name: &'a str,
    /// What stood after `=` or came next; `None` for a lone truth value.
    pub value: Option<&'a str>,
}

/// What stood on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// The words after the flags.
    pub rest: &'a [String],
}

/// What a flag of a given name is, as far as taking the line apart goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No flag has that name.
    Unknown,
    /// A truth value: takes a value only after `=`.
    Switch,
    /// Takes a value.
    Valued,
}

/// Takes the line apart, handing over each flag as it comes; an error is Go's text.
///
/// `take` may refuse a value; the flags before it have been handed over by then, as in Go.
pub fn walk<'a>(
    args: &'a [String],
    shape: impl Fn(&str) -> Shape,
    mut take: impl FnMut(Typed<'a>) -> Result<(), String>,
) -> Result<Line<'a>, String> {
    let mut rest = args;
    while let [word, after @ ..] = rest {
        let dashes = if word.starts_with("--") { 2 } else { usize::from(word.starts_with('-')) };
        if dashes == 0 || word == "-" {
            break;
        }
        rest = after;
        if word == "--" {
            break;
        }
        let body = &word[dashes..];
        if body.is_empty() || body.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {word}"));
        }
        let (name, mut value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        match shape(name) {
            Shape::Unknown => return Err(format!("flag provided but not defined: -{name}")),
            Shape::Switch => {}
            Shape::Valued if value.is_some() => {}
            Shape::Valued => {
                let [next, after @ ..] = rest else {
                    return Err(format!("flag needs an argument: -{name}"));
                };
                value = Some(next);
                rest = after;
            }
        }
        take(Typed { name, value })?;
    }
    Ok(Line { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str) -> Shape {
        match name {
            "name" => Shape::Valued,
            "pre-vote" => Shape::Switch,
            _ => Shape::Unknown,
        }
    }

    #[track_caller]
    fn check(line: &str, expected: Result<(&str, &str), &str>) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut seen = Vec::new();
        let result = walk(&args, shape, |typed| {
            seen.push(format!("{}={}", typed.name, typed.value.unwrap_or("(none)")));
            Ok(())
        });
        match expected {
            Ok((flags, rest)) => {
                assert_eq!(result.expect("the line is well formed").rest.join(" "), rest);
                assert_eq!(seen.join(" "), flags);
            }
            Err(error) => assert_eq!(result, Err(error.to_owned())),
        }
    }

    #[test]
    fn one_dash_or_two_and_a_value_after_equals_or_blank() {
        check("-name a", Ok(("name=a", "")));
        check("--name=a=b --name c", Ok(("name=a=b name=c", "")));
        check("--name= x", Ok(("name=", "x")));
        check("--name --pre-vote", Ok(("name=--pre-vote", "")));
    }

    #[test]
    fn a_truth_value_takes_no_next_word() {
        check("--pre-vote false", Ok(("pre-vote=(none)", "false")));
        check("--pre-vote=false", Ok(("pre-vote=false", "")));
    }

    #[test]
    fn two_dashes_alone_and_a_word_without_any_end_the_flags() {
        check("-- --name a", Ok(("", "--name a")));
        check("- --name a", Ok(("", "- --name a")));
    }

    #[test]
    fn bad_syntax_is_refused_in_gos_words() {
        check("---name", Err("bad flag syntax: ---name"));
        check("--=3", Err("bad flag syntax: --=3"));
        check("--name", Err("flag needs an argument: -name"));
        check("--nosuch=3", Err("flag provided but not defined: -nosuch"));
    }
}
