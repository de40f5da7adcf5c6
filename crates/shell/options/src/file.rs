//! The configuration file: YAML (and so JSON), keys named like flags.
//!
//! When there is one, flags and variables are not looked at. Keys are the same in upper and lower case, as
//! Go's JSON decoder takes them. A key that is unknown is dropped, as in etcd, but said: who writes
//! `data_dir` shall not find out by an empty store. Where a value has the wrong type the error is the one
//! Go's decoder gives.

use std::collections::BTreeMap;

use go::GoDuration;

use crate::flag::{Flag, Kind, Value};
use crate::gates::Gates;
use crate::note::Note;
use crate::table;
use crate::values::Values;
use crate::yaml::{self, Node};

/// Why a file was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It is refused, and the log says so.
    Refused(String),
    /// A list of URLs is malformed: etcd says so on standard error, outside the log.
    Urls(String),
}

/// What a file says.
#[derive(Debug, Default)]
pub struct FileRead {
    /// The settings.
    pub values: Values,
    /// The keys that mean nothing.
    pub notes: Vec<Note>,
    /// The first malformed list of URLs, in etcd's order, which is reported after everything else.
    urls_fault: Option<(usize, String)>,
}

/// Reads the whole file.
pub fn read(bytes: &[u8]) -> Result<FileRead, FileFault> {
    let top = yaml::read(bytes)
        .map_err(|why| FileFault::Refused(format!("error converting YAML to JSON: {why}")))?;
    let mut read = FileRead::default();
    match &top {
        Node::Null => {}
        Node::Block(block) => read.take(block, "")?,
        other => {
            let text =
                format!("cannot unmarshal {} into Go value of type embed.configYAML", other.kind());
            return Err(FileFault::Refused(format!("{DECODING}{text}")));
        }
    }
    match read.urls_fault.take() {
        Some((_, fault)) => Err(FileFault::Urls(fault)),
        None => Ok(read),
    }
}

const DECODING: &str = "error unmarshaling JSON: while decoding JSON: json: ";

impl FileRead {
    /// Takes a block; `above` is the path to it, and empty at the top.
    fn take(&mut self, block: &BTreeMap<String, Node>, above: &str) -> Result<(), FileFault> {
        for (key, node) in block {
            let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            match (Place::find(&path), node) {
                (Place::Nowhere, _) => {
                    let note = Note::warn("unknown key in the configuration file is ignored");
                    self.notes.push(note.with("key", path));
                }
                (_, Node::Null) => {}
                (Place::Block(_), Node::Block(block)) => self.take(block, &path)?,
                (Place::Block(block), node) => {
                    let (outer, name, kind) = block;
                    return Err(wrong_type(node, &format!("{outer}.{name}"), kind));
                }
                (Place::Setting { flag, name }, node) => match value(flag, &name, node) {
                    Ok(value) => self.values.say(flag, value),
                    Err(FileFault::Urls(why)) => {
                        let rank = URLS_READ.iter().position(|(name, _)| *name == flag.name);
                        let rank = rank.unwrap_or(URLS_READ.len());
                        let said = URLS_READ.get(rank).map_or(flag.name, |(_, said)| *said);
                        let fault = (rank, format!("unexpected error setting up {said}: {why}"));
                        self.urls_fault = self.urls_fault.take().into_iter().chain([fault]).min();
                    }
                    Err(refused) => return Err(refused),
                },
            }
        }
        Ok(())
    }
}

/// Where a path leads.
enum Place {
    /// To a setting; its errors name a field of etcd's.
    Setting {
        flag: &'static Flag,
        name: String,
    },
    /// To a block: who holds it, its path and its type, for errors.
    Block((&'static str, &'static str, &'static str)),
    Nowhere,
}

impl Place {
    fn find(path: &str) -> Place {
        let inside = INSIDE.iter().find(|(known, ..)| is_same_key(known, path));
        if let Some((known, holder, flag)) = inside {
            let outer = if known.starts_with("client-") || known.starts_with("peer-") {
                LATE
            } else {
                EARLY
            };
            return Place::Setting { flag, name: format!("{holder}.{outer}.{known}") };
        }
        if let Some(block) = BLOCKS.iter().find(|(_, known, _)| is_same_key(known, path)) {
            return Place::Block(*block);
        }
        let has_key = |flag: &&Flag| {
            !NOT_IN_FILES.contains(&flag.name)
                && !INSIDE.iter().any(|(.., in_block)| in_block.name == flag.name)
        };
        match table::all().filter(has_key).find(|flag| is_same_key(flag.name, path)) {
            Some(flag) => {
                // In etcd these hold their text first and are read later, by other rules.
                let late = matches!(flag.kind, Kind::Urls | Kind::Origins | Kind::Gates)
                    || flag.name == table::HOST_WHITELIST.name;
                let late = late && flag.name != table::LISTEN_METRICS_URLS.name;
                let outer = if late { LATE } else { EARLY };
                Place::Setting { flag, name: format!("configYAML.{outer}.{}", flag.name) }
            }
            None => Place::Nowhere,
        }
    }
}

const EARLY: &str = "Config";
const LATE: &str = "configJSON";

/// Go takes keys in upper and lower case alike, and two letters of other alphabets that look like ours.
fn is_same_key(known: &str, typed: &str) -> bool {
    let folded = typed.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    });
    known.chars().eq(folded)
}

