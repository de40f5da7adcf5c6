//! txn: comparisons and requests, line by line.

use std::io::BufRead;

use bytes::Bytes;
use client::methods;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;

use super::{connect, kv};
use crate::args::{Call, read_flags};
use crate::exit::{ERROR, Failure, INVALID_INPUT};
use crate::spec::{Command, Does, Flag, ROOT};
use crate::values::Values;
use crate::{help, output};
use go::number;
use go::{quote, unquote};

/// `txn`.
pub async fn txn(mut call: Call) -> Result<(), Failure> {
    super::exactly(&call, 0, "txn command does not accept argument")?;
    let interactive = call.values.truth("interactive");
    let session = connect(&mut call).await?;
    let ask = |text: &str| {
        if interactive {
            output::print(text.as_bytes());
        }
    };
    ask("compares:\n");
    let compare = block(compare)?;
    ask("success requests (get, put, del):\n");
    let success = block(operation)?;
    ask("failure requests (get, put, del):\n");
    let failure = block(operation)?;
    let request = pb::TxnRequest { compare, success, failure };
    session.printer.txn(&session.call_patiently(ERROR, methods::TXN, request).await?)
}

/// Reads lines until one is empty.
fn block<T>(read: impl Fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    loop {
        let mut line = String::new();
        let length = std::io::stdin().lock().read_line(&mut line);
        let length = length.map_err(|error| Failure::new(INVALID_INPUT, error.to_string()))?;
        if length == 0 || !line.ends_with('\n') {
            return Err(Failure::new(INVALID_INPUT, "EOF"));
        }
        match line.trim() {
            "" => return Ok(found),
            line => found.push(read(line)?),
        }
    }
}

/// `target("key") op "value"`.
fn compare(line: &str) -> Result<pb::Compare, Failure> {
    let malformed =
        |more: String| Failure::new(INVALID_INPUT, format!("malformed comparison: {line}{more}"));
    let Some((target, rest)) = line.split_once('(') else { return Err(malformed(String::new())) };
    let parts = parts(rest);
    let (Some(key), Some(operator), Some(value)) = (&parts.key, &parts.operator, &parts.value)
    else {
        let shown = |part: &Option<Vec<u8>>| quote(part.as_deref().unwrap_or_default());
        let operator = parts.operator.clone().unwrap_or_default();
        let (key, value) = (shown(&parts.key), shown(&parts.value));
        return Err(malformed(format!("; got {target}({key}) {operator} {value}")));
    };
    let text = String::from_utf8_lossy(value).into_owned();
    let number = || {
        let refused =
            |_| Failure::new(INVALID_INPUT, format!("invalid txn compare request: {line}"));
        number::parse_int(&text, 10).map_err(refused)
    };
    let (target, target_union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
        "lease" => {
            let refused = || malformed(format!(" (bad lease ID {})", quote(value)));
            let lease = lease_id(&text).ok_or_else(refused)?;
            (CompareTarget::Lease, TargetUnion::Lease(lease))
        }
        other => return Err(malformed(format!(" (unknown target {other})"))),
    };
    let result = match operator.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => return Err(malformed(format!(" (unknown operator {other})"))),
    };
    Ok(pb::Compare {
        result: result.into(),
        target: target.into(),
        key: key.clone().into(),
        target_union: Some(target_union),
        range_end: Bytes::new(),
    })
}

/// What could be read of a comparison, as far as it could be read.
#[derive(Debug, Default)]
struct Parts {
    key: Option<Vec<u8>>,
    operator: Option<String>,
    value: Option<Vec<u8>>,
}

fn parts(text: &str) -> Parts {
    let mut parts = Parts::default();
    let Some((key, rest)) = unquote(text.trim_start()) else { return parts };
    parts.key = Some(key);
    let Some(rest) = rest.strip_prefix(')') else { return parts };
    let rest = rest.trim_start();
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (operator, rest) = rest.split_at(end);
    if operator.is_empty() {
        return parts;
    }
    parts.operator = Some(operator.to_owned());
    parts.value = unquote(rest.trim_start()).map(|(value, _)| value);
    parts
}

/// Leases are printed as sixteen hexadecimal digits; a short number of digits alone is decimal.
fn lease_id(text: &str) -> Option<i64> {
    let hex = text.strip_prefix("0x");
    let decimal = text.len() < 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    match hex {
        None if decimal => text.parse().ok(),
        hex => number::parse_int(hex.unwrap_or(text), 16).ok(),
    }
}

