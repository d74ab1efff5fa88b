"""Clocks of an application that the test sets: the wall clock, and the one that counts sleep.

The system's own are left alone, for all else on the machine lives by them. A library that is
loaded before the C library answers for it, so that Python, sqlite and waits see what they would
see of the system's.
"""

from __future__ import absolute_import, division

import os
import struct
import subprocess

import pytest

from tools.process import HERE

_NANOSECONDS = 1000000000


class ShiftedClocks(object):
    """The clocks of all applications that get `env`; skips the test where there can be none."""

    def __init__(self, folder):
        self.file = os.path.join(str(folder), "clocks")
        self._library = os.path.join(str(folder), "clocks.so")
        self.shift()
        self._compile()

    @property
    def env(self):
        """What an application's environment must have."""
        return {"LD_PRELOAD": self._library, "SHIFTED_CLOCKS": self.file}

    def shift(self, wall=0, boot=0):
        """Let the wall clock and the clock that counts sleep be ahead by seconds from now on."""
        shifts = struct.pack("=qq", int(wall * _NANOSECONDS), int(boot * _NANOSECONDS))
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, shifts)
        finally:
            os.close(descriptor)

    def _compile(self):
        command = [
            os.environ.get("CC", "cc"),
            "-shared",
            "-fPIC",
            "-O1",
            "-o",
            self._library,
            os.path.join(HERE, "clocks.c"),
            "-ldl",
        ]
        try:
            compiler = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except OSError as error:
            pytest.skip("no C compiler, and so no clocks of its own: %s" % error)
        words = compiler.communicate()[0].decode("utf-8", "replace")
        assert compiler.returncode == 0, words
