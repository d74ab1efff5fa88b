"""How long an application's farewells and its exit took: told by it, judged by the tests.

Imported by the application for `watch` and `leave`; `check` is for who has read its output.
"""

from __future__ import absolute_import, division

import functools
import os
import re

from datacat._compat import monotonic
from tools.call_times import Starving

LATENESS = 0.5  # seconds that a farewell, or an exit, may take beyond its time
EXIT_WITHIN = 2.0

_PARTED = re.compile(u"^PARTED (.*) (.*)$", re.MULTILINE)
_LEAVES = re.compile(u"^LEAVES (.*)$", re.MULTILINE)


def watch(session_class):
    """Let end() and close() of a class tell how long they took."""
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
    """Tell that nothing but the interpreter's end is left to do."""
    _tell("LEAVES %.6f" % monotonic())


def _tell(line):
    os.write(1, (line + "\n").encode("ascii"))


def check(output, ended_at):
    """Assert that what an application wrote tells of farewells and of an exit in time.

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
