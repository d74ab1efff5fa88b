"""Which exceptions a session has told: one object that is seen in several places is told once.

Belongs here: the mark on an exception, and whether an exception that is seen again was raised
again meanwhile.  Does not: what is recorded of it.

Theory of operation

1. The mark is in the exception's `__dict__`, because built-in exceptions cannot be weakly
   referenced.  Copies and pickles of the exception do not have it.
2. An exception on its way out gets an entry in front of its traceback for each frame that it
   leaves.  If it is raised again, the entry that is nearest to the older ones is that of a `raise`
   statement.  So the mark keeps the traceback as it was seen, of which Python 3 has the exception
   keep all anyway.
3. A `raise` that passes on an exception is no raise anew: `raise error` in the block that handles
   it, and those in modules whose business it is, such as a future's.
4. Python 2 has a fresh traceback for each raise, and exceptions do not keep theirs: nor does the
   mark, which would make a cycle that Python 2 cannot always free.  It has the address, which the
   next traceback may have as well: if the handler stands where it stood, this is its next run.
"""

from __future__ import absolute_import, division

import binascii
import collections
import opcode
import os
import sys

import six

from .._compat import get_ident

_KEY = "_datacat"
_REFERENCE_BYTES = 6
_CARRIERS = ("asyncio", "concurrent", "multiprocessing", "six")
_RAISE = opcode.opmap["RAISE_VARARGS"]
_END_OF_HANDLER = opcode.opmap["POP_EXCEPT" if six.PY3 else "END_FINALLY"]

_dict_of = BaseException.__dict__["__dict__"].__get__
# reference: names the exception; head: its traceback (Python 2: the address); frame: the address
# of the frame that saw it, position: where that was.
_Seen = collections.namedtuple("_Seen", "reference head frame position")


class _Marks(dict):
    """What sessions know of one exception; elsewhere it passes for an empty dict.

    :ivar owner: the address of the exception; a shallow copy has the same marks.
    :ivar seen: {local id of a session: _Seen}.
    """

    __slots__ = ("owner", "seen")

    def __init__(self, owner):
        super(_Marks, self).__init__()
        self.owner = owner
        self.seen = {}

    def __reduce__(self):
        return dict, ()

    def __reduce_ex__(self, _):
        return self.__reduce__()


class Sightings(object):
    """The exceptions that one session has seen; thread-safe, and safe in signal handlers.

    :param local_id: the session's.
    """

    def __init__(self, local_id):
        self._local_id = local_id
        # By thread, so that none overwrites what another adds.
        self._again = {}

    @property
    def again(self):
        """How often an exception was seen that had been told before (int)."""
        return sum(list(self._again.values()))

    def look(self, error, trace):
        """Note that the session sees an exception; return (its reference, whether to tell it).

        :param error: an exception; anything else has no reference, and is told every time.
        :param trace: its traceback, or None.
        """
        if not issubclass(type(error), BaseException):
            return None, True
        seen, here = _marks_of(error).seen, _seen(_new_reference(), trace)
        before = seen.setdefault(self._local_id, here)
        if before is here:
            return here.reference, True
        if not _is_same_raise(before, trace):
            seen[self._local_id] = here
            return here.reference, True
        if trace is not None:
            seen[self._local_id] = here._replace(reference=before.reference)
        self._again[get_ident()] = self._again.get(get_ident(), 0) + 1
        return before.reference, False


def _marks_of(error):
    own = _dict_of(error)
    marks = own.get(_KEY)
    if type(marks) is _Marks and marks.owner == id(error):
        return marks
    if marks is None:
        return own.setdefault(_KEY, _Marks(id(error)))
    own[_KEY] = marks = _Marks(id(error))
    return marks


def _new_reference():
    return six.ensure_text(binascii.hexlify(os.urandom(_REFERENCE_BYTES)))


def _seen(reference, trace):
    if trace is None:
        return _Seen(reference, None, None, None)
    frame = trace.tb_frame
    return _Seen(reference, trace if six.PY3 else id(trace), id(frame), frame.f_lasti)


def _is_same_raise(seen, trace):
    if trace is None or seen.head is None:
        return True
    raised_at = None
    while trace is not None and not _is_head(seen, trace):
        raised_at, trace = trace, trace.tb_next
    if raised_at is None:
        return six.PY3 or not _is_next_run(seen, trace.tb_frame)
    if not _is_raise(raised_at):
        return True
    frame = raised_at.tb_frame
    module = frame.f_globals.get("__name__")
    if isinstance(module, str) and module.split(".")[0] in _CARRIERS:
        return True
    return id(frame) == seen.frame and _is_in_handler(
        frame.f_code, seen.position, raised_at.tb_lasti
    )


def _is_head(seen, trace):
    if six.PY3:
        return seen.head is trace
    return seen.head == id(trace) and seen.frame == id(trace.tb_frame)


def _is_next_run(seen, frame):
    return frame.f_lasti <= seen.position and _is_running(frame)


def _is_running(frame):
    caller = sys._getframe()
    while caller is not None and caller is not frame:
        caller = caller.f_back
    return caller is frame


def _is_raise(entry):
    """Return whether a traceback's entry is a `raise` statement that names an exception."""
    code = bytearray(entry.tb_frame.f_code.co_code)
    return code[entry.tb_lasti] == _RAISE and code[entry.tb_lasti + 1] > 0


def _is_in_handler(code, start, end):
    """Return whether a position is in the `except` block of an earlier one, straight ahead."""
    if not 0 <= start < end:
        return False
    code, at = bytearray(code.co_code), start
    while at < end:
        if code[at] == _END_OF_HANDLER:
            return False
        is_long = six.PY2 and code[at] >= opcode.HAVE_ARGUMENT
        at += 3 if is_long else 2 if six.PY3 else 1
    return True
