"""A call that needs some stack, made where hardly any may be left.

Belongs here: finding that out, and where else to make the call.  Does not: which call that is.
"""

from __future__ import absolute_import, division

import sys

from six.moves import _thread

from .._compat import StackExhausted

# Frames. A first record in a forked child takes most: it opens its file and starts threads.
ROOM = 150


def call_with_room(step, *arguments):
    """Call `step(...)`, which raises nothing: here, or else in a thread of its own and wait.

    :raises Exception: if no thread can be started, by the system or for want of stack.
    """
    if not _is_deep():
        try:
            step(*arguments)
            return
        except StackExhausted:
            # C code uses up the stack, too, without a frame.
            pass
    # From here on no Python code: there may be stack for one call of C code.
    is_done = _thread.allocate_lock()
    is_done.acquire()
    _thread.start_new_thread(_call, (step, arguments, is_done))
    is_done.acquire()


def _is_deep():
    # Not found out by calling something deep: until 3.8, overflowing again kills the process.
    try:
        sys._getframe(sys.getrecursionlimit() - ROOM)
        return True
    except ValueError:
        return False


def _call(step, arguments, is_done):
    try:
        step(*arguments)
    except StackExhausted:
        pass
    finally:
        is_done.release()
