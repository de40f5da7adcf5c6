//! Users and roles.

use client::prefix_end;
use proto::authpb::{Permission, permission::Type};
use proto::etcdserverpb as pb;

use super::{Fields, Printer, say};
use crate::exit::Failure;
use go::quote;

macro_rules! done {
    ($($name:ident, $type:ident;)*) => {
        $(
            /// Says that it is done.
            pub fn $name(&self, text: String, answer: &pb::$type) -> Result<(), Failure> {
                self.show(answer, |out| say(out, text), |out| out.header(&answer.header))
            }
        )*
    };
}

impl Printer {
    done! {
        role_added, AuthRoleAddResponse;
        role_deleted, AuthRoleDeleteResponse;
        role_granted, AuthRoleGrantPermissionResponse;
        role_revoked, AuthRoleRevokePermissionResponse;
        user_added, AuthUserAddResponse;
        user_deleted, AuthUserDeleteResponse;
        password_changed, AuthUserChangePasswordResponse;
        user_granted, AuthUserGrantRoleResponse;
        user_revoked, AuthUserRevokeRoleResponse;
    }

    /// `auth status`.
    pub fn auth_status(&self, answer: &pb::AuthStatusResponse) -> Result<(), Failure> {
        self.show_without_fields(answer, |out| {
            say(out, format!("Authentication Status: {}", answer.enabled));
            say(out, format!("AuthRevision: {}", answer.auth_revision));
        })
    }

    /// `user get`.
    pub fn user(&self, name: &str, answer: &pb::AuthUserGetResponse) -> Result<(), Failure> {
        self.show_without_fields(answer, |out| {
            let roles: String = answer.roles.iter().map(|role| format!(" {role}")).collect();
            say(out, format!("User: {name}\nRoles:{roles}"));
        })
    }

    /// `user list`.
    pub fn users(&self, answer: &pb::AuthUserListResponse) -> Result<(), Failure> {
        self.show_without_fields(answer, |out| answer.users.iter().for_each(|user| say(out, user)))
    }

    /// `role list`.
    pub fn roles(&self, answer: &pb::AuthRoleListResponse) -> Result<(), Failure> {
        let simple = |out: &mut Vec<u8>| answer.roles.iter().for_each(|role| say(out, role));
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            let quoted = |role: &String| format!(" {}", quote(role.as_bytes()));
            let roles: String = answer.roles.iter().map(quoted).collect();
            out.line(format!("\"Roles\" :{roles}"));
        };
        self.show(answer, simple, fields)
    }

    /// `role get`.
    pub fn role(&self, name: &str, answer: &pb::AuthRoleGetResponse) -> Result<(), Failure> {
        let simple = |out: &mut Vec<u8>| {
            say(out, format!("Role {name}"));
            let all = name == "root" && answer.perm.is_empty();
            for (title, kind) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
                say(out, title);
                if all {
                    say(out, "\t[, <open ended>");
                }
                let counts =
                    |perm: &&Permission| [kind, Type::Readwrite].contains(&perm.perm_type());
                answer.perm.iter().filter(counts).for_each(|perm| permission(out, perm));
            }
        };
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            for perm in &answer.perm {
                out.line(format!("\"PermType\" :  {}", perm.perm_type().as_str_name()));
                out.quoted("Key", &perm.key);
                out.quoted("RangeEnd", &perm.range_end);
            }
        };
        self.show(answer, simple, fields)
    }
}

fn permission(out: &mut Vec<u8>, perm: &Permission) {
    let (key, end) = (&perm.key[..], &perm.range_end[..]);
    out.push(b'\t');
    match end {
        [] => out.extend_from_slice(key),
        [0] => out.extend_from_slice(&[b"[", key, b", <open ended>"].concat()),
        end => out.extend_from_slice(&[b"[", key, b", ", end, b")"].concat()),
    }
    if !end.is_empty() && !key.is_empty() && prefix_end(key) == end {
        out.extend_from_slice(&[b" (prefix ", key, b")"].concat());
    }
    out.push(b'\n');
}
