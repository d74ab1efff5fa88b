"""Waiting, within a time, for what the sender brings about.

Belongs here: `Progress`.  Does not: what is waited for.
"""

from __future__ import absolute_import, division

import threading

from .._compat import monotonic

_GLANCE_SECONDS = 0.25


class Progress(object):
    """Wakes the threads that wait whenever the sender has made a step."""

    def __init__(self):
        self._condition = threading.Condition()
        self._waiters = 0

    def made(self):
        """Let those who wait look again; free where nobody waits."""
        if self._waiters:
            with self._condition:
                self._condition.notify_all()

    def wait(self, seconds, is_over):
        """Return when `is_over()` holds, after `seconds` at the latest."""
        until = monotonic() + seconds
        with self._condition:
            self._waiters += 1
            try:
                while not is_over():
                    left = until - monotonic()
                    if left <= 0:
                        return
                    self._condition.wait(min(left, _GLANCE_SECONDS))
            finally:
                self._waiters -= 1
