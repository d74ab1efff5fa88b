"""What a `Session` is made of if its records stay in a list: the seam for tests of applications.

Belongs here: a membership without pipeline, and values as they are recorded.  Does not: what tests
ask of a session (see `testing`).
"""

from __future__ import absolute_import, division

import json
import os
import uuid

from . import notices, settings
from ._compat import monotonic
from .outbox.entry import Entry
from .process import environment, holding, places, recording
from .process.running_totals import RunningTotals
from .process.watchdog import Watchdog, interval
from .records import build, kinds, redaction, sightings
from .wire.readback import merge_state


class Recording(object):
    """Takes the place of a Membership: no file, no thread, no request.  Thread-safe.

    :param options: those of `create_session`, of which those that concern files, threads and
        requests do nothing.
    :ivar records: a list of pairs (kind, fields), in the order of the calls; kinds are those that
        `before_record` gets, fields are a dict as a v1 server gets it, without the time.
    :ivar is_recording: whether it takes records (bool).
    :ivar is_ended: whether the session was ended (bool).
    :raises InvalidSettings, TypeError: as `create_session` does.
    """

    is_inherited = is_watched = False
    is_online = server_id = sleepers = pipeline = monitor = None

    def __init__(self, **options):
        # Disabled: a client that is made of these settings must not send anything, either.
        self.settings = settings.resolve(**dict(options, disabled=True))
        self.local_id = "local-" + uuid.uuid4().hex
        self.records = []
        self.is_ended = False
        self.warn = notices.Notices()
        self.redact = redaction.make(self.settings, self.warn)
        self.holding, self.screen = holding.make(self)
        self.sightings = sightings.Sightings(self.local_id)
        self.totals = RunningTotals(self.settings.aggregate_seconds)
        self.watchdog = None
        self.monitors = []
        self.entry = Entry(number=0, local_id=self.local_id, opening=b"{}", opened=0)
        self.is_recording = self.settings.recording
        if self.is_recording:
            self._open()

    def _open(self):
        chosen = self.settings
        fields = build.opening(chosen.product, chosen.version, chosen.hostname, chosen.machine_id)
        fields = redaction.never_dropped(self.redact, kinds.OPEN, fields)
        self.append(None, kinds.OPEN, build.encode(fields))
        environment.tell(self)

    # It is its own Place, in every process.

    @property
    def place(self):
        """Itself."""
        return self

    @property
    def process(self):
        """The id of this process."""
        return os.getpid()

    def append(self, entry, kind, body):
        """Keep a record; return True."""
        self.records.append((kind, json.loads(body.decode("ascii"))))
        return True

    def give_up(self, kind):
        """Count a record as dropped, for lack of memory."""
        self.entry.dropped += 1

    def note_other_writer(self, server_id):
        """Do nothing: nobody else writes here."""

    def watch(self, timeout, check_interval):
        """Accept heartbeats from now on; nothing checks them."""
        self.watchdog = Watchdog(timeout, interval(timeout, check_interval), monotonic())
        self.be_watched()

    def unwatch(self):
        """Accept no heartbeats any more."""
        self.watchdog = None
        self.is_watched = bool(self.monitors)

    def be_watched(self):
        """Expect heartbeats, unless the session has ended; nothing checks them."""
        self.is_watched = not self.is_ended

    def running_watchdog(self):
        """Return the Watchdog, None if there is none."""
        return self.watchdog

    def attend(self):
        """Do nothing: there is no keeper."""

    def pause_sending(self):
        """Do nothing: nothing is sent."""

    resume_sending = pause_sending

    def set_recording(self, on, forget):
        """Keep records from now on, or keep none; return True."""
        if forget:
            del self.records[:]
        if on and (forget or not self.is_recording):
            self.is_ended = False
            self._open()
        self.is_recording = on
        return True

    def flush(self, seconds):
        """Record running totals and what was held back; return True: nothing waits."""
        recording.tell_held_back(self)
        return self.totals.write(self)

    def close(self, seconds):
        """Record running totals and what was held back; nothing else is in use."""
        self.flush(seconds)

    def end(self):
        """Record the end of the session, once."""
        self.flush(0)
        if self.is_recording and not self.is_ended:
            self.is_ended, self.is_watched = True, False
            redaction.never_dropped(self.redact, kinds.END, {})
            self.append(None, kinds.END, b"{}")

    def stats(self):
        """Return what `Session.stats` does, as if all was delivered at once."""
        self.entry.sent = len(self.records)
        return places.stats(None, self.entry, 0, {})

    def state(self):
        """Return what a v1 server makes of all updates (dict), without product and version."""
        merged = {}
        for kind, fields in list(self.records):
            if kind == kinds.STATE:
                merged = merge_state(merged, fields, null_deletes=True)
        return merged


def as_recorded(fields):
    """Return a copy of a dict with its values as a server would get them.

    :raises InvalidArgument: if it has over 1 MiB encoded.
    """
    return json.loads(build.encode(fields).decode("ascii"))
