"""Monitors of single things in an application that can hang, such as event loops.

Belongs here: when heartbeats of one are expected, and what a keeper checks for a session.  Does
not: what a hang is (see `watchdog`), what is recorded of it (see `keeper`).
"""

from __future__ import absolute_import, division

from os import getpid

import six

from .. import checks
from .._compat import monotonic
from ..errors import InvalidArgument
from .watchdog import Watchdog, interval

# Checks per timeout: what hangs for a fifth longer than the timeout is caught while it hangs.
_CHECKS = 5


def add(membership, name, timeout, check_interval, is_running):
    """Start a monitor; return a Monitor.

    :raises InvalidArgument: if an argument is not what `Session.add_heartbeat_monitor` wants.
    """
    if not isinstance(name, six.string_types) or not name:
        raise InvalidArgument("name must be a non-empty string, not %s" % checks.shown(name))
    if is_running is not None and not callable(is_running):
        raise InvalidArgument("is_running must be a function, not %s" % checks.shown(is_running))
    seconds = interval(timeout, check_interval)
    if check_interval is None:
        seconds = timeout / _CHECKS
    monitor = Monitor(membership, name, float(timeout), seconds, is_running)
    membership.monitors.append(monitor)
    membership.be_watched()
    return monitor


def watched(member):
    """Return what a keeper has to check for a session: Watchdogs, and Monitors that are like one.

    :param member: its Membership.
    """
    if not member.is_watched:
        return []
    own = [] if member.watchdog is None else [member.watchdog]
    return own + [monitor for monitor in list(member.monitors) if monitor.is_beating]


class Monitor(object):
    """Expects heartbeats of one thing from the first one on, until `stop`; thread-safe.

    After a fork, the child expects them from its own first one on.

    :param membership: of the session; None: that of a disabled one, for which nothing is done.
    :ivar name: what is watched (text).
    :ivar timeout: seconds without a heartbeat that make a hang (float).
    """

    def __init__(self, membership, name, timeout, check_interval, is_running=None):
        self.name = name
        self.timeout = timeout
        self._check_interval = check_interval
        self._is_running = is_running
        self._membership = membership
        self._process = getpid()
        self._dog = None

    def heartbeat(self):
        """Report that the thing is alive; does nothing after `stop`, and after the session's end.

        A hang's event begins with the stack of the thread that called this last.
        """
        membership, dog = self._membership, self._dog
        if membership is None:
            return
        if self.is_beating and dog is not None:
            dog.beat(monotonic())
            membership.running_watchdog()
            return
        self._dog = Watchdog(self.timeout, self._check_interval, monotonic())
        self._process = getpid()
        if membership.is_watched:
            # The keeper may sleep for as long as nothing is expected.
            membership.attend()

    def stop(self):
        """Expect no heartbeats any more; harmless if it was called before."""
        membership, self._membership, self._is_running = self._membership, None, None
        if membership is not None and self in membership.monitors:
            membership.monitors.remove(self)
            others = membership.watchdog or membership.monitors
            membership.is_watched = membership.is_watched and bool(others)

    # For the keeper

    @property
    def is_beating(self):
        """Whether there were heartbeats in this process, so that the next one is expected."""
        return self._dog is not None and self._process == getpid()

    @property
    def is_hung(self):
        """Whether a hang was reported and not its end."""
        dog = self._dog
        return dog is not None and dog.is_hung

    def next_check(self, now):
        """Return in how many seconds check() is due, 0.0 if it is due now."""
        dog = self._dog
        return self._check_interval if dog is None else dog.next_check(now)

    def check(self, readings, busy=0.0):
        """Return what happened since the last check, as `Watchdog.check` does.

        What does not run does not hang: heartbeats are expected again from its next one on.
        """
        dog = self._dog
        if dog is None:
            return []
        if not self._is_expected():
            self._dog = None
            dog.excuse(readings.now)
        return dog.check(readings, busy)

    def _is_expected(self):
        is_running = self._is_running
        try:
            return is_running is None or bool(is_running())
        except Exception:
            return True  # it is the application's: whoever cannot tell is watched
