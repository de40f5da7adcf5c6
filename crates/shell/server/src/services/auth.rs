//! The Auth service.
//!
//! Who may call what is asked before (see `gatekeeper`) and again when it is applied; what it does to users and
//! roles is said there (see `apply`). Here passwords become hashes before anything is written down.

use apply::{Answer, AuthAnswer};
use auth::Permitted;
use proto::etcdserverpb as pb;
use rpc::{Call, Rpc};
use types::Refusal;

use crate::desk::Desk;
use crate::login::Password;
use crate::proposals::IntoRaft;
use crate::services::kv::unexpected;
use crate::services::{Anybody, Methods};

/// Methods that are proposed as they are, and what their answers hold besides the header.
macro_rules! proposed {
    ($methods:ident, $($rpc:ident: $request:ty => $response:ident $({ $answer:pat => $($field:ident: $value:expr),* })?;)*) => {
        $($methods.unary(
            Rpc::$rpc,
            |desk: Desk, _call: Call, permitted: Permitted<$request>| async move {
                let (header, answer) = propose(&desk, permitted).await?;
                proposed!(@answer $response, header, answer $(, $answer => $($field: $value),*)?)
            },
        );)*
    };
    (@answer $response:ident, $header:ident, $answer:ident) => {{
        let AuthAnswer::Done = $answer else { return Err(strange(&$answer)) };
        Ok(pb::$response { header: $header })
    }};
    (@answer $response:ident, $header:ident, $answer:ident, $pattern:pat => $($field:ident: $value:expr),*) => {{
        let $pattern = $answer else { return Err(strange(&$answer)) };
        Ok(pb::$response { header: $header, $($field: $value),* })
    }};
}

pub(crate) fn register(methods: &mut Methods<'_>) {
    proposed! { methods,
        AuthEnable: pb::AuthEnableRequest => AuthEnableResponse;
        AuthDisable: pb::AuthDisableRequest => AuthDisableResponse;
        AuthUserGet: pb::AuthUserGetRequest => AuthUserGetResponse {
            AuthAnswer::Names(roles) => roles: roles
        };
        AuthUserList: pb::AuthUserListRequest => AuthUserListResponse {
            AuthAnswer::Names(users) => users: users
        };
        AuthUserDelete: pb::AuthUserDeleteRequest => AuthUserDeleteResponse;
        AuthUserGrantRole: pb::AuthUserGrantRoleRequest => AuthUserGrantRoleResponse;
        AuthUserRevokeRole: pb::AuthUserRevokeRoleRequest => AuthUserRevokeRoleResponse;
        AuthRoleAdd: pb::AuthRoleAddRequest => AuthRoleAddResponse;
        AuthRoleGet: pb::AuthRoleGetRequest => AuthRoleGetResponse {
            AuthAnswer::Permissions(perm) => perm: perm
        };
        AuthRoleList: pb::AuthRoleListRequest => AuthRoleListResponse {
            AuthAnswer::Names(roles) => roles: roles
        };
        AuthRoleDelete: pb::AuthRoleDeleteRequest => AuthRoleDeleteResponse;
        AuthRoleGrantPermission: pb::AuthRoleGrantPermissionRequest => AuthRoleGrantPermissionResponse;
        AuthRoleRevokePermission: pb::AuthRoleRevokePermissionRequest => AuthRoleRevokePermissionResponse;
    }
    methods.one::<Anybody, _, _, _>(Rpc::Authenticate, |refusal| refusal, authenticate);
    methods.unary(Rpc::AuthStatus, status);
    methods.unary(Rpc::AuthUserAdd, add_user);
    methods.unary(Rpc::AuthUserChangePassword, change_password);
}

async fn propose<M: IntoRaft>(
    desk: &Desk,
    permitted: Permitted<M>,
) -> Result<(Option<pb::ResponseHeader>, AuthAnswer), Refusal> {
    match desk.propose(permitted).await? {
        Answer::Auth { revision, answer } => Ok((Some(desk.header(revision)), answer)),
        other => Err(unexpected(&other)),
    }
}

fn strange(answer: &AuthAnswer) -> Refusal {
    unexpected(&Answer::Auth { revision: 0, answer: answer.clone() })
}

async fn authenticate(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::AuthenticateRequest>,
) -> Result<pb::AuthenticateResponse, Refusal> {
    let (revision, token) = desk.login(permitted).await?;
    Ok(pb::AuthenticateResponse { header: Some(desk.header(revision)), token })
}

/// Asked through the log, as by etcd. Members of 3.4 do not know that entry and end at it, so there it is read.
async fn status(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::AuthStatusRequest>,
) -> Result<pb::AuthStatusResponse, Refusal> {
    if desk.is_among_3_4() {
        let (revision, enabled, auth_revision) = desk.auth_status().await?;
        let header = Some(desk.header(revision));
        return Ok(pb::AuthStatusResponse { header, enabled, auth_revision });
    }
    match propose(&desk, permitted).await? {
        (header, AuthAnswer::Status { enabled, revision }) => {
            Ok(pb::AuthStatusResponse { header, enabled, auth_revision: revision })
        }
        (_, other) => Err(strange(&other)),
    }
}

/// The password of a message, and what of it is proposed: nothing, but in a cluster with members of 3.4. Those know no
/// hash that somebody else made: for them a user would have an empty password, with which anybody could log in.
fn taken(desk: &Desk, text: &mut String) -> (Password, String) {
    let proposed = if desk.is_among_3_4() { text.clone() } else { String::new() };
    (Password::take(text), proposed)
}

/// A hash that the client sent counts for nothing (`docs/etcd/observed.md` D).
async fn add_user(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::AuthUserAddRequest>,
) -> Result<pb::AuthUserAddResponse, Refusal> {
    let (mut request, by) = permitted.split();
    let none = request.options.as_ref().is_some_and(|options| options.no_password);
    let (password, proposed) = taken(&desk, &mut request.password);
    if !none {
        request.hashed_password = desk.hash(password).await?;
        request.password = proposed;
    }
    let (header, _) = propose(&desk, desk.readmit(by, request)?).await?;
    Ok(pb::AuthUserAddResponse { header })
}

/// Without a password the hash that the client sent counts.
async fn change_password(
    desk: Desk,
    _call: Call,
    permitted: Permitted<pb::AuthUserChangePasswordRequest>,
) -> Result<pb::AuthUserChangePasswordResponse, Refusal> {
    let (mut request, by) = permitted.split();
    if !request.password.is_empty() {
        let (password, proposed) = taken(&desk, &mut request.password);
        request.hashed_password = desk.hash(password).await?;
        request.password = proposed;
    }
    let (header, _) = propose(&desk, desk.readmit(by, request)?).await?;
    Ok(pb::AuthUserChangePasswordResponse { header })
}
