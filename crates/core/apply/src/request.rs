//! What an entry asks for, decoded once.
//!
//! An entry of kind normal holds an `InternalRaftRequest` with one of its fields set, or, when a member
//! of 3.4 or 3.5 proposed it, a request of the v2 store (`docs/etcd/peer-protocol.md` 9.4). Both come out
//! as one [`Request`], which everybody behind this file matches by name.
//!
//! Always true: what cannot be decoded is said to be [`Unknown`] and ends the member. An entry that one
//! member applies and another passes over is how replicas come to differ, and nobody notices.

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{Message as _, Name as _};
use proto::etcdserverpb as pb;
use proto::membershippb::{
    Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
};
use proto::{lenient, v2pb};
use serde::Deserialize;
use types::MemberId;

/// An entry's data: who asks, and for what.
#[derive(Debug)]
pub struct Asked {
    /// By which the proposer waits; 0 when nobody does.
    pub id: u64,
    /// On whose behalf.
    pub asker: Asker,
    /// For what.
    pub request: Request,
}

/// Who asks, as the proposing member knew from the client's token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The user; empty for nobody.
    pub user: String,
    /// The revision of users and roles at which the proposing member looked; 0 for none.
    pub auth_revision: u64,
}

/// An entry that holds nothing this release knows how to apply.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(String);

