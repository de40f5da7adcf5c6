//! Where log lines go and how they look, as configured. Writing them is the logging crate's work.

use std::path::PathBuf;

use serde_json::Value as Json;

use go::quote;

use crate::url::unescaped;

/// How serious a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For finding a fault.
    Debug,
    /// The usual course of things.
    Info,
    /// Somebody should look some day.
    Warn,
    /// Somebody should look.
    Error,
    /// An impossibility; the process ends.
    Panic,
    /// The process cannot go on and ends.
    Fatal,
}

impl Level {
    /// As it is written in a line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }

    /// Reads a level in lower or upper case; nothing means info.
    pub fn parse(typed: &str) -> Result<Level, String> {
        let all_upper = !typed.chars().any(|c| c.is_ascii_lowercase());
        let word = if all_upper { typed.to_ascii_lowercase() } else { typed.to_owned() };
        match word.as_str() {
            "debug" => Ok(Level::Debug),
            "info" | "" => Ok(Level::Info),
            "warn" => Ok(Level::Warn),
            "error" => Ok(Level::Error),
            "panic" | "dpanic" => Ok(Level::Panic),
            "fatal" => Ok(Level::Fatal),
            _ => Err(format!("unrecognized level: {}", quote(typed))),
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Columns separated by tabs, for eyes.
    Console,
}

/// One place that lines go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The systemd journal, by its own protocol.
    Journal,
    /// A file, appended to.
    File(PathBuf),
}

/// When a log file is full, and what becomes of old ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes after which a new file begins.
    pub file_bytes_max: u64,
    /// Days an old file is kept; `None` for ever.
    pub days_max: Option<u32>,
    /// Old files kept; `None` for all.
    pub backups_max: Option<usize>,
    /// Name old files by local time rather than UTC.
    pub local_time: bool,
    /// Compress old files with gzip.
    pub compress: bool,
}

/// Everything about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The least serious lines to write.
    pub level: Level,
    /// How they look.
    pub format: Format,
    /// Where they go.
    pub outputs: Vec<Output>,
    /// For a single file: when to begin a new one.
    pub rotation: Option<Rotation>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            level: Level::Info,
            format: Format::Json,
            outputs: vec![Output::Stderr],
            rotation: None,
        }
    }
}

impl Output {
    /// Reads the list of outputs; each is used once.
    pub fn parse_list(words: &[String]) -> Result<Vec<Output>, String> {
        let mut outputs = Vec::new();
        for word in words {
            let output = match word.as_str() {
                "default" if words.len() > 1 => {
                    return Err("multi logoutput for \"default\" is not supported yet".into());
                }
                "default" | "stderr" => Output::Stderr,
                "stdout" => Output::Stdout,
                "systemd/journal" => Output::Journal,
                word => Output::File(
                    log_file(word).map_err(|why| format!("open sink {}: {why}", quote(word)))?,
                ),
            };
            if !outputs.contains(&output) {
                outputs.push(output);
            }
        }
        Ok(outputs)
    }
}

/// The file that a word names: a path, or a URL of one.
fn log_file(word: &str) -> Result<PathBuf, String> {
    let scheme_end = word.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
    let scheme = scheme_end.filter(|end| word[*end..].starts_with(':')).map(|end| &word[..end]);
    let Some(scheme) =
        scheme.filter(|scheme| scheme.starts_with(|c: char| c.is_ascii_alphabetic()))
    else {
        return Ok(word.into());
    };
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(format!("no sink found for scheme {}", quote(scheme.to_ascii_lowercase())));
    }
    let refused = |what: &str| Err(format!("{what}: got {word}"));
    let rest = &word[scheme.len() + 1..];
    let (rest, fragment) = rest.split_once('#').map_or((rest, false), |(rest, _)| (rest, true));
    let (rest, query) = rest.split_once('?').map_or((rest, false), |(rest, _)| (rest, true));
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        // Without a slash at its front it is no path to Go, and no file can be opened.
        None if rest.starts_with('/') => ("", rest),
        None => ("", ""),
    };
    match authority {
        user if user.contains('@') => refused("user and password not allowed with file URLs"),
        _ if fragment => refused("fragments not allowed with file URLs"),
        _ if query => refused("query parameters not allowed with file URLs"),
        "" | "localhost" => Ok(unescaped(path)?.into()),
        place if place.contains(':') => refused("ports not allowed with file URLs"),
        _ => refused("file URLs must leave host empty or use localhost"),
    }
}

