"""Several records of one session in one exchange.

Belongs here: which records go together, and what each of their answers leads to.  Does not: how
many may (`width`), single records (`delivery`), the requests and their bytes.

Theory of operation

1. The records at the head of a session go out back to back on one connection, if nothing is in
   doubt and each of them may: no open, no crash, no large state, and an end only as the last.
2. They are answered in order.  Those that were delivered are settled in one transaction.  A record
   that the server refuses in words that are known as its own becomes a dead letter: real servers
   go on with the next one.
3. Any other refusal ends windows for a while, and is judged as that of a single record.  Those
   after it that were delivered all the same have overtaken it, which is counted.
4. A connection that breaks leaves those without an answer in doubt (see `doubt`).  What a server
   has applied of a window is always its beginning, because it takes one request after the other.
5. The first windows are compared with what the server has then (see `order`).
6. Where no read-back could tell what arrived, records go one by one.  So does a record that was
   blamed: in a window it could become a dead letter for what a later one causes.
7. Heartbeats that are due ride behind the records, of any session, as many as there is room for.
   They also ride behind a record that could go with others but is the only one; all else about it
   is as if it went alone.  If a connection breaks among them, every record has been answered.
8. The state that a session begins with on a classic server may ride behind records, too: for a
   short run over a long way, a round trip less.  It says the same before and behind them, unless
   they change the state themselves.
"""

from __future__ import absolute_import, division

import collections
import itertools

from ..records import kinds
from ..wire import answers, dialects, readback, verdicts
from ..wire.readback import Listed
from . import decisions
from .doubt import Doubt
from .pace import HEAD_BYTES
from .server import HEARTBEAT_BYTES

# The name of what is learned about a server: bytes a second.
RATE = "rate"
# A record over this goes alone; a state may be sent again, which costs more.
RECORD_BYTES = 64 * 1024
STATE_BYTES = 16 * 1024

# Records, their requests, those that go behind, the entries of sessions whose heartbeats ride
# behind them, and the request that reads the session then, or None.
_Window = collections.namedtuple("_Window", "records requests behind riders reading")
_NO_WINDOW = _Window([], [], [], [], None)


