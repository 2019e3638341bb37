#!/usr/bin/env python3
"""What a `command:` shares with other workers, with nothing but Python's standard library.

Takes orders from `jobs`, which a pipe or a socket carries, and writes into `ledger`, a region, how
many there were: the first 8 bytes. `docs/resources.md` says what each descriptor is. An order that
this program has when it is killed is lost, and `notes.py` has the incident say so.
"""

import mmap
import os
import select

from notes import USES, Notes

# The bytes of a region begin behind two pages.
REGION_AT = 8192


def main():
    take = int(USES["jobs.take"])
    ledger = mmap.mmap(int(USES["ledger"]), 0)
    waiting = select.poll()
    waiting.register(take, select.POLLIN)
    jobs = Notes("jobs")
    done = 0
    print("ready", flush=True)
    while True:
        waiting.poll()
        try:
            # A packet at a time: a message is whole, or not there.
            order = os.read(take, 65536)
        except BlockingIOError:
            continue  # Another taker was faster.
        with jobs.having_one():
            done += 1
            ledger[REGION_AT : REGION_AT + 8] = done.to_bytes(8, "little")
            print(f"done {order.decode()}", flush=True)


if __name__ == "__main__":
    main()
