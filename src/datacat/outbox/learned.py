"""What was learned about a server, for the next run and for this machine's other processes.

Belongs here: a small file beside the outboxes, and for how long it is believed.  Does not: what is
worth learning.

Nothing depends on it.  The file is replaced as a whole, the last one to write wins, and what
cannot be read or written counts as not learned.
"""

from __future__ import absolute_import, division

import json
import os

import six

from .. import checks
from .._compat import replace_file, wall_clock
from ..descriptors import opened
from .folder import remove

BELIEVED_SECONDS = 7 * 86400.0
# A number that varies is noted no more often than this.
NOTE_SECONDS = 60.0
_MOST_BYTES = 4096


class Learned(object):
    """What is known of one server; for one thread.

    :param path: of the file; None: this process only.
    :param wall: a callable that returns seconds since the epoch.
    """

    def __init__(self, path, wall=wall_clock):
        self._path = path
        self._wall = wall
        # {name: [value, when it was learned]}
        self._known = {}
        self._signature = None
        self.refresh()

    def word(self, name):
        """Return a text, None if it is unknown or was learned over a week ago."""
        value = self._believed(name, 0.0)
        return value if isinstance(value, six.string_types) else None

    def number(self, name, since=0.0):
        """Return a number, None if it is unknown or was learned over a week ago.

        :param since: seconds since the epoch, before which it must not have been learned.
        """
        return checks.finite(self._believed(name, since))

    def _believed(self, name, since):
        value, when = self._known.get(name, (None, 0.0))
        is_recent = abs(self._wall() - when) <= BELIEVED_SECONDS
        return value if when >= since and is_recent else None

    def note(self, name, value):
        """Note a text or a number."""
        self.refresh()
        self._known[name] = [value, self._wall()]
        if self._path is not None:
            self._write()

    def note_roughly(self, name, value):
        """Note a positive number that varies, from time to time and if it became another one.

        It counts as the same up to twice, and down to half, of what is known.
        """
        known = self.number(name)
        is_known = self.number(name, since=self._wall() - NOTE_SECONDS) is not None
        if known is None or not (is_known or known / 2 <= value <= 2 * known):
            self.note(name, int(value))

    def refresh(self):
        """Read the file if it was changed."""
        signature = self._signature_now()
        if signature != self._signature:
            self._signature = signature
            self._known.update(self._read())

    def _signature_now(self):
        try:
            found = os.stat(self._path) if self._path is not None else None
        except EnvironmentError:
            return None
        return found and (found.st_ino, found.st_mtime, found.st_size)

    def _read(self):
        try:
            with opened(self._path, os.O_RDONLY) as descriptor:
                known = json.loads(os.read(descriptor, _MOST_BYTES).decode("ascii"))
            return dict((name, [value, float(when)]) for name, (value, when) in known.items())
        except (EnvironmentError, ValueError, TypeError, AttributeError, RuntimeError):
            return {}

    def _write(self):
        new = "%s-%d" % (self._path, os.getpid())
        try:
            remove(new)
            with opened(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
                os.write(descriptor, json.dumps(self._known).encode("ascii"))
            replace_file(new, self._path)
        except EnvironmentError:
            remove(new)
        self._signature = self._signature_now()
