"""Descriptors that are closed under the library, and reused by a file of the application."""

from __future__ import absolute_import, division

import os

from datacat.outbox import disk
from tools.outboxes import DISK_CLOCK

TEXT = b"what the application wrote\n"


def descriptors_of(path):
    """Return this process's descriptors of a file."""
    wanted, found = os.stat(path), []
    for number in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(number))
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(number))
    return found


class Robbery(object):
    """Takes an outbox's descriptors away, and gives their numbers to a file of the application."""

    def __init__(self, folder):
        self._path = os.path.join(str(folder), "application.txt")
        self.taken = []

    def rob(self, path, endings=("", "-wal"), reused=True):
        """:param reused: whether a file of the application gets the numbers."""
        for ending in endings:
            found = descriptors_of(path + ending)
            assert found, "sqlite has %s open" % ending
            self.taken.extend(found)
        mine = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        os.write(mine, TEXT)
        for descriptor in self.taken:
            if reused:
                os.dup2(mine, descriptor)
            else:
                os.close(descriptor)
        os.close(mine)
        if not reused:
            self.taken = []
        DISK_CLOCK.now += disk.CHECK_SECONDS * 2

    def check(self):
        """The application's file has what the application wrote, and is still open."""
        with open(self._path, "rb") as stream:
            assert stream.read() == TEXT
        for descriptor in self.taken:
            os.fstat(descriptor)

    def close(self):
        for descriptor in self.taken:
            os.close(descriptor)
