"""What an application decides about a session besides what it logs, and learns of it.

Belongs here: the calls for that.  Does not: what follows from them (see `pauses`, `announcer`).
"""

from __future__ import absolute_import, division

from . import pauses, places
from .statuses import Status


class Control(object):
    """The part of a Membership that the application controls."""

    def pause_sending(self):
        """Send nothing for any session of its pipeline."""
        pauses.begin(self._shared_settings)

    def resume_sending(self):
        """Send again."""
        pauses.end(self._shared_settings)

    @property
    def is_online(self):
        """Whether the server is there; None while that is unknown."""
        here = self.place
        if here.pipeline is None or not here.pipeline.is_here:
            return None
        return here.pipeline.engine.sender.server.link.online

    @property
    def status(self):
        """What `on_status` is told, a Status."""
        entry = self.place.entry
        return Status(self.is_online, places.waiting_for(entry), entry.dead)

    def wake_keeper(self):
        """Have its pipeline's keeper look at it, if it is in one."""
        if self.place.pipeline is not None:
            self.place.pipeline.wake_keeper()
