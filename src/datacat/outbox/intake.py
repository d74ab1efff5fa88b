"""How a record gets in: one queue, and whoever has the lock writes what is in it.

1. `append` puts an Arrival at the end of the queue.  From then on it is kept: what follows may be
   interrupted anywhere.
2. Then it tries for the lock, for a bounded time.  Whoever has the lock drains the queue, its own
   arrival and everybody else's, oldest first.  A call that does not get the lock in time returns
   and leaves its arrival to whoever has it, or to the keeper.
3. An arrival gets its number and its unique capture time at the first attempt to write it, under
   the lock, and leaves the queue when it is written and counted.  So the numbered arrivals are
   always the first of the queue.
4. An attempt can be interrupted anywhere, by an exception that a signal handler raises.  The next
   drain repeats it: with the same numbers, replacing the rows that the first attempt may have
   written, and setting the same counts.  Every step gives the same result the second time.
5. A first attempt is a plain INSERT: a number that is taken already shows.
6. A repeated row must not bring back one that was settled meanwhile.  So whatever reads or removes
   rows takes the lock by `run`, which drains the queue first.
7. A call that interrupts the holder of the lock in its own thread (a signal handler, a finalizer)
   leaves its arrival in the queue.  Whoever holds the lock looks at the queue again when done.
   So does an end or a close of a session: both are arrivals.

Belongs here: the queue, its lock, numbers and capture times.  Does not: SQL, trouble with the
disk, what becomes of records later.
"""

from __future__ import absolute_import, division

import collections
import functools
import itertools
import time

from .. import locks
from .._compat import get_ident, monotonic
from ..records.kinds import Record
from . import tables
from .memory import MEMORY_BYTES, ROW_OVERHEAD, SACRIFICED
from .refusals import NumberTaken

# Of the 50 ms that a log call may take, some are for what it does itself.
BUSY_SECONDS = 0.045
# The wait where a call before has spent its bound already: long enough that a tight loop of log
# calls does not fill the queue faster than the holder of the lock can write.
CROWDED_SECONDS = 0.001
GIVE_WAY_SECONDS = 0.00001
CROWDED_BYTES = MEMORY_BYTES // 4
# A clock that goes back further than this (microseconds) was set, and is followed.
CLOCK_SET_BACK = 1000000
WRITTEN_AT_ONCE = 500


