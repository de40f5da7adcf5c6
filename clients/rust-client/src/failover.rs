//! A cluster's leader is killed while this client writes, watches, keeps a lease alive and holds a lock. It prints
//! "READY" before its first write, and begins after a line on its input.

use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, Error, LeaseTimeToLiveOptions, LockOptions, PutOptions, WatchOptions,
};
use tokio::io::AsyncBufReadExt;
use tokio::time::{sleep, timeout};

const ALL: usize = 40;

/// Tries until it works, for half a minute.
macro_rules! until_it_works {
    ($what:literal, $call:expr) => {{
        let mut tries = 0;
        loop {
            match timeout(Duration::from_secs(3), $call).await {
                Ok(Ok(done)) => break done,
                refused => assert!(tries < 300, "{}: {refused:?}", $what),
            }
            tries += 1;
            sleep(Duration::from_millis(100)).await;
        }
    }};
}

/// Connects to all members and lives through the death of their leader.
pub async fn run(endpoints: &str) -> Result<(), Error> {
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    let options = ConnectOptions::new()
        .with_connect_timeout(Duration::from_secs(2))
        .with_keep_alive(Duration::from_secs(2), Duration::from_secs(2));
    let mut client = Client::connect(endpoints, Some(options)).await?;
    let lease = client.lease_grant(6, None).await?.id();
    let leased = PutOptions::new().with_lease(lease);
    let first = client.put("rs/f/leased", "x", Some(leased)).await?;
    let first = first.header().expect("a header").revision() + 1;
    let held = client.lease_grant(60, None).await?.id();
    let held = LockOptions::new().with_lease(held);
    let held = client.lock("rs/f/lock", Some(held)).await?.key().to_vec();

    let mut keeping = client.clone();
    tokio::spawn(async move {
        loop {
            if let Ok((mut keeper, mut alive)) = keeping.lease_keep_alive(lease).await {
                while keeper.keep_alive().await.is_ok()
                    && matches!(alive.message().await, Ok(Some(_)))
                {
                    sleep(Duration::from_secs(1)).await;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    let watching = tokio::spawn(watch(client.clone(), first));
    println!("READY");
    let mut line = String::new();
    let mut input = tokio::io::BufReader::new(tokio::io::stdin());
    input.read_line(&mut line).await.expect("the answer of the test");
    for number in 0..ALL {
        until_it_works!("put", client.put(format!("rs/f/w/{number:03}"), "v", None));
        sleep(Duration::from_millis(50)).await;
    }
    let watched = timeout(Duration::from_secs(30), watching).await.expect("all events come");
    watched.expect("the watch ends well");

    sleep(Duration::from_secs(7)).await;
    let options = || Some(LeaseTimeToLiveOptions::new().with_keys());
    let left = until_it_works!("time to live", client.lease_time_to_live(lease, options()));
    assert!(left.ttl() > 0, "the lease lives on");
    assert_eq!(left.keys(), [b"rs/f/leased".to_vec()]);
    let wanting = until_it_works!("grant", client.lease_grant(30, None)).id();
    let mut waiting = client.clone();
    // This library sends a call to the dead member now and then; whoever is told so asks again.
    let wanted = tokio::spawn(async move {
        let options = || Some(LockOptions::new().with_lease(wanting));
        while waiting.lock("rs/f/lock", options()).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    sleep(Duration::from_millis(500)).await;
    assert!(!wanted.is_finished(), "the lock is still held");
    until_it_works!("unlock", client.unlock(held.clone()));
    let wanted = timeout(Duration::from_secs(10), wanted).await.expect("the second lock");
    wanted.expect("the task ended well");
    println!("PASS rust-client: failover");
    Ok(())
}

/// Sees each key, in order; a put whose answer was lost may be there twice.
async fn watch(mut client: Client, first: i64) {
    let (mut following, mut revision) = (0, first - 1);
    while following < ALL {
        let options = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
        let Ok(mut watch) = client.watch("rs/f/w/", Some(options)).await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        while let Ok(Some(answer)) = watch.message().await {
            for kv in answer.events().iter().map(|event| event.kv().expect("an event has a key")) {
                assert!(kv.mod_revision() > revision, "revisions grow");
                revision = kv.mod_revision();
                let key = kv.key_str().expect("keys are text");
                if key == format!("rs/f/w/{following:03}") {
                    following += 1;
                } else {
                    assert_eq!(key, format!("rs/f/w/{:03}", following - 1), "not {following}");
                }
            }
            if following == ALL {
                return;
            }
        }
    }
}
