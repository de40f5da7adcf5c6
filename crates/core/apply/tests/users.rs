//! Users and roles through the log: changed, asked, kept, and decided about again when an entry is applied.

mod support;

use holdfast_apply::{Answer, AuthAnswer, Fact};
use proto::authpb::{Permission, UserAddOptions};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use store::Bucket;
use support::{Log, none};
use types::Refusal;

/// A request in a user's name, as of a revision of users and roles.
fn by(log: &Log, user: &str, request: pb::InternalRaftRequest) -> pb::InternalRaftRequest {
    let auth_revision = if user.is_empty() { 0 } else { log.applier.users().revision() };
    let header = pb::RequestHeader { id: 1, username: user.into(), auth_revision };
    pb::InternalRaftRequest { header: Some(header), ..request }
}

fn told(log: &mut Log, user: &str, request: pb::InternalRaftRequest) -> Result<Answer, Refusal> {
    let request = by(log, user, request);
    log.request(request).result
}

fn add_user(log: &mut Log, name: &str, password: &str) -> Result<Answer, Refusal> {
    let auth_user_add = Some(pb::AuthUserAddRequest {
        name: name.into(),
        password: password.into(),
        options: Some(UserAddOptions::default()),
        ..Default::default()
    });
    told(log, "root", pb::InternalRaftRequest { auth_user_add, ..none() })
}

fn grant_role(log: &mut Log, user: &str, role: &str) {
    let grant = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
    let request = pb::InternalRaftRequest { auth_user_grant_role: Some(grant), ..none() };
    told(log, "root", request).expect("both exist");
}

/// Root and u, who may read and write from a up to b.
fn with_users(version: &str) -> Log {
    let mut log = Log::of_version(version);
    add_user(&mut log, "root", "").expect("it is new");
    grant_role(&mut log, "root", "root");
    add_user(&mut log, "u", "").expect("it is new");
    let role = pb::AuthRoleAddRequest { name: "r".into() };
    told(&mut log, "root", pb::InternalRaftRequest { auth_role_add: Some(role), ..none() })
        .expect("it is new");
    let perm = Permission { perm_type: 2, key: "a".into(), range_end: "b".into() };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
    let request = pb::InternalRaftRequest { auth_role_grant_permission: Some(grant), ..none() };
    told(&mut log, "root", request).expect("the role is there");
    grant_role(&mut log, "u", "r");
    let enable = Some(pb::AuthEnableRequest {});
    told(&mut log, "", pb::InternalRaftRequest { auth_enable: enable, ..none() })
        .expect("root has its role");
    log
}

fn put(key: &'static str) -> pb::InternalRaftRequest {
    let put = pb::PutRequest { key: key.into(), ..Default::default() };
    pb::InternalRaftRequest { put: Some(put), ..none() }
}

#[test]
fn whatever_a_door_let_in_is_decided_again() {
    let mut log = with_users("3.7.0");
    assert!(told(&mut log, "u", put("a")).is_ok());
    assert_eq!(told(&mut log, "u", put("b")), Err(Refusal::PermissionDenied));
    assert_eq!(told(&mut log, "", put("a")), Err(Refusal::UserEmpty));
    assert!(told(&mut log, "root", put("b")).is_ok());
    // Let in before the users changed, applied after.
    let late = by(&log, "u", put("a"));
    add_user(&mut log, "v", "").expect("it is new");
    assert_eq!(log.request(late).result, Err(Refusal::AuthOldRevision));
    assert_eq!(add_user(&mut log, "v", ""), Err(Refusal::UserAlreadyExist));
    let add = pb::AuthUserAddRequest { name: "w".into(), ..Default::default() };
    let add = pb::InternalRaftRequest { auth_user_add: Some(add), ..none() };
    assert_eq!(told(&mut log, "u", add), Err(Refusal::PermissionDenied));
}

