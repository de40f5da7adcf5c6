//! What committed entries do to users and roles (`docs/etcd/apply-semantics.md` 8).
//!
//! Each returns the rows to store, or refuses and changes nothing. Whoever calls has asked before whether the
//! caller may (see [`Users::is_root`](crate::Users::is_root)).

use std::sync::Arc;

use bytes::Bytes;
use proto::authpb;
use store::{Bucket, StateChange};
use types::Refusal;

use crate::rows;
use crate::tokens::TokenChange;
use crate::users::{ROOT, Role, User, Users};

/// The longest name of a user or role: the longest key of a bbolt file. etcd ends when it applies a longer
/// one; it is refused at the door and, should a log hold one, when it is applied.
pub const NAME_BYTES_MAX: usize = 32_768;

/// What a change leaves to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Changed {
    /// The rows to store, in the entry's own batch.
    pub rows: Vec<StateChange>,
    /// What it means for tokens.
    pub tokens: TokenChange,
}

/// A user to add.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// The bcrypt text of the password; empty for none.
    pub hash: Bytes,
    /// Whether only a certificate is to stand for this user.
    pub no_password: bool,
}

/// The permission of a request to grant one: is it there, and are its keys in order?
///
/// # Errors
/// `PermissionNotGiven`, `InvalidAuthMgmt`.
pub fn check_permission(
    permission: Option<&authpb::Permission>,
) -> Result<&authpb::Permission, Refusal> {
    let permission = permission.ok_or(Refusal::PermissionNotGiven)?;
    let (key, end) = (&permission.key, &permission.range_end);
    let valid = !key.is_empty() && (end.is_empty() || end[..] == [0] || key < end);
    if valid { Ok(permission) } else { Err(Refusal::InvalidAuthMgmt) }
}

fn check_name(name: &str, empty: Refusal) -> Result<(), Refusal> {
    match name.len() {
        0 => Err(empty),
        1..=NAME_BYTES_MAX => Ok(()),
        _ => Err(Refusal::invalid("etcdserver: a name has 32768 bytes at most")),
    }
}

/// Whether they are asked for.
impl Users {
    /// From now on everybody says who he is. Needs a user root with the role root, or it could never be
    /// taken back. The revision stays.
    ///
    /// # Errors
    /// `RootUserNotExist`, `RootRoleNotExist`.
    pub fn enable(&mut self) -> Result<Changed, Refusal> {
        if self.enabled {
            return Ok(Changed::default());
        }
        let root = self.user(ROOT).ok_or(Refusal::RootUserNotExist)?;
        if !root.rights.everything {
            return Err(Refusal::RootRoleNotExist);
        }
        self.enabled = true;
        Ok(Changed { rows: vec![rows::enabled(true)], ..Changed::default() })
    }

    /// Nobody is asked any more, and no token stands.
    pub fn disable(&mut self) -> Changed {
        if !self.enabled {
            return Changed::default();
        }
        self.enabled = false;
        Changed { tokens: TokenChange::DropAll, ..self.committed(vec![rows::enabled(false)]) }
    }

    fn committed(&mut self, mut rows: Vec<StateChange>) -> Changed {
        self.revision += 1;
        rows.push(rows::revision(self.revision));
        Changed { rows, ..Changed::default() }
    }
}

/// Users.
impl Users {
    /// Adds a user without roles.
    ///
    /// # Errors
    /// `UserEmpty`, `UserAlreadyExist`.
    pub fn add_user(&mut self, name: &str, new: NewUser) -> Result<Changed, Refusal> {
        check_name(name, Refusal::UserEmpty)?;
        if self.users.contains_key(name) {
            return Err(Refusal::UserAlreadyExist);
        }
        let hash = if new.no_password { Bytes::new() } else { new.hash };
        let no_password = Some(new.no_password);
        let user = User { hash, roles: Vec::new(), no_password, rights: Default::default() };
        Ok(self.put_user(name, user))
    }

    /// Forgets a user and its tokens. Root stays while it is asked for.
    ///
    /// # Errors
    /// `InvalidAuthMgmt`, `UserNotFound`.
    pub fn delete_user(&mut self, name: &str) -> Result<Changed, Refusal> {
        if self.enabled && name == ROOT {
            return Err(Refusal::InvalidAuthMgmt);
        }
        self.users.remove(name).ok_or(Refusal::UserNotFound)?;
        let changed = self.committed(vec![rows::gone(Bucket::AuthUsers, name)]);
        Ok(Changed { tokens: TokenChange::DropUser(name.to_owned()), ..changed })
    }

    /// Gives a user another password; its tokens die. One that has none keeps none.
    ///
    /// # Errors
    /// `UserNotFound`.
    pub fn change_password(&mut self, name: &str, hash: Bytes) -> Result<Changed, Refusal> {
        let mut user = self.user(name).ok_or(Refusal::UserNotFound)?.clone();
        user.hash = if user.has_no_password() { Bytes::new() } else { hash };
        let changed = self.put_user(name, user);
        Ok(Changed { tokens: TokenChange::DropUser(name.to_owned()), ..changed })
    }

