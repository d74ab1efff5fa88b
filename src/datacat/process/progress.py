"""Waiting, within a time, for what the sender brings about.

Belongs here: `Progress`.  Does not: what is waited for.
"""

from __future__ import absolute_import, division

from .._compat import monotonic
from ..locks import Bell

_GLANCE_SECONDS = 0.25


class Progress(object):
    """Wakes the threads that wait whenever the sender has made a step.

    Each of them has a bell of its own, and no lock is shared: an interruption (Ctrl-C) of one that
    waits must not hold up the others, or the sender.
    """

    def __init__(self):
        self._bells = []

    def made(self):
        """Let those who wait look again; free where nobody waits."""
        for bell in self._bells[:]:
            bell.ring()

    def wait(self, seconds, is_over):
        """Return when `is_over()` holds, after `seconds` at the latest."""
        until = monotonic() + seconds
        bell = Bell()
        try:
            self._bells.append(bell)
            while not is_over():
                left = until - monotonic()
                if left <= 0:
                    return
                bell.wait(min(left, _GLANCE_SECONDS))
        finally:
            if bell in self._bells:
                self._bells.remove(bell)
