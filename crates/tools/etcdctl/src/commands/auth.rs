//! auth *, user *.

use client::methods;
use proto::authpb::UserAddOptions;
use proto::etcdserverpb as pb;
use types::Refusal;

use super::{connect, exactly};
use crate::args::Call;
use crate::exit::{ERROR, Failure};
use crate::{output, prompt};

/// `auth enable`. A root without his role gets it first.
pub async fn enable(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 0, "auth enable command does not accept any arguments")?;
    let session = connect(&mut call).await?;
    loop {
        match session.client.call(methods::AUTH_ENABLE, &pb::AuthEnableRequest {}).await {
            Ok(_) => break,
            Err(error) if error.is(&Refusal::RootRoleNotExist) => {
                let root = || "root".to_owned();
                session.call(methods::ROLE_ADD, pb::AuthRoleAddRequest { name: root() }).await?;
                let grant = pb::AuthUserGrantRoleRequest { user: root(), role: root() };
                session.call(methods::USER_GRANT_ROLE, grant).await?;
            }
            Err(error) => return Err(session.failure(ERROR, &error)),
        }
    }
    output::print(b"Authentication Enabled\n");
    Ok(())
}

/// `auth disable`.
pub async fn disable(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 0, "auth disable command does not accept any arguments")?;
    let session = connect(&mut call).await?;
    session.call(methods::AUTH_DISABLE, pb::AuthDisableRequest {}).await?;
    output::print(b"Authentication Disabled\n");
    Ok(())
}

/// `auth status`.
pub async fn status(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 0, "auth status command does not accept any arguments")?;
    let session = connect(&mut call).await?;
    let answer = session.call(methods::AUTH_STATUS, pb::AuthStatusRequest {}).await?;
    session.printer.auth_status(&answer)
}

/// Asks twice for a password.
fn new_password(user: &str) -> Result<String, Failure> {
    let ask = |question: String| {
        let failed = |error| Failure::bad_args(format!("failed to ask password: {error}"));
        prompt::secret(&question).map_err(failed)
    };
    let first = ask(format!("Password of {user}: "))?;
    if first.is_empty() {
        return Err(Failure::bad_args("empty password"));
    }
    let second = ask(format!("Type password of {user} again for confirmation: "))?;
    if first == second {
        Ok(first)
    } else {
        Err(Failure::bad_args("given passwords are different"))
    }
}

/// `user add`.
pub async fn user_add(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "user add command requires user name as its argument")?;
    let typed = call.text(0);
    let no_password = call.values.truth("no-password");
    let from_flag = call.values.text("new-user-password");
    let (name, password) = match typed.split_once(':') {
        _ if no_password => (typed.clone(), String::new()),
        _ if !from_flag.is_empty() => (typed.clone(), from_flag.to_owned()),
        Some(("", _)) => return Err(Failure::bad_args("empty user name is not allowed")),
        Some((name, password)) => (name.to_owned(), password.to_owned()),
        None if call.values.truth("interactive") => (typed.clone(), new_password(&typed)?),
        None => (typed.clone(), prompt::word()),
    };
    let session = connect(&mut call).await?;
    let request = pb::AuthUserAddRequest {
        name: name.clone(),
        password,
        options: Some(UserAddOptions { no_password }),
        hashed_password: String::new(),
    };
    let answer = session.call_patiently(ERROR, methods::USER_ADD, request).await?;
    session.printer.user_added(format!("User {name} created"), &answer)
}

/// `user delete`.
pub async fn user_delete(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "user delete command requires user name as its argument")?;
    let name = call.text(0);
    let session = connect(&mut call).await?;
    let request = pb::AuthUserDeleteRequest { name: name.clone() };
    let answer = session.call_patiently(ERROR, methods::USER_DELETE, request).await?;
    session.printer.user_deleted(format!("User {name} deleted"), &answer)
}

/// `user get`.
pub async fn user_get(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "user get command requires user name as its argument")?;
    let name = call.text(0);
    let session = connect(&mut call).await?;
    let request = pb::AuthUserGetRequest { name: name.clone() };
    let answer = session.call_patiently(ERROR, methods::USER_GET, request).await?;
    if !call.values.truth("detail") {
        return session.printer.user(&name, &answer);
    }
    output::print(format!("User: {name}\n").as_bytes());
    for role in answer.roles {
        output::print(b"\n");
        let request = pb::AuthRoleGetRequest { role: role.clone() };
        let answer = session.call_patiently(ERROR, methods::ROLE_GET, request).await?;
        session.printer.role(&role, &answer)?;
    }
    Ok(())
}

/// `user list`.
pub async fn user_list(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 0, "user list command requires no arguments")?;
    let session = connect(&mut call).await?;
    let request = pb::AuthUserListRequest {};
    session.printer.users(&session.call_patiently(ERROR, methods::USER_LIST, request).await?)
}

/// `user passwd`.
pub async fn user_passwd(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 1, "user passwd command requires user name as its argument")?;
    let name = call.text(0);
    let interactive = call.values.truth("interactive");
    let password = if interactive { new_password(&name)? } else { prompt::word() };
    let session = connect(&mut call).await?;
    let request =
        pb::AuthUserChangePasswordRequest { name, password, hashed_password: String::new() };
    let answer = session.call_patiently(ERROR, methods::USER_CHANGE_PASSWORD, request).await?;
    session.printer.password_changed("Password updated".to_owned(), &answer)
}

/// `user grant-role`.
pub async fn user_grant(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 2, "user grant command requires user name and role name as its argument")?;
    let (user, role) = (call.text(0), call.text(1));
    let session = connect(&mut call).await?;
    let request = pb::AuthUserGrantRoleRequest { user: user.clone(), role: role.clone() };
    let answer = session.call_patiently(ERROR, methods::USER_GRANT_ROLE, request).await?;
    session.printer.user_granted(format!("Role {role} is granted to user {user}"), &answer)
}

/// `user revoke-role`.
pub async fn user_revoke(mut call: Call) -> Result<(), Failure> {
    exactly(&call, 2, "user revoke-role requires user name and role name as its argument")?;
    let (name, role) = (call.text(0), call.text(1));
    let session = connect(&mut call).await?;
    let request = pb::AuthUserRevokeRoleRequest { name: name.clone(), role: role.clone() };
    let answer = session.call_patiently(ERROR, methods::USER_REVOKE_ROLE, request).await?;
    session.printer.user_revoked(format!("Role {role} is revoked from user {name}"), &answer)
}
