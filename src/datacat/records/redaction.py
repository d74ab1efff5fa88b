"""The application's own say in what is recorded: its `before_record`.

Belongs here: calling it, and not trusting what it returns.  Does not: rules of our own.
"""

from __future__ import absolute_import, division


class Redaction(object):
    """Passes the fields of records through a session's `before_record`.

    :param before_record: a callable (kind, fields) -> fields, or None to drop the record.
    :param warn: a callable (topic, message).
    """

    def __init__(self, before_record, warn):
        self._before_record = before_record
        self._warn = warn

    def __call__(self, kind, fields):
        """Return the fields to record, or None where the record is dropped."""
        try:
            changed = self._before_record(kind, fields)
        except MemoryError:
            raise
        except Exception as error:
            return self._drop("raised %r" % error)
        if changed is None or isinstance(changed, dict):
            return changed
        return self._drop("returned %.100r, which is neither a dict nor None" % (changed,))

    def _drop(self, what):
        """Drop a record that may hold what was to be hidden."""
        name = _name_of(self._before_record)
        self._warn(
            ("before_record", name),
            "before_record (%s) %s; the record is dropped, for it may hold what was to be hidden: "
            "fix the function" % (name, what),
        )


def _name_of(function):
    """Return the same text for what the same line of code makes again and again."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return "%s, line %d of %s" % (code.co_name, code.co_firstlineno, code.co_filename)
    return getattr(function, "__name__", None) or type(function).__name__
