//! Who may do what, as far as this crate has a say: the permission gate, and requests about users and roles.
//!
//! Permissions never count here yet: data in which they do is refused when it is opened
//! ([`crate::RecoverError::AuthEnabled`]), and no request that would make a user or a role is carried out.

use types::Refusal;

use crate::applier::{Applier, Decided};
use crate::compat::Compat;
use crate::gates::Permission;
use crate::request::{Asked, AuthRequest};

impl Applier {
    /// The permission gate. While the cluster's version does not have ranges of transactions checked
    /// ([`Compat::txn_ranges_checked`]), a transaction's own ranges must not be looked at here either: the
    /// members that do not look would carry it out.
    pub(crate) fn pass_permission(
        &self,
        needs: Permission,
        _asked: &Asked,
        _compat: Compat,
    ) -> Result<(), Refusal> {
        match needs {
            Permission::None | Permission::Keys | Permission::Root | Permission::Own => Ok(()),
        }
    }

    /// Carries out a request about users and roles.
    pub(crate) fn auth(&mut self, request: &AuthRequest) -> Decided {
        let name = request.name();
        let text = format!("etcdserver: this release has no authentication yet: {name} is refused");
        Err(Refusal::unknown(text).into())
    }
}
