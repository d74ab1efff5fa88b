"""Carrying out decisions: the one place where a server's answer changes an outbox.

Belongs here: one method for each act of `decisions`.  Does not: deciding, exchanges with the
server.
"""

from __future__ import absolute_import, division

from ..outbox.handover import hand_over
from ..records import build, kinds, redaction
from ..wire import backoff, dialects
from .decisions import RESTORING
from .doubt import Doubt
from .lanes import REOPEN_SECONDS
from .merged import keep, merge, merged_state

LATE_SECONDS = 5.0

_OFFLINE_EVENTS = {
    kinds.OPEN: "session_opened_offline",
    kinds.END: "session_ended_offline",
}


def age(record, wall_now):
    """Return how many seconds ago a record was captured."""
    return wall_now - record.captured / 1e6


def is_late(record, wall_now):
    """Return whether a record is so old that the server should be told when it was captured."""
    return age(record, wall_now) > LATE_SECONDS


class Acts(object):
    """Carries out acts, each a method (lane, record, error) named as in `decisions`.

    :param server: the Server.
    :param warn: a callable (topic, message) with `clear(topic)`.
    :param clock: a callable that returns monotonic seconds; called after an exchange, which may
        have taken long.
    :param wall: a callable that returns seconds since the epoch.
    :param chance: a callable that returns a float in [0, 1).
    """

    def __init__(self, server, warn, clock, wall, chance):
        self._server = server
        self._warn = warn
        self._clock = clock
        self._wall = wall
        self._chance = chance

    def carry_out(self, acts, lane, record, error):
        """Carry out acts in order.

        :param record: the record that they are about, or None.
        :param error: the DatacatError that led to them, or None.
        """
        for act in acts:
            getattr(self, act)(lane, record, error)

    # The record

    def opened(self, lane, head, server_id):
        """The server gave the session its id: keep it, and remove the open record."""
        self._move_on(lane)
        lane.entry.refusal = None
        if head.kind == kinds.OPEN:
            lane.outbox.opened(lane.entry, head, server_id)
            self._tell_true_time(lane, head)
        else:
            lane.outbox.update(lane.entry, server_id=server_id)

    def settle(self, lane, record, error):
        """The record is delivered: remove it and count it."""
        if record.number == RESTORING:
            # The state is unknown if it was too large, but the new session starts without any.
            self._restored(lane, merged_state(lane) or {})
        else:
            self.settle_all(lane, [record])

    def settle_all(self, lane, records):
        """The oldest records are delivered: remove and count them in one transaction."""
        if records:
            lane.deliver()
            self._stop_complaining(lane)
            self._settle(lane, records)

    def settle_ahead(self, lane, records, places):
        """Some records are delivered although older ones wait.

        :param records: the oldest record that waits and those after it.
        :param places: of those that are delivered, in order.
        """
        if places:
            delivered = [records[place] for place in places]
            self._settle(lane, delivered, overtaken=places[-1] + 1 - len(places))

    def _settle(self, lane, records, overtaken=0):
        state = None
        for record in records:
            if record.kind == kinds.STATE:
                state = merge(lane, record, self._server.dialect)
        lane.outbox.settle_all(lane.entry, records, state, overtaken)
        size, count = lane.delivered
        lane.delivered = size + sum(len(each.body) for each in records), count + len(records)
        self._server.outage.count(len(records))
        for record in records:
            self._tell_true_time(lane, record)

    def bury(self, lane, record, error):
        """The record is given up: make it a dead letter."""
        if record.number == RESTORING:
            self._warn(
                "unrestored",
                "the server refuses the state that session %s begins with, and does not get it: %s"
                % (lane.entry.local_id, error),
            )
            self._restored(lane, {})
            return
        self._move_on(lane)
        self._warn(
            "dead",
            "cannot deliver a record (%s %d of session %s); it is kept as a dead letter: %s"
            % (record.kind, record.number, lane.entry.local_id, error),
        )
        # What a server says of a record may repeat it, as it was before secrets were hidden.
        words = redaction.without_secrets(lane.entry.redact, error.words or error.message)
        lane.outbox.bury(lane.entry, record, error.status, words)

    def blame(self, lane, record, error):
        """The record failed although its session can be read: count that."""
        lane.blame(self._clock())

    def doubt(self, lane, record, error):
        """The record may have arrived: find out before its session sends anything else."""
        lane.doubt = Doubt(record.number, error)
        lane.wait(self._clock() + backoff.pause(error, 1, self._chance))

    def suspect_next(self, lane, record, error):
        """Read back the next record too, before it is sent.

        Whoever failed to settle this one may have failed to settle that one as well: the disk was
        full, or a power cut undid the settles of a whole second.
        """
        lane.suspect_head()

    def send_again(self, lane, record, error):
        """The record did not arrive."""
        lane.doubt = None

    def send_in_doubt(self, lane, record, error):
        """It cannot be known whether the records arrived: count that, and send them again."""
        count, lane.doubt = lane.doubt.count, None
        entry = lane.entry
        # A classic server lists a copy too, so counting proves nothing from then on.
        may_miscount = self._server.dialect is dialects.CLASSIC and record.kind != kinds.STATE
        lane.outbox.update(
            entry,
            possibly_twice=entry.possibly_twice + count,
            shared=int(entry.shared or may_miscount),
        )

    # Its session

    def session_waits(self, lane, record, error):
        """Back off with this session only."""
        lane.failed(error, self._clock(), self._chance)

    def open_later(self, lane, record, error):
        """The answer to the open was not understood: each attempt may leave a session behind."""
        lane.failures += 1
        pause = backoff.open_pause(lane.failures, self._chance)
        lane.wait(self._clock() + pause, patient=True)

    def slow_down(self, lane, record, error):
        """Back off with the record: the more often it was blamed, the longer."""
        lane.wait(self._clock() + backoff.backoff(lane.blames, self._chance), patient=False)

    def read_back_later(self, lane, record, error):
        """The server answers, but this session cannot be read: count that, and try again soon."""
        now = self._clock()
        lane.doubt.fail(now)
        lane.wait(
            now + backoff.read_back_pause(error, lane.doubt.failures, self._chance),
            patient=error.retry_after is not None,
        )

    def await_quiet(self, lane, record, error):
        """The record was absent: read the session back once more after the quiet period."""
        lane.doubt.is_quiet = True
        lane.wait(self._clock() + backoff.QUIET_PERIOD)

    def complain(self, lane, record, error):
        """Warn that this session's records wait."""
        if lane.entry.server_id is None:
            message = "the server refuses to open session %s; its records wait: %s"
        else:
            message = "session %s is paused; one of its records was answered with: %s"
        self._complain(lane, message % (lane.entry.local_id, error))

    def share(self, lane, record, error):
        """Another process writes into the session, so counting proves nothing any more."""
        lane.outbox.update(lane.entry, shared=1)

    def hand_on(self, lane, record, error):
        """Have create_session() raise what the server said."""
        lane.entry.refusal = error

    def reopen(self, lane, record, error):
        """The server lost the session: reopen it, restore its state, log `session_reopened`."""
        self._note_loss()
        entry = lane.entry
        lane.move_on()
        lane.reopened_at = self._clock()
        lane.start_anew()
        event = build.event("session_reopened", {"lost_session_id": entry.server_id})
        lane.outbox.update(entry, server_id=None, restoring=1, events=0, metrics=0, shared=0)
        _log(lane, event)

    def reopen_later(self, lane, record, error):
        """The server lost the session again within ten minutes: its records wait until then."""
        self._note_loss()
        lane.wait(lane.reopened_at + REOPEN_SECONDS)
        self._complain(
            lane, "the server lost session %s again; its records wait" % lane.entry.server_id
        )

    def rotated(self, lane, server_id):
        """The server opened the session's next one: go on there, and end the old one."""
        entry = lane.entry
        event = build.event("session_rotated", {"next_session_id": server_id})
        body = redaction.own_event(entry.redact, event)
        redaction.never_dropped(entry.redact, kinds.END, {})
        last_words = [] if body is None else [(kinds.EVENT, body)]
        if hand_over(lane.outbox, entry, server_id, last_words + [(kinds.END, b"{}")]):
            self._warn.clear("rotation")
            lane.start_anew()
        else:
            # Not again and again, each time with a session that stays empty.
            lane.delivered = 0, 0

    def rotate_later(self, lane, record, error):
        """The session's next one could not be opened: go on with this one for as long again."""
        self._warn(
            "rotation",
            "the server does not open the next session after rotate_after, so session %s goes on: "
            "%s" % (lane.entry.local_id, error),
        )
        lane.delivered = 0, 0

    # Everything

    def everything_waits(self, lane, record, error):
        """Pause sending altogether."""
        self._server.failed(error)

    # Shared steps

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

    def _restored(self, lane, state):
        lane.try_at_once()
        self._stop_complaining(lane)
        lane.outbox.update(lane.entry, keep(lane, state), restoring=0)

    def _tell_true_time(self, lane, record):
        """Log when a session was opened or ended offline; the server sees only the arrival."""
        if record.kind in _OFFLINE_EVENTS and is_late(record, self._wall()):
            happened_at = kinds.rfc3339(record.captured)
            _log(lane, build.event(_OFFLINE_EVENTS[record.kind], {"happened_at": happened_at}))


def _log(lane, event):
    """Log an event of our own in a lane's session."""
    body = redaction.own_event(lane.entry.redact, event)
    if body is not None:
        lane.outbox.append(lane.entry, kinds.EVENT, body)


def _topic(lane):
    return "session " + lane.entry.local_id
