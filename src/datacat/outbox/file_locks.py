"""Locks on files (fcntl, flock), which some network file systems do not have.

Belongs here: finding out whether there are any.  Does not: the locks by which sqlite owns a file,
and those on companions.
"""

from __future__ import absolute_import, division

import errno
import os

try:
    import fcntl
except ImportError:
    fcntl = None

from .folder import remove

# The end of the name of a file that is made to be locked, and removed at once.
PROBE = "-probe"
HELD = (errno.EACCES, errno.EAGAIN)


def can_lock(path):
    """Return whether a new outbox can be locked.

    NFS without lockd and some SMB mounts have no locks.  Others say that somebody else has them,
    for every file.
    """
    return fcntl is None or (_can_lock_bytes(path) and not _seems_always_held(path + PROBE))


def _can_lock_bytes(path):
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        # Gone: whoever took it was done with it.
        return True
    try:
        # Not a byte that sqlite locks.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        return True
    except EnvironmentError:
        return False
    finally:
        os.close(descriptor)


def _seems_always_held(path):
    """Return whether flock says that somebody has a file which nobody else knows."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except EnvironmentError as error:
        # Without flock at all, an outbox has no companion, and sqlite's lock is the only one.
        return error.errno in HELD
    finally:
        os.close(descriptor)
        remove(path)
