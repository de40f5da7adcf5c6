//! `user`, `role`, `auth`.

pub use crate::api::auth::Change;
use crate::api::{Client, Fault, Permissions, auth};
use crate::connect::{connect, in_time, name_endpoints};
use crate::exit::{Failure, say};
use crate::parse::Call;
use crate::prompt::secret;
use crate::url::canonical;

const NEW_PASSWORD: &str = "New password: ";

async fn begin(call: &Call) -> Result<Client, Failure> {
    let client = connect(call).await?;
    // etcdctl says it once more here.
    name_endpoints(call, &client);
    Ok(client)
}

async fn asked<T>(call: &Call, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Failure> {
    in_time(call, work).await.map_err(Failure::line)
}

/// A client and the only argument.
async fn begin_with<'a>(call: &'a Call, what: &str) -> Result<(Client, &'a str), Failure> {
    match call.args.as_slice() {
        [name] => Ok((begin(call).await?, name)),
        _ => Err(Failure::line(format!("Please provide a {what}"))),
    }
}

fn no_arguments(call: &Call) -> Result<(), Failure> {
    if call.args.is_empty() { Ok(()) } else { Err(Failure::line("No arguments accepted")) }
}

pub async fn user_list(call: &Call) -> Result<(), Failure> {
    no_arguments(call)?;
    let client = begin(call).await?;
    asked(call, auth::users(&client)).await?.into_iter().for_each(say);
    Ok(())
}

pub async fn user_get(call: &Call) -> Result<(), Failure> {
    let (client, name) = begin_with(call, "username").await?;
    let user = asked(call, auth::user(&client, name)).await?;
    let roles: String = user.roles().map(|role| format!(" {role}")).collect();
    say(format!("User: {}\nRoles: {roles}", user.user));
    Ok(())
}

pub async fn user_add(call: &Call) -> Result<(), Failure> {
    let (client, typed) = begin_with(call, "username").await?;
    let (name, password) = match typed.split_once(':') {
        Some((name, password)) => (name, password.to_owned()),
        None => (typed, secret(NEW_PASSWORD)),
    };
    asked(call, auth::put_user(&client, name, &password, auth::MADE)).await?;
    say(format!("User {name} created"));
    Ok(())
}

pub async fn user_passwd(call: &Call) -> Result<(), Failure> {
    let (client, name) = begin_with(call, "username").await?;
    let password = secret(NEW_PASSWORD);
    asked(call, auth::put_user(&client, name, &password, auth::CHANGED)).await?;
    say("Password updated");
    Ok(())
}

pub async fn user_remove(call: &Call) -> Result<(), Failure> {
    let (client, name) = begin_with(call, "username").await?;
    asked(call, auth::remove(&client, "users", name)).await?;
    say(format!("User {name} removed"));
    Ok(())
}

pub async fn user_change(call: &Call, change: Change) -> Result<(), Failure> {
    let roles = call.own.texts("roles");
    if roles.is_empty() {
        return Err(Failure::line("No roles specified; please use `--roles`"));
    }
    let (client, name) = begin_with(call, "username").await?;
    asked(call, auth::change_user(&client, name, roles, change)).await?;
    say(format!("User {name} updated"));
    Ok(())
}

pub async fn role_list(call: &Call) -> Result<(), Failure> {
    no_arguments(call)?;
    let client = begin(call).await?;
    asked(call, auth::roles(&client)).await?.into_iter().for_each(say);
    Ok(())
}

pub async fn role_get(call: &Call) -> Result<(), Failure> {
    let (client, name) = begin_with(call, "role name").await?;
    let role = asked(call, auth::role(&client, name)).await?;
    let lines = |paths: &Option<Vec<String>>| -> String {
        paths.iter().flatten().map(|path| format!("\t{path}\n")).collect()
    };
    let (read, write) = (lines(&role.may().read), lines(&role.may().write));
    say(format!("Role: {}\nKV Read:\n{read}KV Write:\n{write}", role.role).trim_end_matches('\n'));
    Ok(())
}

pub async fn role_add(call: &Call) -> Result<(), Failure> {
    let (client, name) = begin_with(call, "role name").await?;
    if asked(call, auth::role(&client, name)).await.is_ok() {
        return Err(Failure::line(format!("Role {name} already exists")));
    }
    asked(call, auth::add_role(&client, name)).await?;
    say(format!("Role {name} created"));
    Ok(())
}

pub async fn role_remove(call: &Call) -> Result<(), Failure> {
    let (client, name) = begin_with(call, "role name").await?;
    asked(call, auth::remove(&client, "roles", name)).await?;
    say(format!("Role {name} removed"));
    Ok(())
}

pub async fn role_change(call: &Call, change: Change) -> Result<(), Failure> {
    let path = call.own.text("path");
    if path.is_empty() {
        return Err(Failure::line("No path specified; please use `--path`"));
    }
    if canonical(path) != path {
        let path = canonical(path);
        return Err(Failure::line(format!("Not canonical path; please use `--path={path}`")));
    }
    let on = |flag: &str| call.own.is_on(flag);
    let (read, write) = match (on("read"), on("write"), on("readwrite")) {
        (true, false, false) => (true, false),
        (false, true, false) => (false, true),
        (false, false, true) => (true, true),
        _ => {
            let text = "Please specify exactly one of --read, --write or --readwrite";
            return Err(Failure::line(text));
        }
    };
    let (client, name) = begin_with(call, "role name").await?;
    let list = |wanted: bool| wanted.then(|| vec![path.to_owned()]);
    let permissions = Permissions { read: list(read), write: list(write) };
    asked(call, auth::role(&client, name)).await?;
    asked(call, auth::change_role(&client, name, &permissions, change)).await?;
    say(format!("Role {name} updated"));
    Ok(())
}

pub async fn enable(call: &Call, enabled: bool) -> Result<(), Failure> {
    no_arguments(call)?;
    let client = begin(call).await?;
    asked(call, auth::enable(&client, enabled)).await?;
    say(if enabled { "Authentication Enabled" } else { "Authentication Disabled" });
    Ok(())
}