class Arrival(object):
    """A record on its way in.

    :ivar number: its number in its session, once an attempt to write it has begun.
    :ivar is_in: whether it is written and counted.
    :ivar is_plain: whether it is a record and nothing more.
    :ivar changes: what of its session's entry changes with it, a dict of values.
    """

    # Few of them differ from these, and each log call makes one.
    number = None
    is_in = False
    is_plain = True
    changes = None

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
    :ivar stirred: a deque of (entry, capture time), appended to when a session that had nothing
        waiting gets a record.  The sender takes from it.
    :param disk: the Disk that records are written to.
    :param wall: a callable that returns seconds since the epoch.
    :param room: the Room, whose `left` shrinks with what is written.
    :param tell_dropped: a callable (entry, count), called after records were counted as dropped.
    """

    def __init__(self, disk, wall, room, tell_dropped):
        self.lock = locks.RLock()
        self.is_mine = locks.ownership_of(self.lock)
        self.closed = False
        self.arrivals = collections.deque()
        self.stirred = collections.deque()
        self._disk = disk
        self._wall = wall
        self._room = room
        self._tell_dropped = tell_dropped
        self.waiters = collections.deque()
        self._queued_bytes = 0
        self._left = itertools.count(1)
        self._youngest = 0
        self.last_left = 0

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
        self.last_left = next(self._left)
        return not (self.closed or entry.forgotten) or self._is_kept(arrival)

    def _is_kept(self, arrival):
        """Return whether an arrival got in before the outbox was closed or the session forgotten.

        Who closes or forgets says so first and drains the queue then, all with the lock held.
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
            self.drain()

    def add(self, entry, kind, body, **changes):
        """Queue a record and what changes with it, to be written in one step; within `run`.

        :param kind: None where there is no record, and only the entry changes.
        :param changes: values for columns of the entry.
        """
        arrival = Arrival(entry, kind, body, int(self._wall() * 1000000))
        arrival.is_plain = False
        arrival.changes = changes
        self.arrivals.append(arrival)

    def _bound(self, arrival):
        # Threads that add at once may miscount a little; a short queue corrects it.
        if len(self.arrivals) <= 1:
            self._queued_bytes = 0
        if self._queued_bytes > CROWDED_BYTES:
            self._drain_within(BUSY_SECONDS)
        if self._queued_bytes > MEMORY_BYTES and arrival.kind in SACRIFICED:
            arrival.body = None
        arrival.is_plain = arrival.body is not None
        self._queued_bytes += len(arrival.body or b"") + ROW_OVERHEAD

    # The lock

    def _drain_within(self, seconds):
        """Drain the queue if the lock can be had within some seconds."""
        lock = self.lock
        if self.is_mine():
            return  # this call interrupts whoever has the lock, who looks at the queue when done
        try:
            if lock.acquire(False) or (seconds and self._wait(seconds)):
                try:
                    if not self.closed:
                        self.drain(WRITTEN_AT_ONCE)
                finally:
                    lock.release()
                if self.arrivals and seconds:
                    # Once more, for calls that tried a moment too early; what comes even later
                    # is left to those who add it, and to the keeper.
                    self._drain_within(0)
        except MemoryError:
            pass  # the arrivals are in the queue all the same
        except BaseException:
            # A signal handler raised, perhaps between the taking of the lock and its `try`.
            _remove(self.waiters, get_ident())
            locks.release_if_owned(lock)
            raise

    def _wait(self, seconds):
        """Wait for the lock; return whether it was got."""
        me, waiters = get_ident(), self.waiters
        if me in waiters:
            return False  # this call interrupts another that waits already
        try:
            waiters.append(me)
            # Beside the waiters' own there may be the one that is being written.
            if len(self.arrivals) > len(waiters) + 1:
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
                    self.drain(WRITTEN_AT_ONCE)
                result = step(*arguments, **options)
                if self.arrivals and not (interrupts or self.closed):
                    self.drain(WRITTEN_AT_ONCE)
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
            self.run(int)
        if self._disk.is_slow and self._disk.is_calm(monotonic()):
            self._disk.is_slow = False

    # With the lock held

    def drain(self, most=None):
        """Write what is in the queue now, `most` records at most; the caller has the lock."""
        arrivals = self.arrivals
        left = len(arrivals)
        if most is not None and most < left:
            left = most
        while left > 0:
            left -= self._write_next(left)
        if self._room.left < 0:
            self._room.make()

    def _write_one(self, arrival):
        """What `_write_some` does, for a single arrival and in less time."""
        entry, captured = arrival.entry, arrival.captured
        if captured <= self._youngest:
            captured = arrival.captured = self._unique(captured)
        self._youngest = captured
        arrival.number = number = entry.accepted + 1
        try:
            row = tables.row(entry.number, number, arrival.kind, arrival.body, captured)
            if not self._disk.insert(row):
                self._room.left = -1
        except NumberTaken:
            self._take_numbers_back([arrival])
            return 0
        return self._count(arrival)

    def _write_next(self, most):
        """Write one or some arrivals at the front of the queue; return how many are done."""
        first = self.arrivals[0]
        if first.entry.forgotten:
            self.arrivals.popleft()
        elif first.number is not None:
            return self._repeat()
        elif first.kind is None:
            self._disk.save(first.entry, changes=first.changes)
            self._leave(first)
        elif first.is_plain:
            return self._write_one(first) if most == 1 else self._write_some(most)
        elif first.body is None:
            self._give_up(first)
        else:
            return self._write_with_entry(first)
        return 1

    def _give_up(self, arrival):
        """Count a record without a body as dropped; it never gets a number."""
        entry = arrival.entry
        if arrival.changes is None:
            arrival.changes = {"dropped": entry.dropped + 1, "unreported": entry.unreported + 1}
        self._leave(arrival)
        self._tell_dropped(entry, 1)

    def _write_some(self, most):
        """Write the plain arrivals at the front of the queue; return how many."""
        some = self._front(min(most, WRITTEN_AT_ONCE), _is_fresh)
        last = {}
        for arrival in some:
            entry = arrival.entry
            arrival.captured = self._unique(arrival.captured)
            arrival.number = last[entry] = last.get(entry, entry.accepted) + 1
        try:
            self._kept(self._disk.insert_all([_record(arrival) for arrival in some]))
        except NumberTaken:
            self._take_numbers_back(some)
            return 0
        self._count_all(some)
        return len(some)

    def _write_with_entry(self, arrival):
        """Write an arrival and its session's row in one transaction; return how many are done."""
        arrival.captured = self._unique(arrival.captured)
        arrival.number = arrival.changes["accepted"] = arrival.entry.accepted + 1
        try:
            self._kept(self._disk.insert_all([_record(arrival)], changing=arrival))
        except NumberTaken:
            self._take_numbers_back([arrival])
            return 0
        return self._count(arrival)

    def _repeat(self):
        """Write the numbered arrivals again: an interrupted attempt may have written them."""
        some = self._front(len(self.arrivals), _is_numbered)
        # One that is not plain is always attempted by itself.
        changing = None if some[0].is_plain else some[0]
        self._kept(self._disk.insert_all([_record(arrival) for arrival in some], True, changing))
        self._count_all(some)
        return len(some)

    def _kept(self, on_disk):
        """What is kept in memory has its own bound, looked at after each drain."""
        if not on_disk:
            self._room.left = -1

    def _front(self, most, is_one):
        """Return the first arrivals of the queue that are such ones, in order."""
        # By index: others append meanwhile, but only the holder of the lock takes out.
        found = []
        for place in range(most):
            arrival = self.arrivals[place]
            if not is_one(arrival):
                break
            found.append(arrival)
        return found

    def _take_numbers_back(self, some):
        """A number was taken: go on behind the highest one in the file."""
        for arrival in some:
            arrival.number = None
        for entry in set(arrival.entry for arrival in some):
            last = self._disk.last_number(entry.number)
            entry.accepted = last if last > entry.accepted else entry.accepted + 1

    def _count_all(self, some):
        for arrival in some:
            self._count(arrival)

    def _count(self, arrival):
        entry = arrival.entry
        if entry.accepted == entry.gone:
            self.stirred.append((entry, arrival.captured))
        entry.accepted = arrival.number
        self._room.left -= len(arrival.body) + ROW_OVERHEAD
        self._leave(arrival)
        return 1

    def _leave(self, arrival):
        if arrival.changes:
            for name, value in arrival.changes.items():
                setattr(arrival.entry, name, value)
        arrival.is_in = True
        self.arrivals.popleft()

    def _unique(self, captured):
        """Make a capture time unique: on v1 a record is known by it."""
        youngest = self._youngest
        if captured <= youngest and youngest - captured < CLOCK_SET_BACK:
            captured = youngest + 1
        self._youngest = captured
        return captured


def _record(arrival):
    return Record(
        arrival.entry.number, arrival.number, arrival.kind, arrival.body, arrival.captured
    )


def _is_numbered(arrival):
    return arrival.number is not None


def _is_fresh(arrival):
    """Return whether an arrival is a plain record that nobody tried to write yet."""
    return arrival.is_plain and arrival.number is None and not arrival.entry.forgotten


def _remove(queue, item):
    """Remove an item; return whether it was there."""
    try:
        queue.remove(item)
        return True
    except ValueError:
        return False
