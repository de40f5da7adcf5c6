//! What production runs: three members that show each other and their clients certificates, and users.

use std::path::Path;

use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::secure::Secure;

#[track_caller]
fn lives(binaries: &[&Path], etcdctl: &Path) {
    let mut secure = Secure::start(binaries, etcdctl);
    secure.expect(0, "root", "put before users", "OK");
    let users = [
        ("user add root:secret", "User root created"),
        ("user grant-role root root", "Role root is granted"),
        ("role add reader", "Role reader created"),
        ("role grant-permission reader readwrite foo --prefix", "Role reader updated"),
        ("user add alice:secret", "User alice created"),
        ("user grant-role alice reader", "Role reader is granted"),
        ("auth enable", "Authentication Enabled"),
    ];
    secure.run(0, "root", &users);
    // Everybody decides alike, by certificate and by password.
    for seat in 0..binaries.len() {
        secure.expect(seat, "alice", "put foo1 x", "OK");
        secure.expect(seat, "alice", "put other x", "permission denied");
        secure.expect(seat, "root", "get before", "users");
        secure.expect(seat, "root", "--user=alice:secret put foo2 y", "OK");
        secure.expect(seat, "root", "--user=alice:secret put other y", "permission denied");
        secure.expect(seat, "root", "--user=alice:wrong put foo2 z", "authentication failed");
    }
    secure.expect_equal();
    // And goes on doing so when one is killed and comes back.
    secure.kill(1);
    secure.expect(0, "alice", "put foo3 z", "OK");
    secure.launch(1);
    secure.expect(1, "alice", "get foo3", "z");
    secure.expect(1, "alice", "get before", "permission denied");
    secure.expect_equal();
}

/// Users are changed through every member, whoever leads, and every member tells and decides the same.
#[track_caller]
fn changes(binaries: &[&Path], etcdctl: &Path) {
    let secure = Secure::start(binaries, etcdctl);
    secure.expect(0, "root", "put before users", "OK");
    let users = [
        ("user add root:secret", "User root created"),
        ("user grant-role root root", "Role root is granted"),
        ("auth enable", "Authentication Enabled"),
    ];
    secure.run(0, "root", &users);
    let seats = secure.seats();
    for leader in [0, seats - 1] {
        secure.move_leader(leader);
        for seat in 0..seats {
            let word = format!("{leader}{seat}");
            let lines = [
                (format!("user add u{word}:first{word}"), "created"),
                (format!("user add gone{word}:x"), "created"),
                (format!("role add r{word}"), "created"),
                (format!("role grant-permission r{word} readwrite k{word}/ --prefix"), "updated"),
                (format!("role grant-permission r{word} read shared"), "updated"),
                (format!("role revoke-permission r{word} shared"), "revoked"),
                (format!("user grant-role u{word} r{word}"), "is granted"),
                (format!("user delete gone{word}"), "deleted"),
            ];
            for (line, expected) in &lines {
                secure.run(seat, "root", &[(line, expected)]);
            }
            // A password may be changed through any of them.
            secure.change_password(seat, &format!("u{word}"), &format!("then{word}"));
        }
    }
    for seat in 0..seats {
        // Everything has arrived here.
        secure.expect(seat, "root", &format!("user get u{0}{0}", seats - 1), "Roles: r");
        let told = |line: &str| secure.at(seat, "root", line);
        assert_eq!(told("user list"), secure.at(0, "root", "user list"));
        assert_eq!(told("role list"), secure.at(0, "root", "role list"));
        for (leader, other) in [(0, 0), (0, seats - 1), (seats - 1, 0), (seats - 1, seats - 1)] {
            let word = format!("{leader}{other}");
            let role = format!("role get r{word}");
            assert_eq!(told(&role), secure.at(0, "root", &role));
            let as_user = |password: &str, line: &str| {
                secure.at(seat, "nameless", &format!("--user=u{word}:{password}{word} {line}"))
            };
            let put = as_user("then", &format!("put k{word}/a 1"));
            assert!(put.contains("OK"), "u{word} at {seat}: {put}");
            let denied = as_user("then", "put elsewhere 1");
            assert!(denied.contains("permission denied"), "u{word} at {seat}: {denied}");
            for wrong in ["first", ""] {
                let refused = as_user(wrong, &format!("put k{word}/a 2"));
                assert!(!refused.contains("OK"), "u{word} at {seat} by {wrong:?}: {refused}");
            }
        }
    }
    secure.expect_same_auth_revision();
    secure.expect_equal();
}

#[test]
fn users_changed_through_ours_and_3_4_are_the_same_everywhere() {
    let name = "secure-3.4";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::Etcd34) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    changes(&[&ours, &ours, &theirs], &etcdctl);
}

#[test]
fn users_changed_through_ours_and_the_newest_are_the_same_everywhere() {
    let name = "secure-newest";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(theirs) = need(name, Part::EtcdNew) else { return };
    let Some(etcdctl) = need(name, Part::EtcdctlNew) else { return };
    changes(&[&ours, &ours, &theirs], &etcdctl);
}

#[test]
fn three_members_with_certificates_and_users() {
    let Some(ours) = foreign::subject("secure") else { return };
    let Some(etcdctl) = need("secure", Part::EtcdctlNew) else { return };
    lives(&[&ours, &ours, &ours], &etcdctl);
}

#[test]
fn ours_among_gos_with_certificates_and_users() {
    let Some(ours) = foreign::subject("secure-mixed") else { return };
    let Some(theirs) = need("secure-mixed", Part::EtcdNew) else { return };
    let Some(etcdctl) = need("secure-mixed", Part::EtcdctlNew) else { return };
    lives(&[&ours, &ours, &theirs], &etcdctl);
}
