#!/usr/bin/env python3
"""What has a name of POSIX, opened by that name with `posix_ipc` (https://pypi.org/project/posix-ipc).

Takes orders from `jobs`, a queue `by: mqueue`, each with a permit of `gate`, a semaphore `by: posix`.
A permit and an order that this program has when it is killed are lost, and `notes.py` has the incident
say so.
"""

import os

import posix_ipc

from notes import Notes

NAMES = dict(one.split("=") for one in os.environ["SUPERVISORD_RS_POSIX_NAMES"].split())


def main():
    jobs = posix_ipc.MessageQueue(NAMES["jobs"])
    gate = posix_ipc.Semaphore(NAMES["gate"])
    orders, permits = Notes("jobs"), Notes("gate")
    print("ready", flush=True)
    while True:
        order, _priority = jobs.receive()
        with orders.having_one(), gate, permits.having_one():
            print(f"done {order.decode()} with {gate.value} permits left", flush=True)


if __name__ == "__main__":
    main()
