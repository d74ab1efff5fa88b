"""Whether a keeper watches a session's heartbeats.

Belongs here: beginning and ceasing to watch.  Does not: what a hang is (see `watchdog`), and
finding one (see `keeper`).
"""

from __future__ import absolute_import, division

from os import getpid

from .._compat import monotonic
from . import places
from .pipeline import RUNNING
from .watchdog import Watchdog, interval


class Watched(object):
    """The part of a Membership that takes heartbeats."""

    def watch(self, timeout, check_interval):
        """Have its pipeline's keeper check the heartbeats from now on."""
        self.watchdog = Watchdog(timeout, interval(timeout, check_interval), monotonic())
        self.be_watched()

    def be_watched(self):
        """Have a keeper check watchdog and monitors, unless the session has ended."""
        if self.place.entry.goodbye != places.ENDED:
            self.is_watched = True
            self.attend()

    def attend(self):
        """Have its pipeline's keeper look at this session now."""
        here = self.place
        if here.process != getpid() or here.pipeline.state is not RUNNING:
            self.join()
        self.wake_keeper()

    def unwatch(self):
        """Stop checking the heartbeats."""
        self.watchdog = None
        self.is_watched = self.is_watched and bool(self.monitors)

    def running_watchdog(self):
        """Make sure that a keeper checks the Watchdog, and return it; None if there is none."""
        here = self.place
        if self.is_watched and (here.process != getpid() or here.pipeline.state is not RUNNING):
            self.attend()
        return self.watchdog
