//! role *.

use bytes::Bytes;
use client::{methods, prefix_end};
use proto::authpb::{Permission, permission::Type};
use proto::etcdserverpb as pb;

use super::{connect, exactly};
use crate::args::Call;
use crate::exit::{ERROR, Failure};

const BOTH: &str = "--from-key and --prefix flags are mutually exclusive";

/// `role add`.
pub async fn add(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "role add command requires role name as its argument")?;
    let name = call.text(0);
    let session = connect(&mut call).await?;
    let request = pb::AuthRoleAddRequest { name: name.clone() };
    let answer = session.call_patiently(ERROR, methods::ROLE_ADD, request).await?;
    session.printer.role_added(format!("Role {name} created"), &answer)
}

/// `role delete`.
pub async fn delete(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "role delete command requires role name as its argument")?;
    let role = call.text(0);
    let session = connect(&mut call).await?;
    let request = pb::AuthRoleDeleteRequest { role: role.clone() };
    let answer = session.call_patiently(ERROR, methods::ROLE_DELETE, request).await?;
    session.printer.role_deleted(format!("Role {role} deleted"), &answer)
}

/// `role get`.
pub async fn get(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "role get command requires role name as its argument")?;
    let role = call.text(0);
    let session = connect(&mut call).await?;
    let request = pb::AuthRoleGetRequest { role: role.clone() };
    session.printer.role(&role, &session.call_patiently(ERROR, methods::ROLE_GET, request).await?)
}

/// `role list`.
pub async fn list(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 0, "role list command requires no arguments")?;
    let session = connect(&mut call).await?;
    let request = pb::AuthRoleListRequest {};
    session.printer.roles(&session.call_patiently(ERROR, methods::ROLE_LIST, request).await?)
}

/// The range that a key, an end and flags mean. An empty key stands for the first of all keys.
fn range(call: &Call, args: &[Bytes]) -> Result<(Bytes, Bytes), Failure> {
    let (prefix, from_key) = (call.values.truth("prefix"), call.values.truth("from-key"));
    let open = Bytes::from_static(&[0]);
    let refused = |text: &str| Err(Failure::bad_args(text));
    match args {
        [key, ..] if key.is_empty() && prefix && from_key => refused(BOTH),
        [key, ..] if key.is_empty() && (prefix || from_key) => Ok((open.clone(), open)),
        [key, ..] if key.is_empty() => Ok((open, Bytes::new())),
        [_] if prefix && from_key => refused(BOTH),
        [key] if prefix => Ok((key.clone(), prefix_end(key).into())),
        [key] if from_key => Ok((key.clone(), open)),
        [key] => Ok((key.clone(), Bytes::new())),
        _ if prefix => refused("unexpected endkey argument with --prefix flag"),
        _ if from_key => refused("unexpected endkey argument with --from-key flag"),
        [key, end, ..] => Ok((key.clone(), end.clone())),
        [] => unreachable!("the callers count"),
    }
}

/// `role grant-permission`.
pub async fn grant(mut call: Call) -> Result<(), Failure> {
    if call.args.len() < 3 {
        return Err(Failure::bad_args(
            "role grant command requires role name, permission type, and key [endkey] as its argument",
        ));
    }
    let name = call.text(0);
    let kind = match call.text(1).to_uppercase().as_str() {
        "READ" => Type::Read,
        "WRITE" => Type::Write,
        "READWRITE" => Type::Readwrite,
        _ => {
            let text = format!("invalid permission type: {}", call.text(1));
            return Err(Failure::bad_args(text));
        }
    };
    let (key, range_end) = range(&call, &call.args[2..])?;
    let session = connect(&mut call).await?;
    let perm = Some(Permission { perm_type: kind.into(), key, range_end });
    let request = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm };
    let answer = session.call_patiently(ERROR, methods::ROLE_GRANT_PERMISSION, request).await?;
    session.printer.role_granted(format!("Role {name} updated"), &answer)
}

/// `role revoke-permission`.
pub async fn revoke(mut call: Call) -> Result<(), Failure> {
    if call.args.len() < 2 {
        return Err(Failure::bad_args(
            "role revoke-permission command requires role name and key [endkey] as its argument",
        ));
    }
    let role = call.text(0);
    let (key, range_end) = range(&call, &call.args[1..])?;
    let session = connect(&mut call).await?;
    let request = pb::AuthRoleRevokePermissionRequest {
        role: role.clone(),
        key,
        range_end: range_end.clone(),
    };
    let answer = session.call_patiently(ERROR, methods::ROLE_REVOKE_PERMISSION, request).await?;
    let (key, end) = (call.text(1), String::from_utf8_lossy(&range_end));
    let what = match end.as_ref() {
        "" => format!("key {key}"),
        "\0" => format!("range [{key}, <open ended>"),
        end => format!("range [{key}, {end})"),
    };
    session
        .printer
        .role_revoked(format!("Permission of {what} is revoked from role {role}"), &answer)
}
