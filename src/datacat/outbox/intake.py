"""How a record gets in: the lock over the one store, and calls that find it busy.

What may live here: `append` and what keeps it short: waiting, setting aside, taking in, numbers
and capture times.  What may not: SQL, trouble with the disk, sessions, delivery.
"""

from __future__ import absolute_import, division

import collections
import contextlib
import itertools
import time

from .. import _compat, locks
from .._compat import monotonic
from ..records import kinds
from .memory import MEMORY_BYTES, ROW_OVERHEAD, SACRIFICED

# Of the 50 ms that a log call may take, some are for what it does itself.
BUSY_SECONDS = 0.045
CROWDED_SECONDS = 0.001
GIVE_WAY_SECONDS = 0.00001
# Who logs more often than this is in haste.
HASTE_MICROSECONDS = 100
# The last of a longer one would not have its turn in time.
LONGEST_LINE = 4
NAP_SECONDS = 0.0003
CROWDED_BYTES = MEMORY_BYTES // 4
CLOCK_SET_BACK = 1000000
_TAKEN_AT_ONCE = 500
# After the last one, what is still being set aside is left to those who do it, and to the keeper.
_LOOKS = 2

# body: bytes, None for a record that is only counted as dropped.
Aside = collections.namedtuple("Aside", "kind body captured")


