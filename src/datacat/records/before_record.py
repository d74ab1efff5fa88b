"""The application's `before_record`, which may change or drop a record.

It sees every record, the library's own too.  It may take locks of its own, and log: it is not
called while a lock is held for which a call of the application's may wait, or a fork; but for the
first call in a forked child, for which other calls may wait 200 ms.

Belongs here: calling it and checking its result.  Does not: what the library itself hides (see
`redaction`).
"""

from __future__ import absolute_import, division

import six

from .._compat import is_main_thread
from ..stack import raise_if_exhausted
from . import build, jsonable, kinds

# What an open, an end and a crash may say, and what stays if `before_record` drops them.
_FIELDS = {
    kinds.OPEN: (("product", "version", "hostname", "machine_id"), ("product", "version")),
    kinds.CRASH: (("reason",), ("reason",)),
    kinds.END: ((), ()),
}
_AFTER_FAULT = dict.fromkeys(_FIELDS, "says only what the server needs")
# Characters of one field, so that no record of these kinds is too large to be sent.
_LONGEST = 4096


class BeforeRecord(object):
    """Passes the fields of records through a session's `before_record`.

    :param before_record: a callable (kind, fields) -> fields, or None to drop the record.
    :param warn: a callable (topic, message).
    """

    def __init__(self, before_record, warn):
        self._before_record = before_record
        self._warn = warn

    def __call__(self, kind, fields):
        """Return the fields to record, or None if the record is dropped.

        A record whose `before_record` fails is dropped.  Raises only what says that memory or
        stack ran out and, in the main thread, what a signal handler may raise to end the process.
        """
        try:
            # Plain values of its own: it may change them at any depth, and what is recorded later
            # as the repr of an object is a text here already.
            changed = self._before_record(kind, jsonable.plain(fields))
        except (Exception, SystemExit) as error:
            raise_if_exhausted(error)
            # In any other thread it is the function's own sys.exit().  In a thread of the library
            # it would cost a record of the library's.
            if isinstance(error, SystemExit) and is_main_thread():
                raise
            return self._drop(kind, u"raised " + jsonable.describe(error))
        if changed is None:
            return None
        try:
            if issubclass(type(changed), dict):
                return build.checked(kind, changed)
        except jsonable.RAISED_BY_VALUES as error:
            raise_if_exhausted(error)
        # Without the value, which may be what should be hidden.
        return self._drop(
            kind, "returned a %s that is not the fields of one" % jsonable.name_of(type(changed))
        )

    def never_dropped(self, kind, fields):
        """Return the fields of an open, an end or a crash.

        :param fields: a dict; what the server needs of it stays, whatever the function returns.
        """
        known, needed = _FIELDS[kind]
        kept = dict((name, fields[name]) for name in needed)
        told = jsonable.plain(self(kind, fields))
        for name in known if isinstance(told, dict) else ():
            if isinstance(told.get(name), six.text_type) and told[name]:
                kept[name] = told[name][:_LONGEST]
        return kept

    def _drop(self, kind, what):
        """Warn that a record is dropped, because it may contain what should be hidden."""
        name = _name_of(self._before_record)
        self._warn(
            ("before_record", name),
            "before_record (%s) %s; the %s %s, because it may contain what should be hidden: "
            "fix the function" % (name, what, kind, _AFTER_FAULT.get(kind, "is dropped")),
        )


def _name_of(function):
    """Return a text that is the same for all functions made by the same line of code."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return "%s, line %d of %s" % (code.co_name, code.co_firstlineno, code.co_filename)
    return getattr(function, "__name__", None) or jsonable.name_of(type(function))
