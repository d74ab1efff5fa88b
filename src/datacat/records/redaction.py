"""What a session's records pass before they are kept: its `before_record`, then `redact`.

Belongs here: which of the two applies to which record.  Does not: calling the application's
function (see `before_record`), and what a secret is (see `secrets`).
"""

from __future__ import absolute_import, division

import json

from . import build, exceptions, jsonable, kinds
from .before_record import BeforeRecord


def make(settings, warn):
    """Return the Redaction for a session with these settings, or None if nothing is redacted.

    :param warn: a callable (topic, message).
    """
    shown, more = settings.before_record, settings.redact
    if shown is None and more is False:
        return None
    # Imported late: its patterns take 4 ms, which `import datacat` does without.
    from .secrets import Secrets

    return Redaction(
        None if shown is None else BeforeRecord(shown, warn),
        None if more is False else Secrets(() if more is True else more),
    )


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
    if redact is None:
        return fields
    if redact.before_record is not None:
        fields = redact.before_record.never_dropped(kind, fields)
    return redact.without_secrets(kind, fields)


def without_secrets(redact, words):
    """Return a text that a server said, which may repeat what it got, without secrets.

    :param redact: a Redaction, or None.
    :param words: a text, or None.
    """
    if redact is None or not words:
        return words
    return redact.without_secrets(kinds.EVENT, {"message": words})["message"]


class Redaction(object):
    """Redacts the records of a session.

    :param before_record: its BeforeRecord, or None.
    :param secrets: Secrets, or None if secrets stay.
    :ivar before_record: as given.
    """

    def __init__(self, before_record, secrets=None):
        self.before_record = before_record
        self._secrets = secrets

    def body(self, kind, fields, encode=build.encode):
        """Return a record's body (bytes), or None if it is dropped.

        :param encode: a callable (fields) -> bytes, which may cut them or refuse them.
        :raises InvalidArgument: as `encode` does.
        """
        if self.before_record is not None:
            fields = self.before_record(kind, fields)
            if fields is None:
                return None
        if self._secrets is None:
            return encode(fields)
        # Whole: what is cut may have lost the key of a secret.
        body = jsonable.encode(fields, jsonable.UNLIMITED)
        if self._secrets.may_be_in(body):
            return encode(self._secrets.hidden(kind, json.loads(body.decode("ascii"))))
        return body if len(body) <= jsonable.MAX_BYTES else encode(fields)

    def without_secrets(self, kind, fields):
        """Return fields that `before_record` has seen without secrets, as plain values."""
        fields = jsonable.plain(fields)
        return fields if self._secrets is None else self._secrets.hidden(kind, fields)
