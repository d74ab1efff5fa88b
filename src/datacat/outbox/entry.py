"""A session as one outbox has it.

Belongs here: what is known of it, and what follows from that alone.  Does not: reading and saving
it (see `tables`), and decisions about its records.
"""

from __future__ import absolute_import, division

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
)
# What may change, and is then saved.
SAVED = ("server_id", "goodbye", "hung") + COUNTS
COLUMNS = ("number", "local_id", "opening", "opened", "inherited") + SAVED


class Entry(object):
    """A row of the sessions table, kept in memory while its file is open.

    Its records are numbered 1, 2, 3 ..., so two numbers tell what waits: `accepted`, the highest
    one given, and `gone`, how many records are out.  What became of those is statistics: `sent`,
    `dead`, `dropped`, `merged`.

    Not stored are:

    :ivar arrivals: the outbox's queue of records on their way in.
    :ivar position: the number up to which every record is out.
    :ivar handed: the highest number that `Outbox.head` has returned; its record may be in flight.
    :ivar forgotten: whether the outbox has removed the session.
    :ivar refusal: the error with which the server refused to open the session, or None.
    :ivar redact: what its records pass through, a Redaction or None.
    :ivar report: the fields of the next report of its losses as `redact` left them; None before it
        saw one.
    """

    __slots__ = COLUMNS + (
        "arrivals",
        "position",
        "handed",
        "forgotten",
        "refusal",
        "redact",
        "report",
    )

    def __init__(self, **columns):
        self.arrivals = ()
        self.position = self.handed = 0
        self.forgotten = False
        self.refusal = self.redact = self.report = None
        self.hung = self.server_id = self.goodbye = None
        self.inherited = self.shared = self.restoring = 0
        self.accepted = self.gone = self.sent = self.events = self.metrics = 0
        self.dead = self.dropped = self.merged = self.possibly_twice = self.unreported = 0
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
        """Whether nothing is left to send."""
        return self.waiting <= 0 and not self.restoring

    @property
    def is_over(self):
        """Whether it said goodbye, and nothing is left to send or to report."""
        return bool(self.goodbye) and self.is_delivered and not self.unreported
