"""That an application's `end()`, `close()` and exit do not wait for longer than they may.

The application calls `watch` and `leave`, which print times; a test calls `check` with its
output.
"""

from __future__ import absolute_import, division

import functools
import os
import re

from datacat._compat import monotonic

EXIT_WITHIN = 2.0
# Seconds by which a slow machine may delay them.  A test in which they could wait for something
# makes that last longer.
HANG = 30.0

_PARTED = re.compile(u"^PARTED (.*) (.*)$", re.MULTILINE)
_LEAVES = re.compile(u"^LEAVES (.*)$", re.MULTILINE)


def watch(session_class):
    """Make end() and close() of a class print how long they took."""
    for name in ("end", "close"):
        setattr(session_class, name, _telling(getattr(session_class, name)))


def _telling(farewell):
    @functools.wraps(farewell)
    def part(session, timeout=5):
        began = monotonic()
        try:
            return farewell(session, timeout)
        finally:
            _tell("PARTED %s %.6f" % (timeout, monotonic() - began))

    return part


def leave():
    """Print when the program has nothing left to do but exit."""
    _tell("LEAVES %.6f" % monotonic())


def _tell(line):
    os.write(1, (line + "\n").encode("ascii"))


def check(output, ended_at):
    """Assert that by an application's output neither its farewells nor its exit hung.

    ended_at: monotonic seconds.
    """
    for allowed, took in _PARTED.findall(output):
        check_farewell(float(allowed), float(took))
    for left_at in _LEAVES.findall(output):
        check_exit(ended_at - float(left_at))


def check_farewell(allowed, took):
    """Assert that an `end(allowed)` or `close(allowed)` that took so many seconds did not hang."""
    assert took <= allowed + HANG, "a farewell of %s s took %s s" % (allowed, took)


def check_exit(took):
    """Assert that an exit that took so many seconds did not hang."""
    assert took <= EXIT_WITHIN + HANG, "it took %.1f s to exit" % took
