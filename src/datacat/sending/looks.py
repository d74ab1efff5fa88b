"""Looking at what the server has of a session, with as little on the line as possible.

Belongs here: which part of a session is read, and how much of it.  Does not: what it shows about
records (`wire.readback`), and what that leads to (`doubt`).

Theory of operation

1. A server sends a session only as a whole, and that may be far more than a line carries in
   reasonable time.  So the rate at which sessions come in is measured, and one that would take
   over a minute is not read.  Only its beginning is, to see that the server answers.
2. Its size is estimated from the last reading and the number of records delivered since.  Whatever
   it turns out to be, reading stops after a minute.
3. The beginning of a session says when it was last changed.  If an earlier look has shown the same
   time, nothing was applied in between.  It is never compared with a clock.
4. The beginning is read on a connection of its own with a small receive buffer.  On any other, a
   slow line would be busy with the rest of the session for a long time.
"""

from __future__ import absolute_import, division

from .. import errors
from ..records import kinds
from ..wire import answers, dialects, readback, readback_v1
from ..wire.readback import TOO_LARGE, UNKNOWABLE, Found

# The name of what is learned about a server: bytes a second.
READING_RATE = "reading rate"
CLASSIC_READ_BACK_BYTES = 4 * 1024 * 1024
V1_READ_BACK_BYTES = 64 * 1024 * 1024
LONGEST_READING = 60.0
RECOGNISED_WITHIN = 4096
NOTHING_FOUND = Found(0, UNKNOWABLE)
# A shorter answer comes in one piece, which tells nothing about the line.
_MEASURED_FROM = 16 * 1024
_FEW_RECORDS = 10
# What is read behind records, in bytes.
_SMALL = 8 * 1024
# What a server adds to a record, about.
_BYTES_AROUND = 80

_TOO_LARGE = (
    "session %s is too large to be read over this line in reasonable time (about %d kB at "
    "%d kB/s): of its records, those whose answer gets lost are sent again and counted "
    "(possibly_twice); rotate_after= keeps sessions small"
)


