//! The configuration file: YAML (and so JSON), keys named like flags.
//!
//! When there is one, flags and variables are not looked at. Unknown keys are ignored, as in etcd.
//! Where a value has the wrong type the error is the one Go's decoder gives.

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value as Json;

use crate::flag::{Flag, Kind, Value};
use crate::gates::Gates;
use crate::table;
use crate::values::Values;
use go::GoDuration;

/// Why a file was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It is refused, and the log says so.
    Refused(String),
    /// A list of URLs is malformed: etcd says so on standard error, outside the log.
    Urls(String),
}

/// The mapping at the top; of two equal keys the later one counts.
struct Top(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Top {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Top, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Top;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top, A::Error> {
                let mut pairs: Vec<(String, Json)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Json>()? {
                    pairs.retain(|(known, _)| *known != key);
                    pairs.push((key, value));
                }
                // Go looks at the keys in alphabetical order and reports the first fault.
                pairs.sort_by(|left, right| left.0.cmp(&right.0));
                Ok(Top(pairs))
            }

            fn visit_unit<E>(self) -> Result<Top, E> {
                Ok(Top(Vec::new()))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Reads the whole file.
pub fn read(text: &str) -> Result<Values, FileFault> {
    let top = match serde_yaml_ng::from_str::<Top>(text) {
        Ok(Top(pairs)) => pairs,
        Err(_) if text.trim().is_empty() => Vec::new(),
        Err(fault) => return Err(FileFault::Refused(not_a_mapping(text, &fault))),
    };
    let mut values = Values::default();
    let mut urls_fault = None;
    for (key, json) in &top {
        if json.is_null() {
            continue;
        }
        match key.as_str() {
            "client-transport-security" => security(key, json, "", &mut values)?,
            "peer-transport-security" => security(key, json, "peer-", &mut values)?,
            "discovery-config" => discovery(json, &mut values),
            "socket-options" => block(json, SOCKET_OPTIONS, &mut values)?,
            _ => match table::find(key) {
                Some(flag) if has_key(flag) => match read_value(flag, key, json) {
                    Ok(value) => values.say(flag, value),
                    Err(FileFault::Urls(why)) => urls_fault = urls_fault.or(Some((flag, why))),
                    Err(refused) => return Err(refused),
                },
                _ => {}
            },
        }
    }
    match urls_fault {
        Some((flag, why)) => {
            Err(FileFault::Urls(format!("unexpected error setting up {}: {why}", flag.name)))
        }
        None => Ok(values),
    }
}

/// Flags that have no key of their own: they stand in a block, or cannot be said in a file.
fn has_key(flag: &Flag) -> bool {
    let elsewhere = [
        "config-file",
        "version",
        "raft-read-timeout",
        "raft-write-timeout",
        "client-crl-file",
        "peer-crl-file",
        "discovery-token",
        "discovery-endpoints",
    ];
    let in_block = |(_, name): &(&str, &str)| {
        let own = flag.name.strip_prefix("peer-").unwrap_or(flag.name);
        *name == flag.name || *name == own
    };
    !elsewhere.contains(&flag.name)
        && !SECURITY.iter().any(in_block)
        && !SOCKET_OPTIONS.iter().any(in_block)
}

/// Keys of the two security blocks and the client flags they stand for.
const SECURITY: &[(&str, &str)] = &[
    ("cert-file", "cert-file"),
    ("key-file", "key-file"),
    ("client-cert-file", "client-cert-file"),
    ("client-key-file", "client-key-file"),
    ("client-cert-auth", "client-cert-auth"),
    ("trusted-ca-file", "trusted-ca-file"),
    ("auto-tls", "auto-tls"),
    ("allowed-cn", "cert-allowed-cn"),
    ("allowed-hostname", "cert-allowed-hostname"),
    ("skip-client-san-verification", "skip-client-san-verification"),
];

const SOCKET_OPTIONS: &[(&str, &str)] =
    &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")];

fn security(key: &str, json: &Json, prefix: &str, values: &mut Values) -> Result<(), FileFault> {
    let Some(object) = json.as_object() else {
        return Err(wrong_type("configJSON", key, json, "embed.securityConfig"));
    };
    for (key, json) in object {
        let Some((_, name)) = SECURITY.iter().find(|(known, _)| known == key) else { continue };
        // The client's block has two settings that no client flag has; its nearest relative refuses.
        let client_only =
            || table::find(&format!("client-{name}")).or_else(|| table::find("cert-file"));
        let own = table::find(&format!("{prefix}{name}"));
        let flag = own.or_else(client_only).expect("cert-file is in the table");
        values.say(flag, read_value(flag, key, json)?);
    }
    Ok(())
}

/// What matters of the block is whether it asks for discovery at all.
fn discovery(json: &Json, values: &mut Values) {
    let mut say = |name: &str, value: Value| {
        values.say(table::find(name).expect("discovery flags are in the table"), value);
    };
    if let Some(token) = json.get("token").and_then(Json::as_str) {
        say("discovery-token", Value::Text(token.to_owned()));
    }
    if let Some(endpoints) = json.pointer("/client/endpoints").and_then(Json::as_array) {
        let words = endpoints.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        say("discovery-endpoints", Value::Words(words));
    }
}

fn block(json: &Json, keys: &[(&str, &str)], values: &mut Values) -> Result<(), FileFault> {
    for (key, name) in keys {
        if let Some(json) = json.get(key) {
            let flag = table::find(name).expect("blocks name known flags");
            values.say(flag, read_value(flag, key, json)?);
        }
    }
    Ok(())
}

fn read_value(flag: &Flag, key: &str, json: &Json) -> Result<Value, FileFault> {
    let wrong = |wanted: &str| wrong_type("Config", key, json, wanted);
    // In etcd these hold their text first and are read later, by other rules.
    let late = |wanted: &str| wrong_type("configJSON", key, json, wanted);
    match flag.kind {
        Kind::Bool | Kind::Ignored => {
            yaml_truth(json).map(Value::Bool).ok_or_else(|| wrong("bool"))
        }
        Kind::Text | Kind::Choice(_) | Kind::Phase(_) => {
            json.as_str().map(|text| Value::Text(text.to_owned())).ok_or_else(|| wrong("string"))
        }
        Kind::Unsigned(wanted) => json.as_u64().map(Value::Unsigned).ok_or_else(|| wrong(wanted)),
        Kind::Unsigned32 => json
            .as_u64()
            .filter(|value| u32::try_from(*value).is_ok())
            .map(Value::Unsigned)
            .ok_or_else(|| wrong("uint32")),
        Kind::Signed(wanted) => json.as_i64().map(Value::Signed).ok_or_else(|| wrong(wanted)),
        Kind::Duration => json
            .as_i64()
            .map(|nanos| Value::Duration(GoDuration(nanos)))
            .ok_or_else(|| wrong("time.Duration")),
        Kind::Urls | Kind::Origins => {
            let text = json.as_str().ok_or_else(|| late("string"))?;
            flag.kind.read(text).map_err(FileFault::Urls)
        }
        Kind::Words if flag.name == "host-whitelist" => {
            let text = json.as_str().ok_or_else(|| late("string"))?;
            flag.kind.read(text).map_err(FileFault::Refused)
        }
        Kind::Words => json
            .as_array()
            .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect())
            .map(Value::Words)
            .ok_or_else(|| wrong("[]string")),
        Kind::Gates => {
            let text = json.as_str().ok_or_else(|| late("string"))?;
            let mut gates = Gates::default();
            gates.say(text).map_err(FileFault::Refused)?;
            Ok(Value::Gates(gates))
        }
    }
}

/// Truth, also in the words of YAML 1.1, which etcd's files are written in.
fn yaml_truth(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(value) => Some(*value),
        Json::String(text) => match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "on" => Some(true),
            "n" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// What Go calls a JSON value.
pub fn json_kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn wrong_type(holder: &str, key: &str, json: &Json, wanted: &str) -> FileFault {
    let numeric = wanted.contains("int") || wanted == "time.Duration";
    let found = match json {
        Json::Number(number) if numeric => format!("number {number}"),
        _ => json_kind(json).to_owned(),
    };
    FileFault::Refused(format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go struct \
         field configYAML.{holder}.{key} of type {wanted}"
    ))
}

/// The text of a file that is no YAML, or YAML but no mapping.
fn not_a_mapping(text: &str, fault: &serde_yaml_ng::Error) -> String {
    if let Ok(json) = serde_yaml_ng::from_str::<Json>(text) {
        let found = json_kind(&json);
        return format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go \
             value of type embed.configYAML"
        );
    }
    let whole = fault.to_string();
    let (what, _) = whole.split_once(" at line ").unwrap_or((&whole, ""));
    // Go leaves out the number of the first line.
    let line = fault.location().map(|at| at.line()).filter(|line| *line > 1);
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("error converting YAML to JSON: yaml: {line}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, error: &str) {
        match read(text) {
            Err(FileFault::Refused(found) | FileFault::Urls(found)) => assert_eq!(found, error),
            Ok(values) => panic!("taken: {values:?}"),
        }
    }

    #[test]
    fn keys_are_named_like_flags_and_unknown_ones_are_ignored() {
        let text = "name: m1\nheartbeat-interval: 50\nnosuch: 1\nlog-outputs: [stdout]\n\
                    grpc-keepalive-interval: 5000000\nname: m2\npre-vote: no\n";
        let values = read(text).expect("well formed");
        assert_eq!(values.text("name"), "m2");
        assert_eq!(values.unsigned("heartbeat-interval"), 50);
        assert_eq!(values.words("log-outputs"), ["stdout"]);
        assert_eq!(values.duration("grpc-keepalive-interval"), GoDuration(5_000_000));
        assert!(!values.truth("pre-vote"));
        assert!(read("").is_ok());
        assert!(read("# only a comment\n").is_ok());
    }

    #[test]
    fn blocks_stand_for_their_flags() {
        let text = "peer-transport-security: {cert-file: a, allowed-cn: [x]}\n\
                    client-transport-security: {auto-tls: true, allowed-hostname: [y]}\n\
                    socket-options: {reuse-port: true}\ncert-file: ignored\n\
                    discovery-config: {token: t, client: {endpoints: [e]}}\n";
        let values = read(text).expect("well formed");
        assert_eq!(values.text("peer-cert-file"), "a");
        assert_eq!(values.words("peer-cert-allowed-cn"), ["x"]);
        assert!(values.truth("auto-tls"));
        assert_eq!(values.words("client-cert-allowed-hostname"), ["y"]);
        assert!(values.truth("socket-reuse-port"));
        assert!(!values.is_said("cert-file"));
        assert_eq!(values.words("discovery-endpoints"), ["e"]);
    }

    #[test]
    fn a_wrong_type_is_refused_in_gos_words() {
        let field = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
        let into = "into Go struct field configYAML";
        for (text, found, place) in [
            ("heartbeat-interval: abc", "string", "Config.heartbeat-interval of type uint"),
            ("heartbeat-interval: -5", "number -5", "Config.heartbeat-interval of type uint"),
            ("heartbeat-interval: 1.5", "number 1.5", "Config.heartbeat-interval of type uint"),
            ("name: 5", "number", "Config.name of type string"),
            ("listen-client-urls: [a]", "array", "configJSON.listen-client-urls of type string"),
            ("log-outputs: stderr", "string", "Config.log-outputs of type []string"),
            (
                "grpc-keepalive-interval: 5s",
                "string",
                "Config.grpc-keepalive-interval of type time.Duration",
            ),
            (
                "client-transport-security: 5",
                "number",
                "configJSON.client-transport-security of type embed.securityConfig",
            ),
        ] {
            refused(text, &format!("{field} {found} {into}.{place}"));
        }
        refused("[1,2]", &format!("{field} array into Go value of type embed.configYAML"));
        refused("abc", &format!("{field} string into Go value of type embed.configYAML"));
    }

    #[test]
    fn what_is_no_yaml_is_refused_naming_the_line() {
        let start = "error converting YAML to JSON: yaml:";
        refused("a: b: c", &format!("{start} mapping values are not allowed in this context"));
        refused(
            "name: x\n\tbad",
            &format!("{start} line 2: found a tab character that violates indentation"),
        );
    }

    #[test]
    fn a_bad_list_of_urls_is_refused_outside_the_log() {
        refused(
            "listen-client-urls: foo",
            "unexpected error setting up listen-client-urls: URL scheme must be http, https, unix, \
             or unixs: foo",
        );
    }
}
