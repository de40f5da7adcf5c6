//! Users and roles as the log says, and what each user may do.
//!
//! A clone shares its parts: the engine publishes one with each view, and whoever changes it afterwards
//! copies what he changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use proto::authpb;
use types::KeyRange;

use crate::ranges::RangeSet;

/// The user and the role that may do everything.
pub const ROOT: &str = "root";

/// All users and roles, whether they are asked for, and how often they changed.
#[derive(Clone, Debug)]
pub struct Users {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    pub(crate) users: BTreeMap<String, Arc<User>>,
    pub(crate) roles: BTreeMap<String, Arc<Role>>,
}

impl Default for Users {
    /// As in a new cluster: nobody is asked, and the revision is 1.
    fn default() -> Users {
        Users { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

/// One user.
#[derive(Clone)]
pub struct User {
    pub(crate) hash: Bytes,
    pub(crate) roles: Vec<String>,
    /// `None` in rows of releases that did not know it yet; it is written back as it was found.
    pub(crate) no_password: Option<bool>,
    pub(crate) rights: Rights,
}

impl fmt::Debug for User {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl User {
    /// Its roles, in order of their names.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// The bcrypt text of its password; empty when it has none.
    pub fn hash(&self) -> &Bytes {
        &self.hash
    }

    /// Whether only a certificate stands for this user.
    pub fn has_no_password(&self) -> bool {
        self.no_password.unwrap_or(false)
    }

    /// What it may do.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }
}

/// What all roles of a user come to.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Whether the user has the role root.
    pub everything: bool,
    /// The keys it may read.
    pub read: RangeSet,
    /// The keys it may write.
    pub write: RangeSet,
}

/// One role.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// What it allows, in order of the keys.
    pub(crate) permissions: Vec<authpb::Permission>,
}

impl Role {
    /// What it allows, in order of the keys.
    pub fn permissions(&self) -> &[authpb::Permission] {
        &self.permissions
    }
}

impl Users {
    /// Whether anybody is asked who he is.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Counts the changes of users and roles.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One user.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(Arc::as_ref)
    }

    /// One role.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(Arc::as_ref)
    }

    /// The names of all users, in order.
    pub fn user_names(&self) -> impl Iterator<Item = &String> {
        self.users.keys()
    }

    /// The names of all roles, in order.
    pub fn role_names(&self) -> impl Iterator<Item = &String> {
        self.roles.keys()
    }

    /// What roles of these names come to. Roles that are not there add nothing.
    pub(crate) fn rights(&self, roles: &[String]) -> Rights {
        let permissions = || {
            let roles = roles.iter().filter_map(|role| self.roles.get(role));
            roles.flat_map(|role| role.permissions.iter())
        };
        Rights {
            everything: roles.iter().any(|role| role == ROOT),
            read: permissions().filter_map(|permission| granted(permission, READ)).collect(),
            write: permissions().filter_map(|permission| granted(permission, WRITE)).collect(),
        }
    }
}

const READ: authpb::permission::Type = authpb::permission::Type::Read;
const WRITE: authpb::permission::Type = authpb::permission::Type::Write;

/// The keys a permission opens for one kind of access. A kind nobody knows opens nothing, and neither does
/// one without a key, which old releases stored.
fn granted(permission: &authpb::Permission, access: authpb::permission::Type) -> Option<KeyRange> {
    let kind = authpb::permission::Type::try_from(permission.perm_type).ok()?;
    let opens = kind == access || kind == authpb::permission::Type::Readwrite;
    let range = KeyRange::from_wire(&permission.key, &permission.range_end).ok()?;
    opens.then_some(range)
}
