"""Descriptors of this library, and whether they are still its own.

Another part of the process may close them (`os.closerange`, a library that makes daemons).  Then
the next files that the application opens have their numbers, and what is written goes there.

Belongs here: noticing that.  Does not: what follows from it.
"""

from __future__ import absolute_import, division

import contextlib
import os

from . import _compat

try:
    import fcntl
except ImportError:
    fcntl = None

# A process that has so many files open may reuse a number from there on.
_OUT_OF_THE_WAY = 4096
_LISTING = "/dev/fd"
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


class Descriptors(object):
    """Open descriptors, and which files they were open on when they were added.

    :param descriptors: the first ones, numbers.
    """

    def __init__(self, *descriptors):
        self._known = []
        for descriptor in descriptors:
            self.add(descriptor)

    def add(self, descriptor):
        """Remember a descriptor; not on Windows, where nobody closes them by their numbers."""
        if fcntl is None:
            return
        found = os.fstat(descriptor)
        self._known.append((descriptor, found.st_ino, found.st_dev))

    def add_writers_of(self, path):
        """Remember those with which a library of this process writes to a file.

        Finds none on a system that does not list them.
        """
        try:
            wanted, numbers = os.stat(path), os.listdir(_LISTING)
        except OSError:
            return
        for number in numbers:
            try:
                if _may_be(number, path) and _writes_to(int(number), wanted):
                    self.add(int(number))
            except EnvironmentError:
                continue  # closed meanwhile

    def discard(self, descriptor):
        """Forget a descriptor."""
        self._known = [known for known in self._known if known[0] != descriptor]

    def are_ours(self):
        """Return whether all are still open on the same files."""
        try:
            for descriptor, inode, device in self._known:
                found = os.fstat(descriptor)
                if found.st_ino != inode or found.st_dev != device:
                    return False
        except OSError:
            return False
        return True


@contextlib.contextmanager
def opened(path, flags):
    """Give a descriptor of a file, and close it unless it is another file's by then.

    A file that this makes is private to the user.
    """
    descriptor = os.open(path, flags, 0o600)
    descriptors = Descriptors(descriptor)
    try:
        yield descriptor
    finally:
        if descriptors.are_ours():
            os.close(descriptor)


def out_of_the_way(descriptor):
    """Return a copy of a descriptor with a high number, and close the original.

    If somebody closes it, the next files that are opened get the lowest numbers, not this one.
    """
    if fcntl is None:
        return descriptor
    limit = _compat.descriptor_limit() or _OUT_OF_THE_WAY
    copying = getattr(fcntl, "F_DUPFD_CLOEXEC", fcntl.F_DUPFD)
    try:
        copy = fcntl.fcntl(descriptor, copying, min(limit // 2, _OUT_OF_THE_WAY))
    except EnvironmentError:
        return descriptor  # none is free up there
    # Python 2.7 would give it to every program that the application starts.
    fcntl.fcntl(copy, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.close(descriptor)
    return copy


def _may_be(number, path):
    """Return whether a descriptor may be one of a file, as far as its name tells.

    Asks no file system: one that hangs must not hold us up.
    """
    try:
        return os.path.basename(os.readlink(os.path.join(_LISTING, number))) == os.path.basename(
            path
        )
    except OSError:
        return True  # not a link on this system


def _writes_to(descriptor, wanted):
    found = os.fstat(descriptor)
    is_same = (found.st_ino, found.st_dev) == (wanted.st_ino, wanted.st_dev)
    # Whoever backs the file up opens it only for reading.
    return is_same and fcntl.fcntl(descriptor, fcntl.F_GETFL) & _ACCESS == os.O_RDWR
