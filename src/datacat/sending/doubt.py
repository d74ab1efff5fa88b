"""Did it arrive?  Finding out about a record that may or may not have been applied.

Belongs here: what is known about a doubt, and what a read-back leads to.  Does not: reading the
session (`server`), comparing it with the record (`wire.readback`), carrying acts out (`acts`).

Theory of operation

1. The oldest records of a session come into doubt
   a. if their requests failed ambiguously: they were sent, and no answer tells whether they were
      applied (`error` is that failure); or
   b. if their outbox was taken over, or serving them raised something unexpected: they may have
      been sent before (`error` is None), as many as a window has.
   Opens and ends are never in doubt: they are sent again.
2. The records stay where they are, at the head of their session, which sends nothing meanwhile.
   Other sessions go on.
3. A read-back is a GET of the session, whose answer is compared with the records.  A doubt is
   *fresh* until one is answered, which also proves that the server takes requests again.
4. Those that arrived are a beginning of those in doubt, because a server takes one request after
   the other.  They are settled.  In case 1b, if all arrived, the next ones are suspected too: they
   may not have been settled either.  About the next record, the answer shows one of two things.
   - It is absent.  Requests that were cut off can still be applied, so the doubt turns *quiet*:
     after two seconds there is another look, which reads the session again only if it was changed
     meanwhile.  Absent again: the rest is sent again.  If more have arrived, the two seconds begin
     again.
   - Neither (another writer, another record in its place): the rest is sent again and counted in
     `possibly_twice`.  "Arrived" is never a guess.  A session that is too large to be read (see
     `looks`) gets its two seconds as well.
   In case 1a a record that has to be sent again is blamed: it failed although its session can be
   read.  Blamed ten times over ten minutes, it becomes a dead letter.
5. The read-back itself may fail.  Unless the server answers a health check, everything waits and
   the doubt stays as it is.  If only this session cannot be read, failures count.  The record is
   sent again and counted after three of them, but not within five seconds of the first if the
   network failed rather than the server, or after a minute.
6. On classic an answer is believed only if nobody else writes into the session.  A forked child
   marks its parent's outbox before it sends anything, and the mark is looked for after the answer.
   So whatever the answer contains of the child's, the mark was made before.
7. A doubt may be interrupted anywhere, because it is in memory only, and the record stays on disk
   until one transaction settles it.  Whenever the process is killed, the next one finds the record
   at the head of an outbox that it takes over: case 1b.  What must survive is written first:
   `possibly_twice`, and `shared` where a copy of our own may be listed, before the record is sent
   again.  If the process is killed in between, one copy too many is counted, never one too few.

A doubt refers to its record by number, so it costs the same for any record.
"""

from __future__ import absolute_import, division

from ..wire import readback, verdicts
from ..wire.readback import NOTHING_LISTED
from .decisions import (
    ASK_HEALTH,
    AWAIT_QUIET,
    BLAME,
    BURY,
    EVERYTHING_WAITS,
    READ_BACK_LATER,
    SEND_AGAIN,
    SEND_IN_DOUBT,
    SHARE,
    SLOW_DOWN,
    SUSPECT_NEXT,
    lost,
)


class Doubt(object):
    """What is known about a record that may have arrived.

    :param number: the record's number in its session.
    :param error: how sending it failed; None if it may have been sent before (1b above).
    :param count: how many records, from that one on, may have arrived.
    :param ahead: has `events` and `metrics`, how many the server lists after that record which
        overtook it.
    :ivar is_quiet: whether one read-back found it absent, or the session too large to be read.
    :ivar version: when the session was last changed, by that read-back; None if unknown.
    :ivar failures: how many read-backs failed although the server answers.
    """

    __slots__ = (
        "number",
        "error",
        "count",
        "ahead",
        "is_quiet",
        "version",
        "failures",
        "_first_failure",
    )

    def __init__(self, number, error=None, count=1, ahead=NOTHING_LISTED):
        self.number = number
        self.error = error
        self.count = count
        self.ahead = ahead
        self.is_quiet = False
        self.version = None
        self.failures = 0
        self._first_failure = None

    def fail(self, now):
        """Note that a read-back failed although the server answers."""
        self.failures += 1
        if self._first_failure is None:
            self._first_failure = now

    def would_be_over(self, error, now):
        """Return whether one more failed read-back is the last attempt.

        :param error: how it failed.
        """
        first = now if self._first_failure is None else self._first_failure
        return verdicts.read_back_is_over(error, self.failures + 1, first, now)


def after_read_back(found, doubt, known):
    """Return the acts that an answered read-back leads to.

    :param found: readback.ABSENT, UNKNOWABLE or TOO_LARGE, about the first record that did not
        arrive; None if all of them did, and are settled.
    :param doubt: the Doubt about that record.
    :param known: a decisions.Known.
    """
    if known.is_marked:
        return (SHARE,) + after_read_back(
            readback.UNKNOWABLE, doubt, known._replace(is_marked=False)
        )
    is_ours = doubt.error is not None
    if found is None:
        # What was in doubt and not at hand comes next.
        return () if is_ours and doubt.count <= 0 else (SUSPECT_NEXT,)
    if found in (readback.ABSENT, readback.TOO_LARGE) and not doubt.is_quiet:
        return (AWAIT_QUIET,)
    if is_ours and known.would_be_poisoned:
        return (BURY,)
    blamed = (BLAME, SLOW_DOWN) if is_ours else ()
    return blamed + ((SEND_AGAIN,) if found == readback.ABSENT else (SEND_IN_DOUBT,))


def after_failed_read_back(error, known):
    """Return the acts that a failed read-back leads to, or ASK_HEALTH.

    :param error: the DatacatError.
    :param known: a decisions.Known.
    """
    meaning = verdicts.verdict(error)
    if meaning == verdicts.SESSION_LOST:
        return lost(known)
    if meaning != verdicts.AMBIGUOUS:
        return (EVERYTHING_WAITS,)
    if known.speaks is None:
        return ASK_HEALTH
    if not known.speaks:
        return (EVERYTHING_WAITS,)
    return (READ_BACK_LATER, SEND_IN_DOUBT) if known.would_end_doubt else (READ_BACK_LATER,)
