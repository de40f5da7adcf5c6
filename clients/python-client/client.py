"""A real client at work: Python's etcd3 against the server at the address given.

Prints "ok ..." per thing that held, asks for a restart of the server with the line "RESTART" and goes
on after a line on its input, and ends with "PASS python-client". The tests in crates/proof/robust run it.
With "failover" and several addresses it writes, watches, keeps a lease and holds a lock while the cluster's leader is
killed; it prints "READY" before its first write, and begins after a line on its input.
"""

import os

os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"

import queue  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

import etcd3  # noqa: E402
import grpc  # noqa: E402


def check(held, what):
    if not held:
        print(f"FAIL python-client: {what}", flush=True)
        os._exit(1)


def puts(client):
    client.put("py/a", "1")
    answer = client.put("py/a", "2", prev_kv=True)
    check(answer.prev_kv.value == b"1", "the previous value of a put")
    for number in range(25):
        client.put(f"py/page/{number:02}", str(number))
    pages = list(client.get_prefix("py/page/", sort_order="descend", sort_target="key"))
    check(len(pages) == 25 and pages[0][1].key == b"py/page/24", "a descending range of a prefix")
    check(client.delete_prefix("py/page/").deleted == 25, "a delete of a prefix")
    check(client.get("py/page/00") == (None, None), "a deleted key is gone")
    check(client.replace("py/a", "2", "3"), "replace when the value is as told")
    check(not client.replace("py/a", "2", "4"), "no replace when it is not")
    print("ok puts", flush=True)


def txns(client):
    def create():
        return client.transaction(
            compare=[client.transactions.version("py/txn") == 0],
            success=[client.transactions.put("py/txn", "first")],
            failure=[client.transactions.get("py/txn")],
        )

    check(create()[0] is True, "the first create succeeds")
    succeeded, answers = create()
    check(not succeeded and answers[0][0][0] == b"first", "the second create returns the first's value")
    print("ok txns", flush=True)


def leases(client):
    lease = client.lease(60)
    client.put("py/leased", "x", lease=lease)
    answer = next(iter(lease.refresh()))
    check(answer.TTL == 60, "a keep-alive gives the full time to live")
    check(lease.remaining_ttl > 50 and lease.granted_ttl == 60, "time to live")
    check(list(lease.keys) == [b"py/leased"], "the keys of a lease")
    lease.revoke()
    check(client.get("py/leased")[0] is None, "the key of a revoked lease is gone")
    print("ok leases", flush=True)


def compaction(client):
    first = client.put("py/c", "1").header.revision
    second = client.put("py/c", "2").header.revision
    client.compact(second, physical=True)
    try:
        client.compact(first)
        check(False, "a second compaction below the first is refused")
    except grpc.RpcError as refused:
        check(refused.code() == grpc.StatusCode.OUT_OF_RANGE, f"the code of {refused}")
        check(refused.details() == "etcdserver: mvcc: required revision has been compacted", f"the words of {refused}")
    print("ok compaction", flush=True)


def locks(client):
    held, wanted = client.lock("py/lock", ttl=20), client.lock("py/lock", ttl=20)
    check(held.acquire(timeout=5), "the first lock")
    got = []
    waiting = threading.Thread(target=lambda: got.append(wanted.acquire(timeout=10)))
    waiting.start()
    time.sleep(0.3)
    check(not got, "no second lock while the first is held")
    check(held.release(), "release")
    waiting.join()
    check(got == [True], "the second lock after the release")
    check(wanted.release(), "release")
    print("ok locks", flush=True)


def watches(client, restarts):
    """This library's watches end with an error when the connection does; the user starts the next one
    where the last event was, and must miss nothing and see nothing twice."""
    events = queue.Queue()

    def start(revision):
        client.add_watch_callback(
            "py/w/", events.put, range_end="py/w0", start_revision=revision, prev_kv=True
        )

    def write(number):
        deadline = time.time() + 30
        while True:
            try:
                client.put(f"py/w/{number:03}", str(number))
                return
            except Exception as refused:  # noqa: BLE001
                check(time.time() < deadline, f"puts work again after a restart: {refused!r}")
                time.sleep(0.1)

    first = client.put("py/start", "").header.revision + 1
    start(first)
    for number in range(20):
        write(number)
    if restarts:
        print("RESTART", flush=True)
        check(sys.stdin.readline() != "", "the answer of the test")
    for number in range(20, 40):
        write(number)

    following, revision = 0, first - 1
    while following < 40:
        try:
            answer = events.get(timeout=20)
        except queue.Empty:
            check(False, f"the watch went on: {following} of 40 events")
        if isinstance(answer, Exception):
            time.sleep(0.2)
            start(revision + 1)
            continue
        for event in answer.events:
            check(event._event.kv.mod_revision > revision, "revisions grow")
            revision = event._event.kv.mod_revision
            key = event.key.decode()
            if key == f"py/w/{following:03}":
                following += 1
            else:
                check(key == f"py/w/{following - 1:03}", f"event {key}, not number {following}")
    print("ok watches" + (" across a restart" if restarts else ""), flush=True)


