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
from .process import places
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

    is_inherited = False
    is_online = server_id = entry = sleepers = None

    def __init__(self, **options):
        # Disabled: a client that is made of these settings must not send anything, either.
        self.settings = settings.resolve(**dict(options, disabled=True))
        self.local_id = "local-" + uuid.uuid4().hex
        self.records = []
        self.is_ended = False
        self.warn = notices.Notices()
        self.redact = redaction.make(self.settings.before_record, self.warn)
        self.sightings = sightings.Sightings(self.local_id)
        self._watchdog = None
        self._entry = Entry(number=0, local_id=self.local_id, opening=b"{}", opened=0)
        self.is_recording = self.settings.recording
        if self.is_recording:
            self._open()

    def _open(self):
        chosen = self.settings
        fields = build.opening(chosen.product, chosen.version, chosen.hostname, chosen.machine_id)
        fields = redaction.never_dropped(self.redact, kinds.OPEN, fields)
        self.append(None, kinds.OPEN, build.encode(fields))

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
        self._entry.dropped += 1

    def note_other_writer(self, server_id):
        """Do nothing: nobody else writes here."""

    def watch(self, timeout, check_interval):
        """Accept heartbeats from now on; nothing checks them."""
        self._watchdog = Watchdog(timeout, interval(timeout, check_interval), monotonic())

    def unwatch(self):
        """Accept no heartbeats any more."""
        self._watchdog = None

    def running_watchdog(self):
        """Return the Watchdog, None if there is none."""
        return self._watchdog

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
        """Return True: nothing waits."""
        return True

    def close(self, seconds):
        """Do nothing: nothing is in use."""

    def end(self):
        """Record the end of the session, once."""
        if self.is_recording and not self.is_ended:
            self.is_ended = True
            redaction.never_dropped(self.redact, kinds.END, {})
            self.append(None, kinds.END, b"{}")

    def stats(self):
        """Return what `Session.stats` does, as if all was delivered at once."""
        self._entry.sent = len(self.records)
        return places.stats(None, self._entry, 0, {})

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
