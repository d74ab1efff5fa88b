"""How a record gets in: one queue, and whoever has the lock writes what is in it.

1. `append` puts an Arrival at the end of the queue.  From then on it is kept: what follows may be
   interrupted anywhere.
2. Then it tries for the lock, for a bounded time.  Whoever has the lock drains the queue, its own
   arrival and everybody else's, oldest first (see `writer`).  A call that does not get the lock in
   time returns and leaves its arrival to whoever has it, or to the keeper.
3. Whatever reads or removes rows takes the lock by `run`, which drains the queue first.  So an
   attempt that was interrupted is finished before anybody sees or settles its rows.
4. A call that interrupts the holder of the lock in its own thread (a signal handler, a finalizer)
   leaves its arrival in the queue.  Whoever holds the lock looks at the queue again when done.
   The end of a session is an arrival as well.

Belongs here: the queue, its bound, and its lock.  Does not: SQL, trouble with the disk, numbers,
what becomes of records later.
"""

from __future__ import absolute_import, division

import collections
import functools
import time

from .. import locks
from .._compat import get_ident, monotonic
from .memory import MEMORY_BYTES, ROW_OVERHEAD, SACRIFICED
from .writer import WRITTEN_AT_ONCE, Writer

# Of the 50 ms that a log call may take, some are for what it does itself.
BUSY_SECONDS = 0.045
# The wait where an earlier call has spent its bound already: long enough that a tight loop of log
# calls does not fill the queue faster than the holder of the lock can write.
CROWDED_SECONDS = 0.001
GIVE_WAY_SECONDS = 0.00001
CROWDED_BYTES = MEMORY_BYTES // 4


class Arrival(object):
    """A record on its way in.

    :ivar number: its number in its session, once an attempt to write it has begun.
    :ivar is_in: whether it is written and counted.
    :ivar is_plain: whether it is a record and nothing more.
    :ivar changes: what of its session's entry changes with it, a dict of values.
    :ivar weight: how many bytes it takes in the queue, where these are counted.
    """

    # Few of them differ from these, and each log call makes one.
    number = None
    is_in = False
    is_plain = True
    changes = None
    weight = 0

    def __init__(self, entry, kind, body, captured):
        self.entry = entry
        self.kind = kind
        self.body = body
        self.captured = captured


def with_lock(method):
    """Make a method of a class with an `intake` run with its lock held (see `Intake.run`)."""

    @functools.wraps(method)
    def run(self, *arguments, **options):
        return self.intake.run(method, self, *arguments, **options)

    return run


