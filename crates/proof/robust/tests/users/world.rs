//! A server with users: root, a writer, a reader, somebody without roles, and keys that some may not see.

use std::path::Path;

use holdfast_robust::grpc::{Answer, Call, Connection};
use holdfast_robust::process::{Home, Server};
use holdfast_robust::secure::make_certificates;
use prost::Message;
use proto::authpb::{Permission, permission::Type};
use proto::etcdserverpb as pb;

/// Every user's password.
pub const PASSWORD: &str = "corect-horse-batery";

/// Everybody who calls, in the order in which they do.
pub const IDENTITIES: [Identity; 7] = [
    Identity::Nobody,
    Identity::BadToken,
    Identity::EndedToken,
    Identity::User("norole"),
    Identity::User("reader"),
    Identity::User("writer"),
    Identity::User("root"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    Nobody,
    BadToken,
    /// It was one until its user got another password.
    EndedToken,
    User(&'static str),
}

pub struct World {
    pub server: Server,
    pub connection: Connection,
    ended: String,
}

/// An answer that must be there.
#[track_caller]
pub fn done(answer: &Answer) {
    assert!(answer.is_ok(), "{answer:?}");
}

pub fn token(connection: &Connection, user: &str, password: &str) -> String {
    let request = pb::AuthenticateRequest { name: user.into(), password: password.into() };
    let answer = connection.unary("/etcdserverpb.Auth/Authenticate", &request);
    answer.ok::<pb::AuthenticateResponse>().token
}

pub fn as_user(path: &str, message: &impl Message, token: &str) -> Call {
    Call::unary(path, &message.encode_to_vec()).with_header("token", token)
}

impl World {
    pub fn new(binary: &Path, flags: &[&str]) -> World {
        let server = Home::new(binary, flags).start();
        let connection = server.connect();
        World::people(server, connection)
    }

    /// The same, where a certificate is asked of everybody and its name is a user. There is one for each user, one with a
    /// name that no user has (`peer`), and one without a name (`nameless`).
    pub fn with_certificates(binary: &Path, flags: &[&str]) -> World {
        let flags: Vec<&str> = flags.iter().copied().chain(["--client-cert-auth"]).collect();
        let home = Home::new(binary, &flags).with_tls();
        make_certificates(home.folder(), &["reader", "writer", "norole"]);
        let server = home.start();
        let connection = Connection::open_as(&server.address(), server.home().folder(), "peer");
        World::people(server, connection.expect("it lets a certificate in"))
    }

    /// A connection with somebody's certificate.
    #[track_caller]
    pub fn connect_as(&self, who: &str) -> Connection {
        let opened = Connection::open_as(&self.server.address(), self.server.home().folder(), who);
        opened.expect("it lets a certificate in")
    }

    fn people(server: Server, connection: Connection) -> World {
        keys(&connection);
        users(&connection);
        done(&connection.unary("/etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {}));
        let ended = token(&connection, "fickle", PASSWORD);
        let root = token(&connection, "root", PASSWORD);
        let change = pb::AuthUserChangePasswordRequest {
            name: "fickle".into(),
            password: "another".into(),
            ..Default::default()
        };
        let path = "/etcdserverpb.Auth/UserChangePassword";
        done(&connection.call(&as_user(path, &change, &root)));
        World { server, connection, ended }
    }

    /// The token an identity shows; `None` for none.
    pub fn token(&self, identity: Identity) -> Option<String> {
        match identity {
            Identity::Nobody => None,
            Identity::BadToken => Some("abcdefghijklmnop.1".to_owned()),
            Identity::EndedToken => Some(self.ended.clone()),
            Identity::User(name) => Some(token(&self.connection, name, PASSWORD)),
        }
    }
}

fn keys(connection: &Connection) {
    for (id, ttl) in [(7, 6000), (8, 6000), (9, 6000)] {
        let grant = pb::LeaseGrantRequest { id, ttl };
        done(&connection.unary("/etcdserverpb.Lease/LeaseGrant", &grant));
    }
    // Lease 7 has a key that only root may touch, 8 one that the writer may, 9 none.
    for (key, lease) in [("a/1", 0), ("a/2", 8), ("z/1", 0), ("z/2", 7)] {
        let put = pb::PutRequest { key: key.into(), lease, ..Default::default() };
        done(&connection.unary("/etcdserverpb.KV/Put", &put));
    }
}

fn users(connection: &Connection) {
    for name in ["root", "reader", "writer", "norole", "fickle"] {
        let user = pb::AuthUserAddRequest {
            name: name.into(),
            password: PASSWORD.into(),
            ..Default::default()
        };
        done(&connection.unary("/etcdserverpb.Auth/UserAdd", &user));
    }
    for (role, kind) in
        [("root", None), ("reads", Some(Type::Read)), ("writes", Some(Type::Readwrite))]
    {
        let add = pb::AuthRoleAddRequest { name: role.into() };
        done(&connection.unary("/etcdserverpb.Auth/RoleAdd", &add));
        let Some(kind) = kind else { continue };
        // Two that touch: a request may lie across both.
        for (key, range_end) in [("a/", "a/5"), ("a/5", "a0")] {
            let perm =
                Permission { perm_type: kind as i32, key: key.into(), range_end: range_end.into() };
            let grant = pb::AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) };
            done(&connection.unary("/etcdserverpb.Auth/RoleGrantPermission", &grant));
        }
    }
    for (user, role) in [("root", "root"), ("reader", "reads"), ("writer", "writes")] {
        let grant = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        done(&connection.unary("/etcdserverpb.Auth/UserGrantRole", &grant));
    }
}
