"""Calls interrupted at each of their steps, as by a signal handler that raises."""

from __future__ import absolute_import, division

import itertools
import os
import sys

# The outbox's modules, by name.
INTERRUPTED = (
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


class Interrupted(BaseException):
    """What the signal handler raises."""


def interrupt(call, step, error=Interrupted, modules=INTERRUPTED):
    """Run a call and raise an error at its step-th step; return whether it has as many.

    A step is a call of a function of the outbox, or a return to one: there Python may run signal
    handlers.

    :param modules: the names of the modules that count as the outbox.
    """
    places = []
    left = [step]

    def profile(frame, event, _):
        # Python ignores what is raised in a finalizer, or a generator that is being thrown away.
        if frame.f_code.co_name in ("<genexpr>", "rows_that_can_be_read", "__del__"):
            return
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in modules:
            left[0] -= 1
            if left[0] == -1:
                places.append("%s in line %d of %s" % (event, frame.f_lineno, frame.f_code))
                raise error(places[0])

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    except error:
        pass
    finally:
        sys.setprofile(before)
    print(places)
    return bool(places)


def each_step(call, between, error=Interrupted, modules=INTERRUPTED, every=1):
    """Interrupt a call at its first step, then at a later one, and so on; return how many it has.

    :param between: called before each run; returns a callable for after it.
    :param error: the class of what is raised.
    :param modules: the names of the modules that count as the outbox.
    :param every: how many steps later each next one is.
    """
    for step in itertools.count(0, every):
        check = between()
        was_interrupted = interrupt(call, step, error, modules)
        check()
        if not was_interrupted:
            return step
