"""The application's `before_record`, which may change or drop a record.

Belongs here: calling it and checking its result.  Does not: redaction rules of our own.
"""

from __future__ import absolute_import, division

from . import jsonable


class Redaction(object):
    """Passes the fields of records through a session's `before_record`.

    :param before_record: a callable (kind, fields) -> fields, or None to drop the record.
    :param warn: a callable (topic, message).
    """

    def __init__(self, before_record, warn):
        self._before_record = before_record
        self._warn = warn

    def __call__(self, kind, fields):
        """Return the fields to record, or None if the record is dropped.

        Raises nothing but MemoryError: a record whose `before_record` fails is dropped.
        """
        try:
            # Plain values of its own: it may change them at any depth, and what is recorded later
            # as the repr of an object is a text here already.
            changed = self._before_record(kind, jsonable.plain(fields))
        except MemoryError:
            raise
        except Exception as error:
            return self._drop(u"raised " + jsonable.describe(error))
        if changed is None or issubclass(type(changed), dict):
            return changed
        return self._drop("returned %.100r, which is neither a dict nor None" % (changed,))

    def _drop(self, what):
        """Warn that a record is dropped, because it may contain what should be hidden."""
        name = _name_of(self._before_record)
        self._warn(
            ("before_record", name),
            "before_record (%s) %s; the record is dropped, because it may contain what should be "
            "hidden: fix the function" % (name, what),
        )


def _name_of(function):
    """Return a text that is the same for all functions made by the same line of code."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return "%s, line %d of %s" % (code.co_name, code.co_firstlineno, code.co_filename)
    return getattr(function, "__name__", None) or type(function).__name__
