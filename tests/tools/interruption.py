"""Calls interrupted at each of their steps, as an exception of a signal handler does."""

from __future__ import absolute_import, division

import itertools
import os
import sys

STRUCK = ("intake", "disk", "store", "connection", "tables", "memory", "locks", "room", "heads")


class BrokenOff(BaseException):
    """What a signal handler raises in the middle of a call."""


def break_off(call, step):
    """Raise BrokenOff where the outbox's code is called or returned to for the step-th time.

    That is where Python calls signal handlers.  Returns whether there were so many.
    """
    left = [step]

    def profile(frame, event, _):
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in STRUCK:
            left[0] -= 1
            if left[0] == -1:
                raise BrokenOff("%s in line %d of %s" % (event, frame.f_lineno, frame.f_code))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
        return False
    except BrokenOff as error:
        print(error)
        return True
    finally:
        sys.setprofile(before)


def each_step(call, between):
    """Break `call(box)` off at its first step, its second, and so on; return how many it has.

    :param between: called before each and returns what is called after it.
    """
    for step in itertools.count():
        check = between()
        is_broken_off = break_off(call, step)
        check()
        if not is_broken_off:
            return step
