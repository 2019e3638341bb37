"""Says what this program has, so that the incident of its death can say it too.

A message that was taken from a pipe, a socket or a message queue, and a permit of a semaphore of
POSIX, are known to the kernel alone, and it does not say who had them. Code that uses the SDK notes
them in the descriptor of the resource; this does the same. Nothing but incidents depends on it.

    jobs = Notes("jobs")
    order = os.read(take, 65536)
    with jobs.having_one():
        ...
"""

import contextlib
import mmap
import os
import struct
import threading

USES = dict(one.split("=") for one in os.environ["SUPERVISORD_RS_RESOURCES"].split())
SEMAPHORE, QUEUE = 3, 6
# An owner: the number of a thread, a flag, and when it began, in clock ticks.
ID_SHIFT, ELSEWHERE, START = 42, 1 << 41, (1 << 40) - 1


class Notes:
    """The places of a resource in `uses:` where its users note what they have."""

    def __init__(self, name):
        whole = mmap.mmap(int(USES[name]), 0)
        magic, kind, size, number, _, _, self._namespaces = struct.unpack("=7Q", whole[:56])
        if magic != 0x5356534841524502 or size != len(whole) or kind not in (SEMAPHORE, QUEUE):
            raise ValueError(f"{name} is no queue or semaphore of this version")
        at, count = (1024, 128) if kind == QUEUE else (4096 + 64, number)
        self._places = memoryview(whole)[at : at + 8 * count].cast("Q")

    def _own_name(self):
        with open("/proc/thread-self/stat") as file:
            # The name of the program may have spaces and brackets.
            start = int(file.read().rpartition(")")[2].split()[19])
        own = os.stat("/proc/self/ns/pid").st_ino << 32 ^ os.stat("/proc/self/ns/time").st_ino
        flag = 0 if own == self._namespaces else ELSEWHERE
        return threading.get_native_id() << ID_SHIFT | flag | start & START

    @contextlib.contextmanager
    def having_one(self):
        """This thread has one from here to the end of the block; also if that raises an exception."""
        name, count = self._own_name(), len(self._places)
        first = threading.get_native_id() % count
        # Python cannot look at a place and take it in one step: where two do so at the same
        # instant, one of the notes is missing.
        free = ((first + step) % count for step in range(count))
        place = next((index for index in free if self._places[index] == 0), None)
        if place is not None:
            self._places[place] = name
        try:
            yield
        finally:
            if place is not None and self._places[place] == name:
                self._places[place] = 0
