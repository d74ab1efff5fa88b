"""The server as the sender sees it: reachable or not, which dialect, and questions put to it.

What may live here: single exchanges and what they tell of the server.  What may not: records'
fates, outboxes, waiting.
"""

from __future__ import absolute_import, division

from .. import errors
from ..wire import answers, dialects, readback, verdicts
from .lanes import Link

CLASSIC_READ_BACK_BYTES = 4 * 1024 * 1024
V1_READ_BACK_BYTES = 64 * 1024 * 1024
RECOGNISED_WITHIN = 4096


class Server(object):
    """One server and the way to it.

    :param transport: has `call(request, ...)`.
    :param warn: a callable (topic, message) with `clear(topic)`.
    :param chance: a callable that returns a float in [0, 1).
    :param clock: a callable that returns monotonic seconds.
    """

    def __init__(self, transport, warn, chance, clock):
        self.link = Link()
        self.dialect = None
        self.asked = False
        self.recognised = False
        self._transport = transport
        self._warn = warn
        self._chance = chance
        self._clock = clock

    def exchange(self, request):
        """Return (answer, None), or (None, the DatacatError)."""
        try:
            return answers.answer(request, self._transport.call(request)), None
        except errors.DatacatError as error:
            return None, error

    def failed(self, error):
        """Leave the server alone for a while."""
        link = self.link
        link.failed(error, self._clock(), self._chance)
        if not link.is_blip or isinstance(error, errors.UnexpectedAnswer):
            self.asked = False
        if verdicts.verdict(error) in (verdicts.REFUSED, verdicts.POISON):
            self._warn(
                "refused",
                (
                    "everything waits, because the server (or what answers in its place) said: %s"
                    % error
                ),
            )
        else:
            self._warn("away", "the server does not take records: %s; they wait" % error)

    def succeeded(self):
        """Note that the server answered as a datacat server does."""
        if self.link.failures:
            for topic in ("away", "refused"):
                self._warn.clear(topic)
        self.link.succeeded()

    def ask(self):
        """Ask for its health, which only v1 answers; repeated after every outage."""
        try:
            response = self._transport.call(dialects.health())
        except errors.DatacatError as error:
            self.failed(error)
            return
        self.asked = True
        self.dialect = answers.recognise_health(response)
        self.recognised = self.dialect is not None

    def recognise_by(self, entry):
        """Tell classic from v1 by the fields a session begins with; return the error, if any."""
        start, error = self._beginning(entry)
        if error is None:
            # No success of what failed before: a server too busy for records may answer this.
            self.dialect = answers.recognise_beginning(start)
        return error

    def problem_with(self, entry):
        """Return with which DatacatError a GET of the session fails, None where it is answered."""
        return self._beginning(entry)[1]

    def beat(self, entry, record_is_next):
        """Tell the server that a session lives; return whether it is there to be told more.

        A server that knows no heartbeat, or not this session, is there.

        :param record_is_next: whether a record will tell more at once.
        """
        _, error = self.exchange(self.dialect.heartbeat(entry.server_id))
        if error is None:
            # A server too busy for records may answer this.
            if not (record_is_next and self._is_busy):
                self.succeeded()
        elif verdicts.would_meet_any_request(error):
            self.failed(error)
            return False
        return True

    @property
    def _is_busy(self):
        return bool(self.link.failures) and verdicts.verdict(self.link.last_error) == verdicts.BUSY

    def speaks(self):
        """Return whether the server itself, and not something before it, answers anything."""
        try:
            return answers.is_own_health_answer(self._transport.call(dialects.health()))
        except errors.DatacatError:
            return False

    def look_up(self, record, entry, merged):
        """Return whether a record arrived: (readback.ARRIVED, ABSENT or UNKNOWABLE, None).

        Where the session could not be read: (None, the DatacatError).

        :param merged: the session's state as delivered, or None.
        """
        try:
            if self.dialect is dialects.V1:
                return self._look_up_v1(record, entry), None
            return self._look_up_classic(record, entry, merged), None
        except errors.DatacatError as error:
            return None, error

    def _look_up_v1(self, record, entry):
        finder = readback.V1Finder(record)
        reading = _Reading(finder.feed, V1_READ_BACK_BYTES)
        self._read(entry, reading)
        found = finder.result()
        too_large = reading.is_too_large and found == readback.ABSENT
        return readback.UNKNOWABLE if too_large else found

    def _look_up_classic(self, record, entry, merged):
        if entry.shared:
            # Counting proves nothing, but it must answer something before it gets more.
            self._read(entry, _Reading(None, RECOGNISED_WITHIN))
            return readback.UNKNOWABLE
        pieces = []
        reading = _Reading(pieces.append, CLASSIC_READ_BACK_BYTES)
        request, response = self._read(entry, reading)
        if reading.is_too_large:
            return readback.UNKNOWABLE
        answer = answers.answer(request, response._replace(body=b"".join(pieces)))
        return readback.classic_arrived(record, answer, entry, merged)

    def _beginning(self, entry):
        """Return (the first bytes of a session, None) or (None, the DatacatError)."""
        reading = _Reading(None, RECOGNISED_WITHIN)
        try:
            self._read(entry, reading)
        except errors.DatacatError as error:
            return None, error
        return reading.start, None

    def _read(self, entry, reading):
        """GET a session; return the request and the response, whose body went elsewhere."""
        request = dialects.V1.read(entry.server_id)
        response = self._transport.call(request, limit=None, on_chunk=reading)
        answers.check_beginning(request, response, reading.start)
        return request, response


class _Reading(object):
    """Takes the pieces of a session's GET, passes them on, and stops when it has enough.

    :param feed: a callable (piece) that returns True when it has enough; None for nobody.
    :param limit: how many bytes are read at most.
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
