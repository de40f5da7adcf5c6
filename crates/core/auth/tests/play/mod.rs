//! Plays a scenario: lines of requests, and below each what came of it.

use bytes::Bytes;
use holdfast_auth::{Caller, Changed, Leases, Needs, NewUser, Principal, Rule, TokenChange, Users};
use proto::authpb::{Permission, permission::Type};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use store::StateChange;
use types::{LeaseId, Refusal};

/// The text again, each request followed by its outcome.
pub fn play(written: &str) -> String {
    let mut users = Users::default();
    let mut played = String::new();
    for line in written.lines().filter(|line| !line.starts_with("  ")) {
        played.push_str(line);
        played.push('\n');
        let words: Vec<&str> = line.split_whitespace().collect();
        let outcome = match words[..] {
            [] | ["#", ..] => continue,
            ["as", user, ref request @ ..] => asked(&users, false, user, request),
            ["header", user, ref request @ ..] => asked(&users, true, user, request),
            ref request => changed(&mut users, request),
        };
        played.extend(outcome.iter().map(|line| format!("  {line}\n")));
    }
    played
}

fn unescaped(word: &str) -> Bytes {
    Bytes::from(word.replace("\\0", "\0").replace("''", "").into_bytes())
}

/// `a`, `a..c`, or `a..` for everything from `a` on.
fn keys(word: &str) -> (Bytes, Bytes) {
    match word.split_once("..") {
        None => (unescaped(word), Bytes::new()),
        Some((key, "")) => (unescaped(key), Bytes::from_static(b"\0")),
        Some((key, end)) => (unescaped(key), unescaped(end)),
    }
}

fn changed(users: &mut Users, request: &[&str]) -> Vec<String> {
    let outcome = match *request {
        ["enable"] => users.enable(),
        ["disable"] => Ok(users.disable()),
        ["user", "add", name] => users.add_user(name, hashed("hash")),
        ["user", "add", name, "no-password"] => {
            users.add_user(name, NewUser { no_password: true, ..hashed("hash") })
        }
        ["user", "delete", name] => users.delete_user(name),
        ["user", "passwd", name] => users.change_password(name, Bytes::from_static(b"other")),
        ["user", "grant", name, role] => users.grant_role(name, role),
        ["user", "revoke", name, role] => users.revoke_role(name, role),
        ["role", "add", name] => users.add_role(name),
        ["role", "delete", name] => users.delete_role(name),
        ["role", "grant", name, kind, range] => {
            let (key, range_end) = keys(range);
            let perm_type = match kind {
                "read" => Type::Read as i32,
                "write" => Type::Write as i32,
                "readwrite" => Type::Readwrite as i32,
                number => number.parse().expect("a kind or its number"),
            };
            let permission = Permission { perm_type, key, range_end };
            users.grant_permission(name, Some(&permission))
        }
        ["role", "revoke", name, range] => {
            let (key, range_end) = keys(range);
            users.revoke_permission(name, &key, &range_end)
        }
        ref other => panic!("nobody knows {other:?}"),
    };
    match outcome {
        Ok(changed) => shown(users, &changed),
        Err(refusal) => vec![refusal.to_string()],
    }
}

fn hashed(hash: &'static str) -> NewUser {
    NewUser { hash: Bytes::from_static(hash.as_bytes()), no_password: false }
}

fn shown(users: &Users, changed: &Changed) -> Vec<String> {
    let mut lines = vec![format!("revision={}", users.revision())];
    for row in &changed.rows {
        lines.push(match row {
            StateChange::Set { bucket, key, value } => {
                format!("{}/{} = {}", bucket.name(), key.escape_ascii(), hex(value))
            }
            StateChange::Delete { bucket, key } => {
                format!("{}/{} gone", bucket.name(), key.escape_ascii())
            }
        });
    }
    match &changed.tokens {
        TokenChange::None | TokenChange::Assign { .. } => {}
        TokenChange::DropUser(user) => lines.push(format!("tokens of {user} die")),
        TokenChange::DropAll => lines.push("all tokens die".to_owned()),
    }
    lines
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who asks: at the door, or in an entry's header. `-` is nobody, `u@3` is user u as of revision 3.
struct Asker<'a> {
    users: &'a Users,
    name: &'a str,
    revision: u64,
    in_header: bool,
}

fn asked(users: &Users, in_header: bool, user: &str, request: &[&str]) -> Vec<String> {
    let (name, revision) = match user.split_once('@') {
        Some((name, revision)) => (name, revision.parse().expect("a number")),
        None if user == "-" => ("", 0),
        None => (user, users.revision()),
    };
    let decided = Asker { users, name, revision, in_header }.ask(request);
    vec![decided.map_or_else(|refusal| refusal.to_string(), |()| "ok".to_owned())]
}