/// Makes the enum, its names and its way out of the message, so that they cannot part.
macro_rules! requests {
    (
        $(#[$enum_doc:meta])* enum $enum:ident {
            $($(#[$doc:meta])* $name:ident($field:ident: $type:ty) = $text:literal,)*
            ---
            $($(#[$other_doc:meta])* $other:ident$(($other_type:ty))? = $other_pattern:pat => $other_text:expr,)*
        }
    ) => {
        $(#[$enum_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $enum {
            $($(#[$doc])* $name($type),)*
            $($(#[$other_doc])* $other$(($other_type))?,)*
        }

        impl $enum {
            /// Takes the first field that is set.
            fn take(message: &mut pb::InternalRaftRequest) -> Option<$enum> {
                $(if let Some(request) = message.$field.take() {
                    return Some($enum::$name(request));
                })*
                None
            }

            /// Its name as etcd's metrics spell it.
            pub fn name(&self) -> &'static str {
                match self {
                    $($enum::$name(_) => $text,)*
                    $($other_pattern => $other_text,)*
                }
            }

            /// The name of the first field that is set.
            fn name_in(message: &pb::InternalRaftRequest) -> Option<&'static str> {
                $(if message.$field.is_some() {
                    return Some($text);
                })*
                None
            }
        }
    };
}

requests! {
    /// Everything an entry can ask for. In a message with several fields the first of this order counts, as in
    /// etcd (`docs/etcd/apply-semantics.md` 1.8).
    enum Request {
        /// The members agreed on a version.
        ClusterVersionSet(cluster_version_set: ClusterVersionSetRequest) = "ClusterVersionSet",
        /// A member told its name and client URLs.
        ClusterMemberAttrSet(cluster_member_attr_set: ClusterMemberAttrSetRequest) = "ClusterMemberAttrSet",
        /// A downgrade was begun or called off.
        DowngradeInfoSet(downgrade_info_set: DowngradeInfoSetRequest) = "DowngradeInfoSet",
        /// Nothing; tests of etcd's own propose it.
        DowngradeVersionTest(downgrade_version_test: pb::DowngradeVersionTestRequest) = "DowngradeVersionTest",
        /// A read through the log, as old clients of old members sent it.
        Range(range: pb::RangeRequest) = "Range",
        /// A key gets a value.
        Put(put: pb::PutRequest) = "Put",
        /// Keys go.
        DeleteRange(delete_range: pb::DeleteRangeRequest) = "DeleteRange",
        /// Several of these at one revision, if conditions hold.
        Txn(txn: pb::TxnRequest) = "Txn",
        /// History goes.
        Compaction(compaction: pb::CompactionRequest) = "Compaction",
        /// A lease begins.
        LeaseGrant(lease_grant: pb::LeaseGrantRequest) = "LeaseGrant",
        /// A lease ends.
        LeaseRevoke(lease_revoke: pb::LeaseRevokeRequest) = "LeaseRevoke",
        /// What is left of leases.
        LeaseCheckpoint(lease_checkpoint: pb::LeaseCheckpointRequest) = "LeaseCheckpoint",
        /// An alarm is raised, taken back or asked for.
        Alarm(alarm: pb::AlarmRequest) = "Alarm",
        ---
        /// Something about users and roles.
        Auth(AuthRequest) = Request::Auth(request) => request.name(),
        /// A change or a read of the API v2's tree.
        V2(Box<v2::Request>) = Request::V2(request) => request.method.name(),
        /// A request with a text that is not UTF-8, which members up to 3.6 let into the log. Everybody
        /// here refuses it.
        NotText = Request::NotText => NAMELESS,
    }
}

requests! {
    /// Everything an entry can ask for about users and roles.
    enum AuthRequest {
        /// A client gives a name and a password.
        Authenticate(authenticate: pb::InternalAuthenticateRequest) = "Authenticate",
        /// From now on permissions count.
        Enable(auth_enable: pb::AuthEnableRequest) = "AuthEnable",
        /// From now on they do not.
        Disable(auth_disable: pb::AuthDisableRequest) = "AuthDisable",
        /// Whether they do.
        Status(auth_status: pb::AuthStatusRequest) = "AuthStatus",
        /// A user comes.
        UserAdd(auth_user_add: pb::AuthUserAddRequest) = "AuthUserAdd",
        /// A user goes.
        UserDelete(auth_user_delete: pb::AuthUserDeleteRequest) = "AuthUserDelete",
        /// A user has another password.
        UserChangePassword(auth_user_change_password: pb::AuthUserChangePasswordRequest) = "AuthUserChangePassword",
        /// A user gets a role.
        UserGrantRole(auth_user_grant_role: pb::AuthUserGrantRoleRequest) = "AuthUserGrantRole",
        /// A user's roles.
        UserGet(auth_user_get: pb::AuthUserGetRequest) = "AuthUserGet",
        /// A user loses a role.
        UserRevokeRole(auth_user_revoke_role: pb::AuthUserRevokeRoleRequest) = "AuthUserRevokeRole",
        /// A role comes.
        RoleAdd(auth_role_add: pb::AuthRoleAddRequest) = "AuthRoleAdd",
        /// A role gets a permission.
        RoleGrantPermission(auth_role_grant_permission: pb::AuthRoleGrantPermissionRequest) = "AuthRoleGrantPermission",
        /// A role's permissions.
        RoleGet(auth_role_get: pb::AuthRoleGetRequest) = "AuthRoleGet",
        /// A role loses a permission.
        RoleRevokePermission(auth_role_revoke_permission: pb::AuthRoleRevokePermissionRequest) = "AuthRoleRevokePermission",
        /// A role goes.
        RoleDelete(auth_role_delete: pb::AuthRoleDeleteRequest) = "AuthRoleDelete",
        /// All users.
        UserList(auth_user_list: pb::AuthUserListRequest) = "AuthUserList",
        /// All roles.
        RoleList(auth_role_list: pb::AuthRoleListRequest) = "AuthRoleList",
        ---
    }
}

/// What metrics and slow entries call a request that has no name.
const NAMELESS: &str = "unknown";

impl Request {
    /// The name of what a message asks for.
    pub fn name_in_message(message: &pb::InternalRaftRequest) -> &'static str {
        Request::name_in(message).or_else(|| AuthRequest::name_in(message)).unwrap_or(NAMELESS)
    }
}

impl Asked {
    /// Decodes the data of a normal entry that has some.
    ///
    /// # Errors
    /// [`Unknown`]: nobody here may go on.
    pub fn decode(data: &Bytes) -> Result<Asked, Unknown> {
        let strictly = pb::InternalRaftRequest::decode(data.clone());
        let message = match strictly {
            Ok(message) => Asked::of(message),
            Err(_) => None,
        };
        match message {
            Some(asked) => Ok(asked),
            None => Asked::decode_rare(data),
        }
    }

    fn of(mut message: pb::InternalRaftRequest) -> Option<Asked> {
        let request = Request::take(&mut message)
            .or_else(|| AuthRequest::take(&mut message).map(Request::Auth))?;
        let header = message.header.unwrap_or_default();
        let id = if message.id == 0 { header.id } else { message.id };
        let asker = Asker { user: header.username, auth_revision: header.auth_revision };
        Some(Asked { id, asker, request })
    }

    /// What no member of today proposes: requests of the v2 store, and what members let into the log that
    /// decode more kindly than we do.
    #[cold]
    fn decode_rare(data: &Bytes) -> Result<Asked, Unknown> {
        if let Ok(request) = v2pb::Request::decode(data.clone())
            && !request.method().is_empty()
        {
            return v2(&request);
        }
        let name = pb::InternalRaftRequest::full_name();
        let Some(mended) = lenient::mended(&name, data) else {
            return Err(Unknown(format!("{} bytes that are no request", data.len())));
        };
        match pb::InternalRaftRequest::decode(Bytes::from(mended)) {
            Ok(message) => Asked::of(message).ok_or_else(|| {
                Unknown(format!("a request of a kind unknown here, {}", fields(data)))
            }),
            // prost has no other way to tell.
            Err(error) if error.to_string().contains("UTF-8") => {
                Ok(Asked { id: 0, asker: Asker::default(), request: Request::NotText })
            }
            Err(error) => Err(Unknown(format!("a request that cannot be read ({error})"))),
        }
    }
}

/// Name and client URLs as 3.4 and 3.5 publish them.
#[derive(Deserialize)]
struct V2Attributes {
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
}

/// The requests of the v2 store that concern the cluster are the same as two of the v3 ones. Others are for the tree
/// of the API v2, if they were made here: a Go member counts changes from the cluster's first entry on, and its
/// clients' conditions on an index would be decided differently here. So a cluster whose clients use the API v2 of Go
/// members cannot have this member.
fn v2(request: &v2pb::Request) -> Result<Asked, Unknown> {
    let unknown = || {
        let (method, path) = (request.method(), request.path());
        Unknown(format!("a request of a Go member's v2 store, {method} {path:?}"))
    };
    if let Some(asked) = tree_request(request) {
        let (id, request) = (request.id(), Request::V2(Box::new(asked)));
        return Ok(Asked { id, asker: Asker::default(), request });
    }
    let asked = match (request.method(), request.path()) {
        ("PUT", "/0/version") => {
            Request::ClusterVersionSet(ClusterVersionSetRequest { ver: request.val().to_owned() })
        }
        ("PUT", path) => {
            let member = attributes_of(path).ok_or_else(unknown)?;
            let told: V2Attributes = serde_json::from_str(request.val()).map_err(|_| unknown())?;
            Request::ClusterMemberAttrSet(ClusterMemberAttrSetRequest {
                member_id: member,
                member_attributes: Some(Attributes {
                    name: told.name,
                    client_urls: told.client_urls.unwrap_or_default(),
                }),
            })
        }
        _ => return Err(unknown()),
    };
    Ok(Asked { id: request.id(), asker: Asker::default(), request: asked })
}

/// A request for the tree: one that bears the time of its proposer. Go's members note that only for `SYNC`, which
/// means the same here.
fn tree_request(request: &v2pb::Request) -> Option<v2::Request> {
    let method = v2::Method::from_name(request.method())?;
    let is_ours = request.time() != 0 || method == v2::Method::Sync;
    is_ours.then(|| v2::Request {
        method,
        path: request.path().to_owned(),
        value: request.val().to_owned(),
        dir: request.dir(),
        previous_value: request.prev_value().to_owned(),
        previous_index: request.prev_index(),
        previous_exists: request.prev_exist,
        ends: request.expiration(),
        recursive: request.recursive(),
        refresh: request.refresh(),
        time: request.time(),
    })
}

/// The member of `/0/members/<hexadecimal>/attributes`.
fn attributes_of(path: &str) -> Option<MemberId> {
    let id = path.strip_prefix("/0/members/")?.strip_suffix("/attributes")?;
    MemberId::from_str_radix(id, 16).ok()
}

/// Which fields a message has, for whoever must find out which release wrote it.
fn fields(data: &Bytes) -> String {
    let mut rest = data.clone();
    let mut numbers = Vec::new();
    while rest.has_remaining() {
        let Ok((number, wire)) = decode_key(&mut rest) else { break };
        if skip_field(wire, number, &mut rest, DecodeContext::default()).is_err() {
            break;
        }
        numbers.push(number.to_string());
    }
    format!("with fields {}", numbers.join(", "))
}
