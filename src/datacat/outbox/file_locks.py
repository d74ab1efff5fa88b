"""Locks on files (fcntl), which some network file systems do not have.

Belongs here: finding out whether there are any.  Does not: the locks by which sqlite owns a file.
"""

from __future__ import absolute_import, division

import os

try:
    import fcntl
except ImportError:
    fcntl = None


def can_lock(path):
    """Return whether a file can be locked; NFS without lockd and some SMB mounts have no locks."""
    if fcntl is None:
        return True
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
