"""Writing what is in the queue: numbers, capture times, and counts.

1. Everything here happens with the outbox's lock held, in the order of the queue.
2. A record gets its number and its unique capture time at the first attempt to write it, and
   leaves the queue once it is written and counted.  So the numbered arrivals are always the first
   of the queue, and a session's numbers are given without gaps.
3. An attempt can be interrupted anywhere, by a signal handler that raises or by want of memory.
   The next drain repeats it with the same numbers: it replaces the rows that the first attempt may
   have written, and sets the same counts.  Done twice, it has the same result.
4. A first attempt is a plain INSERT, so that a clash of numbers shows.  After one (a bug, or a
   damaged file) the numbers are taken back, and the next ones follow the highest in the file.
   That is the only gap there can be.
5. A report's body is made when it is written, and set on the arrival before its number.  So a
   repeated attempt writes the same body.

Belongs here: the order of these steps.  Does not: SQL, trouble with the disk, who drains when.
"""

from __future__ import absolute_import, division

import uuid

from ..records.kinds import Record
from . import tables
from .memory import ROW_OVERHEAD
from .refusals import NumberTaken

WRITTEN_AT_ONCE = 500
# A clock that goes back further than this (microseconds) was set, and is followed.
CLOCK_SET_BACK = 1000000
# What RFC 3339 can express (microseconds since the epoch), but for a day for those made unique.
EARLIEST, LATEST = -62135596800 * 1000000, 253402214400 * 1000000


