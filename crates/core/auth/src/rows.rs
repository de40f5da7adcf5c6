//! The rows of etcd's three buckets, as etcd writes them (`docs/etcd/bbolt-and-backend.md` 2).

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use proto::authpb;
use store::{Bucket, State, StateChange};

use crate::users::{Rights, Role, User, Users};

const ENABLED: &[u8] = b"authEnabled";
const REVISION: &[u8] = b"authRevision";

/// A row of users or roles that no member wrote.
#[derive(Debug, thiserror::Error)]
#[error("the row {key:?} of bucket {bucket} cannot be read")]
pub struct BadRow {
    bucket: &'static str,
    key: String,
}

fn bad(bucket: Bucket, key: &[u8]) -> BadRow {
    BadRow { bucket: bucket.name(), key: String::from_utf8_lossy(key).into_owned() }
}

impl Users {
    /// Reads the rows of the store's buckets. A store without them is at revision 1.
    ///
    /// # Errors
    /// [`BadRow`].
    pub fn restore(state: &State) -> Result<Users, BadRow> {
        let mut users = Users {
            enabled: state.get(Bucket::Auth, ENABLED).is_some_and(|value| value[..] == [1]),
            ..Users::default()
        };
        if let Some(value) = state.get(Bucket::Auth, REVISION) {
            let bytes = value[..].try_into().map_err(|_| bad(Bucket::Auth, REVISION))?;
            // 0 is what a file says whose first member never came to write its own.
            users.revision = u64::from_be_bytes(bytes).max(1);
        }
        for (key, value) in state.iter(Bucket::AuthRoles) {
            let row = authpb::Role::decode(value.clone());
            let (Ok(name), Ok(row)) = (String::from_utf8(key.to_vec()), row) else {
                return Err(bad(Bucket::AuthRoles, key));
            };
            users.roles.insert(name, Arc::new(Role { permissions: row.key_permission }));
        }
        for (key, value) in state.iter(Bucket::AuthUsers) {
            let row = authpb::User::decode(value.clone());
            let (Ok(name), Ok(row)) = (String::from_utf8(key.to_vec()), row) else {
                return Err(bad(Bucket::AuthUsers, key));
            };
            let rights = users.rights(&row.roles);
            users.users.insert(name, Arc::new(User::of_row(row, rights)));
        }
        Ok(users)
    }
}

impl User {
    fn of_row(row: authpb::User, rights: Rights) -> User {
        User {
            hash: row.password,
            roles: row.roles,
            no_password: row.options.map(|options| options.no_password),
            rights,
        }
    }
}

pub(crate) fn user(name: &str, user: &User) -> StateChange {
    let row = authpb::User {
        name: Bytes::copy_from_slice(name.as_bytes()),
        password: user.hash.clone(),
        roles: user.roles.clone(),
        options: user.no_password.map(|no_password| authpb::UserAddOptions { no_password }),
    };
    set(Bucket::AuthUsers, name.as_bytes(), row.encode_to_vec())
}

pub(crate) fn role(name: &str, role: &Role) -> StateChange {
    let row = authpb::Role {
        name: Bytes::copy_from_slice(name.as_bytes()),
        key_permission: role.permissions.clone(),
    };
    set(Bucket::AuthRoles, name.as_bytes(), row.encode_to_vec())
}

pub(crate) fn enabled(enabled: bool) -> StateChange {
    set(Bucket::Auth, ENABLED, vec![u8::from(enabled)])
}

pub(crate) fn revision(revision: u64) -> StateChange {
    set(Bucket::Auth, REVISION, revision.to_be_bytes().to_vec())
}

pub(crate) fn gone(bucket: Bucket, name: &str) -> StateChange {
    StateChange::Delete { bucket, key: Bytes::copy_from_slice(name.as_bytes()) }
}

fn set(bucket: Bucket, key: &[u8], value: Vec<u8>) -> StateChange {
    StateChange::Set { bucket, key: Bytes::copy_from_slice(key), value: value.into() }
}
