import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.Observers;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/**
 * A real client at work: jetcd against a cluster whose leader is killed.
 *
 * <p>It writes, watches, keeps a lease alive and holds a lock. It prints "READY" before its first write,
 * begins after a line on its input, and ends with "PASS java-client". The tests in crates/robust run it.
 */
public final class Failover {
  private static final int ALL = 40;

  private int following = 0;
  private long revision = 0;
  private Watch.Watcher watcher;
  private final CountDownLatch seenAll = new CountDownLatch(1);

  private static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  private static void check(boolean held, String what) {
    if (!held) {
      System.out.println("FAIL java-client: " + what);
      System.exit(1);
    }
  }

  private static <T> T untilItWorks(String what, Supplier<CompletableFuture<T>> call) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
    while (true) {
      try {
        return call.get().get(3, TimeUnit.SECONDS);
      } catch (Exception refused) {
        check(System.nanoTime() < deadline, what + " works again: " + refused);
        Thread.sleep(50);
      }
    }
  }

  /** Each key is seen, in order; a put whose answer was lost may be there twice. */
  private synchronized void take(WatchResponse response) {
    for (WatchEvent event : response.getEvents()) {
      KeyValue kv = event.getKeyValue();
      check(kv.getModRevision() > revision, "revisions grow");
      revision = kv.getModRevision();
      String key = kv.getKey().toString(UTF_8);
      if (key.equals(String.format("java/f/w/%03d", following))) {
        following += 1;
      } else {
        check(key.equals(String.format("java/f/w/%03d", following - 1)), "event " + key + ", not " + following);
      }
    }
    if (following == ALL) {
      seenAll.countDown();
    }
  }

  /** A watch may end with its connection; its user starts the next one after the last event. */
  private synchronized void watch(Client client, long start) {
    if (watcher != null) {
      watcher.close();
    }
    revision = start - 1;
    WatchOption prefix = WatchOption.builder().isPrefix(true).withRevision(start).build();
    Watch.Listener listener =
        new Watch.Listener() {
          private boolean ended = false;

          @Override
          public void onNext(WatchResponse response) {
            synchronized (Failover.this) {
              if (!ended) {
                take(response);
              }
            }
          }

          @Override
          public void onError(Throwable error) {
            synchronized (Failover.this) {
              if (!ended) {
                ended = true;
                CompletableFuture.runAsync(() -> watch(client, revision + 1));
              }
            }
          }

          @Override
          public void onCompleted() {}
        };
    watcher = client.getWatchClient().watch(bytes("java/f/w/"), prefix, listener);
  }

  private void run(String[] addresses) throws Exception {
    String[] endpoints = Arrays.stream(addresses).map(address -> "http://" + address).toArray(String[]::new);
    Client client =
        Client.builder()
            .endpoints(endpoints)
            .connectTimeout(Duration.ofSeconds(2))
            .keepaliveTime(Duration.ofSeconds(2))
            .keepaliveTimeout(Duration.ofSeconds(2))
            .retryMaxDuration(Duration.ofSeconds(20))
            .build();
    long lease = client.getLeaseClient().grant(6).get(10, TimeUnit.SECONDS).getID();
    PutOption leased = PutOption.builder().withLeaseId(lease).build();
    long first =
        client.getKVClient().put(bytes("java/f/leased"), bytes("x"), leased).get().getHeader().getRevision() + 1;
    client.getLeaseClient().keepAlive(lease, Observers.observer(kept -> {}));
    long held = client.getLeaseClient().grant(60).get().getID();
    ByteSequence lock = client.getLockClient().lock(bytes("java/f/lock"), held).get(10, TimeUnit.SECONDS).getKey();

    watch(client, first);
    System.out.println("READY");
    String answer = new BufferedReader(new InputStreamReader(System.in, UTF_8)).readLine();
    check(answer != null, "the answer of the test");
    for (int number = 0; number < ALL; number++) {
      ByteSequence key = bytes(String.format("java/f/w/%03d", number));
      untilItWorks("put", () -> client.getKVClient().put(key, bytes("v")));
      Thread.sleep(50);
    }
    check(seenAll.await(30, TimeUnit.SECONDS), "the watch went on: " + following + " of " + ALL);

    Thread.sleep(7000);
    LeaseOption keys = LeaseOption.builder().withAttachedKeys().build();
    var left = untilItWorks("time to live", () -> client.getLeaseClient().timeToLive(lease, keys));
    check(left.getTTL() > 0 && left.getKeys().size() == 1, "the lease lives on: " + left);
    long wanting = untilItWorks("grant", () -> client.getLeaseClient().grant(30)).getID();
    var wanted = client.getLockClient().lock(bytes("java/f/lock"), wanting);
    try {
      wanted.get(500, TimeUnit.MILLISECONDS);
      check(false, "the lock is still held");
    } catch (TimeoutException stillHeld) {
      untilItWorks("unlock", () -> client.getLockClient().unlock(lock));
    }
    wanted.get(10, TimeUnit.SECONDS);
    System.out.println("PASS java-client: failover");
    System.exit(0);
  }

  public static void main(String[] arguments) throws Exception {
    new Failover().run(arguments[0].split(","));
  }
}