class Writer(object):
    """Drains the queue of one outbox; the caller has its lock.

    :ivar digits: of the records that are written now.
    :param arrivals: the queue, a deque of Arrivals.
    :param newly_waiting: a deque; (entry, capture time) is appended to it when a session that had
        nothing waiting gets a record, and (entry, None) when one says goodbye without a record.
    :param disk: the Disk that records are written to.
    :param room: the Room, whose `left` shrinks with what is written.
    :param losses: the Losses.
    """

    def __init__(self, arrivals, newly_waiting, disk, room, losses):
        self._arrivals = arrivals
        self._newly_waiting = newly_waiting
        self._disk = disk
        self._room = room
        self._losses = losses
        self._youngest = 0
        self._draw_digits()
        self.queued_bytes = 0

    def _draw_digits(self):
        """Draw the digits of all records from now on.

        Two processes that share a session may capture records of one name in one microsecond; and
        so may one process, if its clock is set back.
        """
        self.digits = _drawn()
        self._codes = tables.codes(self.digits)

    def drain(self):
        """Write what is in the queue now, 500 arrivals at most."""
        todo = len(self._arrivals)
        if todo > WRITTEN_AT_ONCE:
            todo = WRITTEN_AT_ONCE
        while todo > 0:
            todo -= self._write_next(todo)
        if self._room.left < 0:
            self._room.make()

    def _write_next(self, most):
        """Write one or more arrivals at the front of the queue; return how many are done."""
        first = self._arrivals[0]
        if first.entry.forgotten:
            self._arrivals.popleft()
        elif first.number is not None:
            return self._repeat()
        elif first.is_plain:
            return self._write_one(first) if most == 1 else self._write_some(most)
        elif first.kind is None:
            self._newly_waiting.append((first.entry, None))
            self._leave_without_record(first, first.changes)
        elif first.body is None:
            self._give_up(first)
        else:
            return self._write_with_entry(first)
        return 1

    def _write_one(self, arrival):
        """Do what `_write_some` does for a single arrival, in less time."""
        entry, captured = arrival.entry, arrival.captured
        if not self._youngest < captured < LATEST:
            captured = arrival.captured = self.unique(captured)
        self._youngest = captured
        # Set before the INSERT, so that an interrupted attempt is repeated under this number.
        arrival.number = number = entry.accepted + 1
        try:
            row = tables.row(
                entry.number, number, self._codes[arrival.kind], arrival.body, captured
            )
            if not self._disk.insert(row):
                self._room.left = -1
        except NumberTaken:
            self._take_numbers_back([arrival])
            return 0
        return self._count(arrival)

    def _give_up(self, arrival):
        """Count a record without a body as dropped; it never gets a number."""
        entry = arrival.entry
        # Worked out once: an interruption may come between the counting and the leaving.
        if arrival.changes is None:
            arrival.changes = {"dropped": entry.dropped + 1, "unreported": entry.unreported + 1}
        self._leave(arrival, arrival.changes)
        self._losses.tell(entry, 1)

    def _write_some(self, most):
        """Write the plain arrivals at the front of the queue; return how many."""
        some = self._front(most, _is_fresh)
        last = {}
        for arrival in some:
            entry = arrival.entry
            arrival.captured = self.unique(arrival.captured)
            arrival.digits = self.digits
            arrival.number = last[entry] = last.get(entry, entry.accepted) + 1
        try:
            self._check_room_unless(self._disk.insert_all(self._records(some)))
        except NumberTaken:
            self._take_numbers_back(some)
            return 0
        self._count_all(some)
        return len(some)

    def _write_with_entry(self, arrival):
        """Write an arrival and its session's row in one transaction; return how many are done."""
        if callable(arrival.body):
            # Set once it is known to be one, or an interruption would count it as dropped.
            body = arrival.body(arrival.entry)
            if not body:
                self._leave_without_record(arrival, {} if body is None else arrival.changes)
                return 1
            arrival.body = body
        arrival.captured = self.unique(arrival.captured)
        arrival.number = arrival.changes["accepted"] = arrival.entry.accepted + 1
        try:
            records = self._records([arrival])
            self._check_room_unless(self._disk.insert_all(records, changing=arrival))
        except NumberTaken:
            self._take_numbers_back([arrival])
            return 0
        return self._count(arrival)

    def _leave_without_record(self, arrival, changes):
        """Save what changes in a session's row, if anything, and be done with an arrival."""
        if changes:
            self._disk.save(arrival.entry, changes=changes)
        self._leave(arrival, changes)

    def _repeat(self):
        """Write the numbered arrivals again: an interrupted attempt may have written them."""
        some = self._front(len(self._arrivals), _is_numbered)
        # One that changes its entry is always attempted alone.
        changing = None if some[0].is_plain else some[0]
        self._check_room_unless(self._disk.insert_all(self._records(some), True, changing))
        self._count_all(some)
        return len(some)

    def _check_room_unless(self, on_disk):
        """Have drain() check the memory bound if the record went there."""
        if not on_disk:
            self._room.left = -1

    def _front(self, most, is_one):
        """Return the arrivals at the front of the queue for which `is_one` holds, in order."""
        # By index: others append meanwhile, but only the holder of the lock removes.
        found = []
        for place in range(most):
            arrival = self._arrivals[place]
            if not is_one(arrival):
                break
            found.append(arrival)
        return found

    def _take_numbers_back(self, some):
        """A number was taken: continue after the highest one in the file."""
        for arrival in some:
            arrival.number = None
        for entry in set(arrival.entry for arrival in some):
            last = self._disk.last_number(entry.number)
            if entry.accepted == entry.gone:
                self._newly_waiting.append((entry, some[0].captured))
            entry.accepted = last if last > entry.accepted else entry.accepted + 1

    def _count_all(self, some):
        for arrival in some:
            self._count(arrival)

    def _count(self, arrival):
        entry = arrival.entry
        # Reported before it is counted: interrupted in between, the sender finds it still queued.
        if entry.accepted == entry.gone:
            self._newly_waiting.append((entry, arrival.captured))
        entry.accepted = arrival.number
        self._room.left -= len(arrival.body) + ROW_OVERHEAD
        if arrival.changes is None:
            # As `_leave`, without the call: every log call comes through here.
            arrival.is_in = True
            self._arrivals.popleft()
            self.queued_bytes -= arrival.weight
        else:
            self._leave(arrival, arrival.changes)
        return 1

    def _leave(self, arrival, changes):
        for name, value in changes.items():
            setattr(arrival.entry, name, value)
        arrival.is_in = True
        # Last: until here everything is absolute, and can be done again.
        self._arrivals.popleft()
        self.queued_bytes -= arrival.weight

    def unique(self, captured):
        """Make a capture time unique: v1 servers identify a record by it."""
        youngest = self._youngest
        captured = min(max(captured, EARLIEST), LATEST)
        if captured <= youngest and youngest - captured < CLOCK_SET_BACK:
            captured = youngest + 1
        elif captured <= youngest:
            self._draw_digits()
        self._youngest = captured
        return captured

    def _records(self, some):
        """Return numbered arrivals as records.

        One without digits of its own has been attempted alone.  It is finished before the next one
        gets a time, and so before other digits are drawn.
        """
        return [
            Record(
                each.entry.number,
                each.number,
                each.kind,
                each.body,
                each.captured,
                self.digits if each.digits is None else each.digits,
            )
            for each in some
        ]


def _drawn():
    # Not by `random`, whose state a fork copies.
    return uuid.uuid4().int % 1000


def _is_numbered(arrival):
    return arrival.number is not None


def _is_fresh(arrival):
    """Return whether an arrival is a plain record with no attempt made to write it."""
    return arrival.is_plain and arrival.number is None and not arrival.entry.forgotten
