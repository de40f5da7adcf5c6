//! Log lines on standard error, in the console form of etcd's tools: time, level, place, message,
//! fields, with tabs between.

use jiff::Timestamp;
use serde_json::{Value, json};

/// One line at level `info`.
#[track_caller]
pub fn info(message: &str, fields: &[(&str, Value)]) {
    line("info", message, fields);
}

/// One line at level `warn`.
#[track_caller]
pub fn warn(message: &str, fields: &[(&str, Value)]) {
    line("warn", message, fields);
}

#[track_caller]
fn line(level: &str, message: &str, fields: &[(&str, Value)]) {
    let place = std::panic::Location::caller();
    let file = place.file().rsplit_once("src/").map_or(place.file(), |(_, file)| file);
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
    let fields = match fields.as_slice() {
        [] => String::new(),
        fields => format!("\t{{{}}}", fields.join(", ")),
    };
    eprintln!("{time}\t{level}\t{file}:{}\t{message}{fields}", place.line());
}
