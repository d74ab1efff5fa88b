"""Which changes of a session's status the application is told, and when.

Belongs here: pure decisions, with `now` given.  Does not: calling the application (see
`announcer`), and where a status comes from.
"""

from __future__ import absolute_import, division

import collections

# Between two calls for one session.
SHORTEST_SECONDS = 1.0

# Of one session; the names are those of `Session.stats`.
Status = collections.namedtuple("Status", "online waiting dead")


class Told(object):
    """What the application was told of one session, which at first is nothing.

    What came and went since is not told.
    """

    def __init__(self):
        self._last = Status(None, 0, 0)
        self._told_at = None

    def wait(self, status, now):
        """Return in how many seconds to tell a status, 0.0 if now; None: it is no news."""
        if _news(status) == _news(self._last):
            return None
        if self._told_at is None:
            return 0.0
        return max(0.0, self._told_at + SHORTEST_SECONDS - now)

    def note(self, status, now):
        """Note that a status is told at `now` (monotonic seconds)."""
        self._last, self._told_at = status, now


def _news(status):
    """Return what of a status is told when it changes: not each record that waits."""
    return status.online, status.waiting > 0, status.dead
