"""One session's next request, and having its outcome decided.

Belongs here: what to ask next for a session, one exchange at a time.  Does not: whose turn it is,
decisions and their acts, SQL, paths and bodies, sleeping, threads.

Theory of operation.  `serve` does the first of these that applies:

1. The server was not asked for its health since it was last away: ask.  It may be another one
   now.  The first open goes right behind, and saves a round trip.
2. The server has given the session no id: open it.  The id is stored and the open record removed
   in one transaction.  If the process is killed between answer and transaction, the open is
   repeated, and an empty session stays behind on the server.
3. The server's generation is not known from its health: read the beginning of the session, which
   shows it.
4. The session was opened again after the server lost it, or is new and its application gave it a
   product, a version or a host name, which classic servers do not keep: send its state as
   delivered, before its records.  A new session's has these three, and goes behind its first
   records, in the same exchange, if they may go together.  `restoring` is stored with a
   new session and when the id is cleared, and cleared when the state is delivered; if the process
   is killed in between, the state is sent again.
5. The oldest records are in doubt: read the session back (see `doubt`).
6. The session has had as much as the application allows (see `rotation`): open its next one, and
   go on there, at 4.  The id is stored together with an entry for the old one, which has its last
   words (see `outbox.handover`).  If the process is killed before that, an empty session stays
   behind on the server.
7. Otherwise send the oldest records together, if they may go so (see `windows`), or the oldest one
   alone.  What was delivered is settled in one transaction, with the counts and the merged state
   that it changes.  If the process is killed between answer and settle, the next one finds the
   record at the head of an outbox that it takes over: in doubt.

The process may be killed between any two steps and anywhere within one, because what is not on
disk yet is found out again in the same order.  A failure is judged by `decisions`, and `acts`
carries out the result.  A decision that needs to know more about the server is a question, which
is put here.
"""

from __future__ import absolute_import, division

import json

from .. import errors
from ..records import build, kinds
from ..wire import dialects, verdicts
from . import decisions, doubt
from .acts import Acts, is_late
from .allowance import at_once
from .doubt import Doubt
from .looks import NOTHING_FOUND, Looks
from .merged import merged_state
from .order import Order
from .rotation import Rotation
from .width import BYTES, Width
from .windows import STATE_BYTES, Windows, can_be_found

DISK_SECONDS = 1.0