    /// Gives a user a role; a role it has already is given without a change.
    ///
    /// # Errors
    /// `UserNotFound`; `RoleNotFound`, but for root, which need not exist.
    pub fn grant_role(&mut self, name: &str, role: &str) -> Result<Changed, Refusal> {
        let mut user = self.user(name).ok_or(Refusal::UserNotFound)?.clone();
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(Refusal::RoleNotFound);
        }
        if user.roles.iter().any(|has| has == role) {
            return Ok(Changed::default());
        }
        user.roles.push(role.to_owned());
        user.roles.sort_unstable();
        Ok(self.put_user(name, user))
    }

    /// Takes a role from a user. Root keeps its own while it is asked for.
    ///
    /// # Errors
    /// `InvalidAuthMgmt`, `UserNotFound`, `RoleNotGranted`.
    pub fn revoke_role(&mut self, name: &str, role: &str) -> Result<Changed, Refusal> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(Refusal::InvalidAuthMgmt);
        }
        let mut user = self.user(name).ok_or(Refusal::UserNotFound)?.clone();
        let before = user.roles.len();
        user.roles.retain(|has| has != role);
        if user.roles.len() == before {
            return Err(Refusal::RoleNotGranted);
        }
        Ok(self.put_user(name, user))
    }

    fn put_user(&mut self, name: &str, user: User) -> Changed {
        let row = self.keep_user(name, user);
        self.committed(vec![row])
    }

    fn keep_user(&mut self, name: &str, mut user: User) -> StateChange {
        user.rights = self.rights(&user.roles);
        let row = rows::user(name, &user);
        self.users.insert(name.to_owned(), Arc::new(user));
        row
    }
}

/// Roles.
impl Users {
    /// Adds a role that allows nothing yet.
    ///
    /// # Errors
    /// `RoleEmpty`, `RoleAlreadyExist`.
    pub fn add_role(&mut self, name: &str) -> Result<Changed, Refusal> {
        check_name(name, Refusal::RoleEmpty)?;
        if self.roles.contains_key(name) {
            return Err(Refusal::RoleAlreadyExist);
        }
        Ok(self.put_role(name, Role::default()))
    }

    /// Forgets a role, and takes it from all users. Root stays while it is asked for.
    ///
    /// # Errors
    /// `InvalidAuthMgmt`, `RoleNotFound`.
    pub fn delete_role(&mut self, name: &str) -> Result<Changed, Refusal> {
        if self.enabled && name == ROOT {
            return Err(Refusal::InvalidAuthMgmt);
        }
        self.roles.remove(name).ok_or(Refusal::RoleNotFound)?;
        let mut rows = vec![rows::gone(Bucket::AuthRoles, name)];
        for (holder, mut user) in self.holders(name) {
            user.roles.retain(|has| has != name);
            rows.push(self.keep_user(&holder, user));
        }
        Ok(self.committed(rows))
    }

    /// Adds a permission to a role. The first one under the same key gets the new kind if its range is the
    /// same too; the revision moves even when nothing changes.
    ///
    /// # Errors
    /// Those of [`check_permission`], `RoleNotFound`.
    pub fn grant_permission(
        &mut self,
        name: &str,
        permission: Option<&authpb::Permission>,
    ) -> Result<Changed, Refusal> {
        let permission = check_permission(permission)?;
        let mut role = self.role(name).ok_or(Refusal::RoleNotFound)?.clone();
        let key = &permission.key;
        let first = role.permissions.partition_point(|has| has.key < *key);
        match role.permissions.get_mut(first) {
            Some(has) if has.key == *key && has.range_end == permission.range_end => {
                has.perm_type = permission.perm_type;
            }
            _ => {
                let after = role.permissions.partition_point(|has| has.key <= *key);
                role.permissions.insert(after, permission.clone());
            }
        }
        Ok(self.put_role(name, role))
    }

    /// Takes the permission over exactly this key and end from a role.
    ///
    /// # Errors
    /// `RoleNotFound`, `PermissionNotGranted`.
    pub fn revoke_permission(
        &mut self,
        name: &str,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<Changed, Refusal> {
        let mut role = self.role(name).ok_or(Refusal::RoleNotFound)?.clone();
        let before = role.permissions.len();
        role.permissions.retain(|has| has.key != key || has.range_end != range_end);
        if role.permissions.len() == before {
            return Err(Refusal::PermissionNotGranted);
        }
        Ok(self.put_role(name, role))
    }

    fn put_role(&mut self, name: &str, role: Role) -> Changed {
        let row = rows::role(name, &role);
        self.roles.insert(name.to_owned(), Arc::new(role));
        for (holder, mut user) in self.holders(name) {
            user.rights = self.rights(&user.roles);
            self.users.insert(holder, Arc::new(user));
        }
        self.committed(vec![row])
    }

    /// Copies of the users who have a role.
    fn holders(&self, role: &str) -> Vec<(String, User)> {
        let has = |user: &User| user.roles.iter().any(|has| has == role);
        let holders = self.users.iter().filter(|(_, user)| has(user));
        holders.map(|(name, user)| (name.clone(), User::clone(user))).collect()
    }
}
