"""How a record gets in: one queue, and whoever has the lock writes what is in it.

1. `append` puts an Arrival at the end of the queue.  From then on the record is kept, and what
   follows may be interrupted anywhere.  The end of a session is an arrival as well.
2. Then the call tries for the lock.  With the lock it drains the queue, oldest first, up to 500
   arrivals (see `writer`), and looks at the queue once more after the release.  Without it, the
   call waits for at most 45 ms, and often finds its record written by then.  If not, the record is
   left to whoever has the lock, or to the keeper.
3. `waiters` holds the threads that wait.  More arrivals than waiters means that some calls have
   timed out already, and that nobody gains by waiting: then a call waits for 1 ms.  That is still
   enough to keep a tight loop of log calls from outrunning the writer.
4. The queue has two bounds.  Over 4 MiB, a call waits for up to 45 ms before it adds its record.
   Over 16 MiB, the record is counted as dropped instead, unless it opens or ends a session.
5. A slow disk is not waited for: the call returns at once, and the keeper writes the queue by
   `take_in`, which also notices that the disk has been fast again for a while.
6. Everything but log calls takes the lock by `run`, which drains up to 500 arrivals before its
   step and after it.  Arrivals that an interrupted attempt has numbered are at the front, so the
   attempt is finished before a step sees or settles its rows.
7. A call that interrupts the holder in its own thread (a signal handler, a finalizer) cannot wait
   for it.  It leaves its arrival in the queue, and the holder looks there when done.  A nested
   `run` takes its step, but drains nothing: what it interrupts may be a drain.
8. Closing, and forgetting a session, set their flag first.  Closing then drains the queue; to
   forget a session that is over, one looks whether a record of it is queued.  `append` does it the
   other way round, first the queue and then the flag.  So a record is seen by them, or the flag by
   the call, which takes its arrival back under the lock and returns False.

Belongs here: the queue, its bounds, and its lock.  Does not: SQL, numbers, a disk that refuses,
what becomes of records later.
"""

from __future__ import absolute_import, division

import collections
import functools
import time

from .. import locks
from .._compat import get_ident, monotonic
from ..records.kinds import Record
from ..stack import RecoverableOverflow, try_with_room
from .memory import MEMORY_BYTES, ROW_OVERHEAD, SACRIFICED
from .writer import WRITTEN_AT_ONCE, Writer

# A log call may take 50 ms, of which its own work needs some.
BUSY_SECONDS = 0.045
# How long to wait once another call has timed out.
CROWDED_SECONDS = 0.001
GIVE_WAY_SECONDS = 0.00001
CROWDED_BYTES = MEMORY_BYTES // 4


