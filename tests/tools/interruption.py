"""Calls interrupted at each of their steps, as an exception of a signal handler does."""

from __future__ import absolute_import, division

import itertools
import os
import sys

STRUCK = (
    "connection",
    "disk",
    "entry",
    "heads",
    "intake",
    "locks",
    "memory",
    "outbox",
    "room",
    "store",
    "tables",
    "upkeep",
    "writer",
)


class BrokenOff(BaseException):
    """What a signal handler raises in the middle of a call."""


def break_off(call, step, error=BrokenOff, modules=STRUCK):
    """Raise an error where the outbox's code is called or returned to for the step-th time.

    That is where Python calls signal handlers.  Returns whether there were so many.

    :param modules: the names of the modules that count as the outbox's code.
    """
    struck = []
    left = [step]

    def profile(frame, event, _):
        # What is raised in a generator that is thrown away goes nowhere.
        if frame.f_code.co_name == "<genexpr>":
            return
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in modules:
            left[0] -= 1
            if left[0] == -1:
                struck.append("%s in line %d of %s" % (event, frame.f_lineno, frame.f_code))
                raise error(struck[0])

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    except error:
        pass
    finally:
        sys.setprofile(before)
    print(struck)
    return bool(struck)


def each_step(call, between, error=BrokenOff):
    """Break a call off at its first step, its second, and so on; return how many it has.

    :param between: called before each and returns what is called after it.
    :param error: the class of what is raised there.
    """
    for step in itertools.count():
        check = between()
        is_broken_off = break_off(call, step, error)
        check()
        if not is_broken_off:
            return step
