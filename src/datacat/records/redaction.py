"""What a session's records pass before they are kept: its `before_record`.

Belongs here: which of it applies to which record.  Does not: calling the application's function
(see `before_record`).
"""

from __future__ import absolute_import, division

from . import build, exceptions, kinds
from .before_record import BeforeRecord


def make(settings, warn):
    """Return the Redaction for a session with these settings, or None if nothing is redacted.

    :param warn: a callable (topic, message).
    """
    if settings.before_record is None:
        return None
    return Redaction(BeforeRecord(settings.before_record, warn))


def own_event(redact, fields):
    """Return the body of an event of the library's own (bytes), None if it is dropped.

    :param redact: a Redaction, or None.
    """
    if redact is None:
        return exceptions.encode_cut(fields)
    return redact.body(kinds.EVENT, fields, exceptions.encode_cut)


def never_dropped(redact, kind, fields):
    """Return the fields of an open, an end or a crash.

    :param redact: a Redaction, or None.
    :param fields: a dict; what the server needs of it stays, whatever `before_record` returns.
    """
    if redact is None or redact.before_record is None:
        return fields
    return redact.before_record.never_dropped(kind, fields)


class Redaction(object):
    """Redacts the records of a session.

    :ivar before_record: its BeforeRecord, or None.
    """

    def __init__(self, before_record):
        self.before_record = before_record

    def body(self, kind, fields, encode=build.encode):
        """Return a record's body (bytes), or None if it is dropped.

        :param encode: a callable (fields) -> bytes.
        :raises InvalidArgument: as `encode` does.
        """
        fields = self.fields(kind, fields)
        return None if fields is None else encode(fields)

    def fields(self, kind, fields):
        """Return what is to be recorded of a record's fields, or None if it is dropped."""
        return fields if self.before_record is None else self.before_record(kind, fields)
