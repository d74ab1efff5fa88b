"""Telling a v1 server that this process's sessions live.

Belongs here: which sessions are alive, and when to say so.  Does not: the watchdog's heartbeats,
which come from the application and stay in this process.
"""

from __future__ import absolute_import, division

import collections

from ..wire import dialects

HEARTBEAT_SECONDS = 15.0
# With thousands of sessions, records are sent in between.
_AT_ONCE = 20
_PAUSE_SECONDS = 0.05


class Heartbeats(object):
    """Sends a heartbeat for each living session every 15 seconds; never queued, never repeated.

    A session lives from the moment when the server gives it an id until its goodbye.  The first
    heartbeat comes 15 seconds later: from then on the server expects them, and most sessions of
    short runs are over by then.

    :param server: the Server.
    :param inherited: entries of sessions that another process opened; we do not vouch for them.
    """

    def __init__(self, server, inherited):
        self._due = None
        self._server = server
        self._inherited = inherited
        self._living = set()
        self._round = collections.deque()
        self._next_round = 0.0

    @property
    def are_needed(self):
        """Whether there is a living session, on a server that expects heartbeats."""
        return bool(self._living) and self._server.dialect is dialects.V1

    def due(self, now):
        """Return the monotonic time of the next heartbeats, given that they are needed."""
        if self._due is None:
            self._due = now + HEARTBEAT_SECONDS
        return self._due

    def note(self, entry):
        """Note that a session was opened or said goodbye."""
        if self._is_alive(entry):
            self._living.add(entry)
        else:
            self._living.discard(entry)
        if not self._living:
            self._due = None

    def send(self, entries, now, record_is_next, untouched=()):
        """Send some of a round of heartbeats; end the round if one fails as all others would.

        :param entries: the process's own sessions.
        :param record_is_next: whether a record is sent right after, which shows more.
        :param untouched: entries of sessions that miss this round: a heartbeat changes a session.
        """
        if not self._round:
            self._round.extend(entry for entry in entries if self._is_alive(entry))
            self._living = set(self._round)
            self._next_round = now + HEARTBEAT_SECONDS
        some = [self._round.popleft() for _ in range(min(_AT_ONCE, len(self._round)))]
        some = [each for each in some if self._is_alive(each) and each not in untouched]
        if not self._server.beat(some, record_is_next):
            self._round.clear()
        self._due = now + _PAUSE_SECONDS if self._round else self._next_round

    def _is_alive(self, entry):
        return entry.server_id is not None and not entry.goodbye and entry not in self._inherited