class Delivery(object):
    """Does the next thing for a session: one exchange, or two if a question comes up.

    :param server: the Server.
    :param heartbeats: the Heartbeats.
    :param settings: the pipeline's Settings.
    :param warn: a callable (topic, message) with `clear(topic)`.
    :param clock: a callable that returns monotonic seconds.
    :param wall: a callable that returns seconds since the epoch.
    :param chance: a callable that returns a float in [0, 1).
    :param learned: what is known of the server, a Learned.
    """

    def __init__(self, server, heartbeats, settings, warn, clock, wall, chance, learned):
        self._server = server
        self._stamp_late, self._fold = settings.stamp_late, settings.fold_fields
        self._may_send_ahead = settings.window > 1
        self._clock = clock
        self._wall = wall
        self._acts = acts = Acts(server, warn, clock, wall, chance)
        self._looks = looks = Looks(server, warn, clock, learned)
        self._rotation = rotation = Rotation(settings.rotate_after)
        width = Width(settings.window, at_once(settings.bandwidth, BYTES))
        self._windows = Windows(
            server,
            width,
            Order(server, looks, width, warn, clock, learned),
            heartbeats,
            rotation,
            acts,
            self._request,
            self._judge,
            clock,
            learned,
        )

    def serve(self, lane):
        """Take the next step for a lane that has work."""
        if not self._server.asked:
            self._ask(lane)
        elif lane.entry.server_id is None:
            self._open(lane)
        elif self._server.dialect is None:
            self._recognise(lane)
        elif lane.entry.restoring:
            self._restore(lane)
        else:
            self._deliver(lane)

    # What is next

    def _ask(self, lane):
        """Ask for the server's health, and open the session in the same exchange.

        After a failure, the server has to answer first: an open whose answer gets lost leaves a
        session behind.
        """
        is_new = lane.entry.server_id is None
        may_open = is_new and self._may_send_ahead and not self._server.link.failures
        if not (may_open and self._has_asked_and_opened(lane)):
            self._server.ask()

    def _has_asked_and_opened(self, lane):
        """Do both in one exchange; return False if that is impossible."""
        head = self._head(lane)
        if head is None:
            return True
        answer, error = self._server.ask_and_open(dialects.V1.open(lane.entry.opening))
        if answer is None and error is None:
            return self._server.asked
        self._opened(lane, head, answer, error)
        return True

    def _open(self, lane):
        head = self._head(lane)
        if head is not None:
            answer, error = self._server.exchange(dialects.V1.open(lane.entry.opening))
            self._opened(lane, head, answer, error)

    def _opened(self, lane, head, answer, error):
        if error is None:
            self._acts.opened(lane, head, answer["session_id"])
            return
        if isinstance(error, errors.SessionNotFound):
            error = _as_unknown_operation(error)
        self._judge(decisions.after_failed_open, lane, head, error)

    def _rotate(self, lane):
        answer, error = self._server.exchange(dialects.V1.open(lane.entry.opening))
        if error is None:
            self._acts.rotated(lane, answer["session_id"])
            return
        self._server.link.last_error = error
        self._acts.carry_out(decisions.after_failed_rotation(error), lane, None, error)

    def _recognise(self, lane):
        error = self._looks.recognise_by(lane.entry)
        if error is not None:
            self._judge(decisions.after_failed_recognition, lane, None, error)

    def _restore(self, lane):
        state = merged_state(lane) or {}
        if self._server.dialect is dialects.V1:
            # These servers begin a session's state with its product and version.
            state = _without_opening(state, lane.entry.opening)
        record = kinds.Record(
            lane.entry.number,
            decisions.RESTORING,
            kinds.STATE,
            build.encode(state),
            int(self._wall() * 1e6),
        )
        if not state:
            self._acts.settle(lane, record, None)
        elif not (self._may_ride(lane, record) and self._windows.send(lane, record)):
            self._send(lane, record)

    def _may_ride(self, lane, record):
        """Return whether the state of a new session may go in the same exchange as records."""
        entry = lane.entry
        is_new = entry.gone <= 1 and entry.waiting > 0
        is_small = len(record.body) <= STATE_BYTES and self._server.dialect is dialects.CLASSIC
        return is_new and is_small and not (lane.doubt or lane.is_head_in_doubt)

    def _deliver(self, lane):
        head = self._head(lane)
        if head is None:
            return
        if (lane.doubt or lane.is_head_in_doubt) and lane.doubt_about(head):
            self._read_back(lane, head)
        elif head.kind == kinds.OPEN:
            # Its session has an id, so it was delivered, but a sick disk could not delete it.
            self._acts.settle(lane, head, None)
        elif self._rotation.is_due(lane, head):
            self._rotate(lane)
        elif not self._windows.send(lane):
            self._send(lane, head)

    def _head(self, lane):
        head = lane.outbox.head(lane.entry)
        if head is None:
            # It cannot be read now, or the session is forgotten: don't ask again and again.
            lane.captured = None
            lane.wait(self._clock() + DISK_SECONDS)
        return head

    # The exchanges

    def _request(self, record, entry):
        late = self._stamp_late and is_late(record, self._wall())
        return self._server.dialect.send(record, entry.server_id, late, self._fold)

    def _send(self, lane, record):
        _, error = self._server.exchange(self._request(record, lane.entry))
        self._windows.sort_out_one(lane, record, error)

    def _read_back(self, lane, head):
        records = self._in_doubt(lane, head)
        found, error = self._looks.look(lane, records, merged_state(lane))
        if error is not None:
            self._judge(doubt.after_failed_read_back, lane, head, error)
            return
        self._server.succeeded()
        # Checked after the answer: another process makes its mark before it writes, so whatever
        # the answer contains of it, the mark is there by now.
        is_classic = self._server.dialect is dialects.CLASSIC
        is_marked = is_classic and lane.outbox.is_marked_shared(lane.entry)
        if is_marked:
            found = NOTHING_FOUND
        self._windows.note_read_back(lane, found)
        about = self._settle_found(lane, records, found)
        about.version = found.version
        rest = records[found.arrived] if found.arrived < len(records) else None
        known = self._known(lane, rest, None)._replace(is_marked=is_marked)
        self._acts.carry_out(
            doubt.after_read_back(found.after, about, known), lane, rest, about.error
        )

    def _in_doubt(self, lane, head):
        """Return the records that a read-back is to find, the head first."""
        if lane.doubt.error is None and not self._windows.may_go(lane):
            lane.doubt.count = 1
        records = [head]
        for record in lane.outbox.front(lane.entry, lane.doubt.count)[1:]:
            if head.kind == kinds.CRASH or not can_be_found(record):
                break
            records.append(record)
        if lane.doubt.error is None:
            # Whatever was sent before is among these, or all of them arrived.
            lane.doubt.count = len(records)
        return records

    def _settle_found(self, lane, records, found):
        """Settle what a read-back found; return the Doubt about what is left."""
        about = lane.doubt
        left = about.count - found.arrived - len(found.strays)
        if found.arrived:
            self._acts.settle_all(lane, records[: found.arrived])
            # More arrived than before: the quiet time begins again.
            number = records[found.arrived].number if found.arrived < len(records) else 0
            about = Doubt(number, about.error, ahead=about.ahead)
            lane.doubt = about if number else None
        strays = [place - found.arrived for place in found.strays]
        self._acts.settle_ahead(lane, records[found.arrived :], strays)
        about.count = left
        return about

    # Judging their failures

    def _judge(self, decide, lane, record, error):
        """Decide what a failure leads to, asking the server if need be, and carry that out."""
        if verdicts.verdict(error) == verdicts.POISON:
            lane.count_refusal(error.words)
        known = self._known(lane, record, error)
        acts = decide(error, known)
        if acts == decisions.PROBE:
            acts = decide(error, known._replace(probed=self._probe(lane)))
        elif acts == decisions.ASK_HEALTH:
            acts = decide(error, known._replace(speaks=self._server.speaks()))
        self._server.link.last_error = error
        self._acts.carry_out(acts, lane, record, error)

    def _known(self, lane, record, error):
        """Return what a decision needs to know besides the error, before any question."""
        now = self._clock()
        is_read_back = error is not None and lane.doubt is not None
        return decisions.Known(
            is_repeated=record is not None and decisions.is_repeated(record),
            is_suspicious=verdicts.is_suspicious(lane.refusals),
            would_be_poisoned=lane.would_be_poisoned(now),
            would_end_doubt=is_read_back and lane.doubt.would_be_over(error, now),
            may_reopen=lane.may_reopen(now),
            is_recognised=self._server.recognised,
        )

    def _probe(self, lane):
        """Find out whether a GET of the session is answered."""
        error = self._looks.problem_with(lane.entry)
        if error is None:
            lane.trust()
            return decisions.ANSWERED
        is_lost = isinstance(error, errors.SessionNotFound)
        return decisions.LOST if is_lost else decisions.UNANSWERED


def _without_opening(state, opening):
    said = json.loads(opening.decode("ascii"))
    return dict(
        (key, value)
        for key, value in state.items()
        if key not in ("product", "version") or said.get(key) != value
    )


def _as_unknown_operation(error):
    """Return an OperationUnknown: "session not found" makes no sense in answer to an open."""
    return errors.OperationUnknown(
        error.message, error.method, error.path, error.status, error.words
    )
