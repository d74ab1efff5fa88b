"""Outboxes for tests, on disks that do what the test says."""

from __future__ import absolute_import, division

import contextlib
import json
import os
import shutil
import threading
import time

from datacat.outbox import disk, intake, store, upkeep
from datacat.outbox.names import LEARNED
from datacat.outbox.outbox import Outbox
from datacat.outbox.refusals import StoreRefused
from datacat.outbox.store import Store
from datacat.records import kinds
from datacat.scope import Scope
from datacat.wire.readback import merge_state
from tools.waiting import PATIENCE

SCOPE = "aaaaaaaaaaaa"
MACHINE = "eeeeeeeeeeee"
# Server and product, machine, and what datacat 0.2 had as scope.
WHERE = Scope(SCOPE, MACHINE, "0aaaaaaaaaaa")
NAME = "%s-bbbbbbbbbbbb.%s.outbox" % (SCOPE, MACHINE)
CAP = 256 * 1024 * 1024
# For tests that open and close hundreds of files, each with a sync.
MEMORY_DISK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def left_in(folder):
    """Return what lies in a folder of outboxes, but for what is learned about servers."""
    return [name for name in os.listdir(str(folder)) if not name.endswith(LEARNED)]


class Warnings(object):
    """Stands in for `notices.Notices` and remembers the warnings."""

    def __init__(self):
        self.told = []
        self.cleared = []

    def __call__(self, topic, message):
        self.told.append((topic, message))

    def clear(self, topic):
        self.cleared.append(topic)

    @property
    def topics(self):
        return [topic for topic, _ in self.told]


class Clock(object):
    """A clock that the test sets, in seconds since the epoch."""

    def __init__(self, now=1700000000.0):
        self.now = now

    def __call__(self):
        return self.now


DISK_CLOCK = Clock()


@contextlib.contextmanager
def disks_timed_by_the_test():
    """Let no write of this process pass for slow because the machine is.

    How long a write takes is what a TroubledStore's `delay` says; else no time passes.
    """
    clocks = [(module, "monotonic") for module in (disk, intake, store, upkeep)]
    before = [getattr(*place) for place in clocks]
    for module, name in clocks:
        setattr(module, name, DISK_CLOCK)
    try:
        yield
    finally:
        for (module, name), clock in zip(clocks, before):
            setattr(module, name, clock)


class TroubledStore(Store):
    """A store whose disk is full (`full`), full for inserts only, or slow.

    :ivar delay: how many seconds each write takes on the DISK_CLOCK.
    """

    full = False
    full_for_inserts = False
    delay = 0.0
    refused = 0

    def __init__(self, *arguments, **options):
        super(TroubledStore, self).__init__(*arguments, **options)
        insert, together = self.insert, self._together

        def insert_in_trouble(row):
            self._trouble(True)
            insert(row)

        def in_trouble(doing, statements):
            self._trouble(False)
            together(doing, statements)

        self._together = in_trouble
        self.insert = insert_in_trouble

    def _trouble(self, is_insert):
        DISK_CLOCK.now += self.delay
        if self.full or (is_insert and self.full_for_inserts):
            self.refused += 1
            raise StoreRefused("could not write to it: database or disk is full")

    def insert_all(self, several, replacing=False, changing=None):
        self._trouble(True)
        super(TroubledStore, self).insert_all(several, replacing, changing)


def sql(store, statement):
    """Run a statement behind a store's back; return its rows."""
    return store._connection.fetch("run SQL on", statement)


class Box(object):
    """An outbox in a folder, with its store, its warnings and one session."""

    def __init__(self, folder, max_bytes=CAP, kind=TroubledStore, wall=time.time):
        self.path = os.path.join(str(folder), NAME)
        self.warnings = Warnings()
        self.store = kind(self.path)
        self.outbox = Outbox(self.store, max_bytes, self.warnings, wall)
        entries = self.outbox.entries()
        self.entry = entries[0] if entries else self.outbox.add_session(u"local-1", b"{}")
        self.number = self.entry.number

    def append(self, *bodies):
        for body in bodies:
            assert self.outbox.append(self.entry, kinds.EVENT, body)

    def drain(self, entry=None):
        """Settle all waiting records and return them."""
        drained, entry = [], entry or self.entry
        while True:
            record = self.outbox.head(entry)
            if record is None:
                return drained
            drained.append(record)
            self.outbox.settle(entry, record)

    def bodies(self):
        return [record.body for record in self.drain()]

    def copy_as_killed(self, folder):
        """Copy the file and its log as a kill would leave them; return the copy's path."""
        copy = os.path.join(str(folder), NAME)
        for ending in ("", "-wal"):
            if os.path.exists(self.path + ending):
                shutil.copyfile(self.path + ending, copy + ending)
        return copy

    def copy_as_killed_into(self, folder):
        """Make a folder and copy the file into it; return the copy's path."""
        os.mkdir(str(folder))
        return self.copy_as_killed(folder)

    def close(self):
        self.store.full = self.store.full_for_inserts = False
        self.store.delay = 0.0
        self.outbox.close()


def queue_some(box):
    """Leave "1", one for which there is no memory, and "3" in the queue."""
    box.outbox.disk.is_slow = True
    box.append(b"1")
    assert box.outbox.give_up(box.entry, kinds.EVENT)
    box.append(b"3")
    box.outbox.disk.is_slow = False


def in_another_thread(call, *arguments):
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


class Holder(object):
    """A thread that holds the outbox's lock until `release`, or the end of its `with`."""

    def __init__(self, box):
        self._held, self._done = threading.Event(), threading.Event()

        def hold():
            self._held.set()
            self._done.wait(PATIENCE)

        self._thread = threading.Thread(target=box.outbox.intake.run, args=(hold,))
        self._thread.start()
        assert self._held.wait(PATIENCE)

    def release(self):
        self._done.set()
        self._thread.join(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


def applied(updates, null_deletes, state=None):
    """Return a state after some updates, in order."""
    state = state or {}
    for update in updates:
        state = merge_state(state, update, null_deletes)
    return state


def losses_told_in(bodies):
    """Return how many lost records each report among records' bodies tells of."""
    events = [json.loads(body.decode("ascii")) for body in bodies]
    reports = [event for event in events if event.get("name") == "datacat_records_dropped"]
    return [report["data"]["count"] for report in reports]