class AnyMember:
    """This library's client knows one member; its user goes to the next one when that fails."""

    def __init__(self, addresses):
        hosts = [address.split(":") for address in addresses.split(",")]
        self.clients = [etcd3.client(host=host, port=int(port), timeout=3) for host, port in hosts]
        self.turn = 0

    def do(self, what, call):
        deadline = time.time() + 30
        while True:
            try:
                return call(self.clients[self.turn % len(self.clients)])
            except Exception as refused:  # noqa: BLE001
                check(time.time() < deadline, f"{what} works again: {refused!r}")
                self.turn += 1
                time.sleep(0.05)


def failover(addresses):
    members = AnyMember(addresses)
    lease = members.do("grant", lambda client: client.lease(6)).id
    members.do("put", lambda client: client.put("py/f/leased", "x", lease=lease))
    lock = members.do("lock", lambda client: client.lock("py/f/lock", ttl=60))
    check(lock.acquire(timeout=5), "the lock")
    first = members.do("put", lambda client: client.put("py/f/start", "")).header.revision + 1
    events = queue.Queue()

    def watch(revision):
        def start(client):
            client.add_watch_callback("py/f/w/", events.put, range_end="py/f/w0", start_revision=revision)

        members.do("watch", start)

    def keep_alive():
        while True:
            members.do("keep-alive", lambda client: list(client.refresh_lease(lease)))
            time.sleep(1)

    threading.Thread(target=keep_alive, daemon=True).start()
    watch(first)
    print("READY", flush=True)
    check(sys.stdin.readline() != "", "the answer of the test")
    for number in range(40):
        members.do("put", lambda client: client.put(f"py/f/w/{number:03}", "v"))
        time.sleep(0.05)
    following, revision = 0, first - 1
    while following < 40:
        try:
            answer = events.get(timeout=20)
        except queue.Empty:
            check(False, f"the watch went on: {following} of 40 events")
        if isinstance(answer, Exception):
            members.turn += 1
            watch(revision + 1)
            continue
        for event in answer.events:
            check(event._event.kv.mod_revision > revision, "revisions grow")
            revision = event._event.kv.mod_revision
            key = event.key.decode()
            if key == f"py/f/w/{following:03}":
                following += 1
            else:
                check(key == f"py/f/w/{following - 1:03}", f"event {key}, not number {following}")
    time.sleep(7)
    left = members.do("time to live", lambda client: client.get_lease_info(lease))
    check(left.TTL > 0 and list(left.keys) == [b"py/f/leased"], "the lease lives on")
    held = members.do("get", lambda client: client.get("/locks/py/f/lock")[0])
    check(held == lock.uuid, "the lock is still held")
    wanted = members.do("lock", lambda client: client.lock("py/f/lock", ttl=20))
    check(not wanted.acquire(timeout=1), "no second lock while the first is held")
    lock.etcd_client = wanted.etcd_client
    check(lock.release(), "release")
    check(wanted.acquire(timeout=10), "the second lock after the release")
    print("PASS python-client: failover", flush=True)
    os._exit(0)


def main():
    if sys.argv[1] == "failover":
        failover(sys.argv[2])
    host, port = sys.argv[1].split(":")
    client = etcd3.client(host=host, port=int(port), timeout=10)
    puts(client)
    txns(client)
    leases(client)
    compaction(client)
    locks(client)
    check(len(list(client.members)) == 1, "the list of members")
    check(client.status().db_size > 0, "status")
    watches(client, restarts=True)
    print("PASS python-client", flush=True)
    os._exit(0)


main()
