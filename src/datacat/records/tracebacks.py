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
# Causes and members together; and their frames, but for the fewest of each.
MOST_CAUSES = 16
MOST_RELATED_FRAMES = 200
_FEWEST_FRAMES = 5

_HEADING = u"Traceback (most recent call last):\n"
_UNQUALIFIED = ("builtins", "exceptions", "__main__")
_BASES = tuple(each for each in (_compat.BaseExceptionGroup, SyntaxError, BaseException) if each)
_OF_SYNTAX_ERRORS = ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset")
_LINKS = {
    "cause": u"\nThe above exception was the direct cause of the following exception:\n\n",
    "context": u"\nDuring handling of the above exception, another exception occurred:\n\n",
}


class Trace(object):
    """A traceback, cut to its first and its last 50 frames.  It is walked once.

    :param trace: a traceback or None.
    :param most: how many frames of each end stay (int).
    :ivar count: how many frames stay (int).
    :ivar last: the innermost frame's part of it, or None.
    """

    def __init__(self, trace, most=MOST_FRAMES):
        self._first = trace
        self._most = most
        # Formatted once: reading the source takes most of the time.
        self._lines = None
        tail = collections.deque(maxlen=most)
        count = 0
        try:
            while trace is not None:
                tail.append(trace)
                count += 1
                trace = trace.tb_next
        except jsonable.RAISED_BY_VALUES as fault:
            # It only resembles a traceback.
            raise_if_exhausted(fault)
        self._tail = tail
        self._left_out = max(0, count - 2 * most)
        self.count = count - self._left_out
        self.last = tail[-1] if tail else None

    def lines(self):
        """Return a text for each frame (list), with a count in place of those left out."""
        for formats in _FORMATS:
            if self._lines is None:
                try:
                    self._lines = self._formatted(*formats)
                except jsonable.RAISED_BY_VALUES as fault:
                    # Such as a module's own loader, which is asked for its source.
                    raise_if_exhausted(fault)
        return self._lines or []

    def _formatted(self, format_whole, format_part):
        if not self._left_out:
            return _all_decoded(format_whole(self._first))
        lines = format_part(self._first, self._most)
        lines.append("  <%d more frames>\n" % self._left_out)
        return _all_decoded(lines + format_part(self._tail[0]))


def text(kind, error, trace):
    """Return an exception as text, with its traceback, its causes and, in a group, its members.

    :param trace: a Trace.
    """
    return _Telling(error).tell(kind, error, trace, MOST_CAUSES)[0]


