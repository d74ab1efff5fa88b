"""A session as one outbox has it.

Belongs here: what is known of it, and what follows from that alone.  Does not: reading and saving
it (see `tables`), and decisions about its records.
"""

from __future__ import absolute_import, division

from ..records import kinds

COUNTS = (
    "shared",
    "restoring",
    "accepted",
    "gone",
    "sent",
    "events",
    "metrics",
    "dead",
    "dropped",
    "merged",
    "possibly_twice",
    "unreported",
    "overtaken",
)
# What may change, and is then saved.
SAVED = ("server_id", "goodbye", "hung") + COUNTS
COLUMNS = ("number", "local_id", "opening", "opened", "inherited") + SAVED


class Entry(object):
    """A row of the sessions table, kept in memory while its file is open.

    Its records are numbered 1, 2, 3 ..., so two numbers tell what waits: `accepted`, the highest
    one given, and `gone`, how many records are out.  What became of those is statistics: `sent`,
    `dead`, `dropped`, `merged`.  A record of which a later one went first is counted in
    `overtaken`.

    Not stored are:

    :ivar arrivals: the outbox's queue of records on their way in.
    :ivar position: the number up to which every record is out.
    :ivar ahead: the numbers after `position` whose records are out too.
    :ivar handed: the highest number that the outbox has returned; its record may be in flight.
    :ivar forgotten: whether the outbox has removed the session.
    :ivar refusal: the error with which the server refused to open the session, or None.
    :ivar past: the entries of server sessions that it has left behind, if any may have records.
    :ivar is_past: whether it is one of those, which nobody in this process uses.
    :ivar redact: what its records pass through, a Redaction or None.
    :ivar report: the fields of the next report of its losses as `redact` left them; None before it
        saw one.
    """

    __slots__ = COLUMNS + (
        "arrivals",
        "position",
        "ahead",
        "handed",
        "forgotten",
        "refusal",
        "past",
        "is_past",
        "redact",
        "report",
    )

    def __init__(self, **columns):
        self.arrivals = ()
        self.position = self.handed = 0
        self.ahead = frozenset()
        self.forgotten = self.is_past = False
        self.past = ()
        self.refusal = self.redact = self.report = None
        self.hung = self.server_id = self.goodbye = None
        self.inherited = self.shared = self.restoring = 0
        self.accepted = self.gone = self.sent = self.events = self.metrics = 0
        self.dead = self.dropped = self.merged = self.possibly_twice = self.unreported = 0
        self.overtaken = 0
        for name, value in columns.items():
            setattr(self, name, value)
        self.opening = bytes(self.opening)

    @property
    def waiting(self):
        """How many records are accepted and not out yet."""
        # Read in the opposite order of a record's way: one that moves on meanwhile may be counted
        # twice, but never missed.
        gone = self.gone
        return self.queued + self.accepted - gone

    @property
    def queued(self):
        """How many records are still in the queue, in memory only."""
        while self.arrivals:
            try:
                return [arrival.entry for arrival in list(self.arrivals)].count(self)
            except RuntimeError:
                pass  # a finalizer logged while the queue was copied
        return 0

    @property
    def is_delivered(self):
        """Whether nothing is left to send, also to server sessions that it has left behind."""
        is_sent = self.waiting <= 0 and not self.restoring
        return is_sent and all(each.is_delivered for each in self.past)

    @property
    def is_over(self):
        """Whether it said goodbye, and nothing is left to send or to report."""
        return bool(self.goodbye) and self.is_delivered and not self.unreported

    # Records that are out

    def let_out(self, record, is_dead=False):
        """Move on past its oldest record; return False if that was done before.

        If memory runs out before this is saved, the next save catches up.
        """
        if self.forgotten or record.number <= self.position:
            return False
        self.position = record.number
        if self.ahead:
            self.ahead = frozenset(number for number in self.ahead if number > record.number)
        self.gone += 1
        if is_dead:
            self.dead += 1
        else:
            self.sent += 1
        return True

    def let_out_all(self, delivered):
        """Move on past its oldest records; return those for which that is new."""
        fresh = [record for record in delivered if self.let_out(record)]
        self._count_listed(fresh)
        return fresh

    def let_out_ahead(self, delivered, overtaken):
        """Note that records are out although older ones wait; return those that are new.

        :param overtaken: how many older ones.
        """
        fresh = [
            record
            for record in delivered
            if record.number > self.position and record.number not in self.ahead
        ]
        if self.forgotten or not fresh:
            return []
        self.ahead = self.ahead.union(record.number for record in fresh)
        self.gone += len(fresh)
        self.sent += len(fresh)
        self.overtaken += overtaken
        self._count_listed(fresh)
        return fresh

    def _count_listed(self, delivered):
        """Count those of some records that a server lists in a session."""
        self.events += sum(record.kind in kinds.LISTED_AS_EVENTS for record in delivered)
        self.metrics += sum(record.kind == kinds.METRIC for record in delivered)