/// In which order etcd reads lists of URLs, and what it calls them in errors; one of them by another's
/// name.
const URLS_READ: [(&str, &str); 6] = [
    ("listen-peer-urls", "listen-peer-urls"),
    ("listen-client-urls", "listen-client-urls"),
    ("listen-client-http-urls", "listen-client-http-urls"),
    ("initial-advertise-peer-urls", "initial-advertise-peer-urls"),
    ("advertise-client-urls", "advertise-peer-urls"),
    ("listen-metrics-urls", "listen-metrics-urls"),
];

/// Flags that cannot be said in a file.
const NOT_IN_FILES: [&str; 6] = [
    "config-file",
    "version",
    "raft-read-timeout",
    "raft-write-timeout",
    "client-crl-file",
    "peer-crl-file",
];

/// Blocks: the struct that holds them in etcd, their path, and their type.
const BLOCKS: [(&str, &str, &str); 7] = [
    ("configYAML.configJSON", "client-transport-security", "embed.securityConfig"),
    ("configYAML.configJSON", "peer-transport-security", "embed.securityConfig"),
    ("configYAML.Config", "socket-options", "transport.SocketOpts"),
    ("configYAML.Config", "discovery-config", "v3discovery.DiscoveryConfig"),
    ("DiscoveryConfig.Config", "discovery-config.client", "clientv3.ConfigSpec"),
    ("ConfigSpec.Config", "discovery-config.client.secure", "clientv3.SecureConfig"),
    ("ConfigSpec.Config", "discovery-config.client.auth", "clientv3.AuthConfig"),
];

