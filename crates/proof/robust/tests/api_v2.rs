//! The API v2 beside Debian's etcd 3.4: the same requests, the same answers; and what a cluster makes of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_robust::beside::wait_until;
use holdfast_robust::cluster::Cluster;
use holdfast_robust::foreign::{self, Part, need};
use holdfast_robust::http::{self, Answer};
use holdfast_robust::process::{Home, Server};
use holdfast_robust::random::{self, Random};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// A request: method, path with its query, and a form for a body.
type Asked<'a> = (&'a str, &'a str, &'a str);

fn ask(address: &str, (method, path, body): Asked<'_>) -> Answer {
    http::send(address, method, path, FORM, body).expect("the server answers")
}

fn put(address: &str, key: &str, form: &str) -> Answer {
    ask(address, ("PUT", &format!("/v2/keys{key}"), form))
}

fn get(address: &str, path: &str) -> Answer {
    ask(address, ("GET", &format!("/v2/keys{path}"), ""))
}

/// What an answer says, without what two servers may differ in: moments, lengths, and where the log stands.
fn shown(answer: &Answer) -> String {
    let mut out = format!("{}\n", answer.status);
    let own = ["date", "content-length", "transfer-encoding", "connection"];
    let mut headers: Vec<_> =
        answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())).collect();
    headers.sort();
    for (name, value) in headers {
        let told =
            if name.starts_with("x-raft") || name.ends_with("cluster-id") { "-" } else { value };
        out.push_str(&format!("{name}: {told}\n"));
    }
    out + &masked(&answer.text())
}

/// A text with every moment masked, and without times to live: of what has ended there may be none left.
fn masked(text: &str) -> String {
    let mut out = text.to_owned();
    for (field, instead) in [("\"expiration\":", "\"expiration\":-,"), ("\"ttl\":", "")] {
        let mut from = 0;
        while let Some(at) = out[from..].find(field) {
            let begin = from + at;
            // Behind either comes the index at least.
            let end = out[begin..].find(',').map_or(out.len(), |end| begin + end + 1);
            out.replace_range(begin..end, instead);
            from = begin + instead.len();
        }
    }
    out
}

/// Our server and Debian's, both with the API v2, at the same index.
fn both(name: &str) -> Option<(Server, Server)> {
    let ours = foreign::subject(name)?;
    let go = need(name, Part::Etcd34)?;
    let start = |binary: &Path| Home::new(binary, &["--enable-v2"]).start();
    let (ours, go) = (start(&ours), start(&go));
    // A Go cluster's own beginnings count as changes: a member, its name, its version.
    let index = |server: &Server| -> u64 {
        let answer = get(&server.address(), "/");
        answer.header("x-etcd-index").expect("it has one").parse().expect("it is a number")
    };
    wait_until("the Go cluster has begun", || index(&go) == 3);
    for request in [("PUT", "value=1"), ("PUT", "value=2"), ("DELETE", "")] {
        assert!(ask(&ours.address(), (request.0, "/v2/keys/a", request.1)).status < 300);
    }
    assert_eq!(index(&ours), 3);
    Some((ours, go))
}

#[track_caller]
fn compare(ours: &Server, go: &Server, asked: Asked<'_>) -> Answer {
    let (our, their) = (ask(&ours.address(), asked), ask(&go.address(), asked));
    assert_eq!(shown(&our), shown(&their), "ours is left, of {asked:?}");
    our
}

#[test]
fn the_api_v2_answers_made_up_requests_as_etcd_3_4_does() {
    let name = "api-v2";
    let Some((ours, go)) = both(name) else { return };
    let mut random = Random::new(random::seed(name, 1));
    let (mut good, mut refused) = (0, 0);
    for _ in 0..1200 {
        let (method, path, body) = made_up(&mut random);
        let answer = compare(&ours, &go, (method, &path, &body));
        if answer.status < 300 { good += 1 } else { refused += 1 }
    }
    let counters = |server: &Server| {
        let text = ask(&server.address(), ("GET", "/v2/stats/store", "")).text();
        let all: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        // A Go member reads its own namespace too, and has set up its cluster in it.
        let mut all = all.as_object().expect("it is an object").clone();
        for own in ["getsSuccess", "getsFail", "setsSuccess", "createSuccess", "deleteSuccess"] {
            all.remove(own).expect("it is counted");
        }
        all
    };
    assert_eq!(counters(&ours), counters(&go));
    println!("{name}: {good} answered, {refused} refused, all as etcd 3.4 does");
    assert!(300 < good && 200 < refused, "{good} answered, {refused} refused");
}

