//! Rows come back as they were written, and look as etcd writes them.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_auth::{NewUser, Users};
use proto::authpb::{Permission, permission::Type};
use store::{Batch, Bucket, Options, StateChange, Store};
use vfs::MemoryDisk;

fn stored(rows: Vec<StateChange>) -> Result<Users, String> {
    let disk = Arc::new(MemoryDisk::new());
    let (mut store, _) =
        Store::open(disk, "store".as_ref(), Options::default()).map_err(|e| e.to_string())?;
    store.append(&Batch { index: 1, term: 1, rows: Vec::new(), state: rows });
    Users::restore(store.state()).map_err(|error| error.to_string())
}

fn set(bucket: Bucket, key: &'static str, value: &'static [u8]) -> StateChange {
    StateChange::Set { bucket, key: key.into(), value: Bytes::from_static(value) }
}

#[test]
fn a_store_without_rows_asks_nobody_and_is_at_revision_1() {
    let users = stored(Vec::new()).expect("nothing is there to be wrong");
    assert!(!users.is_enabled());
    assert_eq!(users.revision(), 1);
}

#[test]
fn what_was_written_is_found_again() {
    let mut users = Users::default();
    let permission = Permission {
        perm_type: Type::Readwrite as i32,
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"b"),
    };
    let mut rows = Vec::new();
    for changed in [
        users.add_user("root", NewUser { hash: "$2a$".into(), no_password: false }),
        users.grant_role("root", "root"),
        users.add_role("r"),
        users.grant_permission("r", Some(&permission)),
        users.add_user("u", NewUser { no_password: true, ..NewUser::default() }),
        users.grant_role("u", "r"),
        users.enable(),
    ] {
        rows.extend(changed.expect("all is as it must be").rows);
    }
    let found = stored(rows).expect("we wrote it");
    assert!(found.is_enabled());
    assert_eq!(found.revision(), 7);
    let user = found.user("u").expect("it was added");
    assert!(user.has_no_password());
    assert_eq!(user.roles(), ["r"]);
    assert!(user.rights().write.covers(&types::KeyRange::One("aa".into())));
    assert!(found.user("root").is_some_and(|root| root.rights().everything));
    assert_eq!(found.role("r").map(|role| role.permissions()), Some(&[permission][..]));
}

#[test]
fn a_user_of_an_old_release_is_written_back_without_what_it_did_not_have() {
    // name u, password h, no options.
    let old = set(Bucket::AuthUsers, "u", b"\x0a\x01u\x12\x01h");
    let mut users = stored(vec![old]).expect("a row as 3.3 wrote it");
    users.add_role("r").expect("it is new");
    let changed = users.grant_role("u", "r").expect("both exist");
    let row = set(Bucket::AuthUsers, "u", b"\x0a\x01u\x12\x01h\x1a\x01r");
    assert_eq!(changed.rows[0], row);
}

#[test]
fn rows_that_no_member_wrote_are_named() {
    for (row, named) in [
        (
            set(Bucket::AuthUsers, "u", b"\x0a\x09u"),
            "the row \"u\" of bucket authUsers cannot be read",
        ),
        (set(Bucket::AuthRoles, "r", b"\xff"), "the row \"r\" of bucket authRoles cannot be read"),
        (
            set(Bucket::Auth, "authRevision", b"\x01"),
            "the row \"authRevision\" of bucket auth cannot be read",
        ),
    ] {
        assert_eq!(stored(vec![row]).map(|users| users.revision()), Err(named.to_owned()));
    }
}
