//! get, put, del, compaction.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use client::{methods, prefix_end};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use super::connect;
use crate::args::Call;
use crate::exit::{BAD_FEATURE, ERROR, Failure};
use crate::output::{self, Format};
use crate::values::Values;
use go::number;
use go::quote;

const BOTH: &str = "`--prefix` and `--from-key` cannot be set at the same time, choose one";
const TOO_MANY: &str =
    "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
const PUT_ARGS: &str = "put command needs 1 argument and input from stdin or 2 arguments";
const GET_STREAM: &str = "/etcdserverpb.KV/RangeStream";

/// Whether reads may be answered by any member as it is.
pub fn is_serializable(values: &Values) -> Result<bool, Failure> {
    match values.text("consistency") {
        "s" => Ok(true),
        "l" => Ok(false),
        other => {
            let other = quote(other.as_bytes());
            Err(Failure::new(BAD_FEATURE, format!("unknown consistency flag {other}")))
        }
    }
}

/// The range that a key, an end, `--prefix` and `--from-key` mean.
pub fn range(key: Bytes, end: Option<Bytes>, prefix: bool, from_key: bool) -> (Bytes, Bytes) {
    let zero = Bytes::from_static(&[0]);
    match (prefix, from_key) {
        (true, _) | (_, true) if key.is_empty() => (zero.clone(), zero),
        (true, _) => {
            let end = prefix_end(&key).into();
            (key, end)
        }
        (_, true) => (key, zero),
        _ => (key, end.unwrap_or_default()),
    }
}

/// The request of a `get`, typed or in a transaction.
pub fn get_request(args: &[Bytes], values: &Values) -> Result<pb::RangeRequest, Failure> {
    let Some(key) = args.first() else {
        let text = "get command needs one argument as key and an optional argument as range_end";
        return Err(Failure::bad_args(text));
    };
    let (prefix, from_key) = (values.truth("prefix"), values.truth("from-key"));
    let (keys_only, count_only) = (values.truth("keys-only"), values.truth("count-only"));
    if prefix && from_key {
        return Err(Failure::bad_args(BOTH));
    }
    if keys_only && count_only {
        return Err(Failure::bad_args(
            "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
        ));
    }
    let serializable = is_serializable(values)?;
    if args.len() > 1 && (prefix || from_key) {
        return Err(Failure::bad_args(TOO_MANY));
    }
    let (sort_order, sort_target) = sorting(values)?;
    let (min_create_revision, max_create_revision) = bounds(values, "create", "Create")?;
    let (min_mod_revision, max_mod_revision) = bounds(values, "mod", "Mod")?;
    let (key, range_end) = range(key.clone(), args.get(1).cloned(), prefix, from_key);
    Ok(pb::RangeRequest {
        key,
        range_end,
        limit: values.int("limit"),
        revision: values.int("rev").max(0),
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only,
        count_only,
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    })
}

fn sorting(values: &Values) -> Result<(SortOrder, SortTarget), Failure> {
    let bad = |what, given| Failure::new(BAD_FEATURE, format!("bad sort {what} {given}"));
    let given = values.text("order");
    let order = match given.to_uppercase().as_str() {
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        "" => SortOrder::None,
        _ => return Err(bad("order", given)),
    };
    let given = values.text("sort-by");
    let target = match given.to_uppercase().as_str() {
        "CREATE" => SortTarget::Create,
        "KEY" | "" => SortTarget::Key,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        _ => return Err(bad("target", given)),
    };
    // The store is in the order of keys already.
    match (order, target) {
        (SortOrder::Ascend, SortTarget::Key) => Ok((SortOrder::None, target)),
        sorted => Ok(sorted),
    }
}

fn bounds(values: &Values, flag: &str, name: &str) -> Result<(i64, i64), Failure> {
    let bound = |end: &str| values.int(&format!("{end}-{flag}-rev")).max(0);
    let (min, max) = (bound("min"), bound("max"));
    if max > 0 && min > max {
        let text = format!("getMin{name}Rev(={min}) > getMax{name}Rev(={max})");
        return Err(Failure::new(BAD_FEATURE, text));
    }
    Ok((min, max))
}

/// `get`.
pub async fn get(mut call: Call) -> Result<(), Failure> {
    let request = get_request(&call.args, &call.values)?;
    let bounds = ["min-create-rev", "max-create-rev", "min-mod-rev", "max-mod-rev"];
    if request.count_only && bounds.iter().any(|flag| call.values.is_said(flag)) {
        output::complain(
            "the count is that of all keys in the range: it ignores bounds on revisions\n",
        );
    }
    let mut session = connect(&mut call).await?;
    let answer = if call.values.truth("stream") {
        stream(&session, request).await?
    } else {
        session.call(methods::RANGE, request).await?
    };
    if call.values.truth("count-only") && session.printer.format != Format::Fields {
        return Err(Failure::bad_args("--count-only is only for `--write-out=fields`"));
    }
    if call.values.truth("print-value-only") {
        if session.printer.format != Format::Simple {
            return Err(Failure::bad_args("print-value-only is only for `--write-out=simple`"));
        }
        session.printer.value_only = true;
    }
    session.printer.range(&answer)
}

