// A real client at work: the official Go client against the server at the address given.
//
// It prints one line per thing that held ("ok ..."), asks for a restart of the server with the line
// "RESTART" and goes on after a line on its input, and ends with "PASS go-client". Anything that did
// not hold ends it with "FAIL" and a non-zero code. The tests in crates/proof/robust run it. With "failover" and several
// addresses it does what failover.go says.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

var background = context.Background()

func main() {
	if os.Args[1] == "failover" {
		failover(os.Args[2])
		return
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{os.Args[1]}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	must("connect", err)
	defer client.Close()

	puts(client)
	txns(client)
	compaction(client)
	locks(client)
	acrossARestart(client)
	fmt.Println("PASS go-client")
}

func must(what string, err error) { check(err == nil, "%s: %v", what, err) }

func check(held bool, format string, args ...any) {
	if !held {
		fmt.Printf("FAIL go-client: "+format+"\n", args...)
		os.Exit(1)
	}
}

func puts(client *clientv3.Client) {
	first, err := client.Put(background, "go/a", "1")
	must("put", err)
	second, err := client.Put(background, "go/a", "2", clientv3.WithPrevKV())
	must("put", err)
	check(second.Header.Revision == first.Header.Revision+1, "revisions %v, %v", first, second)
	check(string(second.PrevKv.Value) == "1", "previous value %v", second.PrevKv)

	for i := range 25 {
		_, err = client.Put(background, fmt.Sprintf("go/page/%02d", i), "v")
		must("put", err)
	}
	page, err := client.Get(background, "go/page/", clientv3.WithPrefix(), clientv3.WithLimit(10))
	must("get", err)
	check(page.More && page.Count == 25 && len(page.Kvs) == 10, "first page %v", page)
	last, err := client.Get(background, "go/page/", clientv3.WithLastKey()...)
	must("get last key", err)
	check(string(last.Kvs[0].Key) == "go/page/24", "last key %v", last)
	old, err := client.Get(background, "go/a", clientv3.WithRev(first.Header.Revision))
	must("get at a revision", err)
	check(string(old.Kvs[0].Value) == "1", "old value %v", old)
	gone, err := client.Delete(background, "go/page/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	must("delete", err)
	check(gone.Deleted == 25 && len(gone.PrevKvs) == 25, "deleted %v", gone.Deleted)
	fmt.Println("ok puts")
}

func txns(client *clientv3.Client) {
	create := func() *clientv3.TxnResponse {
		response, err := client.Txn(background).
			If(clientv3.Compare(clientv3.CreateRevision("go/txn"), "=", 0)).
			Then(clientv3.OpPut("go/txn", "first")).
			Else(clientv3.OpGet("go/txn")).Commit()
		must("txn", err)
		return response
	}
	check(create().Succeeded, "the first create succeeds")
	again := create()
	check(!again.Succeeded, "the second create fails")
	check(string(again.Responses[0].GetResponseRange().Kvs[0].Value) == "first", "else branch %v", again)

	// Eight writers count in one key with software transactional memory: no count may be lost.
	const writers, rounds = 4, 25
	done := make(chan error, writers)
	for range writers {
		go func() {
			var err error
			for i := 0; i < rounds && err == nil; i++ {
				_, err = concurrency.NewSTM(client, func(stm concurrency.STM) error {
					stm.Put("go/count", stm.Get("go/count")+"x")
					return nil
				})
			}
			done <- err
		}()
	}
	for range writers {
		must("stm", <-done)
	}
	count, err := client.Get(background, "go/count")
	must("get", err)
	check(len(count.Kvs[0].Value) == writers*rounds, "counted %d", len(count.Kvs[0].Value))
	fmt.Println("ok txns")
}

func compaction(client *clientv3.Client) {
	first, err := client.Put(background, "go/c", "1")
	must("put", err)
	second, err := client.Put(background, "go/c", "2")
	must("put", err)
	_, err = client.Compact(background, second.Header.Revision, clientv3.WithCompactPhysical())
	must("compact", err)
	_, err = client.Get(background, "go/c", clientv3.WithRev(first.Header.Revision))
	check(errors.Is(err, rpctypes.ErrCompacted), "a compacted read says %v", err)
	_, err = client.Compact(background, second.Header.Revision+1000)
	check(errors.Is(err, rpctypes.ErrFutureRev), "a compaction of the future says %v", err)
	watched := <-client.Watch(background, "go/c", clientv3.WithRev(first.Header.Revision))
	check(watched.CompactRevision == second.Header.Revision, "a watch of the past says %v", watched)
	fmt.Println("ok compaction")
}

func locks(client *clientv3.Client) {
	session := func() *concurrency.Session {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(10))
		must("session", err)
		return session
	}
	one, two := session(), session()
	held := concurrency.NewMutex(one, "go/lock")
	wanted := concurrency.NewMutex(two, "go/lock")
	must("lock", held.Lock(background))
	check(errors.Is(wanted.TryLock(background), concurrency.ErrLocked), "the lock is held")
	got := make(chan error, 1)
	go func() { got <- wanted.Lock(background) }()
	select {
	case <-got:
		check(false, "a second lock while the first is held")
	case <-time.After(200 * time.Millisecond):
	}
	must("unlock", held.Unlock(background))
	must("the second lock", <-got)

	election := concurrency.NewElection(one, "go/election")
	must("campaign", election.Campaign(background, "me"))
	leader, err := election.Leader(background)
	must("leader", err)
	check(string(leader.Kvs[0].Value) == "me", "leader %v", leader)
	must("resign", election.Resign(background))
	must("close", one.Close())
	must("close", two.Close())
	fmt.Println("ok locks")
}

func acrossARestart(client *clientv3.Client) {
	lease, err := client.Grant(background, 5)
	must("grant", err)
	_, err = client.Put(background, "go/leased", "alive", clientv3.WithLease(lease.ID))
	must("put", err)
	alive, err := client.KeepAlive(background, lease.ID)
	must("keep alive", err)
	check((<-alive).TTL == 5, "the kept-alive lease has its full time to live")
	go func() {
		for range alive {
		}
	}()

	watch := client.Watch(clientv3.WithRequireLeader(background), "go/w/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	const before, after = 20, 40
	write := func(from, to int) {
		for i := from; i < to; i++ {
			put := func() error {
				ctx, cancel := context.WithTimeout(background, 20*time.Second)
				defer cancel()
				_, err := client.Put(ctx, fmt.Sprintf("go/w/%03d", i), fmt.Sprint(i))
				return err
			}
			err := put()
			for deadline := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(deadline); err = put() {
				time.Sleep(100 * time.Millisecond)
			}
			must("put", err)
		}
	}
	write(0, before)
	fmt.Println("RESTART")
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	must("the answer of the test", err)
	write(before, after)

	// A put whose answer was lost may have been written twice; each key is seen, in order, none skipped.
	next, revision := 0, int64(0)
	for next < after {
		select {
		case response := <-watch:
			must("watch", response.Err())
			for _, event := range response.Events {
				check(event.Kv.ModRevision >= revision, "revision %d after %d", event.Kv.ModRevision, revision)
				revision = event.Kv.ModRevision
				if key := string(event.Kv.Key); key == fmt.Sprintf("go/w/%03d", next) {
					next++
				} else {
					check(next > 0 && key == fmt.Sprintf("go/w/%03d", next-1), "event %s, not number %d", key, next)
				}
			}
		case <-time.After(20 * time.Second):
			check(false, "the watch did not resume: %d of %d events", next, after)
		}
	}
	time.Sleep(6 * time.Second)
	left, err := client.TimeToLive(background, lease.ID, clientv3.WithAttachedKeys())
	must("time to live", err)
	check(left.TTL > 0 && len(left.Keys) == 1, "the kept-alive lease lives on: %v", left)
	_, err = client.Revoke(background, lease.ID)
	must("revoke", err)
	leased, err := client.Get(background, "go/leased")
	must("get", err)
	check(leased.Count == 0, "the key of a revoked lease is gone")
	fmt.Println("ok restart: watch resumed, lease kept alive")
}