#[test]
fn a_lease_is_taken_only_by_whoever_may_write_all_its_keys() {
    let mut log = with_users("3.7.0");
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 60 };
    let grant = pb::InternalRaftRequest { lease_grant: Some(grant), ..none() };
    told(&mut log, "u", grant).expect("it is new");
    let with_lease = |key: &'static str| {
        let put = pb::PutRequest { key: key.into(), lease: 7, ..Default::default() };
        pb::InternalRaftRequest { put: Some(put), ..none() }
    };
    let revoke = || {
        let revoke = pb::LeaseRevokeRequest { id: 7 };
        pb::InternalRaftRequest { lease_revoke: Some(revoke), ..none() }
    };
    assert!(told(&mut log, "u", with_lease("a")).is_ok());
    assert!(told(&mut log, "root", with_lease("z")).is_ok());
    assert_eq!(told(&mut log, "u", with_lease("a")), Err(Refusal::PermissionDenied));
    assert_eq!(told(&mut log, "u", revoke()), Err(Refusal::PermissionDenied));
    assert_eq!(told(&mut log, "", revoke()), Err(Refusal::UserEmpty));
    assert!(told(&mut log, "root", revoke()).is_ok());
}

#[test]
fn users_are_there_after_a_restart_and_so_are_their_rows() {
    let log = with_users("3.7.0");
    let revision = log.applier.users().revision();
    assert_eq!(log.row(Bucket::AuthUsers, "u").as_deref(), Some("\n\u{1}u\u{1a}\u{1}r\"\0"));
    assert_eq!(log.row(Bucket::Auth, "authEnabled").as_deref(), Some("\u{1}"));
    let mut log = log.restarted();
    assert!(log.applier.users().is_enabled());
    assert_eq!(log.applier.users().revision(), revision);
    assert!(told(&mut log, "u", put("a")).is_ok());
    assert_eq!(told(&mut log, "u", put("b")), Err(Refusal::PermissionDenied));
}

#[test]
fn a_login_makes_a_token_of_its_letters_and_the_index_before_it() {
    let mut log = with_users("3.7.0");
    let login = |user: &str, letters: &str| {
        let request = pb::InternalAuthenticateRequest {
            name: user.into(),
            simple_token: letters.into(),
            password: String::new(),
        };
        pb::InternalRaftRequest { authenticate: Some(request), ..none() }
    };
    let applied = log.request(login("u", "abc"));
    let text = format!("abc.{}", applied.index - 1);
    let Ok(Answer::Auth { answer: AuthAnswer::Authenticated { token, .. }, .. }) = applied.result
    else {
        panic!("{:?}", applied.result);
    };
    assert_eq!(token, text);
    let user = "u".to_owned();
    assert_eq!(applied.facts, [Fact::Users(auth::TokenChange::Assign { token, user })]);
    // One without letters could be guessed.
    let facts = log.request(login("u", "")).facts;
    assert_eq!(facts, [Fact::Users(auth::TokenChange::None)]);
    assert_eq!(log.request(login("ghost", "abc")).result, Err(Refusal::AuthFailed));
}

#[test]
fn a_password_of_an_old_log_is_stored_as_its_hash() {
    let mut log = Log::new();
    add_user(&mut log, "u", "secret").expect("it is new");
    let row = log.row(Bucket::AuthUsers, "u").expect("it was stored");
    assert!(row.contains("$2a$10$"), "{row}");
    assert!(!row.contains("secret"));
}

#[test]
fn where_members_do_not_look_at_ranges_the_change_stands_and_only_the_answer_refuses() {
    let range = pb::RangeRequest { key: "z".into(), ..Default::default() };
    let put = pb::PutRequest { key: "a".into(), ..Default::default() };
    let ops = [Request::RequestPut(put), Request::RequestRange(range)];
    let success = ops.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect();
    let txn = pb::TxnRequest { success, ..Default::default() };
    let txn = pb::InternalRaftRequest { txn: Some(txn), ..none() };
    for (version, put_anyway) in [("3.6.0", true), ("3.7.0", false)] {
        let mut log = with_users(version);
        let before = log.applier.revision();
        assert_eq!(told(&mut log, "u", txn.clone()), Err(Refusal::PermissionDenied));
        assert_eq!(before < log.applier.revision(), put_anyway, "{version}");
    }
}
