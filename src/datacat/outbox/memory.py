"""Records that wait in memory while the disk refuses them.

Belongs here: the queue, its bound, and which records are dropped at the bound.  Does not: files,
locks, and what the loss of a record leads to.
"""

from __future__ import absolute_import, division

import collections

from ..records import kinds, merging

MEMORY_BYTES = 16 * 1024 * 1024
# A row's id, kind, time, checksum and lengths in sqlite; in memory a record takes more.
ROW_OVERHEAD = 40
# The order of sacrifice; open, end, crash and reports are never dropped.  States come last, and
# only if merging adjacent ones was not enough.
SACRIFICED = (kinds.METRIC, kinds.EVENT, kinds.EXCEPTION, kinds.STATE)
ROOM_AFTER_SACRIFICE = 0.95
_SLICE_BYTES = 256 * 1024


def weight(record):
    """Return how many bytes a record takes."""
    return len(record.body) + ROW_OVERHEAD


class MemoryQueue(object):
    """The records of several sessions, each session's in order of arrival.

    :ivar sessions: {session: {number: record}}; empty while nothing waits here.
    :ivar bytes: the weight of all records.
    """

    def __init__(self, max_bytes=MEMORY_BYTES):
        self.bytes = 0
        self._max_bytes = max_bytes
        self.sessions = {}
        self._searched = {}

    def __len__(self):
        return sum(len(waiting) for waiting in list(self.sessions.values()))

    def put(self, record):
        """Keep a record; it replaces one with its number, left by an interrupted attempt."""
        self.take_out(record.session, record.number)
        waiting = self.sessions.setdefault(record.session, collections.OrderedDict())
        waiting[record.number] = record
        self.bytes += weight(record)

    def take_out(self, session, number):
        """Remove a record; harmless if it is not here."""
        waiting = self.sessions.get(session, {})
        record = waiting.pop(number, None)
        if record is not None:
            self.bytes -= weight(record)
            if not waiting:
                del self.sessions[session]

    def forget(self, session):
        """Remove a session with all its records."""
        self._searched.pop(session, None)
        for record in self.sessions.pop(session, {}).values():
            self.bytes -= weight(record)

    def first(self, session, after):
        """Return the session's oldest record after a number, or None; remove those before it."""
        first = next(iter(self.sessions.get(session, {}).values()), None)
        while first is not None and first.number <= after:
            self.take_out(session, first.number)
            first = next(iter(self.sessions.get(session, {}).values()), None)
        return first

    def last_number(self, session):
        """Return the number of the session's youngest record here, 0 without one."""
        return next(reversed(self.sessions.get(session, ())), 0)

    def count(self, session):
        """Return how many records of the session wait here."""
        return len(self.sessions.get(session, ()))

    def some(self, limit):
        """Return up to `limit` records, each session's oldest first."""
        found = []
        for waiting in self.sessions.values():
            for record in waiting.values():
                if len(found) == limit:
                    return found
                found.append(record)
        return found

    @property
    def is_full(self):
        """Whether it is over its bound."""
        return self.bytes > self._max_bytes

    def make_room(self, handed):
        """Sacrifice records until it is within its bound again.

        :param handed: {session: number up to which its records may be in flight, and must stay}.
        :returns: ({session: how many were merged}, {session: how many were dropped}).
        """
        merged, dropped = {}, {}
        for session in list(self.sessions):
            gone = self._merge_some(session, handed.get(session, 0))
            if gone:
                merged[session] = gone
        for kind in SACRIFICED:
            if self.is_full:
                self._drop(kind, handed, dropped)
        return merged, dropped

    def _merge_some(self, session, handed):
        """Merge neighbours, a slice at a time: this happens in a log call."""
        waiting = self.sessions[session]
        found, size = [], 0
        for record in waiting.values():
            if record.number >= self._searched.get(session, 0):
                found.append(record)
                size += len(record.body) if record.kind == kinds.STATE else 0
                if size > _SLICE_BYTES:
                    break
        replaced, gone = merging.merge_neighbours(found, handed)
        for record in replaced:
            self.bytes += weight(record) - weight(waiting[record.number])
            waiting[record.number] = record
        for number in gone:
            self.take_out(session, number)
        self._searched[session] = found[-1].number if found else 0
        return len(gone)

    def _drop(self, kind, handed, dropped):
        for record in self._oldest(kind):
            if self.bytes <= self._max_bytes * ROOM_AFTER_SACRIFICE:
                return
            if record.number > handed.get(record.session, 0):
                self.take_out(record.session, record.number)
                dropped[record.session] = dropped.get(record.session, 0) + 1

    def _oldest(self, kind):
        found = [
            record
            for waiting in self.sessions.values()
            for record in waiting.values()
            if record.kind == kind
        ]
        return sorted(found, key=lambda record: record.captured)
