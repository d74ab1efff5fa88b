"""Dropped records: counted, warned of in the log, and reported to the server.

Belongs here: how that is done.  Does not: which records are dropped, and when a report is due.
The caller has the outbox's lock.
"""

from __future__ import absolute_import, division

from ..records import build, exceptions, kinds

# Stands for a report that `before_record` drops.
_NOTHING = {}


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

    def prepare(self, entry):
        """Have `before_record` see the next report of a session; called without the lock."""
        if _is_shown(entry) and entry.unreported:
            redact = entry.redact
            told = redact.before_record(kinds.EVENT, build.dropped(entry.unreported))
            # Plain, because the lock is held when it is read: odd values may raise, or wait.
            entry.report = redact.without_secrets(kinds.EVENT, told) if told else _NOTHING

    def report(self, intake, entries):
        """Queue events that report sessions' losses since their last reports, if any.

        One that `before_record` has yet to see waits for the next `prepare`.
        """
        self._warn.clear("dropped")
        for entry in entries:
            if entry.unreported and (entry.report is not None or not _is_shown(entry)):
                intake.add(entry, kinds.REPORT, _report_of, unreported=0)


def _is_shown(entry):
    """Return whether `before_record` sees a session's reports."""
    return entry.redact is not None and entry.redact.before_record is not None


def _report_of(entry):
    """Return the body of a report, as it is written: the count may change until then.

    None: it was made meanwhile, or `before_record` has yet to see it.  Empty: it is dropped.
    """
    count, fields = entry.unreported, entry.report
    entry.report = None
    if not _is_shown(entry):
        fields = build.dropped(count)
    if not count or fields is None:
        return None
    if fields is _NOTHING:
        return b""
    data = fields.get("data")
    if isinstance(data, dict) and "count" in data:
        fields = dict(fields, data=dict(data, count=count))
    return exceptions.encode_cut(fields)
