"""A call that needs some stack, made where hardly any may be left.

Belongs here: finding that out, and where else to make the call.  Does not: which call that is.

Python 3 before 3.10 ends the process if code catches a RecursionError, goes on, and recurses 50
frames too deep once more.  There, nothing of ours that is near the limit catches one: it asks for
room first.
"""

from __future__ import absolute_import, division

import functools
import sys

import six
from six.moves import _thread

from ._compat import StackExhausted

# Frames.  C code uses up the stack, too, without a frame: hence so many.
ROOM = 700
# More than converting the deepest data takes, and the methods of the values in it.
AMPLE = 400
OVERFLOWS_STICK = six.PY3 and sys.version_info < (3, 10)
# What may be caught near the limit; `except ()` catches nothing.
RecoverableOverflow = () if OVERFLOWS_STICK else StackExhausted
FatalOverflow = StackExhausted if OVERFLOWS_STICK else ()


def call_with_room(step, *arguments):
    """Call `step(...)`: here, or else in a thread of its own, and wait.

    What it raises is raised here.  It is called again if it runs out of stack, and so must not
    have had an effect by then that cannot be had twice.

    :raises Exception: if no thread can be started, by the system or for want of stack.
    """
    try:
        # Not in a function of its own, and from here on no Python code: there may be stack for
        # one call of C code only.
        sys._getframe(sys.getrecursionlimit() - ROOM)
    except ValueError:
        try:
            step(*arguments)
            return
        except RecoverableOverflow:
            pass
    raised = []
    is_done = _thread.allocate_lock()
    is_done.acquire()
    _thread.start_new_thread(_call, (step, arguments, is_done, raised))
    is_done.acquire()
    if raised:
        raise raised.pop()


def _call(step, arguments, is_done, raised):
    try:
        step(*arguments)
    except BaseException as error:
        raised.append(error)
    finally:
        is_done.release()


def try_with_room(step):
    """Call `step()` as by `call_with_room`, but raise nothing.

    For what follows once a record is kept, which the next log call or the keeper makes up for.
    The caller has made a call as deep as this one before.
    """
    try:
        call_with_room(step)
    except Exception:
        pass


def with_room(method):
    """Make a method that returns nothing run as by `call_with_room`."""

    @functools.wraps(method)
    def run(*arguments):
        call_with_room(method, *arguments)

    return run


def raise_if_exhausted(error):
    """Raise the exception being handled again if no value is to blame: memory or stack ran out.

    A value whose methods recurse for ever is to blame: there was ample stack for it.
    """
    handled = sys.exc_info()
    is_out_of_stack = isinstance(error, StackExhausted) and not _is_stack_ample()
    if is_out_of_stack or isinstance(error, MemoryError):
        six.reraise(*handled)


def _is_stack_ample():
    if OVERFLOWS_STICK:
        try:
            sys._getframe(max(0, sys.getrecursionlimit() - AMPLE))
            return False
        except ValueError:
            return True
    try:
        # Unlike the number of frames, this sees the stack that C code has used.
        _descend(AMPLE)
        return True
    except StackExhausted:
        return False


def _descend(frames):
    if frames:
        _descend(frames - 1)
