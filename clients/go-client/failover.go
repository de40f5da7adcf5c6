package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

// A cluster's leader is killed while this client writes, watches, keeps a lease alive and holds a lock. It prints
// "READY" before its first write, and begins after a line on its input.
func failover(endpoints string) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(endpoints, ","), DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second})
	must("connect", err)
	defer client.Close()

	lease, err := client.Grant(background, 6)
	must("grant", err)
	_, err = client.Put(background, "go/f/leased", "alive", clientv3.WithLease(lease.ID))
	must("put", err)
	alive, err := client.KeepAlive(background, lease.ID)
	must("keep alive", err)
	go func() {
		for range alive {
		}
	}()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	must("session", err)
	lock := concurrency.NewMutex(session, "go/f/lock")
	must("lock", lock.Lock(background))
	watch := client.Watch(clientv3.WithRequireLeader(background), "go/f/w/", clientv3.WithPrefix())

	fmt.Println("READY")
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	must("the answer of the test", err)
	const all = 40
	for number := range all {
		putUntilItWorks(client, fmt.Sprintf("go/f/w/%03d", number))
		time.Sleep(50 * time.Millisecond)
	}
	// A watch that wants a leader ends with an error when its member has none; its user goes on after the last event.
	next, revision := 0, int64(0)
	for next < all {
		select {
		case response, open := <-watch:
			if err := response.Err(); err != nil || !open {
				watch = client.Watch(background, "go/f/w/", clientv3.WithPrefix(), clientv3.WithRev(revision+1))
				continue
			}
			for _, event := range response.Events {
				check(event.Kv.ModRevision > revision, "revision %d after %d", event.Kv.ModRevision, revision)
				revision = event.Kv.ModRevision
				if key := string(event.Kv.Key); key == fmt.Sprintf("go/f/w/%03d", next) {
					next++
				} else {
					check(next > 0 && key == fmt.Sprintf("go/f/w/%03d", next-1), "event %s, not number %d", key, next)
				}
			}
		case <-time.After(20 * time.Second):
			check(false, "the watch did not go on: %d of %d events", next, all)
		}
	}
	time.Sleep(7 * time.Second)
	left, err := client.TimeToLive(background, lease.ID, clientv3.WithAttachedKeys())
	must("time to live", err)
	check(left.TTL > 0 && len(left.Keys) == 1, "the lease lives on: %v", left)
	other, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	must("session", err)
	err = concurrency.NewMutex(other, "go/f/lock").TryLock(background)
	check(errors.Is(err, concurrency.ErrLocked), "the lock is still held: %v", err)
	must("unlock", lock.Unlock(background))
	must("the second lock", concurrency.NewMutex(other, "go/f/lock").Lock(background))
	fmt.Println("PASS go-client: failover")
}

func putUntilItWorks(client *clientv3.Client, key string) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(background, 3*time.Second)
		_, err := client.Put(ctx, key, "v")
		cancel()
		if err == nil {
			return
		}
		check(!errors.Is(err, rpctypes.ErrEmptyKey) && time.Now().Before(deadline), "put %s: %v", key, err)
		time.Sleep(50 * time.Millisecond)
	}
}