/// `get`, `put` or `del`, with its flags.
fn operation(line: &str) -> Result<pb::RequestOp, Failure> {
    let refused = |what: &str| Failure::new(INVALID_INPUT, format!("invalid {what}: {line}"));
    let words = words(line).map_err(|why| Failure::new(INVALID_INPUT, why))?;
    let [first, rest @ ..] = &words[..] else { return Err(refused("txn compare request")) };
    if rest.is_empty() {
        return Err(refused("txn compare request"));
    }
    let name = String::from_utf8_lossy(first).into_owned();
    let command = ["del", "get", "put"]
        .iter()
        .find(|known| !name.is_empty() && known.starts_with(&name))
        .and_then(|known| ROOT.commands.iter().find(|command| command.name() == *known));
    let command: &Command = command.ok_or_else(|| refused("txn request"))?;
    let flags: Vec<&'static Flag> = command.flags.iter().collect();
    let mut values = Values::of(command.flags);
    let args = read_flags(rest, &flags, &mut values).map_err(|_| {
        output::complain(&help::usage_of_line(command));
        refused("txn request")
    })?;
    // etcdctl stores `put k {"a": 1}` cut at the first blank and says nothing.
    if args.len() > 2 {
        let surplus = String::from_utf8_lossy(&args[2]).into_owned();
        let why = format!("{} is a word too many; quote what holds blanks", quote(surplus));
        return Err(Failure::new(INVALID_INPUT, format!("invalid txn request: {line} ({why})")));
    }
    let request = match command.does {
        // The lines that follow are the transaction's, not a value.
        Some(Does::Get) => Request::RequestRange(kv::get_request(&args, &values)?),
        Some(Does::Put) => Request::RequestPut(kv::put_request(&args, &values, std::io::empty())?),
        _ => Request::RequestDeleteRange(kv::del_request(&args, &values)?),
    };
    Ok(pb::RequestOp { request: Some(request) })
}

/// Splits a line into words; quotes of both kinds hold words together.
pub fn words(line: &str) -> Result<Vec<Bytes>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = match first {
            '"' => double_quoted(rest),
            '\'' => rest[1..].find('\'').map(|end| end + 2),
            _ => Some(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        // A quote that nothing closes is skipped.
        let Some(length) = quoted else {
            rest = rest[1..].trim_start();
            continue;
        };
        let (word, after) = rest.split_at(length);
        words.push(match first {
            '"' => unquote(word).map(|(word, _)| word.into()).ok_or("invalid syntax")?,
            '\'' => Bytes::copy_from_slice(&word.as_bytes()[1..length - 1]),
            _ => Bytes::copy_from_slice(word.as_bytes()),
        });
        rest = after.trim_start();
    }
    Ok(words)
}

/// The length of the quoted word at the front.
fn double_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_at_blanks_outside_of_quotes() {
        let split = words(r#"put "a b" 'c "d' e"f  \x"#).expect("well formed");
        assert_eq!(split, ["put", "a b", "c \"d", "e\"f", "\\x"]);
    }

    #[test]
    fn a_comparison_names_target_key_operator_and_value() {
        let compared = compare(r#"mod("k") > "3""#).expect("well formed");
        assert_eq!((compared.key.as_ref(), compared.result()), (&b"k"[..], CompareResult::Greater));
        assert_eq!(compared.target_union, Some(TargetUnion::ModRevision(3)));
        let lease = compare(r#"lease("k") = "22fa1fbfad7b223f""#).expect("well formed");
        assert_eq!(lease.target_union, Some(TargetUnion::Lease(0x22fa_1fbf_ad7b_223f)));
    }

    #[track_caller]
    fn refused(line: &str, text: &str) {
        assert_eq!(compare(line).expect_err("malformed"), Failure::new(INVALID_INPUT, text));
    }

    #[test]
    fn what_is_no_comparison_is_refused_in_etcdctls_words() {
        refused("mod", "malformed comparison: mod");
        refused("mod(k) > \"3\"", "malformed comparison: mod(k) > \"3\"; got mod(\"\")  \"\"");
        let line = "nope(\"k\") > \"3\"";
        refused(line, &format!("malformed comparison: {line} (unknown target nope)"));
        let line = "mod(\"k\") > \"x\"";
        refused(line, &format!("invalid txn compare request: {line}"));
    }
}
