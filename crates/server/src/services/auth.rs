//! The Auth service of a member without users.
//!
//! Authentication is off and there are no users or roles, so every question has its true answer and
//! every change of a user or role the refusal etcd gives for one that does not exist. What would make
//! the first user or role is refused by name.

use node::Node;
use proto::etcdserverpb as pb;
use rpc::{Call, Router};
use types::{Code, Refusal};

use crate::door;

/// Registers a method whose answer needs nothing but the member.
macro_rules! answers {
    ($router:ident, $node:ident, $($name:literal: $request:ty => $answer:expr;)*) => {
        $({
            let at = $node.clone();
            $router.unary_of(
                concat!("/etcdserverpb.Auth/", $name),
                move |call: Call, request: $request| {
                    let node = at.clone();
                    async move {
                        door::enter(&node, &call)?;
                        let answer = $answer;
                        answer(&node, &request)
                    }
                },
            );
        })*
    };
}

fn header(node: &Node) -> Option<pb::ResponseHeader> {
    Some(node.header(node.revision()))
}

fn not_built(what: &str) -> Refusal {
    let text = format!("etcdserver: this release has no authentication yet: {what} is refused");
    Refusal::Other(Code::Unimplemented, text.into())
}

pub(crate) fn register(router: &mut Router, node: &Node) {
    answers! { router, node,
        "AuthEnable": pb::AuthEnableRequest => |_: &Node, _: &_| {
            Err::<pb::AuthEnableResponse, _>(Refusal::RootUserNotExist)
        };
        "AuthDisable": pb::AuthDisableRequest => |node: &Node, _: &_| {
            Ok(pb::AuthDisableResponse { header: header(node) })
        };
        "AuthStatus": pb::AuthStatusRequest => |node: &Node, _: &_| {
            Ok(pb::AuthStatusResponse { header: header(node), enabled: false, auth_revision: 1 })
        };
        "Authenticate": pb::AuthenticateRequest => |_: &Node, _: &_| {
            Err::<pb::AuthenticateResponse, _>(Refusal::AuthNotEnabled)
        };
        "UserAdd": pb::AuthUserAddRequest => |_: &Node, request: &pb::AuthUserAddRequest| {
            Err::<pb::AuthUserAddResponse, _>(match request.name.is_empty() {
                true => Refusal::UserEmpty,
                false => not_built("adding a user"),
            })
        };
        "UserGet": pb::AuthUserGetRequest => |_: &Node, _: &_| {
            Err::<pb::AuthUserGetResponse, _>(Refusal::UserNotFound)
        };
        "UserList": pb::AuthUserListRequest => |node: &Node, _: &_| {
            Ok(pb::AuthUserListResponse { header: header(node), users: Vec::new() })
        };
        "UserDelete": pb::AuthUserDeleteRequest => |_: &Node, _: &_| {
            Err::<pb::AuthUserDeleteResponse, _>(Refusal::UserNotFound)
        };
        "UserChangePassword": pb::AuthUserChangePasswordRequest => |_: &Node, _: &_| {
            Err::<pb::AuthUserChangePasswordResponse, _>(Refusal::UserNotFound)
        };
        "UserGrantRole": pb::AuthUserGrantRoleRequest => |_: &Node, _: &_| {
            Err::<pb::AuthUserGrantRoleResponse, _>(Refusal::UserNotFound)
        };
        "UserRevokeRole": pb::AuthUserRevokeRoleRequest => |_: &Node, _: &_| {
            Err::<pb::AuthUserRevokeRoleResponse, _>(Refusal::UserNotFound)
        };
        "RoleAdd": pb::AuthRoleAddRequest => |_: &Node, request: &pb::AuthRoleAddRequest| {
            Err::<pb::AuthRoleAddResponse, _>(match request.name.is_empty() {
                true => Refusal::RoleEmpty,
                false => not_built("adding a role"),
            })
        };
        "RoleGet": pb::AuthRoleGetRequest => |_: &Node, _: &_| {
            Err::<pb::AuthRoleGetResponse, _>(Refusal::RoleNotFound)
        };
        "RoleList": pb::AuthRoleListRequest => |node: &Node, _: &_| {
            Ok(pb::AuthRoleListResponse { header: header(node), roles: Vec::new() })
        };
        "RoleDelete": pb::AuthRoleDeleteRequest => |_: &Node, _: &_| {
            Err::<pb::AuthRoleDeleteResponse, _>(Refusal::RoleNotFound)
        };
        "RoleGrantPermission": pb::AuthRoleGrantPermissionRequest =>
            |_: &Node, request: &pb::AuthRoleGrantPermissionRequest| {
            Err::<pb::AuthRoleGrantPermissionResponse, _>(granting(request))
        };
        "RoleRevokePermission": pb::AuthRoleRevokePermissionRequest => |_: &Node, _: &_| {
            Err::<pb::AuthRoleRevokePermissionResponse, _>(Refusal::RoleNotFound)
        };
    }
}

/// The checks in etcd's order: the permission, its range, the role (`reference/observed.md` D).
fn granting(request: &pb::AuthRoleGrantPermissionRequest) -> Refusal {
    let Some(permission) = &request.perm else { return Refusal::PermissionNotGiven };
    let (key, end) = (&permission.key, &permission.range_end);
    let valid = !key.is_empty() && (end.is_empty() || &end[..] == b"\0" || key < end);
    if valid { Refusal::RoleNotFound } else { Refusal::InvalidAuthMgmt }
}
