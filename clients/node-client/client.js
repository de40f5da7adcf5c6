// A real client at work: Node's etcd3 against a cluster whose leader is killed.
//
// It writes, watches, keeps a lease alive and holds a lock. It prints "READY" before its first write, begins
// after a line on its input, and ends with "PASS node-client". The tests in crates/robust run it.
"use strict";

const readline = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const { Etcd3 } = require("etcd3");

function check(held, what) {
  if (!held) {
    console.log(`FAIL node-client: ${what}`);
    process.exit(1);
  }
}

async function untilItWorks(what, call) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      return await call();
    } catch (refused) {
      check(Date.now() < deadline, `${what} works again: ${refused}`);
      await sleep(50);
    }
  }
}

const key = (number) => `js/f/w/${String(number).padStart(3, "0")}`;

// Sees each key, in order; a put whose answer was lost may be there twice.
async function watch(client, all) {
  const watcher = await client.watch().prefix("js/f/w/").create();
  let following = 0;
  let revision = 0n;
  return new Promise((done) => {
    watcher.on("put", (kv) => {
      check(BigInt(kv.mod_revision) > revision, "revisions grow");
      revision = BigInt(kv.mod_revision);
      const seen = kv.key.toString();
      if (seen === key(following)) {
        following += 1;
      } else {
        check(seen === key(following - 1), `event ${seen}, not number ${following}`);
      }
      if (following === all) {
        done();
      }
    });
    // The library goes to another member by itself and starts after the last event.
    watcher.on("error", (error) => check(false, `the watch: ${error}`));
  });
}

async function main() {
  const hosts = process.argv[2].split(",").map((address) => `http://${address}`);
  const client = new Etcd3({
    hosts,
    dialTimeout: 2_000,
    defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + 3_000 }),
  });
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const lease = client.lease(6);
  let lost = null;
  lease.on("lost", (error) => {
    lost = error;
  });
  await lease.put("js/f/leased").value("x");
  const lock = client.lock("js/f/lock").ttl(60);
  await lock.acquire();

  const all = 40;
  // It watches from now on, so it must stand before the first put.
  let watched;
  await new Promise((stands) => {
    watched = watch(client, all);
    setImmediate(stands);
  });
  await sleep(500);
  console.log("READY");
  check((await lines.next()).value !== undefined, "the answer of the test");
  for (let number = 0; number < all; number += 1) {
    await untilItWorks("put", () => client.put(key(number)).value("v"));
    await sleep(50);
  }
  const late = sleep(40_000).then(() => check(false, "the watch went on"));
  await Promise.race([watched, late]);

  await sleep(7_000);
  check(lost === null, `the lease lives on: ${lost}`);
  const leased = await untilItWorks("get", () => client.get("js/f/leased").string());
  check(leased === "x", "the key of the lease is there");
  const second = client.lock("js/f/lock").ttl(20);
  let refused = false;
  try {
    await second.acquire();
  } catch (error) {
    refused = true;
  }
  check(refused, "the lock is still held");
  await untilItWorks("release", () => lock.release());
  await untilItWorks("the second lock", () => client.lock("js/f/lock").ttl(20).acquire());
  console.log("PASS node-client: failover");
  process.exit(0);
}

main().catch((error) => check(false, `${error.stack}`));