impl Rotation {
    /// Reads the JSON that `--log-rotation-config-json` takes.
    pub fn parse(typed: &str) -> Result<Rotation, String> {
        let json: Json = serde_json::from_str(typed).map_err(|_| malformed(typed))?;
        let number = |key: &str| match json.get(key) {
            None | Some(Json::Null) => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| wrong_type(key, value, "int")),
        };
        let truth = |key: &str| match json.get(key) {
            None | Some(Json::Null) => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong_type(key, value, "bool")),
        };
        let megabytes = u64::try_from(number("maxsize")?).unwrap_or(0);
        Ok(Rotation {
            file_bytes_max: if megabytes == 0 { 100 } else { megabytes }.saturating_mul(1 << 20),
            days_max: u32::try_from(number("maxage")?).ok().filter(|days| *days > 0),
            backups_max: usize::try_from(number("maxbackups")?).ok().filter(|count| *count > 0),
            local_time: truth("localtime")?,
            compress: truth("compress")?,
        })
    }
}

/// What Go calls a JSON value.
fn json_kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn malformed(typed: &str) -> String {
    let why = match typed.trim_start().chars().next() {
        None => "unexpected end of JSON input".to_owned(),
        Some('{') => "unexpected end of JSON input".to_owned(),
        Some(first) => format!("invalid character '{first}' looking for beginning of value"),
    };
    format!("improperly formatted log rotation config: {why}")
}

fn wrong_type(key: &str, value: &Json, wanted: &str) -> String {
    let found = json_kind(value);
    format!(
        "invalid log rotation config: json: cannot unmarshal {found} into Go struct field \
         logRotationConfig.Logger.{key} of type {wanted}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_stands_alone_and_an_output_named_twice_is_used_once() {
        let words = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(Output::parse_list(&words("default")), Ok(vec![Output::Stderr]));
        assert_eq!(
            Output::parse_list(&words("stdout,a.log,stdout")),
            Ok(vec![Output::Stdout, Output::File("a.log".into())])
        );
        assert!(Output::parse_list(&words("default,stderr")).is_err());
    }

    #[test]
    fn a_file_may_be_named_by_a_url() {
        let file = |word: &str| Output::parse_list(&[word.to_owned()]);
        for (word, path) in [
            ("file:///x/y.log", "/x/y.log"),
            ("FILE://localhost/x", "/x"),
            ("file:///a%20b", "/a b"),
            ("rel/a.log", "rel/a.log"),
            ("./a:b", "./a:b"),
        ] {
            assert_eq!(file(word), Ok(vec![Output::File(path.into())]), "{word}");
        }
        for (word, why) in [
            (
                "file://host/x",
                "file URLs must leave host empty or use localhost: got file://host/x",
            ),
            ("http://x/y", "no sink found for scheme \"http\""),
            ("a:b", "no sink found for scheme \"a\""),
            ("file:///x?y", "query parameters not allowed with file URLs: got file:///x?y"),
            ("file:///x#y", "fragments not allowed with file URLs: got file:///x#y"),
            ("file://u@/x", "user and password not allowed with file URLs: got file://u@/x"),
        ] {
            assert_eq!(file(word), Err(format!("open sink \"{word}\": {why}")));
        }
    }

    #[test]
    fn a_rotation_of_zeros_means_a_hundred_megabytes_and_all_kept() {
        let usual = r#"{"maxsize": 0, "maxage": 0, "maxbackups": 0, "localtime": false}"#;
        let rotation = Rotation::parse(usual).expect("well formed");
        assert_eq!(rotation.file_bytes_max, 100 << 20);
        assert_eq!((rotation.days_max, rotation.backups_max), (None, None));
        let fault = Rotation::parse(r#"{"maxsize":"a"}"#).expect_err("a text is no size");
        assert!(fault.ends_with("cannot unmarshal string into Go struct field logRotationConfig.Logger.maxsize of type int"));
    }
}
