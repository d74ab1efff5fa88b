"""Telling a v1 server that this process's sessions live.

Belongs here: whose heartbeat is due, and whether it may wait for a record to ride behind.  Does
not: the requests and what their answers mean (`server`), the records that they ride behind
(`windows`); the watchdog's heartbeats, which come from the application and stay in this process.

Theory of operation

1. A v1 server that has had one heartbeat of a session expects them: after 60 seconds without, it
   takes the session for dead, whatever records arrive.  Most short runs are over before the first.
2. A heartbeat that is due goes behind the next records that are sent together, or behind one that
   may be, in the same exchange.  If nothing waits, heartbeats have exchanges of their own.
3. Records that cannot be sent together leave no room.  Then heartbeats wait until they are 45
   seconds apart, and take every other exchange.
4. A heartbeat without an answer is not in doubt: it stays due.
"""

from __future__ import absolute_import, division

import collections

import six

from ..wire import dialects
from .allowance import at_once
from .server import HEARTBEAT_BYTES

HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 45.0
# Those that go within so many seconds go together the next time.
TOGETHER_SECONDS = 5.0
# A record that is logged meanwhile waits for so many.
_AT_ONCE = 20
_PAUSE_SECONDS = 1.0


class Heartbeats(object):
    """The heartbeats of living sessions, every 15 seconds, or every 45 while records wait.

    A session lives from the moment when the server gives it an id until its goodbye.  The first
    heartbeat comes 15 seconds later.

    :param server: the Server.
    :param inherited: entries of sessions that another process opened; we do not vouch for them.
    :param looked_at: a callable that returns the entries of sessions that must not change now.
    """

    def __init__(self, server, inherited, looked_at):
        self._server = server
        self._inherited = inherited
        self._looked_at = looked_at
        self._at_once = (
            at_once(server.allowance.rate, _AT_ONCE * HEARTBEAT_BYTES) // HEARTBEAT_BYTES
        )
        # When the next one of each living session is due, the earliest first.
        self._dues = collections.OrderedDict()
        self._latest = 0.0
        self._not_alone_before = 0.0
        self._had_turn = False

    # Whose, and when

    def note(self, entry, now):
        """Note that a session was opened or said goodbye, at `now` (monotonic seconds)."""
        if not self._is_alive(entry):
            self._dues.pop(entry, None)
        elif entry not in self._dues:
            self._put(entry, now + HEARTBEAT_SECONDS)

    @property
    def due(self):
        """The monotonic time of the next ones if no record is sent before; None without any."""
        first = self._first
        return None if first is None else max(first, self._not_alone_before)

    def are_due(self, now):
        """Return whether some are due at `now`, and may ride behind a record."""
        first = self._first
        return first is not None and first <= now

    def are_next(self, now, record_is_next):
        """Return whether some are to be sent now in an exchange of their own.

        :param record_is_next: whether a record would be sent instead.
        """
        due = self.due
        if due is None or now < due:
            return False
        if not record_is_next:
            return True
        had_turn, self._had_turn = self._had_turn, False
        return not had_turn and now >= self._first + LONGEST_SECONDS - HEARTBEAT_SECONDS

    def riders(self, now, most):
        """Return entries of sessions whose heartbeats are due, the longest overdue first.

        None of a session that is looked at: a heartbeat changes it.
        """
        if most < 1 or not self.are_due(now):
            return []
        found, over, untouched = [], [], self._looked_at()
        for entry, due in six.iteritems(self._dues):
            if due > now or len(found) == most:
                break
            if not self._is_alive(entry):
                over.append(entry)
            elif entry not in untouched:
                found.append(entry)
        for entry in over:
            del self._dues[entry]
        return found

    # Sending them

    def send(self, now, record_is_next):
        """Send some, back to back, in an exchange of their own.

        :param record_is_next: whether a record is sent right after, which shows more.
        """
        self._had_turn = True
        some = self.riders(now, self._at_once)
        if some:
            answered, get_through = self._server.beat(some, record_is_next)
            self.went(some[:answered], get_through, now)
        else:
            # Those that are due must not be sent now.
            self._not_alone_before = now + _PAUSE_SECONDS

    def went(self, answered, get_through, now):
        """Note that heartbeats were sent.

        :param answered: the entries of those that were answered.
        :param get_through: whether others may get through.
        :param now: when they were sent (monotonic seconds).
        """
        due = now + HEARTBEAT_SECONDS
        for entry in answered:
            self._put(entry, self._latest if due - self._latest < TOGETHER_SECONDS else due)
        if not get_through:
            self._not_alone_before = due

    def _put(self, entry, due):
        self._dues.pop(entry, None)
        self._dues[entry] = self._latest = due

    @property
    def _first(self):
        if not self._dues or self._server.dialect is not dialects.V1:
            return None
        return next(six.itervalues(self._dues))

    def _is_alive(self, entry):
        return entry.server_id is not None and not entry.goodbye and entry not in self._inherited
