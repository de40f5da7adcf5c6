//! What encryption and users cost: puts and gets with certificates on both sides, and with tokens of both kinds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::etcdserverpb as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, run};
use crate::process;
use crate::rates::{self, Request, get, put, revision, shape};
use crate::results::{Results, percentile};
use crate::subject::{Home, Server, Subject};

/// All groups of workloads, in the order they run within a round.
pub const GROUPS: [&str; 3] = ["tls", "handshakes", "users"];

/// Puts and gets over TLS 1.3, by a client of ours: `h2load` has no certificate to show.
pub fn over_tls(subject: &Subject, results: &mut Results, scale: f64) {
    let server = Home::new(subject).with_certificates().start();
    let so_many = |requests: f64| (requests * scale) as usize;
    load(&server, &put(), 1000, 10_000);
    let rows = [
        ("tls put 1000", put(), 1000, 60_000.0),
        ("tls put 1", put(), 1, 4_000.0),
        ("tls get 1000", get(false), 1000, 80_000.0),
    ];
    for (measure, request, in_flight, requests) in rows {
        let loaded = load(&server, &request, in_flight, so_many(requests));
        loaded.add_to(results, measure, server.name());
    }
    let memory = process::memory(server.pid()).now;
    results.add("tls memory MiB", server.name(), memory);
}

/// What came of a load of ours.
struct Loaded {
    rate: f64,
    server_micros: f64,
    generator_micros: f64,
    waits: Vec<u32>,
}

impl Loaded {
    fn add_to(&self, results: &mut Results, measure: &str, subject: &str) {
        results.add(&format!("{measure} rate"), subject, self.rate);
        results.add(&format!("{measure} p99 ms"), subject, percentile(&self.waits, 0.99) / 1e3);
        results.add(&format!("{measure} cpu"), subject, self.server_micros);
        results.add(&format!("{measure} generator"), subject, self.generator_micros);
    }
}

/// One request again and again, so many in flight, on connections that are open before the clock starts.
fn load(server: &Server, request: &Request, in_flight: usize, requests: usize) -> Loaded {
    let (connections, streams) = shape(in_flight);
    let before = revision(server);
    let loaded = run(async {
        let clients = Client::enter_many(server.access(), connections).await;
        let (left, waits) = (Rc::new(Cell::new(requests)), Rc::new(RefCell::new(Vec::new())));
        let (cpu, own) = (server.cpu(), process::cpu_of_self());
        let began = Instant::now();
        let mut tasks = Vec::new();
        for client in clients.iter().flat_map(|client| std::iter::repeat_n(client, streams)) {
            let (client, left, waits) = (client.clone(), left.clone(), waits.clone());
            let (path, framed) = (request.path, request.framed.clone());
            tasks.push(tokio::task::spawn_local(async move {
                while let Some(fewer) = left.get().checked_sub(1) {
                    left.set(fewer);
                    let sent = Instant::now();
                    client.call(path, framed.clone()).await.expect("a request is answered");
                    waits.borrow_mut().push(micros(sent.elapsed()));
                }
            }));
        }
        for task in tasks {
            task.await.expect("a worker ends well");
        }
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / requests as f64;
        let rate = requests as f64 / began.elapsed().as_secs_f64();
        let mut waits = waits.take();
        waits.sort_unstable();
        Loaded {
            rate,
            server_micros: each(server.cpu() - cpu),
            generator_micros: each(process::cpu_of_self() - own),
            waits,
        }
    });
    let wanted = if request.writes { requests as i64 } else { 0 };
    assert_eq!(revision(server) - before, wanted, "each write is done once");
    loaded
}

/// A time as whole microseconds.
pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

const PASSWORD: &str = "a password of the benchmark";

/// Puts and gets in the name of a user whose role allows them, with each kind of token.
pub fn as_users(subject: &Subject, results: &mut Results, scale: f64) {
    let so_many = |requests: f64| (requests * scale) as usize;
    for kind in ["simple", "jwt"] {
        let home = Home::new(subject).with_flags(&["--bcrypt-cost=4"]);
        let key = home.folder().join("token.key").display().to_string();
        let home = match kind {
            "jwt" => {
                crate::access::make_files(home.folder());
                let token = format!("--auth-token=jwt,sign-method=RS256,priv-key={key},ttl=1h");
                home.with_flags(&[&token])
            }
            _ => home,
        };
        let mut server = home.start();
        let token = run(make_user(&server));
        server.show(token);
        rates::warm_up(&server);
        let rows = [
            (format!("users {kind} put 1000"), put(), 60_000.0),
            (format!("users {kind} get 1000"), get(false), 80_000.0),
        ];
        for (measure, request, requests) in rows {
            rates::measure(&server, results, &measure, &request, 1000, so_many(requests));
        }
    }
}

