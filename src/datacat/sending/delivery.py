"""One session's next request, and what its outcome leads to.

What may live here: opening, sending, reading back, restoring, and each verdict carried out.
What may not: whose turn it is, SQL, requests' names, sleeping, threads.
"""

from __future__ import absolute_import, division

import json

from .. import errors
from ..records import build, kinds
from ..wire import answers, backoff, dialects, readback, verdicts
from .lanes import Doubt

LATE_SECONDS = 5.0
DISK_SECONDS = 1.0
REOPEN_SECONDS = 600.0
STATE_BYTES = 256 * 1024
UNKNOWN_STATE = b"null"
REPEATED = (kinds.OPEN, kinds.END, kinds.CRASH)
RESTORING = 0

_OFFLINE_EVENTS = {
    kinds.OPEN: "session_opened_offline",
    kinds.END: "session_ended_offline",
}


class Delivery(object):
    """Does the next thing for a session, one request or two.

    :param server: the Server.
    :param stamp_late: whether to tell a server that stamps arrival when a record is late.
    :param warn: a callable (topic, message) with `clear(topic)`.
    :param clock: monotonic seconds; read after a call, which may have taken long.
    :param wall: seconds since the epoch.
    :param chance: a callable that returns a float in [0, 1).
    """

    def __init__(self, server, stamp_late, warn, clock, wall, chance):
        self._server = server
        self._stamp_late = stamp_late
        self._warn = warn
        self._clock = clock
        self._wall = wall
        self._chance = chance
        self._carry_out = {
            verdicts.NOT_APPLIED: self._not_applied,
            verdicts.AMBIGUOUS: self._ambiguous,
            verdicts.BUSY: self._not_applied,
            verdicts.SESSION_LOST: self._session_lost,
            verdicts.POISON: self._poison,
            verdicts.REFUSED: self._refused,
        }

    def serve(self, lane):
        """Do what is next for a lane that has work."""
        if not self._server.asked:
            self._server.ask()
        elif lane.entry.server_id is None:
            self._open(lane)
        elif self._server.dialect is None:
            self._recognise(lane)
        elif lane.doubt is not None:
            self._read_back(lane)
        elif lane.entry.restoring:
            self._restore(lane)
        else:
            self._send(lane)

    def age(self, record):
        """Return how many seconds ago a record was captured."""
        return self._wall() - record.captured / 1e6

    def doubt_head(self, lane):
        """Ask for the oldest record before it is sent: whoever had it before may have sent it."""
        entry = lane.entry
        if entry.server_id is None or entry.restoring:
            return
        head = lane.outbox.head(entry)
        if head is not None and head.kind not in REPEATED:
            lane.doubt = Doubt(head)

    def _head(self, lane):
        head = lane.outbox.head(lane.entry)
        if head is None:
            # The disk does not give it; it is not asked without end.
            lane.wait(self._clock() + DISK_SECONDS)
        return head

    def _recognise(self, lane):
        error = self._server.recognise_by(lane.entry)
        if error is not None:
            self._failed(error, lane, None)

    # Opening

    def _open(self, lane):
        head = self._head(lane)
        if head is None:
            return
        answer, error = self._server.exchange(dialects.V1.open(lane.entry.opening))
        if error is None:
            self._opened(lane, head, answer["session_id"])
        else:
            self._open_failed(lane, error)

    def _opened(self, lane, head, server_id):
        self._server.succeeded()
        self._moved_on(lane)
        lane.entry.refusal = None
        if head.kind == kinds.OPEN:
            lane.outbox.opened(lane.entry, head, server_id)
            self._tell_true_time(lane, head)
        else:
            lane.outbox.update(lane.entry, server_id=server_id)

    def _open_failed(self, lane, error):
        entry, server = lane.entry, self._server
        if verdicts.verdict(error) == verdicts.SESSION_LOST:
            error = errors.OperationUnknown(
                error.message, error.method, error.path, error.status, error.words
            )
        if verdicts.is_own_refusal(error, server.recognised or answers.is_known_refusal(error)):
            entry.refusal = error
        server.link.last_error = error
        if isinstance(error, errors.RequestRefused) and error.own_words:
            lane.failed(error, self._clock(), self._chance)
            self._complain(
                lane,
                "the server refuses to open session %s, and its records wait: %s"
                % (entry.local_id, error),
            )
            return
        if verdicts.verdict(error) == verdicts.AMBIGUOUS:
            # Opens go first: one that never works must not keep all others from their turn.
            lane.failed(error, self._clock(), self._chance)
        if verdicts.is_systematic(error):
            server.failed(error)

    def _tell_true_time(self, lane, record):
        """What was opened or ended offline tells when, for the server knows the arrival only."""
        if record.kind in _OFFLINE_EVENTS and self._is_late(record):
            body = build.encode(
                build.event(
                    _OFFLINE_EVENTS[record.kind], {"happened_at": kinds.rfc3339(record.captured)}
                )
            )
            lane.outbox.append(lane.entry, kinds.EVENT, body)

    def _is_late(self, record):
        return self.age(record) > LATE_SECONDS

    # Sending

    def _send(self, lane):
        record = self._head(lane)
        if record is None:
            return
        if record.kind == kinds.OPEN:
            # Its session has an id, so that only the disk has not forgotten the record.
            self._delivered(lane, record)
            return
        late = self._stamp_late and self._is_late(record)
        request = self._server.dialect.send(record, lane.entry.server_id, late)
        _, error = self._server.exchange(request)
        if error is None:
            self._server.succeeded()
            self._delivered(lane, record)
        else:
            self._failed(error, lane, record)

    def _delivered(self, lane, record):
        self._moved_on(lane)
        lane.not_suspicious()
        state = self._merged_with(lane, record) if record.kind == kinds.STATE else None
        lane.outbox.settle(lane.entry, record, state)
        self._tell_true_time(lane, record)

    def _moved_on(self, lane):
        lane.moved_on()
        if lane.complained:
            lane.complained = False
            self._warn.clear(_topic(lane))

    def _complain(self, lane, message):
        lane.complained = True
        self._warn(_topic(lane), message)

    def _merged_with(self, lane, record):
        """Return the bytes of the state that the server holds now."""
        merged = self._merged(lane)
        if merged is None:
            return UNKNOWN_STATE
        lane.merged = readback.merge_state(
            merged, json.loads(record.body.decode("ascii")), self._server.dialect is dialects.V1
        )
        try:
            return build.encode(lane.merged, STATE_BYTES)
        except errors.InvalidRecord:
            lane.merged = None
            return UNKNOWN_STATE

    def _merged(self, lane):
        """Return the state as delivered, or None where it is not known."""
        if lane.merged is None:
            stored = lane.outbox.state(lane.entry)
            lane.merged = {} if stored is None else json.loads(stored.decode("ascii"))
        return lane.merged

    # What a failure leads to

    def _failed(self, error, lane, record):
        """Carry out what a failure means.

        :param record: what was sent; None where the session was only read.
        """
        self._server.link.last_error = error
        self._carry_out[verdicts.verdict(error)](error, lane, record)

    def _not_applied(self, error, lane, record):
        self._server.failed(error)

    def _ambiguous(self, error, lane, record):
        if verdicts.is_systematic(error):
            self._server.failed(error)
        if record is not None and record.kind not in REPEATED and record.number != RESTORING:
            lane.doubt = Doubt(record, error)
            lane.wait(self._clock() + backoff.pause(error, 1, self._chance))
            return
        lane.failed(error, self._clock(), self._chance)
        if record is not None and self._can_be_read(lane):
            self._blame(lane, record, error)

    def _refused(self, error, lane, record):
        readable = (
            record is not None
            and verdicts.may_be_the_records_fault(error)
            and (self._can_be_read(lane))
        )
        if not readable:
            if readable is not None:
                self._server.failed(error)
            return
        lane.failed(error, self._clock(), self._chance)
        self._complain(
            lane,
            "session %s waits, because one of its records is answered with: %s"
            % (lane.entry.local_id, error),
        )
        self._blame(lane, record, error)

    def _poison(self, error, lane, record):
        if record is None:
            self._server.failed(error)
            return
        suspicious = lane.refused(error.words)
        if answers.is_known_refusal(error) and not suspicious:
            self._bury(lane, record, error)
            return
        readable = self._can_be_read(lane)
        if readable:
            lane.not_suspicious()
            self._bury(lane, record, error)
        elif readable is not None:
            self._server.failed(error)

    def _can_be_read(self, lane):
        """Return whether a GET of the session is answered, None where the server lost it."""
        error = self._server.problem_with(lane.entry)
        if isinstance(error, errors.SessionNotFound):
            self._session_lost(error, lane, None)
            return None
        return error is None

    def _blame(self, lane, record, error):
        """The record failed by itself, for its session can be read; return whether that was it."""
        now = self._clock()
        lane.blame(now)
        poisoned = lane.is_poisoned(now)
        if poisoned:
            self._bury(lane, record, error)
        return poisoned

    def _bury(self, lane, record, error):
        self._moved_on(lane)
        if record.number == RESTORING:
            self._warn(
                "unrestored",
                (
                    "the server lost session %s and does not take its state again: %s"
                    % (lane.entry.local_id, error)
                ),
            )
            self._restored(lane)
            return
        self._warn(
            "dead",
            (
                "the server does not take a record (%s %d of session %s); it is kept as a dead "
                "letter: %s" % (record.kind, record.number, lane.entry.local_id, error)
            ),
        )
        lane.outbox.bury(lane.entry, record, error.status, error.words or error.message)

    # A session that the server lost

    def _session_lost(self, error, lane, record):
        """Open the session again, but at most once in ten minutes."""
        entry, now = lane.entry, self._clock()
        self._server.succeeded()
        # A server that lost its data may be another one now.
        self._server.asked = False
        reopened_at = lane.reopened_at
        if reopened_at is not None and now - reopened_at < REOPEN_SECONDS:
            lane.wait(reopened_at + REOPEN_SECONDS)
            self._complain(
                lane, ("the server lost session %s again; its records wait" % entry.server_id)
            )
            return
        lane.moved_on()
        lane.reopened_at = now
        body = build.encode(build.event("session_reopened", {"lost_session_id": entry.server_id}))
        lane.outbox.update(entry, server_id=None, restoring=1, events=0, metrics=0, shared=0)
        lane.outbox.append(entry, kinds.EVENT, body)

    def _restore(self, lane):
        """Send the merged state to a session that had to be opened again."""
        merged, number = self._merged(lane), lane.entry.number
        if not merged:
            self._restored(lane)
            return
        record = kinds.Record(
            number, RESTORING, kinds.STATE, build.encode(merged), int(self._wall() * 1e6)
        )
        _, error = self._server.exchange(
            self._server.dialect.send(record, lane.entry.server_id, False)
        )
        if error is None:
            self._server.succeeded()
            self._restored(lane)
        else:
            self._failed(error, lane, record)

    def _restored(self, lane):
        self._moved_on(lane)
        forgotten = None
        if self._merged(lane) is None:
            # Whatever it was, a new session begins without any.
            lane.merged, forgotten = {}, b""
        lane.outbox.update(lane.entry, forgotten, restoring=0)

    # Did it arrive?

    def _read_back(self, lane):
        doubt = lane.doubt
        head = self._head(lane)
        if head is None:
            return
        if head.number != doubt.record.number:
            lane.doubt = None
            return
        found, error = self._server.look_up(doubt.record, lane.entry, self._merged(lane))
        if error is not None:
            self._read_back_failed(lane, error)
            return
        self._server.succeeded()
        if found == readback.ARRIVED:
            self._delivered(lane, doubt.record)
            if doubt.error is None:
                # What its owner could not note of this record it may not have noted of the next:
                # the disk was full, or a power cut took the notes of a whole second.
                self.doubt_head(lane)
        elif found == readback.ABSENT and not doubt.absent_once:
            doubt.absent_once = True
            lane.wait(self._clock() + backoff.QUIET_PERIOD)
        else:
            self._not_found(lane, found)

    def _not_found(self, lane, found):
        doubt = lane.doubt
        if doubt.error is not None:
            if self._blame(lane, doubt.record, doubt.error):
                return
            lane.wait(self._clock() + backoff.backoff(lane.blames, self._chance), patient=False)
        if found == readback.UNKNOWABLE:
            self._send_in_doubt(lane)
        lane.doubt = None

    def _read_back_failed(self, lane, error):
        meaning = verdicts.verdict(error)
        if meaning == verdicts.SESSION_LOST:
            self._session_lost(error, lane, lane.doubt.record)
            return
        if meaning != verdicts.AMBIGUOUS or not self._server.speaks():
            self._server.failed(error)
            return
        now = self._clock()
        self._server.link.last_error = error
        lane.doubt.failed(now)
        lane.wait(
            now + backoff.read_back_pause(error, lane.doubt.failures, self._chance),
            patient=error.retry_after is not None,
        )
        if lane.doubt.is_over(error, now):
            self._send_in_doubt(lane)

    def _send_in_doubt(self, lane):
        """Send again what may have arrived, and count it; never guess that it was delivered."""
        entry, record = lane.entry, lane.doubt.record
        lane.doubt = None
        # A copy may be on a classic server now, which makes counting arrivals useless.
        counts = self._server.dialect is dialects.CLASSIC and record.kind != kinds.STATE
        lane.outbox.update(
            entry,
            possibly_twice=entry.possibly_twice + 1,
            shared=int(entry.shared or counts),
        )


def _topic(lane):
    return "session " + lane.entry.local_id
