"""Tracebacks as text, for any exception and at any length.

Belongs here: what Python's `traceback` cannot do on every version: leave out the middle of a
long traceback, and most of a long chain of causes.  Does not: which of it is recorded.
"""

from __future__ import absolute_import, division

import collections
import traceback

import six

from .. import _compat
from ..stack import raise_if_exhausted
from . import jsonable

MOST_FRAMES = 50
MOST_CAUSES = 16

_HEADING = u"Traceback (most recent call last):\n"
_UNQUALIFIED = ("builtins", "exceptions", "__main__")
_LINKS = {
    "cause": u"\nThe above exception was the direct cause of the following exception:\n\n",
    "context": u"\nDuring handling of the above exception, another exception occurred:\n\n",
}


class Trace(object):
    """A traceback, cut to its first and its last 50 frames.  It is walked once.

    :param trace: a traceback or None.
    :ivar last: the innermost frame's part of it, or None.
    """

    def __init__(self, trace):
        self._first = trace
        # Formatted once: reading the source takes most of the time.
        self._lines = None
        tail = collections.deque(maxlen=MOST_FRAMES)
        count = 0
        while trace is not None:
            tail.append(trace)
            count += 1
            trace = trace.tb_next
        self._tail = tail
        self._left_out = max(0, count - 2 * MOST_FRAMES)
        self.last = tail[-1] if tail else None

    def lines(self):
        """Return a text for each frame (list), with a count in place of those left out."""
        if self._lines is None:
            self._lines = self._formatted()
        return self._lines

    def _formatted(self):
        if not self._left_out:
            return _all_decoded(traceback.format_tb(self._first))
        lines = _format_cut(self._first, MOST_FRAMES)
        lines.append("  <%d more frames>\n" % self._left_out)
        return _all_decoded(lines + _format_cut(self._tail[0]))


def text(kind, error, trace):
    """Return an exception with its traceback and those of its causes as text.

    :param trace: a Trace.
    """
    if issubclass(type(error), _compat.BaseExceptionGroup):
        # As a tree, which every Python that has groups draws.
        lines = traceback.format_exception(kind, error, error.__traceback__, limit=-MOST_FRAMES)
        return u"".join(_all_decoded(lines))
    blocks = [_block(kind, error, trace)]
    for relation, cause in _chain(error):
        blocks.append(_LINKS[relation])
        blocks.append(_block(type(cause), cause, Trace(attribute_of(cause, "__traceback__"))))
    if len(blocks) > 2 * MOST_CAUSES:
        blocks.append(u"<more causes>\n")
    return u"".join(reversed(blocks))


def related(error):
    """Return the exceptions that another one names, as pairs (relation, exception).

    The relation is "cause", "context" or, in a group, "member".
    """
    found = [_cause(error)] + [("member", member) for member in members_of(error)]
    return [(relation, each) for relation, each in found if each is not None]


def members_of(error):
    """Return the members of an exception group, a list; empty if it is none."""
    members = attribute_of(error, "exceptions")
    if type(members) not in (tuple, list):
        return []
    return list(members) if all(issubclass(type(each), BaseException) for each in members) else []


def _cause(error):
    cause = attribute_of(error, "__cause__")
    if cause is not None:
        return "cause", cause
    if attribute_of(error, "__suppress_context__"):
        return None, None
    return "context", attribute_of(error, "__context__")


def _chain(error):
    seen = set([id(error)])
    for _ in range(MOST_CAUSES):
        relation, error = _cause(error)
        if error is None or id(error) in seen:
            return
        seen.add(id(error))
        yield relation, error


def _block(kind, error, trace):
    lines = trace.lines()
    return u"".join([_HEADING] * bool(lines) + lines) + _last_lines(kind, error)


def _last_lines(kind, error):
    # `format_exception_only` walks all causes, before Python 3.10 recursively.
    if issubclass(type(error), SyntaxError) or _cause(error)[1] is None:
        try:
            return u"".join(_all_decoded(traceback.format_exception_only(kind, error)))
        except jsonable.RAISED_BY_VALUES as fault:
            raise_if_exhausted(fault)
    module = attribute_of(kind, "__module__")
    is_qualified = isinstance(module, str) and module not in _UNQUALIFIED
    lines = [(module + u"." if is_qualified else u"") + jsonable.describe(error)]
    for note in _notes_of(error):
        lines.append(jsonable.text_of(six.text_type, note))
    return u"".join(line + u"\n" for line in lines)


def _notes_of(error):
    notes = attribute_of(error, "__notes__")
    return notes if type(notes) in (list, tuple) else ()


def attribute_of(error, name):
    """Return an attribute, BaseException's own if the class of the exception raises; or None."""
    try:
        return getattr(error, name, None)
    except jsonable.RAISED_BY_VALUES as fault:
        raise_if_exhausted(fault)
    slot = getattr(BaseException, name, None)
    return slot.__get__(error) if hasattr(slot, "__set__") else None


def _format_cut(trace, limit=None):
    """Format frames of a long traceback: without marks below the source, which take most time."""
    frames = traceback.extract_tb(trace, limit)
    return traceback.format_list([tuple(frame) for frame in frames])


def _all_decoded(lines):
    # Python 2 makes bytes.
    return [line if isinstance(line, six.text_type) else jsonable.decode(line) for line in lines]
