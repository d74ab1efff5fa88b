"""How long an application's `end()`, `close()` and exit took.

The application calls `watch` and `leave`, which print the times; a test calls `check` with its
output.
"""

from __future__ import absolute_import, division

import functools
import os
import re

from datacat._compat import monotonic
from tools.call_times import Starving

LATENESS = 0.5  # seconds by which `end(t)`, `close(t)` or the exit may overrun
EXIT_WITHIN = 2.0

_PARTED = re.compile(u"^PARTED (.*) (.*)$", re.MULTILINE)
_LEAVES = re.compile(u"^LEAVES (.*)$", re.MULTILINE)


def watch(session_class):
    """Make end() and close() of a class print how long they took."""
    for name in ("end", "close"):
        setattr(session_class, name, _telling(getattr(session_class, name)))


def _telling(farewell):
    @functools.wraps(farewell)
    def part(session, timeout=5):
        began, starving = monotonic(), Starving()
        try:
            return farewell(session, timeout)
        finally:
            took = monotonic() - began - starving.seconds()
            _tell("PARTED %s %.6f" % (timeout, took))

    return part


def leave():
    """Print when the program has nothing left to do but exit."""
    _tell("LEAVES %.6f" % monotonic())


def _tell(line):
    os.write(1, (line + "\n").encode("ascii"))


def check(output, ended_at):
    """Assert that by an application's output it kept the times of its farewells and its exit.

    ended_at: monotonic seconds.
    """
    for allowed, took in _PARTED.findall(output):
        assert float(took) <= float(allowed) + LATENESS, "a farewell of %s s took %s s" % (
            allowed,
            took,
        )
    for left_at in _LEAVES.findall(output):
        took = ended_at - float(left_at)
        assert took <= EXIT_WITHIN + LATENESS, "it took %.1f s to exit" % took
