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