class _Telling(object):
    """Tells an exception and those that it names: a bounded number, and of their frames too."""

    def __init__(self, error):
        self._told = set([id(error)])
        self._frames = MOST_RELATED_FRAMES

    def tell(self, kind, error, trace, allowance):
        """Return an exception with its members, after its causes with theirs, as text.

        :param allowance: how many others to tell at most (int).
        :returns: the text, and how many others it tells.
        """
        blocks, count = [], 0
        while True:
            members, more = self._members(error, allowance - count)
            count += more
            blocks.append(_block(kind, error, trace) + members)
            relation, error = _cause(error)
            if error is None or id(error) in self._told:
                break
            if count >= allowance:
                blocks.append(u"<more causes>\n")
                break
            count += 1
            blocks.append(_LINKS[relation])
            kind, trace = type(error), self._trace_of(error)
        return u"".join(reversed(blocks)), count

    def _members(self, error, allowance):
        members, whole = _members_of(error)
        lines, count = [], 0
        for number, member in enumerate(members, 1):
            if id(member) in self._told:
                lines.append(u"  + member %d of %d: told above\n" % (number, whole))
                continue
            if count >= allowance:
                break
            # So that what one of them names leaves the others their turn.
            share = max(1, (allowance - count) // (len(members) - number + 1))
            told, more = self.tell(type(member), member, self._trace_of(member), share - 1)
            lines.append(u"  + member %d of %d:\n%s" % (number, whole, _indented(told)))
            count += 1 + more
        if len(lines) < whole:
            lines.append(u"  + <%d more members>\n" % (whole - len(lines)))
        return u"".join(lines), count

    def _trace_of(self, error):
        self._told.add(id(error))
        most = max(_FEWEST_FRAMES, min(MOST_FRAMES, self._frames // 2))
        trace = Trace(trace_of(error), most)
        self._frames -= trace.count
        return trace


def related(error):
    """Return the exceptions that another one names, as pairs (relation, exception).

    The relation is "cause", "context" or, in a group, "member".
    """
    found = [_cause(error)] + [("member", member) for member in _members_of(error)[0]]
    return [(relation, each) for relation, each in found if each is not None]


def _members_of(error):
    """Return the first members of an exception group (list), and how many there are."""
    members = attribute_of(error, "exceptions")
    if type(members) not in (tuple, list):
        return [], 0
    first = list(members[:MOST_CAUSES])
    if not all(issubclass(type(each), BaseException) for each in first):
        return [], 0
    return first, len(members)


def _cause(error):
    cause = attribute_of(error, "__cause__")
    if cause is not None:
        return "cause", cause
    if attribute_of(error, "__suppress_context__"):
        return None, None
    return "context", attribute_of(error, "__context__")


def _block(kind, error, trace):
    lines = trace.lines()
    return u"".join([_HEADING] * bool(lines) + lines) + _last_lines(kind, error)


def _last_lines(kind, error):
    shown = error
    if _names_others(error):
        shown = _without_others(error) if issubclass(type(error), SyntaxError) else None
    if shown is not None:
        try:
            return u"".join(_all_decoded(traceback.format_exception_only(kind, shown)))
        except jsonable.RAISED_BY_VALUES as fault:
            raise_if_exhausted(fault)
    module = attribute_of(kind, "__module__")
    is_qualified = isinstance(module, str) and module not in _UNQUALIFIED
    lines = [(module + u"." if is_qualified else u"") + jsonable.describe(error)]
    for note in _notes_of(error):
        lines.append(jsonable.text_of(six.text_type, note))
    return u"".join(line + u"\n" for line in lines)


def _names_others(error):
    """Return whether `format_exception_only` would walk others, before 3.10 recursively."""
    named = (attribute_of(error, name) for name in ("__cause__", "__context__"))
    return any(each is not None for each in named) or _members_of(error)[1] > 0


def _without_others(error):
    """Return a copy of a SyntaxError that names no other exception, or None."""
    try:
        copy = type(error).__new__(type(error))
        for name in _OF_SYNTAX_ERRORS:
            setattr(copy, name, attribute_of(error, name))
        copy.__notes__ = list(_notes_of(error))
        return copy
    except jsonable.RAISED_BY_VALUES as fault:
        raise_if_exhausted(fault)
        return None


def _notes_of(error):
    notes = attribute_of(error, "__notes__")
    return notes if type(notes) in (list, tuple) else ()


def trace_of(error):
    """Return the traceback of an exception, or None."""
    return checked_trace(attribute_of(error, "__traceback__"))


def checked_trace(given):
    """Return what looks like a traceback, as those of some libraries only do; or None."""
    is_one = attribute_of(given, "tb_frame") is not None
    return given if is_one else None


def attribute_of(error, name):
    """Return an attribute, BaseException's own if the class of the exception raises; or None."""
    try:
        return getattr(error, name, None)
    except jsonable.RAISED_BY_VALUES as fault:
        raise_if_exhausted(fault)
    for kind in _BASES:
        slot = getattr(kind, name, None)
        if issubclass(type(error), kind) and hasattr(slot, "__set__"):
            return slot.__get__(error)
    return None


def _format_whole(trace):
    return traceback.format_tb(trace)


def _format_cut(trace, limit=None):
    """Format frames of a long traceback: without marks below the source, which take most time."""
    frames = traceback.extract_tb(trace, limit)
    return traceback.format_list([tuple(frame) for frame in frames])


def _format_without_source(trace, limit=None):
    lines = []
    while trace is not None and len(lines) != limit:
        code = trace.tb_frame.f_code
        at = (code.co_filename, trace.tb_lineno, code.co_name)
        lines.append('  File "%s", line %d, in %s\n' % at)
        trace = trace.tb_next
    return lines


def _indented(text):
    return u"".join(u"  | %s\n" % line for line in text.rstrip(u"\n").split(u"\n"))


# Functions for the frames of a whole traceback, and for a part; the first that works is used.
_FORMATS = (
    (_format_whole, _format_cut),
    (_format_without_source, _format_without_source),
)


def _all_decoded(lines):
    # Python 2 makes bytes.
    return [line if isinstance(line, six.text_type) else jsonable.decode(line) for line in lines]
