"""The application's own say in what is recorded: its `before_record`.

What may live here: calling it and distrusting what it returns.  What may not: rules of our own.
"""

from __future__ import absolute_import, division

from . import build


class Redaction(object):
    """Encodes records as `before_record` leaves them.

    :param before_record: a callable (kind, fields) -> fields, or None to drop the record; None:
        every record stays as it is.
    :param warn: a callable (topic, message).
    """

    def __init__(self, before_record, warn):
        self._before_record = before_record
        self._warn = warn

    def encoded(self, kind, fields, encode=build.encode):
        """Return a record's body, or None where it is dropped."""
        if self._before_record is not None:
            fields = self._changed(kind, fields)
        return None if fields is None else encode(fields)

    def _changed(self, kind, fields):
        try:
            changed = self._before_record(kind, fields)
        except MemoryError:
            raise
        except Exception as error:
            return self._distrust("raised %r" % error)
        if changed is None or isinstance(changed, dict):
            return changed
        return self._distrust("returned %.100r, which is neither a dict nor None" % (changed,))

    def _distrust(self, what):
        self._warn(
            "before_record",
            (
                "before_record %s; the record is not logged: what it was to hide is not known"
                % what
            ),
        )