/// What stands in blocks: its path, the struct that holds it in etcd, and the flag it stands for.
#[rustfmt::skip] // One setting a line.
const INSIDE: &[(&str, &str, &Flag)] = &[
    ("client-transport-security.cert-file", "securityConfig", &table::CERT_FILE.0),
    ("client-transport-security.key-file", "securityConfig", &table::KEY_FILE.0),
    ("client-transport-security.client-cert-file", "securityConfig", &table::CLIENT_CERT_FILE.0),
    ("client-transport-security.client-key-file", "securityConfig", &table::CLIENT_KEY_FILE.0),
    ("client-transport-security.client-cert-auth", "securityConfig", &table::CLIENT_CERT_AUTH.0),
    ("client-transport-security.trusted-ca-file", "securityConfig", &table::TRUSTED_CA_FILE.0),
    ("client-transport-security.auto-tls", "securityConfig", &table::AUTO_TLS.0),
    ("client-transport-security.allowed-cn", "securityConfig", &table::CLIENT_CERT_ALLOWED_CN.0),
    ("client-transport-security.allowed-hostname", "securityConfig", &table::CLIENT_CERT_ALLOWED_HOSTNAME.0),
    ("client-transport-security.skip-client-san-verification", "securityConfig", &table::CLIENT_SKIP_CLIENT_SAN_VERIFICATION.0),
    ("peer-transport-security.cert-file", "securityConfig", &table::PEER_CERT_FILE.0),
    ("peer-transport-security.key-file", "securityConfig", &table::PEER_KEY_FILE.0),
    ("peer-transport-security.client-cert-file", "securityConfig", &table::PEER_CLIENT_CERT_FILE.0),
    ("peer-transport-security.client-key-file", "securityConfig", &table::PEER_CLIENT_KEY_FILE.0),
    ("peer-transport-security.client-cert-auth", "securityConfig", &table::PEER_CLIENT_CERT_AUTH.0),
    ("peer-transport-security.trusted-ca-file", "securityConfig", &table::PEER_TRUSTED_CA_FILE.0),
    ("peer-transport-security.auto-tls", "securityConfig", &table::PEER_AUTO_TLS.0),
    ("peer-transport-security.allowed-cn", "securityConfig", &table::PEER_CERT_ALLOWED_CN.0),
    ("peer-transport-security.allowed-hostname", "securityConfig", &table::PEER_CERT_ALLOWED_HOSTNAME.0),
    ("peer-transport-security.skip-client-san-verification", "securityConfig", &table::PEER_SKIP_CLIENT_SAN_VERIFICATION.0),
    ("socket-options.reuse-port", "SocketOpts", &table::SOCKET_REUSE_PORT.0),
    ("socket-options.reuse-address", "SocketOpts", &table::SOCKET_REUSE_ADDRESS.0),
    ("discovery-config.token", "DiscoveryConfig", &table::DISCOVERY_TOKEN.0),
    ("discovery-config.client.endpoints", "ConfigSpec", &table::DISCOVERY_ENDPOINTS.0),
    ("discovery-config.client.dial-timeout", "ConfigSpec", &table::DISCOVERY_DIAL_TIMEOUT.0),
    ("discovery-config.client.request-timeout", "ConfigSpec", &table::DISCOVERY_REQUEST_TIMEOUT.0),
    ("discovery-config.client.keepalive-time", "ConfigSpec", &table::DISCOVERY_KEEPALIVE_TIME.0),
    ("discovery-config.client.keepalive-timeout", "ConfigSpec", &table::DISCOVERY_KEEPALIVE_TIMEOUT.0),
    ("discovery-config.client.secure.cert", "SecureConfig", &table::DISCOVERY_CERT.0),
    ("discovery-config.client.secure.key", "SecureConfig", &table::DISCOVERY_KEY.0),
    ("discovery-config.client.secure.cacert", "SecureConfig", &table::DISCOVERY_CACERT.0),
    ("discovery-config.client.secure.insecure-transport", "SecureConfig", &table::DISCOVERY_INSECURE_TRANSPORT.0),
    ("discovery-config.client.secure.insecure-skip-tls-verify", "SecureConfig", &table::DISCOVERY_INSECURE_SKIP_TLS_VERIFY.0),
    ("discovery-config.client.auth.username", "AuthConfig", &table::DISCOVERY_USER.0),
    ("discovery-config.client.auth.password", "AuthConfig", &table::DISCOVERY_PASSWORD.0),
];

fn value(flag: &Flag, name: &str, node: &Node) -> Result<Value, FileFault> {
    let wrong = |wanted: &str| wrong_type(node, name, wanted);
    let text = || match node {
        Node::Text(text) => Ok(text.as_str()),
        _ => Err(wrong("string")),
    };
    let number = |wanted: &str| match node {
        Node::Number(number) => Ok(number.as_str()),
        _ => Err(wrong(wanted)),
    };
    match flag.kind {
        Kind::Bool | Kind::Ignored => match node {
            Node::Truth(truth) => Ok(Value::Bool(*truth)),
            _ => Err(wrong("bool")),
        },
        Kind::Text | Kind::Choice(_) | Kind::Phase(_) => Ok(Value::Text(text()?.to_owned())),
        Kind::Unsigned(wanted) => {
            number(wanted)?.parse().map(Value::Unsigned).map_err(|_| wrong(wanted))
        }
        Kind::Unsigned32 => {
            let read: Result<u32, _> = number("uint32")?.parse();
            read.map(|value| Value::Unsigned(value.into())).map_err(|_| wrong("uint32"))
        }
        Kind::Signed(wanted) => {
            number(wanted)?.parse().map(Value::Signed).map_err(|_| wrong(wanted))
        }
        Kind::Duration => {
            let wanted = "time.Duration";
            let nanos = number(wanted)?.parse().map_err(|_| wrong(wanted))?;
            Ok(Value::Duration(GoDuration(nanos)))
        }
        Kind::Urls | Kind::Origins => flag.kind.read(text()?).map_err(FileFault::Urls),
        Kind::Words if flag.name == table::HOST_WHITELIST.name => {
            flag.kind.read(text()?).map_err(FileFault::Refused)
        }
        Kind::Words => match node {
            Node::List(items) => {
                let words = items.iter().map(|item| match item {
                    Node::Text(word) => Ok(word.clone()),
                    Node::Null => Ok(String::new()),
                    other => Err(wrong_type(other, name, "string")),
                });
                words.collect::<Result<_, _>>().map(Value::Words)
            }
            _ => Err(wrong("[]string")),
        },
        Kind::Gates => {
            let mut gates = Gates::default();
            gates.say(text()?).map_err(FileFault::Refused)?;
            Ok(Value::Gates(gates))
        }
    }
}

