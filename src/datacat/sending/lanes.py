"""What the sender knows of the way to the server and of each session's turn on it.

What may live here: plain state and decisions about it, with `now` given.  What may not: I/O,
clocks, threads, and changes to an outbox.
"""

from __future__ import absolute_import, division

from ..wire import backoff, verdicts

ADOPTED_TURN = 10
BACKLOG_SECONDS = 600.0


class _Pausing(object):
    """Something that is left alone until a time."""

    def __init__(self):
        self.due = 0.0
        self.failures = 0
        self._patient = True

    def wait(self, until, patient=True):
        """Do nothing with it until then.

        :param patient: whether a hurry changes nothing about that.
        """
        self.due = until
        self._patient = patient

    def failed(self, error, now, random):
        """It failed: back off, or wait as long as the server asked to."""
        self.failures += 1
        self.wait(
            now + backoff.pause(error, self.failures, random),
            patient=error.retry_after is not None,
        )

    def hurry(self):
        """Try again now, where only a backoff keeps it from that."""
        if not self._patient:
            self.due = 0.0


class Link(_Pausing):
    """The way to one server: is it open, since when not, and until when is it left alone."""

    def __init__(self):
        super(Link, self).__init__()
        self.ever_up = False
        self.last_error = None
        self.is_blip = False

    @property
    def online(self):
        """Whether the server is there; None as long as nothing is known of it."""
        return False if self.failures and not self.is_blip else (self.ever_up or None)

    def failed(self, error, now, random):
        """The server could not be reached, or wants to be left alone."""
        super(Link, self).failed(error, now, random)
        self.last_error = error
        self.is_blip = verdicts.is_blip(error, self.failures)

    def succeeded(self):
        """The server answered as a datacat server does."""
        self.due = 0.0
        self.failures = 0
        self.ever_up = True


class Doubt(object):
    """A record that may have arrived: what finding out has come to.

    :param error: how sending it failed, None where a dead process may have sent it.
    """

    def __init__(self, record, error=None):
        self.record = record
        self.error = error
        self.absent_once = False
        self.failures = 0
        self.first_failure = None

    def failed(self, now):
        """The read-back itself failed, at a server that speaks otherwise."""
        self.failures += 1
        if self.first_failure is None:
            self.first_failure = now

    def is_over(self, error, now):
        """Whether it will not be found out any more, after the latest failure."""
        return self.first_failure is not None and verdicts.read_back_is_over(
            error, self.failures, self.first_failure, now
        )


class Lane(_Pausing):
    """One session's way out: its outbox and entry, and how its oldest record has fared."""

    def __init__(self, outbox, entry, adopted):
        super(Lane, self).__init__()
        self.outbox = outbox
        self.entry = entry
        self.adopted = adopted
        self.merged = None
        self.reopened_at = None
        self.complained = False
        self._refused_with = None
        self._refusals = 0
        self.moved_on()

    def moved_on(self):
        """The oldest record is out of the way."""
        self.due = 0.0
        self.doubt = None
        self.failures = 0
        self.blames = 0
        self._first_blame = None
        self._oldest = None

    @property
    def has_work(self):
        """Whether there is anything to send for this session."""
        entry = self.entry
        return entry.waiting > 0 or bool(entry.restoring and entry.server_id)

    @property
    def is_over(self):
        """Whether nothing more will come of an adopted session."""
        return bool(self.adopted) and self.entry.is_over

    @property
    def oldest(self):
        """When its oldest record was captured, microseconds since the epoch; 0 without one."""
        if self._oldest is None:
            head = self.outbox.head(self.entry)
            self._oldest = head.captured if head else 0
        return self._oldest

    def blame(self, now):
        """The oldest record failed by itself, while the server answers for its session."""
        self.blames += 1
        if self._first_blame is None:
            self._first_blame = now

    def is_poisoned(self, now):
        """Whether the oldest record's own fault must be suspected."""
        return self._first_blame is not None and verdicts.is_poisoned(
            self.blames, self._first_blame, now
        )

    def refused(self, words):
        """Count a refusal; return whether too many in a row had the same words."""
        self._refusals = self._refusals + 1 if words == self._refused_with else 1
        self._refused_with = words
        return self._refusals >= verdicts.SUSPICIOUS_REFUSALS

    def not_suspicious(self):
        """What was refused was the records' fault, or something was taken again."""
        self._refusals = 0
        self._refused_with = None


class Backlog(object):
    """Whether more is accepted than delivered, for ten minutes on end.

    Looked at every five minutes: in two such spans in a row, without a moment when nothing
    waited, the number of waiting records must have grown.
    """

    def __init__(self):
        self.is_over()

    def is_over(self):
        """Nothing waits."""
        self._since = None
        self._waiting = 0
        self._grown = 0

    def is_due(self, now):
        """Return whether it is time to look."""
        return self._since is None or now - self._since >= BACKLOG_SECONDS / 2

    def grows(self, waiting, now):
        """Look; return whether it has been growing for all that time.

        :param waiting: how many records wait now.
        """
        if self._since is not None:
            self._grown = self._grown + 1 if waiting > self._waiting else 0
        self._since, self._waiting = now, waiting
        return self._grown >= 2


def choose(lanes, now, turn):
    """Return the lane whose turn it is, or None where none is ready.

    Opens go first, then the oldest record; live sessions before adopted ones, but every tenth
    turn is an adopted one's where one is ready.

    :param turn: how many sends there have been.
    """
    ready = [lane for lane in lanes if lane.due <= now and lane.has_work]
    if len(ready) < 2:
        return ready[0] if ready else None
    adopted_first = turn % ADOPTED_TURN == ADOPTED_TURN - 1
    return min(
        ready,
        key=lambda lane: (
            lane.adopted != adopted_first,
            lane.entry.server_id is not None,
            lane.oldest,
        ),
    )


def next_due(lanes):
    """Return the earliest time at which a lane with work is due, or None."""
    times = [lane.due for lane in lanes if lane.has_work]
    return min(times) if times else None
