"""What an application decides about a session besides what it logs, and learns of it.

Belongs here: the calls for that.  Does not: what follows from them (see `pauses`, `announcer`,
`consent`).
"""

from __future__ import absolute_import, division

import uuid

from .. import notices
from ..records import build, kinds, redaction, sightings
from ..wire import importing
from . import consent, environment, holding, pauses, places, registry
from .running_totals import RunningTotals
from .statuses import Status

_warn_of_openings = notices.Notices()


def _opening(settings):
    fields = build.opening(
        settings.product, settings.version, settings.hostname, settings.machine_id
    )
    # There is no pipeline yet that warns once.
    redact = redaction.make(settings, _warn_of_openings)
    return redaction.never_dropped(redact, kinds.OPEN, fields)


def _first_state(settings, opening):
    """Return what a classic server would not keep of the opening, as a state, or None."""
    given = settings.given() if settings.fold_fields else ()
    state = dict((name, opening[name]) for name in given if name in opening)
    return build.encode(state) if state else None


class Control(object):
    """The part of a Membership that the application controls.

    :ivar is_recording: whether anything of the session is recorded.
    """

    def __init__(self):
        self.is_recording = False

    def set_recording(self, on, forget):
        """Turn recording on or off; return whether nothing is left that was to be forgotten."""
        return consent.set_recording(self, on, forget)

    def stop_recording(self):
        """Record the end of the session, and nothing more; return the settings of its pipeline."""
        if not self.place.is_foreign:
            word = places.CLOSED if self.is_inherited else places.ENDED
            last = () if self.is_inherited else (kinds.END, b"{}")
            self._say_goodbye(word, *last)
        # In this order: from now on nobody joins a pipeline.
        self.is_recording = False
        self.place = self.place.closed()
        return self._shared_settings

    def begin(self):
        """Be a session that records, and that no pipeline has yet."""
        importing.import_unless_it_can_wait()
        opening = _opening(self.settings)
        self._first_state = _first_state(self.settings, opening)
        self.place = places.nowhere(self.local_id, build.encode(opening))
        registry.enrol(self)
        self.is_recording = True

    def start_recording(self):
        """Record from now on, as a session that no server knows yet."""
        if self.place.pipeline is not None:
            # The one before has ended, and may still wait to be sent.
            self.local_id = "local-" + uuid.uuid4().hex
            self.sightings = sightings.Sightings(self.local_id)
            self.totals = RunningTotals(self.settings.aggregate_seconds)
            self.holding, self.screen = holding.make(self)
            self._pending.clear()
            self._left_behind = {}
        self.begin()
        if self.watchdog is not None:
            self.watch(self.watchdog.timeout, self.watchdog.check_interval)
        self.join()
        environment.tell(self)

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
