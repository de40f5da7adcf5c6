//! A real client at work: Rust's etcd-client against the server at the address given.
//!
//! Prints "ok ..." per thing that held, asks for a restart of the server with the line "RESTART" and
//! goes on after a line on its input, and ends with "PASS rust-client". The tests in crates/proof/robust
//! run it. With "failover" and several addresses it does what [`failover`] says.

mod failover;

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, GetOptions, LeaseTimeToLiveOptions, LockOptions, PutOptions,
    Txn, TxnOp, TxnOpResponse, WatchOptions, WatchStream,
};
use tokio::io::AsyncBufReadExt;
use tokio::time::{sleep, timeout};

type Outcome = Result<(), Error>;

#[tokio::main]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("failover") {
        let endpoints = arguments.next().expect("the second argument is a list of addresses");
        return failover::run(&endpoints).await;
    }
    let endpoint = std::env::args().nth(1).expect("the first argument is the server's address");
    let mut client = Client::connect([endpoint], None).await?;
    puts(&mut client).await?;
    txns(&mut client).await?;
    compaction(&mut client).await?;
    locks(&mut client).await?;
    across_a_restart(&mut client).await?;
    println!("PASS rust-client");
    Ok(())
}

async fn puts(client: &mut Client) -> Outcome {
    client.put("rs/a", "1", None).await?;
    let again = client.put("rs/a", "2", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(again.prev_key().expect("a previous key").value(), b"1");
    for number in 0..25 {
        client.put(format!("rs/page/{number:02}"), "v", None).await?;
    }
    let page = GetOptions::new().with_prefix().with_limit(10);
    let page = client.get("rs/page/", Some(page)).await?;
    assert!(page.more());
    assert_eq!((page.count(), page.kvs().len()), (25, 10));
    println!("ok puts");
    Ok(())
}

async fn txns(client: &mut Client) -> Outcome {
    let create = || {
        Txn::new()
            .when([Compare::create_revision("rs/txn", CompareOp::Equal, 0)])
            .and_then([TxnOp::put("rs/txn", "first", None)])
            .or_else([TxnOp::get("rs/txn", None)])
    };
    assert!(client.txn(create()).await?.succeeded());
    let again = client.txn(create()).await?;
    assert!(!again.succeeded());
    let Some(TxnOpResponse::Get(found)) = again.op_responses().into_iter().next() else {
        panic!("the else branch answers with a range: {again:?}");
    };
    assert_eq!(found.kvs()[0].value(), b"first");
    println!("ok txns");
    Ok(())
}

async fn compaction(client: &mut Client) -> Outcome {
    let first = client.put("rs/c", "1", None).await?.header().expect("a header").revision();
    let second = client.put("rs/c", "2", None).await?.header().expect("a header").revision();
    client.compact(second, None).await?;
    let refused = client.get("rs/c", Some(GetOptions::new().with_revision(first))).await;
    let Err(Error::GRpcStatus(status)) = refused else { panic!("{refused:?}") };
    assert_eq!(status.message(), "etcdserver: mvcc: required revision has been compacted");
    println!("ok compaction");
    Ok(())
}

async fn locks(client: &mut Client) -> Outcome {
    let held = client.lock("rs/lock", None).await?;
    let lease = client.lease_grant(30, None).await?.id();
    let mut waiting = client.clone();
    let wanted = tokio::spawn(async move {
        waiting.lock("rs/lock", Some(LockOptions::new().with_lease(lease))).await
    });
    sleep(Duration::from_millis(300)).await;
    assert!(!wanted.is_finished(), "no second lock while the first is held");
    client.unlock(held.key()).await?;
    let wanted = timeout(Duration::from_secs(10), wanted).await.expect("the second lock");
    let key = wanted.expect("the task ended well")?;
    client.unlock(key.key()).await?;
    println!("ok locks");
    Ok(())
}

async fn put_until_it_works(client: &mut Client, number: usize) -> i64 {
    for _ in 0..300 {
        if let Ok(answer) = client.put(format!("rs/w/{number:03}"), number.to_string(), None).await
        {
            return answer.header().expect("a header").revision();
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("puts do not work again after a restart");
}

async fn watch_from(client: &mut Client, revision: i64) -> Result<WatchStream, Error> {
    let options = WatchOptions::new().with_prefix().with_start_revision(revision);
    client.watch("rs/w/", Some(options)).await
}

/// This library's watches end when the connection does; the user starts the next one after the last
/// event, and must miss nothing and see nothing twice.
async fn across_a_restart(client: &mut Client) -> Outcome {
    let lease = client.lease_grant(5, None).await?.id();
    client.put("rs/leased", "x", Some(PutOptions::new().with_lease(lease))).await?;
    let first = put_until_it_works(client, 0).await;
    let mut watch = watch_from(client, first).await?;
    for number in 1..20 {
        put_until_it_works(client, number).await;
    }
    println!("RESTART");
    let mut line = String::new();
    let mut input = tokio::io::BufReader::new(tokio::io::stdin());
    input.read_line(&mut line).await.expect("the answer of the test");

    let (mut keeper, mut alive) = loop {
        match client.lease_keep_alive(lease).await {
            Ok(opened) => break opened,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    };
    for number in 20..40 {
        put_until_it_works(client, number).await;
    }
    let (mut following, mut revision) = (0, first - 1);
    while following < 40 {
        let answer = timeout(Duration::from_secs(20), watch.message()).await.expect("events");
        let Ok(Some(answer)) = answer else {
            sleep(Duration::from_millis(200)).await;
            if let Ok(again) = watch_from(client, revision + 1).await {
                watch = again;
            }
            continue;
        };
        for event in answer.events() {
            let kv = event.kv().expect("an event has a key");
            assert!(kv.mod_revision() > revision, "revisions grow");
            revision = kv.mod_revision();
            let key = kv.key_str()?;
            if key == format!("rs/w/{following:03}") {
                following += 1;
            } else {
                assert_eq!(key, format!("rs/w/{:03}", following - 1), "not number {following}");
            }
        }
    }
    for _ in 0..6 {
        keeper.keep_alive().await?;
        let answer = alive.message().await?.expect("an answer to a keep-alive");
        assert_eq!(answer.ttl(), 5);
        sleep(Duration::from_secs(1)).await;
    }
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(lease, Some(options)).await?;
    assert!(left.ttl() > 0);
    assert_eq!(left.keys(), [b"rs/leased".to_vec()]);
    println!("ok restart: watch went on, lease kept alive");
    Ok(())
}