class Windows(object):
    """Sends the heads of sessions together; for one thread.

    :param server: the Server.
    :param width: a Width.
    :param order: the Order.
    :param heartbeats: the Heartbeats.
    :param rotation: a Rotation: a window goes to one session on the server.
    :param acts: the Acts.
    :param make: a callable (record, entry) -> the Request that delivers it.
    :param judge: a callable (lane, record, error) that decides what a failed attempt leads to, and
        carries that out.
    :param clock: a callable that returns monotonic seconds.
    :param learned: what is known of the server, a Learned.
    """

    def __init__(
        self, server, width, order, heartbeats, rotation, acts, make, judge, clock, learned
    ):
        self._width = width
        self._heartbeats = heartbeats
        self._rotation = rotation
        self._server = server
        self._order = order
        self._acts = acts
        self._make = make
        self._judge = judge
        self._clock = clock
        self._learned = learned
        self._recall()

    def send(self, lane, restoring=None):
        """Send several records of a session, or one with something behind it.

        :param restoring: the record that restores its state, to go behind them, or None.
        :returns: False if its head, or what restores its state, has to go alone.
        """
        began = self._clock()
        window = self._window(lane, began, restoring)
        if len(window.records) + len(window.behind) + len(window.riders) < 2:
            return False
        before = Listed(lane.entry.events, lane.entry.metrics)
        problems, error, whole = self._server.exchange_all(
            window.requests + window.behind, window.riders, window.reading
        )
        if not problems and error is None:
            # There is no connection yet: a single request makes one.
            return False
        took = self._clock() - began
        count = len(window.records)
        of_records, of_riders = problems[:count], problems[count:]
        # What breaks among the riders is no trouble of the records.
        trouble = error if len(of_records) < count else None
        self._sort_out(lane, window.records, of_records, trouble)
        is_well = trouble is None and not any(of_records)
        if is_well and error is None and count > 1:
            self._went_well(lane, window, len(problems), took)
            self._order.went_well(lane, window.records[: len(of_records)], before, whole)
        self._server.transport.rate = self._width.rate
        if self._width.rate is not None:
            self._learned.note_roughly(RATE, self._width.rate)
        # If not all is well with the records, they have shown more.
        get_through = not is_well or self._server.heed_heartbeats(of_riders, error)
        if window.behind:
            self._sort_out_restoring(lane, restoring, of_riders)
        else:
            self._heartbeats.went(window.riders[: len(of_riders)], get_through, began)
        return True

    def may_go(self, lane):
        """Return whether a read-back could tell what arrived of several records of a session."""
        if self._server.dialect is dialects.CLASSIC:
            if lane.entry.shared or lane.outbox.is_marked_shared(lane.entry):
                return False
        return not lane.is_unreadable

    def note_read_back(self, lane, found):
        """Note what a read-back shows about the server, or about reading a session."""
        if not found.in_order:
            self._order.give_up()
        # Not readable as a whole, or written to by somebody else as well.
        lane.is_unreadable = found.after in (readback.UNKNOWABLE, readback.TOO_LARGE)

    # Which records

    def _window(self, lane, now, restoring):
        """Return the _Window that goes now; it has no records if the head has to go alone."""
        entry = lane.entry
        records_left, bytes_left = self._rotation.left(lane)
        most = min(self._width.records(now), records_left)
        fewest = 1 if restoring is not None or self._heartbeats.are_due(now) else 2
        if most < 2 or entry.accepted - entry.gone < fewest or not self.may_go(lane):
            return _NO_WINDOW
        if lane.blames:
            # Alone, it is blamed for what it does itself.
            return _NO_WINDOW
        front = lane.outbox.front(entry, most)
        behind = []
        if restoring is not None:
            behind = [self._make(restoring, entry)]
            front = list(itertools.takewhile(_leaves_the_state, front))
        records, requests = self._joining(front, entry, bytes_left, _size(behind))
        if not records:
            return _NO_WINDOW
        if not self._order.allows(records):
            del records[1:], requests[1:]
        # One or the other: restoring is for classic servers, which know no heartbeats.
        riders = [] if behind else self._riders(requests, now)
        return _Window(records, requests, behind, riders, self._order.reading(lane, records))

    def _joining(self, front, entry, bytes_left, taken):
        """Return the first of some records that may go together, and their requests.

        :param bytes_left: how much of them the session on the server takes.
        :param taken: how many bytes go with them anyway.
        """
        records, requests, room = [], [], self._width.bytes - taken
        for record in front:
            if not _may_join(record) or bytes_left <= 0:
                break
            bytes_left -= len(record.body)
            request = self._make(record, entry)
            room -= _size([request])
            if room < 0:
                break
            records.append(record)
            requests.append(request)
            if record.kind == kinds.END:
                break
        return records, requests

    def _riders(self, requests, now):
        """Return the entries of sessions whose heartbeats go behind some requests."""
        if not requests:
            return []
        room = (self._width.bytes - _size(requests)) // HEARTBEAT_BYTES
        return self._heartbeats.riders(now, min(room, self._width.limit - len(requests)))

    # What became of them

    def sort_out_one(self, lane, record, error):
        """Settle a record that no other one went with, or judge its failure."""
        if error is None:
            self._width.one_went_well()
            self._acts.settle(lane, record, None)
        else:
            self._judge(decisions.after_failed_send, lane, record, error)

    def _sort_out(self, lane, records, problems, error):
        """Settle, bury or judge each record of a window by its answer."""
        if len(records) == 1:
            self.sort_out_one(lane, records[0], error or problems[0])
            return
        delivered = []
        for place, problem in enumerate(problems):
            record = records[place]
            if problem is None:
                delivered.append(record)
                continue
            self._acts.settle_all(lane, delivered)
            delivered = []
            if not self._is_buried(lane, record, problem):
                self._refused(lane, records[place:], problems[place:], error)
                return
        self._acts.settle_all(lane, delivered)
        if error is not None:
            self._width.broke()
            self._leave_in_doubt(lane, records[len(problems) :], error)

    def _sort_out_restoring(self, lane, restoring, problems):
        """Settle what restores a session's state if it arrived; else it goes again, alone."""
        if problems and problems[0] is None and lane.doubt is None:
            self._acts.settle(lane, restoring, None)

    def _went_well(self, lane, window, answered, took):
        """Note that a window went without trouble.

        :param answered: how many of its requests were answered, heartbeats included.
        :param took: how many seconds that took.
        """
        count = min(answered, len(window.records))
        size = _size(window.requests[:count]) + (answered - count) * HEARTBEAT_BYTES
        self._width.went_well(count, size, took)

    def _is_buried(self, lane, record, problem):
        """Bury a record that the server itself refused for its content; return whether it did."""
        if verdicts.verdict(problem) != verdicts.POISON or not answers.is_known_refusal(problem):
            return False
        if verdicts.is_suspicious(lane.refusals + 1):
            return False
        lane.count_refusal(problem.words)
        self._server.link.last_error = problem
        self._acts.bury(lane, record, problem)
        return True

    def _refused(self, lane, records, problems, error):
        """The first of these records was refused, perhaps by something on the way."""
        entry = lane.entry
        ahead = [place for place, problem in enumerate(problems) if problem is None]
        before = entry.events, entry.metrics
        self._acts.settle_ahead(lane, records, ahead)
        overtook = Listed(entry.events - before[0], entry.metrics - before[1])
        if verdicts.verdict(problems[0]) != verdicts.SESSION_LOST:
            self._width.refused(self._clock())
        self._judge(decisions.after_failed_send, lane, records[0], problems[0])
        last = _last_perhaps_applied(records, problems, error)
        if last is not None and entry.server_id is not None:
            # From what is at the head by now to the last of them: the read-back tells.
            rest = [
                record
                for place, record in enumerate(records[: last + 1])
                if place not in ahead and record.number > entry.position
            ]
            lane.doubt = Doubt(rest[0].number, error or problems[0], len(rest))
            if self._server.dialect is dialects.CLASSIC:
                # Such a server does not tell which of them it took.
                lane.outbox.update(entry, overtaken=entry.overtaken + len(rest) - 1)
        if lane.doubt is not None:
            lane.doubt.ahead = overtook

    def _leave_in_doubt(self, lane, records, error):
        self._judge(decisions.after_failed_send, lane, records[0], error)
        if lane.doubt is not None:
            lane.doubt.count = len(records)

    # What is known of the server from earlier runs

    def _recall(self):
        rate = self._learned.number(RATE)
        if rate is not None and rate > 0:
            self._width.expect(rate)


def _size(requests):
    return sum(len(request.body) + HEAD_BYTES for request in requests)


def _last_perhaps_applied(records, problems, error):
    """Return the place of the last record that the server may have applied, None if none may.

    The first one does not count: it is judged by itself.
    """
    if error is not None and len(problems) < len(records):
        return len(records) - 1
    for place in range(len(problems) - 1, 0, -1):
        problem = problems[place]
        if problem is not None and verdicts.verdict(problem) == verdicts.AMBIGUOUS:
            return place
    return None


def can_be_found(record):
    """Return whether a read-back can find a record among others."""
    return record.kind == kinds.STATE or record.kind in kinds.TIMED


def _leaves_the_state(record):
    return record.kind != kinds.STATE


def _may_join(record):
    if record.kind == kinds.STATE:
        return len(record.body) <= STATE_BYTES
    return record.kind == kinds.END or (
        record.kind in kinds.TIMED and len(record.body) <= RECORD_BYTES
    )