class Intake(object):
    """The accepting side of an outbox.

    A subclass has `_entries`, {number: Entry}, and two methods, called with the lock held:
    `_make_room()` when the bound is passed, `_count_dropped(entry, count)` when records are lost.

    :ivar lock: an RLock; without it no thread is in sqlite for this outbox.
    :param disk: the Disk that records go to.
    :param wall: a callable that returns seconds since the epoch.
    """

    def __init__(self, disk, wall):
        self.lock = locks.RLock()
        self.closed = False
        self._disk = disk
        # An estimate, and the one at which it is to be compared with the file and the bound.
        self._look_at = 0
        self._bytes = disk.store.size()
        self._wall = wall
        self._inside = False
        self._waiters = collections.deque()
        self._foremost = locks.RLock()
        self._asiders = {}
        self._aside_bytes = 0
        self._asides = itertools.count(1)
        self._last_aside = 0
        # Numbers of the sessions of which what is counted may lack what is written.
        self._broken_off = set()
        self._youngest = 0
        # (entry, capture time) of each first record of a session that had none waiting.
        self.stirred = collections.deque()
        # Microseconds from record to record, of late.
        self._pace = 0

    def append(self, entry, kind, body):
        """Keep a record; it is on disk when this returns, but for the exceptions in the README.

        :param entry: the session's Entry.
        :param body: the record's JSON, bytes.
        :returns: False where nothing was kept, because the outbox is closed or has forgotten the
            session.
        """
        lock = self.lock
        holds = False
        try:
            if not self._disk.is_slow and (lock.acquire(False) or self._wait_for(lock)):
                try:
                    if not self._inside:
                        holds = self._inside = True
                        return self._append_held(entry, kind, body)
                finally:
                    if holds:
                        self._inside = False
                    lock.release()
                    if self._asiders:
                        self._take_in_if_free()
            return self._set_aside(entry, kind, body)
        except BaseException:
            self._note_broken_off(entry)
            self._let_go(holds)
            raise

    def give_up(self, entry, kind):
        """Count a record that cannot be kept as dropped; returns as `append` does."""
        return self._set_aside(entry, kind, None)

    def _note_broken_off(self, entry):
        """Have whoever is inside next count what is written, and take in the rest."""
        if self.has(entry):
            self._broken_off.add(entry.number)
            self._asiders[entry.number] = entry

    def _let_go(self, holds):
        """Let go what an exception, raised by a signal handler, left held.

        :param holds: whether it is the call itself that is inside, and not an outer one that it
            interrupts in its own thread.
        """
        _removed(self._waiters, _compat.get_ident())
        locks.release_if_owned(self._foremost)
        if (holds or not self._inside) and locks.is_owned(self.lock):
            self._inside = False
            locks.release_if_owned(self.lock)

    def _relieve(self):
        """Write a little of what is set aside: full memory would cost records, this costs time."""
        self._hold_for(self._take_in_some, BUSY_SECONDS)

    def _hold_for(self, step, seconds):
        """Take a step inside, where that is free within `seconds`; return whether it was."""
        holds = False
        try:
            if locks.acquire_within(self.lock, seconds):
                try:
                    if not self._inside and not self.closed:
                        holds = self._inside = True
                        step()
                finally:
                    if holds:
                        self._inside = False
                    self.lock.release()
            return holds
        except BaseException:
            self._let_go(holds)
            raise

    def _take_in_some(self):
        for entry in list(self._asiders.values())[:1]:
            self._take_in_of(entry, _TAKEN_AT_ONCE)

    def _wait_for(self, lock):
        me = _compat.get_ident()
        waiters = self._waiters
        if me in waiters:
            return False  # it interrupts, in its own thread, a call that waits already
        try:
            waiters.append(me)
            if self._is_crowd_in_haste():
                return self._wait_in_line(lock)
            # Where records are set aside already the bound was spent once; a little is waited all
            # the same, or else a tight loop of log calls adds as fast as the holder takes in.
            return locks.acquire_within(lock, CROWDED_SECONDS if self._asiders else BUSY_SECONDS)
        finally:
            _removed(waiters, me)

    def _is_crowd_in_haste(self):
        return (
            1 < len(self._waiters) <= LONGEST_LINE
            and self._pace < HASTE_MICROSECONDS
            and not self._asiders
            and _compat.RELEASE_WAKES_WAITERS
        )

    def _wait_in_line(self, lock):
        # Each release of a lock that somebody waits for wakes a thread, which costs as much as an
        # INSERT.  So one of a crowd waits for it at a time, and only after others had some calls.
        until = monotonic() + BUSY_SECONDS
        try:
            if not locks.acquire_within(self._foremost, BUSY_SECONDS):
                return False
            time.sleep(NAP_SECONDS)
            return locks.acquire_within(lock, until - monotonic())
        finally:
            locks.release_if_owned(self._foremost)

    def has(self, entry):
        """Return whether a session is in this outbox, and was not forgotten."""
        return self._entries.get(entry.number) is entry

    def _append_held(self, entry, kind, body):
        if self.closed or not self.has(entry):
            return False
        if self._asiders or entry.aside or entry.in_hand:
            self._take_in()
        self._accept(entry, kind, body)
        if self._asiders:
            _if_there_is_memory(self._take_in)
        return True

    def _set_aside(self, entry, kind, body):
        """Keep a call that must not wait, for whoever has the lock next."""
        if self.closed or not self.has(entry):
            return False
        if not self._asiders:
            # Threads that add at once may miscount a little; an empty queue sets it right.
            self._aside_bytes = 0
        if self._aside_bytes > CROWDED_BYTES:
            self._relieve()
        if self._aside_bytes > MEMORY_BYTES and kind in SACRIFICED:
            body = None
        aside = Aside(kind, body, self._now())
        self._aside_bytes += _aside_weight(aside)
        entry.aside.append(aside)
        self._asiders[entry.number] = entry
        self._last_aside = next(self._asides)
        if not self._disk.is_slow:
            self._take_in_if_free()
        has_it = not self.closed and self.has(entry)
        return has_it or not _removed(entry.aside, aside)

    def _take_in(self, most=None):
        # At most what is there now: who holds the lock has work of its own.
        for entry in list(self._asiders.values()):
            self._take_in_of(entry, most or len(entry.aside))

    def _take_in_of(self, entry, most):
        try:
            # Taken off the list first: who adds to it meanwhile puts it there again.
            self._asiders.pop(entry.number, None)
            if self._entries.get(entry.number) is not entry:
                # Forgotten; who added to it takes it back.
                return
            if entry.number in self._broken_off:
                self._mend(entry)
            self._write_asides(entry, min(len(entry.aside), most))
            if entry.unnumbered:
                self._asiders[entry.number] = entry
        except BaseException:
            self._note_broken_off(entry)
            raise

    def _write_asides(self, entry, left):
        while left > 0 or entry.in_hand:
            if not entry.in_hand:
                entry.in_hand_after = entry.accepted
                left -= _pick_up(entry, min(left, _TAKEN_AT_ONCE))
            if not entry.in_hand:
                return
            self._aside_bytes -= sum(_aside_weight(aside) for aside in entry.in_hand)
            self._accept_in_hand(entry)

    def _count_given_up(self, entry, count):
        if count:
            entry.accepted += count
            self._count_dropped(entry, count)

    def _mend(self, entry):
        """Count the records that a call had written when it was broken off."""
        last = self._disk.last_number(entry.number)
        kept = len(_kept(entry.in_hand))
        if not entry.in_hand:
            entry.accepted = max(entry.accepted, last)
        elif last - entry.in_hand_after >= kept > 0:
            self._count_in_hand(entry, last, len(entry.in_hand) - kept)
        self._broken_off.discard(entry.number)

    def _take_in_if_free(self):
        for _ in range(_LOOKS):
            if not self._asiders or self.closed or not self._hold_for(self._take_in_more, 0):
                return

    def _take_in_more(self):
        _if_there_is_memory(lambda: self._take_in(_TAKEN_AT_ONCE))

    def take_in(self):
        """Keep what was set aside while the outbox was busy or the disk slow."""
        if self._asiders:
            with self._held():
                self._take_in()
        if self._disk.is_slow and self._disk.is_calm(monotonic()):
            self._disk.is_slow = False

    @contextlib.contextmanager
    def _held(self):
        with self.lock:
            was_inside, self._inside = self._inside, True
            try:
                if not was_inside and not self.closed:
                    self._take_in(_TAKEN_AT_ONCE)
                yield
            finally:
                self._inside = was_inside
        if self._waiters and not was_inside:
            # Or else a log call that gets the lock waits once more, for the interpreter's, until
            # this thread waits for something.
            time.sleep(GIVE_WAY_SECONDS)
        if self._asiders:
            self._take_in_if_free()

    def _now(self):
        return int(self._wall() * 1000000)

    def _capture(self, captured):
        """Make the capture time unique, because on v1 it is what a record is known by."""
        youngest = self._youngest
        self._pace = (7 * self._pace + captured - youngest) // 8
        if captured <= youngest and youngest - captured < CLOCK_SET_BACK:
            captured = youngest + 1
        self._youngest = captured
        return captured

    def _accept(self, entry, kind, body, saving=False):
        record = kinds.Record(
            entry.number, entry.accepted + 1, kind, body, self._capture(self._now())
        )
        record = self._disk.insert(record, entry if saving else None)
        if entry.numbered <= 0:
            self.stirred.append((entry, record.captured))
        entry.accepted = record.number
        self._bytes += _most_on_disk(body)
        if self._bytes > self._look_at or self._disk.refusal is not None:
            _if_there_is_memory(self._make_room)

    def _accept_in_hand(self, entry):
        kept = _kept(entry.in_hand)
        written = self._disk.insert_all(
            [
                kinds.Record(
                    entry.number, entry.in_hand_after + place, kind, body, self._capture(captured)
                )
                for place, (kind, body, captured) in enumerate(kept, 1)
            ]
        )
        last = written[-1].number if written else entry.in_hand_after
        if written and entry.numbered <= 0:
            self.stirred.append((entry, written[0].captured))
        self._count_in_hand(entry, last, len(entry.in_hand) - len(kept))
        self._bytes += sum(_most_on_disk(record.body) for record in written)
        if self._bytes > self._look_at or self._disk.memory.is_full:
            _if_there_is_memory(self._make_room)

    def _count_in_hand(self, entry, last, given_up):
        """Count what is in hand: written up to the number `last`, but for some given up.

        In an order in which another call can go on where this one is broken off, and in which
        nobody takes a record for delivered meanwhile.
        """
        if entry.accepted <= last:
            entry.accepted = last
            self._count_given_up(entry, given_up)
        del entry.in_hand[:]


def _most_on_disk(body):
    # Half of each page stays empty where two records just do not fit into one.  What is counted
    # too much is set right by a look at the file before anything goes.
    return 2 * len(body) + ROW_OVERHEAD


def _aside_weight(aside):
    return len(aside.body or b"") + ROW_OVERHEAD


def _if_there_is_memory(step):
    """Take a step that a call owes to others: its own record is kept, and the next call tries."""
    try:
        step()
    except MemoryError:
        pass


def _kept(asides):
    return [aside for aside in asides if aside.body is not None]


def _pick_up(entry, most):
    """Move what is set aside into the entry's hand; return how many that was.

    Others may take from it too.  An exception that a signal handler raises finds each record
    either there or here: Python calls no handler in the middle of `extend`.
    """
    before = len(entry.in_hand)
    try:
        entry.in_hand.extend(itertools.islice(iter(entry.aside.popleft, None), most))
    except IndexError:
        pass
    return len(entry.in_hand) - before


def _removed(queue, item):
    """Remove an item by value; return whether it was still there."""
    try:
        queue.remove(item)
        return True
    except ValueError:
        return False
