//! `/v2/auth`: users, roles, and whether anybody is asked who he is.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::api::client::Wanted;
use crate::api::{Answer, Client, Fault};
use crate::render::{go_json, json_fault};

const PATH: &str = "/v2/auth";
/// What was there is changed.
pub const CHANGED: &[StatusCode] = &[StatusCode::OK];
/// What was not there is made; what was there is changed.
pub const MADE: &[StatusCode] = &[StatusCode::OK, StatusCode::CREATED];

/// What a role may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// Paths that may be read.
    pub read: Option<Vec<String>>,
    /// Paths that may be written.
    pub write: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct OfKeys {
    kv: Permissions,
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Role {
    /// Its name.
    pub role: String,
    permissions: OfKeys,
}

impl Role {
    /// What it may do.
    pub fn may(&self) -> &Permissions {
        &self.permissions.kv
    }
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct User {
    /// The name.
    pub user: String,
    roles: Option<Vec<Role>>,
}

impl User {
    /// The names of the user's roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().flatten().map(|role| role.role.as_str())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lists {
    users: Option<Vec<User>>,
    roles: Option<Vec<Role>>,
}

/// How a user or role is given something, or has it taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has it now.
    Grant,
    /// It has it no more.
    Revoke,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Grant => "grant",
            Change::Revoke => "revoke",
        }
    }
}

/// All users.
///
/// # Errors
/// The server's words.
pub async fn users(client: &Client) -> Result<Vec<String>, Fault> {
    let lists: Lists = read(&ask(client, Wanted::get(format!("{PATH}/users")), CHANGED).await?)?;
    Ok(lists.users.unwrap_or_default().into_iter().map(|user| user.user).collect())
}

/// All roles.
///
/// # Errors
/// The server's words.
pub async fn roles(client: &Client) -> Result<Vec<String>, Fault> {
    let lists: Lists = read(&ask(client, Wanted::get(format!("{PATH}/roles")), CHANGED).await?)?;
    Ok(lists.roles.unwrap_or_default().into_iter().map(|role| role.role).collect())
}

/// One user.
///
/// # Errors
/// The server's words.
pub async fn user(client: &Client, name: &str) -> Result<User, Fault> {
    read(&ask(client, Wanted::get(format!("{PATH}/users/{name}")), CHANGED).await?)
}

/// One role.
///
/// # Errors
/// The server's words.
pub async fn role(client: &Client, name: &str) -> Result<Role, Fault> {
    read(&ask(client, Wanted::get(format!("{PATH}/roles/{name}")), CHANGED).await?)
}

/// Makes a user, or gives it another password. Where a user was to be there already and was made, etcdctl fails
/// without a word.
///
/// # Errors
/// The server's words.
pub async fn put_user(
    client: &Client,
    name: &str,
    password: &str,
    well: &[StatusCode],
) -> Result<(), Fault> {
    let password = match password {
        "" => String::new(),
        password => format!(",\"password\":{}", go_json(password)),
    };
    let body = format!("{{\"user\":{}{password},\"roles\":null}}", go_json(name));
    put(client, format!("{PATH}/users/{name}"), body, well).await
}

/// Gives a user roles, or takes them away.
///
/// # Errors
/// The server's words.
pub async fn change_user(
    client: &Client,
    name: &str,
    roles: &[String],
    change: Change,
) -> Result<(), Fault> {
    let roles: Vec<String> = roles.iter().map(|role| go_json(role)).collect();
    let body = format!(
        "{{\"user\":{},\"roles\":null,\"{}\":[{}]}}",
        go_json(name),
        change.name(),
        roles.join(",")
    );
    put(client, format!("{PATH}/users/{name}"), body, CHANGED).await
}

/// Makes a role that may do nothing yet.
///
/// # Errors
/// The server's words.
pub async fn add_role(client: &Client, name: &str) -> Result<(), Fault> {
    put(client, format!("{PATH}/roles/{name}"), role_body(name, ""), MADE).await
}

/// Lets a role do something, or lets it no more.
///
/// # Errors
/// The server's words.
pub async fn change_role(
    client: &Client,
    name: &str,
    permissions: &Permissions,
    change: Change,
) -> Result<(), Fault> {
    let list = |paths: &Option<Vec<String>>| match paths {
        None => "null".to_owned(),
        Some(paths) => {
            let paths: Vec<String> = paths.iter().map(|path| go_json(path)).collect();
            format!("[{}]", paths.join(","))
        }
    };
    let (read, write) = (list(&permissions.read), list(&permissions.write));
    let change = change.name();
    let more = format!(",\"{change}\":{{\"kv\":{{\"read\":{read},\"write\":{write}}}}}");
    put(client, format!("{PATH}/roles/{name}"), role_body(name, &more), CHANGED).await
}

fn role_body(name: &str, more: &str) -> String {
    let nothing = json!({ "kv": { "read": null, "write": null } });
    format!("{{\"role\":{},\"permissions\":{nothing}{more}}}", go_json(name))
}

/// Removes a user (`users`) or role (`roles`).
///
/// # Errors
/// The server's words.
pub async fn remove(client: &Client, kind: &str, name: &str) -> Result<(), Fault> {
    let wanted = Wanted::get(format!("{PATH}/{kind}/{name}"));
    ask(client, Wanted { method: Method::DELETE, ..wanted }, CHANGED).await.map(|_| ())
}

/// Asks everybody who he is from now on, or nobody.
///
/// # Errors
/// The server's words.
pub async fn enable(client: &Client, enabled: bool) -> Result<(), Fault> {
    let method = if enabled { Method::PUT } else { Method::DELETE };
    let wanted = Wanted { method, ..Wanted::get(format!("{PATH}/enable")) };
    ask(client, wanted, CHANGED).await.map(|_| ())
}

async fn put(
    client: &Client,
    path: String,
    body: String,
    well: &[StatusCode],
) -> Result<(), Fault> {
    let body = Some(("application/json", body));
    let wanted = Wanted { method: Method::PUT, body, ..Wanted::get(path) };
    ask(client, wanted, well).await.map(|_| ())
}

/// An answer that is none of a refusal.
async fn ask(client: &Client, wanted: Wanted, well: &[StatusCode]) -> Result<Answer, Fault> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Message {
        message: String,
    }
    let answer = client.ask(&wanted).await?;
    if well.contains(&answer.status) {
        return Ok(answer);
    }
    Err(Fault::Said(read::<Message>(&answer)?.message))
}

fn read<T: for<'a> Deserialize<'a>>(answer: &Answer) -> Result<T, Fault> {
    let read = serde_json::from_slice(&answer.body);
    read.map_err(|error| Fault::Said(json_fault(&answer.body, &error)))
}