/// Reads a range in pieces and puts them together.
async fn stream(
    session: &crate::settings::Session,
    request: pb::RangeRequest,
) -> Result<pb::RangeResponse, Failure> {
    let client = &session.client;
    let reading = async {
        let mut pieces = client.server_stream(GET_STREAM, &request).await?;
        let mut whole = pb::RangeResponse::default();
        while let Some(piece) = pieces.message::<pb::RangeStreamResponse>().await? {
            let piece = piece.range_response.unwrap_or_default();
            whole.header = piece.header.or(whole.header);
            whole.more |= piece.more;
            whole.count = whole.count.max(piece.count);
            whole.kvs.extend(piece.kvs);
        }
        Ok(whole)
    };
    client.in_time(reading).await.map_err(|error| session.failure(ERROR, &error))
}

/// The request of a `put`, typed or in a transaction; without a value it is read from `input`.
pub fn put_request(
    args: &[Bytes],
    values: &Values,
    mut input: impl Read,
) -> Result<pb::PutRequest, Failure> {
    let Some(key) = args.first() else { return Err(Failure::bad_args(PUT_ARGS)) };
    let ignore_value = values.truth("ignore-value");
    if ignore_value && args.len() > 1 {
        return Err(Failure::bad_args(
            "put command needs only 1 argument when 'ignore-value' is set",
        ));
    }
    let value = match args.get(1) {
        _ if ignore_value => Bytes::new(),
        Some(value) => value.clone(),
        None => {
            let mut value = Vec::new();
            let read = input.read_to_end(&mut value);
            if read.is_err() || value.is_empty() {
                return Err(Failure::bad_args(PUT_ARGS));
            }
            value.into()
        }
    };
    let lease = number::parse_int(values.text("lease"), 16);
    let lease = lease
        .map_err(|why| Failure::bad_args(format!("bad lease ID ({why}), expecting ID in Hex")))?;
    Ok(pb::PutRequest {
        key: key.clone(),
        value,
        lease,
        prev_kv: values.truth("prev-kv"),
        ignore_value,
        ignore_lease: values.truth("ignore-lease"),
    })
}

/// `put`.
pub async fn put(mut call: Call) -> Result<(), Failure> {
    let request = put_request(&call.args, &call.values, std::io::stdin().lock())?;
    let session = connect(&mut call).await?;
    session.printer.put(&session.call(methods::PUT, request).await?)
}

/// The request of a `del`, typed or in a transaction.
pub fn del_request(args: &[Bytes], values: &Values) -> Result<pb::DeleteRangeRequest, Failure> {
    let (key, end) = match args {
        [key] => (key, None),
        [key, end] => (key, Some(end)),
        _ => {
            let text =
                "del command needs one argument as key and an optional argument as range_end";
            return Err(Failure::bad_args(text));
        }
    };
    let (prefix, from_key) = (values.truth("prefix"), values.truth("from-key"));
    if prefix && from_key {
        return Err(Failure::bad_args(BOTH));
    }
    if let Some(end) = end {
        if prefix || from_key {
            return Err(Failure::bad_args(TOO_MANY));
        }
        if !values.truth("range") {
            output::complain(&format!(
                "Warning: Keys between {} and {} will be deleted. Please interrupt the command \
                 within next 2 seconds to cancel. You can provide `--range` flag to avoid the \
                 delay.\n",
                quote(key),
                quote(end)
            ));
            std::thread::sleep(Duration::from_secs(2));
        }
    }
    let (key, range_end) = range(key.clone(), end.cloned(), prefix, from_key);
    Ok(pb::DeleteRangeRequest { key, range_end, prev_kv: values.truth("prev-kv") })
}

/// `del`.
pub async fn del(mut call: Call) -> Result<(), Failure> {
    let request = del_request(&call.args, &call.values)?;
    let session = connect(&mut call).await?;
    session.printer.delete(&session.call(methods::DELETE_RANGE, request).await?)
}

/// `compaction`.
pub async fn compaction(mut call: Call) -> Result<(), Failure> {
    super::exactly(&call, 1, "compaction command needs 1 argument")?;
    let revision = number::parse_int(&call.text(0), 10).map_err(|why| Failure::new(ERROR, why))?;
    let physical = call.values.truth("physical");
    let session = connect(&mut call).await?;
    session.call(methods::COMPACT, pb::CompactionRequest { revision, physical }).await?;
    output::print(format!("compacted revision {revision}\n").as_bytes());
    Ok(())
}