fn wrong_type(node: &Node, name: &str, wanted: &str) -> FileFault {
    let numeric = wanted.contains("int") || wanted == "time.Duration";
    let found = match node {
        Node::Number(number) if numeric => format!("number {number}"),
        node => node.kind().to_owned(),
    };
    let text = format!("cannot unmarshal {found} into Go struct field {name} of type {wanted}");
    FileFault::Refused(format!("{DECODING}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, error: &str) {
        match read(text.as_bytes()) {
            Err(FileFault::Refused(found) | FileFault::Urls(found)) => assert_eq!(found, error),
            Ok(read) => panic!("taken: {:?}", read.values),
        }
    }

    #[test]
    fn keys_are_named_like_flags_and_unknown_ones_are_ignored() {
        let text = "name: m1\nheartbeat-interval: 50\nnosuch: 1\nlog-outputs: [stdout]\n\
                    grpc-keepalive-interval: 5000000\nname: m2\npre-vote: no\n";
        let values = read(text.as_bytes()).expect("well formed").values;
        assert_eq!(values.text(table::NAME), "m2");
        assert_eq!(values.unsigned(table::HEARTBEAT_INTERVAL), 50);
        assert_eq!(values.words(table::LOG_OUTPUTS), ["stdout"]);
        assert_eq!(values.duration(table::GRPC_KEEPALIVE_INTERVAL), GoDuration(5_000_000));
        assert!(!values.truth(table::PRE_VOTE));
        assert!(read(b"").is_ok());
        assert!(read(b"# only a comment\n").is_ok());
    }

    #[test]
    fn blocks_stand_for_their_flags() {
        let text = "peer-transport-security: {cert-file: a, allowed-cn: [x]}\n\
                    client-transport-security: {auto-tls: true, allowed-hostname: [z]}\n\
                    socket-options: {reuse-port: true}\ncert-file: ignored\n\
                    discovery-config: {token: t, client: {endpoints: [e]}}\n";
        let values = read(text.as_bytes()).expect("well formed").values;
        assert_eq!(values.text(table::PEER_CERT_FILE), "a");
        assert_eq!(values.words(table::PEER_CERT_ALLOWED_CN), ["x"]);
        assert!(values.truth(table::AUTO_TLS));
        assert_eq!(values.words(table::CLIENT_CERT_ALLOWED_HOSTNAME), ["z"]);
        assert!(values.truth(table::SOCKET_REUSE_PORT));
        assert!(!values.is_said(&table::CERT_FILE));
        assert_eq!(values.words(table::DISCOVERY_ENDPOINTS), ["e"]);
    }

    #[test]
    fn keys_are_the_same_in_upper_and_lower_case_and_a_dropped_one_is_said() {
        let text = "Data-Dir: /x\nPeer-Transport-Security: {CERT-FILE: a, cert_file: b}\n\
                    data_dir: /y\nclient-crl-file: z\ndi\u{17f}covery-config: {client: {Secure: {x: 1}}}\n";
        let read = read(text.as_bytes()).expect("well formed");
        assert_eq!(read.values.text(table::DATA_DIR), "/x");
        assert_eq!(read.values.text(table::PEER_CERT_FILE), "a");
        let dropped: Vec<String> =
            read.notes.iter().map(|note| note.fields[0].1.to_string()).collect();
        let expected = [
            "Peer-Transport-Security.cert_file",
            "client-crl-file",
            "data_dir",
            "di\u{17f}covery-config.client.Secure.x",
        ];
        assert_eq!(dropped, expected);
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
            ("log-outputs: [5]", "number", "Config.log-outputs of type string"),
        ] {
            refused(text, &format!("{field} {found} {into}.{place}"));
        }
        let inside = "into Go struct field";
        for (text, found, place) in [
            (
                "client-transport-security: {auto-tls: \"yes\"}",
                "string",
                "securityConfig.configJSON.client-transport-security.auto-tls of type bool",
            ),
            (
                "Peer-Transport-Security: {Allowed-Cn: a}",
                "string",
                "securityConfig.configJSON.peer-transport-security.allowed-cn of type []string",
            ),
            (
                "socket-options: {reuse-port: 5}",
                "number",
                "SocketOpts.Config.socket-options.reuse-port of type bool",
            ),
            (
                "discovery-config: {client: {endpoints: 5}}",
                "number",
                "ConfigSpec.Config.discovery-config.client.endpoints of type []string",
            ),
        ] {
            refused(text, &format!("{field} {found} {inside} {place}"));
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