/// A request of a client that knows what it does, mostly.
fn made_up(random: &mut Random) -> (&'static str, String, String) {
    let parts = 1 + random.below(3);
    let names = ["a", "b", "a-b", "_h", "d.x"];
    let key: String = (0..parts).map(|_| format!("/{}", random.pick(&names))).collect();
    let key = if random.one_in(25) { String::new() } else { key };
    let method =
        random.pick(&["GET", "GET", "PUT", "PUT", "PUT", "PUT", "POST", "DELETE", "DELETE"]);
    let mut query = vec![];
    let mut form = vec![];
    let add =
        |list: &mut Vec<String>, random: &mut Random, often: u64, field: &str, values: &[&str]| {
            if random.one_in(often) {
                list.push(format!("{field}={}", random.pick(values)));
            }
        };
    let truths = ["true", "true", "false", "1", "no"];
    match method {
        "GET" => {
            query.push("sorted=true".to_owned());
            add(&mut query, random, 2, "recursive", &truths);
            add(&mut query, random, 4, "quorum", &truths);
        }
        "DELETE" => {
            add(&mut query, random, 3, "recursive", &truths);
            add(&mut query, random, 3, "dir", &truths);
            add(&mut query, random, 6, "prevValue", &["x", "y", ""]);
            add(&mut query, random, 8, "prevIndex", &["4", "17", "z"]);
        }
        _ => {
            add(&mut form, random, 1, "value", &["x", "y", "x", "", "%3Ca%26b%3E+%C3%A9"]);
            add(&mut form, random, 6, "ttl", &["100", "100", "", "-1", "2h"]);
            add(&mut form, random, 5, "dir", &truths);
            add(&mut query, random, 4, "prevExist", &truths);
            add(&mut query, random, 5, "prevValue", &["x", "y", ""]);
            add(&mut query, random, 9, "prevIndex", &["4", "17", "z"]);
            add(&mut form, random, 8, "refresh", &truths);
            add(&mut query, random, 9, "noValueOnSuccess", &truths);
            add(&mut query, random, 40, "wait", &truths);
        }
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    (method, format!("/v2/keys{key}{query}"), form.join("&"))
}

#[test]
fn the_paths_beside_the_keys_answer_as_etcd_3_4_does() {
    let Some((ours, go)) = both("api-v2-paths") else { return };
    for asked in [
        ("GET", "/v2", ""),
        ("GET", "/v2/", ""),
        ("GET", "/v2/keysx", ""),
        ("GET", "/v2/stats", ""),
        ("PATCH", "/v2/keys/a", ""),
        ("PATCH", "/v2/members", ""),
        ("PUT", "/v2/machines", ""),
        ("PUT", "/v2/stats/store", ""),
        ("GET", "/v2/keys/a?x=%zz", ""),
        ("GET", "/v2/keys/a?x;y", ""),
        ("PUT", "/v2/keys/a", "value=%zz"),
        ("GET", "/v2/members/zz", ""),
        ("POST", "/v2/members", ""),
        ("DELETE", "/v2/members", ""),
        ("DELETE", "/v2/members/1", ""),
        ("DELETE", "/v2/members/zz", ""),
        ("OPTIONS", "/v2/keys/a", ""),
    ] {
        compare(&ours, &go, asked);
    }
    let json = "Content-Type: application/json\r\n";
    for (method, path, body) in [
        ("POST", "/v2/members", "{"),
        ("POST", "/v2/members", r#"{"peerURLs":["foo"]}"#),
        ("PUT", "/v2/members/1", r#"{"peerURLs":["http://127.0.0.1:9"]}"#),
    ] {
        let send = |server: &Server| http::send(&server.address(), method, path, json, body);
        let (our, their) = (send(&ours).expect("an answer"), send(&go).expect("an answer"));
        assert_eq!(shown(&our), shown(&their), "{method} {path} {body}");
    }
    for server in [&ours, &go] {
        // They are told where the servers say they are.
        let machines = ask(&server.address(), ("GET", "/v2/machines", ""));
        assert_eq!(machines.text(), "http://localhost:2379");
        let members = ask(&server.address(), ("GET", "/v2/members", "")).text();
        let leader = ask(&server.address(), ("GET", "/v2/members/leader", "")).text();
        assert_eq!(members, format!("{{\"members\":[{}]}}\n", leader.trim_end()));
        let own = ask(&server.address(), ("GET", "/v2/stats/self", "")).text();
        assert!(own.contains(r#""state":"StateLeader","startTime":""#), "{own}");
        let lead = ask(&server.address(), ("GET", "/v2/stats/leader", "")).text();
        assert!(lead.ends_with(r#""followers":{}}"#), "{lead}");
    }
}

/// A request that is answered line by line.
struct Waiting(BufReader<TcpStream>);

impl Waiting {
    fn begin(address: &str, path: &str) -> Waiting {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let head = format!("GET /v2/keys{path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut waiting = Waiting(BufReader::new(stream));
        // The head comes at once: who waits has been taken note of.
        while !waiting.line().is_empty() {}
        waiting
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it comes in time");
        line.trim_end().to_owned()
    }

    /// The next event: a chunk of its own.
    fn event(&mut self) -> String {
        loop {
            let line = self.line();
            if line.starts_with('{') {
                return masked(&line);
            }
        }
    }
}

#[test]
fn who_waits_is_told_what_etcd_3_4_tells() {
    let Some((ours, go)) = both("api-v2-watch") else { return };
    let told = |server: &Server| -> Vec<String> {
        let address = server.address();
        let index = || -> u64 {
            let index = get(&address, "/").header("x-etcd-index").map(str::parse);
            index.expect("it has one").expect("it is a number")
        };
        let (mut told, begin) = (Vec::new(), index() + 1);
        let mut one = Waiting::begin(&address, "/w/a?wait=true");
        let mut all = Waiting::begin(&address, "/w?wait=true&recursive=true&stream=true");
        let mut within = Waiting::begin(&address, "/w/d/e?wait=true");
        let mut hidden = Waiting::begin(&address, "/w/_h?wait=true&recursive=true");
        for (key, form) in [
            ("/w/_h/x", "value=0"),
            ("/w/d/e", "value=1"),
            ("/w/a", "value=2"),
            ("/w/a?prevExist=true&refresh=true", "ttl=100"),
            ("/w/a?prevValue=2", "value=3"),
        ] {
            assert!(put(&address, key, form).status < 300, "{key}");
        }
        for path in ["/v2/keys/w/d?recursive=true", "/v2/keys/w/a"] {
            assert_eq!(ask(&address, ("DELETE", path, "")).status, 200);
        }
        put(&address, "/w/end", "value=4");
        told.push(one.event());
        told.push(within.event());
        told.push(hidden.event());
        while told.last().is_none_or(|last| !last.contains("/w/end")) {
            told.push(all.event());
        }
        for path in ["/w/a?wait=true", "/w/d/e/f?wait=true", "/w?wait=true&recursive=true"] {
            told.push(get(&address, &format!("{path}&waitIndex={begin}")).text());
        }
        told
    };
    assert_eq!(told(&ours), told(&go));
    // Of a history of a thousand both have forgotten the beginning.
    for number in 0..1001 {
        for server in [&ours, &go] {
            put(&server.address(), "/many", &format!("value={number}"));
        }
    }
    compare(&ours, &go, ("GET", "/v2/keys/many?wait=true&waitIndex=4", ""));
}

#[test]
fn what_ends_is_gone_and_its_watcher_told_as_by_etcd_3_4() {
    let Some((ours, go)) = both("api-v2-ends") else { return };
    let told = |server: &Server| {
        let address = server.address();
        let mut waiting = Waiting::begin(&address, "/t?wait=true&recursive=true&stream=true");
        put(&address, "/t/f", "value=x&ttl=5");
        put(&address, "/t/d/f", "value=x");
        let answer = put(&address, "/t/d?prevExist=true", "dir=true&ttl=6");
        let events: Vec<_> = (0..5).map(|_| waiting.event()).collect();
        let left = get(&address, "/t?recursive=true").text();
        (shown(&answer), events, left)
    };
    assert_eq!(told(&ours), told(&go));
}

#[test]
fn without_the_flag_there_is_no_api_v2() {
    let Some(ours) = foreign::subject("api-v2-off") else { return };
    let server = Home::new(&ours, &[]).start();
    for path in ["/v2/keys", "/v2/keys/a", "/v2/members", "/v2/machines", "/v2/stats/self"] {
        let answer = ask(&server.address(), ("GET", path, ""));
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
}

#[test]
fn what_the_api_v2_acknowledged_is_there_after_kill_9() {
    let Some(ours) = foreign::subject("api-v2-kill") else { return };
    let mut server = Home::new(&ours, &["--enable-v2", "--snapshot-count=20"]).start();
    let mut number = 0;
    for round in 0..4 {
        for _ in 0..30 {
            let answer = put(&server.address(), &format!("/k/{number}"), "value=v");
            assert_eq!(answer.status, 201, "{}", answer.text());
            number += 1;
        }
        let before = get(&server.address(), "/?recursive=true");
        server = server.kill_and_restart();
        wait_until("it reads again", || get(&server.address(), "/k?quorum=true").status == 200);
        let after = get(&server.address(), "/?recursive=true");
        assert_eq!(before.text(), after.text(), "round {round}");
        assert_eq!(before.header("x-etcd-index"), after.header("x-etcd-index"));
    }
}

#[test]
fn a_cluster_keeps_the_api_v2_over_its_leaders_and_through_a_snapshot() {
    let Some(ours) = foreign::subject("api-v2-cluster") else { return };
    let flags = ["--enable-v2", "--snapshot-count=20", "--snapshot-catchup-entries=5"];
    let mut cluster = Cluster::start(&[&ours, &ours, &ours], &flags);
    let reads = |cluster: &Cluster, seat: usize, key: &str, value: &str| {
        let what = format!("{key} is {value} on seat {seat}");
        wait_until(&what, || get(&cluster.address(seat), key).text().contains(value));
    };
    let gone = |cluster: &Cluster, seat: usize, key: &str| {
        wait_until(&format!("{key} has ended on seat {seat}"), || {
            get(&cluster.address(seat), key).status == 404
        });
    };
    // Through one, read through another.
    assert_eq!(put(&cluster.address(0), "/a", "value=one").status, 201);
    reads(&cluster, 1, "/a", "one");
    let quorum = get(&cluster.address(2), "/a?quorum=true");
    assert!(quorum.text().contains("one"), "{}", quorum.text());
    // The leader dies; what was to end ends by the next one's look.
    let leader = cluster.leader();
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    assert_eq!(put(&cluster.address(one), "/t", "value=x&ttl=6").status, 201);
    cluster.kill(leader);
    wait_until("somebody leads", || put(&cluster.address(one), "/b", "value=two").status < 300);
    reads(&cluster, other, "/b", "two");
    gone(&cluster, one, "/t");
    gone(&cluster, other, "/t");
    // Who was away comes back through a snapshot.
    for number in 0..60 {
        let answer = put(&cluster.address(other), &format!("/many/{number}"), "value=v");
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    cluster.launch(leader);
    cluster.wait_until_ready(leader);
    reads(&cluster, leader, "/many/59", "\"v\"");
    gone(&cluster, leader, "/t");
    let whole = |seat: usize| {
        let answer = get(&cluster.address(seat), "/?recursive=true");
        (answer.text(), answer.header("x-etcd-index").map(str::to_owned))
    };
    wait_until("all have the same", || whole(0) == whole(1) && whole(1) == whole(2));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !cluster.log(leader).contains("snapshot") && Instant::now() < deadline {
        sleep(Duration::from_millis(50));
    }
    assert!(cluster.log(leader).contains("snapshot"), "it came by the log alone");
}

#[test]
fn where_a_go_member_is_the_api_v2_is_refused_by_its_name() {
    let name = "api-v2-mixed";
    let Some(ours) = foreign::subject(name) else { return };
    let Some(go) = need(name, Part::EtcdNew) else { return };
    let mut cluster = Cluster::new(&[&ours, &go], &[]);
    cluster.set_own_flags(0, &["--enable-v2"]);
    for seat in [0, 1] {
        cluster.launch(seat);
    }
    for seat in [0, 1] {
        cluster.wait_until_ready(seat);
    }
    wait_until("the Go member has said what it is", || {
        let answer = put(&cluster.address(0), "/a", "value=x");
        assert_eq!(answer.status, 500, "{}", answer.text());
        answer.text().contains("cannot apply requests of the API v2")
    });
    assert_eq!(get(&cluster.address(0), "/a").status, 404);
    cluster.put(1, "k", "v").expect("both live");
}
