"""Calls the applications' `on_status`, each in a thread that nothing else waits for.

Belongs here: that thread, and what a callable may do wrong.  Does not: what is told, and when (see
`statuses`).
"""

from __future__ import absolute_import, division

import os
import threading
import traceback

from .._compat import ESCAPED, start_daemon
from . import shutdown
from .loop import shortest
from .statuses import SHORTEST_SECONDS, Told

_FAILED = (
    "on_status of a session failed, and is called again when its status changes; this is logged "
    "once:\n%s"
)


class Announcer(object):
    """Tells applications of changes of their sessions' status; for one thread, the keeper's.

    :param members: {local id: Membership}, a dict that the pipeline changes.
    """

    def __init__(self, members):
        self._members = members

    def step(self, now):
        """Tell what is due; return in how many seconds to look again, None if nothing is due."""
        members = list(self._members.values())
        return shortest([each.announcements.step(each, now) for each in members])


class Announcements(object):
    """The calls of one session's `on_status`, one at a time.

    :param on_status: the application's callable, or None.
    """

    def __init__(self, on_status):
        self._on_status = on_status
        self._told = Told()
        # The process in which a call is under way: in a forked child its thread is gone.
        self._calling = None

    def step(self, member, now):
        """Begin a call if one is due; return in how many seconds to look again, None: no need."""
        if self._on_status is None or member.place.process is None or shutdown.is_exiting():
            return None
        if self._calling == os.getpid():
            return None  # looked at again as soon as that is over
        status = member.status
        wait = self._told.wait(status, now)
        return wait if wait != 0.0 else self._begin(member, status, now)

    def _begin(self, member, status, now):
        self._calling = os.getpid()
        thread = threading.Thread(target=self._call, args=(member, status), name="datacat-status")
        if start_daemon(thread) is not None:
            self._calling = None
            return SHORTEST_SECONDS
        self._told.note(status, now)
        return None

    def _call(self, member, status):
        try:
            if member.place.process is not None:
                self._on_status(dict(status._asdict()))
        except ESCAPED:
            member.warn("on_status", _FAILED % traceback.format_exc())
        finally:
            self._calling = None
            member.wake_keeper()
