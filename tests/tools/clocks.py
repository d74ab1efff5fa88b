"""Clocks of an application that the test sets: the wall clock, and the one that counts sleep.

The system's clocks are left alone, because everything else on the machine uses them.  A library
loaded before the C library answers instead, so that Python, sqlite and timed waits all see it.
"""

from __future__ import absolute_import, division

import os
import struct

from tools.preloaded import compiled

_NANOSECONDS = 1000000000


class ShiftedClocks(object):
    """The clocks of all applications that get `env`; skips the test where they cannot be set."""

    def __init__(self, folder):
        self.file = os.path.join(str(folder), "clocks")
        self._library = compiled("clocks.c", folder)
        self.shift()

    @property
    def env(self):
        """The variables that an application's environment needs (a dict)."""
        return {"LD_PRELOAD": self._library, "SHIFTED_CLOCKS": self.file}

    def shift(self, wall=0, boot=0):
        """Set the wall clock and the clock that counts sleep ahead by some seconds."""
        shifts = struct.pack("=qq", int(wall * _NANOSECONDS), int(boot * _NANOSECONDS))
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, shifts)
        finally:
            os.close(descriptor)