impl Asker<'_> {
    fn may<M: Needs>(&self, message: M) -> Result<(), Refusal> {
        // Lease 7 has the keys a and c.
        let attached = |lease: Option<LeaseId>| match lease {
            Some(7) | None => vec![Bytes::from_static(b"a"), Bytes::from_static(b"c")],
            Some(_) => Vec::new(),
        };
        let leases = Leases::Known(&attached);
        if self.in_header {
            let caller = Caller { name: self.name, revision: self.revision };
            return self.users.decide(caller, &message, leases);
        }
        let by = match self.name {
            "" => Principal::Nobody,
            name => Principal::User { name: name.into(), revision: self.revision },
        };
        self.users.admit(Rule::AsAsked, by, message, leases).map(drop)
    }

    fn ask(&self, request: &[&str]) -> Result<(), Refusal> {
        match *request {
            ["txn", ref operations @ ..] => self.may(txn(operations)),
            ["lease", "grant"] => self.may(pb::LeaseGrantRequest::default()),
            ["lease", "revoke", id] => self.may(pb::LeaseRevokeRequest { id: number(id) }),
            ["lease", "keep-alive", id] => self.may(pb::LeaseKeepAliveRequest { id: number(id) }),
            ["lease", "timetolive", id, ref keys @ ..] => {
                self.may(pb::LeaseTimeToLiveRequest { id: number(id), keys: keys == ["keys"] })
            }
            ["lease", "list"] => self.may(pb::LeaseLeasesRequest {}),
            ["watch", range] => {
                let (key, range_end) = keys(range);
                self.may(pb::WatchCreateRequest { key, range_end, ..Default::default() })
            }
            ["user", "get", name] => self.may(pb::AuthUserGetRequest { name: name.to_owned() }),
            ["role", "get", role] => self.may(pb::AuthRoleGetRequest { role: role.to_owned() }),
            ["user", "list"] => self.may(pb::AuthUserListRequest {}),
            ["alarm", action] => {
                let action = number(action) as i32;
                self.may(pb::AlarmRequest { action, ..Default::default() })
            }
            ["status"] => self.may(pb::StatusRequest {}),
            ["auth", "status"] => self.may(pb::AuthStatusRequest {}),
            ["compact"] => self.may(pb::CompactionRequest::default()),
            ref operation => self.may(operation_of(operation)),
        }
    }
}

fn number(word: &str) -> LeaseId {
    word.parse().expect("a number")
}

/// Operations between brackets: `compare a [ put a ] else [ get b ]`.
fn txn(words: &[&str]) -> pb::TxnRequest {
    let mut txn = pb::TxnRequest::default();
    let mut words = words;
    while let ["compare", range, rest @ ..] = words {
        let (key, range_end) = keys(range);
        txn.compare.push(pb::Compare { key, range_end, ..Default::default() });
        words = rest;
    }
    let (success, rest) = bracketed(words);
    txn.success = operations(success);
    if let ["else", rest @ ..] = rest {
        txn.failure = operations(bracketed(rest).0);
    }
    txn
}

/// What is between the first bracket and the one that closes it, and what follows.
fn bracketed<'a>(words: &'a [&'a str]) -> (&'a [&'a str], &'a [&'a str]) {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&words[1.min(at)..at], &words[at + 1..]);
        }
    }
    (&[], &[])
}

fn operations(words: &[&str]) -> Vec<pb::RequestOp> {
    match words {
        [] => Vec::new(),
        ["txn", rest @ ..] => {
            vec![pb::RequestOp { request: Some(Request::RequestTxn(txn(rest))) }]
        }
        words => words.split(|word| *word == ",").map(operation_of).collect(),
    }
}

fn operation_of(words: &[&str]) -> pb::RequestOp {
    let prev_kv = words.contains(&"prev-kv");
    let request = match *words {
        ["get", range] => {
            let (key, range_end) = keys(range);
            Request::RequestRange(pb::RangeRequest { key, range_end, ..Default::default() })
        }
        ["put", key, ref options @ ..] => {
            let lease = options.iter().find_map(|option| option.strip_prefix("lease="));
            let (key, lease) = (unescaped(key), lease.map_or(0, number));
            Request::RequestPut(pb::PutRequest { key, lease, prev_kv, ..Default::default() })
        }
        ["delete", range, ..] => {
            let (key, range_end) = keys(range);
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv })
        }
        ref other => panic!("nobody knows {other:?}"),
    };
    pb::RequestOp { request: Some(request) }
}