class Intake(object):
    """The queue in front of a disk, and the lock over both.

    :ivar lock: an RLock; nobody uses the disk without it.
    :ivar is_mine: a callable: whether the calling thread has it.
    :ivar last_queued: the last arrival that a call left in the queue.
    :ivar stirred: a deque of (entry, capture time), appended to when a session that had nothing
        waiting gets a record.  The sender takes from it.
    :param disk: the Disk that records are written to.
    :param wall: a callable that returns seconds since the epoch.
    :param room: the Room, whose `left` shrinks with what is written.
    :param losses: the Losses.
    """

    def __init__(self, disk, wall, room, losses):
        self.lock = locks.RLock()
        self.is_mine = locks.ownership_of(self.lock)
        self.closed = False
        self.arrivals = collections.deque()
        self.stirred = collections.deque()
        self.waiters = collections.deque()
        self.last_queued = None
        self._disk = disk
        self._wall = wall
        self._writer = Writer(self.arrivals, self.stirred, disk, room, losses)
        self._drain = self._writer.drain

    def append(self, entry, kind, body):
        """Keep a record; it is on disk when this returns, but for the exceptions in the README.

        :param entry: the session's Entry.
        :param body: the record's JSON, bytes; None counts it as dropped.
        :returns: False where nothing was kept, because the outbox is closed or has forgotten the
            session.
        """
        if self.closed or entry.forgotten:
            return False
        arrival = Arrival(entry, kind, body, int(self._wall() * 1000000))
        arrivals = self.arrivals
        if arrivals or body is None:
            self._bound(arrival)
        arrivals.append(arrival)
        if not self._disk.is_slow:
            self._drain_within(BUSY_SECONDS)
        if arrival.is_in:
            return True
        self.last_queued = arrival
        return not (self.closed or entry.forgotten) or self._is_kept(arrival)

    def give_up(self, entry, kind):
        """Count a record for which there is no memory as dropped; returns as `append` does."""
        return self.append(entry, kind, None)

    def append_once(self, entry, kind, body, kept):
        """Do as `append` or `give_up`, once, however often it is interrupted and repeated.

        :param kept: a list, empty at first and the same each time, in which this object notes what
            it has queued, so that it knows it again.
        """
        if kept and kept[-1].is_in:
            return True
        if not kept or kept[-1].entry is not entry:
            arrival = Arrival(entry, kind, body, int(self._wall() * 1000000))
            arrival.is_plain = body is not None
            kept.append(arrival)
        arrival = kept[-1]
        if self.closed or entry.forgotten:
            return False
        # In this order: it leaves the queue when it is in.
        if not (_is_one_of(self.arrivals, arrival) or arrival.is_in):
            self.arrivals.append(arrival)
        if not self._disk.is_slow:
            self._drain_within(BUSY_SECONDS)
        self.last_queued = arrival
        return arrival.is_in or not (self.closed or entry.forgotten) or self._is_kept(arrival)

    def _is_kept(self, arrival):
        """Return whether an arrival got in before the outbox was closed or the session forgotten.

        Closing and forgetting set their flag first and drain the queue then, under the lock.
        """
        return self.run(self._is_in_or_stays, arrival)

    def _is_in_or_stays(self, arrival):
        if arrival.is_in or not (self.closed or arrival.entry.forgotten):
            return True
        _remove(self.arrivals, arrival)
        return False

    def close(self):
        """Take no more records, and write those that are queued; the caller has the lock."""
        self.closed = True
        while self.arrivals:
            self._drain()

    def add(self, entry, kind, body, **changes):
        """Queue a record and what changes with it, to be written in one step; within `run`.

        :param kind: None where there is no record, and only the entry changes.
        :param body: bytes, or a callable (entry) that returns them when the record is written:
            what it tells of may change while it waits.  None then: there is nothing to write.
        :param changes: values for columns of the entry.
        """
        arrival = Arrival(entry, kind, body, int(self._wall() * 1000000))
        arrival.is_plain = False
        arrival.changes = changes
        self.arrivals.append(arrival)

    def _bound(self, arrival):
        """Count an arrival that meets others in the queue; give it up where they are too many."""
        writer = self._writer
        # Threads that add at once may miscount a little; a short queue corrects it.
        if len(self.arrivals) <= 1:
            writer.queued_bytes = 0
        if writer.queued_bytes > CROWDED_BYTES:
            self._drain_within(BUSY_SECONDS, is_patient=True)
        if writer.queued_bytes > MEMORY_BYTES and arrival.kind in SACRIFICED:
            arrival.body = None
        arrival.is_plain = arrival.body is not None
        arrival.weight = len(arrival.body or b"") + ROW_OVERHEAD
        writer.queued_bytes += arrival.weight

    # The lock

    def _drain_within(self, seconds, is_patient=False):
        """Drain the queue if the lock can be had within some seconds.

        :param is_patient: whether to wait for all of them where others wait already.
        """
        lock = self.lock
        if self.is_mine():
            return  # this call interrupts whoever has the lock, who looks at the queue when done
        try:
            if lock.acquire(False) or (seconds and self._wait(seconds, is_patient)):
                try:
                    if not self.closed:
                        self._drain(WRITTEN_AT_ONCE)
                finally:
                    lock.release()
                if self.arrivals and seconds:
                    # Once more, for calls that tried a moment too early; what comes even later
                    # is left to those who add it, and to the keeper.
                    self._drain_within(0)
        except BaseException as error:
            # A signal handler raised or memory ran out, perhaps between the taking of the lock
            # and its `try`.
            locks.release_if_owned(lock)
            _remove(self.waiters, get_ident())
            # Where memory ran out, the arrivals are in the queue all the same.
            if not isinstance(error, MemoryError):
                raise

    def _wait(self, seconds, is_patient):
        """Wait for the lock; return whether it was got."""
        me, waiters = get_ident(), self.waiters
        if me in waiters:
            return False  # this call interrupts another that waits already
        try:
            waiters.append(me)
            # Beside the waiters' own there may be the one that is being written.
            if not is_patient and len(self.arrivals) > len(waiters) + 1:
                seconds = CROWDED_SECONDS
            return locks.acquire_within(self.lock, seconds)
        finally:
            _remove(waiters, me)

    def run(self, step, *arguments, **options):
        """Return `step(...)`, called with the lock held; for everything but log calls.

        The queue is drained before the step and after it, but not where this call interrupts a
        drain in its own thread.
        """
        interrupts = self.is_mine()
        try:
            with self.lock:
                if self.arrivals and not (interrupts or self.closed):
                    self._drain(WRITTEN_AT_ONCE)
                result = step(*arguments, **options)
                if self.arrivals and not (interrupts or self.closed):
                    self._drain(WRITTEN_AT_ONCE)
        except BaseException:
            if not interrupts:
                # A signal handler may have raised before `with` knew that it had the lock.
                locks.release_if_owned(self.lock)
            raise
        if not interrupts:
            self._give_way()
        return result

    def _give_way(self):
        if self.waiters:
            # Or a log call that gets the lock waits once more, for the interpreter's, until this
            # thread blocks.
            time.sleep(GIVE_WAY_SECONDS)
        if self.arrivals:
            self._drain_within(0)

    def take_in(self):
        """Write what was queued while the lock was taken or the disk slow."""
        # A slice at a time, for log calls come in between; and only what is there now.
        for _ in range(0, len(self.arrivals), WRITTEN_AT_ONCE):
            self.run(_do_nothing)
        if self._disk.is_slow and self._disk.is_calm(monotonic()):
            self._disk.is_slow = False


def _do_nothing():
    pass


def _is_one_of(queue, item):
    while True:
        try:
            return item in queue
        except RuntimeError:
            pass  # somebody logged in the middle of it


def _remove(queue, item):
    """Remove an item; return whether it was there."""
    try:
        queue.remove(item)
        return True
    except ValueError:
        return False
