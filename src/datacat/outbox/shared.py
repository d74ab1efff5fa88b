"""The mark that a forked child leaves beside its parent's outbox, which it must not open.

A classic server keeps no identity of a record, so that whether one arrived is told by counting.
Where a child writes into its parent's sessions as well, counting proves nothing.
"""

from __future__ import absolute_import, division

import os

from .no_store import IN_MEMORY

SHARED = "-shared"
_FILE_MODE = 0o600


def mark_shared(path):
    """Note beside an outbox that another process writes into its sessions too.

    A forked child does this for its parent's outbox, which it must not open.

    :returns: whether the mark is there; not so where the outbox has no file, or on a full disk.
    """
    if path == IN_MEMORY:
        return False
    try:
        os.close(os.open(path + SHARED, os.O_CREAT | os.O_WRONLY, _FILE_MODE))
    except OSError:
        return False
    return True


def is_marked_shared(path):
    """Return whether `mark_shared` was called for an outbox."""
    return path != IN_MEMORY and os.path.exists(path + SHARED)