class Arrival(object):
    """A record on its way in.

    :ivar number: its number in its session, once an attempt to write it has begun.
    :ivar digits: its digits; None: the writer's.
    :ivar is_in: whether it is written and counted.
    :ivar is_plain: whether it is a record and nothing more.
    :ivar changes: values of its session's entry that change with it, a dict.
    :ivar weight: its bytes in the queue, 0 if they are not counted.
    """

    # Class attributes, because each log call makes an Arrival and few differ from these.
    number = None
    digits = None
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

    :ivar lock: an RLock, to be held by whoever uses the disk.
    :ivar is_mine: a callable that returns whether the calling thread holds the lock.
    :ivar last_queued: the last arrival that a call left in the queue.
    :ivar newly_waiting: a deque of (entry, capture time), appended to when a session that had
        nothing waiting gets a record.  The sender takes from it.
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
        self.newly_waiting = collections.deque()
        self.waiters = collections.deque()
        self.last_queued = None
        self._disk = disk
        self._wall = wall
        self._writer = Writer(self.arrivals, self.newly_waiting, disk, room, losses)
        self._drain = self._writer.drain

    def append(self, entry, kind, body):
        """Keep a record.  It is on disk when this returns, with the exceptions in the README.

        :param entry: the session's Entry.
        :param body: the record's JSON, bytes; None counts it as dropped.
        :returns: False if nothing was kept: the outbox is closed, or has forgotten the session.
        """
        if self.closed or entry.forgotten:
            return False
        arrival = Arrival(entry, kind, body, int(self._wall() * 1000000))
        if self.arrivals or body is None:
            self._bound(arrival)
        self.arrivals.append(arrival)
        if not self._disk.is_slow:
            try:
                self._drain_within()
            except RecoverableOverflow:
                # It is kept, so nothing may be raised any more: the call would be repeated.
                try_with_room(self._drain_within)
        if arrival.is_in:
            return True
        self.last_queued = arrival
        return not (self.closed or entry.forgotten) or self._is_kept(arrival)

    def give_up(self, entry, kind):
        """Count a record as dropped, for lack of memory; returns as `append` does."""
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
            self._drain_within()
        self.last_queued = arrival
        return arrival.is_in or not (self.closed or entry.forgotten) or self._is_kept(arrival)

    def _is_kept(self, arrival):
        """Return whether an arrival got in before the outbox was closed or the session forgotten.

        If not, take it back (8 above).
        """
        return self.run(self._is_in_or_stays, arrival)

    def _is_in_or_stays(self, arrival):
        if arrival.is_in or not (self.closed or arrival.entry.forgotten):
            return True
        _remove(self.arrivals, arrival)
        return False

    def close(self):
        """Accept no more records, and write the queued ones; the caller has the lock."""
        self.closed = True
        while self.arrivals:
            self._drain()

    def add(self, entry, kind, body, **changes):
        """Queue a record and what changes with it, to be written in one step; within `run`.

        :param kind: None if there is no record and only the entry changes.
        :param body: bytes, or a callable (entry) that returns them when the record is written, for
            a body that may change until then.  It may return None: nothing to write, nor to
            change; or nothing (b""): no record, but the changes.
        :param changes: values for columns of the entry.
        """
        arrival = Arrival(entry, kind, body, int(self._wall() * 1000000))
        arrival.is_plain = False
        arrival.changes = changes
        self.arrivals.append(arrival)

    def first_records(self, entry, several):
        """Return (kind, body) pairs as the first records of a session; within `run`.

        They have times that are unique; the caller writes and counts them.
        """
        now, writer = int(self._wall() * 1000000), self._writer
        return [
            Record(entry.number, place + 1, kind, body, writer.unique(now), writer.digits)
            for place, (kind, body) in enumerate(several)
        ]

    def _bound(self, arrival):
        """Count the bytes of an arrival that joins others; keep the queue within its bounds."""
        writer = self._writer
        # Racing threads may miscount; a queue that has run empty starts from zero again.
        if len(self.arrivals) <= 1:
            writer.queued_bytes = 0
        if writer.queued_bytes > CROWDED_BYTES:
            self._drain_within(is_patient=True)
        if writer.queued_bytes > MEMORY_BYTES and arrival.kind in SACRIFICED:
            arrival.body = None
        arrival.is_plain = arrival.body is not None
        arrival.weight = len(arrival.body or b"") + ROW_OVERHEAD
        writer.queued_bytes += arrival.weight

    # The lock

    def _drain_within(self, seconds=BUSY_SECONDS, is_patient=False):
        """Drain the queue if the lock can be had in time.

        :param seconds: how long to wait for it.
        :param is_patient: whether to wait that long even if other calls have timed out.
        """
        lock = self.lock
        if self.is_mine():
            return  # this call interrupts the holder, which looks at the queue when done
        try:
            if lock.acquire(False) or (seconds and self._wait(seconds, is_patient)):
                try:
                    if not self.closed:
                        self._drain()
                finally:
                    lock.release()
                if self.arrivals and seconds:
                    # Drain again for calls that found the lock taken just before its release.
                    # Later ones can have the lock themselves.
                    self._drain_within(0)
        except BaseException as error:
            # A signal handler raised or memory ran out, perhaps when the lock was taken and its
            # `try` not yet entered.
            # Calls as little as `_wait` does: without stack, more would not work.
            _remove(self.waiters, get_ident())
            locks.release_if_owned(lock)
            # Out of memory is no reason to fail: the arrivals are still in the queue.
            if not isinstance(error, MemoryError):
                raise

    def _wait(self, seconds, is_patient):
        """Wait for the lock; return whether it was acquired."""
        me, waiters = get_ident(), self.waiters
        if me in waiters:
            return False  # this call interrupts one that waits
        try:
            waiters.append(me)
            # One more may be in the middle of being written.
            if not is_patient and len(self.arrivals) > len(waiters) + 1:
                seconds = CROWDED_SECONDS
            return locks.acquire_within(self.lock, seconds)
        finally:
            _remove(waiters, me)

    def run(self, step, *arguments, **options):
        """Return `step(...)`, called with the lock held; for everything but log calls.

        Drains the queue before the step and after it, up to 500 arrivals each time, unless this
        call interrupts the holder of the lock in its own thread.
        """
        interrupts = self.is_mine()
        try:
            with self.lock:
                if self.arrivals and not (interrupts or self.closed):
                    self._drain()
                result = step(*arguments, **options)
                if self.arrivals and not (interrupts or self.closed):
                    self._drain()
        except BaseException:
            if not interrupts:
                # A signal handler may have raised when `with` had the lock and did not know it.
                locks.release_if_owned(self.lock)
            raise
        if not interrupts:
            self._give_way()
        return result

    def _give_way(self):
        if self.waiters:
            # Without this, the call that gets the lock still waits for the GIL.
            time.sleep(GIVE_WAY_SECONDS)
        if self.arrivals:
            self._drain_within(0)

    def take_in(self):
        """Write what was queued while the lock was taken or the disk slow."""
        # In slices, so log calls get a turn; only what is queued now, so this ends.
        for _ in range(0, len(self.arrivals), WRITTEN_AT_ONCE):
            self.run(_do_nothing)
        self._disk.calm_down(monotonic())


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
