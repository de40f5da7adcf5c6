//! How a server ends: what may finish, what is told to go, what is cut.

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{connect, framed, once, read_answer, request, run, serve, until};
use holdfast_rpc::Limits;

#[test]
fn a_draining_server_finishes_unary_calls_and_ends_streams() {
    run(async {
        let mut served = serve(Limits::default());
        let client = connect(served.address).await;
        let mut ready = client.clone().ready().await.expect("ready");
        let (watch, mut body) =
            ready.send_request(request("/test.Echo/Stream"), false).expect("sent");
        body.send_data(framed(b"x").into(), false).expect("sent");
        let slow = once(client.clone(), "/test.Echo/Slow", b"slow");
        let stop = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            served.running.as_ref().expect("it runs").drain();
        };
        let (slow, watch, ()) = tokio::join!(slow, read_answer(watch), stop);
        assert_eq!(slow.expect("it may finish").outcome(), ("0", ""));
        let watch = watch.expect("it is told");
        assert_eq!(watch.outcome(), ("14", "etcdserver: server stopped"));
        assert!(tokio::net::TcpStream::connect(served.address).await.is_err());
        let stopped = served.running.take().expect("it runs").stop(Duration::from_secs(10));
        stopped.expect("all threads end well");
    });
}

#[test]
fn what_outlasts_the_grace_is_cut() {
    let mut served = serve(Limits::default());
    let running = served.running.take().expect("it runs");
    let counts = served.counts.clone();
    let address = served.address;
    let client = std::thread::spawn(move || {
        run(async { once(connect(address).await, "/test.Echo/Stuck", b"").await })
    });
    run(until("the call began", || counts.stuck.load(Ordering::SeqCst) == 1));
    let began = Instant::now();
    running.stop(Duration::from_millis(100)).expect("all threads end well");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(client.join().expect("no panic").is_err());
    assert_eq!(counts.stuck.load(Ordering::SeqCst), 0);
}

#[test]
fn a_server_without_connections_stops_at_once() {
    let mut served = serve(Limits::default());
    let began = Instant::now();
    let stopped = served.running.take().expect("it runs").stop(Duration::from_secs(10));
    stopped.expect("all threads end well");
    assert!(began.elapsed() < Duration::from_secs(1));
}
