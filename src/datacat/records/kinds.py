"""The kinds of records, and the value that carries a record through the packages.

Belongs here: what every package must know about records.  Does not: building and encoding them.
"""

from __future__ import absolute_import, division

import collections
import datetime

OPEN = "open"
STATE = "state"
EVENT = "event"
METRIC = "metric"
EXCEPTION = "exception"
# An event that tells the server of lost records; it is never lost itself.
REPORT = "report"

# What a server lists among a session's events, and all that it keeps with a time of its own.
LISTED_AS_EVENTS = frozenset((EVENT, EXCEPTION, REPORT))
TIMED = LISTED_AS_EVENTS | frozenset((METRIC,))
END = "end"
CRASH = "crash"

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECONDS = 10**6
_YEAR_1, _YEAR_9999 = -62135596800 * _MICROSECONDS, 253402300799 * _MICROSECONDS

# session: the session's number in its outbox; number: 1, 2, 3... within the session; kind: one of
# the above; body: JSON in ASCII (bytes); captured: microseconds since the epoch, UTC; digits: the
# three below the microsecond, a number of the writer's (0 to 999).
Record = collections.namedtuple("Record", "session number kind body captured digits")
Record.__new__.__defaults__ = (0,)


def rfc3339(captured, digits=0):
    """Format a time as RFC 3339 in UTC, such as "2026-01-02T03:04:05.1Z".

    As on v1 servers, the fraction has no trailing zeros, and there is none if it is 0.  Times that
    it cannot express become the first or last one that it can.

    :param captured: microseconds since the epoch (int).
    :param digits: the three digits below the microsecond (int).
    """
    seconds, fraction = divmod(min(max(captured, _YEAR_1), _YEAR_9999), _MICROSECONDS)
    moment = (_EPOCH + datetime.timedelta(0, seconds)).isoformat()
    if not (fraction or digits):
        return moment + "Z"
    return moment + (".%06d%03d" % (fraction, digits)).rstrip("0") + "Z"
