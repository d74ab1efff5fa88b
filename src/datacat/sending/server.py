"""The server as the sender sees it: whether it is there, its generation, and questions to it.

Belongs here: single exchanges, and what they show about the server.  Does not: the fate of
records, outboxes, waiting.
"""

from __future__ import absolute_import, division

from .. import errors
from ..records import kinds
from ..wire import answers, dialects, readback, readback_v1, verdicts
from .link import Link
from .outage import Outage
from .pace import Pace

CLASSIC_READ_BACK_BYTES = 4 * 1024 * 1024
V1_READ_BACK_BYTES = 64 * 1024 * 1024
RECOGNISED_WITHIN = 4096
NOTHING_FOUND = readback.Found(0, readback.UNKNOWABLE)


class Server(object):
    """One server, and every exchange with it.

    :param transport: has `call(request, ...)`, `call_all(requests)` and `own_addresses()`.
    :param warn: a callable (topic, message) with `clear(topic)`.
    :param chance: a callable that returns a float in [0, 1).
    :param clock: a callable that returns monotonic seconds.
    :ivar link: the Link.
    :ivar outage: the Outage.
    :ivar pace: the Pace of the requests that `exchange` and `exchange_all` sent.
    :ivar dialect: the dialect of its generation, None while that is unknown.
    :ivar asked: whether it was asked for its health since it was last away.
    :ivar recognised: whether it answered that as a datacat server does.
    """

    def __init__(self, transport, warn, chance, clock):
        self.link = Link()
        self.outage = Outage()
        self.pace = Pace()
        self.dialect = None
        self.asked = False
        self.recognised = False
        self._transport = transport
        self._warn = warn
        self._chance = chance
        self._clock = clock

    # Whether it is there

    def exchange(self, request):
        """Return (answer, None) on success, or (None, the DatacatError)."""
        began = self._clock()
        answer, error = self._exchange(request)
        if error is None:
            self._note_pace([request], began)
            self.succeeded()
        return answer, error

    def _exchange(self, request):
        try:
            return answers.answer(request, self._transport.call(request)), None
        except errors.DatacatError as error:
            return None, error

    def exchange_all(self, requests):
        """Send requests back to back; return (what became of those answered, an error).

        :returns: (a list with None or the DatacatError of each request that was answered, in
            order; the DatacatError of the first that was not, or None if those after the list
            certainly had no effect).
        """
        began = self._clock()
        problems, error = self._exchange_all(requests)
        if problems and problems[-1] is None:
            self._note_pace(requests[: len(problems)], began)
            self.succeeded()
        return problems, error

    def _note_pace(self, requests, began):
        self.pace.note([len(request.body) for request in requests], self._clock() - began)

    def _exchange_all(self, requests):
        responses, error = self._transport.call_all(requests)
        return [_problem(*pair) for pair in zip(requests, responses)], error

    def failed(self, error):
        """Pause after a failure, and warn, once in an outage."""
        link = self.link
        self.outage.failed()
        self.pace = Pace()
        link.failed(error, self._clock(), self._chance)
        if not link.is_blip or isinstance(error, errors.UnexpectedAnswer):
            self.asked = False
        if verdicts.verdict(error) in (verdicts.REFUSED, verdicts.POISON):
            self._warn(
                "refused",
                "delivery is paused; the server, or something in front of it, answered: %s"
                % error,
            )
        else:
            self._warn("away", "server unavailable; records are kept: %s" % error)

    def succeeded(self):
        """Note that the server answered as a datacat server does."""
        if self.outage.is_on:
            self.outage.succeeded(self._clock())
        elif not self.link.ever_up:
            # An earlier sender may have been closed in the middle of an outage.
            self._allow_warnings()
        self.link.succeeded()

    def end_outage(self):
        """Say that an outage is over."""
        sent = self.outage.end()
        self._allow_warnings()
        self._warn(
            "back",
            "delivery has worked again for a minute; %d records were sent since the outage began"
            % sent,
        )
        self._warn.clear("back")

    def _allow_warnings(self):
        for topic in ("away", "refused"):
            self._warn.clear(topic)

    def pause(self, now, is_waiting):
        """Return how long to pause, or until the next look at this machine's addresses.

        :param is_waiting: whether there is a record that an earlier attempt would help.
        """
        link = self.link
        if not is_waiting:
            return link.due - now
        if now >= link.look_due:
            link.note_addresses(self._transport.own_addresses(), now)
        return max(0.0, min(link.due, link.look_due) - now)

    def speaks(self):
        """Return whether the server itself, and not something in front of it, answers."""
        try:
            return answers.is_own_health_answer(self._transport.call(dialects.health()))
        except errors.DatacatError:
            return False

    def beat(self, entries, record_is_next):
        """Send heartbeats for sessions, back to back; return whether others may get through.

        They may if the server answers, even if it does not know heartbeats or these sessions.

        :param record_is_next: whether a record is sent right after, which shows more.
        """
        left = [self.dialect.heartbeat(entry.server_id) for entry in entries]
        while left:
            problems, error = self._beats(left)
            del left[: len(problems)]
            if error is None and None in problems:
                # A server that is too busy for records may still answer this.
                if not (record_is_next and self._is_busy):
                    self.succeeded()
            failures = [each for each in problems + [error] if each is not None]
            telling = [each for each in failures if verdicts.would_meet_any_request(each)]
            if telling:
                self.failed(telling[0])
                return False
        return True

    def _beats(self, requests):
        """Return what `_exchange_all` does, for one request at least."""
        problems, error = self._exchange_all(requests) if len(requests) > 1 else ([], None)
        if problems or error is not None:
            return problems, error
        # The first one makes a connection.
        return [self._exchange(requests[0])[1]], None

    @property
    def _is_busy(self):
        return bool(self.link.failures) and verdicts.verdict(self.link.last_error) == verdicts.BUSY

    # Which generation it is

    def ask(self):
        """Ask for its health, which only v1 answers; to be repeated after every outage."""
        try:
            response = self._transport.call(dialects.health())
        except errors.DatacatError as error:
            self.failed(error)
            return
        self.asked = True
        self.dialect = answers.recognise_health(response)
        self.recognised = self.dialect is not None

    def recognise_by(self, entry):
        """Tell classic from v1 by the first fields of a session; return the DatacatError, if any.

        An answer does not count as a success: a server too busy for records may still give it.
        """
        start, error = self._beginning(entry)
        if error is None:
            self.dialect = answers.recognise_beginning(start)
        return error

    # What it has of a session

    def problem_with(self, entry):
        """Return the DatacatError with which a GET of the session fails, or None."""
        return self._beginning(entry)[1]

    def read_back(self, records, entry, merged, ahead=readback.NOTHING_LISTED):
        """Return which of some records arrived: (what was Found, None).

        If the session cannot be read: (None, the DatacatError).

        :param records: in the order in which they were sent.
        :param merged: the session's state as delivered, or None.
        :param ahead: how many events and metrics were delivered that overtook the first record.
        """
        try:
            if self.dialect is dialects.V1:
                return self._read_back_v1(records, entry), None
            return self._read_back_classic(records, entry, merged, ahead), None
        except errors.DatacatError as error:
            return None, error

    def _read_back_v1(self, records, entry):
        finder = readback_v1.V1WindowFinder(records)
        reading = _Reading(finder.feed, V1_READ_BACK_BYTES)
        self._read(entry, reading)
        found = finder.result()
        if reading.is_too_large and found.after == readback.ABSENT:
            return readback.Found(found.arrived, readback.UNKNOWABLE)
        return found

    def _read_back_classic(self, records, entry, merged, ahead):
        if entry.shared and records[0].kind != kinds.CRASH:
            # Counting proves nothing, but the server must answer before a record is sent again.
            self._read(entry, _Reading(None, RECOGNISED_WITHIN))
            return NOTHING_FOUND
        answer = self._whole(entry)
        if answer is None:
            return NOTHING_FOUND
        answer, delivered = readback.without_last(answer, entry, ahead)
        return readback.classic_found(records, answer, delivered, merged)

    def is_in_order(self, records, entry, before):
        """Return whether a server has records in the order in which they were sent.

        :param records: that were delivered.
        :param before: has `events` and `metrics`, how many of each were delivered before them.
        :returns: None if that cannot be told.
        """
        try:
            if self.dialect is dialects.V1:
                found = self._read_back_v1(records, entry)
                return found.in_order if found.arrived == len(records) else None
            answer = None if entry.shared else self._whole(entry)
        except errors.DatacatError:
            return None
        return None if answer is None else readback.classic_order(records, answer, before)

    def _whole(self, entry):
        """Return a session's fields on a classic server, None if it is too large."""
        pieces = []
        reading = _Reading(pieces.append, CLASSIC_READ_BACK_BYTES)
        request, response = self._read(entry, reading)
        if reading.is_too_large:
            return None
        return answers.answer(request, response._replace(body=b"".join(pieces)))

    def _beginning(self, entry):
        """Return (the first bytes of a session, None) or (None, the DatacatError)."""
        reading = _Reading(None, RECOGNISED_WITHIN)
        try:
            self._read(entry, reading)
        except errors.DatacatError as error:
            return None, error
        return reading.start, None

    def _read(self, entry, reading):
        """GET a session; return the request and the response.  The body goes to `reading`."""
        request = dialects.V1.read(entry.server_id)
        response = self._transport.call(request, limit=None, on_chunk=reading)
        answers.check_beginning(request, response, reading.start)
        return request, response


def _problem(request, response):
    """Return the DatacatError that a response means, or None."""
    try:
        answers.answer(request, response)
    except errors.DatacatError as error:
        return error
    return None


class _Reading(object):
    """Receives the body of a session's GET in pieces, passes them on, and stops early if it can.

    :param feed: a callable (piece) that returns True once it needs no more, or None.
    :param limit: how many bytes to read at most.
    """

    def __init__(self, feed, limit):
        self.start = b""
        self.is_too_large = False
        self._feed = feed
        self._left = limit

    def __call__(self, piece):
        if len(self.start) < RECOGNISED_WITHIN:
            self.start += piece[:RECOGNISED_WITHIN]
        self._left -= len(piece)
        is_enough = self._feed is not None and self._feed(piece)
        self.is_too_large = self._left < 0 and not is_enough
        return is_enough or self.is_too_large