/// Makes `root` and a user who may do everything below `/registry/`, asks for users from then on, and logs the user in.
async fn make_user(server: &Server) -> String {
    let client = Client::enter(server.access()).await.expect("the server lets us in");
    let path = |method: &str| format!("/etcdserverpb.Auth/{method}");
    for name in ["root", "user"] {
        let (user, role) = (name.to_owned(), name.to_owned());
        let add = pb::AuthUserAddRequest {
            name: user.clone(),
            password: PASSWORD.into(),
            ..Default::default()
        };
        let _: pb::AuthUserAddResponse = client.ask(&path("UserAdd"), &add).await;
        let add = pb::AuthRoleAddRequest { name: role.clone() };
        let _: pb::AuthRoleAddResponse = client.ask(&path("RoleAdd"), &add).await;
        let grant = pb::AuthUserGrantRoleRequest { user, role };
        let _: pb::AuthUserGrantRoleResponse = client.ask(&path("UserGrantRole"), &grant).await;
    }
    let permission = proto::authpb::Permission {
        perm_type: proto::authpb::permission::Type::Readwrite.into(),
        key: Bytes::from_static(b"/registry/"),
        range_end: Bytes::from_static(b"/registry0"),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "user".into(), perm: Some(permission) };
    let _: pb::AuthRoleGrantPermissionResponse =
        client.ask(&path("RoleGrantPermission"), &grant).await;
    let _: pb::AuthEnableResponse =
        client.ask(&path("AuthEnable"), &pb::AuthEnableRequest {}).await;
    let login = pb::AuthenticateRequest { name: "user".into(), password: PASSWORD.into() };
    let login: pb::AuthenticateResponse = client.ask(&path("Authenticate"), &login).await;
    login.token
}

/// Handshakes a second that are aimed at.
const HANDSHAKES_PER_SECOND: u64 = 1_000;

/// A client that puts, one at a time, alone; and while others come, shake hands and go.
pub fn handshakes(subject: &Subject, results: &mut Results, scale: f64) {
    let server = Home::new(subject).with_certificates().start();
    let lasts = Duration::from_secs_f64(10.0 * scale);
    load(&server, &put(), 1, 500);
    let alone = put_for(&server, lasts);
    let (cpu, own) = (server.cpu(), process::cpu_of_self());
    let access = server.access().clone();
    let handshaker = std::thread::spawn(move || run(shake_hands_for(&access, lasts)));
    let beside = put_for(&server, lasts);
    let (shaken, took) = handshaker.join().expect("handshakes are made");
    let (cpu, own) = (server.cpu() - cpu, process::cpu_of_self() - own);
    let name = server.name();
    results.add("handshakes rate", name, shaken as f64 / took.as_secs_f64());
    for (when, waits) in [("alone", &alone), ("beside handshakes", &beside)] {
        results.add(&format!("{when} p99 ms"), name, percentile(waits, 0.99) / 1e3);
        results.add(&format!("{when} longest ms"), name, percentile(waits, 1.0) / 1e3);
        results.add(&format!("{when} puts"), name, waits.len() as f64 / lasts.as_secs_f64());
    }
    // The puts beside them are in it, for both alike.
    results.add("handshakes cpu", name, cpu.as_secs_f64() * 1e6 / shaken as f64);
    results.add("handshakes generator", name, own.as_secs_f64() * 1e6 / shaken as f64);
}

/// Puts one at a time, with a millisecond's rest after each, and gives the waits in order.
fn put_for(server: &Server, lasts: Duration) -> Vec<u32> {
    let request = put();
    run(async {
        let client = Client::enter(server.access()).await.expect("the server lets us in");
        let (began, mut waits) = (Instant::now(), Vec::new());
        while began.elapsed() < lasts {
            let sent = Instant::now();
            client.call(request.path, request.framed.clone()).await.expect("a put is answered");
            waits.push(micros(sent.elapsed()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.sort_unstable();
        waits
    })
}

/// How a client begins HTTP/2: the words everybody says, and settings that ask for nothing.
const HTTP2_BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Begins handshakes at a steady pace, closes each connection once the server has spoken, and gives how many it were.
async fn shake_hands_for(access: &crate::access::Access, lasts: Duration) -> (usize, Duration) {
    let tls = access.tls.clone().expect("the server asks for certificates");
    let (began, done) = (Instant::now(), Rc::new(Cell::new(0)));
    let mut beat = tokio::time::interval(Duration::from_micros(1_000_000 / HANDSHAKES_PER_SECOND));
    let mut tasks = tokio::task::JoinSet::new();
    while began.elapsed() < lasts {
        beat.tick().await;
        // Whoever is slower than the pace is not buried under what it has not done.
        while 64 <= tasks.len() {
            tasks.join_next().await;
        }
        let (tls, address, done) = (tls.clone(), access.address.clone(), done.clone());
        tasks.spawn_local(async move {
            let tcp = tokio::net::TcpStream::connect(&address).await.expect("it is let in");
            let mut both = tls.shake_hands(tcp).await.expect("both sides agree");
            // In TLS 1.3 the client is done before the server has looked at its certificate: an answer says that it was good.
            both.write_all(HTTP2_BEGIN).await.expect("it is open");
            both.read_u8().await.expect("the server speaks to whom it believes");
            done.set(done.get() + 1);
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    (done.get(), began.elapsed())
}
