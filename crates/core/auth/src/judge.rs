//! Decides: somebody, and what he asks for.

use bytes::Bytes;
use types::{KeyRange, LeaseId, Refusal};

use crate::users::{Rights, Users};

/// Whom a request names, as its entry's header does. An empty name and revision 0 are nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller<'a> {
    /// The user.
    pub name: &'a str,
    /// The revision of users and roles at which the user was known.
    pub revision: u64,
}

/// Where the keys of a lease are known.
#[derive(Clone, Copy)]
pub enum Leases<'a> {
    /// Not here: what is proposed is decided again when it is applied, and there they are.
    DecidedAtApply,
    /// The keys that hang on a lease, or on any.
    Known(&'a dyn Fn(Option<LeaseId>) -> Vec<Bytes>),
}

/// One caller before the users and roles of one moment.
pub struct Judge<'a> {
    users: &'a Users,
    /// `None` when the call names nobody at all.
    caller: Option<Caller<'a>>,
    leases: Leases<'a>,
}

impl<'a> Judge<'a> {
    /// The judge of what this caller asks.
    pub fn new(users: &'a Users, caller: Option<Caller<'a>>, leases: Leases<'a>) -> Judge<'a> {
        Judge { users, caller, leases }
    }

    fn caller(&self) -> Caller<'a> {
        self.caller.unwrap_or_default()
    }

    /// Anybody who says who he is.
    ///
    /// # Errors
    /// `UserEmpty`.
    pub fn login(&self) -> Result<(), Refusal> {
        let open = !self.users.enabled || self.caller.is_some();
        if open { Ok(()) } else { Err(Refusal::UserEmpty) }
    }

    /// Users with the role root. How old the caller's revision is does not matter here.
    ///
    /// # Errors
    /// `UserEmpty`, `UserNotFound`, `PermissionDenied`.
    pub fn root(&self) -> Result<(), Refusal> {
        if !self.users.enabled {
            return Ok(());
        }
        let name = self.caller().name;
        if name.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        let user = self.users.user(name).ok_or(Refusal::UserNotFound)?;
        if user.rights.everything { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    /// Users with the role root, and the user of this name.
    ///
    /// # Errors
    /// As [`Judge::root`].
    pub fn root_or_user(&self, name: &str) -> Result<(), Refusal> {
        if self.caller().name == name { Ok(()) } else { self.root() }
    }

    /// Users with the role root, and those who have this role.
    ///
    /// # Errors
    /// As [`Judge::root`].
    pub fn root_or_role(&self, role: &str) -> Result<(), Refusal> {
        let user = self.users.user(self.caller().name);
        let has = user.is_some_and(|user| user.roles.iter().any(|has| has == role));
        if has { Ok(()) } else { self.root() }
    }

    /// Whether the caller may read these keys.
    ///
    /// # Errors
    /// `UserEmpty`, `AuthOldRevision`, `PermissionDenied`.
    pub fn read(&self, key: &Bytes, range_end: &Bytes) -> Result<(), Refusal> {
        self.keys(key, range_end, |rights, range| rights.read.covers(range))
    }

    /// Whether the caller may write these keys.
    ///
    /// # Errors
    /// As [`Judge::read`].
    pub fn write(&self, key: &Bytes, range_end: &Bytes) -> Result<(), Refusal> {
        self.keys(key, range_end, |rights, range| rights.write.covers(range))
    }

    fn keys(
        &self,
        key: &Bytes,
        range_end: &Bytes,
        covered: impl FnOnce(&Rights, &KeyRange) -> bool,
    ) -> Result<(), Refusal> {
        if !self.users.enabled {
            return Ok(());
        }
        let caller = self.caller();
        if caller.revision == 0 {
            return Err(Refusal::UserEmpty);
        }
        if caller.revision < self.users.revision {
            return Err(Refusal::AuthOldRevision);
        }
        let user = self.users.user(caller.name).ok_or(Refusal::PermissionDenied)?;
        if user.rights.everything {
            return Ok(());
        }
        // A request without a key is refused for that where it is carried out; here it opens nothing.
        let range = KeyRange::from_wire(key, range_end).ok();
        let allowed = range.is_some_and(|range| covered(&user.rights, &range));
        if allowed { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    /// Whether the caller may write every key of a lease: else he could delete them by it.
    ///
    /// # Errors
    /// As [`Judge::write`].
    pub fn write_lease(&self, lease: LeaseId) -> Result<(), Refusal> {
        self.lease_keys(Some(lease), |key| self.write(key, &Bytes::new()))
    }

    /// Whether the caller may read every key of a lease: else he would learn their names.
    ///
    /// # Errors
    /// As [`Judge::read`].
    pub fn read_lease(&self, lease: LeaseId) -> Result<(), Refusal> {
        self.lease_keys(Some(lease), |key| self.read(key, &Bytes::new()))
    }

    /// Whether the caller may read every key of every lease.
    ///
    /// # Errors
    /// As [`Judge::read`].
    pub fn read_all_leases(&self) -> Result<(), Refusal> {
        self.lease_keys(None, |key| self.read(key, &Bytes::new()))
    }

    fn lease_keys(
        &self,
        lease: Option<LeaseId>,
        ask: impl Fn(&Bytes) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match self.leases {
            Leases::DecidedAtApply => Ok(()),
            Leases::Known(_) if self.root().is_ok() => Ok(()),
            Leases::Known(keys) => keys(lease).iter().try_for_each(ask),
        }
    }
}