class Looks(object):
    """Looks at sessions; for one thread.

    :param server: the Server; `recognise_by` sets its dialect.
    :param warn: a callable (topic, message).
    :param clock: a callable that returns monotonic seconds.
    :param learned: what is known of the server, a Learned.
    """

    def __init__(self, server, warn, clock, learned):
        self._server = server
        self._warn = warn
        self._clock = clock
        self._learned = learned
        known = learned.number(READING_RATE)
        self._rate = known if known and known > 0 else None

    # The beginning of a session

    def recognise_by(self, entry):
        """Tell classic from v1 by the first fields of a session; return the DatacatError, if any.

        An answer does not count as a success: a server too busy for records may still give it.
        """
        start, error = self._beginning(entry)
        if error is None:
            self._server.recognise(answers.recognise_beginning(start))
        return error

    def problem_with(self, entry):
        """Return the DatacatError with which a GET of the session fails, or None."""
        return self._beginning(entry)[1]

    def _beginning(self, entry):
        """Return (the first bytes of a session, None) or (None, the DatacatError)."""
        reading = _Reading(None, RECOGNISED_WITHIN, self._clock)
        # Of a session that has only just begun, the rest is not worth a connection of its own.
        is_short = entry.sent > _FEW_RECORDS
        try:
            self._read(entry, reading, is_short)
        except errors.DatacatError as error:
            return None, error
        return reading.start, None

    # What it has of some records

    def look(self, lane, records, merged):
        """Return which of some records arrived: (what was Found, None).

        If the session cannot be read: (None, the DatacatError).

        :param lane: their session's Lane, with a Doubt.
        :param records: in the order in which they were sent.
        :param merged: the session's state as delivered, or None.
        """
        doubt = lane.doubt
        if doubt.is_quiet and doubt.version is not None:
            start, error = self._beginning(lane.entry)
            if error is not None:
                return None, error
            if answers.version(start) == doubt.version:
                return Found(0, readback.ABSENT), None
        try:
            return self._look(lane, records, merged), None
        except errors.DatacatError as error:
            return None, error

    def _look(self, lane, records, merged):
        if self._is_uncountable(lane.entry, records):
            # The server must answer before a record is sent again.
            self._read(lane.entry, _Reading(None, RECOGNISED_WITHIN, self._clock), is_short=True)
            return NOTHING_FOUND
        if self._is_hopeless(lane, records):
            self._read(lane.entry, _Reading(None, RECOGNISED_WITHIN, self._clock), is_short=True)
            return Found(0, TOO_LARGE)
        if self._server.is_v1:
            return self._look_v1(lane, records)
        answer, version = self._whole(lane)
        if answer is None:
            return Found(0, TOO_LARGE)
        answer, delivered = readback.without_last(answer, lane.entry, lane.doubt.ahead)
        found = readback.classic_found(records, answer, delivered, merged)
        return found._replace(version=version)

    def _look_v1(self, lane, records):
        finder = readback_v1.V1WindowFinder(records)
        reading = _Reading(finder.feed, self._most_bytes, self._clock)
        self._read(lane.entry, reading)
        self._measure(lane, reading)
        found = finder.result()
        if reading.is_too_large and found.after == readback.ABSENT:
            return Found(found.arrived, TOO_LARGE)
        return found._replace(version=answers.version(reading.start))

    def is_small(self, lane, records):
        """Return whether a session is small enough to be read behind some more records of it.

        As far as its records are known to be all that it has.
        """
        size, count = lane.delivered
        is_known = count >= lane.entry.events + lane.entry.metrics and lane.reopened_at is None
        size += sum(len(record.body) for record in records)
        return is_known and size + (count + len(records)) * _BYTES_AROUND <= _SMALL

    def shows_order(self, lane, records, before, response):
        """Return whether a session as it was read has records in the order of their sending.

        Arguments and return value are those of `is_in_order`, but for this one:

        :param response: to the request that reads it.
        """
        if self._is_uncountable(lane.entry, records):
            return None
        request = dialects.V1.read(lane.entry.server_id)
        try:
            answer = answers.answer(request, response)
        except errors.DatacatError:
            return None
        if not self._server.is_v1:
            return readback.classic_order(records, answer, before)
        finder = readback_v1.V1WindowFinder(records)
        finder.feed(response.body)
        found = finder.result()
        return found.in_order if found.arrived == len(records) else None

    def is_in_order(self, lane, records, before):
        """Return whether a server has records in the order in which they were sent.

        :param records: of the lane's session, that were delivered.
        :param before: has `events` and `metrics`, how many of each were delivered before them.
        :returns: None if that cannot be told.
        """
        if self._is_hopeless(lane, records) or self._is_uncountable(lane.entry, records):
            return None
        try:
            if self._server.is_v1:
                found = self._look_v1(lane, records)
                return found.in_order if found.arrived == len(records) else None
            answer, _ = self._whole(lane)
        except errors.DatacatError:
            return None
        return None if answer is None else readback.classic_order(records, answer, before)

    def _whole(self, lane):
        """Return (a session's fields on a classic server, its version); None if too large."""
        pieces = []
        reading = _Reading(pieces.append, self._most_bytes, self._clock)
        request, response = self._read(lane.entry, reading)
        self._measure(lane, reading)
        if reading.is_too_large:
            return None, None
        answer = answers.answer(request, response._replace(body=b"".join(pieces)))
        return answer, answers.version(reading.start)

    def _is_uncountable(self, entry, records):
        """Return whether counting would prove nothing: somebody else writes, too (classic)."""
        is_counted = not self._server.is_v1 and records[0].kind != kinds.CRASH
        return is_counted and bool(entry.shared)

    # Sizes and rates

    def _is_hopeless(self, lane, records):
        """Return whether a session is too large to be read; warn if so."""
        size = _expected_size(lane, records)
        is_long = self._rate is not None and size > LONGEST_READING * self._rate
        if is_long:
            about = (lane.entry.local_id, size // 1024, self._rate // 1024)
            self._warn("large session " + lane.entry.local_id, _TOO_LARGE % about)
        return is_long or size > self._most_bytes

    @property
    def _most_bytes(self):
        # A classic session is compared as a whole, a v1 session as it comes in.
        return V1_READ_BACK_BYTES if self._server.is_v1 else CLASSIC_READ_BACK_BYTES

    def _measure(self, lane, reading):
        """Note how large a session was, and how fast it came in."""
        if reading.rate:
            self._rate = reading.rate
            self._learned.note_roughly(READING_RATE, reading.rate)
        # At least twice as large as what was read of it, or it would soon be tried again.
        size = 2 * reading.size if reading.is_too_large else reading.size
        lane.seen = size, max(1, lane.entry.sent)

    def _read(self, entry, reading, is_short=False):
        """GET a session; return the request and the response.  The body goes to `reading`."""
        request = dialects.V1.read(entry.server_id)
        response = self._server.transport.call(
            request, limit=None, on_chunk=reading, is_short=is_short
        )
        answers.check_beginning(request, response, reading.start)
        return request, response


def _expected_size(lane, records):
    """Return how many bytes a session is expected to have.

    :param records: some of it, from which others are estimated.
    """
    if lane.seen is not None:
        size, sent = lane.seen
        return size * max(1.0, lane.entry.sent / sent)
    size, count = lane.delivered
    if not count:
        size, count = sum(len(record.body) for record in records), len(records)
    return (lane.entry.events + lane.entry.metrics) * (_BYTES_AROUND + size / count)


class _Reading(object):
    """Receives the body of a session's GET in pieces, passes them on, and stops early if it can.

    :param feed: a callable (piece) that returns True once it needs no more, or None.
    :param limit: how many bytes to read at most.
    :param clock: a callable that returns monotonic seconds.
    :ivar size: how many bytes came.
    """

    def __init__(self, feed, limit, clock):
        self.start = b""
        self.size = 0
        self.is_too_large = False
        self._feed = feed
        self._limit = limit
        self._clock = clock
        self._first = self._last = None

    def __call__(self, piece):
        self._last = self._clock()
        if self._first is None:
            self._first = self._last, len(piece)
        if len(self.start) < RECOGNISED_WITHIN:
            self.start += piece[:RECOGNISED_WITHIN]
        self.size += len(piece)
        is_enough = self._feed is not None and self._feed(piece)
        is_late = self._last - self._first[0] > LONGEST_READING
        self.is_too_large = (self.size > self._limit or is_late) and not is_enough
        return is_enough or self.is_too_large

    @property
    def rate(self):
        """How many bytes came in a second, None if that cannot be told."""
        if self._first is None or self.size < _MEASURED_FROM:
            return None
        took = self._last - self._first[0]
        return (self.size - self._first[1]) / took if took > 0 else None
