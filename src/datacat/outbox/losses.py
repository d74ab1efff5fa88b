"""Dropped records: counted, warned of in the log, and reported to the server.

Belongs here: how that is done.  Does not: which records are dropped, and when a report is due.
The caller has the outbox's lock.
"""

from __future__ import absolute_import, division

from ..records import build, kinds


class Losses(object):
    """Counts the records that sessions lose, and reports them.

    :param warn: a callable (topic, message) with `clear(topic)`.
    """

    def __init__(self, warn):
        self._warn = warn

    def count(self, entry, count):
        """Count numbered records that were dropped."""
        if count:
            entry.gone += count
            entry.dropped += count
            entry.unreported += count
            self.tell(entry, count)

    def tell(self, entry, count):
        """Warn of records that were counted as dropped."""
        self._warn(
            "dropped",
            "%d records of session %s were dropped; stats() counts them, and the server is told"
            % (count, entry.local_id),
        )

    def report(self, intake, entries):
        """Queue events that report sessions' losses since their last reports, if any."""
        self._warn.clear("dropped")
        for entry in entries:
            if entry.unreported:
                intake.add(entry, kinds.REPORT, _report_of, unreported=0)


def _report_of(entry):
    """Return the body of a report, as it is written: the count may change until then."""
    count = entry.unreported
    return build.encode(build.dropped(count)) if count else None
