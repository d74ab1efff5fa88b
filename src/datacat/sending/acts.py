"""Carrying out decisions: the only place where what came back changes an outbox.

Belongs here: one method for each act of `decisions`.  Does not: deciding, exchanges with the
server.
"""

from __future__ import absolute_import, division

from ..records import build, kinds
from ..wire import backoff, dialects
from .decisions import RESTORING
from .doubt import Doubt
from .lanes import REOPEN_SECONDS
from .merged import merge, merged_state

LATE_SECONDS = 5.0

_OFFLINE_EVENTS = {
    kinds.OPEN: "session_opened_offline",
    kinds.END: "session_ended_offline",
}


def age(record, wall_now):
    """Return how many seconds ago a record was captured."""
    return wall_now - record.captured / 1e6


def is_late(record, wall_now):
    """Return whether a record is so late that the server should be told when it was captured."""
    return age(record, wall_now) > LATE_SECONDS


class Acts(object):
    """Carries out acts, each a method (lane, record, error) named as in `decisions`.

    :param server: the Server.
    :param warn: a callable (topic, message) with `clear(topic)`.
    :param clock: monotonic seconds; read after an exchange, which may have taken long.
    :param wall: seconds since the epoch.
    :param chance: a callable that returns a float in [0, 1).
    """

    def __init__(self, server, warn, clock, wall, chance):
        self._server = server
        self._warn = warn
        self._clock = clock
        self._wall = wall
        self._chance = chance

    def carry_out(self, acts, lane, record, error):
        """Carry out acts in their order.

        :param record: the record that they are about; None where there is none.
        :param error: the DatacatError that led to them, or None.
        """
        for act in acts:
            getattr(self, act)(lane, record, error)

    # The record

    def opened(self, lane, head, server_id):
        """The server gave the session its id: keep it, and take the open record out."""
        self._move_on(lane)
        lane.entry.refusal = None
        if head.kind == kinds.OPEN:
            lane.outbox.opened(lane.entry, head, server_id)
            self._tell_true_time(lane, head)
        else:
            lane.outbox.update(lane.entry, server_id=server_id)

    def settle(self, lane, record, error):
        """The record is delivered: take it out and count it."""
        if record.number == RESTORING:
            self._restored(lane)
            return
        lane.deliver()
        self._stop_complaining(lane)
        state = merge(lane, record, self._server.dialect) if record.kind == kinds.STATE else None
        lane.outbox.settle(lane.entry, record, state)
        self._tell_true_time(lane, record)

    def bury(self, lane, record, error):
        """The record is given up: make it a dead letter."""
        if record.number == RESTORING:
            self._warn(
                "unrestored",
                "the server lost session %s and refuses to take its state again: %s"
                % (lane.entry.local_id, error),
            )
            self._restored(lane)
            return
        self._move_on(lane)
        self._warn(
            "dead",
            "the server does not take a record (%s %d of session %s); it is kept as a dead "
            "letter: %s" % (record.kind, record.number, lane.entry.local_id, error),
        )
        lane.outbox.bury(lane.entry, record, error.status, error.words or error.message)

    def blame(self, lane, record, error):
        """The record failed by itself: count it."""
        lane.blame(self._clock())

    def doubt(self, lane, record, error):
        """The record may have arrived: find out before anything else of its session is sent."""
        lane.doubt = Doubt(record.number, error)
        lane.wait(self._clock() + backoff.pause(error, 1, self._chance))

    def suspect_next(self, lane, record, error):
        """Read the next record back too, before it is sent.

        Whoever failed to settle this one may have failed to settle that one: the disk was full,
        or a power cut took the settles of a whole second.
        """
        lane.suspect_head()

    def send_again(self, lane, record, error):
        """The record did not arrive."""
        lane.doubt = None

    def send_in_doubt(self, lane, record, error):
        """Nobody can tell whether the record arrived: send it again, and count it first."""
        lane.doubt = None
        entry = lane.entry
        # Classic lists a copy too, and from then on counting what arrived proves nothing.
        may_miscount = self._server.dialect is dialects.CLASSIC and record.kind != kinds.STATE
        lane.outbox.update(
            entry,
            possibly_twice=entry.possibly_twice + 1,
            shared=int(entry.shared or may_miscount),
        )

    # Its session

    def session_waits(self, lane, record, error):
        """Back off with this session alone."""
        lane.failed(error, self._clock(), self._chance)

    def slow_down(self, lane, record, error):
        """Send the record again the later, the more often it was blamed."""
        lane.wait(self._clock() + backoff.backoff(lane.blames, self._chance), patient=False)

    def read_back_later(self, lane, record, error):
        """The server speaks, and this session cannot be read: count that, and try again soon."""
        now = self._clock()
        lane.doubt.fail(now)
        lane.wait(
            now + backoff.read_back_pause(error, lane.doubt.failures, self._chance),
            patient=error.retry_after is not None,
        )

    def await_quiet(self, lane, record, error):
        """The record was not there: read the session back once more after the quiet period."""
        lane.doubt.is_quiet = True
        lane.wait(self._clock() + backoff.QUIET_PERIOD)

    def complain(self, lane, record, error):
        """Warn that this session's records wait."""
        if lane.entry.server_id is None:
            message = "the server refuses to open session %s, and its records wait: %s"
        else:
            message = "session %s waits, because the answer to one of its records is: %s"
        self._complain(lane, message % (lane.entry.local_id, error))

    def share(self, lane, record, error):
        """Another process writes into the session: counting arrivals proves nothing any more."""
        lane.outbox.update(lane.entry, shared=1)

    def hand_on(self, lane, record, error):
        """Let create_session() raise with what the server said."""
        lane.entry.refusal = error

    def reopen(self, lane, record, error):
        """The server lost the session: open it again, restore its state, tell it in an event."""
        self._note_loss()
        entry = lane.entry
        lane.move_on()
        lane.reopened_at = self._clock()
        body = build.encode(build.event("session_reopened", {"lost_session_id": entry.server_id}))
        lane.outbox.update(entry, server_id=None, restoring=1, events=0, metrics=0, shared=0)
        lane.outbox.append(entry, kinds.EVENT, body)

    def reopen_later(self, lane, record, error):
        """The server lost the session again so soon that its records wait."""
        self._note_loss()
        lane.wait(lane.reopened_at + REOPEN_SECONDS)
        self._complain(
            lane, "the server lost session %s again; its records wait" % lane.entry.server_id
        )

    # Everything

    def everything_waits(self, lane, record, error):
        """Leave the server alone for a while."""
        self._server.failed(error)

    # What several of them need

    def _move_on(self, lane):
        lane.move_on()
        self._stop_complaining(lane)

    def _stop_complaining(self, lane):
        if lane.has_complaint:
            lane.has_complaint = False
            self._warn.clear(_topic(lane))

    def _complain(self, lane, message):
        lane.has_complaint = True
        self._warn(_topic(lane), message)

    def _note_loss(self):
        self._server.succeeded()
        # A server that lost its data may be another one now.
        self._server.asked = False

    def _restored(self, lane):
        self._move_on(lane)
        forgotten = None
        if merged_state(lane) is None:
            # Whatever the state was, the new session begins without any.
            lane.merged, forgotten = {}, b""
        lane.outbox.update(lane.entry, forgotten, restoring=0)

    def _tell_true_time(self, lane, record):
        """Tell when a session was opened or ended offline: the server only sees the arrival."""
        if record.kind in _OFFLINE_EVENTS and is_late(record, self._wall()):
            happened_at = kinds.rfc3339(record.captured)
            event = build.event(_OFFLINE_EVENTS[record.kind], {"happened_at": happened_at})
            lane.outbox.append(lane.entry, kinds.EVENT, build.encode(event))


def _topic(lane):
    return "session " + lane.entry.local_id
