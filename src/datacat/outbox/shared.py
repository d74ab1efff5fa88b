"""The marks that a forked child leaves beside its parent's outbox, which it must not open.

A classic server keeps no identity of a record, so arrival is inferred by counting.  If a child
writes into its parent's sessions as well, counting proves nothing.

If a child ends its parent's session, as a daemon does, and the parent exits without a goodbye,
the parent's outbox would tell of a crash.

Belongs here: making and finding the marks.  Does not: what they lead to.
"""

from __future__ import absolute_import, division

import os
import time

from .names import end_of, outbox_of
from .no_store import IN_MEMORY

SHARED = "-shared"
_FILE_MODE = 0o600
_STALE_SECONDS = 24 * 3600
END_KEPT_SECONDS = 30 * 86400


def mark_shared(path):
    """Leave the mark beside an outbox: another process writes into its sessions too.

    :returns: whether it is there; not if the outbox has no file, or the disk is full.
    """
    return path != IN_MEMORY and _make(path + SHARED)


def mark_ended(path, local_id):
    """Leave the mark that a session has ended, whoever opened it.

    :param path: of an outbox in the same folder, of the same scope.
    """
    mark = end_of(path, local_id)
    if mark is not None:
        _make(mark)


def is_marked_ended(path, local_id):
    """Return whether a session has ended, although its entry in an outbox does not say so."""
    mark = end_of(path, local_id)
    return mark is not None and os.path.exists(mark)


def _make(path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, _FILE_MODE))
    except OSError:
        return False
    return True


def is_marked_shared(path):
    """Return whether there is a mark beside an outbox."""
    return path != IN_MEMORY and os.path.exists(path + SHARED)


def remove_stale_marks(folder, endings=(SHARED,)):
    """Remove the marks beside outboxes that are gone: a child may outlive its parent.

    Not at once: an outbox that was deleted under its owner still has one.

    :param endings: of the marks' names, a tuple.
    """
    try:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            ending = next((each for each in endings if name.endswith(each)), None)
            if ending is None or outbox_of(path) != path[: -len(ending)]:
                continue
            if not os.path.exists(path[: -len(ending)]):
                if time.time() - os.stat(path).st_mtime > _STALE_SECONDS:
                    os.remove(path)
    except OSError:
        pass
