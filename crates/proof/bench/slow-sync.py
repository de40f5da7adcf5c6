#!/usr/bin/env python3
"""Runs a program on a slower disk: slow-sync.py MICROSECONDS COUNTED PROGRAM ARGUMENTS...

Every fsync and fdatasync of the program waits so long before it begins, and adds a byte to the file COUNTED. Only these
two calls are touched: a seccomp filter hands them to this process, which lets them go on when their time has come. So it
works alike for C, Rust and Go, needs no privileges, and what the program does otherwise takes what it always takes. (A
tracer would stop it: strace 6.1 stops at every system call even with its filter, which made a server four times slower.)
The program keeps the process id that this script was started with.
"""

import ctypes
import fcntl
import heapq
import os
import platform
import select
import struct
import sys
import time

# AUDIT_ARCH of this machine, then the numbers of seccomp, fsync and fdatasync.
MACHINES = {
    "x86_64": (0xC000003E, 317, 74, 75),
    "aarch64": (0xC00000B7, 277, 82, 83),
}

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_RET_USER_NOTIF = 0x7FC00000
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_IOCTL_NOTIF_RECV = 0xC0502100
SECCOMP_IOCTL_NOTIF_SEND = 0xC0182101
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
NOTIFICATION_BYTES = 80

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06


def listen():
    """Installs the filter for this process and what becomes of it; returns where it hands calls to."""
    audit, seccomp, fsync, fdatasync = MACHINES[platform.machine()]
    number, machine = 0, 4
    filter_ = b"".join(
        struct.pack("HBBI", *step)
        for step in [
            (LOAD, 0, 0, machine),
            (JUMP_EQUAL, 0, 3, audit),
            (LOAD, 0, 0, number),
            (JUMP_EQUAL, 2, 0, fsync),
            (JUMP_EQUAL, 1, 0, fdatasync),
            (RETURN, 0, 0, SECCOMP_RET_ALLOW),
            (RETURN, 0, 0, SECCOMP_RET_USER_NOTIF),
        ]
    )
    program = ctypes.create_string_buffer(filter_)
    header = struct.pack("HxxxxxxP", len(filter_) // 8, ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit("slow-sync: no_new_privs is refused")
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER
    listener = libc.syscall(seccomp, SECCOMP_SET_MODE_FILTER, flags, header)
    if listener < 0:
        sys.exit(f"slow-sync: seccomp: {os.strerror(ctypes.get_errno())}")
    return listener


def supervise(listener, delay, counted):
    """Lets each call go on when its time has come, until the program has ended."""
    waiting = []
    while True:
        pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([listener], [], [], pause)
        if ready:
            notification = bytearray(NOTIFICATION_BYTES)
            try:
                fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notification)
            except OSError:
                # The program, or the thread that called, has ended.
                if select.select([listener], [], [], 0)[0]:
                    return
                continue
            os.write(counted, b".")
            (call,) = struct.unpack_from("Q", notification)
            heapq.heappush(waiting, (time.monotonic() + delay, call))
        while waiting and waiting[0][0] <= time.monotonic():
            _, call = heapq.heappop(waiting)
            go_on = struct.pack("QqiI", call, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
            try:
                fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, go_on)
            except OSError:
                pass


def main():
    delay = int(sys.argv[1]) / 1e6
    counted = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    program = sys.argv[3:]
    listener = listen()
    if os.fork() == 0:
        supervise(listener, delay, counted)
        os._exit(0)
    os.close(listener)
    os.execv(program[0], program)


main()
